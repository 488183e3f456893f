package deploy

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"kernel.org/pub/linux/libs/security/libcap/cap"

	"netobs/loader/nettest"
)

// buildDir is where built puts it.
var buildDir string

func TestMain(m *testing.M) {
	var err error
	if buildDir, err = os.MkdirTemp("", "netobs-deploy"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	os.RemoveAll(buildDir)
	os.Exit(code)
}

// built is netobs, as make build makes it but for the version.
var built = sync.OnceValues(func() (string, error) {
	name := filepath.Join(buildDir, "netobs")
	build := exec.Command("go", "build", "-trimpath", "-o", name, "..")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%w\n%s", err, out)
	}
	return name, nil
})

func mustBuild(t *testing.T) string {
	t.Helper()
	name, err := built()
	if err != nil {
		t.Fatal(err)
	}
	return name
}

// setting returns the value of a setting of the service.
func setting(t *testing.T, name string) string {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(write(t, "systemd"), "netobs.service"))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(content)) {
		if value, ok := strings.CutPrefix(strings.TrimSpace(line), name+"="); ok {
			return value
		}
	}
	t.Fatalf("no %s= in the service", name)
	return ""
}

// TestService: netobs works as the service starts it, as far as that can be had without systemd: the command, its socket, the
// message that it is ready, the bounding set, no new privileges, a file system that is read-only. System calls are not filtered
// here.
func TestService(t *testing.T) {
	t.Parallel()
	nettest.NeedPrivileges(t)
	prefix := fmt.Sprintf("unit%dx", os.Getpid())
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	socket, err := l.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	notify := filepath.Join(t.TempDir(), "notify")
	told, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: notify, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer told.Close()

	command := strings.Fields(strings.ReplaceAll(setting(t, "ExecStart"), "$NETOBS_ARGS", ""))
	args := append([]string{"-c", `LISTEN_PID=$$ exec "$@"`, "sh", mustBuild(t)}, command[1:]...)
	cmd := exec.Command("/bin/sh", append(args, allBut(prefix)...)...)
	cmd.Env = []string{"LISTEN_FDS=1", "NOTIFY_SOCKET=" + notify}
	cmd.ExtraFiles = []*os.File{socket}
	cmd.Stdout, cmd.Stderr = t.Output(), t.Output()
	started := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		if err := confine(strings.Fields(setting(t, "CapabilityBoundingSet"))); err != nil {
			started <- err
			return
		}
		started <- cmd.Start()
	}()
	if err := <-started; err != nil {
		t.Fatal(err)
	}
	ended := false
	defer func() {
		if !ended {
			cmd.Process.Signal(unix.SIGTERM)
			cmd.Wait()
		}
	}()

	message := make([]byte, 100)
	told.SetReadDeadline(time.Now().Add(time.Minute))
	if n, err := told.Read(message); err != nil || string(message[:n]) != "READY=1" {
		t.Fatalf("netobs told %q, %v", message[:n], err)
	}
	addr := "http://" + l.Addr().String()
	res, err := http.Get(addr + "/readyz")
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if res.StatusCode != http.StatusOK {
		t.Errorf("/readyz: %s", res.Status)
	}
	later := nettest.New(t, prefix)
	later.Up("lo")
	nettest.Eventually(t, 30*time.Second, func() error {
		if n := later.Attached("lo"); n != 1 {
			return fmt.Errorf("%d programs at lo of a namespace that came later", n)
		}
		return nil
	})
	cmd.Process.Signal(unix.SIGTERM)
	ended = true
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
}

// confine restricts the thread, and what it starts, as the service is.
func confine(bounding []string) error {
	for c := range cap.MaxBits() {
		kept := false
		for _, name := range bounding {
			kept = kept || strings.EqualFold(name, c.String())
		}
		if bound, err := cap.GetBound(c); err == nil && bound && !kept {
			if err := unix.Prctl(unix.PR_CAPBSET_DROP, uintptr(c), 0, 0, 0); err != nil {
				return err
			}
		}
	}
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return err
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_SLAVE, ""); err != nil {
		return err
	}
	if err := unix.Mount("", "/", "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
		return err
	}
	return unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
}
