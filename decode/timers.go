package decode

import "math"

// timers says which connection comes next by its deadline. A connection has at most one alarm. It may come too early: who
// takes it compares it with the deadline and sets it again. So moving a deadline back, which most segments do, and dropping it
// costs nothing here; only an earlier one moves the alarm.
//
// Most waits have one of few lengths, 3 s most of all, so that alarms are set nearly in order. They are kept in a few lists,
// each in order: an alarm goes to the end of the list whose last one is the latest that is not after it (patience sorting).
// What fits nowhere, as where time steps back far, goes to a heap with four children a node. So an alarm costs two neighbours
// that were touched shortly before, or, at worst, the path to a heap's root.
type timers struct {
	first, last [runs]int64  // times of each list's ends: never and always if it is empty
	head, tail  [runs]uint32 // slots of the same, linked by conn.alarm
	heap        []heaped
}

// alarm is a connection's entry in timers.
type alarm struct {
	at         int64
	prev, next uint32 // slots, if in a list; next is the index, if in the heap
}

type heaped struct {
	at   int64
	slot uint32
}

const (
	runs          = 8
	never, always = math.MaxInt64, math.MinInt64
)

// Values of conn.run below runs+1 are numbers of lists, counted from 1.
const (
	noAlarm = 0
	inHeap  = runs + 1
)

func newTimers() (q timers) {
	for i := range runs {
		q.first[i], q.last[i] = never, always
	}
	return q
}

// set makes sure that the alarm of c is at the latest at time at.
func (q *timers) set(t *table, c *conn, at int64) {
	if c.run != noAlarm {
		if c.alarm.at <= at {
			return
		}
		q.drop(t, c)
	}
	best, run := int64(always), -1
	for i, last := range q.last {
		if last <= at && (last > best || run < 0) {
			best, run = last, i
		}
	}
	if run < 0 {
		q.heap = append(q.heap, heaped{})
		c.run = inHeap
		c.alarm.at = at
		q.up(t, len(q.heap)-1, heaped{at, c.slot})
		return
	}
	c.run = uint8(run + 1)
	c.alarm = alarm{at: at, prev: q.tail[run]}
	if c.alarm.prev == 0 {
		q.head[run], q.first[run] = c.slot, at
	} else {
		t.at(c.alarm.prev).alarm.next = c.slot
	}
	q.tail[run], q.last[run] = c.slot, at
}

// drop removes the alarm of c, if it has one.
func (q *timers) drop(t *table, c *conn) {
	run, a := int(c.run)-1, &c.alarm
	switch c.run {
	case noAlarm:
		return
	case inHeap:
		q.cut(t, int(a.next))
		c.run = noAlarm
		return
	}
	c.run = noAlarm
	if a.prev != 0 {
		t.at(a.prev).alarm.next = a.next
	} else if q.head[run], q.first[run] = a.next, never; a.next != 0 {
		q.first[run] = t.at(a.next).alarm.at
	}
	if a.next != 0 {
		t.at(a.next).alarm.prev = a.prev
	} else if q.tail[run], q.last[run] = a.prev, always; a.prev != 0 {
		q.last[run] = t.at(a.prev).alarm.at
	}
}

// due returns the slot of the first alarm if that is before now, else 0.
func (q *timers) due(now int64) uint32 {
	at, slot := now, uint32(0)
	if len(q.heap) > 0 && q.heap[0].at < at {
		at, slot = q.heap[0].at, q.heap[0].slot
	}
	for i, first := range q.first {
		if first < at {
			at, slot = first, q.head[i]
		}
	}
	return slot
}

// cut removes the heap's entry at index i.
func (q *timers) cut(t *table, i int) {
	moved := q.heap[len(q.heap)-1]
	q.heap = q.heap[:len(q.heap)-1]
	switch {
	case i == len(q.heap):
	case i > 0 && moved.at < q.heap[(i-1)/4].at:
		q.up(t, i, moved)
	default:
		q.down(t, i, moved)
	}
}

// up puts e at index i or above.
func (q *timers) up(t *table, i int, e heaped) {
	for i > 0 {
		parent := (i - 1) / 4
		if q.heap[parent].at <= e.at {
			break
		}
		q.place(t, i, q.heap[parent])
		i = parent
	}
	q.place(t, i, e)
}

// down puts e at index i or below.
func (q *timers) down(t *table, i int, e heaped) {
	for {
		first := 4*i + 1
		if first >= len(q.heap) {
			break
		}
		least := first
		for k := first + 1; k < min(first+4, len(q.heap)); k++ {
			if q.heap[k].at < q.heap[least].at {
				least = k
			}
		}
		if q.heap[least].at >= e.at {
			break
		}
		q.place(t, i, q.heap[least])
		i = least
	}
	q.place(t, i, e)
}

func (q *timers) place(t *table, i int, e heaped) {
	q.heap[i] = e
	t.at(e.slot).alarm.next = uint32(i)
}
