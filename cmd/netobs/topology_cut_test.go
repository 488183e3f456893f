package main

import (
	"fmt"
	"io"
	"net"
	"testing"
	"time"

	"netobs/decode"
	"netobs/loader"
	"netobs/loader/nettest"
)

// Data in large pieces, which are cut, joined and cut again on their way through one namespace. Where the FIN is joined
// with data, it is one segment here and several there.
func TestTopologyCutDifferently(t *testing.T) { topologyCut(t) }

func topologyCut(t *testing.T, hooks ...string) {
	t.Parallel()
	a, b, h := nettest.New(t, "a"), nettest.New(t, "b"), nettest.New(t, "h")
	nettest.Veth(a, "eth0", h, "vethA")
	nettest.Veth(b, "eth0", h, "vethB")
	for i := range 3 { // three pairs in a row, all of them in h
		nettest.Veth(h, fmt.Sprintf("out%d", i), h, fmt.Sprintf("in%d", i))
	}
	h.Bridge("br0", "vethA", "out0")
	h.Bridge("br1", "in0", "out1")
	h.Bridge("br2", "in1", "out2")
	h.Bridge("br3", "in2", "vethB")
	// Whole through out0, cut by out1, joined by in1, cut by out2.
	h.Offload("out1", false, false)
	h.Offload("in1", true, true)
	h.Offload("out2", false, false)
	a.Addr("eth0", "10.27.0.1/24")
	b.Addr("eth0", "10.27.0.2/24")
	l := newLabWith(t, loader.Options{Hooks: hooks}, a, b, h)
	data, closed := make([]byte, 150_000), make(chan struct{})
	b.Serve("10.27.0.2:80", func(c *net.TCPConn) {
		<-closed // more than the window takes is waiting, with the FIN at its end
		io.Copy(io.Discard, c)
		c.Write(data)
		c.Close()
	})
	const n = 5
	a.Do(func() error {
		for range n {
			c, err := net.Dial("tcp", "10.27.0.2:80")
			if err != nil {
				return err
			}
			c.(*net.TCPConn).SetWriteBuffer(2 * len(data))
			c.Write(data)
			c.(*net.TCPConn).CloseWrite()
			closed <- struct{}{}
			if got, err := io.Copy(io.Discard, c); err != nil || got != int64(len(data)) {
				return fmt.Errorf("%d bytes of %d, %v", got, len(data), err)
			}
			c.Close()
		}
		return nil
	})
	views := []view{
		{ns: a, role: decode.RoleOriginator, passes: bothWays("eth0")},
		{ns: b, role: decode.RoleResponder, passes: bothWays("eth0")},
		{ns: h, role: decode.RoleForwarded, passes: []string{"in vethA", "in vethB"}},
	}
	for _, v := range views {
		l.wait(v.ns, n, n)
	}
	l.settle(100 * time.Millisecond)
	for _, v := range views {
		handshakes, connections := l.tellsOf(v.ns)
		l.compare(v.ns, "handshakes", handshakes, map[string]int{v.role.String() + " completed": n})
		l.compare(v.ns, "connections", connections, map[string]int{v.role.String() + " fin": n})
		l.checkOnce(v)
		_, _, ended := l.seen(v.ns)
		for _, c := range ended {
			if want := [2]uint32{uint32(len(data)), uint32(len(data))}; c.Bytes != want {
				t.Errorf("%s: %v bytes, want %v", v.ns.Name, c.Bytes, want)
			}
		}
	}
	l.checkCut(h)
}

// checkCut fails the test if FINs had the same payload wherever they passed.
func (l *lab) checkCut(ns *nettest.NS) {
	l.tb.Helper()
	payloads := make(map[identity]map[uint32]bool)
	frames := l.captures[ns.Name].Frames()
	for i := range frames {
		if frames[i].Has(decode.FIN) {
			id := identify(&frames[i].Segment)
			if payloads[id] == nil {
				payloads[id] = make(map[uint32]bool)
			}
			payloads[id][frames[i].Payload] = true
		}
	}
	cut := 0
	for _, p := range payloads {
		if len(p) > 1 {
			cut++
		}
	}
	if cut == 0 {
		l.tb.Errorf("of %d FINs none was cut differently at another interface", len(payloads))
	}
}
