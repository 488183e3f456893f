package decode

// stepOpen takes a segment of an open connection.
func (t *Tracker) stepOpen(c *conn, s Side, seg *Segment) Place {
	if c.has(unplaced) {
		t.place(c, seg.Point)
	}
	switch {
	case seg.Has(RST):
		return t.stepRST(c, s, seg)
	case seg.Has(SYN):
		return t.openSYN(c, s, seg)
	}
	h, peer := &c.half[s], &c.half[1-s]
	room := c.room(seg.Time)
	end := seg.Seq.Add(seg.Len())
	// Repeats what was acknowledged; a keep-alive (RFC 9293 §3.8.4) looks like that, too. A FIN live may just look like it.
	old := h.behind(end) && !(seg.Has(FIN) && h.ahead(end, room))
	second := seg.Has(FIN) && h.has(finSent) && h.fin.Add(1) != end // a side has one FIN; the first seen counts
	if !old && !h.ahead(end, room) || second {
		c.note(s, seg, false)
		return Place{Kind: PlaceIgnored}
	}
	c.note(s, seg, !old)
	t.see(c, s, seg)
	p := Place{Kind: PlaceACK}
	switch {
	case seg.Len() <= 1 && !seg.Has(FIN) && h.has(numbered) && seg.Seq.Add(1) == h.una && h.una == h.nxt && !h.has(finSent):
		p = Place{Kind: PlaceKeepAlive}
	case seg.Payload > 0:
		p = Place{PlaceData, SideUnknown, h.has(numbered) && end.LessEq(h.nxt)}
	}
	if seg.Completes&AwaitedFIN != 0 && !seg.Has(FIN) {
		t.inferFINs(c, s, seg)
	}
	acked := peer.ackedTo(seg.Ack, room)
	peer.bits |= sized
	if seg.Has(FIN) {
		p = t.stepFIN(c, s, seg)
	} else if !old {
		h.sentTo(end, room)
		h.bits |= sized
	}
	c.set(beyondACK, c.has(beyondACK) || seg.Len() > 0)

	switch {
	case peer.has(finAcked) && h.has(finAcked):
		if acked && !seg.Has(FIN) {
			p = Place{Kind: PlaceFinished}
		}
		t.endConnection(c, TeardownFIN, seg.Time)
		return p
	case acked && !seg.Has(FIN) && seg.Payload == 0:
		p.Kind = PlaceFirstFINAcked
		if c.phase == phaseClosing {
			p.Kind = PlaceFINAcked
		}
	case !acked && !seg.Has(FIN):
		c.notePlain()
	}
	t.waitOpen(c, seg.Time)
	return p
}

// inferFINs makes up for FINs that were lost to us before an acknowledgment that shows that both sides sent one: the peer's is
// what it acknowledges last, its sender's is behind it. Who closed first is not known if no FIN was seen.
func (t *Tracker) inferFINs(c *conn, s Side, seg *Segment) {
	h, peer := &c.half[s], &c.half[1-s]
	if !peer.has(finSent) {
		peer.sendFIN(seg.Ack - 1)
	}
	if !h.has(finSent) {
		h.sendFIN(seg.Seq - 1)
	}
	if c.phase == phaseEstablished {
		t.becomeHalfClosed(c)
	}
	if c.phase == phaseHalfClosed {
		t.becomeClosing(c)
	}
}

// openSYN takes a SYN or SYN-ACK that does not begin a new connection.
func (t *Tracker) openSYN(c *conn, s Side, seg *Segment) Place {
	c.note(s, seg, false)
	if h := &c.half[s]; !h.has(issKnown) || h.iss != seg.Seq {
		return Place{Kind: PlaceIgnored}
	}
	if !seg.Has(ACK) {
		return Place{Kind: PlaceSYN, Again: true}
	}
	t.tally(c).SYNACKsAfterACK[c.role]++
	return Place{Kind: PlaceSYNACK, Again: true}
}

// stepFIN takes the FIN of a segment whose acknowledgment is dealt with.
func (t *Tracker) stepFIN(c *conn, s Side, seg *Segment) Place {
	h, peer := &c.half[s], &c.half[1-s]
	at := seg.Seq.Add(seg.Payload)
	if h.has(finSent) {
		kind := PlaceFirstFIN
		if c.closer != s {
			kind = PlaceSecondFIN
		}
		return Place{Kind: kind, Again: true}
	}
	h.sendFIN(at)
	if !c.has(closerSeen) {
		c.closer = s
		c.bits |= closerSeen
	}
	switch {
	case h.has(finEarly):
		return Place{Kind: PlaceFirstFIN, Again: true}
	case !peer.has(finSent) && !peer.has(finEarly):
		t.becomeHalfClosed(c)
		return Place{Kind: PlaceFirstFIN}
	}
	c.set(finsCrossed, peer.has(finSent) && seg.Ack.Less(peer.fin.Add(1)))
	t.becomeClosing(c)
	return Place{Kind: PlaceSecondFIN}
}

// stepRST takes an RST of an open connection. A TCP accepts one only at exactly the next sequence number, or in the
// window, answering with a challenge (RFC 9293 §3.10.7.4, RFC 5961 §3.2). An observer must be more lenient: it may sit
// before a loss or a retransmission, and live it does not see data, so that numbers jump. It refuses what no window
// reaches: half.ahead with conn.room.
func (t *Tracker) stepRST(c *conn, s Side, seg *Segment) Place {
	h := &c.half[s]
	room := c.room(seg.Time)
	// After its FIN a side's RST may still carry the FIN's own number; Linux accepts that (tcp_reset_check).
	ok := h.ahead(seg.Seq, room) || h.has(finSent) && seg.Seq == h.fin
	c.note(s, seg, ok)
	if !ok {
		return Place{Kind: PlaceIgnored}
	}
	t.see(c, s, seg)
	if !h.has(finSent) {
		h.sentTo(seg.Seq, room)
		h.bits |= sized
	}
	if seg.Has(ACK) {
		c.half[1-s].ackedTo(seg.Ack, room)
		c.half[1-s].bits |= sized
	}
	td := TeardownRST
	if c.has(closerSeen) {
		td = TeardownFINRST
	} else {
		c.closer = s
		c.bits |= closerSeen
	}
	t.endConnection(c, td, seg.Time)
	return Place{Kind: PlaceRST}
}
