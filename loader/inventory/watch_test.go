package inventory

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"netobs/loader/nettest"
)

// init keeps the goroutines that change their namespace off the main thread, which says what the host's is.
func init() { runtime.LockOSThread() }

// follower keeps what a Watcher tells.
type follower struct {
	tb      testing.TB
	updates chan Update
	watcher *Watcher
	now     map[ID]Namespace
	forgot  map[ID]bool
	heard   []Change
}

// follow starts a Watcher that ends with the test.
func follow(tb testing.TB) *follower {
	tb.Helper()
	nettest.NeedPrivileges(tb)
	w, err := NewWatcher()
	if err != nil {
		tb.Fatal(err)
	}
	if w.connector == nil {
		tb.Fatal("no process connector")
	}
	f := &follower{tb, make(chan Update), w, make(map[ID]Namespace), make(map[ID]bool), nil}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx, f.updates) }()
	tb.Cleanup(func() {
		cancel()
		if err := errors.Join(<-done, w.Close()); err != nil {
			tb.Error(err)
		}
	})
	f.take(<-f.updates)
	return f
}

func (f *follower) take(u Update) {
	f.tb.Helper()
	for _, c := range u.Changes {
		_, known := f.now[c.ID]
		if known != (c.Kind != Added) && !f.forgot[c.ID] {
			f.tb.Errorf("%s %s: known before: %t", c.Kind, c.Label, known)
		}
		f.now[c.ID] = c.Namespace
		if c.Kind == Removed {
			delete(f.now, c.ID)
		}
	}
	f.heard = append(f.heard, u.Changes...)
}

// until takes updates until there is a change that ok accepts, and returns it.
func (f *follower) until(what string, ok func(Change) bool) Change {
	f.tb.Helper()
	deadline := time.After(20 * time.Second)
	for {
		if i := slices.IndexFunc(f.heard, ok); i >= 0 {
			c := f.heard[i]
			f.heard = f.heard[i+1:]
			return c
		}
		f.heard = nil
		select {
		case u := <-f.updates:
			f.take(u)
		case <-deadline:
			f.tb.Fatalf("not told: %s", what)
		}
	}
}

func (f *follower) forget(id ID) {
	f.forgot[id] = true
	f.watcher.Forget(id)
}

func (f *follower) wait(kind Kind, label string) Change {
	f.tb.Helper()
	return f.until(fmt.Sprint(label, " ", kind), func(c Change) bool { return c.Kind == kind && c.Label == label })
}

// isolated starts a program in a network namespace without a name, and ends it with the test.
func isolated(tb testing.TB, program ...string) *exec.Cmd {
	tb.Helper()
	cmd := exec.Command(program[0], program[1:]...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET}
	if err := cmd.Start(); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { kill(cmd) })
	return cmd
}

func kill(cmd *exec.Cmd) {
	cmd.Process.Kill()
	cmd.Wait()
}

func TestWatch(t *testing.T) {
	t.Parallel()
	before := nettest.New(t, "before")
	f := follow(t)
	t.Run("what there was", func(t *testing.T) {
		f.wait(Added, before.Name)
		if c := f.wait(Added, HostName); !c.Host {
			t.Errorf("%+v is not the host", c)
		}
	})
	t.Run("name", func(t *testing.T) {
		ns := nettest.New(t, "new")
		c := f.wait(Added, ns.Name)
		if want := []string{"/run/netns/" + ns.Name}; !slices.Equal(c.Paths, want) || c.Pid != 0 {
			t.Errorf("%+v, want paths %v and no process", c, want)
		}
		process := exec.Command("sleep", "60")
		ns.Do(process.Start)
		t.Cleanup(func() { kill(process) })
		f.until("process in "+ns.Name, func(c Change) bool { return c.Kind == Changed && c.Pid == process.Process.Pid })
		// Its name goes: the process keeps it.
		ns.Delete()
		f.wait(Changed, "sleep")
		kill(process)
		f.until("end of sleep", func(o Change) bool {
			// Somebody else's may have its number by now.
			return o.ID == c.ID && (o.Kind == Removed || o.Pid != process.Process.Pid)
		})
	})
	t.Run("process", func(t *testing.T) {
		cmd := isolated(t, "tail", "-f", "/dev/null")
		c := f.until("tail", func(c Change) bool { return c.Kind == Added && c.Pid == cmd.Process.Pid })
		if c.Label != "tail" || len(c.Paths) != 0 {
			t.Errorf("%+v", c)
		}
	})
}

// TestForget: a namespace that got the number of one that ended is told as a new one.
func TestForget(t *testing.T) {
	t.Parallel()
	ns := nettest.New(t, "forget")
	cmd := isolated(t, "tail", "-f", "/dev/null")
	f := follow(t)
	named := f.wait(Added, ns.Name)
	unnamed := f.until("tail", func(c Change) bool { return c.Pid == cmd.Process.Pid })
	for _, c := range []Change{named, unnamed} {
		f.forget(c.ID)
		f.until(c.Label+" again", func(o Change) bool { return o.Kind == Added && o.ID == c.ID })
	}
	f.forget(ID{1, 2}) // of which there is none
	ns.Delete()
	f.wait(Removed, ns.Name)
}

// TestWithoutPermission: what may not be looked at is counted.
func TestWithoutPermission(t *testing.T) {
	nettest.NeedPrivileges(t)
	cmd := exec.Command("sleep", "60")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { kill(cmd) })
	done := make(chan Snapshot)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread, which gives up its capabilities, ends with the goroutine
		if err := unix.Capset(&unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}, &make([]unix.CapUserData, 2)[0]); err != nil {
			t.Error(err)
		}
		s, err := Scan(context.Background())
		if err != nil {
			t.Error(err)
		}
		done <- s
	}()
	s := <-done
	if s.Skipped[SkipPermission] == 0 || len(s.Namespaces) == 0 {
		t.Errorf("%+v", s)
	}
}

// TestProcessThatEnds: one that ends while it is looked at is not one that may not be looked at.
func TestProcessThatEnds(t *testing.T) {
	nettest.NeedPrivileges(t)
	s, err := newScanner("")
	if err != nil {
		t.Fatal(err)
	}
	s.skipped = make(map[Skip]int)
	for range 300 {
		cmd := exec.Command("true")
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		done := make(chan error)
		go func() { done <- cmd.Wait() }()
		for err == nil {
			_, err = s.netnsOf(cmd.Process.Pid)
		}
		if s.skip(err); len(s.skipped) > 0 {
			t.Fatalf("%v: skipped %v, want none", err, s.skipped)
		}
		err = <-done
	}
}

// BenchmarkNotice says how long after a namespace was made it is told: milliseconds.
func BenchmarkNotice(b *testing.B) {
	if err := os.MkdirAll("/run/netns", 0o755); err != nil {
		b.Fatal(err)
	}
	b.Run("name", func(b *testing.B) {
		f := follow(b)
		var delays []time.Duration
		for b.Loop() {
			ns := nettest.New(b, "bench")
			made := time.Now()
			f.wait(Added, ns.Name)
			delays = append(delays, time.Since(made))
			ns.Delete()
			f.wait(Removed, ns.Name)
		}
		report(b, delays)
	})
	b.Run("process", func(b *testing.B) {
		f := follow(b)
		var delays []time.Duration
		for b.Loop() {
			cmd := isolated(b, "sleep", "60")
			made := time.Now() // Start returns when exec succeeded
			c := f.until("sleep", func(c Change) bool { return c.Kind == Added && c.Pid == cmd.Process.Pid })
			delays = append(delays, time.Since(made))
			kill(cmd)
			f.forget(c.ID)
		}
		report(b, delays)
	})
}

func report(b *testing.B, delays []time.Duration) {
	slices.Sort(delays)
	ms := func(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
	b.ReportMetric(ms(delays[len(delays)/2]), "p50-ms")
	b.ReportMetric(ms(delays[len(delays)*99/100]), "p99-ms")
	b.ReportMetric(0, "ns/op")
}

// BenchmarkScan looks at 500 processes more than there are.
func BenchmarkScan(b *testing.B) {
	nettest.NeedPrivileges(b)
	for range 500 {
		cmd := exec.Command("sleep", "60")
		if err := cmd.Start(); err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { kill(cmd) })
	}
	s, err := newScanner("")
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		s.scanProcesses()
	}
	b.ReportMetric(float64(s.looked), "processes")
}

// BenchmarkExec is what running a program costs, without a listener to the process connector and with one.
func BenchmarkExec(b *testing.B) {
	nettest.NeedPrivileges(b)
	path, err := filepath.EvalSymlinks("/bin/true")
	if err != nil {
		b.Fatal(err)
	}
	run := func(b *testing.B) {
		for b.Loop() {
			if err := exec.Command(path).Run(); err != nil {
				b.Fatal(err)
			}
		}
	}
	b.Run("alone", run)
	b.Run("watched", func(b *testing.B) {
		f := follow(b)
		go func() {
			for range f.updates { // ends with the process
			}
		}()
		run(b)
	})
}
