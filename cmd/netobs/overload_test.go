package main

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"netobs/loader/nettest"
)

// worker is a netobs attach in a process of its own, that can be stopped and whose CPU time can be read.
type worker struct {
	session
	process *os.Process
}

func startWorker(t testing.TB, args ...string) *worker {
	t.Helper()
	cmd, stderr := netobsProcess(t, append([]string{"attach", "--listen", "127.0.0.1:0", "--output", "none"}, args...)...)
	w := &worker{session: session{tb: t}, process: cmd.Process}
	nettest.Eventually(t, 30*time.Second, func() error {
		match := metricsAddr.FindStringSubmatch(stderr.String())
		if match == nil {
			return fmt.Errorf("no metrics yet: %s", stderr)
		}
		w.addr = match[1]
		return nil
	})
	t.Cleanup(func() {
		w.signal(syscall.SIGINT)
		if err := cmd.Wait(); err != nil {
			t.Errorf("%v, stderr: %s", err, stderr)
		}
	})
	return w
}

func (w *worker) signal(sig syscall.Signal) {
	w.tb.Helper()
	if err := w.process.Signal(sig); err != nil {
		w.tb.Error(err)
	}
}

// cpu returns the CPU time that the process used so far.
func (w *worker) cpu() time.Duration {
	w.tb.Helper()
	return cpuOf(w.tb, w.process.Pid)
}

// cpuOf returns the CPU time of a process, by its clock: process id and which clock are in its number (clock_getcpuclockid(3)).
func cpuOf(tb testing.TB, pid int) time.Duration {
	tb.Helper()
	const scheduler = 2
	var ts unix.Timespec
	if err := unix.ClockGettime(int32(^pid<<3|scheduler), &ts); err != nil {
		tb.Fatalf("CPU clock of process %d: %v", pid, err)
	}
	return time.Duration(ts.Nano())
}

// drained waits until all that was reported is read.
func (w *worker) drained() {
	w.tb.Helper()
	nettest.Eventually(w.tb, time.Minute, func() error {
		m := w.scrape()
		reported, read := m.sum("control_segments_total", label("disposition", "reported")), m.sum("records_read_total")
		if reported != read {
			return fmt.Errorf("%v reported, %v read", reported, read)
		}
		return nil
	})
}

// rest waits until all that was reported is read and each handshake has its verdict, and holds the identities.
func (w *worker) rest() samples {
	w.tb.Helper()
	var m samples
	nettest.Eventually(w.tb, time.Minute, func() error {
		m = w.scrape()
		reported, read := m.sum("control_segments_total", label("disposition", "reported")), m.sum("records_read_total")
		if open := m.sum("connections", label("state", "handshake")); open > 0 || reported != read {
			return fmt.Errorf("%v handshakes under way, %v reported, %v read", open, reported, read)
		}
		return nil
	})
	checkIdentities(w.tb, m)
	return m
}

// grow scrapes until the returned function is called, which says when a counter became less.
func (w *worker) grow() (stop func()) {
	done := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		before := samples{}
		for {
			select {
			case <-done:
				return
			case <-time.After(20 * time.Millisecond):
			}
			now := w.scrape()
			for key, v := range before {
				if name, _, _ := strings.Cut(key, "{"); strings.HasSuffix(name, "_total") && now[key] < v {
					w.tb.Errorf("%s went from %v to %v", key, v, now[key])
				}
			}
			before = now
		}
	})
	return func() { close(done); wg.Wait() }
}

// kernelTCP returns a counter of the kernel's own, of all TCP in a namespace: InSegs, OutSegs.
func kernelTCP(t *testing.T, ns *nettest.NS, name string) (n float64) {
	t.Helper()
	ns.Do(func() error {
		snmp, err := os.ReadFile("/proc/thread-self/net/snmp")
		if err != nil {
			return err
		}
		var names []string
		for line := range strings.Lines(string(snmp)) {
			f := strings.Fields(line)
			switch {
			case f[0] == "Tcp:" && names == nil:
				names = f
			case f[0] == "Tcp:":
				for i := range f {
					if names[i] == name {
						n, err = strconv.ParseFloat(f[i], 64)
						return err
					}
				}
			}
		}
		return errors.New("no " + name)
	})
	return n
}

// TestOverload: whatever is too small or too slow, every segment is counted, all that was decided about is accounted for,
// and no verdict is made up.
func TestOverload(t *testing.T) {
	for _, tc := range []struct {
		name  string
		args  []string
		stop  bool // netobs is stopped for longer than a handshake is given, while the load runs
		exact bool // all verdicts are those of an idle host
		lossy bool
	}{
		{name: "connection rate", exact: true},
		{name: "tiny ring", args: []string{"--ring-bytes", fmt.Sprint(os.Getpagesize())}, lossy: true},
		{name: "stopped", stop: true, exact: true},
		{name: "stopped with a small ring", args: []string{"--ring-bytes", "65536"}, stop: true, lossy: true},
		{name: "tiny flow map", args: []string{"--flows", "64"}},
		{name: "low rate limit", args: []string{"--syn-rate", "100"}, lossy: true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			ns := nettest.New(t, "load")
			ns.Up("lo")
			w := startWorker(t, append(tc.args, "--netns", ns.Name)...)
			before := kernelTCP(t, ns, "InSegs")
			stopGrowing := func() {}
			l := load{clients: 4, each: 1000, refused: 50, reset: 50, serverFirst: 50, halfClosed: 50}
			if testing.Short() {
				l.each = 200
			}
			var silence <-chan time.Time
			if tc.stop {
				w.signal(syscall.SIGSTOP)
				silence = time.After(3500 * time.Millisecond)
			} else {
				stopGrowing = w.grow()
			}
			l.run(t, ns, ns, "127.0.0.1")
			if tc.stop {
				<-silence
				w.signal(syscall.SIGCONT)
			}
			if tc.exact {
				l.check(t, &w.session, ns.Name, "local")
			}
			m := w.rest()
			stopGrowing()
			if got, want := m.sum("segments_total"), kernelTCP(t, ns, "InSegs")-before; got != want {
				t.Errorf("%v segments counted, the kernel says %v", got, want)
			}
			outcome := func(o string) float64 { return m.sum("handshakes_total", label("outcome", o)) }
			limited := m.sum("control_segments_total", label("disposition", "rate_limited"))
			lost := limited + m.sum("control_segments_total", label("disposition", "ring_full"))
			t.Logf("%v control segments, %v lost; completed %v, refused %v, unknown %v, unseen %v, torn down %v, still open %v",
				m.sum("control_segments_seen_total"), lost, outcome("completed"), outcome("refused"), outcome("unknown"),
				m.sum("connections_unseen_total"), m.sum("teardowns_total"), m.sum("connections"))
			if lost > 0 != tc.lossy {
				t.Errorf("%v events lost", lost)
			}
			for _, o := range []string{"unanswered", "half_open", "aborted", "reset"} {
				if n := outcome(o); n != 0 {
					t.Errorf("%v handshakes %s, and there was none", n, o)
				}
			}
			if got := outcome("completed"); got > float64(l.completed()) {
				t.Errorf("%v handshakes completed, more than the %d that there were", got, l.completed())
			}
			if got := outcome("refused"); got > float64(l.refused) || limited > 0 && got != float64(l.refused) {
				t.Errorf("%v handshakes refused, and there were %d", got, l.refused) // an RST is not limited
			}
			if limited > 0 && outcome("completed") != float64(l.completed()) { // nor is a completing ACK
				t.Errorf("%v handshakes completed, and there were %d", outcome("completed"), l.completed())
			}
		})
	}
}
