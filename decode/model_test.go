package decode

import (
	"net/netip"
	"strings"
	"time"
)

// The model: a second, deliberately simple account of what was seen on one socket pair. It keeps all segments and looks for each
// verdict in them when everything is over, by the definitions in the package documentation, going through all segments again
// for each question. The tracker, which keeps next to nothing and never looks back, must say the same.
//
// It is about sources that show every segment.

// model is the segments of one connection.
type model []Segment

// account returns everything that is to be said of segments when it is time now.
func account(segs []Segment, now int64) (said []string) {
	for len(segs) > 0 {
		n := 1
		for n < len(segs) && !model(segs[:n]).leaves(&segs[n]) {
			n++
		}
		next := int64(never)
		if n < len(segs) {
			next = segs[n].Time
		}
		said = append(said, model(segs[:n]).judge(min(now, next), next).said...)
		segs = segs[n:]
	}
	return said
}

// leaves reports whether seg, which comes next, belongs to another connection.
func (m model) leaves(seg *Segment) bool {
	v := m.judge(seg.Time, never)
	if v.over && v.forgotten < seg.Time {
		return true
	}
	if !seg.Has(SYN) || seg.Has(RST) {
		return false
	}
	f, s := v.f, m.sender(seg)
	switch peer := 1 - s; {
	case !seg.Has(ACK):
		if !f.known[s] {
			return v.k < len(m) || v.over || f.reached
		}
		// The number inferred from a SYN-ACK includes data sent with the SYN.
		return seg.Seq != f.iss[s] && !(f.unseen && seg.Seq.Add(seg.Payload) == f.iss[s])
	case !v.over && v.k == len(m): // in the handshake
		return s == Originator && seg.Seq != f.iss[s] && len(f.answers) == 0 && f.acksSYN(s, seg)
	default:
		fits := f.known[peer] && seg.Ack.From(f.iss[peer].Add(1)) <= f.nxt[peer].From(f.iss[peer].Add(1))
		return !(f.known[s] && seg.Seq == f.iss[s]) && !fits
	}
}

// verdict is what there is to be said of a connection at some time.
type verdict struct {
	said      []string
	k         int // index of the segment that ended the handshake; len(m) if none did
	f         *facts
	over      bool // nothing more will be said
	forgotten int64
}

// judge returns what is to be said at time now, when a segment of another connection comes at time next.
func (m model) judge(now, next int64) (v verdict) {
	var h Handshake
	h.Point, h.Role = m[0].Point, RoleLocal
	h.Originator, h.Responder = m.ends()
	begun := m[0].Has(SYN) && !m[0].Has(RST) // with a handshake
	if begun {
		v.k, v.over = m.handshake(&h, now, next)
	}
	f := m.facts(v.k)
	v.f = f
	if begun && !v.over {
		v.said = []string{formatPending(m.pending(&h, f))}
		return v
	}
	if begun && !f.unseen {
		v.said = append(v.said, formatHandshake(&h))
	}
	end, n := h.End, v.k // of the last segment before the end, and how many there were
	if h.Outcome != OutcomeHalfOpen && h.Outcome != OutcomeUnanswered {
		n = min(n+1, len(m))
		f.takes = append(f.takes, true)
	}
	if f.unseen || h.Outcome == OutcomeCompleted {
		c := Connection{Point: h.Point, Role: RoleLocal, Originator: h.Originator, Responder: h.Responder,
			OriginatorKnown: begun, Unseen: f.unseen, Start: f.start}
		switch h.Outcome {
		case OutcomeReset, OutcomeAborted, OutcomeRefused:
			m.sum(&c, f, n)
			c.Teardown, c.End, c.Closer = TeardownRST, h.End, m.side(v.k)
		case OutcomeHalfOpen:
			m.sum(&c, f, n)
			c.Teardown, c.End = TeardownExpired, h.End
		default:
			n, v.over = m.connection(&c, v.k, now, next)
			f = m.open(v.k, n)
			v.f = f
		}
		if !v.over {
			v.said = append(v.said, formatPending(m.standing(&c, f)))
			return v
		}
		v.said = append(v.said, formatConnection(&c))
		end = c.End
	}
	v.forgotten = m.memory(f, n, end)
	return v
}

// memory returns until when the connection is remembered that ended at that time, after n segments.
func (m model) memory(f *facts, n int, end int64) int64 {
	until, seen := end+int64(3*time.Second), m.lastTaken(f)
	for i := n; i < len(m); i++ {
		at := m[i].Time
		if gap := at - seen; gap > 0 && m[i].Len() > 0 && !m[i].Has(RST) {
			until = max(until, at+min(max(int64(3*time.Second), 2*gap+int64(time.Second)), int64(4*time.Minute)))
		}
		seen = max(seen, at)
	}
	return until
}

// lastTaken returns the time of the last acceptable segment.
func (m model) lastTaken(f *facts) int64 {
	seen := m[0].Time
	for i, ok := range f.takes {
		if ok {
			seen = max(seen, m[i].Time)
		}
	}
	return seen
}

// ends returns the sockets of originator and responder: the originator is who sent the first segment, unless that is a SYN-ACK.
func (m model) ends() (o, r netip.AddrPort) {
	if m[0].Has(SYN|ACK) && !m[0].Has(RST) {
		return m[0].Dst, m[0].Src
	}
	return m[0].Src, m[0].Dst
}

func (m model) sender(seg *Segment) Side {
	if o, _ := m.ends(); seg.Src == o {
		return Originator
	}
	return Responder
}

func (m model) side(i int) Side { return m.sender(&m[i]) }

// handshake fills h and returns the index of the segment that ended it, or, if silence did, of the one after; len(m) if there is none.
func (m model) handshake(h *Handshake, now, next int64) (k int, over bool) {
	f := m.facts(1)
	for i := 1; i < len(m); i++ {
		if p := f.patience(); m[i].Time > p {
			f.silence(h, p)
			return i, true
		}
		s := m.side(i)
		if o, exact := f.decides(s, &m[i]); o != OutcomeUnknown {
			h.Outcome, h.End = o, m[i].Time
			if s == Responder && m[i].Has(SYN) {
				f.answers = append(f.answers, m[i].Time)
			}
			f.count(h, s, exact)
			return i, true
		}
		f = m.facts(i + 1)
	}
	if p := min(f.patience(), next); now > p || now == next {
		f.silence(h, p)
		return len(m), true
	}
	f.count(h, SideUnknown, false)
	return len(m), false
}

// decides returns the outcome that seg of side s decides, if any, and whether a completing one is the first of its kind.
func (f *facts) decides(s Side, seg *Segment) (o Outcome, exact bool) {
	peer := 1 - s
	among := func(n Seq, s Side) bool { // what s sent, as far as we know
		return f.known[s] && n.From(f.iss[s].Add(1)) <= f.nxt[s].From(f.iss[s].Add(1))
	}
	switch {
	case seg.Has(RST):
		switch next := among(seg.Seq, s); {
		case s == Originator && next:
			return OutcomeAborted, false
		case s == Responder && !f.reached && f.acksSYN(s, seg):
			return OutcomeRefused, false
		case s == Responder && f.reached && (next || f.again && f.acksSYN(s, seg) ||
			!f.known[s] && (!f.seen[s] || seg.Seq.From(f.una[s]) <= maxWindow)):
			return OutcomeReset, false
		}
	case seg.Has(SYN | ACK):
		again := s == Originator && f.acked[peer] || s == Responder && len(f.answers) > 0
		if f.acksSYN(s, seg) && !(s == Originator && seg.Seq != f.iss[s]) && f.acked[s] && !again {
			return OutcomeCompleted, true
		}
	case seg.Has(SYN):
	case s == Responder && !f.acked[s]:
		if f.unseen && f.answeredBy(seg) && f.wentOn(seg) {
			return OutcomeCompleted, false
		}
	default:
		window := uint32(1<<16 - 1)
		if f.seen[s] {
			window = max(window, f.nxt[s].From(f.una[s]))
		}
		if f.seen[s] && seg.Seq.From(f.una[s]) > window || f.known[peer] && !among(seg.Ack, peer) {
			break
		}
		first := seg.Seq == f.iss[s].Add(1) || !f.went && among(seg.Seq, s)
		return OutcomeCompleted, first && f.known[peer]
	}
	return OutcomeUnknown, false
}

// patience returns until when the handshake may be silent.
func (f *facts) patience() int64 {
	wait, last := 3*time.Second, len(f.clock)-1
	if last > 0 {
		wait = max(wait, 2*time.Duration(f.clock[last]-f.clock[last-1])+time.Second)
	}
	return f.clock[last] + int64(wait)
}

func (f *facts) silence(h *Handshake, at int64) {
	h.Outcome, h.End = OutcomeUnanswered, at
	if f.reached {
		h.Outcome = OutcomeHalfOpen
	}
	f.count(h, SideUnknown, false)
}

// count fills in retransmissions and legs. Side s completed, and exact says whether its legs are the handshake's.
func (f *facts) count(h *Handshake, s Side, exact bool) {
	h.Start, h.SYNs, h.SYNACKs = f.start, f.repeats[Originator], f.repeats[Responder]
	leg := func(first, last, to int64) Leg {
		return Leg{true, max(0, time.Duration(to-first)), max(0, time.Duration(to-last))}
	}
	if f.unseen {
		return
	}
	syn := f.syns[len(f.syns)-1]
	switch {
	case len(f.answers) > 0:
		h.ResponderLeg = leg(f.start, syn, f.answers[0])
	case h.Outcome == OutcomeRefused:
		h.ResponderLeg = leg(f.start, syn, h.End)
	}
	if h.Outcome == OutcomeCompleted && exact {
		h.Total = leg(f.start, syn, h.End)
		if len(f.answers) > 0 && s == Originator {
			h.OriginatorLeg = leg(f.answers[0], f.clock[len(f.clock)-1], h.End)
		}
	}
}

// connection fills c, which is established by segment k, and returns how many segments belong to it until it is over.
func (m model) connection(c *Connection, k int, now, next int64) (n int, over bool) {
	f := m.facts(k)
	for i := k; i < len(m); i++ {
		if at := m.quiet(f, k); f.closing() && m[i].Time > at {
			c.Teardown, c.End = TeardownFIN, at
			m.sum(c, f, i)
			return i, true
		}
		f = m.open(k, i+1)
		switch {
		case !f.takes[i] || m[i].Has(SYN) && !m[i].Has(RST):
		case m[i].Has(RST):
			c.Teardown, c.End = TeardownRST, m[i].Time
			if m.sum(c, f, i+1); f.fins[0] >= 0 || f.fins[1] >= 0 {
				c.Teardown = TeardownFINRST
			} else if c.OriginatorKnown {
				c.Closer = m.side(i)
			}
			return i + 1, true
		case f.finAck[0] && f.finAck[1]:
			c.Teardown, c.End = TeardownFIN, m[i].Time
			m.sum(c, f, i+1)
			return i + 1, true
		}
	}
	m.sum(c, f, len(m))
	switch at := m.quiet(f, k); {
	case f.closing() && now > at:
		c.Teardown, c.End = TeardownFIN, at
	case now == next:
		c.Teardown, c.End = TeardownExpired, next
	default:
		return len(m), false
	}
	return len(m), true
}

func (f *facts) closing() bool { return f.fins[0] >= 0 && f.fins[1] >= 0 }

// quiet returns how long the last acknowledgment is waited for. SYNs come again for other reasons.
func (m model) quiet(f *facts, k int) int64 {
	at := m[k].Time
	for i, ok := range f.takes {
		if i > k && ok && !m[i].Has(SYN) {
			at = m[i].Time
		}
	}
	return at + int64(3*time.Second)
}

// sum fills in what follows from the first n segments.
func (m model) sum(c *Connection, f *facts, n int) {
	c.Closer = SideUnknown
	o, r := f.fins[Originator], f.fins[Responder]
	if c.OriginatorKnown {
		switch {
		case o >= 0 && (r < 0 || o < r):
			c.Closer = Originator
		case r >= 0:
			c.Closer = Responder
		}
	}
	if f.closing() {
		first, second := &m[min(o, r)], &m[max(o, r)]
		c.FINsCrossed = second.Ack.Less(first.Seq.Add(first.Payload + 1))
	}
	for s := range f.fins {
		end := f.nxt[s]
		if i := f.fins[s]; i >= 0 {
			end = m[i].Seq.Add(m[i].Payload)
		}
		if c.BytesKnown[s] = f.known[s] && f.sized[s]; c.BytesKnown[s] {
			c.Bytes[s] = end.From(f.iss[s].Add(1))
		}
	}
	c.History, c.Completeness = m.letters(n)
}

// letters returns history and completeness of the first n segments.
func (m model) letters(n int) (history string, seen Completeness) {
	for i := range m[:n] {
		seg, letter := &m[i], "A"
		switch {
		case seg.Has(SYN | ACK):
			letter = "H"
			seen |= SeenSYNACK
		case seg.Has(SYN):
			letter = "S"
			seen |= SeenSYN
		case seg.Has(FIN):
			letter = "F"
			seen |= SeenFIN
		case seg.Has(RST):
			letter = "R"
			seen |= SeenRST
		case seg.Payload > 0:
			letter = "D"
		}
		if seg.Payload > 0 {
			seen |= SeenData
		}
		if seg.Has(ACK) && !seg.Has(SYN) && seg.Payload == 0 {
			seen |= SeenACK
		}
		like := letter // S and H are noted once together
		if strings.Contains("SH", letter) {
			like = "SH"
		}
		if m.from(i, Responder) {
			letter, like = strings.ToLower(letter), strings.ToLower(like)
		}
		if !strings.ContainsAny(history, like) {
			history += letter
		}
	}
	return history, seen
}

func (m model) from(i int, s Side) bool { return m.side(i) == s }

// pending describes a handshake that goes on.
func (m model) pending(h *Handshake, f *facts) *Pending {
	p := &Pending{Role: h.Role, State: StateHandshake, Originator: h.Originator, Responder: h.Responder, Start: f.start,
		SYNs: h.SYNs, SYNACKs: h.SYNACKs, Unseen: f.unseen, Closer: SideUnknown}
	if f.fins[Responder] >= 0 {
		p.Closer = Responder
	}
	p.History, p.Completeness = m.letters(len(m))
	return p
}

// standing describes a connection that goes on.
func (m model) standing(c *Connection, f *facts) *Pending {
	p := &Pending{Role: c.Role, State: StateEstablished, Originator: c.Originator, Responder: c.Responder, Unseen: c.Unseen,
		Start: c.Start, Seen: m.lastTaken(f), SYNs: f.repeats[Originator], SYNACKs: f.repeats[Responder],
		Closer: c.Closer, Bytes: c.Bytes, BytesKnown: c.BytesKnown, Completeness: c.Completeness, History: c.History}
	if f.fins[0] >= 0 || f.fins[1] >= 0 {
		p.State = StateHalfClosed
	}
	return p
}
