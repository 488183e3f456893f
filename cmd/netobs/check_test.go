package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"netobs/loader"
	"netobs/loader/nettest"
	"netobs/loader/preflight"
)

// withCapabilities starts netobs as a process of its own that has no other capabilities than these. It is killed at the end
// of the test.
func withCapabilities(t *testing.T, bits []int, args ...string) (cmd *exec.Cmd, stdout, stderr *buffer) {
	t.Helper()
	stdout, stderr = new(buffer), new(buffer)
	cmd = exec.Command(os.Args[0], args...)
	cmd.Env = append(os.Environ(), asNetobs+"=1")
	cmd.Stdout, cmd.Stderr = stdout, stderr
	started := make(chan error)
	go func() {
		// What root has after exec is what the bounding set of the thread that starts it has (capabilities(7)). The
		// thread ends with the goroutine.
		runtime.LockOSThread()
		started <- errors.Join(dropAllBut(bits), cmd.Start())
	}()
	if err := <-started; err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill() })
	return cmd, stdout, stderr
}

// dropAllBut reduces the bounding set of the calling thread.
func dropAllBut(bits []int) error {
	keep := make(map[int]bool)
	for _, bit := range bits {
		keep[bit] = true
	}
	for bit := range 64 {
		has, err := unix.PrctlRetInt(unix.PR_CAPBSET_READ, uintptr(bit), 0, 0, 0)
		if err != nil {
			return nil // the kernel has no more
		}
		if has == 0 || keep[bit] {
			continue
		}
		if err := unix.Prctl(unix.PR_CAPBSET_DROP, uintptr(bit), 0, 0, 0); err != nil {
			return fmt.Errorf("drop capability %d: %w", bit, err)
		}
	}
	return nil
}

// needed returns the capabilities that are documented to be enough for a namespace with a name.
func needed() (bits []int, names []string) {
	for _, c := range preflight.Capabilities() {
		if !c.Optional {
			bits, names = append(bits, c.Bit), append(names, c.Name)
		}
	}
	return bits, names
}

// TestCapabilities watches a handshake with each hook and exactly the documented capabilities.
func TestCapabilities(t *testing.T) {
	bits, names := needed()
	for _, hook := range loader.Hooks() {
		t.Run(hook, func(t *testing.T) {
			t.Parallel()
			ns := nettest.New(t, "cap")
			ns.Up("lo")
			ns.Listen("127.0.0.1:80")
			cmd, stdout, stderr := withCapabilities(t, bits, "attach", "--netns", ns.Name, "--hook", hook, "--listen", "")
			nettest.Eventually(t, 30*time.Second, func() error {
				if !strings.Contains(stderr.String(), "watching") {
					return fmt.Errorf("netobs with %v does not watch: %s", names, stderr.String())
				}
				return nil
			})
			c, err := ns.Dial("127.0.0.1:80")
			if err != nil {
				t.Fatal(err)
			}
			c.Close()
			nettest.Eventually(t, 30*time.Second, func() error {
				if !strings.Contains(stdout.String(), "handshake completed") {
					return fmt.Errorf("netobs with %v saw no handshake: %q, %s", names, stdout.String(), stderr.String())
				}
				return nil
			})
			cmd.Process.Signal(os.Interrupt)
			if err := cmd.Wait(); err != nil {
				t.Errorf("netobs with %v: %v: %s", names, err, stderr.String())
			}
			if n := ns.Attached("lo"); n != 0 || ns.HasClsact("lo") {
				t.Errorf("netobs with %v left %d programs behind", names, n)
			}
		})
	}
}

// TestCapabilityMissing shows that each of them is needed, and that netobs says so.
func TestCapabilityMissing(t *testing.T) {
	nettest.NeedPrivileges(t)
	bits, names := needed()
	for i, name := range names {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ns := nettest.New(t, "cap")
			ns.Up("lo")
			less := append(append([]int(nil), bits[:i]...), bits[i+1:]...)
			cmd, stdout, stderr := withCapabilities(t, less, "attach", "--netns", ns.Name, "--listen", "")
			var exit *exec.ExitError
			if err := cmd.Wait(); !errors.As(err, &exit) || exit.ExitCode() != exitFailed {
				t.Fatalf("netobs without %s: %v, want exit code %d: %q, %s", name, err, exitFailed, stdout.String(), stderr.String())
			}
			if !strings.Contains(stderr.String(), name) {
				t.Errorf("netobs without %s does not name it: %s", name, stderr.String())
			}
			// And so says the check.
			cmd, stdout, stderr = withCapabilities(t, less, "check", "--output", "json")
			if err := cmd.Wait(); !errors.As(err, &exit) || exit.ExitCode() != exitFailed {
				t.Errorf("netobs check without %s: %v, want exit code %d: %s", name, err, exitFailed, stderr.String())
			}
			r := mustReport(t, stdout.String())
			if f := finding(r, "capability", name); r.CanAttach || f.State != preflight.Missing || f.Remedy == "" {
				t.Errorf("netobs check without %s: can attach %v, %+v", name, r.CanAttach, f)
			}
			if name != "CAP_SYS_ADMIN" {
				return
			}
			// What could not be looked at is not said to be clean.
			for about, what := range map[string]string{"leftover": "filters", "program": "interfaces"} {
				if f := finding(r, about, what); f.State != preflight.Note || !strings.Contains(f.Detail, "operation not permitted") {
					t.Errorf("netobs check without %s: %+v", name, f)
				}
			}
		})
	}
}

func mustReport(t *testing.T, text string) *preflight.Report {
	t.Helper()
	var r preflight.Report
	if err := json.Unmarshal([]byte(text), &r); err != nil {
		t.Fatalf("%v: %q", err, text)
	}
	return &r
}

func finding(r *preflight.Report, about, name string) preflight.Finding {
	for _, f := range r.Findings {
		if f.About == about && f.Name == name {
			return f
		}
	}
	return preflight.Finding{}
}

// TestCheck also finds what a killed netobs left, and leaves it there. Not beside tests that remove it.
func TestCheck(t *testing.T) {
	ns := nettest.New(t, "a")
	code, stdout, stderr := runHere(t, "check", "--output", "json")
	if code != 0 || stderr != "" {
		t.Errorf("code %d, stderr %q, want 0 and nothing", code, stderr)
	}
	r := mustReport(t, stdout)
	if !r.CanAttach {
		t.Errorf("cannot attach: %s", stdout)
	}
	if f := finding(r, "hook", loader.HookTC); f.State != preflight.OK {
		t.Errorf("hook tc: %+v", f)
	}
	kill(t, ns)
	if code, stdout, _ = runHere(t, "check"); code != 0 || !strings.HasSuffix(stdout, "\nnetobs attach works here\n") {
		t.Errorf("code %d, %s", code, stdout)
	}
	for line := range strings.Lines(stdout) {
		if strings.HasSuffix(line, " \n") {
			t.Errorf("line %q ends with a space", line)
		}
	}
	want := "lo in " + ns.Name
	if !strings.Contains(stdout, want) || !strings.Contains(stdout, "1 filter of a netobs that was killed; netobs detach") {
		t.Errorf("lacks the filter that was left on %s:\n%s", want, stdout)
	}
	if code, stdout, stderr := runHere(t, "detach", "--netns", ns.Name); code != 0 || !strings.Contains(stdout, "removed 1 filter") {
		t.Errorf("the check removed what it found: code %d, %s %s", code, stdout, stderr)
	}
}
