package nettest

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// A Podman runs containers whose bridge and firewall rules are in a namespace. It has no daemon, and keeps its containers
// where it always does.
type Podman struct {
	tb testing.TB
	// NS is its host.
	NS *NS
	// CgroupV2 shows Podman a machine that has no other cgroups.
	CgroupV2 bool

	root string
}

// onlyCgroupV2 is a shell command in a mount namespace of its own. The controllers stay where they are. So does what has names of
// network namespaces: Podman would leave a file there that it does not know to be its own the next time.
const onlyCgroupV2 = `mount -t tmpfs none /run/netns && umount -l /sys/fs/cgroup && mount -t cgroup2 none /sys/fs/cgroup && exec podman "$@"`

// NewPodman makes ready for containers of busybox. They are removed at the end of the test.
func NewPodman(tb testing.TB) *Podman {
	tb.Helper()
	NeedPrivileges(tb)
	NeedProgram(tb, "podman")
	p := &Podman{tb: tb, NS: New(tb, "podmanhost"), root: tb.TempDir()}
	p.NS.Up("lo")
	files, err := webFiles()
	for _, f := range files {
		path := filepath.Join(p.root, f.name)
		err = errors.Join(err, os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, f.content, f.mode))
	}
	if err != nil {
		tb.Fatal(err)
	}
	return p
}

// Run starts a container with a web server on a port, with these options of podman run. It returns the id.
func (p *Podman) Run(name string, port int, options ...string) (id string) {
	p.tb.Helper()
	p.tb.Cleanup(func() { p.podman("rm", "--force", "--time", "0", name) })
	args := append([]string{"run", "--detach", "--name", name,
		// More than there are cannot be allowed without CAP_SYS_RESOURCE, and Podman would try to.
		"--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024",
	}, options...)
	if p.CgroupV2 {
		args = append(args, "--pids-limit", "-1") // there may be no controller
	}
	return p.podman(append(args, "--rootfs", p.root, "/bin/busybox", "httpd", "-f", "-p", fmt.Sprint(port), "-h", "/www")...)
}

// Restart stops a container and starts it again, in a new network namespace.
func (p *Podman) Restart(name string) {
	p.tb.Helper()
	p.podman("restart", "--time", "0", name)
}

// Address returns the IPv4 address of a container.
func (p *Podman) Address(name string) string {
	p.tb.Helper()
	return p.podman("inspect", "--format", "{{.NetworkSettings.IPAddress}}", name)
}

// podman runs a command in the namespace and returns what it prints.
func (p *Podman) podman(args ...string) string {
	p.tb.Helper()
	cmd := exec.Command("podman", args...)
	if p.CgroupV2 {
		cmd = exec.Command("unshare", append([]string{"--mount", "sh", "-c", onlyCgroupV2, "podman"}, args...)...)
	}
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	p.NS.Do(func() error {
		if err := cmd.Run(); err != nil {
			return fmt.Errorf("podman %s: %w: %s", strings.Join(args, " "), err, stderr.String())
		}
		return nil
	})
	return strings.TrimSpace(stdout.String())
}
