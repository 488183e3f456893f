package decode

// facts are what the segments before some index say about a handshake that goes on.
type facts struct {
	start   int64 // first SYN, if it was seen, else the first segment
	unseen  bool  // there was no SYN
	iss     [2]Seq
	known   [2]bool   // iss holds
	acked   [2]bool   // the SYN was acknowledged
	seen    [2]bool   // una and nxt hold
	una     [2]Seq    // first number after the SYN that a side can use, or that we saw it use; later what the peer acknowledged
	nxt     [2]Seq    // end of what a side sent, as far as we saw it or the peer acknowledged it
	reached bool      // it is known that the SYN arrived
	answers []int64   // times of the responder's SYN-ACKs
	syns    []int64   // times of the originator's SYNs before it was known that they arrived
	clock   []int64   // transmissions that the handshake's clock runs on
	again   bool      // a SYN came again after the last SYN-ACK
	went    bool      // the responder went on
	fins    [2]int    // index of each side's first FIN, -1 none
	finAck  [2]bool   // it was acknowledged
	sized   [2]bool   // nxt was confirmed after the handshake
	takes   []bool    // by index: the segment was acceptable
	repeats [2]uint16 // SYNs and SYN-ACKs sent again
}

// acksSYN reports whether seg of side s acknowledges the peer's SYN and nothing that it did not send.
func (f *facts) acksSYN(s Side, seg *Segment) bool {
	p := 1 - s
	return seg.Has(ACK) && f.known[p] && seg.Ack.From(f.iss[p].Add(1)) <= f.nxt[p].From(f.iss[p].Add(1))
}

// syn notes the SYN of a side, which may carry data.
func (f *facts) syn(s Side, iss Seq, data uint32) {
	end := iss.Add(1 + data)
	if f.seen[s] {
		end = later(f.nxt[s], end)
	}
	f.known[s], f.seen[s], f.iss[s], f.una[s], f.nxt[s] = true, true, iss, iss.Add(1), end
}

// facts of the first n segments.
func (m model) facts(n int) *facts {
	f := &facts{start: m[0].Time, unseen: true, fins: [2]int{-1, -1}}
	if !m[0].Has(SYN) || m[0].Has(RST) {
		f.takes = []bool{true}
		return f
	}
	for i := range m[:n] {
		seg, s := &m[i], m.side(i)
		peer, take := 1-s, true
		switch {
		case seg.Has(RST):
			take = false
		case seg.Has(SYN | ACK):
			if i == 0 {
				f.syn(Originator, seg.Ack-1, 0)
			}
			if take = f.acksSYN(s, seg) && !(s == Originator && seg.Seq != f.iss[s]); !take {
				break
			}
			again := f.acked[peer]
			if s == Responder {
				again = len(f.answers) > 0
				f.answers = append(f.answers, seg.Time)
			}
			if again {
				f.clock = append(f.clock, seg.Time)
				f.repeats[Responder]++
			} else {
				f.clock = []int64{seg.Time}
			}
			if !f.known[s] {
				f.syn(s, seg.Seq, seg.Payload)
			}
			f.acked[peer], f.reached, f.again = true, true, false
		case seg.Has(SYN):
			switch first := f.unseen && s == Originator; {
			case first:
				f.unseen, f.start, f.syns = false, seg.Time, []int64{seg.Time}
				if i == 0 {
					f.clock = []int64{seg.Time}
				}
				f.syn(s, seg.Seq, seg.Payload)
			case !f.known[s]:
				f.syn(s, seg.Seq, seg.Payload)
			case f.reached:
				f.repeats[Originator]++
				f.again = true
			default:
				f.repeats[Originator]++
				f.syns, f.clock = append(f.syns, seg.Time), append(f.clock, seg.Time)
			}
		case s == Originator || f.acked[Responder]:
			take = false // it would have completed
		default:
			if take = f.answeredBy(seg); !take {
				break
			}
			f.went = f.went || f.wentOn(seg)
			if !f.seen[s] {
				f.seen[s], f.una[s], f.nxt[s] = true, seg.Seq, seg.Seq
			}
			f.nxt[peer] = later(f.nxt[peer], seg.Ack)
			f.nxt[s] = later(f.nxt[s], seg.Seq.Add(seg.Payload))
			if seg.Has(FIN) && f.fins[s] < 0 {
				f.fins[s], f.nxt[s], f.sized[s] = i, seg.Seq.Add(seg.Len()), true
			}
			f.acked[peer] = true
			if !f.reached {
				f.reached, f.clock = true, []int64{seg.Time}
			}
		}
		f.takes = append(f.takes, take)
	}
	return f
}

// answeredBy reports whether seg of the responder, no SYN-ACK, says that it got the SYN.
func (f *facts) answeredBy(seg *Segment) bool {
	synACK := f.known[Responder] && f.reached
	return !(f.seen[Responder] && seg.Seq.From(f.una[Responder]) > maxWindow) &&
		(f.acksSYN(Responder, seg) || synACK && seg.Ack.From(f.una[Originator]) <= maxWindow)
}

// wentOn reports whether seg of the responder is one that it sends only after it took the completing ACK.
func (f *facts) wentOn(seg *Segment) bool {
	synACK := f.known[Responder] && f.reached
	return seg.Len() > 0 || synACK && seg.Seq != f.iss[Responder].Add(1) || !f.acksSYN(Responder, seg)
}

// open adds what segments k to n-1 say, the handshake having ended with segment k.
func (m model) open(k, n int) *facts {
	f := m.facts(k)
	f.takes = f.takes[:k]
	for i := k; i < n; i++ {
		f.takes = append(f.takes, m.opens(f, i, i == k))
	}
	return f
}

// opens adds what segment i of an open connection says, and reports whether it is acceptable.
func (m model) opens(f *facts, i int, first bool) bool {
	seg, s := &m[i], m.side(i)
	peer, end := 1-s, seg.Seq.Add(seg.Len())
	near := func(n Seq) bool { return !f.seen[s] || n.From(f.una[s]) <= maxWindow }
	finAt := func(s Side) Seq { return m[f.fins[s]].Seq.Add(m[f.fins[s]].Payload) }
	reach := func(s Side, to Seq) {
		switch {
		case !f.seen[s]:
			f.seen[s], f.una[s], f.nxt[s] = true, to, to
		case to.From(f.una[s]) <= maxWindow && to.From(f.una[s]) > f.nxt[s].From(f.una[s]):
			f.nxt[s] = to
		}
	}
	old := f.seen[s] && f.una[s] != end && f.una[s].From(end) <= maxWindow && !first
	switch {
	case seg.Has(RST):
		if !near(seg.Seq) && !(f.fins[s] >= 0 && finAt(s) == seg.Seq) {
			return false
		}
		if f.fins[s] < 0 {
			reach(s, seg.Seq)
			f.sized[s] = true
		}
	case seg.Has(SYN):
		return first || f.known[s] && f.iss[s] == seg.Seq
	case !old && !near(end), seg.Has(FIN) && f.fins[s] >= 0 && finAt(s).Add(1) != end:
		return false
	case seg.Has(FIN) && f.fins[s] < 0:
		f.fins[s], f.sized[s], f.nxt[s] = i, true, end
		if !f.seen[s] || f.una[s] != end && !near(end) {
			f.seen[s], f.una[s] = true, end-1
		}
	case seg.Has(FIN), old:
	default:
		if first {
			reach(s, seg.Seq)
		}
		reach(s, end)
		f.sized[s] = true
	}
	if !seg.Has(ACK) {
		return true
	}
	f.sized[peer] = true
	if f.fins[peer] < 0 || seg.Ack.LessEq(finAt(peer).Add(1)) {
		reach(peer, seg.Ack)
		if seg.Ack.From(f.una[peer]) <= maxWindow {
			f.una[peer] = seg.Ack
		}
	}
	for s := range f.fins {
		if f.fins[s] >= 0 && f.una[s] == finAt(Side(s)).Add(1) {
			f.finAck[s] = true
		}
	}
	return true
}

func later(a, b Seq) Seq {
	if a.Less(b) {
		return b
	}
	return a
}
