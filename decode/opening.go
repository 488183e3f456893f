package decode

import "math"

// stepOpening takes a segment during the handshake.
func (t *Tracker) stepOpening(c *conn, s Side, seg *Segment) Place {
	switch {
	case seg.Has(RST):
		c.note(s, seg, false)
		return t.openingRST(c, s, seg)
	case seg.Has(SYN | ACK):
		c.note(s, seg, false)
		return t.openingSYNACK(c, s, seg)
	case seg.Has(SYN):
		c.note(s, seg, false)
		return t.openingSYN(c, s, seg)
	}
	return t.openingACK(c, s, seg)
}

// openingSYN takes a SYN that does not begin a new attempt.
func (t *Tracker) openingSYN(c *conn, s Side, seg *Segment) Place {
	h := &c.half[s]
	switch {
	case !h.has(issKnown): // simultaneous open (RFC 9293 §3.5, figure 7)
		h.startAt(seg.Seq, seg.Payload)
		t.see(c, s, seg)
		return Place{Kind: PlaceSYN}
	case s == Originator && c.has(unseen): // the SYN reaches us behind its SYN-ACK
		h.startAt(seg.Seq, seg.Payload)
		c.set(unseen, false)
		c.start, t.attempt(c).syn = seg.Time, seg.Time
		t.see(c, s, seg)
		return Place{Kind: PlaceSYN}
	}
	c.half[Originator].increase()
	if a := t.attempt(c); c.phase == phaseSynSent {
		t.waitForAnswer(c, seg.Time, seg.Time-a.repeat)
		a.repeat = seg.Time
		a.syn = seg.Time
	} else {
		c.bits |= synRepeated
	}
	return Place{Kind: PlaceSYN, Again: true}
}

// increase adds one to the count of retransmissions.
func (h *half) increase() {
	if h.again < math.MaxUint16 {
		h.again++
	}
}

// acksSYN reports whether a segment of the peer acknowledges the SYN of h, and nothing that was not sent: between ISS+1
// and ISS+1+its data (TCP Fast Open, RFC 7413 §4.2.2).
func (h *half) acksSYN(seg *Segment) bool {
	return seg.Has(ACK) && h.has(issKnown) && seg.Ack.From(h.iss.Add(1)) <= h.nxt.From(h.iss.Add(1))
}

func (t *Tracker) openingSYNACK(c *conn, s Side, seg *Segment) Place {
	h, peer, a := &c.half[s], &c.half[1-s], t.attempt(c)
	if !peer.acksSYN(seg) || s == Originator && !(h.has(issKnown) && seg.Seq == h.iss) {
		return Place{Kind: PlaceIgnored} // answers another SYN (RFC 9293 §3.5, figure 8), or is not the originator's
	}
	again := peer.has(synAcked)
	if s == Responder {
		again = c.has(answered) // other segments of its may have overtaken the SYN-ACK
	}
	peer.bits |= synAcked
	t.see(c, s, seg)
	switch {
	case !h.has(issKnown):
		nxt, ok := h.nxt, h.has(numbered)
		if h.startAt(seg.Seq, seg.Payload); ok {
			h.sentTo(nxt, maxWindow)
		}
	case seg.Seq != h.iss: // two answers, as from a restarted server: the originator chooses
		a.altISS = seg.Seq
		c.bits |= altKnown
	}
	if s == Responder && !c.has(answered) {
		c.bits |= answered
		a.answer = seg.Time
	}
	c.set(synRepeated, false)
	switch {
	case h.has(synAcked) && !again: // each acknowledged the other's SYN: a simultaneous open is done
		t.becomeEstablished(c, s, seg.Time, true)
		return Place{Kind: PlaceCompletes}
	case c.phase == phaseSynSent:
		t.becomeSynReceived(c, seg.Time)
	case again:
		c.half[Responder].increase()
		t.waitForAnswer(c, seg.Time, seg.Time-a.repeat)
		a.repeat = seg.Time
	default:
		t.waitForAnswer(c, seg.Time, 0)
		a.repeat = seg.Time
	}
	return Place{Kind: PlaceSYNACK, Again: again}
}

// openingACK takes a segment without SYN and RST. From the originator it completes the handshake if it acknowledges the
// responder's SYN, whatever else it carries; also when it is a later one because the completing ACK was lost to us. If
// even the SYN-ACK was: an originator sends nothing but SYN and RST before it got one (RFC 9293 §3.10.7.3).
func (t *Tracker) openingACK(c *conn, s Side, seg *Segment) Place {
	h, peer := &c.half[s], &c.half[1-s]
	if s == Responder && !h.has(synAcked) {
		return t.openingResponder(c, seg)
	}
	// Before the responder got the completing ACK it sends nothing more, and takes no more than the window of its SYN-ACK,
	// which is not scaled (RFC 7323 §2.2). A FIN may come after data that a live source did not report.
	window, sent := uint32(math.MaxUint16), peer.nxt.From(peer.una)
	if h.has(numbered) {
		window = max(window, h.nxt.From(h.una))
	}
	if seg.Has(FIN) && !c.has(everySegment) {
		window = c.room(seg.Time)
		sent = window
	}
	if !h.ahead(seg.Seq, window) {
		c.note(s, seg, false)
		return Place{Kind: PlaceIgnored}
	}
	if peer.has(issKnown) && !peer.ahead(seg.Ack, sent) {
		alt := t.attempt(c).altISS
		if !c.has(altKnown) || seg.Ack.From(alt.Add(1)) > sent {
			c.note(s, seg, false)
			return Place{Kind: PlaceIgnored}
		}
		peer.startAt(alt, 0)
	}
	t.see(c, s, seg)
	peer.bits |= synAcked
	first := seg.Seq == h.iss.Add(1) || !c.has(wentOn) && seg.Seq.From(h.iss.Add(1)) <= h.nxt.From(h.iss.Add(1))
	awaited := seg.Completes&AwaitedSYNACK != 0 && s == Originator
	exact := first && (peer.has(issKnown) || awaited)
	if awaited && c.has(unseen) {
		c.set(unseen, false)
		c.bits |= synLost
	}
	t.becomeEstablished(c, s, seg.Time, exact)
	p := t.stepOpen(c, s, seg)
	if c.phase == phaseEstablished && !c.has(everySegment) {
		// It was awaited, so it says nothing about what else this source reports, nor how much will follow.
		c.plain = 0
		h.bits &^= sized
		peer.bits &^= sized
	}
	if p.Kind != PlaceIgnored {
		p = Place{Kind: PlaceCompletes}
	}
	return p
}

// openingResponder takes a segment of the responder without SYN and RST, before the originator acknowledged its SYN. It is no
// answer to the SYN; but that it was sent may say that something was lost to us. The originator's next segment tells, unless
// we never saw one.
func (t *Tracker) openingResponder(c *conn, seg *Segment) Place {
	h, peer := &c.half[Responder], &c.half[Originator]
	room := c.room(seg.Time)
	known := h.has(issKnown) && c.phase == phaseSynReceived // its SYN-ACK was seen
	if !h.ahead(seg.Seq, room) || !peer.acksSYN(seg) && !(known && peer.ahead(seg.Ack, room)) {
		c.note(Responder, seg, false)
		return Place{Kind: PlaceIgnored} // as a challenge (RFC 5961 §4) to a SYN that met an older connection
	}
	// In SYN-RECEIVED a TCP sends no data, and takes none before it took an acknowledgment of its SYN (RFC 9293 §3.10.2,
	// §3.10.7.4, fifth).
	on := seg.Len() > 0 || known && seg.Seq != h.iss.Add(1) || !peer.acksSYN(seg)
	if c.has(unseen) && on {
		h.bits |= synAcked
		t.becomeEstablished(c, Responder, seg.Time, false)
		return t.stepOpen(c, Responder, seg)
	}
	t.see(c, Responder, seg)
	peer.bits |= synAcked
	c.set(wentOn, c.has(wentOn) || on)
	peer.sentTo(seg.Ack, room)
	h.sentTo(seg.Seq.Add(seg.Payload), room)
	if seg.Has(FIN) && !h.has(finSent) { // it takes effect when the handshake is over
		h.sendFIN(seg.Seq.Add(seg.Payload))
		c.closer = Responder
		c.bits |= closerSeen
	}
	c.note(Responder, seg, false)
	if c.phase == phaseSynSent {
		t.becomeSynReceived(c, seg.Time)
	}
	return Place{Kind: PlaceACK}
}

// openingRST takes an RST before the handshake is complete. In SYN-SENT it must acknowledge the SYN, later its sequence
// number must be the next one exactly (RFC 9293 §3.10.7.3 and .4, RFC 5961 §3.2): before data flows an observer knows
// that number, so a forged RST has no chance. After a loss we may know less than the ends do: see lossyRST.
func (t *Tracker) openingRST(c *conn, s Side, seg *Segment) Place {
	h, peer := &c.half[s], &c.half[1-s]
	next := h.has(issKnown) && seg.Seq.From(h.iss.Add(1)) <= h.nxt.From(h.iss.Add(1)) ||
		c.has(altKnown) && s == Responder && seg.Seq == t.attempt(c).altISS.Add(1)
	var o Outcome
	var kind PlaceKind
	switch {
	case t.lossyRST(c, s, seg):
		o, kind = OutcomeUnknown, PlaceRST
	case s == Originator && next:
		o, kind = OutcomeAborted, PlaceAborted
	case s == Responder && c.phase == phaseSynSent && peer.acksSYN(seg):
		o, kind = OutcomeRefused, PlaceRefused
	case s == Responder && c.phase == phaseSynReceived &&
		(next || !h.has(issKnown) && h.ahead(seg.Seq, maxWindow) || c.has(synRepeated) && peer.acksSYN(seg)):
		// The last: the originator repeats its SYN, so for all it knows it is in SYN-SENT.
		o, kind = OutcomeReset, PlaceReset
	default:
		return Place{Kind: PlaceIgnored}
	}
	t.see(c, s, seg)
	if c.has(unseen) {
		c.closer = s
		c.bits |= closerSeen
		t.endConnection(c, TeardownRST, seg.Time)
	} else {
		t.endHandshake(c, o, seg.Time)
	}
	return Place{Kind: kind}
}

// lossyRST reports whether an RST ends a handshake of which events may be lost: it may have completed, and the connection
// carried data, before. Only one that refuses a SYN tells by its number that there was no connection: it has none, SEG.SEQ is 0
// (RFC 9293 §3.10.7.1).
func (t *Tracker) lossyRST(c *conn, s Side, seg *Segment) bool {
	h, peer := &c.half[s], &c.half[1-s]
	room := c.room(seg.Time)
	refuses := s == Responder && seg.Seq == 0 && c.phase == phaseSynSent
	return c.start <= t.lost && !refuses && h.ahead(seg.Seq, room) && (!seg.Has(ACK) || peer.ahead(seg.Ack, room))
}
