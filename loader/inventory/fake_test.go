package inventory

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// host is a made-up host below a directory.
type host struct {
	tb   testing.TB
	root string
}

// newHost makes a host with process 1 in a namespace.
func newHost(tb testing.TB) *host {
	h := &host{tb, tb.TempDir()}
	h.write("/proc/self/ns/net", "")
	h.process(1, h.inode("/proc/self/ns/net"), "init", "0::/init.scope", 1)
	return h
}

func (h *host) write(path, content string) {
	h.tb.Helper()
	path = h.root + path
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		h.tb.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		h.tb.Fatal(err)
	}
}

func (h *host) remove(path string) {
	h.tb.Helper()
	if err := os.RemoveAll(h.root + path); err != nil {
		h.tb.Fatal(err)
	}
}

func (h *host) inode(path string) uint64 {
	h.tb.Helper()
	var st unix.Stat_t
	if err := unix.Stat(h.root+path, &st); err != nil {
		h.tb.Fatal(err)
	}
	return st.Ino
}

// netns gives a new namespace a name.
func (h *host) netns(path string) uint64 {
	h.tb.Helper()
	h.write(path, "")
	return h.inode(path)
}

func (h *host) process(pid int, netns uint64, comm, cgroup string, start int) {
	h.tb.Helper()
	dir := fmt.Sprintf("/proc/%d/", pid)
	h.write(dir+"comm", comm+"\n")
	h.write(dir+"cgroup", cgroup+"\n")
	h.write(dir+"stat", fmt.Sprintf("%d (%s) S%s %d 0 0\n", pid, comm, strings.Repeat(" 0", 18), start))
	if err := os.MkdirAll(h.root+dir+"ns", 0o755); err != nil {
		h.tb.Fatal(err)
	}
	if err := os.Symlink(fmt.Sprintf("net:[%d]", netns), h.root+dir+"ns/net"); err != nil {
		h.tb.Fatal(err)
	}
}

// scanner looks at the host for the first time.
func (h *host) scanner() *scanner {
	h.tb.Helper()
	s, err := newScanner(h.root)
	if err != nil {
		h.tb.Fatal(err)
	}
	h.rescan(s)
	return s
}

func (h *host) rescan(s *scanner) {
	s.scanNames()
	s.scanProcesses()
	s.nameContainers(context.Background())
}

func labels(s *scanner) string {
	var all []string
	for _, n := range s.namespaces() {
		all = append(all, n.Label)
	}
	return strings.Join(all, " ")
}

func (h *host) listen(socket string) net.Listener {
	h.tb.Helper()
	if err := os.MkdirAll(filepath.Dir(h.root+socket), 0o755); err != nil {
		h.tb.Fatal(err)
	}
	l, err := net.Listen("unix", h.root+socket)
	if err != nil {
		h.tb.Fatal(err)
	}
	return l
}

type fakeContainer struct {
	ID, Name, NetworkMode string
	Labels                map[string]string
}

// engine serves the list of containers as Docker does.
func (h *host) engine(socket string, list func() []fakeContainer) {
	h.tb.Helper()
	mux := http.NewServeMux()
	mux.HandleFunc("GET /containers/json", func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Get("all") != "1" {
			http.Error(w, "only containers that run", http.StatusTeapot)
			return
		}
		answer := []map[string]any{}
		for _, c := range list() {
			answer = append(answer, map[string]any{
				"Id":         c.ID,
				"Names":      []string{"/other/alias", "/" + c.Name},
				"Labels":     c.Labels,
				"HostConfig": map[string]string{"NetworkMode": c.NetworkMode},
			})
		}
		json.NewEncoder(w).Encode(answer)
	})
	h.serve(&http.Server{Handler: mux}, socket)
}

func (h *host) serve(server *http.Server, socket string) {
	l := h.listen(socket)
	go server.Serve(l)
	h.tb.Cleanup(func() { server.Close() })
}

// cri serves a pod and a container in it as containerd does: gRPC, which is HTTP/2 with trailers.
func (h *host) cri(version, socket, podID, namespace, pod, containerID string) {
	answer := map[string][]byte{
		"ListPodSandbox": field(1, field(1, []byte(podID)),
			field(2, field(1, []byte(pod)), field(2, []byte("uid")), field(3, []byte(namespace)), []byte{4 << 3, 1}),
			[]byte{3 << 3, 0, 4 << 3, 0x80, 0x80, 1}),
		"ListContainers": field(1, field(1, []byte(containerID)), field(2, []byte(podID)), field(3, field(1, []byte("nginx")))),
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/grpc")
		w.Header().Set("Grpc-Status", "12")
	})
	mux.HandleFunc("POST /runtime."+version+".RuntimeService/{method}", func(w http.ResponseWriter, r *http.Request) {
		message, ok := answer[r.PathValue("method")]
		if !ok || r.ProtoMajor != 2 || r.Header.Get("Content-Type") != "application/grpc" {
			w.Header().Set("Grpc-Status", "12")
			return
		}
		w.Header().Set("Trailer", "Grpc-Status")
		w.Header().Set("Content-Type", "application/grpc")
		w.Write(append(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(message))), message...))
		w.Header().Set("Grpc-Status", "0")
	})
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	h.serve(&http.Server{Handler: mux, Protocols: protocols}, socket)
}

// field is a length-delimited protobuf field.
func field(number int, parts ...[]byte) []byte {
	var value []byte
	for _, p := range parts {
		value = append(value, p...)
	}
	b := binary.AppendUvarint([]byte{byte(number<<3 | 2)}, uint64(len(value)))
	return append(b, value...)
}
