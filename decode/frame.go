package decode

// LinkType says what a captured frame begins with: a LINKTYPE_ value of tcpdump.org/linktypes.html.
type LinkType uint16

// The link types that [ParseFrame] reads.
const (
	LinkNull     LinkType = 0   // BSD loopback: address family in the byte order of the capturing host
	LinkEthernet LinkType = 1   // Ethernet
	LinkRaw12    LinkType = 12  // IPv4 or IPv6, as some systems number it
	LinkRaw14    LinkType = 14  // IPv4 or IPv6, as OpenBSD numbers it
	LinkRaw      LinkType = 101 // IPv4 or IPv6
	LinkCHDLC    LinkType = 104 // Cisco HDLC
	LinkLoop     LinkType = 108 // OpenBSD loopback: address family in network byte order
	LinkSLL      LinkType = 113 // Linux cooked capture
	LinkIPv4     LinkType = 228 // IPv4
	LinkIPv6     LinkType = 229 // IPv6
	LinkSLL2     LinkType = 276 // Linux cooked capture, version 2
)

// Parsed is what [ParseFrame] found in a frame.
type Parsed uint8

// What a frame can be. The reasons why a segment could not be read are named as the live counters name them.
const (
	ParsedSegment       Parsed = iota // a TCP segment
	ParsedNotTCP                      // something else
	ParsedOther                       // something else, which may carry IP: PPPoE, MPLS, an unknown link type
	ParsedVLAN                        // more than eight VLAN tags
	ParsedFragment                    // a later fragment: no TCP header
	ParsedIPv6Extension               // more than eight IPv6 extension headers, or one out of place
	ParsedTruncated                   // the capture ends before the TCP header does
	ParsedMalformed                   // header lengths contradict each other
	numParsed
)

// NumParsed is the number of values of Parsed, for arrays indexed by it.
const NumParsed = int(numParsed)

// ParseFrame reads the TCP segment of a captured frame into seg: every field but Time, Point, Forwarded and ToLocal.
// wireLen is the frame's length before the capture cut it. If the result is not [ParsedSegment], seg's fields mean nothing.
//
// Checksums are not verified: a capture on the sending host shows those that its network card was still to compute.
// Fragments are not put together. The first one has the TCP header and counts as the segment, with its own part of the data.
//
// Options are a part of frame, cut where the capture or the first fragment ends. ParseFrame does not allocate.
func ParseFrame(link LinkType, frame []byte, wireLen int, seg *Segment) Parsed {
	p := packet{rest: frame, wire: max(wireLen, len(frame))}
	switch link {
	case LinkEthernet:
		return p.header(seg, 14, 12)
	case LinkRaw, LinkRaw12, LinkRaw14, LinkIPv4, LinkIPv6:
		return p.ip(seg)
	case LinkNull, LinkLoop:
		return p.loopback(seg)
	case LinkSLL:
		return p.header(seg, 16, 14)
	case LinkSLL2:
		return p.header(seg, 20, 0)
	case LinkCHDLC:
		return p.header(seg, 4, 2)
	}
	return ParsedOther
}

// A packet is what is left of a frame behind the headers read so far.
type packet struct {
	rest []byte // what was captured
	wire int    // how long it was. Invariant: len(rest) <= wire.
}

// has reports whether n bytes were captured.
func (p *packet) has(n int) bool { return len(p.rest) >= n }

// skip goes on behind n bytes, which must have been captured.
func (p *packet) skip(n int) {
	p.rest = p.rest[n:]
	p.wire -= n
}

// short says why there are not n bytes: the capture cut them off, or they never were there.
func (p *packet) short(n int) Parsed {
	if p.wire >= n {
		return ParsedTruncated
	}
	return ParsedMalformed
}
