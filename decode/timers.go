package decode

// timers says which connection comes next by some time of its own: its deadline, or its last activity. A slot has at most
// one entry. An entry may come too early: who takes it compares it with the connection's true time and puts it back. So
// moving that time back, which most segments do, and dropping it cost nothing here; only an earlier one moves the entry.
//
// It is a heap with four children a node: half as deep as one with two, and the children share a cache line.
type timers struct {
	heap []timer
	pos  []uint32 // by slot: index in heap + 1, 0 if it has no entry
}

type timer struct {
	at   int64
	slot uint32
}

// set makes sure that slot is due at the latest at time at.
func (h *timers) set(slot uint32, at int64) {
	for int(slot) >= len(h.pos) {
		h.pos = append(h.pos, 0)
	}
	switch p := h.pos[slot]; {
	case p == 0:
		h.heap = append(h.heap, timer{})
		h.up(len(h.heap)-1, timer{at, slot})
	case at < h.heap[p-1].at:
		h.up(int(p-1), timer{at, slot})
	}
}

// due returns the slot of the first entry if that is before now, else 0.
func (h *timers) due(now int64) uint32 {
	if len(h.heap) == 0 || h.heap[0].at >= now {
		return 0
	}
	return h.heap[0].slot
}

// put moves the first entry to time at.
func (h *timers) put(at int64) { h.down(timer{at, h.heap[0].slot}) }

// pop removes the first entry.
func (h *timers) pop() {
	last := len(h.heap) - 1
	h.pos[h.heap[0].slot] = 0
	moved := h.heap[last]
	h.heap = h.heap[:last]
	if last > 0 {
		h.down(moved)
	}
}

// up puts e at index i or above.
func (h *timers) up(i int, e timer) {
	for i > 0 {
		parent := (i - 1) / 4
		if h.heap[parent].at <= e.at {
			break
		}
		h.place(i, h.heap[parent])
		i = parent
	}
	h.place(i, e)
}

// down puts e at the root or below.
func (h *timers) down(e timer) {
	i := 0
	for {
		first := 4*i + 1
		if first >= len(h.heap) {
			break
		}
		least := first
		for k := first + 1; k < min(first+4, len(h.heap)); k++ {
			if h.heap[k].at < h.heap[least].at {
				least = k
			}
		}
		if h.heap[least].at >= e.at {
			break
		}
		h.place(i, h.heap[least])
		i = least
	}
	h.place(i, e)
}

func (h *timers) place(i int, e timer) {
	h.heap[i] = e
	h.pos[e.slot] = uint32(i + 1)
}
