package pcap

import (
	"bytes"
	"encoding/binary"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/gopacket/gopacket/layers"

	"netobs/decode"
)

type peelTest struct {
	name   string
	link   decode.LinkType // 0: Ethernet
	frame  []byte
	tunnel bool // only with Decap
	parsed decode.Parsed
}

var peelTests = func() []peelTest {
	udp := func(port uint16, payload ...[]byte) []byte {
		data := slices.Concat(payload...)
		h := slices.Concat(binary.BigEndian.AppendUint16([]byte{200, 0}, port), binary.BigEndian.AppendUint16(nil, uint16(8+len(data))), []byte{0, 0})
		return ipv4(17, h, data)
	}
	inner := ethernet(0x0800, ipFrame())
	hop := []byte{0x60, 0, 0, 0, 0, byte(len(ipFrame())), 4, 9}
	return []peelTest{
		{name: "mpls", frame: ethernet(0x8847, []byte{0, 1, 0, 9, 0, 1, 1, 9}, ipFrame())},
		{name: "mpls pseudowire", frame: ethernet(0x8847, []byte{0, 1, 1, 9, 0, 0, 0, 0}, inner)},
		{name: "mpls of something else", frame: ethernet(0x8847, []byte{0, 1, 1, 9}, []byte("what")), parsed: decode.ParsedNotTCP},
		{name: "pppoe", frame: ethernet(0x8864, []byte{0x11, 0, 0, 1, 0, byte(2 + len(ipFrame())), 0, 0x21}, ipFrame())},
		{name: "pppoe in a vlan", frame: ethernet(0x8100, []byte{0, 1, 0x88, 0x64, 0x11, 0, 0, 1, 0, byte(2 + len(ipFrame())), 0, 0x21}, ipFrame())},
		{name: "ppp", link: 9, frame: slices.Concat([]byte{0xff, 3, 0, 0x21}, ipFrame())},
		{name: "ppp in hdlc framing", link: 50, frame: slices.Concat([]byte{0xff, 3, 0, 0x21}, ipFrame())},
		{name: "pppoe link", link: 51, frame: slices.Concat([]byte{0x11, 0, 0, 1, 0, byte(2 + len(ipFrame())), 0, 0x21}, ipFrame())},
		{name: "802.11", link: 105, frame: slices.Concat([]byte{8, 0}, make([]byte, 22), []byte{0xaa, 0xaa, 3, 0, 0, 0, 8, 0}, ipFrame(), make([]byte, 4))},
		{name: "802.11 with radiotap", link: 127, frame: slices.Concat([]byte{0, 0, 8, 0, 0, 0, 0, 0, 8, 0}, make([]byte, 22), []byte{0xaa, 0xaa, 3, 0, 0, 0, 8, 0}, ipFrame(), make([]byte, 4))},
		{name: "ours, but not gopacket's", link: 104, frame: []byte{0x8f, 0, 0x80, 0x35}, parsed: decode.ParsedNotTCP},
		{name: "unknown link", link: 147, frame: ipFrame(), parsed: decode.ParsedOther},

		{name: "ip in ip", tunnel: true, frame: ethernet(0x0800, ipv4(4, ipFrame()))},
		{name: "ip in ip, raw", tunnel: true, link: 228, frame: ipv4(4, ipFrame())},
		{name: "ip in ip six times", tunnel: true, link: 101, frame: ipv4(4, ipv4(4, ipv4(4, ipv4(4, ipv4(4, ipv4(4, ipFrame()))))))},
		{name: "4in6", tunnel: true, frame: ethernet(0x86dd, hop, make([]byte, 32), ipFrame())},
		{name: "gre", tunnel: true, frame: ethernet(0x0800, ipv4(47, []byte{0, 0, 8, 0}, ipFrame()))},
		{name: "gre with key", tunnel: true, frame: ethernet(0x0800, ipv4(47, []byte{0x20, 0, 8, 0, 0, 0, 0, 1}, ipFrame()))},
		{name: "gre of ethernet", tunnel: true, frame: ethernet(0x0800, ipv4(47, []byte{0, 0, 0x65, 0x58}, inner))},
		{name: "vxlan", tunnel: true, frame: ethernet(0x0800, udp(4789, []byte{8, 0, 0, 0, 0, 0, 1, 0}, inner))},
		{name: "vxlan, old port", tunnel: true, frame: ethernet(0x0800, udp(8472, []byte{8, 0, 0, 0, 0, 0, 1, 0}, inner))},
		{name: "vxlan in a vlan", tunnel: true, frame: ethernet(0x8100, []byte{0, 1, 8, 0}, udp(4789, []byte{8, 0, 0, 0, 0, 0, 1, 0}, inner))},
		{name: "geneve", tunnel: true, frame: ethernet(0x0800, udp(6081, []byte{1, 0, 0x65, 0x58, 0, 0, 1, 0, 1, 2, 3, 0}, inner))},
		{name: "gtp-u", tunnel: true, frame: ethernet(0x0800, udp(2152, []byte{0x30, 255, 0, byte(len(ipFrame())), 0, 0, 0, 1}, ipFrame()))},
		{name: "another port", frame: ethernet(0x0800, udp(4790, []byte{8, 0, 0, 0, 0, 0, 1, 0}, inner)), parsed: decode.ParsedNotTCP},
		{name: "icmp error quoting it", frame: ethernet(0x0800, ipv4(1, []byte{3, 1, 0, 0, 0, 0, 0, 0}, ipFrame())), parsed: decode.ParsedNotTCP},
		{name: "later fragment in a tunnel", tunnel: true, frame: ethernet(0x0800, ipv4(4, fragment(ipFrame()))), parsed: decode.ParsedFragment},
		{name: "without end", tunnel: true, frame: slices.Concat(slices.Repeat([]byte{0x45, 0, 0xff, 0xff, 0, 0, 0, 0, 64, 4, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2}, 50)), link: 101, parsed: decode.ParsedOther},
	}
}()

func TestPeel(t *testing.T) {
	for _, tt := range peelTests {
		t.Run(tt.name, func(t *testing.T) {
			for _, decap := range []bool{false, true} {
				link, want := tt.link, tt.parsed
				if link == 0 {
					link = decode.LinkEthernet
				}
				if tt.tunnel && !decap {
					want = decode.ParsedNotTCP
				}
				w := &recorder{AppendByteOrder: binary.LittleEndian}
				w.pcapHeader(0xa1b2c3d4, link)
				w.pcapPacket(0, 0, tt.frame)
				segments, stats, err := readAll(w.file, Options{Decap: decap})
				if err != io.EOF || stats.Parsed[want] != 1 {
					t.Errorf("decap %v: got %v, %v, want %v", decap, stats.Parsed, err, want)
				}
				if want == decode.ParsedSegment {
					equal(t, "segment", strings.Join(segments, "\n"), `0.000000000 "" `+syn)
				}
			}
		})
	}
}

// What the capture cut is not missed where it is not needed: here it ends behind the window or later.
func TestPeelCut(t *testing.T) {
	for _, tt := range peelTests {
		link := tt.link
		if link == 0 {
			link = decode.LinkEthernet
		}
		end := bytes.LastIndex(tt.frame, []byte("abc"))
		if end < 0 || tt.parsed != decode.ParsedSegment {
			continue
		}
		for n := range 9 { // data and options
			var seg decode.Segment
			var p peeler
			if got := p.peel(firstDecoder(link), bytes.Clone(tt.frame[:end+1-n]), len(tt.frame), true, &seg); got != decode.ParsedSegment || seg.Payload != 3 {
				t.Errorf("%s: %d bytes cut: got %v with %d bytes of data", tt.name, len(tt.frame)-end-1+n, got, seg.Payload)
			}
		}
		// Cut anywhere before, it is no segment, and nothing breaks.
		for n := range end - 8 {
			var seg decode.Segment
			var p peeler
			if got := p.peel(firstDecoder(link), bytes.Clone(tt.frame[:n]), len(tt.frame), true, &seg); got == decode.ParsedSegment {
				t.Errorf("%s: first %d bytes: got a segment", tt.name, n)
			}
		}
	}
}

func ipv4(proto uint8, payload ...[]byte) []byte {
	data := slices.Concat(payload...)
	n := uint16(20 + len(data))
	return slices.Concat([]byte{0x45, 0, byte(n >> 8), byte(n), 0, 0, 0, 0, 64, proto, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2}, data)
}

func fragment(packet []byte) []byte {
	packet[7] = 1
	return packet
}

func TestLinkName(t *testing.T) {
	for link, want := range map[decode.LinkType]string{1: "Ethernet", 220: "USB", 147: "link type 147", 65535: "link type 65535"} {
		equal(t, "name", LinkName(link), want)
	}
}

func BenchmarkNextNg(b *testing.B) {
	b.ReportAllocs()
	w := &recorder{AppendByteOrder: orders[0]}
	w.section()
	w.iface(decode.LinkEthernet, "eth0", 9)
	head := len(w.file)
	w.packet(0, 1700000000_000000001, ethernet(0x0806, make([]byte, 28)))
	w.packet(0, 1700000000_000000002, ethernet(0x0800, ipFrame()))
	w.packet(0, 1700000000_000000003, ethernet(0x0800, ipFrame()))
	r, err := NewReader(&endless{head: w.file[:head], packets: bytes.Repeat(w.file[head:], 1000)}, "x", Options{})
	if err != nil {
		b.Fatal(err)
	}
	var seg decode.Segment
	for b.Loop() {
		if err := r.Next(&seg); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkPeel(b *testing.B) {
	b.ReportAllocs()
	frame := ethernet(0x8847, []byte{0, 1, 0, 9, 0, 1, 1, 9}, ipFrame())
	var seg decode.Segment
	var p peeler
	for b.Loop() {
		if parsed := p.peel(layers.LinkTypeEthernet, frame, len(frame), false, &seg); parsed != decode.ParsedSegment {
			b.Fatal(parsed)
		}
	}
}
