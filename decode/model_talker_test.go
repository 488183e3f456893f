package decode

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
)

// A talker makes conversations that two honest ends could have, then lets them be lost, doubled and shuffled.
type talker struct {
	r    *rand.Rand
	segs []Segment
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
	if k.chance(1) {
		k.forge()
	}
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
func (k *talker) talk(a, b string) []Segment {
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
	data := uint32(0) // in the SYN (TCP Fast Open)
	if k.chance(5) {
		data = 1 + r.Uint32N(1460)
	}
	k.send(Originator, SYN, data)
	if k.chance(20) {
		k.again(1 + r.IntN(9))
	}
	if k.chance(30) { // not accepted
		k.ends[Originator].nxt -= Seq(data)
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
	if k.chance(10) {
		k.cross()
	} else if k.send(Responder, SYN|ACK, 0); k.chance(20) {
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
		if k.chance(5) { // keep-alive
			k.ends[s].nxt--
			k.send(s, ACK, r.Uint32N(2))
			k.ends[s].nxt = k.segs[len(k.segs)-1].Seq.Add(1)
			k.send(1-s, ACK, 0)
		}
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

// cross makes both ends open at once (RFC 9293 §3.5, figure 7), or the second split its answer in two.
func (k *talker) cross() {
	syn := len(k.segs) - 1
	if k.chance(30) {
		k.send(Responder, ACK, 0)
	}
	k.send(Responder, SYN, 0)
	acks := k.r.IntN(3)
	for s := range Side(2) {
		if acks == int(s) {
			k.send(s, ACK, 0)
			continue
		}
		k.segs = append(k.segs, k.segs[syn+k.indexOfSYN(s, syn)])
		again := &k.segs[len(k.segs)-1]
		again.Time, again.Flags, again.Ack = k.now, SYN|ACK, k.ends[1-s].nxt
		k.wait(20 * time.Millisecond)
	}
}

// indexOfSYN returns where the SYN of a side is, counted from the first one.
func (k *talker) indexOfSYN(s Side, first int) int {
	for i := range k.segs[first:] {
		if k.segs[first+i].Src == k.ends[s].seg.Src && k.segs[first+i].Has(SYN) {
			return i
		}
	}
	panic("no SYN")
}

// forge makes a segment out of nothing.
func (k *talker) forge() {
	seg := k.ends[k.r.IntN(2)].seg
	seg.Time, seg.Flags = k.now, []Flags{RST, RST | ACK, ACK, FIN | ACK, SYN | ACK}[k.r.IntN(5)]
	seg.Seq, seg.Ack, seg.Payload = Seq(k.r.Uint32()), Seq(k.r.Uint32()), k.r.Uint32N(2)*100
	k.segs = append(k.segs, seg)
}

// spoil returns what an observer saw of a conversation.
func (k *talker) spoil(m []Segment) []Segment {
	var seen []Segment
	deaf := k.chance(8) // to one side
	deafTo := k.ends[k.r.IntN(2)].seg.Src
	lose, double, swap := k.r.IntN(2)*k.r.IntN(30), k.r.IntN(2)*k.r.IntN(30), k.r.IntN(2)*k.r.IntN(30)
	for i := range m {
		if k.chance(lose) || deaf && m[i].Src == deafTo {
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

var (
	streams = flag.Uint64("streams", 5_000, "how many random streams TestModel compares")
	stream1 = flag.Uint64("stream", 0, "the first of them")
)

// TestModel compares the tracker with the model.
func TestModel(t *testing.T) {
	outcomes := map[string]int{}
	n := *streams
	if testing.Short() {
		n /= 5
	}
	for seed := *stream1; seed < *stream1+n; seed++ {
		k := &talker{r: rand.New(rand.NewPCG(seed, 1))}
		a, b := "A", "B"
		var all []Segment
		for range 1 + k.r.IntN(3) { // on the same sockets
			if m := k.spoil(k.talk(a, b)); len(m) > 0 {
				all = append(all, m...)
				k.now = m[len(m)-1].Time
			}
			k.now += 1 + k.r.Int64N([]int64{1e6, 1e9, 20e9}[k.r.IntN(3)])
			if k.chance(20) {
				a, b = b, a
			}
		}
		now := k.now + int64(5*time.Second)
		want := account(all, now)

		var got []string
		laws := newLaws(t)
		tr := laws.tracker(TrackerOptions{EverySegment: true, Capacity: 100}, func(s string) { got = append(got, s) })
		for i := range all {
			tr.Step(&all[i])
			laws.check(tr)
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
	t.Logf("%d streams: %v", n, outcomes)
	for _, what := range []string{"handshake completed", "handshake refused", "handshake aborted", "handshake reset", "handshake unanswered",
		"handshake half_open", "connection fin", "connection fin_rst", "connection rst", "connection expired",
		"pending handshake", "pending established", "pending half_closed"} {
		if outcomes[what] < int(n/1000) {
			t.Errorf("%s: only %d times", what, outcomes[what])
		}
	}
}

func tell(all []Segment) string {
	var b strings.Builder
	for i := range all {
		s := &all[i]
		fmt.Fprintf(&b, "%s %s>%s %s seq %d ack %d len %d\n", time.Duration(s.Time), s.Src, s.Dst, s.Flags, s.Seq, s.Ack, s.Payload)
	}
	return b.String()
}
