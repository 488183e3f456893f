package decode

import (
	"encoding/binary"
	"math/bits"
	"net/netip"
)

// key identifies a connection: the namespace's identity and the socket pair in canonical order, the lower socket first.
// Addresses are 16 bytes, IPv4 mapped.
type key struct {
	low, high         address
	netns             uint32
	lowPort, highPort uint16
}

// address is 16 bytes in two numbers, the first bytes first.
type address struct{ hi, lo uint64 }

// hash folds k by 128-bit products with a secret, as wyhash does: three times faster than maphash for this one shape.
func (k *key) hash(secret *[6]uint64) uint32 {
	tail := uint64(k.netns)<<32 | uint64(k.lowPort)<<16 | uint64(k.highPort)
	h1, l1 := bits.Mul64(k.low.hi^secret[0], k.low.lo^secret[1])
	h2, l2 := bits.Mul64(k.high.hi^secret[2], k.high.lo^secret[3])
	h3, l3 := bits.Mul64(tail^secret[4]^h1^l2, secret[5]^l1^h2)
	return uint32(h3 ^ l3)
}

// set makes k the key of a segment's connection, and reports whether the sender is the higher socket.
func (k *key) set(seg *Segment) (fromHigh bool) {
	src, dst := addressOf(seg.Src.Addr()), addressOf(seg.Dst.Addr())
	sport, dport := seg.Src.Port(), seg.Dst.Port()
	switch {
	case src.hi != dst.hi:
		fromHigh = src.hi > dst.hi
	case src.lo != dst.lo:
		fromHigh = src.lo > dst.lo
	default:
		fromHigh = sport > dport
	}
	if fromHigh {
		src, dst = dst, src
		sport, dport = dport, sport
	}
	k.low, k.high = src, dst
	k.lowPort, k.highPort = sport, dport
	k.netns = seg.Point.NetnsID
	return fromHigh
}

// mapped is the second half of an IPv4-mapped address (RFC 4291 §2.5.5.2) without the IPv4 address.
const mapped = 0xffff << 32

func addressOf(a netip.Addr) address {
	if a.Is4() {
		b := a.As4()
		return address{0, mapped | uint64(binary.BigEndian.Uint32(b[:]))}
	}
	b := a.As16()
	return address{binary.BigEndian.Uint64(b[:8]), binary.BigEndian.Uint64(b[8:])}
}

// wide reports whether k needs more than four bytes for an address.
func (k *key) wide() bool {
	return k.low.hi|k.high.hi != 0 || k.low.lo>>32 != mapped>>32 || k.high.lo>>32 != mapped>>32
}

// sockets returns the lower and the higher socket.
func (k *key) sockets() (low, high netip.AddrPort) {
	return socketOf(k.low, k.lowPort), socketOf(k.high, k.highPort)
}

func socketOf(a address, port uint16) netip.AddrPort {
	var b [16]byte
	binary.BigEndian.PutUint64(b[:8], a.hi)
	binary.BigEndian.PutUint64(b[8:], a.lo)
	if a.hi == 0 && a.lo>>32 == mapped>>32 {
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte(b[12:])), port)
	}
	return netip.AddrPortFrom(netip.AddrFrom16(b), port)
}
