package decode

import "math/rand/v2"

// Connections lie in chunks that never move, so that pointers to them stay good and growing copies nothing. Records have no
// pointers: the garbage collector does not look at them.
const (
	chunkBits = 9
	chunkLen  = 1 << chunkBits
)

// table is the memory of the tracker: a slab of connections with a free list, and an index by key. Slots are counted
// from 1, 0 means none.
type table struct {
	conns    []*[chunkLen]conn
	wide     []*[chunkLen][2]address // addresses of connections with has(wideKey); nil where there was none
	index    index
	points   pointSet
	attempts attempts
	secret   [6]uint64
	used     uint32 // slots ever used
	free     uint32 // first free slot, linked by conn.next
	live     int
	capacity int
}

func newTable(capacity int) table {
	t := table{index: newIndex(), points: newPointSet(), capacity: capacity}
	for i := range t.secret {
		t.secret[i] = rand.Uint64() // who chooses ports must not choose the place in the index; nothing we emit depends on it
	}
	return t
}

// at returns the connection in a slot.
func (t *table) at(slot uint32) *conn {
	return &t.conns[(slot-1)>>chunkBits][(slot-1)%chunkLen]
}

// find returns the connection with a key of that hash, or nil.
func (t *table) find(k *key, hash uint32) *conn {
	for i := hash; ; {
		slot, after := t.index.next(hash, i)
		if slot == 0 {
			return nil
		}
		if c := t.at(slot); t.holds(c, k) {
			return c
		}
		i = after
	}
}

// holds reports whether c has key k.
func (t *table) holds(c *conn, k *key) bool {
	if c.lowPort != k.lowPort || c.highPort != k.highPort || t.points.refs[c.point].point.NetnsID != k.netns {
		return false
	}
	if c.has(wideKey) {
		return *t.wideOf(c.slot) == [2]address{k.low, k.high}
	}
	return c.low == uint32(k.low.lo) && c.high == uint32(k.high.lo) && !k.wide()
}

func (t *table) wideOf(slot uint32) *[2]address {
	return &t.wide[(slot-1)>>chunkBits][(slot-1)%chunkLen]
}

// keyOf returns the key of c.
func (t *table) keyOf(c *conn) key {
	k := key{netns: t.points.refs[c.point].point.NetnsID, lowPort: c.lowPort, highPort: c.highPort}
	if c.has(wideKey) {
		w := t.wideOf(c.slot)
		k.low, k.high = w[0], w[1]
	} else {
		k.low.lo, k.high.lo = mapped|uint64(c.low), mapped|uint64(c.high)
	}
	return k
}

// full reports whether insert needs somebody to be removed first.
func (t *table) full() bool { return t.live >= t.capacity }

// insert returns a new connection with a key that is not in the table, first seen at a point. The table must not be full.
func (t *table) insert(k *key, hash, point uint32) *conn {
	slot := t.free
	if slot != 0 {
		t.free = t.at(slot).next
	} else {
		if t.used%chunkLen == 0 {
			t.conns = append(t.conns, new([chunkLen]conn))
			t.wide = append(t.wide, nil)
		}
		t.used++
		slot = t.used
	}
	c := t.at(slot)
	*c = conn{slot: slot, point: point, low: uint32(k.low.lo), high: uint32(k.high.lo), lowPort: k.lowPort, highPort: k.highPort}
	if k.wide() {
		c.bits = wideKey
		if w := &t.wide[(slot-1)>>chunkBits]; *w == nil {
			*w = new([chunkLen][2]address)
		}
		*t.wideOf(slot) = [2]address{k.low, k.high}
	}
	t.points.refs[point].conns++
	t.index.add(hash, slot)
	t.live++
	return c
}

// remove frees the slot of c, which must be in no list and have no alarm.
func (t *table) remove(c *conn) {
	k := t.keyOf(c)
	t.index.remove(k.hash(&t.secret), c.slot)
	t.points.refs[c.point].conns--
	c.next = t.free
	t.free = c.slot
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
