package main

import (
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/cilium/ebpf"

	"netobs/loader/nettest"
)

// wantFilters checks what tc has on an interface.
func wantFilters(t *testing.T, ns *nettest.NS, name string, clsact bool, want ...string) {
	t.Helper()
	if got := ns.Filters(name); !slices.Equal(got, want) {
		t.Errorf("filters on %s: %q, want %q", name, got, want)
	}
	if got := ns.HasClsact(name); got != clsact {
		t.Errorf("clsact qdisc on %s: %v, want %v", name, got, clsact)
	}
}

// kill runs netobs at the tc hook in a namespace, and kills it.
func kill(t *testing.T, ns *nettest.NS) {
	t.Helper()
	cmd, _ := netobsProcess(t, "attach", "--netns", ns.Name, "--listen", "", "--hook", "tc")
	if err := cmd.Process.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	cmd.Wait()
}

// killedBesideOthers makes a namespace with an interface where somebody has a filter and one where nobody has, and lets a
// netobs that was killed leave something on both, beside one that is running.
func killedBesideOthers(t *testing.T) (ns *nettest.NS, running *session) {
	ns = nettest.New(t, "a")
	ns.Bridge("used")
	nettest.NewForeign(t, ebpf.SchedCLS, nettest.TCPass).TC(ns, "used", false, 1, 1)
	kill(t, ns)
	wantFilters(t, ns, "used", true, "ingress netobs 1", "ingress foreign 1", "egress netobs 1")
	wantFilters(t, ns, "lo", true, "egress netobs+clsact 1")
	return ns, startAttach(t, "--netns", ns.Name, "--hook", "tc", "--interface", "used")
}

// TestNextStartRemovesLeftovers, also on interfaces that it does not watch.
func TestNextStartRemovesLeftovers(t *testing.T) {
	t.Parallel()
	ns, running := killedBesideOthers(t)
	wantFilters(t, ns, "used", true, "ingress netobs 1", "ingress foreign 1", "egress netobs 1")
	wantFilters(t, ns, "lo", false)
	running.waitFor(2, "observation_points", label("hook", "tc"))

	// The next one leaves the filters of the first, which runs, alone, and what was killed after its start is found again.
	kill(t, ns)
	next := startAttach(t, "--netns", ns.Name, "--hook", "tc", "--interface", "lo")
	wantFilters(t, ns, "used", true, "ingress netobs 1", "ingress foreign 1", "egress netobs 1")
	wantFilters(t, ns, "lo", true, "egress netobs+clsact 1")
	if stderr := next.end(); !strings.Contains(stderr, "removed what a netobs that was killed had left") {
		t.Errorf("stderr does not say what was removed: %s", stderr)
	}
	running.end()
	wantFilters(t, ns, "used", true, "ingress foreign 1")
	wantFilters(t, ns, "lo", false)
}

func TestDetachRemovesLeftovers(t *testing.T) {
	t.Parallel()
	ns, running := killedBesideOthers(t)
	kill(t, ns)
	code, stdout, stderr := runHere(t, "detach", "--netns", ns.Name)
	for _, want := range []string{
		"used in " + ns.Name + ": removed 2 filters\n",
		"used in " + ns.Name + ": 2 filters of a netobs that is running\n",
		"lo in " + ns.Name + ": removed 1 filter\n",
	} {
		if !strings.Contains(stdout, want) {
			t.Errorf("stdout %q lacks %q", stdout, want)
		}
	}
	if code != 0 || stderr != "" {
		t.Errorf("code %d, stderr %q", code, stderr)
	}
	wantFilters(t, ns, "lo", false)
	running.end()
	wantFilters(t, ns, "used", true, "ingress foreign 1")
	if code, stdout, _ := runHere(t, "detach", "--netns", ns.Name); code != 0 || stdout != "nothing was left behind\n" {
		t.Errorf("code %d, stdout %q, want that nothing was left behind", code, stdout)
	}
}

// TestDetachEverywhere finds leftovers without being told where. Not beside the tests that leave some for others to find.
func TestDetachEverywhere(t *testing.T) {
	ns := nettest.New(t, "a")
	kill(t, ns)
	if code, stdout, stderr := runHere(t, "detach"); code != 0 || !strings.Contains(stdout, "lo in "+ns.Name+": removed 1 filter\n") {
		t.Errorf("code %d, stdout %q, stderr %q", code, stdout, stderr)
	}
	wantFilters(t, ns, "lo", false)
}

// TestDetachesWhenReaderGoes: when nobody reads the output any more, as after head, netobs takes its filters along.
func TestDetachesWhenReaderGoes(t *testing.T) {
	t.Parallel()
	ns := nettest.New(t, "a")
	ns.Up("lo")
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	cmd, stderr := netobsProcessTo(t, w, "attach", "--netns", ns.Name, "--listen", "", "--hook", "tc")
	wantFilters(t, ns, "lo", true, "egress netobs+clsact 1")
	w.Close()
	r.Close()
	ns.Dial("127.0.0.1:81") // refused: a line to print
	cmd.Wait()
	if code := cmd.ProcessState.ExitCode(); code != exitFailed || !strings.Contains(stderr.String(), "broken pipe") {
		t.Errorf("ended with %v, stderr %q, want %d and the cause", cmd.ProcessState, stderr.String(), exitFailed)
	}
	wantFilters(t, ns, "lo", false)
}

// TestDetachesWhenTerminalGoes, of which SIGHUP tells.
func TestDetachesWhenTerminalGoes(t *testing.T) {
	t.Parallel()
	hangUp := syscall.SIGHUP
	if signal.Ignored(hangUp) {
		hangUp = syscall.SIGTERM // these tests run under nohup, and so does what they start
	}
	ns := nettest.New(t, "a")
	cmd, stderr := netobsProcess(t, "attach", "--netns", ns.Name, "--listen", "", "--hook", "tc")
	if err := cmd.Process.Signal(hangUp); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("%v: %s", err, stderr.String())
	}
	wantFilters(t, ns, "lo", false)
}

func TestHookUsage(t *testing.T) {
	checkRefused(t, exitFailed, []string{"no network namespace"}, "detach", "--netns", "nothing-like-this")
	checkRefused(t, exitUsage, []string{"--hook", "none of auto, tcx, tc, xdp"}, "attach", "--netns", "host", "--hook", "kprobe")
}
