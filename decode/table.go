package decode

import (
	"encoding/binary"
	"math/bits"
	"math/rand/v2"
	"net/netip"
)

// key identifies a connection: the namespace's identity and the socket pair in canonical order, the lower socket first.
// Addresses are 16 bytes, IPv4 mapped.
type key struct {
	low, high         [2]uint64
	netns             uint32
	lowPort, highPort uint16
}

// equal is ==, inlined.
func (k *key) equal(o *key) bool {
	return k.low[0] == o.low[0] && k.low[1] == o.low[1] && k.high[0] == o.high[0] && k.high[1] == o.high[1] &&
		k.netns == o.netns && k.lowPort == o.lowPort && k.highPort == o.highPort
}

// hash folds k by 128-bit products with a secret, as wyhash does: three times faster than maphash for this one shape.
func (k *key) hash(secret *[6]uint64) uint64 {
	tail := uint64(k.netns)<<32 | uint64(k.lowPort)<<16 | uint64(k.highPort)
	h1, l1 := bits.Mul64(k.low[0]^secret[0], k.low[1]^secret[1])
	h2, l2 := bits.Mul64(k.high[0]^secret[2], k.high[1]^secret[3])
	h3, l3 := bits.Mul64(tail^secret[4]^h1^l2, secret[5]^l1^h2)
	return h3 ^ l3
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

// words returns an address as two numbers.
func words(a netip.Addr) [2]uint64 {
	b := a.As16()
	return [2]uint64{binary.BigEndian.Uint64(b[:8]), binary.BigEndian.Uint64(b[8:])}
}

// sockets returns the lower and the higher socket.
func (k *key) sockets() (low, high netip.AddrPort) {
	return socketOf(k.low, k.lowPort), socketOf(k.high, k.highPort)
}

func socketOf(w [2]uint64, port uint16) netip.AddrPort {
	var b [16]byte
	binary.BigEndian.PutUint64(b[:8], w[0])
	binary.BigEndian.PutUint64(b[8:], w[1])
	return netip.AddrPortFrom(netip.AddrFrom16(b).Unmap(), port)
}

// Connections lie in chunks that never move, so that pointers to them stay good and growing copies nothing.
const (
	chunkBits = 10
	chunkLen  = 1 << chunkBits
)

// table is the memory of the tracker: a slab of connections with a free list, found by key through chains of slots.
// Slots are counted from 1, 0 means none. Why not a Go map: the chains cost 4 bytes a connection where a map repeats the
// 40-byte key, and never grow in the middle of a flood.
type table struct {
	chunks   [][]conn
	buckets  []uint32 // first slot of each chain
	secret   [6]uint64
	used     uint32 // slots ever used
	free     uint32 // first free slot, linked by conn.chain
	live     int
	capacity int
}

func newTable(capacity int) table {
	n := 1024
	for n < capacity {
		n *= 2
	}
	t := table{buckets: make([]uint32, n), capacity: capacity}
	for i := range t.secret {
		t.secret[i] = rand.Uint64() // who chooses ports must not choose the chain; nothing that we emit depends on it
	}
	return t
}

// at returns the connection in a slot.
func (t *table) at(slot uint32) *conn {
	return &t.chunks[(slot-1)>>chunkBits][(slot-1)&(chunkLen-1)]
}

func (t *table) bucket(k *key) *uint32 {
	return &t.buckets[k.hash(&t.secret)&uint64(len(t.buckets)-1)]
}

// find returns the connection with a key, or nil.
func (t *table) find(k *key) *conn {
	for slot := *t.bucket(k); slot != 0; {
		c := t.at(slot)
		if c.key.equal(k) {
			return c
		}
		slot = c.chain
	}
	return nil
}

// full reports whether insert needs somebody to be removed first.
func (t *table) full() bool { return t.live >= t.capacity }

// insert returns a zero connection with a key that is not in the table. The table must not be full.
func (t *table) insert(k *key) *conn {
	slot := t.free
	if slot != 0 {
		t.free = t.at(slot).chain
	} else {
		if int(t.used)>>chunkBits == len(t.chunks) {
			t.chunks = append(t.chunks, make([]conn, min(chunkLen, t.capacity-int(t.used))))
		}
		t.used++
		slot = t.used
	}
	c := t.at(slot)
	b := t.bucket(k)
	*c = conn{key: *k, slot: slot, chain: *b}
	*b = slot
	t.live++
	return c
}

// remove frees the slot of c.
func (t *table) remove(c *conn) {
	p := t.bucket(&c.key)
	for *p != c.slot {
		p = &t.at(*p).chain
	}
	*p = c.chain
	slot := c.slot
	*c = conn{slot: slot, chain: t.free} // drops the pointers, too
	t.free = slot
	t.live--
}

// list is a queue of connections, linked through conn.prev and conn.next, oldest first.
type list struct{ head, tail uint32 }

func (t *table) push(l *list, c *conn) {
	c.prev, c.next = l.tail, 0
	if l.tail != 0 {
		t.at(l.tail).next = c.slot
	} else {
		l.head = c.slot
	}
	l.tail = c.slot
}

func (t *table) unlink(l *list, c *conn) {
	if c.prev != 0 {
		t.at(c.prev).next = c.next
	} else {
		l.head = c.next
	}
	if c.next != 0 {
		t.at(c.next).prev = c.prev
	} else {
		l.tail = c.prev
	}
}
