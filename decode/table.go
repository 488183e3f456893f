package decode

import (
	"bytes"
	"hash/maphash"
	"net/netip"
)

// key identifies a connection: the namespace's identity and the socket pair in canonical order, the lower socket first.
type key [40]byte

const (
	keyNetns = 0
	keyLow   = 4
	keyHigh  = 22
	sockLen  = 18 // 16 bytes of address, IPv4 mapped, and the port
)

// keyOf returns the key of a segment's connection, and whether the sender is the higher socket.
func keyOf(seg *Segment) (k key, fromHigh bool) {
	id := seg.Point.NetnsID
	k[keyNetns], k[keyNetns+1], k[keyNetns+2], k[keyNetns+3] = byte(id>>24), byte(id>>16), byte(id>>8), byte(id)
	putSocket(k[keyLow:], seg.Src)
	putSocket(k[keyHigh:], seg.Dst)
	if bytes.Compare(k[keyLow:keyLow+sockLen], k[keyHigh:keyHigh+sockLen]) <= 0 {
		return k, false
	}
	putSocket(k[keyLow:], seg.Dst)
	putSocket(k[keyHigh:], seg.Src)
	return k, true
}

func putSocket(b []byte, s netip.AddrPort) {
	a := s.Addr().As16()
	copy(b[:16], a[:])
	b[16], b[17] = byte(s.Port()>>8), byte(s.Port())
}

// sockets returns the lower and the higher socket.
func (k *key) sockets() (low, high netip.AddrPort) {
	return socketAt(k[keyLow:]), socketAt(k[keyHigh:])
}

func socketAt(b []byte) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom16([16]byte(b[:16])).Unmap(), uint16(b[16])<<8|uint16(b[17]))
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
	seed     maphash.Seed
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
	// The seed is random: who chooses ports must not choose the chain. Nothing that we emit depends on it.
	return table{buckets: make([]uint32, n), seed: maphash.MakeSeed(), capacity: capacity}
}

// at returns the connection in a slot.
func (t *table) at(slot uint32) *conn {
	return &t.chunks[(slot-1)>>chunkBits][(slot-1)&(chunkLen-1)]
}

func (t *table) bucket(k *key) *uint32 {
	return &t.buckets[maphash.Bytes(t.seed, k[:])&uint64(len(t.buckets)-1)]
}

// find returns the connection with a key, or nil.
func (t *table) find(k *key) *conn {
	for slot := *t.bucket(k); slot != 0; {
		c := t.at(slot)
		if c.key == *k {
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
