package bpf

import (
	"fmt"
	"testing"
)

// Pairs of sockets to run a test with.
var families = []struct {
	name string
	conn packet
}{
	{"ipv4", packet{src: client4, dst: server4, seq: 1000, ack: 2000, window: 500}},
	{"ipv6", packet{src: client6, dst: server6, seq: 1000, ack: 2000, window: 500}},
}

// bothWays runs a test for each IP version at ingress, at egress and at XDP.
func bothWays(t *testing.T, w *world, test func(t *testing.T, p *point, conn packet)) {
	for _, point := range []struct {
		name string
		Point
	}{
		{"ingress", Point{}},
		{"egress", Point{Egress: true}},
		{"xdp", Point{Hook: HookXDP}},
	} {
		for _, f := range families {
			t.Run(f.name+"/"+point.name, func(t *testing.T) {
				point.Netns = w.namespace()
				test(t, w.anyPoint(t, point.Point), f.conn)
			})
		}
	}
}

func TestSegmentsAreCounted(t *testing.T) {
	w := newWorld(t, Options{})
	flag := func(bits ...int) (c PointCounters) {
		c.SegmentsTotalOther = 1
		for _, b := range bits {
			c.FlagsTotal[b] = 1
		}
		return c
	}
	cases := []struct {
		name  string
		flags uint16
		want  PointCounters
	}{
		{"ack", ack, PointCounters{SegmentsTotalAck: [2]uint64{1, 0}}},
		{"psh", ack | psh, PointCounters{SegmentsTotalAck: [2]uint64{0, 1}}},
		{"urg", ack | urg, flag(4, 5)},
		{"ece", ack | ece, flag(4, 6)},
		{"cwr", ack | psh | cwr, flag(3, 4, 7)},
		{"ae alone is data", ack | ae, PointCounters{SegmentsTotalAck: [2]uint64{1, 0}}},
		{"ae and others", ack | ae | cwr | ece, flag(4, 6, 7)},
		{"null", 0, flag()},
		{"psh without ack", psh, flag(3)},
		{"urg without ack", urg, flag(5)},
	}
	bothWays(t, w, func(t *testing.T, p *point, conn packet) {
		for _, c := range cases {
			for _, bytes := range []int{0, 1, 1460, 3000} {
				t.Run(fmt.Sprintf("%s/%d bytes", c.name, bytes), func(t *testing.T) {
					conn.flags, conn.payload = c.flags, make([]byte, bytes)
					c.want.SegmentBytesTotal = uint64(bytes)
					p.checkMoves(t, conn, c.want)
				})
			}
		}
	})
}

func TestControlSegmentsAreCounted(t *testing.T) {
	w := newWorld(t, Options{})
	bothWays(t, w, func(t *testing.T, p *point, conn packet) {
		for i, flags := range []uint16{
			syn, syn | ece | cwr | ae, syn | ack, fin | ack, fin | psh | ack, rst, rst | ack,
			fin, syn | fin, syn | rst, fin | rst, fin | syn | rst | psh | ack | urg | ece | cwr | ae,
		} {
			t.Run(fmt.Sprintf("flags %#x", flags), func(t *testing.T) {
				conn.flags, conn.payload = flags, []byte("payload")
				conn.seq = uint32(1_000_000 * i)
				p.check(t, conn, reported)
			})
		}
	})
}

func TestPayloadExcludesHeadersAndPadding(t *testing.T) {
	w := newWorld(t, Options{})
	bothWays(t, w, func(t *testing.T, p *point, conn packet) {
		conn.flags = ack
		for tcpOptions := 0; tcpOptions <= 40; tcpOptions += 4 {
			for ipOptions := 0; ipOptions <= 40; ipOptions += 4 {
				if ipOptions > 0 && conn.src.Addr().Is6() {
					break
				}
				for _, payload := range []int{0, 3} {
					for _, padding := range []int{0, 1, 6} {
						pkt := conn
						pkt.options, pkt.ipOptions = make([]byte, tcpOptions), make([]byte, ipOptions)
						pkt.payload = make([]byte, payload)
						pkt.change = func(frame []byte) []byte { return append(frame, make([]byte, padding)...) }
						p.check(t, pkt, ordinary)
						if t.Failed() {
							t.Fatalf("with TCP options %d, IP options %d, payload %d, padding %d", tcpOptions, ipOptions,
								payload, padding)
						}
					}
				}
			}
		}
	})
}

// A packet of more than 64 KiB says 0; Program.Run has only short ones, and the rule is the same. Other packets may not.
func TestLengthZeroIsBigTCP(t *testing.T) {
	w := newWorld(t, Options{})
	bothWays(t, w, func(t *testing.T, p *point, conn packet) {
		conn.flags, conn.payload = ack|psh, make([]byte, 2000)
		zero := set16(totalLength4, 0)
		if conn.src.Addr().Is6() {
			zero = set16(payloadLength6, 0)
		}
		conn.change = zero
		p.checkMoves(t, conn, unparsed(netobsUnparsedReasonUNPARSED_MALFORMED))
		if p.Hook == HookXDP {
			return // comes before any packets are put together
		}
		conn.gso = 1000
		p.check(t, conn, ordinary)
		if conn.src.Addr().Is6() { // with the option that says the length, as Linux before 7.0 has it
			conn.change = func(frame []byte) []byte { return extended(0, hopByHop(8))(zero(frame)) }
			p.check(t, conn, ordinary)
		}
		conn.change = func(frame []byte) []byte { return tagged(0x8100)(zero(frame)) }
		p.check(t, conn, ordinary)
	})
}

// protocol returns a change that says what is behind the IP header.
func protocol(n byte) func([]byte) []byte {
	return func(frame []byte) []byte {
		if frame[14]>>4 == 4 {
			frame[14+9] = n
		} else {
			frame[14+6] = n
		}
		return frame
	}
}

func TestOtherProtocolsMoveNothing(t *testing.T) {
	w := newWorld(t, Options{})
	cut := func(n int, f func([]byte) []byte) func([]byte) []byte {
		return func(frame []byte) []byte { return f(frame)[:n] }
	}
	etherType := func(hi, lo byte) func([]byte) []byte {
		return func(frame []byte) []byte {
			frame[12], frame[13] = hi, lo
			return frame
		}
	}
	cases := []struct {
		name     string
		only     int // IP version, 0 for both
		minBytes int
		change   func([]byte) []byte
	}{
		{name: "udp", change: protocol(17)},
		{name: "icmp", change: protocol(1)},
		{name: "icmpv6", change: protocol(58)},
		{name: "sctp", change: protocol(132)},
		{name: "esp", change: protocol(50)},
		{name: "no next header", only: 6, change: protocol(59)},
		{name: "udp fragment", only: 4, change: func(f []byte) []byte {
			f[20] = 0x20
			return protocol(17)(f)
		}},
		{name: "short icmp", only: 4, change: cut(14+20+8, protocol(1))},
		{name: "shortest udp", only: 4, change: cut(14+20+8, protocol(17))},
		{name: "ip header only", only: 4, change: cut(14+20, protocol(1))},
		{name: "shortest udp", only: 6, change: cut(14+40+8, protocol(17))},
		{name: "arp", change: etherType(0x08, 0x06)},
		{name: "short arp", change: cut(14+28, etherType(0x08, 0x06))},
		{name: "lldp", change: etherType(0x88, 0xcc)},
		{name: "802.3 length", change: etherType(0x00, 0x26)},
		{name: "one byte of nothing", change: cut(15, etherType(0x88, 0xcc))},
	}
	bothWays(t, w, func(t *testing.T, p *point, conn packet) {
		for _, c := range cases {
			if c.only == 4 && conn.src.Addr().Is6() || c.only == 6 && conn.src.Addr().Is4() {
				continue
			}
			t.Run(c.name, func(t *testing.T) {
				conn.flags, conn.change = syn, c.change
				p.checkMoves(t, conn, PointCounters{})
			})
		}
	})
}
