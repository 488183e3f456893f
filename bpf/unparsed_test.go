package bpf

import (
	"encoding/binary"
	"net"
	"slices"
	"testing"
)

// Offsets in a frame without options.
const (
	etherType4, ihl4, totalLength4, fragment4, doff4 = 12, 14, 16, 20, 14 + 20 + 12
	payloadLength6, nextHeader6, doff6               = 14 + 4, 14 + 6, 14 + 40 + 12
)

// set16 returns a change that puts a number into a frame.
func set16(offset int, v uint16) func([]byte) []byte {
	return func(frame []byte) []byte {
		binary.BigEndian.PutUint16(frame[offset:], v)
		return frame
	}
}

// setHigh4 returns a change that sets the high half of a byte.
func setHigh4(offset int, v byte) func([]byte) []byte {
	return func(frame []byte) []byte {
		frame[offset] = frame[offset]&0xf | v<<4
		return frame
	}
}

// tagged returns a change that puts a VLAN tag into a frame.
func tagged(protocol uint16) func([]byte) []byte {
	return func(frame []byte) []byte {
		tag := binary.BigEndian.AppendUint16(nil, protocol)
		return append(frame[:12:12], append(append(tag, 0, 7), frame[12:]...)...)
	}
}

// extended returns a change that puts an extension header before what is behind the IPv6 header.
func extended(kind byte, header []byte) func([]byte) []byte {
	return func(frame []byte) []byte {
		at := 12 + 2
		for binary.BigEndian.Uint16(frame[at-2:]) != 0x86dd { // VLAN tags
			at += 4
		}
		header := slices.Clone(header)
		header[0], frame[at+6] = frame[at+6], kind
		if n := binary.BigEndian.Uint16(frame[at+4:]); n != 0 {
			binary.BigEndian.PutUint16(frame[at+4:], n+uint16(len(header)))
		}
		return slices.Insert(frame, at+40, header...)
	}
}

// checkUnparsed checks that a change makes a packet unparsed, whether it would be a control segment or not.
func checkUnparsed(t *testing.T, p *point, pkt packet, want UnparsedReason) {
	t.Helper()
	for _, flags := range []uint16{ack, ack | psh, syn, fin | ack, rst} {
		pkt.flags = flags
		p.checkMoves(t, pkt, unparsed(want))
	}
}

func TestManyVLANTagsAreUnparsed(t *testing.T) {
	w := newWorld(t, Options{})
	bothWays(t, w, func(t *testing.T, p *point, conn packet) {
		conn.change = func(f []byte) []byte { return tagged(0x88a8)(tagged(0x8100)(tagged(0x8100)(f))) }
		checkUnparsed(t, p, conn, netobsUnparsedReasonUNPARSED_VLAN)
	})
}

func TestLaterFragmentIsUnparsed(t *testing.T) {
	const dont, more = 0x4000, 0x2000
	w := newWorld(t, Options{})
	bothWays(t, w, func(t *testing.T, p *point, conn packet) {
		for _, c := range []struct {
			name  string
			field uint16
		}{
			{"middle", more | 185}, {"last", 185}, {"at 8", 1}, {"highest offset", 0x1fff}, {"with DF", dont | 185},
		} {
			t.Run(c.name, func(t *testing.T) {
				fragment := set16(fragment4, c.field)
				if conn.src.Addr().Is6() {
					fragment = extended(44, []byte{0, 0, byte(c.field >> 5), byte(c.field<<3) | byte(c.field>>13&1), 0, 0, 0, 1})
				}
				conn.change = fragment
				checkUnparsed(t, p, conn, netobsUnparsedReasonUNPARSED_FRAGMENT)
				conn.change = func(frame []byte) []byte { return fragment(frame)[:14+40+8] }
				checkUnparsed(t, p, conn, netobsUnparsedReasonUNPARSED_FRAGMENT)
			})
		}
	})
}

// A first fragment that has less than a TCP header is of no more use than a later one (RFC 1858).
func TestTinyFragmentIsUnparsed(t *testing.T) {
	w := newWorld(t, Options{})
	bothWays(t, w, func(t *testing.T, p *point, conn packet) {
		conn.change = func(frame []byte) []byte {
			if conn.src.Addr().Is4() {
				return set16(totalLength4, 20+16)(set16(fragment4, 0x2000)(frame))
			}
			return set16(payloadLength6, 8+16)(extended(44, []byte{0, 0, 0, 1, 0, 0, 0, 1})(frame))
		}
		checkUnparsed(t, p, conn, netobsUnparsedReasonUNPARSED_FRAGMENT)
	})
}

// Headers that may come more than once, and such as may not.
func TestTooManyIPv6ExtensionsAreUnparsed(t *testing.T) {
	w := newWorld(t, Options{})
	bothWays(t, w, func(t *testing.T, p *point, conn packet) {
		if conn.src.Addr().Is4() {
			return
		}
		options := make([]byte, 8)
		for _, kinds := range [][]byte{
			{0, 0}, {43, 43}, {44, 44}, {51, 51}, {135, 135}, {139, 139}, {140, 140}, {60, 60, 60}, {60, 43, 60, 60},
			{60, 0}, {43, 60, 0}, {0, 60, 43, 44, 51, 60, 135, 139, 140, 60},
		} {
			conn.change = func(frame []byte) []byte {
				for _, kind := range slices.Backward(kinds) {
					frame = extended(kind, options)(frame)
				}
				return frame
			}
			checkUnparsed(t, p, conn, netobsUnparsedReasonUNPARSED_IPV6EXTENSION)
			if t.Failed() {
				t.Fatalf("extension headers %d", kinds)
			}
		}
	})
}

// Program.Run refuses packets that end before their IP header does; those are in wire_test.go.
func TestTruncatedAtEveryLength(t *testing.T) {
	w := newWorld(t, Options{})
	bothWays(t, w, func(t *testing.T, p *point, conn packet) {
		for _, ipOptions := range []int{0, 4, 40} {
			shortest, headers := 14+20, 14+20+ipOptions+20
			if conn.src.Addr().Is6() {
				if ipOptions > 0 {
					break
				}
				shortest, headers = 14+40, 14+40+20
			}
			conn.ipOptions = make([]byte, ipOptions)
			for n := shortest; n < headers; n++ {
				conn.change = func(frame []byte) []byte { return frame[:n] }
				checkUnparsed(t, p, conn, netobsUnparsedReasonUNPARSED_TRUNCATED)
				if t.Failed() {
					t.Fatalf("cut to %d of %d bytes", n, headers)
				}
			}
			// The headers alone are enough; the payload is what the IP header says.
			conn.change = func(frame []byte) []byte { return frame[:headers] }
			conn.flags, conn.payload = ack, make([]byte, 100)
			p.check(t, conn, ordinary)
		}
	})
}

// A SYN cut inside its options is a good segment, whose options nobody knows.
func TestCutOptions(t *testing.T) {
	w := newWorld(t, Options{})
	bothWays(t, w, func(t *testing.T, p *point, conn packet) {
		conn.flags, conn.options = syn, []byte{2, 4, 5, 180, 4, 2, 8, 10, 1, 2, 3, 4, 0, 0, 0, 0, 1, 3, 3, 7}
		for cut := 1; cut <= len(conn.options); cut++ {
			conn.change = func(frame []byte) []byte { return frame[:len(frame)-cut] }
			bare := conn
			bare.options = nil
			p.checkMoves(t, conn, counted(conn, reported), p.record(bare))
		}
	})
}

func TestMalformed(t *testing.T) {
	w := newWorld(t, Options{})
	var cases4, cases6 []func([]byte) []byte
	for n := range byte(5) {
		cases4 = append(cases4,
			func(f []byte) []byte { f[ihl4] = 0x40 | n; return f },
			setHigh4(doff4, n))
		cases6 = append(cases6, setHigh4(doff6, n))
	}
	for n := uint16(1); n < 40; n++ { // 0 is BIG TCP
		cases4 = append(cases4, set16(totalLength4, n))
	}
	for n := uint16(1); n < 20; n++ {
		cases6 = append(cases6, set16(payloadLength6, n))
	}
	// The TCP header is longer than what IP leaves it.
	for n := byte(6); n <= 15; n++ {
		cases4 = append(cases4, setHigh4(doff4, n))
		cases6 = append(cases6, setHigh4(doff6, n))
	}
	// IPv4 options leave less than a TCP header.
	cases4 = append(cases4, func(f []byte) []byte {
		f[ihl4] = 0x46
		f = append(f, make([]byte, 24)...)
		f[14+24+12] = 0x50
		return f
	})
	bothWays(t, w, func(t *testing.T, p *point, conn packet) {
		cases := cases4
		if conn.src.Addr().Is6() {
			cases = cases6
		}
		for i, change := range cases {
			conn.change = change
			checkUnparsed(t, p, conn, netobsUnparsedReasonUNPARSED_MALFORMED)
			if t.Failed() {
				t.Fatalf("case %d: %x", i, conn.frame())
			}
		}
	})
}

// XDP compares the addresses itself.
func TestNotForUsOfXDP(t *testing.T) {
	w := newWorld(t, Options{})
	us := net.HardwareAddr{2, 1, 2, 3, 4, 5}
	p := w.anyPoint(t, Point{Netns: w.namespace(), Hook: HookXDP, Address: us})
	for _, f := range families {
		t.Run(f.name, func(t *testing.T) {
			pkt := f.conn
			pkt.flags = syn
			to := func(address net.HardwareAddr) {
				pkt.change = func(frame []byte) []byte {
					copy(frame, address)
					return frame
				}
			}
			for i := range us {
				other := slices.Clone(us)
				other[i] ^= 2
				to(other)
				checkUnparsed(t, p, pkt, netobsUnparsedReasonUNPARSED_NOT_FOR_US)
				mustSetBridgePort(t, w, p, true)
				p.check(t, pkt, reported)
				mustSetBridgePort(t, w, p, false)
				if err := p.w.SetAddress(p.Slot, other); err != nil {
					t.Fatal(err)
				}
				p.check(t, pkt, reported)
				if err := p.w.SetAddress(p.Slot, us); err != nil {
					t.Fatal(err)
				}
			}
			for _, address := range []net.HardwareAddr{us, {0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, {0x33, 0x33, 0, 0, 0, 1}} {
				to(address)
				p.check(t, pkt, reported)
			}
		})
	}
}

// Program.Run sends by lo, whose address is 0: a frame to another address is PACKET_OTHERHOST.
func TestNotForUs(t *testing.T) {
	w := newWorld(t, Options{})
	to := func(b byte) func([]byte) []byte {
		return func(frame []byte) []byte {
			for i := range 6 {
				frame[i] = b
			}
			return frame
		}
	}
	const other, broadcast = 0x02, 0xff
	for _, f := range families {
		t.Run(f.name, func(t *testing.T) {
			in, out := w.point(t, w.namespace(), false), w.point(t, w.namespace(), true)
			pkt := f.conn
			pkt.change = to(other)
			checkUnparsed(t, in, pkt, netobsUnparsedReasonUNPARSED_NOT_FOR_US)

			// A bridge port sees what the bridge forwards; another point of it changes nothing.
			pkt.flags = syn
			mustSetBridgePort(t, w, out, true)
			in.checkMoves(t, pkt, unparsed(netobsUnparsedReasonUNPARSED_NOT_FOR_US))
			mustSetBridgePort(t, w, in, true)
			in.check(t, pkt, reported)
			mustSetBridgePort(t, w, in, false)
			in.checkMoves(t, pkt, unparsed(netobsUnparsedReasonUNPARSED_NOT_FOR_US))

			mustSetBridgePort(t, w, out, false)
			out.check(t, pkt, reported)

			pkt.change = to(broadcast)
			in.check(t, pkt, reported)

			// Not TCP is nobody's business.
			pkt.change = func(frame []byte) []byte { return set16(etherType4, 0x0806)(to(other)(frame)) }
			in.checkMoves(t, pkt, PointCounters{})
		})
	}
}

func mustSetBridgePort(tb testing.TB, w *world, p *point, is bool) {
	tb.Helper()
	if err := w.SetBridgePort(p.Slot, is); err != nil {
		tb.Fatal(err)
	}
}
