package decode

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"testing"
)

// A testFrame is put together from the inside out.
type testFrame []byte

// testTCP is a SYN-ACK with every field set, 12 bytes of options, and 5 bytes of data.
func testTCP() testFrame {
	return slices.Concat(
		[]byte{0x1f, 0x90, 0xc0, 0x01},         // ports 8080, 49153
		[]byte{1, 2, 3, 4}, []byte{5, 6, 7, 8}, // seq, ack
		[]byte{0x81, 0x12, 0xab, 0xcd},                // 32 bytes, AE SYN ACK, window
		[]byte{0, 0, 0, 0},                            // checksum, urgent pointer
		[]byte{2, 4, 5, 0xb4, 4, 2, 1, 3, 3, 7, 1, 0}, // options: MSS, SACK permitted, window scale
		[]byte("hello"),
	)
}

const testOptions, testPayload = 12, 5

// over puts a header of the given bytes before f.
func (f testFrame) over(header ...byte) testFrame { return append(header, f...) }

// ipv4 puts an IPv4 header before f, with n bytes of options.
func (f testFrame) ipv4(proto uint8, fragment uint16, n int) testFrame {
	h := make([]byte, 20+n)
	h[0] = 0x40 | uint8(len(h)/4)
	binary.BigEndian.PutUint16(h[2:], uint16(len(h)+len(f)))
	binary.BigEndian.PutUint16(h[6:], fragment)
	h[8], h[9] = 64, proto
	copy(h[12:], []byte{192, 0, 2, 1, 198, 51, 100, 2})
	for i := range n {
		h[20+i] = 1
	}
	return f.over(h...)
}

var (
	testSrc6 = netip.MustParseAddr("2001:db8::1")
	testDst6 = netip.MustParseAddr("2001:db8::2")
)

// ipv6 puts an IPv6 header before f.
func (f testFrame) ipv6(next uint8) testFrame {
	h := make([]byte, 40)
	h[0], h[6], h[7] = 0x60, next, 64
	binary.BigEndian.PutUint16(h[4:], uint16(len(f)))
	copy(h[8:], testSrc6.AsSlice())
	copy(h[24:], testDst6.AsSlice())
	return f.over(h...)
}

// extension puts an extension header of 8 bytes before f.
func (f testFrame) extension(next uint8) testFrame { return f.over(next, 0, 1, 4, 0, 0, 0, 0) }

// fragment puts a fragment header before f, of an offset in bytes and a flag.
func (f testFrame) fragment(next uint8, offset uint16) testFrame {
	return f.over(next, 0, uint8(offset>>8), uint8(offset), 0, 0, 0, 1)
}

// ethernet puts an Ethernet header before f, with VLAN tags of the given types.
func (f testFrame) ethernet(ether uint16, tags ...uint16) testFrame {
	h := make([]byte, 12)
	for _, tag := range tags {
		h = append(binary.BigEndian.AppendUint16(h, tag), 0, 42)
	}
	return f.over(binary.BigEndian.AppendUint16(h, ether)...)
}

// put overwrites bytes of f.
func (f testFrame) put(at int, b ...byte) testFrame {
	copy(f[at:], b)
	return f
}

func repeat[T any](v T, n int) []T { return slices.Repeat([]T{v}, n) }

// want is the segment of testTCP in IPv4 or IPv6.
func wantSegment(v6 bool) Segment {
	seg := Segment{
		Src: netip.MustParseAddrPort("192.0.2.1:8080"), Dst: netip.MustParseAddrPort("198.51.100.2:49153"),
		Seq: 0x01020304, Ack: 0x05060708, Wnd: 0xabcd, Flags: AE | SYN | ACK, TTL: 64, Payload: testPayload,
		Options: Options(testTCP()[20 : 20+testOptions]),
	}
	if v6 {
		seg.Src, seg.Dst = netip.AddrPortFrom(testSrc6, 8080), netip.AddrPortFrom(testDst6, 49153)
	}
	return seg
}

func TestParseFrame(t *testing.T) {
	const (
		eth  = 14 // where things are in the frame
		ip   = eth
		tcp4 = ip + 20
	)
	v4 := func() testFrame { return testTCP().ipv4(6, 0, 0).ethernet(0x0800) }
	v6 := func() testFrame { return testTCP().ipv6(6).ethernet(0x86dd) }
	extended := func(extensions ...uint8) testFrame { // headers in the order of the packet
		f, next := testTCP(), uint8(6)
		for _, e := range slices.Backward(extensions) {
			f, next = f.extension(next), e
		}
		return f.ipv6(next).ethernet(0x86dd)
	}
	payload := func(n uint32) func(*Segment) { return func(s *Segment) { s.Payload = n } }

	tests := []struct {
		name   string
		link   LinkType // 0: Ethernet, as BSD loopback has its own test
		frame  testFrame
		wire   int // 0: as captured
		parsed Parsed
		v6     bool
		change func(*Segment) // from wantSegment
	}{
		{name: "ipv4", frame: v4()},
		{name: "ipv6", frame: v6(), v6: true},

		// Links.
		{name: "raw ipv4", link: LinkRaw, frame: v4()[eth:]},
		{name: "raw ipv6", link: LinkRaw, frame: v6()[eth:], v6: true},
		{name: "raw, 12", link: LinkRaw12, frame: v4()[eth:]},
		{name: "raw, 14", link: LinkRaw14, frame: v4()[eth:]},
		{name: "raw, neither version", link: LinkRaw, frame: v4()[eth:].put(0, 0x55), parsed: ParsedNotTCP},
		{name: "link ipv4", link: LinkIPv4, frame: v4()[eth:]},
		{name: "link ipv6", link: LinkIPv6, frame: v6()[eth:], v6: true},
		{name: "openbsd loopback", link: LinkLoop, frame: v6()[eth:].over(0, 0, 0, 24), v6: true},
		{name: "cooked", link: LinkSLL, frame: v4()[eth:].over(append(make([]byte, 14), 0x08, 0)...)},
		{name: "cooked with a tag", link: LinkSLL, frame: v4()[eth:].over(append(make([]byte, 14), 0x81, 0, 0, 42, 0x08, 0)...)},
		{name: "cooked 2", link: LinkSLL2, frame: v6()[eth:].over(append([]byte{0x86, 0xdd}, make([]byte, 18)...)...), v6: true},
		{name: "cisco hdlc", link: LinkCHDLC, frame: v4()[eth:].over(0x0f, 0, 0x08, 0)},
		{name: "unknown link", link: 65535, frame: v4(), parsed: ParsedOther},

		// Ethernet.
		{name: "vlan", frame: testTCP().ipv4(6, 0, 0).ethernet(0x0800, 0x8100)},
		{name: "qinq", frame: testTCP().ipv6(6).ethernet(0x86dd, 0x88a8, 0x8100), v6: true},
		{name: "qinq before the standard", frame: testTCP().ipv4(6, 0, 0).ethernet(0x0800, 0x9100, 0x8100)},
		{name: "eight tags", frame: testTCP().ipv4(6, 0, 0).ethernet(0x0800, repeat[uint16](0x8100, 8)...)},
		{name: "nine tags", frame: testTCP().ipv4(6, 0, 0).ethernet(0x0800, repeat[uint16](0x8100, 9)...), parsed: ParsedVLAN},
		{name: "arp", frame: v4().put(12, 8, 6), parsed: ParsedNotTCP},
		{name: "arp in a vlan", frame: v4().ethernet(0x0806, 0x8100), parsed: ParsedNotTCP},
		{name: "mpls", frame: v4().put(12, 0x88, 0x47), parsed: ParsedOther},
		{name: "pppoe", frame: v4().put(12, 0x88, 0x64), parsed: ParsedOther},
		{name: "802.3 with snap", frame: v4()[eth:].over(0xaa, 0xaa, 3, 0, 0, 0, 0x08, 0).ethernet(80)},
		{name: "802.3 with snap of another organisation", frame: v4()[eth:].over(0xaa, 0xaa, 3, 0, 0, 0xc, 0x08, 0).ethernet(80), parsed: ParsedNotTCP},
		{name: "802.3 with snap in snap", frame: v4()[eth:].over(0xaa, 0xaa, 3, 0, 0, 0, 0, 80).ethernet(80), parsed: ParsedNotTCP},
		{name: "802.3, spanning tree", frame: v4()[eth:].over(0x42, 0x42, 3).ethernet(38), parsed: ParsedNotTCP},
		{name: "padding", frame: append(v4(), 0, 0, 0, 0, 0, 0)},

		// IPv4.
		{name: "ipv4 options", frame: testTCP().ipv4(6, 0, 40).ethernet(0x0800)},
		{name: "ipv4 says version 6", frame: v4().put(ip, 0x65), parsed: ParsedMalformed},
		{name: "ipv4 header of 16 bytes", frame: v4().put(ip, 0x44), parsed: ParsedMalformed},
		{name: "ipv4 header beyond the packet", frame: v4().put(ip, 0x4f).put(ip+2, 0, 58), parsed: ParsedMalformed},
		{name: "udp", frame: v4().put(ip+9, 17), parsed: ParsedNotTCP},
		{name: "udp, later fragment", frame: testTCP().ipv4(17, 100, 0).ethernet(0x0800), parsed: ParsedNotTCP},
		{name: "do not fragment", frame: testTCP().ipv4(6, 0x4000, 0).ethernet(0x0800)},
		{name: "reserved flag", frame: testTCP().ipv4(6, 0x8000, 0).ethernet(0x0800)},
		{name: "first fragment", frame: testTCP().ipv4(6, 0x2000, 0).ethernet(0x0800)},
		{name: "middle fragment", frame: testTCP().ipv4(6, 0x2001, 0).ethernet(0x0800), parsed: ParsedFragment},
		{name: "last fragment", frame: testTCP().ipv4(6, 1, 0).ethernet(0x0800), parsed: ParsedFragment},
		{name: "first fragment without all options", frame: testTCP()[:24].ipv4(6, 0x2000, 0).ethernet(0x0800),
			change: func(s *Segment) { s.Payload, s.Options = 0, s.Options[:4] }},
		{name: "a fragment that begins at half the largest offset", frame: testTCP().ipv4(6, 0x1000, 0).ethernet(0x0800), parsed: ParsedFragment},
		{name: "first fragment up to the window", frame: testTCP()[:16].ipv4(6, 0x2000, 0).ethernet(0x0800),
			change: func(s *Segment) { s.Payload, s.Options = 0, nil }},
		{name: "first fragment without flags", frame: testTCP()[:8].ipv4(6, 0x2000, 0).ethernet(0x0800), parsed: ParsedMalformed},
		{name: "total length 0", frame: v4().put(ip+2, 0, 0)},
		{name: "total length 0, cut", frame: v4().put(ip+2, 0, 0), wire: tcp4 + 32 + 100_000, change: payload(100_000)},
		{name: "total length shorter than the header", frame: v4().put(ip+2, 0, 19), parsed: ParsedMalformed},
		{name: "total length cuts the data", frame: v4().put(ip+2, 0, 20+32+2), change: payload(2)},
		{name: "total length cuts the options", frame: v4().put(ip+2, 0, 20+31), parsed: ParsedMalformed},
		{name: "total length beyond the frame", frame: v4().put(ip+2, 0xff, 0xff), change: payload(65535 - 52)},
		{name: "wire length below the captured one", frame: v4(), wire: 1},

		// IPv6.
		{name: "ipv6 says version 4", frame: v6().put(ip, 0x40), parsed: ParsedMalformed},
		{name: "icmpv6", frame: v6().put(ip+6, 58), parsed: ParsedNotTCP},
		{name: "no next header", frame: extended(0, 59), parsed: ParsedNotTCP},
		{name: "esp", frame: extended(0, 50), parsed: ParsedNotTCP},
		{name: "every extension header, in the order of RFC 8200", frame: extended(0, 60, 43, 135, 139, 140, 60), v6: true},
		{name: "eight extension headers", frame: extended(repeat[uint8](60, 8)...), v6: true},
		{name: "nine extension headers", frame: extended(repeat[uint8](60, 9)...), parsed: ParsedIPv6Extension},
		{name: "hop-by-hop options not first", frame: extended(60, 0), parsed: ParsedIPv6Extension},
		{name: "hop-by-hop options of 16 bytes", v6: true,
			frame: append(make(testFrame, 8), testTCP()...).over(6, 1, 1, 12, 0, 0, 0, 0).ipv6(0).ethernet(0x86dd)},
		{name: "authentication header", v6: true, // its length counts 4 bytes, less 2
			frame: append(make(testFrame, 16), testTCP()...).over(6, 4, 0, 0, 0, 0, 0, 1).ipv6(51).ethernet(0x86dd)},
		{name: "extension header beyond the packet", frame: extended(60).put(eth+40+1, 200), parsed: ParsedMalformed},
		{name: "extension header beyond the payload length", frame: extended(60).put(eth+4, 0, 4), parsed: ParsedMalformed},
		{name: "atomic fragment", frame: testTCP().fragment(6, 0).ipv6(44).ethernet(0x86dd), v6: true},
		{name: "first ipv6 fragment", frame: testTCP().fragment(6, 1).ipv6(44).ethernet(0x86dd), v6: true},
		{name: "first ipv6 fragment without all options", frame: testTCP()[:24].fragment(6, 1).ipv6(44).ethernet(0x86dd), v6: true,
			change: func(s *Segment) { s.Payload, s.Options = 0, s.Options[:4] }},
		{name: "later ipv6 fragment", frame: testTCP().fragment(6, 8).ipv6(44).ethernet(0x86dd), parsed: ParsedFragment},
		{name: "later ipv6 fragment of options", frame: testTCP().fragment(60, 8).ipv6(44).ethernet(0x86dd), parsed: ParsedFragment},
		{name: "later ipv6 fragment of udp", frame: testTCP().fragment(17, 8).ipv6(44).ethernet(0x86dd), parsed: ParsedNotTCP},
		{name: "reserved bits of the fragment header", frame: testTCP().fragment(6, 6).ipv6(44).ethernet(0x86dd), v6: true},
		{name: "big tcp", frame: v6().put(ip+4, 0, 0), wire: eth + 40 + 32 + 200_000, v6: true, change: payload(200_000)},
		{name: "jumbogram", v6: true, wire: eth + 40 + 8 + 32 + 200_000, change: payload(200_000),
			frame: testTCP().over(6, 0, 0xc2, 4, 0, 3, 13, 96).ipv6(0).ethernet(0x86dd).put(eth+4, 0, 0)},
		{name: "an ipv4 address in ipv6", frame: v6().put(ip+8, append(make([]byte, 10), 0xff, 0xff, 192, 0, 2, 1)...), v6: true,
			change: func(s *Segment) { s.Src = netip.MustParseAddrPort("[::ffff:192.0.2.1]:8080") }},

		// TCP.
		{name: "no options", frame: v4().put(tcp4+12, 0x50), change: func(s *Segment) { s.Flags, s.Payload, s.Options = SYN|ACK, 17, nil }},
		{name: "tcp header of 16 bytes", frame: v4().put(tcp4+12, 0x40), parsed: ParsedMalformed},
		{name: "tcp header beyond the packet", frame: v4().put(tcp4+12, 0xf0), parsed: ParsedMalformed},
		{name: "every flag", frame: v4().put(tcp4+12, 0x8f, 0xff), change: func(s *Segment) { s.Flags = 0x1ff }},
		{name: "no flag", frame: v4().put(tcp4+12, 0x80, 0), change: func(s *Segment) { s.Flags = 0 }},
		{name: "capture cuts the data", frame: v4()[:tcp4+32], wire: tcp4 + 37},
		{name: "capture cuts the options", frame: v4()[:tcp4+24], wire: tcp4 + 37, change: func(s *Segment) { s.Options = s.Options[:4] }},
		{name: "capture ends behind the window", frame: v4()[:tcp4+16], wire: tcp4 + 37, change: func(s *Segment) { s.Options = nil }},
		{name: "capture ends before the window", frame: v4()[:tcp4+14], wire: tcp4 + 37, parsed: ParsedTruncated},
		{name: "frame ends before the window", frame: v4()[:tcp4+14], parsed: ParsedMalformed},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := Segment{Payload: 99, Flags: 0x1ff, Options: Options{9}} // from the frame before
			link := tt.link
			if link == 0 {
				link = LinkEthernet
			}
			if parsed := ParseFrame(link, tt.frame, tt.wire, &got); parsed != tt.parsed {
				t.Fatalf("got %v, want %v", parsed, tt.parsed)
			}
			if tt.parsed != ParsedSegment {
				return
			}
			want := wantSegment(tt.v6)
			if tt.change != nil {
				tt.change(&want)
			}
			equalSegments(t, &got, &want)
		})
	}
}

func equalSegments(t *testing.T, got, want *Segment) {
	t.Helper()
	g, w := fmt.Sprintf("%+v", *got), fmt.Sprintf("%+v", *want)
	if g != w || !bytes.Equal(got.Options, want.Options) {
		t.Errorf("\ngot  %s\nwant %s", g, w)
	}
}

// The address family of BSD loopback comes in the byte order of the capturing host, and differs for IPv6.
func TestParseFrameLoopback(t *testing.T) {
	v4, v6 := testTCP().ipv4(6, 0, 0), testTCP().ipv6(6)
	for family, want := range map[uint32]Parsed{
		0: ParsedNotTCP, 1: ParsedNotTCP, 2: ParsedSegment, 7: ParsedNotTCP,
		10: ParsedSegment, 24: ParsedSegment, 28: ParsedSegment, 30: ParsedSegment, 0x10002: ParsedNotTCP,
	} {
		packet := v4
		if family > 2 {
			packet = v6
		}
		for _, order := range []binary.AppendByteOrder{binary.LittleEndian, binary.BigEndian} {
			var seg Segment
			if got := ParseFrame(LinkNull, append(order.AppendUint32(nil, family), packet...), 0, &seg); got != want {
				t.Errorf("family %d, %v: got %v, want %v", family, order, got, want)
			}
		}
	}
}

// A frame cut anywhere is truncated up to the window, and the same segment from there on.
func TestParseFrameCut(t *testing.T) {
	frames := map[string]struct {
		link  LinkType
		frame testFrame
		need  int // up to the window
	}{
		"ipv4":       {LinkEthernet, testTCP().ipv4(6, 0, 8).ethernet(0x0800, 0x88a8, 0x8100), 14 + 8 + 28 + 16},
		"ipv6":       {LinkEthernet, testTCP().fragment(6, 1).extension(44).ipv6(60).ethernet(0x86dd), 14 + 40 + 16 + 16},
		"loopback":   {LinkNull, testTCP().ipv4(6, 0, 0).over(2, 0, 0, 0), 4 + 20 + 16},
		"raw":        {LinkRaw, testTCP().ipv6(6), 40 + 16},
		"cooked":     {LinkSLL, testTCP().ipv4(6, 0, 0).over(append(make([]byte, 14), 8, 0)...), 16 + 20 + 16},
		"cooked v2":  {LinkSLL2, testTCP().ipv4(6, 0, 0).over(append([]byte{8, 0}, make([]byte, 18)...)...), 20 + 20 + 16},
		"cisco hdlc": {LinkCHDLC, testTCP().ipv4(6, 0, 0).over(15, 0, 8, 0), 4 + 20 + 16},
	}
	for name, f := range frames {
		var whole Segment
		if got := ParseFrame(f.link, f.frame, 0, &whole); got != ParsedSegment {
			t.Fatalf("%s: got %v", name, got)
		}
		for n := range len(f.frame) {
			want := ParsedTruncated
			if n >= f.need {
				want = ParsedSegment
			}
			var seg Segment
			if got := ParseFrame(f.link, bytes.Clone(f.frame[:n]), len(f.frame), &seg); got != want {
				t.Errorf("%s: first %d bytes: got %v, want %v", name, n, got, want)
			}
			if want == ParsedSegment {
				cut := whole
				cut.Options = cut.Options[:min(len(cut.Options), max(0, n-f.need-4))]
				equalSegments(t, &seg, &cut)
			}
			// Without the rest ever having been there it is not a frame that the capture cut.
			if got := ParseFrame(f.link, f.frame[:n], n, &seg); n < f.need && got != ParsedMalformed {
				t.Errorf("%s: a frame of %d bytes: got %v, want malformed", name, n, got)
			}
		}
	}
}

func TestParseFrameAllocatesNothing(t *testing.T) {
	frame := testTCP().fragment(6, 0).ipv6(44).ethernet(0x86dd, 0x8100)
	var seg Segment
	if n := testing.AllocsPerRun(100, func() { ParseFrame(LinkEthernet, frame, len(frame), &seg) }); n != 0 {
		t.Errorf("got %v allocations, want 0", n)
	}
}

func FuzzParseFrame(f *testing.F) {
	for _, frame := range []testFrame{
		testTCP().ipv4(6, 0, 0).ethernet(0x0800),
		testTCP().ipv4(6, 0x2000, 8).ethernet(0x0800, 0x8100),
		testTCP().fragment(6, 1).extension(44).ipv6(0).ethernet(0x86dd),
	} {
		f.Add(uint16(LinkEthernet), []byte(frame), len(frame))
		f.Add(uint16(LinkRaw), []byte(frame[14:]), 0)
	}
	f.Fuzz(func(t *testing.T, link uint16, frame []byte, wire int) {
		var seg, again Segment
		before := bytes.Clone(frame)
		parsed := ParseFrame(LinkType(link), frame, wire, &seg)
		if int(parsed) >= NumParsed {
			t.Fatalf("result %d", parsed)
		}
		if ParseFrame(LinkType(link), frame, wire, &again) != parsed || parsed == ParsedSegment && !sameSegment(&seg, &again) {
			t.Error("not the same the second time")
		}
		if !bytes.Equal(frame, before) {
			t.Error("the frame was changed")
		}
		if parsed != ParsedSegment {
			return
		}
		switch {
		case !seg.Src.IsValid(), !seg.Dst.IsValid(), seg.Src.Addr().Is4() != seg.Dst.Addr().Is4():
			t.Errorf("addresses %v, %v", seg.Src, seg.Dst)
		case len(seg.Options) > 40:
			t.Errorf("%d bytes of options", len(seg.Options))
		case int64(seg.Payload) > int64(max(wire, len(frame), 65535)):
			t.Errorf("%d bytes of payload", seg.Payload)
		}
		for kind, data := range seg.Options.All() {
			if len(data) > 38 {
				t.Errorf("option %d has %d bytes", kind, len(data))
			}
		}
		_ = seg.AppendTcpdump(nil, seg.Seq, seg.Ack)
	})
}

func sameSegment(a, b *Segment) bool { return fmt.Sprintf("%+v", *a) == fmt.Sprintf("%+v", *b) }

func BenchmarkParseFrame(b *testing.B) {
	for _, bb := range []struct {
		name  string
		frame testFrame
	}{
		{"ipv4", testTCP().ipv4(6, 0, 0).ethernet(0x0800)},
		{"ipv6", testTCP().ipv6(6).ethernet(0x86dd)},
		{"ipv4_vlan", testTCP().ipv4(6, 0, 0).ethernet(0x0800, 0x8100)},
		{"ipv6_extensions", testTCP().fragment(6, 0).extension(44).ipv6(0).ethernet(0x86dd)},
		{"udp", testTCP().ipv4(17, 0, 0).ethernet(0x0800)},
	} {
		b.Run(bb.name, func(b *testing.B) {
			b.ReportAllocs()
			var seg Segment
			for b.Loop() {
				ParseFrame(LinkEthernet, bb.frame, len(bb.frame), &seg)
			}
		})
	}
}
