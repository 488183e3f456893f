package decode

import (
	"encoding/binary"
	"net/netip"
)

// Protocols and IPv6 next headers, as assigned by IANA.
const (
	protoHopByHop       = 0
	protoTCP            = 6
	protoRouting        = 43
	protoFragment       = 44
	protoAuthentication = 51
	protoDestination    = 60
	protoMobility       = 135
	protoHIP            = 139
	protoShim6          = 140
)

// ip reads an IP packet of either version.
func (p *packet) ip(seg *Segment) Parsed {
	if !p.has(1) {
		return p.short(1)
	}
	switch p.rest[0] >> 4 {
	case 4:
		return p.ipv4(seg)
	case 6:
		return p.ipv6(seg)
	}
	return ParsedNotTCP
}

// ipv4 reads an IPv4 header (RFC 791 §3.1).
func (p *packet) ipv4(seg *Segment) Parsed {
	const header = 20
	if !p.has(header) {
		return p.short(header)
	}
	h := p.rest[:header]
	n := int(h[0]&0xf) * 4
	if h[0]>>4 != 4 || n < header {
		return ParsedMalformed
	}
	if h[9] != protoTCP {
		return ParsedNotTCP
	}
	fragment := binary.BigEndian.Uint16(h[6:])
	if fragment&0x1fff != 0 {
		return ParsedFragment
	}
	// Packets captured before segmentation may be too long for the field, which is 0 then: BIG TCP, and network cards that
	// fill it in for each part.
	total := int(binary.BigEndian.Uint16(h[2:]))
	if total == 0 {
		total = p.wire
	}
	if total < n {
		return ParsedMalformed
	}
	if !p.has(n) {
		return p.short(n)
	}
	src, dst := netip.AddrFrom4([4]byte(h[12:])), netip.AddrFrom4([4]byte(h[16:]))
	seg.TTL = h[8]
	p.skip(n)
	return p.tcp(seg, src, dst, total-n, fragment&0x2000 != 0)
}

// maxExtensions bounds the IPv6 extension headers read. A receiver must take them in any order and number, but for
// Hop-by-Hop Options, which is only allowed to be first; a sender should not send more than eight (RFC 8200 §4.1).
const maxExtensions = 8

// ipv6 reads an IPv6 header and its extension headers (RFC 8200 §3, §4).
func (p *packet) ipv6(seg *Segment) Parsed {
	const header = 40
	if !p.has(header) {
		return p.short(header)
	}
	h := p.rest[:header]
	if h[0]>>4 != 6 {
		return ParsedMalformed
	}
	p.skip(header)
	// 0 stands for a jumbogram (RFC 2675 §3), and for BIG TCP, which omits the option with the length. Nothing pads a packet
	// of that size.
	length := int(binary.BigEndian.Uint16(h[4:]))
	if length == 0 {
		length = p.wire
	}
	next, more := h[6], false
	for i := 0; next != protoTCP; i++ {
		if !extension(next) {
			return ParsedNotTCP
		}
		if i == maxExtensions || next == protoHopByHop && i > 0 {
			return ParsedIPv6Extension
		}
		if !p.has(8) {
			return p.short(8)
		}
		n := int(p.rest[1])*8 + 8
		switch next {
		case protoAuthentication: // RFC 4302 §2.2
			n = int(p.rest[1])*4 + 8
		case protoFragment:
			n = 8
			fragment := binary.BigEndian.Uint16(p.rest[2:])
			if fragment&^7 != 0 {
				if next = p.rest[0]; next != protoTCP && !extension(next) {
					return ParsedNotTCP
				}
				return ParsedFragment
			}
			more = more || fragment&1 != 0
		}
		if n > length {
			return ParsedMalformed
		}
		if !p.has(n) {
			return p.short(n)
		}
		next = p.rest[0]
		length -= n
		p.skip(n)
	}
	seg.TTL = h[7]
	return p.tcp(seg, netip.AddrFrom16([16]byte(h[8:])), netip.AddrFrom16([16]byte(h[24:])), length, more)
}

// extension reports whether next is an extension header that another header may follow. Encapsulating Security Payload
// is none: what follows is encrypted.
func extension(next uint8) bool {
	switch next {
	case protoHopByHop, protoRouting, protoFragment, protoAuthentication, protoDestination, protoMobility, protoHIP, protoShim6:
		return true
	}
	return false
}

// tcp reads a TCP header (RFC 9293 §3.1) of a packet that has length bytes behind its IP headers; fragment says that it is
// the first fragment of more.
func (p *packet) tcp(seg *Segment, src, dst netip.Addr, length int, fragment bool) Parsed {
	const header = 20
	// What a Segment holds ends here: a capture may have cut the checksum and all that follows.
	const need = 16
	if length < need {
		return ParsedMalformed
	}
	if !p.has(need) {
		return p.short(need)
	}
	h := p.rest[:need]
	n := int(h[12]>>4) * 4
	if n < header {
		return ParsedMalformed
	}
	if n > length {
		if !fragment {
			return ParsedMalformed
		}
		n = length // the next fragment has the rest of the options
	}
	seg.Src = netip.AddrPortFrom(src, binary.BigEndian.Uint16(h))
	seg.Dst = netip.AddrPortFrom(dst, binary.BigEndian.Uint16(h[2:]))
	seg.Seq = Seq(binary.BigEndian.Uint32(h[4:]))
	seg.Ack = Seq(binary.BigEndian.Uint32(h[8:]))
	seg.Flags = Flags(binary.BigEndian.Uint16(h[12:])) & (AE<<1 - 1)
	seg.Wnd = binary.BigEndian.Uint16(h[14:])
	seg.Payload = uint32(length - n)
	seg.Urgent = 0
	if seg.Has(URG) && len(p.rest) >= header {
		seg.Urgent = binary.BigEndian.Uint16(p.rest[header-2:])
	}
	seg.Options = nil
	if end := min(n, len(p.rest)); end > header {
		seg.Options = Options(p.rest[header:end:end])
	}
	return ParsedSegment
}
