package decode

import (
	"cmp"
	"slices"
)

// NetnsTally is what the tracker counts for one network namespace. Counts only grow.
type NetnsTally struct {
	NetnsID uint32
	Netns   string

	Late            uint64           // segments of finished connections
	Unseen          [numRoles]uint64 // connections that began before we saw them, by Role
	SYNACKsAfterACK [numRoles]uint64 // SYN-ACKs repeated after the completing ACK, by Role

	// Open is how many connections there are now, by Role and State.
	Open [numRoles][numStates]int

	// Detached says that Tracker.Detach ended the namespace: these counts are final, and not reported again.
	Detached bool
}

// Tallies is a snapshot of what the tracker counts beside its results.
//
// At every moment and in each namespace: handshakes completed + Unseen = connections reported + Open in states
// established and half_closed.
type Tallies struct {
	Netns []NetnsTally // ordered by NetnsID

	Connections       int    // in memory, those only remembered included
	Capacity          int    // how many there may be
	Evictions         uint64 // handshakes and connections given up because the memory was full
	NegativeIntervals uint64 // durations that came out below zero, and were reported as zero
}

// Tallies returns a snapshot that the caller owns. It costs one allocation: take one for each batch of segments, not for
// each segment.
func (t *Tracker) Tallies() Tallies {
	s := Tallies{
		Netns:             make([]NetnsTally, 0, len(t.netns)),
		Connections:       t.table.live,
		Capacity:          t.table.capacity,
		Evictions:         t.evictions,
		NegativeIntervals: t.negative,
	}
	for _, n := range t.netns {
		s.Netns = append(s.Netns, *n)
	}
	t.netns = slices.DeleteFunc(t.netns, func(n *NetnsTally) bool { return n.Detached })
	return s
}

// tallyOf returns the tally of a point's namespace.
func (t *Tracker) tallyOf(p *Point) *NetnsTally {
	if t.lastNetns != nil && t.lastNetns.NetnsID == p.NetnsID && !t.lastNetns.Detached {
		return t.lastNetns
	}
	i, ok := slices.BinarySearchFunc(t.netns, p.NetnsID, func(n *NetnsTally, id uint32) int {
		return cmp.Compare(n.NetnsID, id)
	})
	if !ok || t.netns[i].Detached {
		t.netns = slices.Insert(t.netns, i, &NetnsTally{NetnsID: p.NetnsID, Netns: p.Netns})
	}
	t.lastNetns = t.netns[i]
	t.lastNetns.Netns = p.Netns // it may have been renamed
	return t.lastNetns
}
