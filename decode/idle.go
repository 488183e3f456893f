package decode

import "slices"

// idle orders the open connections by their last segment. Nobody asks for that before the memory is full of them, so it is
// made then, of all there are, and used up: those who were active since, or came since, are later than all in it.
type idle struct {
	heap []idler // the first is the earliest
}

type idler struct {
	seen int64
	slot uint32
}

// longest returns the slot of the open connection that was silent for longest. There must be one.
func (q *idle) longest(t *table) uint32 {
	for {
		if len(q.heap) == 0 {
			q.collect(t)
		}
		first := q.heap[0]
		last := len(q.heap) - 1
		q.heap[0] = q.heap[last]
		q.heap = q.heap[:last]
		q.down(0)
		if c := t.at(first.slot); c.phase.open() && c.seen == first.seen {
			return first.slot
		}
	}
}

func (q *idle) collect(t *table) {
	q.heap = slices.Grow(q.heap, t.live)
	for slot := uint32(1); slot <= t.used; slot++ {
		if c := t.at(slot); c.phase.open() {
			q.heap = append(q.heap, idler{c.seen, slot})
		}
	}
	for i := len(q.heap)/2 - 1; i >= 0; i-- {
		q.down(i)
	}
}

func (q *idle) down(i int) {
	for {
		least := i
		for k := 2*i + 1; k < min(2*i+3, len(q.heap)); k++ {
			if q.heap[k].seen < q.heap[least].seen {
				least = k
			}
		}
		if least == i {
			return
		}
		q.heap[i], q.heap[least] = q.heap[least], q.heap[i]
		i = least
	}
}
