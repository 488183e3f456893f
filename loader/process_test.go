package loader

import (
	"fmt"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"netobs/loader/nettest"
)

// TestListener: who listens is told soon, and not any more when it stopped.
func TestListener(t *testing.T) {
	t.Parallel()
	ns, other := nettest.New(t, "listener"), nettest.New(t, "listener")
	ns.Up("lo")
	other.Up("lo")
	l := start(t, Selection{}, ns, other)
	id := l.namespaces[0].id
	comm, err := os.ReadFile("/proc/self/comm")
	if err != nil {
		t.Fatal(err)
	}
	self := Process{os.Getpid(), strings.TrimSpace(string(comm))}
	get := func(at string) string {
		p, ok := l.Listener(id, netip.MustParseAddrPort(at))
		return fmt.Sprint(p, ok)
	}
	await := func(at string, want Process, ok bool) {
		t.Helper()
		nettest.Eventually(t, 20*time.Second, func() error {
			if got := get(at); got != fmt.Sprint(want, ok) {
				return fmt.Errorf("%s: got %s, want %v %t", at, got, want, ok)
			}
			return nil
		})
	}
	one, any6 := ns.Listen("127.0.0.1:8080"), ns.Listen("[::]:8081")
	other.Listen("127.0.0.1:8082")
	await("127.0.0.1:8080", self, true)
	await("127.0.0.1:8081", self, true) // in an IPv6 socket
	await("[::1]:8081", self, true)
	for _, at := range []string{"127.0.0.2:8080", "127.0.0.1:8082", "[::1]:8080"} {
		await(at, Process{}, false)
	}
	one.Close()
	any6.Close()
	await("127.0.0.1:8080", Process{}, false)
	await("[::1]:8081", Process{}, false)
	ns.Listen("0.0.0.0:8080")
	await("127.0.0.1:8080", self, true)
}

// BenchmarkListener reports what the reader pays for each line, and what looking costs beside it.
func BenchmarkListener(b *testing.B) {
	ns := nettest.New(b, "listener")
	ns.Up("lo")
	ns.Listen("127.0.0.1:8080")
	l, err := New(Options{Netns: []Netns{mustFind(b, ns.Name)}})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { l.Close() })
	id, at := l.namespaces[0].id, netip.MustParseAddrPort("127.0.0.1:8080")
	look := func() {
		l.processes.asked[id] = true
		l.processes.look()
	}
	look()
	b.Run("look", func(b *testing.B) {
		for b.Loop() {
			look()
		}
	})
	b.Run("known", func(b *testing.B) {
		for b.Loop() {
			if _, ok := l.Listener(id, at); !ok {
				b.Fatal("not known")
			}
		}
	})
	b.Run("check", func(b *testing.B) {
		s := l.processes.by[id][0]
		for b.Loop() {
			if !s.check() {
				b.Fatal("not there")
			}
		}
	})
}
