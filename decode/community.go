package decode

import (
	"crypto/sha1"
	"encoding/base64"
	"encoding/binary"
	"net/netip"
)

// AppendCommunityID appends the Community ID, version 1 with seed 0, of the connections between two sockets, in whatever order:
// what zeek, Suricata and others call them, too (https://github.com/corelight/community-id-spec). IPv4 addresses have 4 bytes.
func AppendCommunityID(dst []byte, a, b netip.AddrPort) []byte {
	if a.Compare(b) > 0 {
		a, b = b, a
	}
	const seed, protocol = 0, 6 // TCP
	var buf [2 + 2*16 + 2 + 2*2]byte
	in := append(buf[:0], seed, seed)
	for _, s := range [...]netip.AddrPort{a, b} {
		if addr := s.Addr(); addr.Is4() {
			bytes := addr.As4()
			in = append(in, bytes[:]...)
		} else {
			bytes := addr.As16()
			in = append(in, bytes[:]...)
		}
	}
	in = append(in, protocol, 0)
	in = binary.BigEndian.AppendUint16(in, a.Port())
	in = binary.BigEndian.AppendUint16(in, b.Port())
	sum := sha1.Sum(in)
	return base64.StdEncoding.AppendEncode(append(dst, "1:"...), sum[:])
}
