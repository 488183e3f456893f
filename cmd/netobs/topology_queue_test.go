package main

import (
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"netobs/decode"
	"netobs/loader/nettest"
)

// inFlight is how long the queue holds a segment: longer than any clock of the report rule that could take a queue for a
// change of routes.
const inFlight = 700 * time.Millisecond

// queued is a and b joined through h, in which each segment passes two points, a queue, and two more points.
func queued(t *testing.T, delay time.Duration) (a, b, h *nettest.NS) {
	a, b, h = nettest.New(t, "a"), nettest.New(t, "b"), nettest.New(t, "h")
	wire := nettest.New(t, "wire")
	nettest.Veth(a, "eth0", h, "vethA")
	nettest.Veth(b, "eth0", h, "vethB")
	nettest.Veth(h, "to0", wire, "w0")
	nettest.Veth(h, "to1", wire, "w1")
	h.Bridge("br0", "vethA", "to0")
	h.Bridge("br1", "vethB", "to1")
	a.Addr("eth0", "10.26.0.1/24")
	b.Addr("eth0", "10.26.0.2/24")
	nettest.Know(a, "eth0", "10.26.0.1", b, "eth0", "10.26.0.2")
	wire.Wire("w0", "w1", delay)
	return a, b, h
}

// Handshake and teardown with a round trip of 1.4 s: SYN, SYN-ACK and FIN are retransmitted while the first ones are under
// way, so that both are in the queue.
func TestTopologyQueue(t *testing.T) {
	t.Parallel()
	a, b, h := queued(t, inFlight)
	l := newLab(t, a, b, h)
	made := load{clients: 20, each: 1, refused: 1}
	made.run(t, a, b, "10.26.0.2")
	for _, ns := range []*nettest.NS{a, b, h} {
		l.wait(ns, made.completed()+made.refused, made.completed())
	}
	l.settle(inFlight + 200*time.Millisecond)
	l.checkLoad(made,
		view{ns: a, role: decode.RoleOriginator, passes: bothWays("eth0")},
		view{ns: b, role: decode.RoleResponder, passes: bothWays("eth0")},
		view{ns: h, role: decode.RoleForwarded, passes: []string{"in vethA", "in vethB"}})
	repeated := 0
	for id, n := range l.passed(view{ns: h, passes: []string{"in vethA", "in vethB"}}) {
		if id.isControl() && n > 1 {
			repeated++
		}
	}
	if repeated < made.completed() {
		t.Errorf("%d segments were retransmitted: this does not test what it should", repeated)
	}
}

// What a TCP sends without waiting is in the queue together, and each is reported where it first passes. Nobody has the
// address, so that nobody answers.
func TestTopologyInFlightTogether(t *testing.T) {
	t.Parallel()
	a, b, h := queued(t, inFlight)
	l := newLab(t, a, b, h)
	server := netip.MustParseAddrPort("10.26.0.3:80")
	a.Neighbour("eth0", "10.26.0.3", b.MAC("eth0"))
	seg := func(port uint16, flags decode.Flags, seq, ack decode.Seq, payload uint32) decode.Segment {
		src := netip.AddrPortFrom(netip.MustParseAddr("10.26.0.1"), port)
		return decode.Segment{Src: src, Dst: server, Flags: flags, Seq: seq, Ack: ack, Payload: payload, Wnd: 1000}
	}
	const syn, ack, fin, rst = decode.SYN, decode.ACK, decode.FIN, decode.RST
	bursts := [][]decode.Segment{
		{seg(1, syn, 100, 0, 0), seg(1, rst, 101, 0, 0)},
		{seg(2, syn, 100, 0, 0), seg(2, syn, 100, 0, 0), seg(2, rst, 101, 0, 0), seg(2, rst, 101, 0, 0)},
		{seg(6, syn, 100, 0, 0), seg(6, rst, 101, 0, 0), seg(6, syn, 500, 0, 0), seg(6, rst, 501, 0, 0)}, // two attempts
		{seg(3, fin|ack, 100, 7, 0), seg(3, rst, 101, 0, 0)},
		{seg(4, fin|ack, 100, 7, 50), seg(4, fin|ack, 100, 7, 50), seg(4, rst|ack, 151, 7, 0)},
		{seg(5, fin|ack, 100, 7, 50), seg(5, fin|ack, 120, 7, 30), seg(5, rst, 151, 0, 0)}, // cut again
	}
	for _, burst := range bursts {
		a.SendSegments(burst...)
	}
	// The last of them has passed b.
	nettest.Eventually(t, 20*time.Second, func() error {
		if n := l.captures[b.Name].Len(); n < 18 {
			return fmt.Errorf("%d segments reached b", n)
		}
		return nil
	})
	for _, ns := range []*nettest.NS{a, b, h} {
		l.wait(ns, 4, 3)
	}
	l.settle(100 * time.Millisecond)
	for _, v := range []view{
		{ns: a, role: decode.RoleOriginator, passes: bothWays("eth0")},
		{ns: h, role: decode.RoleForwarded, passes: []string{"in vethA"}},
		{ns: b, role: decode.RoleUnknown, passes: bothWays("eth0")},
	} {
		l.checkOnce(v)
		_, handshakes, connections := l.seen(v.ns)
		if len(handshakes) != 4 || len(connections) != 3 {
			t.Errorf("%s: %d handshakes, %d connections, want 4 and 3", v.ns.Name, len(handshakes), len(connections))
		}
		for _, h := range handshakes {
			if h.Outcome != decode.OutcomeAborted {
				t.Errorf("%s: %s %s, want aborted", v.ns.Name, h.Originator, h.Outcome)
			}
		}
		for _, c := range connections {
			if c.Teardown != decode.TeardownFINRST || !c.Unseen {
				t.Errorf("%s: %s %s unseen %t, want fin_rst of an unseen connection", v.ns.Name, c.Originator,
					c.Teardown, c.Unseen)
			}
		}
	}
}

// A socket's own way of sending FIN and RST together: it shuts down, and closes with data unread.
func TestTopologyShutdownAndReset(t *testing.T) {
	t.Parallel()
	a, b, h := queued(t, inFlight/2)
	l := newLab(t, a, b, h)
	b.Serve("10.26.0.2:80", func(c *net.TCPConn) {
		io.WriteString(c, "unread")
		io.Copy(io.Discard, c)
		c.Close()
	})
	const n = 10
	var wg sync.WaitGroup
	for range n {
		wg.Go(func() {
			c, err := a.Dial("10.26.0.2:80")
			if err != nil {
				t.Error(err)
				return
			}
			c.Read(make([]byte, 1)) // one byte of it: the rest has come, too
			c.CloseWrite()
			c.SetLinger(0)
			c.Close()
		})
	}
	wg.Wait()
	views := []view{
		{ns: a, role: decode.RoleOriginator, passes: bothWays("eth0")},
		{ns: b, role: decode.RoleResponder, passes: bothWays("eth0")},
		{ns: h, role: decode.RoleForwarded, passes: []string{"in vethA", "in vethB"}},
	}
	for _, v := range views {
		l.wait(v.ns, n, n)
	}
	l.settle(inFlight)
	for _, v := range views {
		handshakes, connections := l.tellsOf(v.ns)
		l.compare(v.ns, "handshakes", handshakes, map[string]int{v.role.String() + " completed": n})
		l.compare(v.ns, "connections", connections, map[string]int{v.role.String() + " fin_rst by originator": n})
		l.checkOnce(v)
	}
}
