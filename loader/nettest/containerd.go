package nettest

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// ContainerdSocket is where containerd serves the Container Runtime Interface.
const ContainerdSocket = "/run/containerd/containerd.sock"

// ContainerdImage has a web server on port 80.
const ContainerdImage = "docker.io/library/web:test"

// StartContainerd starts a containerd of the test's own, with one image, until the end of the test. Its pods get addresses
// of a bridge in the namespace it returns. There can be one at a time, as it listens where everybody looks for it.
func StartContainerd(tb testing.TB) *NS {
	tb.Helper()
	NeedPrivileges(tb)
	for _, program := range []string{"containerd", "ctr", "runc", "busybox"} {
		NeedProgram(tb, program)
	}
	if c, err := net.Dial("unix", ContainerdSocket); err == nil {
		c.Close()
		tb.Fatal("another containerd listens on " + ContainerdSocket)
	}
	host := New(tb, "containerdhost")
	host.Up("lo")
	dir := tb.TempDir()
	write := func(name string, content []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, content, 0o600); err != nil {
			tb.Fatal(err)
		}
		return path
	}
	config := write("config.toml", fmt.Appendf(nil, containerdConfig, dir, ContainerdSocket, ContainerdImage))
	write("10-bridge.conflist", fmt.Appendf(nil, containerdNetwork, dir))
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		tb.Fatal(err)
	}
	defer log.Close()
	daemon := exec.Command("containerd", "--config", config)
	daemon.Stdout, daemon.Stderr = log, log
	host.Do(daemon.Start)
	tb.Cleanup(func() {
		daemon.Process.Signal(unix.SIGTERM)
		if err := daemon.Wait(); err != nil {
			said, _ := os.ReadFile(log.Name())
			tb.Errorf("containerd: %v\n%s", err, said)
		}
	})
	archive := write("image.tar", dockerArchive(tb))
	Eventually(tb, time.Minute, func() error {
		out, err := exec.Command("ctr", "--namespace", "k8s.io", "images", "import", "--snapshotter", "native", archive).CombinedOutput()
		if err != nil {
			return fmt.Errorf("ctr images import: %w: %s", err, out)
		}
		return nil
	})
	return host
}

// containerdConfig: everything in a directory, a file system that needs nothing of the machine's, and no more processes' lives
// to protect than we may.
const containerdConfig = `version = 2
root = "%[1]s/root"
state = "%[1]s/state"
[grpc]
  address = %[2]q
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = %[3]q
  restrict_oom_score_adj = true
  disable_apparmor = true
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "native"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "%[1]s"
`

const containerdNetwork = `{"cniVersion": "0.4.0", "name": "pods", "plugins": [{
  "type": "bridge", "bridge": "cni0", "isGateway": true,
  "ipam": {"type": "host-local", "dataDir": "%[1]s/addresses", "ranges": [[{"subnet": "10.89.0.0/24"}]]}
}]}
`

// dockerArchive is the image as "docker save" writes it.
func dockerArchive(tb testing.TB) []byte {
	tb.Helper()
	files, err := webFiles()
	if err != nil {
		tb.Fatal(err)
	}
	layer := tarOf(tb, files)
	mustJSON := func(v any) []byte {
		b, err := json.Marshal(v)
		if err != nil {
			tb.Fatal(err)
		}
		return b
	}
	return tarOf(tb, []file{
		{"layer.tar", 0o644, layer},
		{"config.json", 0o644, mustJSON(map[string]any{
			"architecture": runtime.GOARCH,
			"os":           "linux",
			"config":       map[string]any{"Cmd": []string{"/bin/busybox", "httpd", "-f", "-p", "80", "-h", "/www"}},
			"rootfs":       map[string]any{"type": "layers", "diff_ids": []string{fmt.Sprintf("sha256:%x", sha256.Sum256(layer))}},
		})},
		{"manifest.json", 0o644, mustJSON([]map[string]any{{
			"Config": "config.json", "RepoTags": []string{ContainerdImage}, "Layers": []string{"layer.tar"},
		}})},
	})
}
