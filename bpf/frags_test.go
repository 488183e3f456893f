package bpf

import (
	"testing"
)

// XDP with a packet in more than one buffer, and the TCP header behind the first one, which Program.Run makes less than a page
// long: 4096 bytes of IPv6 extension headers come before it.
func TestXDPBehindTheFirstBuffer(t *testing.T) {
	w := newWorld(t, Options{})
	p := w.anyPoint(t, Point{Netns: w.namespace(), Hook: HookXDP})
	if !w.hooks[HookXDP].frags {
		t.Skip("needs bpf_xdp_load_bytes of Linux 5.18")
	}
	conn := packet{src: client6, dst: server6, seq: 100, change: func(frame []byte) []byte {
		return extended(0, hopByHop(2048))(extended(60, hopByHop(2048))(frame))
	}}
	checkParsed(t, p, conn)
	other := conn
	other.change = func(frame []byte) []byte {
		frame[nextHeader6] = 17
		return conn.change(frame)
	}
	p.checkMoves(t, other, PointCounters{})
	// Cut inside the TCP header.
	conn.flags = ack
	whole := len(conn.frame())
	cut := conn
	cut.change = func(frame []byte) []byte { return conn.change(frame)[:whole-1] }
	p.checkMoves(t, cut, unparsed(netobsUnparsedReasonUNPARSED_TRUNCATED))
	// A header, or its options, in both buffers.
	for n := 1200; n < 1600; n += 8 {
		conn.flags, conn.options = syn, []byte{2, 4, 5, 180, 4, 2, 8, 10, 1, 2, 3, 4, 0, 0, 0, 0, 1, 3, 3, 7}
		conn.change = func(frame []byte) []byte {
			return extended(0, hopByHop(2048))(extended(60, hopByHop(n))(frame))
		}
		p.check(t, conn, reported)
	}
}
