package bpf

import (
	"bytes"
	"fmt"
	"net/netip"
	"slices"
	"testing"
)

// checkParsed checks that a segment is what it is, whatever is around it: as data, and as a control segment whose record
// and options come from the right place.
func checkParsed(t *testing.T, p *point, pkt packet) {
	t.Helper()
	for i, flags := range []uint16{ack, ack | psh, ack | urg, syn, fin | ack, rst} {
		pkt.flags, pkt.options = flags, []byte{2, 4, 5, 180, 4, 2, 8, 10, 1, 2, 3, 4, 0, 0, 0, 0, 1, 3, 3, 7}
		pkt.payload = []byte("payload")
		want := reported
		if i < 3 {
			want = ordinary
		}
		p.check(t, pkt, want)
	}
}

func TestVLAN(t *testing.T) {
	w := newWorld(t, Options{})
	bothWays(t, w, func(t *testing.T, p *point, conn packet) {
		for _, tags := range [][]uint16{{0x8100}, {0x88a8}, {0x88a8, 0x8100}, {0x8100, 0x8100}} {
			t.Run(fmt.Sprintf("%x", tags), func(t *testing.T) {
				conn.change = func(frame []byte) []byte {
					for _, protocol := range slices.Backward(tags) {
						frame = tagged(protocol)(frame)
					}
					return frame
				}
				checkParsed(t, p, conn)
				if conn.src.Addr().Is4() {
					conn.ipOptions = bytes.Repeat([]byte{1}, 40)
					checkParsed(t, p, conn)
				} else {
					inner := conn.change
					conn.change = func(frame []byte) []byte { return extended(60, make([]byte, 8))(inner(frame)) }
					checkParsed(t, p, conn)
				}
			})
		}
	})
}

// What is behind a tag need not be TCP.
func TestVLANOfOthersMovesNothing(t *testing.T) {
	w := newWorld(t, Options{})
	bothWays(t, w, func(t *testing.T, p *point, conn packet) {
		for _, etherType := range []uint16{0x0806, 0x88cc, 0x0026} {
			conn.change = func(frame []byte) []byte { return tagged(0x8100)(set16(etherType4, etherType)(frame)) }
			p.checkMoves(t, conn, PointCounters{})
		}
		conn.change = func(frame []byte) []byte { return tagged(0x8100)(protocol(17)(frame)) }
		p.checkMoves(t, conn, PointCounters{})
	})
}

func TestIPv4Options(t *testing.T) {
	w := newWorld(t, Options{})
	bothWays(t, w, func(t *testing.T, p *point, conn packet) {
		for n := 4; n <= 40 && conn.src.Addr().Is4(); n += 4 {
			conn.ipOptions = bytes.Repeat([]byte{1}, n)
			checkParsed(t, p, conn)
		}
	})
}

// hopByHop returns an extension header of so many bytes that tells its length as most do.
func hopByHop(bytes int) []byte {
	header := make([]byte, bytes)
	header[1] = byte(bytes/8 - 1)
	return header
}

func TestIPv6Extensions(t *testing.T) {
	authentication := func(bytes int) []byte { // RFC 4302 2.2: in words, less two
		header := make([]byte, bytes)
		header[1] = byte(bytes/4 - 2)
		return header
	}
	// The second byte and what is no offset mean nothing in a fragment that is the whole packet (RFC 6946).
	atomic := []byte{0, 255, 0, 6, 1, 2, 3, 4}
	type extension struct {
		kind   byte
		header []byte
	}
	cases := []struct {
		name   string
		before []extension
	}{
		{"hop-by-hop", []extension{{0, hopByHop(8)}}},
		{"routing", []extension{{43, hopByHop(24)}}},
		{"atomic fragment", []extension{{44, atomic}}},
		{"authentication", []extension{{51, authentication(12)}}},
		{"authentication, longer", []extension{{51, authentication(24)}}},
		{"destination options", []extension{{60, hopByHop(16)}}},
		{"mobility", []extension{{135, hopByHop(8)}}},
		{"host identity", []extension{{139, hopByHop(40)}}},
		{"shim6", []extension{{140, hopByHop(8)}}},
		{"the longest", []extension{{60, hopByHop(2048)}}},
		{"destination options twice", []extension{{60, hopByHop(8)}, {43, hopByHop(8)}, {60, hopByHop(16)}}},
		{"all", []extension{{0, hopByHop(16)}, {60, hopByHop(8)}, {43, hopByHop(8)}, {44, atomic}, {51, authentication(16)},
			{60, hopByHop(24)}, {135, hopByHop(8)}, {139, hopByHop(8)}, {140, hopByHop(8)}}},
	}
	w := newWorld(t, Options{})
	bothWays(t, w, func(t *testing.T, p *point, conn packet) {
		if conn.src.Addr().Is4() {
			return
		}
		for _, c := range cases {
			t.Run(c.name, func(t *testing.T) {
				chain := func(frame []byte) []byte {
					for _, e := range slices.Backward(c.before) {
						frame = extended(e.kind, e.header)(frame)
					}
					return frame
				}
				conn.change = chain
				checkParsed(t, p, conn)
				// Behind the same headers others are nobody's business.
				conn.flags = syn
				for _, next := range []byte{17, 58, 59, 50} {
					conn.change = func(frame []byte) []byte {
						frame[nextHeader6] = next
						return chain(frame)
					}
					p.checkMoves(t, conn, PointCounters{})
				}
				// Cut inside the headers.
				conn.flags, conn.payload, conn.options = ack, nil, nil
				whole := len(chain(families[1].conn.frame()))
				for n := 14 + 40; n < whole; n += 7 {
					conn.change = func(frame []byte) []byte { return chain(frame)[:n] }
					p.checkMoves(t, conn, unparsed(netobsUnparsedReasonUNPARSED_TRUNCATED))
				}
			})
		}
	})
}

// Each value that the next header can have.
func TestIPv6NextHeaders(t *testing.T) {
	w := newWorld(t, Options{})
	p := w.point(t, w.namespace(), false)
	for header := range 256 {
		conn := families[1].conn
		conn.flags = ack
		switch header {
		case 6:
			p.check(t, conn, ordinary)
		case 0, 43, 44, 51, 60, 135, 139, 140: // all others of RFC 7045 but 50, behind which nobody sees; and 253, 254
			conn.change = extended(byte(header), hopByHop(8)) // the same as 12 bytes of authentication, but for 4 of them
			if header != 51 {
				p.check(t, conn, ordinary)
			}
		default:
			conn.change = func(frame []byte) []byte {
				frame[nextHeader6] = byte(header)
				return frame
			}
			p.checkMoves(t, conn, PointCounters{})
		}
		if t.Failed() {
			t.Fatalf("next header %d", header)
		}
	}
}

// A first fragment is a segment with the part of the payload that it has.
func TestFirstFragment(t *testing.T) {
	w := newWorld(t, Options{})
	bothWays(t, w, func(t *testing.T, p *point, conn packet) {
		first := set16(fragment4, 0x2000)
		if conn.src.Addr().Is6() {
			first = extended(44, []byte{0, 0, 0, 1, 0, 0, 0, 1})
		}
		conn.change = first
		checkParsed(t, p, conn)
		// The second one has the last options.
		conn.flags, conn.options, conn.payload = ack, make([]byte, 20), nil
		conn.change = func(frame []byte) []byte {
			if conn.src.Addr().Is4() {
				return first(set16(totalLength4, 20+20+8)(frame))
			}
			return first(set16(payloadLength6, 20+8)(frame))
		}
		p.check(t, conn, ordinary)
		if conn.src.Addr().Is4() {
			conn.change = set16(fragment4, 0x4000) // "don't fragment" alone is none
			p.check(t, conn, ordinary)
		}
	})
}

// A packet without Ethernet header. Program.Run takes the bytes for one, and where its type would be is a part of the source
// address: such addresses make them IP for the kernel, too.
func TestNoEthernetHeader(t *testing.T) {
	sources := []netip.AddrPort{
		netip.MustParseAddrPort("8.0.0.1:40000"), netip.MustParseAddrPort("[fd00:0:86dd::1]:40000"),
	}
	w := newWorld(t, Options{})
	for _, point := range []struct {
		name string
		Point
	}{
		{"ingress", Point{L3: true}},
		{"egress", Point{L3: true, Egress: true}},
		{"xdp", Point{L3: true, Hook: HookXDP}},
	} {
		for i, f := range families {
			t.Run(f.name+"/"+point.name, func(t *testing.T) {
				point.Netns = w.namespace()
				p := w.anyPoint(t, point.Point)
				conn := f.conn
				conn.src = sources[i]
				bare := func(frame []byte) []byte { return frame[14:] }
				conn.change = bare
				checkParsed(t, p, conn)
				conn.ipOptions = make([]byte, 8)
				if i == 1 {
					conn.ipOptions = nil
					conn.change = func(frame []byte) []byte { return bare(extended(60, hopByHop(8))(frame)) }
				}
				checkParsed(t, p, conn)
				conn.change = func(frame []byte) []byte { return bare(protocol(17)(frame)) }
				p.checkMoves(t, conn, PointCounters{})
			})
		}
	}
}
