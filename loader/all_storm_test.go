package loader

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"netobs/bpf"
	"netobs/loader/nettest"
)

// TestAllStorm: namespaces with veths come and go at random under traffic. Nothing is said to be wrong, and nothing is left:
// no goroutine, no file descriptor, which each link, program and map has, and nothing in memory.
func TestAllStorm(t *testing.T) {
	nettest.NeedPrivileges(t)
	took := 15 * time.Second
	if testing.Short() {
		took = 4 * time.Second
	}
	hub := nettest.New(t, "qstorm-hub")
	hub.Up("lo")
	hub.Serve("127.0.0.1:80", func(c *nettest.Conn) { c.Close() })
	goroutines, fds := counts(t)

	var log lockedBuffer
	l, err := New(Options{
		Dynamic: allBut("qstorm"),
		BPF:     bpf.Options{RingBytes: 1 << 20},
		Log:     slog.New(slog.NewTextHandler(&log, nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	if err := l.Attach(ctx); err != nil {
		t.Fatal(err)
	}
	followed := make(chan error, 1)
	go func() { followed <- l.Follow(ctx) }()
	waitFor(t, l, hub, "lo", true)
	busyGoroutines, busyFDs := counts(t)

	var workers sync.WaitGroup
	const parallel = 6
	for w := range parallel {
		workers.Go(func() {
			ns := nettest.New(t, fmt.Sprint("qstorm-", w))
			ns.Delete()
			for end := time.Now().Add(took); time.Now().Before(end); {
				ns.Make()
				ns.Up("lo")
				nettest.Veth(ns, "eth0", hub, fmt.Sprint("veth", w))
				if c, err := hub.Dial("127.0.0.1:80"); err == nil {
					c.Close()
				}
				time.Sleep(time.Duration(rand.IntN(200)) * time.Millisecond) // it lives for as long, so sometimes not until it is watched
				if rand.IntN(2) == 0 {
					hub.Remove(fmt.Sprint("veth", w))
				}
				ns.Delete()
				nettest.Eventually(t, 10*time.Second, func() error {
					if hub.Has(fmt.Sprint("veth", w)) {
						return errors.New("the veth of a deleted namespace is still there")
					}
					return nil
				})
			}
		})
	}
	workers.Wait()
	nettest.Eventually(t, 20*time.Second, func() error {
		l.mu.Lock()
		defer l.mu.Unlock()
		if len(l.namespaces) != 1 || len(l.namespaces[0].links) != 1 {
			return fmt.Errorf("%d namespaces are known, want that of the hub with its lo", len(l.namespaces))
		}
		return nil
	})
	checkCounts(t, "after the storm", busyGoroutines, busyFDs)
	cancel()
	if err := errors.Join(<-followed, l.Close()); err != nil {
		t.Error(err)
	}
	checkCounts(t, "after the end", goroutines, fds)
	for line := range strings.Lines(log.String()) {
		if strings.Contains(line, "level=ERROR") || strings.Contains(line, "level=WARN") && !strings.Contains(line, "could not be looked at") {
			t.Error(line)
		}
	}
	made := strings.Count(log.String(), "found network namespace")
	if made < 2 {
		t.Error("only the namespace of the hub was found")
	}
	t.Logf("%d namespaces found, %d interfaces watched", made, strings.Count(log.String(), "msg=watching"))
}

func counts(t *testing.T) (goroutines, fds int) {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return runtime.NumGoroutine(), len(entries)
}

func checkCounts(t *testing.T, when string, goroutines, fds int) {
	t.Helper()
	nettest.Eventually(t, 10*time.Second, func() error {
		if g, f := counts(t); g > goroutines || f > fds {
			return fmt.Errorf("%s: %d goroutines and %d file descriptors, want %d and %d", when, g, f, goroutines, fds)
		}
		return nil
	})
}

// lockedBuffer can be read while it is written.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}
