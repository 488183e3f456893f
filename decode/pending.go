package decode

import (
	"cmp"
	"iter"
	"net/netip"
	"slices"
)

// A Pending is a connection that is not over, as [Tracker.Connections] shows it: what a [Handshake] or a [Connection] would
// say if it ended now.
type Pending struct {
	Point *Point // where it was first reported

	// As in Connection.
	Originator, Responder netip.AddrPort
	OriginatorKnown       bool
	Unseen                bool

	Role  Role
	State State
	Start int64 // time of the first segment, ns since the Unix epoch
	Seen  int64 // time of the last segment that was accepted

	// Retransmissions in the handshake, as in Handshake.
	SYNs, SYNACKs uint16

	// As in Connection, so far.
	Closer       Side
	Bytes        [2]uint32
	BytesKnown   [2]bool
	Completeness Completeness
	History      string
}

// Connections returns the connections that are not over, ordered by their start. Each is valid until the next one is
// asked for. The tracker must not be used in between.
func (t *Tracker) Connections() iter.Seq[*Pending] {
	return func(yield func(*Pending) bool) {
		slots := make([]uint32, 0, t.table.live)
		for slot := uint32(1); slot <= t.table.used; slot++ {
			if _, ok := t.table.at(slot).phase.state(); ok {
				slots = append(slots, slot)
			}
		}
		slices.SortFunc(slots, func(a, b uint32) int {
			return cmp.Or(cmp.Compare(t.table.at(a).start, t.table.at(b).start), cmp.Compare(a, b))
		})
		var p Pending
		for _, slot := range slots {
			t.describe(t.table.at(slot), &p)
			if !yield(&p) {
				return
			}
		}
	}
}

// describe fills p from c.
func (t *Tracker) describe(c *conn, p *Pending) {
	state, _ := c.phase.state()
	*p = Pending{
		Point: t.pointOf(c), Role: c.role, State: state,
		OriginatorKnown: c.has(sidesKnown), Unseen: c.has(unseen),
		Start: c.start, Seen: c.seen,
		SYNs: c.half[Originator].again, SYNACKs: c.half[Responder].again,
		Closer: c.knownCloser(), Completeness: c.completeness,
		History: t.historyString(c.history),
	}
	p.Originator, p.Responder = t.ends(c)
	for s := range c.half {
		p.Bytes[s], p.BytesKnown[s] = c.half[s].bytes()
	}
}
