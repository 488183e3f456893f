package decode

import "encoding/binary"

// EtherTypes, as assigned by IEEE and listed by IANA.
const (
	etherIPv4    = 0x0800
	etherBridge  = 0x6558 // Transparent Ethernet Bridging
	etherIPv6    = 0x86dd
	etherVLAN    = 0x8100 // IEEE 802.1Q
	etherMPLS    = 0x8847
	etherMPLSTop = 0x8848 // upstream-assigned label
	etherPPPoE   = 0x8864 // session stage
	etherQinQ    = 0x88a8 // IEEE 802.1ad
	etherERSPAN  = 0x88be
	etherQinQOld = 0x9100 // 802.1ad before it was one

	etherMin = 0x0600 // below it the field is the length of an IEEE 802.3 frame
)

// maxTags bounds the VLAN tags read. Two are in use (802.1ad), three were seen.
const maxTags = 8

// header reads a link header of n bytes that has the EtherType at offset.
func (p *packet) header(seg *Segment, n, offset int) Parsed {
	if !p.has(n) {
		return p.short(n)
	}
	ether := binary.BigEndian.Uint16(p.rest[offset:])
	p.skip(n)
	return p.network(ether, seg)
}

// network reads what an EtherType announces, VLAN tags and an LLC header before it.
func (p *packet) network(ether uint16, seg *Segment) Parsed {
	for tags := 0; ; tags++ {
		switch ether {
		case etherIPv4:
			return p.ipv4(seg)
		case etherIPv6:
			return p.ipv6(seg)
		case etherMPLS, etherMPLSTop, etherPPPoE, etherBridge, etherERSPAN:
			return ParsedOther
		case etherVLAN, etherQinQ, etherQinQOld:
			if tags == maxTags {
				return ParsedVLAN
			}
			if !p.has(4) {
				return p.short(4)
			}
			ether = binary.BigEndian.Uint16(p.rest[2:])
			p.skip(4)
		default:
			if ether < etherMin && p.snap() {
				ether = binary.BigEndian.Uint16(p.rest[6:])
				p.skip(8)
				if ether >= etherMin {
					continue
				}
			}
			return ParsedNotTCP
		}
	}
}

// snap reports whether an LLC header follows that only announces an EtherType (RFC 1042).
func (p *packet) snap() bool {
	return p.has(8) && [6]byte(p.rest) == [6]byte{0xaa, 0xaa, 3, 0, 0, 0}
}

// loopback reads the header of BSD loopback interfaces: an address family, in the byte order of a host that we do not know.
// IPv4 is 2 everywhere; IPv6 is 24 on NetBSD and OpenBSD, 28 on FreeBSD, 30 on Darwin, 10 on Linux.
func (p *packet) loopback(seg *Segment) Parsed {
	if !p.has(4) {
		return p.short(4)
	}
	family := binary.LittleEndian.Uint32(p.rest)
	if family > 0xffff {
		family = binary.BigEndian.Uint32(p.rest)
	}
	p.skip(4)
	switch family {
	case 2:
		return p.ipv4(seg)
	case 10, 24, 28, 30:
		return p.ipv6(seg)
	}
	return ParsedNotTCP
}
