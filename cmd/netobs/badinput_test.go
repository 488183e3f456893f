package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"netobs/loader/nettest"
)

// TestBadInput checks that each mistake gives one clear line with the remedy on stderr, nothing on stdout, and its code.
func TestBadInput(t *testing.T) {
	ns := nettest.New(t, "bad")
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	ended := exec.Command("true")
	if err := ended.Run(); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name string
		args []string
		code int
		want []string // parts of stderr
	}{
		{"no command of this name", []string{"atach"}, 2, []string{`unknown command "atach"`, `did you mean "attach"`}},
		{"help of no command", []string{"help", "atach"}, 2, []string{`unknown command "atach"`, `did you mean "attach"`}},
		{"help of more than a command", []string{"help", "read", "x"}, 2, []string{`unexpected argument "x"`, "netobs read --help"}},
		{"argument", []string{"attach", "test"}, 2, []string{`unexpected argument "test"`, "netobs attach --help"}},
		{"unknown flag", []string{"attach", "--nets", "x"}, 2, []string{"unknown flag: --nets", "netobs attach --help"}},
		{"nothing to watch", []string{"attach"}, 2, []string{"--netns NAME", "--pid N"}},
		{"excluded from nothing", []string{"attach", "--netns", ns.Name, "--exclude-netns", "x"}, 2, []string{"--exclude-netns goes with --all"}},
		{"glob of namespaces", []string{"attach", "--all", "--exclude-netns", "[a"}, 2, []string{`"[a"`, "syntax error"}},
		{"output", []string{"attach", "--netns", ns.Name, "--output", "xml"}, 2, []string{"text, json or none", `"xml"`}},
		{"kind", []string{"attach", "--netns", ns.Name, "--kind", "vet"}, 2, []string{"--kind vet", "loopback, veth"}},
		{"glob", []string{"attach", "--netns", ns.Name, "--interface", "[a"}, 2, []string{`"[a"`, "syntax error"}},
		{"log level", []string{"attach", "--netns", ns.Name, "--log-level", "loud"}, 2, []string{"--log-level is debug, info, warn or error", `"loud"`}},
		{"latency", []string{"attach", "--netns", ns.Name, "--latency", "0s"}, 2, []string{"--latency 0s", "between 1ms"}},
		{"ring", []string{"attach", "--netns", ns.Name, "--ring-bytes", "100000"}, 2, []string{"--ring-bytes 100000", "power of two"}},
		{"flows", []string{"attach", "--netns", ns.Name, "--flows", "0"}, 2, []string{"--flows 0", "between 1 and"}},
		{"SYN rate", []string{"attach", "--netns", ns.Name, "--syn-rate", "20000000"}, 2, []string{"--syn-rate 20000000", "between 1 and"}},
		{"level of metrics", []string{"attach", "--netns", ns.Name, "--metrics", "all"}, 2, []string{"--metrics is minimal, default or full", `"all"`}},
		{"no namespaces", []string{"attach", "--netns", ns.Name, "--max-namespaces", "0"}, 2, []string{"--max-namespaces 0", "less than 1"}},
		{"port label", []string{"attach", "--netns", ns.Name, "--metrics-port-label=80,http"}, 2, []string{"--metrics-port-label http is no port", "80,443"}},
		{"pid is no number", []string{"attach", "--pid", "init"}, 2, []string{"--pid init is no number", "netobs attach --help"}},
		{"value of a switch", []string{"attach", "--all=yes"}, 2, []string{"--all", "true or false"}},
		{"pid is no pid", []string{"attach", "--pid", "-4"}, 2, []string{"--pid -4"}},
		{"two mistakes", []string{"attach", "--kind", "x", "--netns", "y", "--output", "z"}, 2, []string{"--kind x", `not "z"`}},
		{"near name", []string{"attach", "--netns", ns.Name + "x"}, 1, []string{"did you mean " + ns.Name}},
		{"no namespace", []string{"attach", "--netns", file}, 1, []string{file + " is no network namespace", "/proc/PID/ns/net"}},
		{"ended process", []string{"attach", "--pid", fmt.Sprint(ended.Process.Pid)}, 1, []string{"has ended"}},
		{"port in use", []string{"attach", "--netns", ns.Name, "--listen", taken.Addr().String()}, 1,
			[]string{taken.Addr().String(), "address already in use", "choose another address"}},
		{"no address", []string{"attach", "--netns", ns.Name, "--listen", "nonsense"}, 2, []string{"--listen nonsense is no address"}},
		{"no port", []string{"attach", "--netns", ns.Name, "--listen", "127.0.0.1:99999"}, 2, []string{"99999", "127.0.0.1:9811"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			checkRefused(t, tc.code, tc.want, tc.args...)
		})
	}
	if got := ns.Attached("lo"); got != 0 {
		t.Errorf("%d programs left behind", got)
	}
}

func TestExplain(t *testing.T) {
	for _, tc := range []struct {
		err  error
		want string
	}{
		{fmt.Errorf("attach: %w", ebpf.ErrNotSupported), "lacks a feature"},
		{fmt.Errorf("load: %w", unix.EPERM), "run netobs as root"},
	} {
		if got := explain(tc.err); !strings.Contains(got, tc.want) || !strings.HasPrefix(got, tc.err.Error()) {
			t.Errorf("%q lacks %q", got, tc.want)
		}
	}
}

func TestPortInUseWithoutFlag(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	l, err := listen(taken.Addr().String(), false)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	before, got := taken.Addr().(*net.TCPAddr).Port, l.Addr().(*net.TCPAddr).Port
	if got <= before || got >= before+portsTried {
		t.Errorf("port %d instead of %d, want one of the next", got, before)
	}
}

// TestNothingToWatchYet waits for an interface that matches.
func TestNothingToWatchYet(t *testing.T) {
	a, b := nettest.New(t, "a"), nettest.New(t, "b")
	s := startAttach(t, "--netns", a.Name, "--interface", "eth*")
	for _, want := range []string{"no interface in " + a.Name, "lo (loopback, down)", "--interface", "waiting"} {
		if !strings.Contains(s.stderr.String(), want) {
			t.Errorf("stderr %q lacks %q", s.stderr.String(), want)
		}
	}
	nettest.Veth(a, "eth0", b, "peer")
	s.waitFor(2, "observation_points", label("netns", a.Name))
}

// netobsProcess starts the test binary as netobs.
func netobsProcess(t testing.TB, args ...string) (*exec.Cmd, *buffer) {
	t.Helper()
	return netobsProcessTo(t, nil, args...)
}

// netobsProcessTo is netobsProcess with a standard output.
func netobsProcessTo(t testing.TB, stdout *os.File, args ...string) (*exec.Cmd, *buffer) {
	t.Helper()
	stderr := new(buffer)
	cmd := exec.Command("/proc/self/exe", args...)
	cmd.Env = append(os.Environ(), asNetobs+"=1")
	if stdout != nil {
		cmd.Stdout = stdout
	}
	cmd.Stderr = stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill() })
	nettest.Eventually(t, 30*time.Second, func() error {
		if !strings.Contains(stderr.String(), "watching") {
			return fmt.Errorf("netobs does not watch yet: %s", stderr.String())
		}
		return nil
	})
	return cmd, stderr
}

// TestLeavesNothingBehind on Ctrl-C and on SIGKILL, where only the kernel can clean up.
func TestLeavesNothingBehind(t *testing.T) {
	for _, tc := range []struct {
		sig  syscall.Signal
		hook string
	}{
		{syscall.SIGINT, "tcx"}, {syscall.SIGTERM, "tcx"}, {syscall.SIGKILL, "tcx"}, {syscall.SIGINT, "xdp"}, {syscall.SIGKILL, "xdp"},
	} {
		t.Run(tc.sig.String()+" "+tc.hook, func(t *testing.T) {
			sig := tc.sig
			a, b := nettest.New(t, "a"), nettest.New(t, "b")
			nettest.Veth(a, "eth0", b, "peer")
			cmd, stderr := netobsProcess(t, "attach", "--netns", a.Name, "--listen", "", "--hook", tc.hook)
			if got := a.Attached("eth0") + a.Attached("lo"); got != 3 {
				t.Errorf("%d programs attached, want 3", got)
			}
			if err := cmd.Process.Signal(sig); err != nil {
				t.Fatal(err)
			}
			err := cmd.Wait()
			if sig != syscall.SIGKILL && err != nil {
				t.Errorf("%v, stderr: %s", err, stderr)
			}
			if sig != syscall.SIGKILL && !strings.Contains(stderr.String(), "0 lost") {
				t.Errorf("no summary: %s", stderr)
			}
			nettest.Eventually(t, 10*time.Second, func() error {
				if got := a.Attached("eth0") + a.Attached("lo"); got != 0 {
					return fmt.Errorf("%d programs left behind", got)
				}
				return nil
			})
			a.Delete()
			nettest.Eventually(t, 10*time.Second, func() error {
				if b.Has("peer") {
					return fmt.Errorf("something keeps the namespace alive")
				}
				return nil
			})
		})
	}
}

// TestTwoAtOnce: each netobs on the same interface sees everything.
func TestTwoAtOnce(t *testing.T) {
	ns := nettest.New(t, "two")
	ns.Up("lo")
	first := startAttach(t, "--netns", ns.Name, "--output", "none")
	second := startAttach(t, "--netns", ns.Name, "--output", "none")
	l := load{clients: 1, each: 20, refused: 3, reset: 3, serverFirst: 3, halfClosed: 3}
	l.run(t, ns, ns, "127.0.0.1")
	l.check(t, first, ns.Name, "local")
	l.check(t, second, ns.Name, "local")
	first.end()
	if got := ns.Attached("lo"); got != 1 {
		t.Errorf("%d programs after one of two netobs ended, want the other's", got)
	}
}

// TestLoIsSetUpLater: the point is there before the interface works.
func TestLoIsSetUpLater(t *testing.T) {
	ns := nettest.New(t, "later")
	s := startAttach(t, "--netns", ns.Name)
	s.waitFor(1, "observation_points", label("netns", ns.Name))
	ns.Up("lo")
	l := load{clients: 1, each: 1}
	l.run(t, ns, ns, "127.0.0.1")
	l.check(t, s, ns.Name, "local")
	for _, want := range []string{"handshake completed", "teardown  fin", ns.Name, "127.0.0.1:" + portBoth, "history S"} {
		if !strings.Contains(s.stdout.String(), want) {
			t.Errorf("stdout %q lacks %q", s.stdout.String(), want)
		}
	}
}

// TestGoneNamespace ends its open connections and goes on.
func TestGoneNamespace(t *testing.T) {
	ns, other := nettest.New(t, "gone"), nettest.New(t, "other")
	ns.Up("lo")
	s := startAttach(t, "--netns", ns.Name, "--netns", other.Name)
	l := ns.Listen("127.0.0.1:80")
	c, err := ns.Dial("127.0.0.1:80")
	if err != nil {
		t.Fatal(err)
	}
	s.waitFor(1, "connections", label("netns", ns.Name), label("state", "established"))
	// The sockets keep the namespace alive; the ends of the connection must not be seen.
	ns.Delete()
	c.SetLinger(0)
	c.Close()
	l.Close()
	s.waitFor(0, "observation_points", label("netns", ns.Name))
	s.waitFor(1, "observation_points", label("netns", other.Name))
	s.waitFor(0, "connections", label("netns", ns.Name))
	checkIdentities(t, s.scrape())
}

// TestReaderStops when the output is gone: netobs ends with an error instead of running blind.
func TestReaderStopsWhenOutputFails(t *testing.T) {
	ns := nettest.New(t, "pipe")
	ns.Up("lo")
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	var stderr buffer
	code := make(chan int, 1)
	go func() {
		code <- run(ctx, []string{"attach", "--netns", ns.Name, "--listen", ""}, brokenPipe{}, &stderr)
	}()
	nettest.Eventually(t, 10*time.Second, func() error {
		if !strings.Contains(stderr.String(), "watching") {
			return fmt.Errorf("not yet")
		}
		return nil
	})
	ns.Dial("127.0.0.1:81") // refused: a line to print
	if got := <-code; got != 1 || !strings.Contains(stderr.String(), "broken pipe") {
		t.Errorf("code %d, stderr %q, want 1 and the cause", got, stderr.String())
	}
}

type brokenPipe struct{}

func (brokenPipe) Write([]byte) (int, error) { return 0, syscall.EPIPE }
