package decode

import "time"

// Step takes the next segment and says what it meant. Segments of one connection come in the order in which their point
// saw them; those of different connections need not.
func (t *Tracker) Step(seg *Segment) Place {
	t.now = max(t.now, seg.Time)
	var k key
	high := k.set(seg)
	hash := k.hash(&t.table.secret)
	c := t.table.find(&k, hash)

	// What silence decided before this segment does not depend on how often Advance is called.
	for c != nil && c.deadline != 0 && c.deadline < seg.Time {
		if t.expire(c); c.phase == phaseFree {
			c = nil
		}
	}
	if !sendable(seg) {
		return Place{Kind: PlaceIgnored, Side: SideUnknown}
	}
	if c != nil && c.replacedBy(c.side(high), seg) {
		t.drop(c, TeardownExpired, t.silence(c), seg.Time)
		c = nil
	}
	if c == nil {
		return t.begin(&k, hash, high, seg)
	}

	side := c.side(high)
	var p Place
	switch {
	case c.phase == phaseFinished:
		p = t.stepFinished(c, seg)
	case c.phase.opening():
		p = t.stepOpening(c, side, seg)
	default:
		p = t.stepOpen(c, side, seg)
	}
	if p.Kind != PlaceIgnored {
		c.seen = max(c.seen, seg.Time)
	}
	p.Side = SideUnknown
	if c.has(sidesKnown) {
		p.Side = side
	}
	return p
}

// maxMemory is how long a finished connection is remembered at most after a late segment: 2 MSL (RFC 9293 §3.4.2).
const maxMemory = int64(4 * time.Minute)

// stepFinished takes a segment of a finished connection. If that may be sent again, the connection is remembered until that is
// not to be expected any more (RFC 9293 §3.10.7.4: in TIME-WAIT a FIN restarts the clock; RFC 6298 §5.5).
func (t *Tracker) stepFinished(c *conn, seg *Segment) Place {
	t.tally(c).Late++
	if gap := seg.Time - c.seen; gap > 0 && seg.Len() > 0 && !seg.Has(RST) {
		c.deadline = max(c.deadline, seg.Time+min(max(int64(t.opts.Memory), 2*gap+int64(time.Second)), maxMemory))
	}
	return Place{Kind: PlaceLate}
}

// sendable reports whether TCP sends segments with such flags and reacts to them: with ACK, or to ask or to reset
// (RFC 9293 §3.10.7.4, fifth: "if the ACK bit is off, drop the segment"), and no SYN with FIN. Null, FIN and Xmas scans
// end here: no connection comes of them.
func sendable(seg *Segment) bool {
	switch {
	case seg.Has(RST):
		return true
	case seg.Has(SYN):
		return !seg.Has(FIN)
	}
	return seg.Has(ACK)
}

// replacedBy reports whether a segment of side s belongs to a new connection on the same socket pair: a SYN with another
// initial sequence number (RFC 9293 §3.4.1: a new incarnation), or, since its SYN may be lost to us, a SYN-ACK neither
// of whose numbers fits, or not the one that must.
//
// A SYN into an open connection may also be forged, or meet an end that is still alive and challenges it (RFC 5961 §4).
// We believe the SYN: the old connection's own SYN-ACK or data would hardly be reported live, so waiting for proof
// would leave dead connections open for ever.
//
// Or it is the ACK that was awaited for a SYN-ACK, of which we have neither that nor the SYN.
func (c *conn) replacedBy(s Side, seg *Segment) bool {
	h, peer := &c.half[s], &c.half[1-s]
	if seg.Completes&AwaitedSYNACK != 0 && seg.Flags&(SYN|RST) == 0 {
		return !h.begins(seg.Seq) && !peer.begins(seg.Ack)
	}
	if !seg.Has(SYN) || seg.Has(RST) {
		return false
	}
	if !seg.Has(ACK) {
		if !h.has(issKnown) {
			return c.phase != phaseSynSent // else a simultaneous open
		}
		// An ISS inferred from a SYN-ACK's acknowledgment includes data sent with the SYN.
		return seg.Seq != h.iss && !(c.has(unseen) && seg.Seq.Add(seg.Payload) == h.iss)
	}
	if c.phase.opening() {
		// Two SYNs looked like a simultaneous open, but the first one's sender agrees with another ISN: it had given up.
		return s == Originator && seg.Seq != h.iss && !c.has(answered) && peer.acksSYN(seg)
	}
	if !h.has(numbered) && !peer.has(numbered) { // learned: it may well be its own, again
		return false
	}
	return !(h.has(issKnown) && seg.Seq == h.iss) && !(peer.has(issKnown) && seg.Ack.From(peer.iss.Add(1)) <= peer.nxt.From(peer.iss.Add(1)))
}

// begins reports whether s may be the first number after the SYN of h, or after data sent with it.
func (h *half) begins(s Seq) bool {
	return h.has(issKnown) && s.From(h.iss.Add(1)) <= h.nxt.From(h.iss.Add(1))
}

// begin makes a connection of a segment that belongs to none.
func (t *Tracker) begin(k *key, hash uint32, high bool, seg *Segment) Place {
	s, rst, synACK := Originator, seg.Has(RST), seg.Has(SYN|ACK) && !seg.Has(RST)
	if synACK {
		s = Responder
	}
	if seg.Completes == AwaitedFIN && seg.Len() == 0 { // the end of what was forgotten, or lost
		t.tallyOf(seg.Point).Late++
		return Place{Kind: PlaceLate, Side: SideUnknown}
	}
	if t.refusesLost(seg) {
		return t.beginRefused(k, hash, high, seg)
	}
	c := t.create(k, hash, high, s, seg)
	c.note(s, seg, false)
	if seg.Has(SYN) && !rst && !synACK {
		t.becomeSynSent(c, seg)
		return Place{Kind: PlaceSYN, Side: Originator}
	}

	completes := seg.Completes&AwaitedSYNACK != 0 && !synACK && !rst
	c.set(unseen, !completes)
	c.set(synLost, completes)
	c.set(sidesKnown, synACK || completes)
	t.see(c, s, seg)
	h, peer := &c.half[s], &c.half[1-s]
	if synACK {
		h.startAt(seg.Seq, seg.Payload)
		peer.startAt(seg.Ack-1, 0)
		peer.bits |= synAcked
		c.bits |= answered | beyondACK
		t.becomeSynReceived(c, seg.Time)
		t.attempt(c).answer = seg.Time
		return Place{Kind: PlaceUnseen, Side: s}
	}
	h.sentTo(seg.Seq, maxWindow)
	h.sentTo(seg.Seq.Add(seg.Payload), maxWindow)
	if seg.Has(ACK) {
		peer.ackedTo(seg.Ack, maxWindow)
	}
	c.set(beyondACK, seg.Payload > 0 || seg.Has(FIN))
	p := Place{Kind: PlaceUnseen, Side: SideUnknown}
	if completes { // SYN and SYN-ACK were lost to us, not to the ends
		p = Place{Kind: PlaceCompletes, Side: s}
		t.becomeSynReceived(c, seg.Time)
	}
	t.becomeEstablished(c, s, seg.Time, false)
	switch {
	case rst:
		t.stepRST(c, s, seg)
	case seg.Has(FIN):
		t.stepFIN(c, s, seg)
		t.waitOpen(c, seg.Time)
	}
	return p
}

// refusesLost reports whether a segment that belongs to no connection refuses a SYN that was lost to us: an RST that answers a
// segment without ACK has number 0 (RFC 9293 §3.10.7.1).
func (t *Tracker) refusesLost(seg *Segment) bool {
	return seg.Has(RST|ACK) && seg.Seq == 0 && !t.opts.EverySegment && seg.Time-int64(t.opts.Patience) <= t.lost
}

// beginRefused is the whole life of an attempt of which only the refusal is known.
func (t *Tracker) beginRefused(k *key, hash uint32, high bool, seg *Segment) Place {
	c := t.create(k, hash, high, Responder, seg)
	c.note(Responder, seg, false)
	c.bits |= sidesKnown | synLost
	t.see(c, Responder, seg)
	t.becomeSynReceived(c, seg.Time)
	t.endHandshake(c, OutcomeRefused, seg.Time)
	return Place{Kind: PlaceRefused, Side: Responder}
}
