package loader

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"netobs/loader/nettest"
)

// allBut excludes all namespaces but those whose name begins with prefix: tests touch only what they made.
func allBut(prefix string) Dynamic {
	d := Dynamic{All: true}
	for i := range prefix {
		d.Exclude = append(d.Exclude, prefix[:i]+"[^"+prefix[i:i+1]+"]*", prefix[:i])
	}
	return d
}

// startAll watches all namespaces whose name begins with prefix, until the end of the test.
func startAll(tb testing.TB, prefix string) *Loader {
	tb.Helper()
	return startWith(tb, Options{Dynamic: allBut(prefix)})
}

func startWith(tb testing.TB, opts Options) *Loader {
	tb.Helper()
	nettest.NeedPrivileges(tb)
	opts.BPF.RingBytes = 1 << 20
	l, err := New(opts)
	if err != nil {
		tb.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	followed := make(chan error, 1)
	if err := l.Attach(ctx); err != nil {
		tb.Fatal(err)
	}
	go func() { followed <- l.Follow(ctx) }()
	tb.Cleanup(func() {
		cancel()
		if err := errors.Join(<-followed, l.Close()); err != nil {
			tb.Error(err)
		}
	})
	return l
}

// netnsWatched returns the names of the namespaces that have a watched interface, once for each of those.
func netnsWatched(l *Loader) (names []string) {
	for _, i := range l.Interfaces() {
		if i.Watched {
			names = append(names, i.Netns)
		}
	}
	slices.Sort(names)
	return names
}

func waitNetns(t *testing.T, l *Loader, want ...string) {
	t.Helper()
	nettest.Eventually(t, 20*time.Second, func() error {
		if got := netnsWatched(l); !slices.Equal(got, want) {
			return fmt.Errorf("watched %q, want %q", got, want)
		}
		return nil
	})
}

func TestAllBut(t *testing.T) {
	d := allBut("qx")
	for name, excluded := range map[string]bool{"qx": false, "qx1": false, "q": true, "host": true, "qy": true, "a": true} {
		if got := slices.ContainsFunc(d.Exclude, func(glob string) bool { ok, _ := filepath.Match(glob, name); return ok }); got != excluded {
			t.Errorf("%s excluded: %t", name, got)
		}
	}
}

// TestAll: namespaces come, go, and come again under their name.
func TestAll(t *testing.T) {
	t.Parallel()
	before := nettest.New(t, "qall-before")
	other := nettest.New(t, "qother")
	l := startAll(t, "qall")
	waitFor(t, l, before, "lo", true) // at once: Attach returned
	later := nettest.New(t, "qall-later")
	waitFor(t, l, later, "lo", true)
	nettest.Veth(later, "eth0", before, "peer0")
	waitFor(t, l, later, "eth0", true)
	waitFor(t, l, before, "peer0", true)
	nettest.Veth(other, "eth0", before, "peer1")
	waitFor(t, l, before, "peer1", true)
	if n := other.Attached("eth0") + other.Attached("lo"); n != 0 {
		t.Errorf("%d programs in an excluded namespace", n)
	}
	// Nothing keeps it: its interfaces end with it, and so do their peers.
	later.Delete()
	waitNetns(t, l, before.Name, before.Name)
	nettest.Eventually(t, 10*time.Second, func() error {
		if before.Has("peer0") {
			return errors.New("the peer of a veth in a deleted namespace is still there")
		}
		return nil
	})
	later.Make()
	waitFor(t, l, later, "lo", true)
	if n := later.Attached("lo"); n != 1 {
		t.Errorf("%d programs on lo of a namespace that was made again, want 1", n)
	}
}

// TestAllComeAndGo: the kernel gives a new namespace the inode of the one that ended just before, and netobs is busy.
func TestAllComeAndGo(t *testing.T) {
	t.Parallel()
	l := startAll(t, "qgo")
	ns := nettest.New(t, "qgo")
	for range 20 {
		ns.Delete()
		ns.Make()
	}
	other := nettest.New(t, "qgo")
	ns.Delete()
	waitNetns(t, l, other.Name)
	if n := other.Attached("lo"); n != 1 {
		t.Errorf("%d programs on lo, want 1", n)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.namespaces) != 1 {
		t.Errorf("%d namespaces known, want 1", len(l.namespaces))
	}
}

// program starts a copy of tail, as name, in a namespace without a name.
func program(t *testing.T, name string, args ...string) *exec.Cmd {
	t.Helper()
	dir := t.TempDir()
	tail, err := exec.LookPath("tail")
	if err != nil {
		t.Fatal(err)
	}
	copyFile(t, tail, filepath.Join(dir, name))
	cmd := exec.Command(filepath.Join(dir, name), args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	return cmd
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	in, err := os.Open(from)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY, 0o755)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(out, in); err != nil {
		t.Fatal(err)
	}
	if err := out.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestAllOfProcesses: two namespaces that have the name of their program, the same one. They are counted as one.
func TestAllOfProcesses(t *testing.T) {
	t.Parallel()
	l := startAll(t, "qproc")
	a := program(t, "qproc", "-f", "/dev/null")
	b := program(t, "qproc", "-f", "/dev/null")
	waitNetns(t, l, "qproc", "qproc")
	stats, err := l.Stats()
	if err != nil {
		t.Fatal(err)
	}
	if len(stats.Points) != 1 || stats.Attached[Attachment{"qproc", HookTCX}] != 2 {
		t.Errorf("points %+v attached %+v, want one with the labels of two", stats.Points, stats.Attached)
	}
	a.Process.Kill()
	a.Wait()
	waitNetns(t, l, "qproc")
	b.Process.Kill()
	b.Wait()
	waitNetns(t, l)
}

// TestAllRenamed: points go on under the new name, and what they counted stays where it was.
func TestAllRenamed(t *testing.T) {
	t.Parallel()
	l := startAll(t, "qname")
	ns := nettest.New(t, "qname-first")
	ns.Up("lo")
	ns.Serve("127.0.0.1:80", func(c *nettest.Conn) { c.Close() })
	waitFor(t, l, ns, "lo", true)
	connect := func() {
		c, err := ns.Dial("127.0.0.1:80")
		if err != nil {
			t.Fatal(err)
		}
		c.Close()
	}
	connect()
	first, second := ns.Name, ns.Name+"-second"
	ns.SetName(second)
	waitNetns(t, l, second)
	connect()
	syns := make(map[string]uint64)
	stats, err := l.Stats()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range stats.Points {
		syns[p.Netns] += p.Flags()[1]
	}
	if syns[first] != 2 || syns[second] != 2 {
		t.Errorf("SYNs %v, want 2 under each name", syns)
	}
}

// BenchmarkReady says how long after a namespace, or a veth pair in two, was begun to be made all its points are attached.
func BenchmarkReady(b *testing.B) {
	b.Run("tcx", func(b *testing.B) { benchmarkReady(b, false) })
	b.Run("fast", func(b *testing.B) { benchmarkReady(b, true) })
}

func benchmarkReady(b *testing.B, fast bool) {
	start := func(b *testing.B) *watchingLog {
		w := &watchingLog{tb: b, ready: make(chan string, 100)}
		startWith(b, Options{Dynamic: allBut("qready"), FastAttach: fast, Log: slog.New(slog.NewTextHandler(w, nil))})
		return w
	}
	b.Run("namespace", func(b *testing.B) {
		w := start(b)
		var delays []time.Duration
		for b.Loop() {
			start := time.Now()
			ns := nettest.New(b, "qready")
			w.wait(ns.Name + "/lo")
			delays = append(delays, time.Since(start))
			ns.Delete()
		}
		reportDelays(b, delays)
	})
	b.Run("veth", func(b *testing.B) {
		w := start(b)
		one, two := nettest.New(b, "qready"), nettest.New(b, "qready")
		w.wait(one.Name+"/lo", two.Name+"/lo")
		var delays []time.Duration
		for i := 0; b.Loop(); i++ {
			start := time.Now()
			name := fmt.Sprint("eth", i)
			nettest.Veth(one, name, two, name)
			w.wait(one.Name+"/"+name, two.Name+"/"+name)
			delays = append(delays, time.Since(start))
			one.Remove(name)
		}
		reportDelays(b, delays)
	})
}

// watchingLog tells of each interface that is watched as it is logged, as NETNS/INTERFACE.
type watchingLog struct {
	tb    testing.TB
	ready chan string
}

func (w *watchingLog) Write(line []byte) (int, error) {
	if strings.Contains(string(line), "msg=watching ") {
		_, rest, _ := strings.Cut(string(line), "netns=")
		netns, rest, _ := strings.Cut(rest, " interface=")
		name, _, _ := strings.Cut(rest, " ")
		w.ready <- netns + "/" + name
	}
	return len(line), nil
}

func (w *watchingLog) wait(all ...string) {
	w.tb.Helper()
	deadline := time.After(20 * time.Second)
	for len(all) > 0 {
		select {
		case got := <-w.ready:
			all = slices.DeleteFunc(all, func(s string) bool { return s == got })
		case <-deadline:
			w.tb.Fatalf("not watched: %q", all)
		}
	}
}

func reportDelays(b *testing.B, delays []time.Duration) {
	slices.Sort(delays)
	ms := func(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
	b.ReportMetric(ms(delays[0]), "min-ms")
	b.ReportMetric(ms(delays[len(delays)/2]), "p50-ms")
	b.ReportMetric(ms(delays[len(delays)*99/100]), "p99-ms")
	b.ReportMetric(0, "ns/op")
}
