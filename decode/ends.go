package decode

// EndState is the state of one end of a connection (RFC 9293 §3.3.2).
type EndState uint8

// States of an end.
const (
	EndUnknown EndState = iota // nothing tells
	EndListen
	EndSynSent
	EndSynReceived
	EndEstablished
	EndFinWait1
	EndFinWait2
	EndCloseWait
	EndClosing
	EndLastAck
	EndTimeWait
	EndClosed
	numEndStates
)

// Ends tells in which states the two ends of one connection are, as far as their segments show it. The sender of a segment is in
// the state in which TCP sends such a segment (RFC 9293 §3.3.2, figure 5). Its receiver is in the state to which the segment takes
// it when it arrives, as in the figures of RFC 9293 §3.5 and §3.6. Whether it does arrive, an observer does not see: it is taken for
// granted until the receiver sends what it could not have sent then, such as its SYN-ACK again.
//
// What a SYN finds is not known before the answer. States that an end enters by itself are not seen: it waits in TIME-WAIT for
// ever. Who sends RST is CLOSED; who gets one in SYN-RECEIVED and did not ask goes back to LISTEN (§3.10.7.4).
//
// The zero value is a connection before its first segment.
type Ends struct {
	half [2]endHalf
}

// endHalf is what is known of one end.
type endHalf struct {
	state    EndState
	iss, fin Seq // valid iff issKnown, finSent
	issKnown bool
	finSent  bool
	asked    bool // sent a SYN without ACK
	crossed  bool // the peer's SYN or FIN passed before its own, and has yet to arrive
}

// State returns the state of an end after the last segment.
func (e *Ends) State(s Side) EndState { return e.half[s].state }

// Step takes the next segment, which s sent, and its place. Segments that were not acceptable change nothing.
func (e *Ends) Step(seg *Segment, s Side, p Place) {
	from, to := &e.half[s], &e.half[1-s]
	for i := range e.half {
		if h := &e.half[i]; h.crossed {
			h.crossed = false
			if h.takeFIN(); h.state == EndSynSent {
				h.state = EndSynReceived
			}
		}
	}
	switch {
	case p.Kind == PlaceIgnored:
		return
	case seg.Has(RST):
		from.state = EndClosed
		if to.state == EndSynReceived && !to.asked {
			to.state = EndListen
		} else {
			to.state = EndClosed
		}
		return
	}
	from.send(seg, to)
	to.receive(seg)
}

// send moves an end to the state that it must be in to have sent a segment.
func (h *endHalf) send(seg *Segment, peer *endHalf) {
	switch {
	case seg.Has(SYN | ACK):
		h.iss, h.issKnown = seg.Seq, true
		if !h.asked || h.state != EndEstablished { // else the peer's SYN-ACK crossed it
			h.state = EndSynReceived
		}
		if peer.state == EndUnknown { // its SYN was not seen
			peer.state, peer.asked = EndSynSent, true
			peer.iss, peer.issKnown = seg.Ack-1, true
		}
		return
	case seg.Has(SYN):
		h.iss, h.issKnown, h.asked = seg.Seq, true, true
		h.state = EndSynSent
		h.crossed = peer.state == EndSynSent
		return
	}
	if h.state <= EndSynReceived {
		h.state = EndEstablished
	}
	if peer.state == EndUnknown {
		peer.state = EndEstablished
	}
	if !seg.Has(FIN) || h.finSent {
		return
	}
	h.fin, h.finSent = seg.Seq.Add(seg.Payload), true
	switch {
	case h.state == EndCloseWait && peer.finSent && seg.Ack.LessEq(peer.fin):
		h.state, h.crossed = EndFinWait1, true
	case h.state == EndCloseWait:
		h.state = EndLastAck
	default:
		h.state = EndFinWait1
	}
}

// receive moves an end to the state to which a segment takes it.
func (h *endHalf) receive(seg *Segment) {
	if seg.Has(SYN) && !seg.Has(ACK) {
		if h.state == EndSynSent { // they crossed: a simultaneous open
			h.state = EndSynReceived
		}
		return
	}
	acksSYN := h.issKnown && h.iss.Less(seg.Ack)
	if (h.state == EndSynSent || h.state == EndSynReceived) && acksSYN {
		h.state = EndEstablished
	}
	if h.finSent && h.fin.Less(seg.Ack) {
		switch h.state {
		case EndFinWait1:
			h.state = EndFinWait2
		case EndClosing:
			h.state = EndTimeWait
		case EndLastAck:
			h.state = EndClosed
		}
	}
	if seg.Has(FIN) {
		h.takeFIN()
	}
}

// takeFIN moves an end that gets the peer's FIN.
func (h *endHalf) takeFIN() {
	switch h.state {
	case EndSynReceived, EndEstablished:
		h.state = EndCloseWait
	case EndFinWait1:
		h.state = EndClosing
	case EndFinWait2:
		h.state = EndTimeWait
	}
}
