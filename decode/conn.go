package decode

import "math"

// phase is where a connection is in its life; the names follow RFC 9293 §3.3.2 as far as an observer can tell them. Only
// the becomeX methods of Tracker change it.
type phase uint8

const (
	phaseFree        phase = iota // the slot is not in use
	phaseSynSent                  // a SYN, no acceptable answer yet
	phaseSynReceived              // SYN-ACK, or another proof that the SYN arrived
	phaseEstablished              // completed, or unseen; no FIN
	phaseHalfClosed               // one FIN
	phaseClosing                  // both FINs, not both acknowledged
	phaseFinished                 // over, remembered for late segments
	numPhases
)

// opening reports whether the handshake is going on.
func (p phase) opening() bool { return p == phaseSynSent || p == phaseSynReceived }

// open reports whether a connection is neither in its handshake nor finished.
func (p phase) open() bool { return p >= phaseEstablished && p <= phaseClosing }

// state returns what the gauge calls p; false if it does not count it.
func (p phase) state() (State, bool) {
	switch p {
	case phaseSynSent, phaseSynReceived:
		return StateHandshake, true
	case phaseEstablished:
		return StateEstablished, true
	case phaseHalfClosed, phaseClosing:
		return StateHalfClosed, true
	}
	return 0, false
}

// half is one direction of a connection: what its sender was seen to send, and the peer to acknowledge.
//
// Invariant: una <= nxt.
type half struct {
	iss Seq // SEG.SEQ of the SYN. Valid iff has(issKnown).
	una Seq // oldest number the peer may still wait for. Valid iff has(numbered).
	nxt Seq // next number the sender would use, as far as we know. Valid iff has(numbered).
	fin Seq // number of the FIN. Valid iff has(finSent).

	again uint16 // retransmissions in the handshake: SYNs of the originator, SYN-ACKs of the responder
	bits  halfBits
	way   way
}

type halfBits uint8

const (
	issKnown halfBits = 1 << iota
	numbered          // una and nxt hold
	synAcked          // the peer acknowledged the SYN
	finSent
	finAcked // the peer acknowledged the FIN
	sized    // nxt was confirmed after the handshake, so it says how much was sent
	finEarly // it sent a FIN before the connection was learned
	early    // of the originator: the handshake may have gone on where nobody watched yet
)

func (h *half) has(b halfBits) bool { return h.bits&b == b }

// way is how a side's segments pass the namespace.
type way uint8

const (
	wayUnknown way = iota // not seen, or the source does not say
	wayOut                // sent by a socket of the namespace
	wayIn                 // received from outside
	wayThrough            // on its way out, having come from outside
)

func wayOf(seg *Segment) way {
	switch {
	case seg.Point.Direction == DirectionUnknown:
		return wayUnknown
	case seg.Point.Direction == Ingress:
		return wayIn
	case seg.Forwarded:
		return wayThrough
	}
	return wayOut
}

// startAt sets the numbers of a side from its SYN.
func (h *half) startAt(iss Seq, payload uint32) {
	h.iss, h.una, h.nxt = iss, iss.Add(1), iss.Add(1+payload)
	h.bits |= issKnown | numbered
}

// maxWindow is the largest window that TCP can offer, 65 535 << 14 (RFC 7323 §2.3), rounded up.
const maxWindow = 1 << 30

// ahead reports whether s may be a number the side uses now: at or after the oldest unacknowledged one, at most room
// further.
func (h *half) ahead(s Seq, room uint32) bool { return !h.has(numbered) || s.From(h.una) <= room }

// behind reports whether s was used by the side before, and acknowledged.
func (h *half) behind(s Seq) bool {
	return h.has(numbered) && s != h.una && h.una.From(s) <= maxWindow
}

// sentTo notes that the side used all numbers before s, unless s is more than room ahead. Both s and nxt are measured
// from una: where data is not seen, s may be more than 2 GiB further than nxt, and Less would call it old.
func (h *half) sentTo(s Seq, room uint32) {
	switch {
	case !h.has(numbered):
		h.una, h.nxt = s, s
		h.bits |= numbered
	case s.From(h.una) <= room && s.From(h.una) > h.nxt.From(h.una):
		h.nxt = s
	}
}

// ackedTo notes that the peer acknowledged all numbers before s, and reports whether that acknowledged the FIN just now.
func (h *half) ackedTo(s Seq, room uint32) (fin bool) {
	if h.has(finSent) && !s.LessEq(h.fin.Add(1)) {
		return false // more than there is
	}
	h.sentTo(s, room)
	if h.ahead(s, room) {
		h.una = s
	}
	if h.has(finSent) && !h.has(finAcked) && h.una == h.fin.Add(1) {
		h.bits |= finAcked
		return true
	}
	return false
}

// sendFIN notes the FIN at number s.
func (h *half) sendFIN(s Seq) {
	if h.has(numbered) && h.una == s.Add(1) {
		h.bits |= finAcked // the acknowledgment reached us first
	}
	if !h.has(numbered) || !h.has(finAcked) && !h.ahead(s.Add(1), maxWindow) {
		h.una = s // a first sight, or gone round while we could not see data
	}
	h.fin, h.nxt = s, s.Add(1)
	h.bits |= numbered | finSent | sized
}

// bytes returns how much payload the side sent, if that is known.
func (h *half) bytes() (n uint32, ok bool) {
	if !h.has(issKnown | sized) {
		return 0, false
	}
	end := h.nxt
	if h.has(finSent) {
		end = h.fin
	}
	return end.From(h.iss.Add(1)), true
}

// conn is one connection, or the memory of one: two cache lines, without pointers. Times are nanoseconds since the Unix epoch.
type conn struct {
	low, high         uint32 // IPv4 addresses of the key. Valid iff not has(wideKey).
	lowPort, highPort uint16
	point             uint32 // where it was first seen, by table.points

	bits         connBits
	phase        phase
	role         Role
	closer       Side // valid iff has(closerSeen)
	completeness Completeness
	plain        uint8 // segments seen that only a full view has, up to fullView
	run          uint8 // where its alarm is, see timers

	half [2]half // by Side; the sender of the first segment is Originator until somebody tells

	seen     int64 // last segment that was accepted
	deadline int64 // when silence ends the phase; 0 never
	start    int64 // first segment; or Known.Start
	history  history
	alarm    alarm

	prev, next uint32 // see list
	attempt    uint32 // by table.attempts. Valid iff phase.opening().
	slot       uint32 // its own
}

type connBits uint16

const (
	fromHigh     connBits = 1 << iota // the originator is the higher socket of the key
	sidesKnown                        // a SYN or SYN-ACK told who is originator
	unseen                            // begins without a SYN
	answered                          // a SYN-ACK of the responder was seen
	altKnown                          // altISS holds
	synRepeated                       // a SYN came again since the last SYN-ACK: the originator did not get that
	loopback                          // seen on a loopback interface
	toLocal                           // the first segment was for an address of the namespace
	beyondACK                         // something but bare acknowledgments was seen
	finsCrossed                       // see Connection.FINsCrossed
	closerSeen                        // closer holds
	everySegment                      // see TrackerOptions.EverySegment
	wentOn                            // the responder went on, so the completing ACK was lost to us, or is late
	wideKey                           // the addresses are in table.wide
	synLost                           // completed, but its SYN was lost to us
	unplaced                          // learned, and no segment told where it passes
)

func (c *conn) has(b connBits) bool { return c.bits&b == b }

func (c *conn) set(b connBits, on bool) {
	c.bits &^= b
	if on {
		c.bits |= b
	}
}

// side returns the sender of a segment by the result of key.set.
func (c *conn) side(high bool) Side {
	if high == c.has(fromHigh) {
		return Originator
	}
	return Responder
}

// fullView is how many segments that a live source does not report make us believe that this source reports every
// segment. More than one: a live source may report one by accident.
const fullView = 3

// notePlain counts a segment that no pending filter asked for.
func (c *conn) notePlain() { c.plain = min(c.plain+1, fullView) }

// room returns how far a number may now be ahead of what we last knew. If every segment is seen, one window. A live
// source does not report data: then as much more as a very fast link could have carried since the last segment; after
// 64 ms at 400 Gbit/s that is the whole number space.
func (c *conn) room(now int64) uint32 {
	const bytesPerNano = 50
	if c.plain >= fullView || c.has(everySegment) || now <= c.seen {
		return maxWindow
	}
	if since := now - c.seen; since < (math.MaxUint32-maxWindow)/bytesPerNano {
		return maxWindow + uint32(since*bytesPerNano)
	}
	return math.MaxUint32
}

// judgeRole returns the role by the ways seen so far: the table in the package documentation.
func (c *conn) judgeRole() Role {
	o, r := c.half[Originator].way, c.half[Responder].way
	switch {
	case c.has(loopback), o == wayOut && r == wayOut:
		return RoleLocal
	case o == wayThrough, r == wayThrough, o == wayIn && r == wayIn:
		return RoleForwarded
	case !c.has(sidesKnown):
		return RoleUnknown
	case o == wayOut:
		return RoleOriginator
	case r == wayOut:
		return RoleResponder
	case o == wayIn && c.has(toLocal):
		return RoleResponder
	case r == wayIn && c.has(toLocal):
		return RoleOriginator
	}
	return RoleUnknown
}

// note adds a segment's letter to the history, and its bits to the completeness. D goes first for a side whose data did not come
// this way but whose numbers say that it passed: zeek, which sees every segment, has noted it by then. Data on the FIN itself is
// no D for zeek. Where one segment tells of both sides' data, the originator's goes first: most clients speak first.
func (c *conn) note(s Side, seg *Segment, acceptable bool) {
	if acceptable && !c.has(everySegment) {
		for side := Originator; side <= Responder; side++ {
			switch {
			case side == s:
				c.noteData(side, seg.Seq, seg.Time)
			case seg.Has(ACK):
				c.noteData(side, seg.Ack, seg.Time)
			}
		}
	}
	if l := letterOf(seg); l != 0 {
		c.history.add(s, l)
	}
	c.completeness |= completenessOf(seg)
}

func (c *conn) noteData(s Side, to Seq, now int64) {
	h := &c.half[s]
	if h.has(issKnown) && !h.has(finSent) && to != h.iss.Add(1) && !c.history.has(s, letterD) && h.ahead(to, c.room(now)) {
		c.history.add(s, letterD)
		c.completeness |= SeenData
	}
}
