package main

import (
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"netobs/decode"
	"netobs/loader"
	"netobs/loader/nettest"
)

// held are connections that are kept open while something changes.
type held []*net.TCPConn

// hold opens n connections to a server that closes when the client does. All handshakes are over everywhere.
func hold(l *lab, n int, client, server *nettest.NS, addr string, in ...*nettest.NS) held {
	l.tb.Helper()
	server.Serve(addr, func(c *net.TCPConn) {
		io.Copy(io.Discard, c)
		c.Close()
	})
	var all held
	for range n {
		c, err := client.Dial(addr)
		if err != nil {
			l.tb.Fatal(err)
		}
		all = append(all, c)
	}
	for _, ns := range in {
		l.wait(ns, n, 0)
	}
	return all
}

// end closes all of them, and waits for the server to do so, too.
func (all held) end(tb testing.TB) {
	tb.Helper()
	for _, c := range all {
		c.CloseWrite()
		c.SetReadDeadline(time.Now().Add(20 * time.Second))
		if _, err := io.Copy(io.Discard, c); err != nil {
			tb.Error(err)
		}
		c.Close()
	}
}

// The interface at which a connection was reported so far is deleted, and the connection goes on by another.
func TestTopologyOwnerDeleted(t *testing.T) { topologyOwnerDeleted(t) }

func topologyOwnerDeleted(t *testing.T, hooks ...string) {
	t.Parallel()
	a, b, h := twoWays(t)
	l := newLabWith(t, loader.Options{Hooks: hooks}, a, b, h)
	made := load{clients: 1, each: 10}
	all := hold(l, made.each, a, b, "10.23.0.2:80", a, b, h)
	a.RouteVia("10.23.0.2/32", "10.22.11.254", "10.23.0.1")
	b.RouteVia("10.23.0.1/32", "10.22.21.254", "10.23.0.2")
	h.Route("10.23.0.1/32", "10.22.11.1")
	h.Route("10.23.0.2/32", "10.22.21.1")
	h.Remove("vethA0")
	h.Remove("vethB0")
	all.end(t)
	both := append(bothWays("eth0"), bothWays("eth1")...)
	l.check(made,
		view{ns: a, role: decode.RoleOriginator, passes: both},
		view{ns: b, role: decode.RoleResponder, passes: both},
		view{ns: h, role: decode.RoleForwarded, passes: []string{"in vethA0", "in vethB0", "in vethA1", "in vethB1"}})
	for _, ns := range []*nettest.NS{a, b, h} {
		interfaces := make(map[string]bool)
		segments, _, _ := l.seen(ns)
		for i := range segments {
			interfaces[segments[i].Point.Interface] = true
		}
		if len(interfaces) < 2 {
			t.Errorf("%s: all reported at %v: nothing changed its way", ns.Name, interfaces)
		}
	}
}

// The links of a connection move to another namespace, which goes on where the first one ended.
func TestTopologyVethMoved(t *testing.T) { topologyVethMoved(t) }

func topologyVethMoved(t *testing.T, hooks ...string) {
	t.Parallel()
	a, b, h := topology(t)
	g := nettest.New(t, "g")
	g.Bridge("br0")
	l := newLabWith(t, loader.Options{Hooks: hooks}, a, b, h, g)
	made := load{clients: 1, each: 10}
	all := hold(l, made.each, a, b, "10.9.0.2:80", a, b, h)
	for _, name := range []string{"vethA", "vethB"} {
		h.Move(name, g)
		g.Up(name)
		g.Enslave(name, "br0")
		l.waitWatched(g, name)
	}
	all.end(t)
	l.wait(g, 0, made.each)
	ends := bridgedViews(a, b, h)[:2]
	l.check(made, ends...)
	forwards := []string{"in vethA", "in vethB"}
	for _, c := range []struct {
		ns                      *nettest.NS
		handshakes, connections map[string]int
	}{
		{h, map[string]int{"forwarded completed": made.each}, nil}, // open for ever, as far as h knows
		// The role was settled by the first FIN alone, which came in.
		{g, nil, map[string]int{"unknown fin unseen": made.each}},
	} {
		handshakes, connections := l.tellsOf(c.ns)
		l.compare(c.ns, "handshakes", handshakes, c.handshakes)
		l.compare(c.ns, "connections", connections, c.connections)
		l.checkOnce(view{ns: c.ns, passes: forwards})
	}
	exposition, err := scrape(l.pipeline.metrics)
	if err != nil {
		t.Fatal(err)
	}
	if n := parseSamples(t, exposition).sum("connections", label("netns", h.Name), label("state", "established")); n !=
		float64(made.each) {
		t.Errorf("%v connections open in h, want %d", n, made.each)
	}
}

// An end of a connection is taken away and comes back under another name while the connection is open.
func TestTopologyRenamed(t *testing.T) {
	t.Parallel()
	a, b, h := topology(t)
	l := newLab(t, a, b, h)
	made := load{clients: 1, each: 10}
	all := hold(l, made.each, a, b, "10.9.0.2:80", a, b, h)
	h.Rename("vethA", "other")
	l.waitWatched(h, "other")
	all.end(t)
	views := bridgedViews(a, b, h)
	views[2].passes = append(views[2].passes, "in other")
	l.check(made, views...)
}

// The owner is deleted when it has just reported a segment that was lost: what is sent again passes another interface. That
// one takes over when it has seen the segment more often than the owner reported it, or after 3 s: so often it may be missed,
// and no more, and the verdict is right.
func TestTopologyOwnerDeletedWithSegmentLost(t *testing.T) {
	t.Parallel()
	a, b, h := twoWays(t)
	h.NFT(`table ip lossy {
		chain forward { type filter hook forward priority 0; iifname "vethA0" tcp flags & fin == fin drop; }
	}`)
	l := newLab(t, a, b, h)
	made := load{clients: 1, each: 3}
	all := hold(l, made.each, a, b, "10.23.0.2:80", a, b, h)
	isFIN := func(s *decode.Segment) bool { return s.Has(decode.FIN) }
	for _, c := range all {
		c.CloseWrite()
	}
	nettest.Eventually(t, 20*time.Second, func() error {
		if n := l.reported(h, isFIN); n < made.each {
			return fmt.Errorf("%d FINs reached the host", n)
		}
		return nil
	})
	h.Remove("vethA0")
	a.RouteVia("10.23.0.2/32", "10.22.11.254", "10.23.0.1")
	h.Route("10.23.0.1/32", "10.22.11.1")
	all.end(t)
	for _, ns := range []*nettest.NS{a, b, h} {
		l.wait(ns, made.each, made.each)
	}
	l.settle(100 * time.Millisecond)
	for _, v := range []view{
		{ns: a, role: decode.RoleOriginator, passes: []string{"out eth0", "out eth1"}},
		{ns: h, role: decode.RoleForwarded, passes: []string{"in vethA0", "in vethA1"}},
	} {
		handshakes, connections := l.tellsOf(v.ns)
		l.compare(v.ns, "handshakes", handshakes, map[string]int{v.role.String() + " completed": made.each})
		l.compare(v.ns, "connections", connections, map[string]int{v.role.String() + " fin": made.each})
		reported, owner := make(map[identity]int), make(map[identity]int)
		segments, _, _ := l.seen(v.ns)
		for i := range segments {
			id := identify(&segments[i])
			reported[id]++
			if strings.HasSuffix(segments[i].Point.Interface, "0") {
				owner[id]++
			}
		}
		for id, n := range l.passed(v) {
			if missed := n - reported[id]; id.flags&decode.FIN != 0 && (missed < 0 || missed > owner[id]) {
				t.Errorf("%s: %s passed %d times, was reported %d times, %d of them by the first owner\n%s", v.ns.Name, id, n,
					reported[id], owner[id], l.trace(v.ns, id.String()))
			}
		}
	}
}
