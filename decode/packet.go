package decode

import "encoding/binary"

// AppendPacket appends the IP packet of s, up to the end of its TCP header: [ParseFrame] makes s of it again. The packet was
// s.Payload bytes longer. What a Segment does not hold is 0: type of service, flow label, identification, urgent pointer. Where
// the length of the packet does not fit into its field, that is 0, too, as Linux has it (BIG TCP). The checksums are right,
// but that of a segment with payload is 0, as it cannot be known.
func (s *Segment) AppendPacket(dst []byte) []byte {
	const fixed = 20 // bytes of a TCP header without options, and of an IPv4 header
	options := len(s.Options)
	if pad := -options & 3; pad > 0 {
		options += pad
	}
	header := fixed + options
	start := len(dst)
	length := func(n uint32) uint16 {
		if n > 0xffff {
			return 0
		}
		return uint16(n)
	}
	src, dest := s.Src.Addr(), s.Dst.Addr()
	var pseudo uint32 // the part of the pseudo header that both versions have (RFC 9293 §3.1)
	if src.Is4() {
		dst = append(dst, 0x45, 0)
		dst = binary.BigEndian.AppendUint16(dst, length(uint32(fixed+header)+s.Payload))
		dst = append(dst, 0, 0, 0x40, 0, s.TTL, protoTCP, 0, 0) // not to be fragmented
		a, b := src.As4(), dest.As4()
		dst = append(append(dst, a[:]...), b[:]...)
		binary.BigEndian.PutUint16(dst[start+10:], fold(sum16(dst[start:])))
		pseudo = sum16(dst[start+12:])
	} else {
		dst = append(dst, 0x60, 0, 0, 0)
		dst = binary.BigEndian.AppendUint16(dst, length(uint32(header)+s.Payload))
		dst = append(dst, protoTCP, s.TTL)
		a, b := src.As16(), dest.As16()
		dst = append(append(dst, a[:]...), b[:]...)
		pseudo = sum16(dst[start+8:])
	}
	tcp := len(dst)
	dst = binary.BigEndian.AppendUint16(dst, s.Src.Port())
	dst = binary.BigEndian.AppendUint16(dst, s.Dst.Port())
	dst = binary.BigEndian.AppendUint32(dst, uint32(s.Seq))
	dst = binary.BigEndian.AppendUint32(dst, uint32(s.Ack))
	dst = binary.BigEndian.AppendUint16(dst, uint16(header/4)<<12|uint16(s.Flags))
	dst = binary.BigEndian.AppendUint16(dst, s.Wnd)
	dst = append(dst, 0, 0, 0, 0) // checksum, urgent pointer
	dst = append(dst, s.Options...)
	for len(dst) < tcp+header {
		dst = append(dst, OptionEOL)
	}
	if s.Payload == 0 {
		binary.BigEndian.PutUint16(dst[tcp+16:], fold(pseudo+protoTCP+uint32(header)+sum16(dst[tcp:])))
	}
	return dst
}

// sum16 adds up 16-bit words (RFC 1071).
func sum16(b []byte) (sum uint32) {
	for ; len(b) > 1; b = b[2:] {
		sum += uint32(binary.BigEndian.Uint16(b))
	}
	return sum
}

// fold makes a checksum of a sum.
func fold(sum uint32) uint16 {
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}
