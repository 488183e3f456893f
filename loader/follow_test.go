package loader

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"netobs/bpf"
	"netobs/decode"
	"netobs/loader/nettest"
)

// start watches namespaces until the end of the test.
func start(t *testing.T, sel Selection, watched ...*nettest.NS) *Loader {
	t.Helper()
	opts := Options{Select: sel, BPF: bpf.Options{RingBytes: 1 << 20}}
	for _, ns := range watched {
		opts.Netns = append(opts.Netns, mustFind(t, ns.Name))
	}
	l, err := New(opts)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	followed := make(chan error, 1)
	if err := l.Attach(t.Context()); err != nil {
		t.Fatal(err)
	}
	go func() { followed <- l.Follow(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := errors.Join(<-followed, l.Close()); err != nil {
			t.Error(err)
		}
	})
	return l
}

func mustFind(tb testing.TB, name string) Netns {
	tb.Helper()
	ns, err := FindNetns(name)
	if err != nil {
		tb.Fatal(err)
	}
	return ns
}

// waitFor waits until an interface is watched, or not (also when there is none).
func waitFor(t *testing.T, l *Loader, ns *nettest.NS, name string, watched bool) {
	t.Helper()
	nettest.Eventually(t, 10*time.Second, func() error {
		got := false
		for _, i := range l.Interfaces() {
			got = got || i.Netns == ns.Name && i.Name == name && i.Watched
		}
		if got != watched {
			return fmt.Errorf("%s in %s: watched %v, want %v: %+v", name, ns.Name, got, watched, l.Interfaces())
		}
		return nil
	})
}

func waitDetached(t *testing.T, ns *nettest.NS, name string) {
	t.Helper()
	nettest.Eventually(t, 10*time.Second, func() error {
		if got := ns.Attached(name); got != 0 {
			return fmt.Errorf("%d programs on %s in %s, want none", got, name, ns.Name)
		}
		return nil
	})
}

func TestFollowsInterfaces(t *testing.T) {
	a, b, c := nettest.New(t, "a"), nettest.New(t, "b"), nettest.New(t, "c")
	l := start(t, Selection{}, a, b)
	waitFor(t, l, a, "lo", true)

	nettest.Veth(a, "eth0", b, "peer") // appears
	waitFor(t, l, a, "eth0", true)
	waitFor(t, l, b, "peer", true)
	if got := a.Attached("eth0"); got != 2 {
		t.Errorf("%d programs on eth0, want 2", got)
	}
	if got := a.Attached("lo"); got != 1 {
		t.Errorf("%d programs on lo, want 1: egress alone", got)
	}

	a.Rename("eth0", "wan0") // is renamed
	waitFor(t, l, a, "wan0", true)
	waitFor(t, l, a, "eth0", false)
	if got := a.Attached("wan0"); got != 2 {
		t.Errorf("%d programs on the renamed interface, want the same 2", got)
	}

	a.Move("wan0", b) // moves to a namespace that is watched: new points there
	waitFor(t, l, a, "wan0", false)
	waitFor(t, l, b, "wan0", true)
	if got := b.Attached("wan0"); got != 2 {
		t.Errorf("%d programs on the moved interface, want 2: the old ones went", got)
	}

	b.Move("wan0", c) // moves to one that is not
	waitFor(t, l, b, "wan0", false)
	waitDetached(t, c, "wan0") // or the programs came along

	b.Remove("peer") // disappears
	waitFor(t, l, b, "peer", false)
	nettest.Veth(a, "eth0", b, "peer") // and comes again under the old name
	waitFor(t, l, b, "peer", true)
	a.Bridge("br0") // a bridge is of the kinds watched
	waitFor(t, l, a, "br0", true)

	stats, err := l.Stats()
	if err != nil {
		t.Fatal(err)
	}
	if len(stats.AttachErrors) != 0 {
		t.Errorf("attach errors: %v", stats.AttachErrors)
	}
	if got := stats.Attached[Attachment{a.Name, HookTCX}]; got != 5 {
		t.Errorf("%d points in %s, want 5: lo, eth0 and br0", got, a.Name)
	}
}

func TestSelection(t *testing.T) {
	a, b := nettest.New(t, "a"), nettest.New(t, "b")
	nettest.Veth(a, "eth0", b, "peer0")
	l := start(t, Selection{Names: []string{"eth*"}}, a)
	waitFor(t, l, a, "eth0", true)
	waitFor(t, l, a, "lo", false)
	a.Rename("eth0", "wan0") // matches no more
	waitDetached(t, a, "wan0")
	a.Rename("wan0", "eth1")
	waitFor(t, l, a, "eth1", true)
}

func TestSameNamespaceTwiceIsWatchedOnce(t *testing.T) {
	a := nettest.New(t, "a")
	l := start(t, Selection{}, a, a)
	if got := l.Interfaces(); len(got) != 1 {
		t.Errorf("%+v, want lo once", got)
	}
}

// TestDeletedNamespaceTakesItsVethsAway would fail if anything were kept open in the namespace.
func TestDeletedNamespaceTakesItsVethsAway(t *testing.T) {
	a, b := nettest.New(t, "a"), nettest.New(t, "b")
	nettest.Veth(a, "eth0", b, "peer")
	l := start(t, Selection{}, a)
	reader, err := l.NewReader(time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	waitFor(t, l, a, "eth0", true)
	a.Delete()
	nettest.Eventually(t, 5*time.Second, func() error {
		if b.Has("peer") {
			return errors.New("the peer of a veth in a deleted namespace is still there")
		}
		return nil
	})
	nettest.Eventually(t, 5*time.Second, func() error {
		var seg decode.Segment
		if err := reader.Next(&seg); !errors.Is(err, ErrDrained) {
			return fmt.Errorf("reader: %w", err)
		}
		if gone := reader.Gone(); len(gone) != 1 || gone[0] != 1 {
			return fmt.Errorf("gone namespaces: %v, want the first", gone)
		}
		return nil
	})
	if got := l.Interfaces(); len(got) != 0 {
		t.Errorf("%+v of a deleted namespace", got)
	}
}

// TestListsAgain is what happens when rtnetlink events were lost.
func TestListsAgain(t *testing.T) {
	a, b := nettest.New(t, "a"), nettest.New(t, "b")
	nettest.Veth(a, "eth0", b, "peer0")
	l, err := New(Options{Netns: []Netns{mustFind(t, a.Name)}})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if err := l.Attach(t.Context()); err != nil {
		t.Fatal(err)
	}
	// Nobody follows: these are missed.
	nettest.Veth(a, "eth1", b, "peer1")
	a.Remove("eth0")
	ns := l.namespaces[0]
	l.relistOrLetGo(ns)
	for len(l.pending) > 0 {
		if err := l.attachNext(); err != nil {
			t.Fatal(err)
		}
	}
	waitFor(t, l, a, "eth0", false)
	waitFor(t, l, a, "eth1", true)
	a.Delete()
	l.relistOrLetGo(ns)
	if got := l.Interfaces(); len(got) != 0 {
		t.Errorf("%+v of a deleted namespace", got)
	}
}

// TestSlotsAreUsedAgain shows that a point starts from zero where its slot had another user, and that nothing counted
// is forgotten.
func TestSlotsAreUsedAgain(t *testing.T) {
	a := nettest.New(t, "a")
	a.Up("lo")
	l, err := New(Options{Netns: []Netns{mustFind(t, a.Name)}})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	a.Serve("127.0.0.1:80", func(c *nettest.Conn) { c.Close() })
	var before uint64
	for range 3 {
		if err := l.Attach(t.Context()); err != nil {
			t.Fatal(err)
		}
		c, err := a.Dial("127.0.0.1:80")
		if err != nil {
			t.Fatal(err)
		}
		c.Close()
		if err := l.detachAll(); err != nil {
			t.Fatal(err)
		}
		stats, err := l.Stats()
		if err != nil {
			t.Fatal(err)
		}
		if len(stats.Points) != 1 {
			t.Fatalf("counters of %+v, want of lo alone", stats.Points)
		}
		got := stats.Points[0].Segments()
		if got <= before || got > before+12 {
			t.Errorf("%d segments after one more connection, %d before", got, before)
		}
		before = got
	}
	if l.slots.next != 1 {
		t.Errorf("%d slots used, want one again and again", l.slots.next)
	}
}

// TestOverflow: events that were queued before the list was made must not be applied after it.
func TestOverflow(t *testing.T) {
	a, b, c := nettest.New(t, "a"), nettest.New(t, "b"), nettest.New(t, "c")
	nettest.Veth(a, "moves", b, "peer")
	nettest.Veth(a, "busy", b, "busypeer")
	l, err := New(Options{Netns: []Netns{mustFind(t, a.Name)}})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	l.monitor.conn.Control(func(fd uintptr) {
		err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 16<<10)
	})
	if err := errors.Join(err, l.Attach(t.Context())); err != nil {
		t.Fatal(err)
	}
	a.Move("moves", c) // where its index is free, so that it keeps it
	for range 50 {
		a.Down("busy")
		a.Up("busy")
	}
	c.Move("moves", a) // not heard any more
	ctx, cancel := context.WithCancel(t.Context())
	followed := make(chan error, 1)
	go func() { followed <- l.Follow(ctx) }()
	defer func() {
		cancel()
		if err := <-followed; err != nil {
			t.Error(err)
		}
	}()
	// When the first is watched, the list was made; when the second is, what was queued has been read.
	for _, name := range []string{"first", "second"} {
		a.Bridge(name)
		waitFor(t, l, a, name, true)
	}
	waitFor(t, l, a, "moves", true)
	if got := a.Attached("moves"); got != 2 {
		t.Errorf("%d programs on the interface, want 2", got)
	}
}

// TestCountersOnlyGrow: not even when interfaces swap their names.
func TestCountersOnlyGrow(t *testing.T) {
	a := nettest.New(t, "a")
	a.Up("lo")
	l := start(t, Selection{Kinds: []string{KindAny}}, a)
	waitFor(t, l, a, "lo", true)
	a.Serve("127.0.0.1:80", func(c *nettest.Conn) { c.Close() })
	dial := func() {
		t.Helper()
		c, err := a.Dial("127.0.0.1:80")
		if err != nil {
			t.Fatal(err)
		}
		c.Close()
	}
	counted := func() map[string]uint64 {
		t.Helper()
		stats, err := l.Stats()
		if err != nil {
			t.Fatal(err)
		}
		all := make(map[string]uint64)
		for i := range stats.Points {
			all[stats.Points[i].Interface] += stats.Points[i].Segments()
		}
		return all
	}
	dial()
	before := counted()["lo"]
	a.Down("lo")
	a.Rename("lo", "loop")
	a.Up("loop")
	waitFor(t, l, a, "loop", true)
	dial()
	after := counted()
	if after["lo"] < before || after["loop"] == 0 || after["loop"] > 12 {
		t.Errorf("lo counted %d, then %d; loop %d, want no less and the new connection", before, after["lo"], after["loop"])
	}
}

// TestAddressOnTwoInterfaces is local until the last one loses it.
func TestAddressOnTwoInterfaces(t *testing.T) {
	a, b := nettest.New(t, "a"), nettest.New(t, "b")
	nettest.Veth(a, "eth0", b, "peer0")
	nettest.Veth(a, "eth1", b, "peer1")
	a.Addr("eth0", "10.9.3.1/32")
	a.Addr("eth1", "10.9.3.1/32")
	l := start(t, Selection{}, a)
	local := func() bool {
		l.mu.Lock()
		defer l.mu.Unlock()
		return l.isLocal(1, netip.MustParseAddr("10.9.3.1"))
	}
	waitFor(t, l, a, "eth1", true)
	a.Remove("eth1")
	waitFor(t, l, a, "eth1", false)
	if !local() {
		t.Error("an address that eth0 still has is not local any more")
	}
	a.Remove("eth0")
	waitFor(t, l, a, "eth0", false)
	nettest.Eventually(t, 10*time.Second, func() error {
		if local() {
			return errors.New("an address that nobody has any more is local")
		}
		return nil
	})
}

// TestAttachStops when its context is done.
func TestAttachStops(t *testing.T) {
	a := nettest.New(t, "a")
	l, err := New(Options{Netns: []Netns{mustFind(t, a.Name)}})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := l.Attach(ctx); err != nil {
		t.Fatal(err)
	}
	if got := a.Attached("lo"); got != 0 {
		t.Errorf("%d programs attached after the end", got)
	}
}
