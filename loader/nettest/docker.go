package nettest

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

const dockerSocket = "/run/docker.sock"

// A Docker is a Docker Engine of the test's own, whose bridge and firewall rules are in a namespace. There can be one at a
// time, as it listens where everybody looks for it.
type Docker struct {
	tb testing.TB
	// NS is its host.
	NS *NS

	http http.Client
}

// StartDocker starts an engine with an image of busybox, until the end of the test.
func StartDocker(tb testing.TB) *Docker {
	tb.Helper()
	return startDocker(tb, func() error { return nil })
}

// StartDockerShared starts one whose mounts are shared, as systemd makes them: containers can hear of mounts of the host. Its own
// mounts are not seen by others.
func StartDockerShared(tb testing.TB) *Docker {
	tb.Helper()
	return startDocker(tb, func() error {
		if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
			return err
		}
		return unix.Mount("", "/", "", unix.MS_REC|unix.MS_SHARED, "")
	})
}

// startDocker prepares the thread on which the daemon is started.
func startDocker(tb testing.TB, prepare func() error) *Docker {
	tb.Helper()
	NeedPrivileges(tb)
	waitTurn(tb, "/run/netobs-test-docker.lock")
	d := &Docker{tb: tb, NS: New(tb, "dockerhost")}
	d.http.Transport = &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", dockerSocket)
	}}
	files, err := webFiles()
	if err == nil {
		_, err = exec.LookPath("dockerd")
	}
	if err == nil && d.call("GET", "/_ping", nil, nil) == nil {
		err = errors.New("another Docker Engine listens on " + dockerSocket)
	}
	if err != nil {
		if os.Getenv("NETOBS_TEST_PRIVILEGED") == "1" {
			tb.Fatalf("needs Docker and a static busybox of its own, and NETOBS_TEST_PRIVILEGED=1 says that nothing is missing: %v", err)
		}
		tb.Skipf("needs Docker and a static busybox of its own: %v", err)
	}
	d.NS.Up("lo")
	d.start(prepare)
	if err := d.call("POST", "/images/create?fromSrc=-&repo=busybox&tag=test", bytes.NewReader(tarOf(tb, files)), nil); err != nil {
		tb.Fatal(err)
	}
	return d
}

// waitTurn holds a lock until the end of the test, as tests of several packages run at once.
func waitTurn(tb testing.TB, path string) {
	tb.Helper()
	lock, err := os.Create(path)
	if err == nil {
		err = unix.Flock(int(lock.Fd()), unix.LOCK_EX)
	}
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { lock.Close() })
}

// Run runs the docker command, and returns what it printed.
func (d *Docker) Run(args ...string) string {
	d.tb.Helper()
	cmd := exec.Command("docker", args...)
	cmd.Env = append(os.Environ(), "DOCKER_HOST=unix://"+dockerSocket, "DOCKER_BUILDKIT=0")
	out, err := cmd.CombinedOutput()
	if err != nil {
		d.tb.Fatalf("docker %q: %v\n%s", args, err, out)
	}
	return string(out)
}

// start runs the daemon, and stops it at the end of the test.
func (d *Docker) start(prepare func() error) {
	dir := d.tb.TempDir()
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		d.tb.Fatal(err)
	}
	defer log.Close()
	daemon := exec.Command("dockerd", "--data-root", filepath.Join(dir, "data"), "--pidfile", filepath.Join(dir, "pid"),
		"--host", "unix://"+dockerSocket, "--storage-driver", "vfs")
	daemon.Stdout, daemon.Stderr = log, log
	d.NS.Do(func() error {
		if err := prepare(); err != nil {
			return err
		}
		return daemon.Start()
	})
	ended := make(chan error, 1)
	go func() { ended <- daemon.Wait() }()
	d.tb.Cleanup(func() {
		daemon.Process.Signal(unix.SIGTERM)
		if err := <-ended; err != nil {
			d.tb.Errorf("dockerd: %v", err)
		}
	})
	Eventually(d.tb, time.Minute, func() error {
		select {
		case err := <-ended:
			ended <- err
			said, _ := os.ReadFile(log.Name())
			d.tb.Fatalf("dockerd ended: %v\n%s", err, said)
		default:
		}
		return d.call("GET", "/_ping", nil, nil)
	})
}

// A file of the file system of a container.
type file struct {
	name    string
	mode    os.FileMode
	content []byte
}

// webFiles are what it takes to run a web server: busybox, and a page.
func webFiles() ([]file, error) {
	busybox, err := os.ReadFile("/bin/busybox")
	return []file{{"bin/busybox", 0o755, busybox}, {"www/index.html", 0o644, []byte("hello\n")}}, err
}

// tarOf packs files.
func tarOf(tb testing.TB, files []file) []byte {
	tb.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, f := range files {
		err := w.WriteHeader(&tar.Header{Name: f.name, Mode: int64(f.mode), Size: int64(len(f.content))})
		if err == nil {
			_, err = w.Write(f.content)
		}
		if err != nil {
			tb.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		tb.Fatal(err)
	}
	return b.Bytes()
}

// call does a request of the Engine API and reads the answer into result, if that is not nil.
func (d *Docker) call(method, path string, body io.Reader, result any) error {
	req, err := http.NewRequest(method, "http://engine"+path, body)
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	res, err := d.http.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(res.Body)
	if err != nil {
		return err
	}
	if res.StatusCode >= 300 {
		return fmt.Errorf("%s %s: %s: %s", method, path, res.Status, bytes.TrimSpace(answer))
	}
	if result == nil {
		return nil
	}
	return json.Unmarshal(answer, result)
}

func (d *Docker) mustCall(method, path string, body io.Reader, result any) {
	d.tb.Helper()
	if err := d.call(method, path, body, result); err != nil {
		d.tb.Fatal(err)
	}
}

// Serve starts a container with a web server on port 80, which is published on a port of the host unless that is 0. It
// returns the id. The container is removed at the end of the test.
func (d *Docker) Serve(name string, published int) (id string) {
	d.tb.Helper()
	config := map[string]any{
		"Image": "busybox:test",
		"Cmd":   []string{"/bin/busybox", "httpd", "-f", "-p", "80", "-h", "/www"},
	}
	if published != 0 {
		ports := map[string]any{"80/tcp": []map[string]string{{"HostPort": fmt.Sprint(published)}}}
		config["ExposedPorts"] = map[string]any{"80/tcp": map[string]any{}}
		config["HostConfig"] = map[string]any{"PortBindings": ports}
	}
	body, err := json.Marshal(config)
	if err != nil {
		d.tb.Fatal(err)
	}
	var made struct{ ID string }
	d.mustCall("POST", "/containers/create?name="+name, bytes.NewReader(body), &made)
	d.tb.Cleanup(func() { d.call("DELETE", "/containers/"+made.ID+"?force=1", nil, nil) })
	d.mustCall("POST", "/containers/"+made.ID+"/start", nil, nil)
	return made.ID
}

// Restart stops a container and starts it again, in a new network namespace.
func (d *Docker) Restart(name string) {
	d.tb.Helper()
	d.mustCall("POST", "/containers/"+name+"/restart?t=0", nil, nil)
}

// Address returns the IPv4 address of a container.
func (d *Docker) Address(name string) string {
	d.tb.Helper()
	var about struct {
		NetworkSettings struct{ IPAddress string }
	}
	d.mustCall("GET", "/containers/"+name+"/json", nil, &about)
	return about.NetworkSettings.IPAddress
}
