package decode

import (
	"encoding/binary"
	"math/bits"
	"net/netip"
)

// key identifies a connection: the namespace's identity and the socket pair in canonical order, the lower socket first.
// Addresses are 16 bytes, IPv4 mapped.
type key struct {
	low, high         [2]uint64
	netns             uint32
	lowPort, highPort uint16
}

// hash folds k by 128-bit products with a secret, as wyhash does: three times faster than maphash for this one shape.
func (k *key) hash(secret *[6]uint64) uint32 {
	tail := uint64(k.netns)<<32 | uint64(k.lowPort)<<16 | uint64(k.highPort)
	h1, l1 := bits.Mul64(k.low[0]^secret[0], k.low[1]^secret[1])
	h2, l2 := bits.Mul64(k.high[0]^secret[2], k.high[1]^secret[3])
	h3, l3 := bits.Mul64(tail^secret[4]^h1^l2, secret[5]^l1^h2)
	return uint32(h3 ^ l3)
}

// keyOf returns the key of a segment's connection, and whether the sender is the higher socket.
func keyOf(seg *Segment) (k key, fromHigh bool) {
	k = key{words(seg.Src.Addr()), words(seg.Dst.Addr()), seg.Point.NetnsID, seg.Src.Port(), seg.Dst.Port()}
	switch {
	case k.low[0] != k.high[0]:
		fromHigh = k.low[0] > k.high[0]
	case k.low[1] != k.high[1]:
		fromHigh = k.low[1] > k.high[1]
	default:
		fromHigh = k.lowPort > k.highPort
	}
	if fromHigh {
		k.low, k.high = k.high, k.low
		k.lowPort, k.highPort = k.highPort, k.lowPort
	}
	return k, fromHigh
}

// mapped is the second half of an IPv4-mapped address (RFC 4291 §2.5.5.2) without the IPv4 address.
const mapped = 0xffff << 32

// words returns an address as two numbers.
func words(a netip.Addr) [2]uint64 {
	if a.Is4() {
		b := a.As4()
		return [2]uint64{0, mapped | uint64(binary.BigEndian.Uint32(b[:]))}
	}
	b := a.As16()
	return [2]uint64{binary.BigEndian.Uint64(b[:8]), binary.BigEndian.Uint64(b[8:])}
}

// wide reports whether k needs more than four bytes for an address.
func (k *key) wide() bool {
	return k.low[0]|k.high[0] != 0 || k.low[1]>>32 != mapped>>32 || k.high[1]>>32 != mapped>>32
}

// sockets returns the lower and the higher socket.
func (k *key) sockets() (low, high netip.AddrPort) {
	return socketOf(k.low, k.lowPort), socketOf(k.high, k.highPort)
}

func socketOf(w [2]uint64, port uint16) netip.AddrPort {
	var b [16]byte
	binary.BigEndian.PutUint64(b[:8], w[0])
	binary.BigEndian.PutUint64(b[8:], w[1])
	if w[0] == 0 && w[1]>>32 == mapped>>32 {
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte(b[12:])), port)
	}
	return netip.AddrPortFrom(netip.AddrFrom16(b), port)
}
