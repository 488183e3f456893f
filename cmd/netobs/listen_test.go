package main

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"netobs/loader/nettest"
)

func status(addr, path string) int {
	res, err := http.Get("http://" + addr + path)
	if err != nil {
		return 0
	}
	res.Body.Close()
	return res.StatusCode
}

// TestReady: netobs answers while it is still attaching, and says when it is done.
func TestReady(t *testing.T) {
	t.Parallel()
	ns := nettest.New(t, "ready")
	s := startAttach(t, "--netns", ns.Name)
	for path, want := range map[string]int{"/healthz": 200, "/readyz": 200, "/": 200, "/debug/pprof/": 404} {
		if got := status(s.addr, path); got != want {
			t.Errorf("%s is %d, want %d", path, got, want)
		}
	}
	s.end()
	s = startAttach(t, "--netns", ns.Name, "--web.pprof")
	if got := status(s.addr, "/debug/pprof/"); got != 200 {
		t.Errorf("/debug/pprof/ is %d", got)
	}
}

// TestNotReady: of many interfaces, not all are watched at once.
func TestNotReady(t *testing.T) {
	t.Parallel()
	ns := nettest.New(t, "ready")
	for n := range 10 {
		ns.Bridge(fmt.Sprintf("br%d", n))
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	cmd := netobsOn(t, l, "attach", "--netns", ns.Name, "--web.systemd-socket", "--kind", "any")
	addr := l.Addr().String()
	l.Close()
	var seen []int
	nettest.Eventually(t, 20*time.Second, func() error {
		got := status(addr, "/readyz")
		if len(seen) == 0 || seen[len(seen)-1] != got {
			seen = append(seen, got)
		}
		if got != 200 {
			return errors.New("netobs is not ready")
		}
		return nil
	})
	if seen[0] != 503 {
		t.Errorf("/readyz was %v, want 503 before 200", seen)
	}
	cmd.Process.Signal(unix.SIGTERM)
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
}

// netobsOn starts netobs as systemd does: it gets an open socket, and its own process id in the environment.
func netobsOn(t *testing.T, l net.Listener, args ...string) *exec.Cmd {
	t.Helper()
	nettest.NeedPrivileges(t)
	file, err := l.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	cmd := exec.Command("/bin/sh", append([]string{"-c", `LISTEN_PID=$$ exec /proc/self/fd/4 "$@"`, "netobs"}, args...)...)
	self, err := os.Open("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	defer self.Close()
	cmd.ExtraFiles = []*os.File{file, self}
	cmd.Env = append(os.Environ(), asNetobs+"=1", "LISTEN_FDS=1")
	cmd.Stderr = t.Output()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Signal(unix.SIGTERM)
		cmd.Wait()
	})
	return cmd
}

// TestHTTPS: the address that is printed is one that works.
func TestHTTPS(t *testing.T) {
	t.Parallel()
	ns := nettest.New(t, "https")
	dir := t.TempDir()
	file := filepath.Join(dir, "web.yml")
	for name, content := range map[string]string{
		file:                            "tls_server_config:\n  cert_file: server.crt\n  key_file: server.key\n",
		filepath.Join(dir, "users.yml"): "basic_auth_users:\n  prometheus: $2b$04$" + strings.Repeat("x", 53) + "\n",
	} {
		if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	checkRefused(t, exitFailed, []string{"--web.config.file " + file, "server.crt"}, "attach", "--netns", ns.Name,
		"--web.config.file", file)
	s := startAttach(t, "--netns", ns.Name, "--web.config.file", filepath.Join(dir, "users.yml"))
	for _, path := range []string{"/metrics", "/healthz", "/readyz", "/"} {
		if got := status(s.addr, path); got != http.StatusUnauthorized {
			t.Errorf("%s without password is %d", path, got)
		}
	}
	w := webOptions{config: file}
	if got := w.scheme(); got != "https" {
		t.Errorf("with TLS the scheme is %s", got)
	}
}

func TestNoInheritedSocket(t *testing.T) {
	checkRefused(t, exitFailed, []string{"--web.systemd-socket", ".socket unit"}, "attach", "--netns", "host", "--web.systemd-socket")
	checkRefused(t, exitUsage, []string{"exclude each other"}, "attach", "--netns", "host", "--web.systemd-socket", "--listen", ":1")
}
