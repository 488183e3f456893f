package decode

// index finds slots by hash: open addressing with linear probing. An entry is a slot and the 32 bits of the hash that also
// give its home, so that a cache line holds eight, records need not be touched to grow, nor, nearly always, to pass over
// others. An entry is removed by moving its successors back: there are no tombstones.
//
// At most two thirds are used. It starts small and doubles, which takes some milliseconds at a million connections; it does
// not shrink.
type index struct {
	entries []uint64 // slot<<32 | hash; 0 is empty
	used    int
}

func newIndex() index { return index{entries: make([]uint64, 1<<10)} }

// next returns the slot of the first entry with that hash from position i on, 0 if there is none, and the position after it.
// Start with the hash itself.
func (x *index) next(hash, i uint32) (slot, after uint32) {
	mask := uint32(len(x.entries) - 1)
	for {
		e := x.entries[i&mask]
		i++
		if e == 0 || uint32(e) == hash {
			return uint32(e >> 32), i
		}
	}
}

func (x *index) add(hash, slot uint32) {
	if x.used++; 3*x.used > 2*len(x.entries) {
		old := x.entries
		x.entries = make([]uint64, 2*len(old))
		for _, e := range old {
			if e != 0 {
				x.put(e)
			}
		}
	}
	x.put(uint64(slot)<<32 | uint64(hash))
}

func (x *index) put(e uint64) {
	mask := uint32(len(x.entries) - 1)
	i := uint32(e)
	for x.entries[i&mask] != 0 {
		i++
	}
	x.entries[i&mask] = e
}

// remove drops an entry, which must be there.
func (x *index) remove(hash, slot uint32) {
	mask := uint32(len(x.entries) - 1)
	gap := hash
	for x.entries[gap&mask] != uint64(slot)<<32|uint64(hash) {
		gap++
	}
	for i := gap + 1; ; i++ {
		e := x.entries[i&mask]
		if e == 0 {
			break
		}
		if (i-uint32(e))&mask >= (i-gap)&mask { // its home is not behind the gap
			x.entries[gap&mask] = e
			gap = i
		}
	}
	x.entries[gap&mask] = 0
	x.used--
}
