package loader

import (
	"errors"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"netobs/loader/nettest"
)

// overflow has n SYNs find the accept queue of a listening socket full.
func overflow(ns *nettest.NS, n int) {
	ns.Do(func() error {
		server, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
		if err != nil {
			return err
		}
		defer unix.Close(server)
		at := &unix.SockaddrInet4{Port: 81, Addr: [4]byte{127, 0, 0, 1}}
		err = errors.Join(unix.SetsockoptInt(server, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1), unix.Bind(server, at),
			unix.Listen(server, 0))
		if err != nil {
			return err
		}
		for range n + 1 { // one has room
			client, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK, 0)
			if err != nil {
				return err
			}
			if err := unix.Connect(client, at); err != nil && !errors.Is(err, unix.EINPROGRESS) {
				return err
			}
			defer unix.Close(client) // before it sends again
		}
		return nil
	})
}

// listened returns the counters of a namespace, read now.
func listened(tb testing.TB, l *Loader, ns *nettest.NS) (c ListenCounts, ok bool) {
	tb.Helper()
	l.listenMu.Lock()
	l.listened = time.Time{}
	l.listenMu.Unlock()
	stats, err := l.Stats()
	if err != nil {
		tb.Fatal(err)
	}
	c, ok = stats.Listens[ns.Name]
	return c, ok
}

// TestListens: what the kernel counted since the namespace is watched, and it goes on when a new namespace gets the name.
func TestListens(t *testing.T) {
	t.Parallel()
	prefix := fmt.Sprintf("listen%dx", os.Getpid())
	a, other := nettest.New(t, prefix), nettest.New(t, "other")
	nettest.Veth(a, "eth0", other, "toA")
	a.Up("lo")
	overflow(a, 3)
	l := startWith(t, Options{Dynamic: allBut(prefix), Keep: time.Second})
	want := func(when string, want ListenCounts) {
		t.Helper()
		if got, ok := listened(t, l, a); !ok || got != want {
			t.Errorf("%s: %+v (%v), want %+v", when, got, ok, want)
		}
	}
	want("from the start", ListenCounts{})
	overflow(a, 2)
	want("while watched", ListenCounts{2, 2})
	overflow(a, 1)
	if got, err := l.Stats(); err != nil || got.Listens[a.Name] != (ListenCounts{2, 2}) {
		t.Errorf("%+v, %v: want those of a moment ago, without entering the namespace again", got.Listens, err)
	}
	want("a moment later", ListenCounts{3, 3})

	a.Delete()
	nettest.Eventually(t, 20*time.Second, func() (err error) {
		if _, ok := listened(t, l, a); ok {
			err = errors.New("it is still told")
		}
		other.Do(func() error {
			if _, gone := netlink.LinkByName("toA"); gone == nil {
				err = errors.Join(err, errors.New("the namespace still exists"))
			}
			return nil
		})
		return err
	})
}

// TestListensGoOn when a namespace gets another name, or its name another namespace.
func TestListensGoOn(t *testing.T) {
	l := &Loader{listenTotals: make(map[string]ListenCounts)}
	a := &namespace{Netns: Netns{Name: "a"}, listens: &listens{base: ListenCounts{5, 7}, last: ListenCounts{6, 9}}}
	l.namespaces = []*namespace{a}
	want := func(when string, want map[string]ListenCounts) {
		t.Helper()
		if got := l.listenStats(); fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%s: %v, want %v", when, got, want)
		}
	}
	want("at first", map[string]ListenCounts{"a": {1, 2}})
	a.listens.unreadable = true
	want("not to be read", map[string]ListenCounts{})
	a.listens.unreadable = false
	l.foldListens(a)
	a.Name = "b"
	a.listens.last = ListenCounts{10, 19}
	want("with another name", map[string]ListenCounts{"a": {1, 2}, "b": {4, 10}})
	l.foldListens(a)
	l.namespaces = []*namespace{{Netns: Netns{Name: "b"}, listens: &listens{last: ListenCounts{1, 1}}}, {Netns: Netns{Name: "c"}}}
	want("another namespace", map[string]ListenCounts{"a": {1, 2}, "b": {5, 11}})
}

func TestParseNetstat(t *testing.T) {
	for _, tc := range []struct {
		name, text string
		want       ListenCounts
		ok         bool
	}{
		{"both", "TcpExt: A ListenOverflows ListenDrops B\nTcpExt: 1 2 3 4\nIpExt: C\nIpExt: 5\n", ListenCounts{2, 3}, true},
		{"other groups first", "IpExt: ListenDrops\nIpExt: 5\nTcpExt: ListenDrops ListenOverflows\nTcpExt: 3 2\n", ListenCounts{2, 3}, true},
		{"no values", "TcpExt: ListenOverflows ListenDrops\n", ListenCounts{}, false},
		{"cut off", "TcpExt: ListenOverflows ListenDrops\nTcpExt: 2\n", ListenCounts{}, false},
		{"no number", "TcpExt: ListenOverflows ListenDrops\nTcpExt: 2 x\n", ListenCounts{}, false},
		{"only one of them", "TcpExt: ListenDrops\nTcpExt: 2\n", ListenCounts{}, false},
		{"nothing", "", ListenCounts{}, false},
	} {
		got, err := parseNetstat([]byte(tc.text))
		if tc.ok != (err == nil) || tc.ok && got != tc.want {
			t.Errorf("%s: %+v, %v, want %+v, ok %v", tc.name, got, err, tc.want, tc.ok)
		}
	}
}

// BenchmarkListens is what entering 20 namespaces costs a scrape.
func BenchmarkListens(b *testing.B) {
	var all []*nettest.NS
	for range 20 {
		all = append(all, nettest.New(b, "listens"))
	}
	l := &Loader{listenTotals: make(map[string]ListenCounts)}
	for _, a := range all {
		ns := &namespace{Netns: mustFind(b, a.Name)}
		if err := ns.Do(func() error { l.beginListens(ns); return nil }); err != nil {
			b.Fatal(err)
		}
		l.namespaces = append(l.namespaces, ns)
	}
	for b.Loop() {
		l.listened = time.Time{}
		l.countListens()
	}
}
