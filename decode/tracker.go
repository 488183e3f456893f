package decode

import (
	"math"
	"time"
)

// TrackerOptions are the settings of a Tracker. The zero value is useful.
type TrackerOptions struct {
	// Capacity is the most connections kept in memory, those remembered after their end included. When it is reached, a
	// new one displaces, in this order: the remembered one that finished first, the oldest open handshake, the open
	// connection silent for longest.
	// 0 means 262 144.
	Capacity int

	// OnHandshake is called for each handshake when its outcome is known, OnConnection for each connection at its end.
	// They are called by the method that found out; what they get is valid only during the call; they must not call the
	// tracker. Optional.
	OnHandshake  func(*Handshake)
	OnConnection func(*Connection)

	// EverySegment says that the source shows every segment that passes, as a capture does, and not control segments only.
	// Then nothing is inferred from numbers that jump: the history has only what was seen.
	EverySegment bool

	// Patience is the least time without a retransmission after which a handshake counts as given up; after a gap g
	// between two retransmissions it is 2g + 1 s, if that is more.
	// 0 means 3 s.
	Patience time.Duration

	// Closing is how long to wait for the last acknowledgment when both FINs were seen.
	// 0 means 3 s.
	Closing time.Duration

	// Memory is how long a finished connection is remembered, to tell its late segments from a new connection's.
	// 0 means 3 s.
	Memory time.Duration

	// QuietLimit is how long a connection may be silent that is half-closed, or whose beginning was not seen and which
	// is known by bare acknowledgments only. Both may have ended without our seeing it.
	// 0 means 2 h 4 min, the least a NAT must keep such a connection (RFC 5382 §5). Negative means for ever.
	QuietLimit time.Duration

	// IdleLimit is how long an established connection may be silent. Set it only where every segment is seen: a live
	// source does not report data.
	// 0 means for ever.
	IdleLimit time.Duration
}

// A Tracker follows TCP connections from their segments; see the package documentation for its rules. It is a pure
// function of what its methods are given: no clock, no goroutine, no I/O. It must not be used concurrently.
type Tracker struct {
	opts TrackerOptions

	table     table
	timers    timers
	finished  list // in phaseFinished, oldest first
	opening   list // in their handshake, oldest first
	idle      idle
	netns     []*NetnsTally
	lastNetns *NetnsTally

	now       int64 // latest time we were told
	lost      int64 // events up to this time may be missing
	evictions uint64
	negative  uint64

	handshake  Handshake // handed to OnHandshake
	connection Connection
	histories  map[history]string // there are few, but many connections
}

// NewTracker returns a tracker without connections.
func NewTracker(opts TrackerOptions) *Tracker {
	if opts.Capacity <= 0 {
		opts.Capacity = 1 << 18
	}
	opts.Capacity = min(opts.Capacity, math.MaxUint32>>1)
	orDefault := func(d *time.Duration, def time.Duration) {
		if *d == 0 {
			*d = def
		}
	}
	orDefault(&opts.Patience, 3*time.Second)
	orDefault(&opts.Closing, 3*time.Second)
	orDefault(&opts.Memory, 3*time.Second)
	orDefault(&opts.QuietLimit, 2*time.Hour+4*time.Minute)
	return &Tracker{
		opts:      opts,
		table:     newTable(opts.Capacity),
		timers:    newTimers(),
		lost:      math.MinInt64,
		histories: make(map[history]string),
	}
}

// Advance tells the tracker that it is now (nanoseconds since the Unix epoch), and that all segments before were given
// to Step: what silence decides is decided.
func (t *Tracker) Advance(now int64) {
	t.now = max(t.now, now)
	for {
		slot := t.timers.due(now)
		if slot == 0 {
			return
		}
		c := t.table.at(slot)
		at := c.alarm.at
		t.timers.drop(&t.table, c)
		switch {
		case c.deadline == 0:
		case c.deadline > at: // others may be due before
			t.timers.set(&t.table, c, c.deadline)
		default:
			t.expire(c)
		}
	}
}

// Loss tells the tracker that segments up to a time may be missing. Silence then proves nothing: an attempt whose first
// SYN is not after that time gets the outcome unknown instead of unanswered or half_open.
func (t *Tracker) Loss(upTo int64) { t.lost = max(t.lost, upTo) }

// Detach ends all connections of a namespace that is no longer watched: those open get the teardown detached, handshakes
// under way the outcome unknown. Give it the last segments of the namespace first.
func (t *Tracker) Detach(netnsID uint32) {
	for slot := uint32(1); slot <= t.table.used; slot++ {
		if c := t.table.at(slot); c.phase != phaseFree && t.pointOf(c).NetnsID == netnsID {
			t.drop(c, TeardownDetached, OutcomeUnknown, t.now)
		}
	}
	for _, n := range t.netns {
		if n.NetnsID == netnsID {
			n.Detached = true
		}
	}
}

// expire does what the deadline of c says.
func (t *Tracker) expire(c *conn) {
	at := c.deadline
	switch c.phase {
	case phaseSynSent, phaseSynReceived:
		if c.has(unseen) {
			t.endConnection(c, TeardownExpired, at)
		} else {
			t.endHandshake(c, t.silence(c), at)
		}
	case phaseEstablished, phaseHalfClosed:
		t.endConnection(c, TeardownExpired, at)
	case phaseClosing:
		t.endConnection(c, TeardownFIN, at)
	case phaseFinished:
		t.release(c)
	}
}

// silence returns the outcome of a handshake in which nothing happens any more.
func (t *Tracker) silence(c *conn) Outcome {
	switch {
	case c.start <= t.lost, c.half[Originator].has(early):
		return OutcomeUnknown
	case c.phase == phaseSynReceived:
		return OutcomeHalfOpen
	}
	return OutcomeUnanswered
}

// drop ends c for a reason outside of TCP, and forgets it.
func (t *Tracker) drop(c *conn, td Teardown, o Outcome, at int64) {
	switch {
	case c.phase.opening() && !c.has(unseen):
		t.endHandshake(c, o, at)
	case c.phase != phaseFinished:
		t.endConnection(c, td, at)
	}
	t.release(c)
}

// makeRoom evicts a connection if the memory is full. A remembered one costs no verdict, so it goes first, uncounted.
func (t *Tracker) makeRoom(now int64) {
	if !t.table.full() {
		return
	}
	slot := t.finished.head
	if slot == 0 {
		slot = t.opening.head
		t.evictions++
	}
	if slot == 0 {
		slot = t.idle.longest(&t.table)
	}
	t.drop(t.table.at(slot), TeardownEvicted, OutcomeUnknown, now)
}

// attempt returns what is kept of c during its handshake.
func (t *Tracker) attempt(c *conn) *attempt { return t.table.attempts.at(c.attempt) }

// tally returns the tally of c's namespace.
func (t *Tracker) tally(c *conn) *NetnsTally { return t.table.points.refs[c.point].tally }

// pointOf returns where c was first seen.
func (t *Tracker) pointOf(c *conn) *Point { return t.table.points.refs[c.point].point }

// release forgets c.
func (t *Tracker) release(c *conn) {
	t.enter(c, phaseFree)
	t.timers.drop(&t.table, c)
	t.table.remove(c)
}

// wait sets the deadline of c.
func (t *Tracker) wait(c *conn, until int64) {
	c.deadline = until
	t.timers.set(&t.table, c, until)
}

// waitForAnswer sets the deadline of a handshake after a transmission at time now, gap after the one before: a sender
// doubles its time-out at most (RFC 6298 §5.5), and Linux does so from 1 s after five times the same.
func (t *Tracker) waitForAnswer(c *conn, now, gap int64) {
	t.wait(c, now+max(int64(t.opts.Patience), 2*gap+int64(time.Second)))
}

// waitOpen sets the deadline of an open connection that was active at time now.
func (t *Tracker) waitOpen(c *conn, now int64) {
	limit := t.opts.IdleLimit
	switch {
	case c.phase == phaseClosing:
		limit = t.opts.Closing
	case c.phase == phaseHalfClosed, c.has(unseen) && !c.has(beyondACK):
		if q := t.opts.QuietLimit; q > 0 && (limit <= 0 || q < limit) {
			limit = q
		}
	}
	if limit > 0 {
		t.wait(c, now+int64(limit))
		return
	}
	c.deadline = 0
	t.timers.drop(&t.table, c) // its neighbours are near now; left to come, it would find a connection long out of the caches
}
