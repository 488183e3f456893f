package decode

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
)

// The model: a second, deliberately simple account of one conversation. It keeps all segments and looks for each verdict in
// them when everything is over, by the definitions in the package documentation. The tracker, which keeps next to nothing, must
// say the same.
//
// It does not do, and TestModel leaves out, what the definitions leave open:
//   - conversations whose first segment seen is no SYN (unseen), as nobody can say what came before: transcripts have them;
//   - segments that come later than a finished connection is remembered, or after the next conversation's SYN: whose they are
//     is a matter of the clock;
//   - segments that overtake the completing ACK and are not acceptable for that, but were sent: an RST, or one that
//     acknowledges what was not seen yet, as a FIN;
//   - a lost SYN-ACK, and a responder that acknowledges more than the SYN: it could be an older connection's challenge;
//   - a SYN-ACK that comes after the completing ACK: the tracker does not learn from it;
//   - a SYN from the other side while the first one waits: it may be a simultaneous open;
//   - simultaneous open, TCP Fast Open and two SYN-ACKs with different ISNs: transcripts have them;
//   - sources that show control segments only, where the tracker infers.

// modelConversation is one conversation as the observation point saw it.
type modelConversation []Segment

// model returns what has to be said of a conversation when it is time now, and whether the definitions say. next is when the
// next conversation begins on the same sockets.
func (m modelConversation) model(next, now int64) (said []string, ok bool) {
	syn := &m[0]
	if syn.Flags != SYN {
		return nil, false
	}
	h := Handshake{Point: syn.Point, Role: RoleLocal, Originator: syn.Src, Responder: syn.Dst, Start: syn.Time}
	end := m.handshake(&h, next, now)
	for i := range m {
		_, answered := m.isn(i)
		if (i < end || end < 0) && m.from(i, Responder) && !answered && m[i].Ack != syn.Seq.Add(1) {
			return nil, false
		}
	}
	if end < 0 { // pending
		return []string{formatPending(m.pending(&h))}, true
	}
	said = append(said, formatHandshake(&h))
	over := h.End
	if h.Outcome == OutcomeCompleted {
		c := Connection{Point: h.Point, Role: h.Role, Originator: h.Originator, Responder: h.Responder, OriginatorKnown: true, Start: h.Start}
		for i := range m {
			_, answered := m.isn(end)
			if i < end && (m[i].Has(RST) || m.from(i, Originator) && !m[i].Has(SYN)) || m[i].Has(FIN) && m.acked(i, 1-m.side(i), end) || !answered && m[i].Has(SYN|ACK) {
				return nil, false
			}
		}
		if pending := m.connection(&c, end, next); pending != nil {
			return append(said, formatPending(pending)), true
		}
		said = append(said, formatConnection(&c))
		over = c.End
	}
	last := m[len(m)-1].Time
	return said, last <= over+int64(3*time.Second)
}

// side returns who sent segment i: the originator is who sent the first.
func (m modelConversation) side(i int) Side {
	if m[i].Src == m[0].Src {
		return Originator
	}
	return Responder
}

func (m modelConversation) from(i int, s Side) bool { return m.side(i) == s }

// isn returns the responder's ISN, if its SYN-ACK is among the first n segments.
func (m modelConversation) isn(n int) (Seq, bool) {
	for i := range m[:n] {
		if m.from(i, Responder) && m[i].Has(SYN|ACK) {
			return m[i].Seq, true
		}
	}
	return 0, false
}

// handshake fills h and returns the index of the segment that decided, len(m) if silence did, or -1 if nothing has.
func (m modelConversation) handshake(h *Handshake, next, now int64) int {
	for i := 1; i < len(m); i++ {
		if m[i].Time > m.patience(i) {
			return m.silence(h, i, m.patience(i))
		}
		if o := m.decides(i); o != OutcomeUnknown {
			h.Outcome, h.End = o, m[i].Time
			m.count(h, i)
			return i
		}
	}
	switch p := m.patience(len(m)); {
	case next > 0:
		return m.silence(h, len(m), min(p, next))
	case now > p:
		return m.silence(h, len(m), p)
	}
	m.count(h, len(m))
	return -1
}

// decides returns the outcome that segment i decides, none before it having done so.
func (m modelConversation) decides(i int) Outcome {
	seg, iss := &m[i], m[0].Seq
	isn, answered := m.isn(i)
	reached := iss.Add(1) // by the originator, in what we saw of it and of what was acknowledged
	sent := isn.Add(1)    // by the responder
	for j := range m[:i] {
		switch end := m[j].Seq.Add(m[j].Len()); {
		case m[j].Has(SYN) || m[j].Has(RST):
		case m.from(j, Responder):
			sent, reached = later(sent, end), later(reached, m[j].Ack)
		}
	}
	synAcked := answered || slices.ContainsFunc(m[1:i], func(s Segment) bool { return s.Src != m[0].Src && !s.Has(RST) && s.Ack == iss.Add(1) })
	switch {
	case m.from(i, Originator) && seg.Has(RST):
		if seg.Seq.From(iss.Add(1)) <= reached.From(iss.Add(1)) {
			return OutcomeAborted
		}
	case m.from(i, Originator) && !seg.Has(SYN):
		inWindow := seg.Seq.From(iss.Add(1)) <= max(1<<16-1, reached.From(iss.Add(1)))
		if inWindow && (!answered || seg.Ack.From(isn.Add(1)) <= sent.From(isn.Add(1))) {
			return OutcomeCompleted
		}
	case m.from(i, Responder) && seg.Has(RST):
		if !synAcked && seg.Has(ACK) && seg.Ack == iss.Add(1) {
			return OutcomeRefused
		}
		if answered && seg.Seq.From(isn.Add(1)) <= sent.From(isn.Add(1)) || !answered && synAcked {
			return OutcomeReset
		}
	}
	return OutcomeUnknown
}

func later(a, b Seq) Seq {
	if a.Less(b) {
		return b
	}
	return a
}

// patience returns when the first n segments, none of which decides, count as given up.
func (m modelConversation) patience(n int) int64 {
	var sent []int64
	answered, synACK := false, false
	for i := range m[:n] {
		first := false
		switch {
		case m[i].Has(RST):
			continue
		case m.from(i, Originator):
			if m[i].Has(SYN) && !answered {
				sent = append(sent, m[i].Time)
			}
			continue
		case m[i].Has(SYN | ACK):
			first, synACK = !synACK, true
		case synACK || answered || m[i].Ack != m[0].Seq.Add(1):
			continue
		default:
			first = true
		}
		if answered = true; first {
			sent = nil
		}
		sent = append(sent, m[i].Time)
	}
	wait, last := 3*time.Second, len(sent)-1
	if last > 0 {
		wait = max(wait, 2*time.Duration(sent[last]-sent[last-1])+time.Second)
	}
	return sent[last] + int64(wait)
}

func (m modelConversation) silence(h *Handshake, n int, at int64) int {
	h.Outcome, h.End = OutcomeUnanswered, at
	for i := range m[:n] {
		if m.from(i, Responder) && !m[i].Has(RST) && (m[i].Has(SYN|ACK) || m[i].Ack == m[0].Seq.Add(1)) {
			h.Outcome = OutcomeHalfOpen
		}
	}
	m.count(h, n)
	return len(m)
}

// count fills in retransmissions and legs, of the first n segments; segment n decided, if it is there.
func (m modelConversation) count(h *Handshake, n int) {
	var synACKs []int64
	syn, answered := m[0].Time, false
	for i := range m[:n] {
		switch {
		case m[i].Has(RST):
		case m.from(i, Responder):
			if m[i].Has(SYN | ACK) {
				synACKs = append(synACKs, m[i].Time)
			}
			answered = answered || m[i].Ack == m[0].Seq.Add(1)
		case m[i].Has(SYN) && i > 0:
			h.SYNs++
			if !answered {
				syn = m[i].Time
			}
		}
	}
	span := func(from, to int64) time.Duration { return time.Duration(to - from) }
	switch {
	case len(synACKs) > 0:
		h.SYNACKs = uint16(len(synACKs) - 1)
		h.ResponderLeg = Leg{true, span(m[0].Time, synACKs[0]), span(syn, synACKs[0])}
	case h.Outcome == OutcomeRefused:
		h.ResponderLeg = Leg{true, span(m[0].Time, h.End), span(syn, h.End)}
	}
	if h.Outcome == OutcomeCompleted && len(synACKs) > 0 && m[n].Seq == m[0].Seq.Add(1) {
		h.OriginatorLeg = Leg{true, span(synACKs[0], h.End), span(synACKs[len(synACKs)-1], h.End)}
		h.Total = Leg{true, span(m[0].Time, h.End), span(syn, h.End)}
	}
}

// connection fills c, which is established by segment k, or returns what is pending.
func (m modelConversation) connection(c *Connection, k int, next int64) *Pending {
	var fins [2]int // index of each side's first FIN, 0 if there is none
	for i := range m[:k] {
		if m.from(i, Responder) && m[i].Has(FIN) && fins[Responder] == 0 { // overtook the completing ACK
			fins[Responder] = i
		}
	}
	for i := k; i < len(m); i++ {
		seg, s := &m[i], m.side(i)
		if quiet := m.quiet(i); fins[0] > 0 && fins[1] > 0 && seg.Time > quiet {
			c.Teardown, c.End = TeardownFIN, quiet
			m.sum(c, k, i, fins)
			return nil
		}
		if seg.Has(RST) {
			c.Teardown, c.End = TeardownRST, seg.Time
			if fins[0]+fins[1] > 0 {
				c.Teardown = TeardownFINRST
			}
			m.sum(c, k, i+1, fins)
			if fins[0]+fins[1] == 0 {
				c.Closer = s
			}
			return nil
		}
		if seg.Has(FIN) && fins[s] == 0 {
			fins[s] = i
		}
		if m.acked(fins[0], Responder, i+1) && m.acked(fins[1], Originator, i+1) {
			c.Teardown, c.End = TeardownFIN, seg.Time
			m.sum(c, k, i+1, fins)
			return nil
		}
	}
	m.sum(c, k, len(m), fins)
	switch quiet := m.quiet(len(m)); {
	case fins[0] > 0 && fins[1] > 0 && (next == 0 || next > quiet):
		c.Teardown, c.End = TeardownFIN, quiet
		return nil
	case next > 0:
		c.Teardown, c.End = TeardownExpired, next
		return nil
	}
	p := &Pending{Role: c.Role, State: StateEstablished, Originator: c.Originator, Responder: c.Responder, Start: c.Start, Seen: m[len(m)-1].Time,
		Closer: c.Closer, Bytes: c.Bytes, BytesKnown: c.BytesKnown, Completeness: c.Completeness, History: c.History}
	if fins[0]+fins[1] > 0 {
		p.State = StateHalfClosed
	}
	var h Handshake
	m.count(&h, k)
	p.SYNs, p.SYNACKs = h.SYNs, h.SYNACKs
	return p
}

// quiet returns how long after the first n segments the last acknowledgment is waited for. SYNs come again for other reasons.
func (m modelConversation) quiet(n int) int64 {
	for n--; n > 0 && m[n].Has(SYN); n-- {
	}
	return m[n].Time + int64(3*time.Second)
}

// acked reports whether side by acknowledges the FIN with index fin in the first n segments.
func (m modelConversation) acked(fin int, by Side, n int) bool {
	if fin == 0 {
		return false
	}
	for i := range m[:n] {
		if m.from(i, by) && m[i].Has(ACK) && m[i].Ack == m[fin].Seq.Add(m[fin].Payload+1) {
			return true
		}
	}
	return false
}

// sum fills in what follows from the first n segments, established by segment k.
func (m modelConversation) sum(c *Connection, k, n int, fins [2]int) {
	c.Closer = SideUnknown
	switch f, g := fins[Originator], fins[Responder]; {
	case f > 0 && (g == 0 || f < g):
		c.Closer = Originator
	case g > 0:
		c.Closer = Responder
	}
	if fins[0] > 0 && fins[1] > 0 {
		first, second := &m[min(fins[0], fins[1])], &m[max(fins[0], fins[1])]
		c.FINsCrossed = second.Ack.Less(first.Seq.Add(first.Payload + 1))
	}
	c.BytesKnown[Originator] = true
	_, c.BytesKnown[Responder] = m.isn(k)
	for s := Originator; s <= Responder; s++ {
		iss := m[0].Seq
		if s == Responder {
			iss, _ = m.isn(k)
		}
		end := iss.Add(1)
		for i := range m[:n] {
			switch {
			case m[i].Has(SYN):
			case m.from(i, s) && m[i].Has(RST):
				end = later(end, m[i].Seq)
			case m.from(i, s):
				end = later(end, m[i].Seq.Add(m[i].Payload))
			case m[i].Has(ACK):
				end = later(end, m[i].Ack)
			}
		}
		if fins[s] > 0 {
			end = m[fins[s]].Seq.Add(m[fins[s]].Payload)
		}
		if c.BytesKnown[s] {
			c.Bytes[s] = end.From(iss.Add(1))
		}
	}
	c.History, c.Completeness = m.letters(n)
}

// letters returns history and completeness of the first n segments.
func (m modelConversation) letters(n int) (history string, seen Completeness) {
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
		if m.from(i, Responder) {
			letter = strings.ToLower(letter)
		}
		if !strings.Contains(history, letter) {
			history += letter
		}
	}
	return history, seen
}

// pending describes a handshake that goes on.
func (m modelConversation) pending(h *Handshake) *Pending {
	p := &Pending{Role: h.Role, State: StateHandshake, Originator: h.Originator, Responder: h.Responder, Start: h.Start,
		SYNs: h.SYNs, SYNACKs: h.SYNACKs, Closer: SideUnknown}
	p.History, p.Completeness = m.letters(len(m))
	return p
}

// A talker makes conversations that two honest ends could have, then lets them be lost, doubled and shuffled.
type talker struct {
	r    *rand.Rand
	segs modelConversation
	ends [2]struct {
		seg      Segment // template
		nxt, una Seq     // una is what the peer has
	}
	now int64
}

func (k *talker) chance(percent int) bool { return k.r.IntN(100) < percent }

// send makes a segment of side s.
func (k *talker) send(s Side, flags Flags, payload uint32) {
	e, peer := &k.ends[s], &k.ends[1-s]
	seg := e.seg
	seg.Time, seg.Flags, seg.Seq, seg.Payload = k.now, flags, e.nxt, payload
	if flags&ACK != 0 {
		seg.Ack = peer.nxt
	}
	k.segs = append(k.segs, seg)
	e.nxt = e.nxt.Add(seg.Len())
	k.wait(20 * time.Millisecond)
}

// again sends the last segment of a side again, n times, as Linux does with SYNs.
func (k *talker) again(n int) {
	at := k.segs[len(k.segs)-1]
	k.now = at.Time
	for _, gap := range []int{1, 1, 1, 1, 1, 2, 4, 8, 17, 32}[:n] {
		k.now += int64(gap) * int64(time.Second)
		at.Time = k.now
		k.segs = append(k.segs, at)
	}
	k.wait(20 * time.Millisecond)
}

func (k *talker) wait(upTo time.Duration) { k.now += k.r.Int64N(int64(upTo)) }

// talk makes one conversation.
func (k *talker) talk(a, b string) modelConversation {
	k.segs = nil
	r := k.r
	for s, name := range []string{a, b} {
		e := &k.ends[s]
		e.nxt = Seq(r.Uint32())
		if k.chance(10) {
			e.nxt = -Seq(r.IntN(3000))
		}
		e.seg = Segment{Point: onLo, Src: socket(name), Dst: socket([]string{b, a}[s])}
	}
	k.send(Originator, SYN, 0)
	if k.chance(20) {
		k.again(1 + r.IntN(9))
	}
	switch r.IntN(12) {
	case 0: // unanswered
		return k.segs
	case 1:
		k.send(Responder, RST|ACK, 0)
		k.segs[len(k.segs)-1].Seq = 0
		return k.segs
	case 2:
		k.send(Originator, RST, 0)
		return k.segs
	}
	k.send(Responder, SYN|ACK, 0)
	if k.chance(20) {
		k.again(1 + r.IntN(5))
	}
	switch r.IntN(12) {
	case 0: // half-open
		return k.segs
	case 1:
		k.send(Originator, RST, 0)
		return k.segs
	case 2:
		k.send(Responder, RST|ACK, 0)
		return k.segs
	case 3:
		k.send(Originator, PSH|ACK, 1+r.Uint32N(1460))
	case 4:
		k.send(Originator, FIN|ACK, 0)
		k.send(Responder, FIN|ACK, 0)
		k.send(Originator, ACK, 0)
		return k.segs
	default:
		k.send(Originator, ACK, 0)
	}
	for range r.IntN(12) {
		s := Side(r.IntN(2))
		k.send(s, PSH|ACK, 1+r.Uint32N(20000))
		if k.chance(70) {
			k.send(1-s, ACK, 0)
		}
	}
	if k.chance(20) {
		k.wait(30 * time.Second)
	}
	closer := Side(r.IntN(2))
	switch r.IntN(8) {
	case 0: // open
	case 1:
		k.send(closer, RST|ACK, 0)
	case 2:
		k.send(closer, FIN|ACK, r.Uint32N(2)*100)
		k.send(1-closer, RST, 0)
	case 3: // half-close, data going on
		k.send(closer, FIN|ACK, 0)
		for range r.IntN(5) {
			k.send(1-closer, PSH|ACK, 1000)
			k.send(closer, ACK, 0)
		}
		if k.chance(50) {
			return k.segs
		}
		k.send(1-closer, FIN|ACK, 0)
		k.send(closer, ACK, 0)
	case 4: // crossed
		k.send(closer, FIN|ACK, 0)
		k.send(1-closer, FIN|ACK, 0)
		k.segs[len(k.segs)-1].Ack = k.ends[closer].nxt - 1
		k.send(closer, ACK, 0)
		k.send(1-closer, ACK, 0)
	default:
		k.send(closer, FIN|ACK, r.Uint32N(2)*100)
		if k.chance(50) {
			k.send(1-closer, ACK, 0)
		}
		k.send(1-closer, FIN|ACK, r.Uint32N(2)*100)
		if k.chance(80) {
			k.send(closer, ACK, 0)
		}
		if k.chance(20) {
			k.send(closer, RST, 0)
		}
	}
	return k.segs
}

// spoil returns what an observer saw of a conversation.
func (k *talker) spoil(m modelConversation) modelConversation {
	var seen modelConversation
	lose, double, swap := k.r.IntN(2)*k.r.IntN(30), k.r.IntN(2)*k.r.IntN(30), k.r.IntN(2)*k.r.IntN(30)
	for i := range m {
		if k.chance(lose) {
			continue
		}
		seen = append(seen, m[i])
		if k.chance(double) {
			seen = append(seen, m[i])
		}
	}
	for i := range seen[:max(len(seen)-1, 0)] {
		if k.chance(swap) {
			j := min(i+1+k.r.IntN(3), len(seen)-1)
			seen[i], seen[j] = seen[j], seen[i]
			seen[i].Time, seen[j].Time = seen[j].Time, seen[i].Time
		}
	}
	return seen
}

// TestModel compares the tracker with the model.
func TestModel(t *testing.T) {
	const streams = 5_000
	compared, outcomes := 0, map[string]int{}
	for seed := range uint64(streams) {
		k := &talker{r: rand.New(rand.NewPCG(seed, 1))}
		a, b := "A", "B"
		var all []modelConversation
		for range 1 + k.r.IntN(3) { // on the same sockets
			if m := k.spoil(k.talk(a, b)); len(m) > 0 {
				all = append(all, m)
				k.now = m[len(m)-1].Time
			}
			k.now += 1 + k.r.Int64N([]int64{1e6, 1e9, 20e9}[k.r.IntN(3)])
			if k.chance(20) {
				a, b = b, a
			}
		}
		now := k.now + int64(5*time.Second)

		var want []string
		good := len(all) > 0
		for i, m := range all {
			next := int64(0)
			if i+1 < len(all) {
				next = all[i+1][0].Time
			}
			said, ok := m.model(next, now)
			good = good && ok
			if i+1 < len(all) && all[i+1][0].Src != m[0].Src && !slices.ContainsFunc(m, func(s Segment) bool { return s.Src != m[0].Src }) {
				good = false
			}
			want = append(want, said...)
		}
		if !good {
			continue
		}
		compared++

		var got []string
		laws := newLaws(t)
		tr := laws.tracker(TrackerOptions{EverySegment: true, Capacity: 100}, func(s string) { got = append(got, s) })
		for _, m := range all {
			for i := range m {
				tr.Step(&m[i])
				laws.check(tr)
			}
		}
		tr.Advance(now)
		for p := range tr.Connections() {
			if p.State == StateHandshake {
				p.Seen, p.BytesKnown = 0, [2]bool{}
			}
			got = append(got, formatPending(p))
		}
		for _, s := range got {
			outcomes[strings.Split(s, ":")[0]]++
		}
		if !slices.Equal(got, want) {
			t.Errorf("seed %d:\n%sgot\n%s\nwant\n%s", seed, tell(all), strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	}
	t.Logf("%d of %d streams compared: %v", compared, streams, outcomes)
	if compared < streams/2 {
		t.Error("too few")
	}
}

func tell(all []modelConversation) string {
	var b strings.Builder
	for _, m := range all {
		for i := range m {
			s := &m[i]
			fmt.Fprintf(&b, "%s %s>%s %s seq %d ack %d len %d\n", time.Duration(s.Time), s.Src, s.Dst, s.Flags, s.Seq, s.Ack, s.Payload)
		}
		b.WriteString("\n")
	}
	return b.String()
}
