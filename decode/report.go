package decode

import (
	"net/netip"
	"time"
)

// ends returns the sockets of c by side.
func (t *Tracker) ends(c *conn) (originator, responder netip.AddrPort) {
	k := t.table.keyOf(c)
	low, high := k.sockets()
	if c.has(fromHigh) {
		return high, low
	}
	return low, high
}

// span returns the time between two segments. Times of different CPUs, and of captures, can step back.
func (t *Tracker) span(from, to int64) time.Duration {
	if to < from {
		t.negative++
		return 0
	}
	return time.Duration(to - from)
}

// reportHandshake reports the outcome of a handshake at time end. If it completed, s sent the segment that did it and
// exact says whether that was the completing ACK itself.
func (t *Tracker) reportHandshake(c *conn, o Outcome, end int64, s Side, exact bool) {
	if t.opts.OnHandshake == nil {
		return
	}
	h, a := &t.handshake, t.attempt(c)
	*h = Handshake{
		Point: t.pointOf(c), Role: c.role, Outcome: o,
		Start: c.start, End: end,
		SYNs: c.half[Originator].again, SYNACKs: c.half[Responder].again,
	}
	h.Originator, h.Responder = t.ends(c)
	switch {
	case c.has(synLost):
	case c.has(answered):
		h.ResponderLeg = Leg{true, t.span(c.start, a.answer), t.span(a.syn, a.answer)}
	case o == OutcomeRefused:
		h.ResponderLeg = Leg{true, t.span(c.start, end), t.span(a.syn, end)}
	}
	if o == OutcomeCompleted && exact {
		if c.has(answered) && s == Originator {
			h.OriginatorLeg = Leg{true, t.span(a.answer, end), t.span(a.repeat, end)}
		}
		if !c.has(synLost) {
			h.Total = Leg{true, t.span(c.start, end), t.span(a.syn, end)}
		}
	}
	t.opts.OnHandshake(h)
}

// reportConnection reports the end of a connection.
func (t *Tracker) reportConnection(c *conn, td Teardown, end int64) {
	if t.opts.OnConnection == nil {
		return
	}
	r := &t.connection
	*r = Connection{
		Point: t.pointOf(c), Role: c.role, Teardown: td,
		OriginatorKnown: c.has(sidesKnown), Unseen: c.has(unseen),
		Closer: c.knownCloser(), FINsCrossed: c.has(finsCrossed),
		Start: c.start, End: end,
		Completeness: c.completeness, History: t.historyString(c.history),
	}
	r.Originator, r.Responder = t.ends(c)
	for s := range c.half {
		r.Bytes[s], r.BytesKnown[s] = c.half[s].bytes()
	}
	t.opts.OnConnection(r)
}

// knownCloser returns who sent the first FIN or RST, as far as sides are known.
func (c *conn) knownCloser() Side {
	if c.has(closerSeen | sidesKnown) {
		return c.closer
	}
	return SideUnknown
}

// historyString returns h as a string, allocated once for each history while there are few.
func (t *Tracker) historyString(h history) string {
	s, ok := t.histories[h]
	if !ok {
		s = h.String()
		if len(t.histories) < 1024 {
			t.histories[h] = s
		}
	}
	return s
}
