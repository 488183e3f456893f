package decode

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"
)

// stream makes segments of a few connections that mostly behave: so states are reached that pure noise would not.
type stream struct {
	r    *rand.Rand
	time int64
	next [8][2]Seq
	back bool // time may step back
	seg  Segment
}

func (s *stream) segment() *Segment {
	r := s.r
	i := r.IntN(len(s.next))
	from := r.IntN(2)
	src := netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, 0, 1}), uint16(i))
	dst := netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, 0, 2}), 80)
	if from == 1 {
		src, dst = dst, src
	}
	flags := []Flags{SYN, SYN | ACK, SYN | ACK, ACK, ACK, ACK, PSH | ACK, FIN | ACK, FIN | ACK, RST, RST | ACK, FIN, 0, FIN | SYN, SYN | RST}[r.IntN(15)]
	n := &s.next[i]
	seq, ack := n[from], n[1-from]
	switch r.IntN(20) {
	case 0:
		seq = Seq(r.Uint32())
	case 1:
		ack = Seq(r.Uint32())
	case 2:
		seq -= Seq(r.IntN(3))
	case 3:
		ack -= Seq(r.IntN(3))
	}
	s.time += []int64{0, 1, 1e3, 1e6, 1e8, 1e9, 4e9}[r.IntN(7)]
	if s.back && r.IntN(10) == 0 {
		s.time -= r.Int64N(1e9)
	}
	point := points[[]string{"lo", "in", "out"}[r.IntN(3)]]
	if i%2 == 1 { // another namespace
		point = &Point{ID: 9, NetnsID: 2, Netns: "other", Interface: "eth0", Direction: Direction(r.IntN(2))}
	}
	s.seg = Segment{Time: s.time, Point: point, Src: src, Dst: dst, Seq: seq, Ack: ack, Flags: flags,
		Forwarded: r.IntN(8) == 0, ToLocal: r.IntN(2) == 0}
	if r.IntN(3) == 0 {
		s.seg.Payload = r.Uint32N(3000)
	}
	if r.IntN(10) > 0 {
		n[from] = seq.Add(s.seg.Len())
	}
	return &s.seg
}

// census returns, now and then, that a connection of the stream is open and others are not.
func (s *stream) census() *Census {
	r := s.r
	if r.IntN(20) > 0 {
		return nil
	}
	c := &Census{Time: s.time - r.Int64N(4e9), Point: &Point{NetnsID: s.seg.Point.NetnsID, Netns: s.seg.Point.Netns}}
	k := Known{Originator: s.seg.Src, Responder: s.seg.Dst, OriginatorKnown: r.IntN(4) > 0,
		Local: [2]bool{r.IntN(2) == 0, r.IntN(2) == 0}, Closer: Side(r.IntN(3))}
	k.Start = c.Time - r.Int64N(1e12)
	c.Open = append(c.Open, k)
	if over := uint16(r.IntN(len(s.next))); r.IntN(2) == 0 {
		c.Over = func(a, b netip.AddrPort) bool { return a.Port() == over || b.Port() == over }
	}
	return c
}

// run steps a tracker through n segments of a stream and returns what it reported.
func run(t *testing.T, seed uint64, n, capacity int, back bool, tick int) []string {
	laws := newLaws(t)
	var got []string
	tr := laws.tracker(TrackerOptions{Capacity: capacity}, func(s string) { got = append(got, s) })
	s := stream{r: rand.New(rand.NewPCG(seed, 0)), back: back}
	for i := range n {
		seg := s.segment()
		tr.Step(seg)
		laws.check(tr)
		if c := s.census(); c != nil {
			got = append(got, fmt.Sprint("learned ", tr.Learn(c)))
			laws.check(tr)
		}
		if i%tick == tick-1 {
			tr.Advance(seg.Time)
			laws.check(tr)
		}
		if back && i%1000 == 999 {
			tr.Loss(seg.Time - 1e9)
			tr.Detach(2)
			laws.check(tr)
			tr.Tallies()
			delete(laws.completed, 2)
			delete(laws.ended, 2)
		}
	}
	tr.Advance(math.MaxInt64 / 2)
	laws.check(tr)
	if live := tr.Tallies().Connections; live > 16 {
		t.Errorf("%d connections left", live)
	}
	return got
}

// TestRandomStreams checks the sums after every step, that a replay gives the same results, and that results do not depend
// on how often Advance is called.
func TestRandomStreams(t *testing.T) {
	for seed := range uint64(20) {
		first := run(t, seed, 5000, 5, true, 10)
		if len(first) < 100 {
			t.Fatalf("seed %d: only %d results", seed, len(first))
		}
		if !slices.Equal(first, run(t, seed, 5000, 5, true, 10)) {
			t.Fatalf("seed %d: replay differs", seed)
		}
		often, seldom := run(t, seed, 5000, 100, false, 1), run(t, seed, 5000, 100, false, 5000)
		slices.Sort(often)
		slices.Sort(seldom)
		if !slices.Equal(often, seldom) {
			t.Fatalf("seed %d: results depend on Advance", seed)
		}
	}
}

func TestEveryOutcomeIsReached(t *testing.T) {
	var all strings.Builder
	for seed := range uint64(5) {
		for _, s := range run(t, seed, 5000, 5, true, 10) {
			all.WriteString(s + "\n")
		}
	}
	for _, o := range Outcomes() {
		if o != OutcomeUnreachable && !strings.Contains(all.String(), "handshake "+o.String()) {
			t.Errorf("no handshake %s", o)
		}
	}
	for _, td := range Teardowns() {
		if !strings.Contains(all.String(), "connection "+td.String()) {
			t.Errorf("no teardown %s", td)
		}
	}
}

func TestTallies(t *testing.T) {
	tr := NewTracker(TrackerOptions{Capacity: 10})
	for _, id := range []uint32{7, 3, 5} {
		seg := Segment{Point: &Point{NetnsID: id, Netns: fmt.Sprint("ns", id)}, Src: socket("A"), Dst: socket("B"), Flags: SYN}
		tr.Step(&seg)
	}
	tr.Detach(5)
	s := tr.Tallies()
	if len(s.Netns) != 3 || s.Netns[0].Netns != "ns3" || !s.Netns[1].Detached || s.Netns[2].NetnsID != 7 || s.Capacity != 10 || s.Connections != 2 {
		t.Errorf("got %+v", s)
	}
	if s = tr.Tallies(); len(s.Netns) != 2 {
		t.Errorf("a detached namespace is reported twice: %+v", s)
	}
}

// TestFloodSparesEstablished: a million spoofed SYNs do not displace an open connection.
func TestFloodSparesEstablished(t *testing.T) {
	ended, completed := 0, 0
	tr := NewTracker(TrackerOptions{
		Capacity:     1000,
		OnConnection: func(*Connection) { ended++ },
		OnHandshake: func(h *Handshake) {
			if h.Outcome == OutcomeCompleted {
				completed++
			}
		},
	})
	handshake(tr, 1, 0)
	seg := Segment{Point: points["in"], Dst: socket("B"), Flags: SYN}
	for i := range 1_000_000 {
		var a [4]byte
		binary.BigEndian.PutUint32(a[:], uint32(i)+1<<31)
		seg.Time, seg.Src = int64(i), netip.AddrPortFrom(netip.AddrFrom4(a), 1)
		tr.Step(&seg)
	}
	if s := tr.Tallies(); ended != 0 || completed != 1 || s.Connections != 1000 || s.Evictions != 999_001 {
		t.Errorf("ended %d, completed %d, %d connections, %d evictions", ended, completed, s.Connections, s.Evictions)
	}
}

// client returns the socket of client i.
func client(i int) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, byte(i >> 24), byte(i >> 16), 1}), uint16(i))
}

var onLo, toB = points["lo"], socket("B")

// handshake completes connection i, whose initial sequence numbers are the time of its SYN.
func handshake(tr *Tracker, i int, now int64) { connect(tr, client(i), toB, now) }

func connect(tr *Tracker, a, b netip.AddrPort, now int64) {
	iss := Seq(now)
	seg := Segment{Time: now, Point: onLo, Src: a, Dst: b, Seq: iss, Flags: SYN}
	tr.Step(&seg)
	seg = Segment{Time: now + 1, Point: onLo, Src: b, Dst: a, Seq: iss, Ack: iss + 1, Flags: SYN | ACK}
	tr.Step(&seg)
	seg = Segment{Time: now + 2, Point: onLo, Src: a, Dst: b, Seq: iss + 1, Ack: iss + 1, Flags: ACK}
	tr.Step(&seg)
}

// finish closes connection i, which began at time syn.
func finish(tr *Tracker, i int, syn, now int64) {
	a, b, nxt := client(i), toB, Seq(syn)+100
	seg := Segment{Time: now, Point: onLo, Src: a, Dst: b, Seq: nxt, Ack: nxt, Flags: FIN | ACK}
	tr.Step(&seg)
	seg = Segment{Time: now + 1, Point: onLo, Src: b, Dst: a, Seq: nxt, Ack: nxt + 1, Flags: FIN | ACK}
	tr.Step(&seg)
	seg = Segment{Time: now + 2, Point: onLo, Src: a, Dst: b, Seq: nxt + 1, Ack: nxt + 1, Flags: ACK}
	tr.Step(&seg)
}

func TestStepAllocatesNothing(t *testing.T) {
	tr := NewTracker(TrackerOptions{OnHandshake: func(*Handshake) {}, OnConnection: func(*Connection) {}})
	now, i := int64(0), 0
	life := func() {
		now += int64(time.Millisecond)
		i++
		handshake(tr, i&0xffff, now)
		finish(tr, i&0xffff, now, now+10)
		tr.Advance(now)
	}
	for range 10_000 {
		life()
	}
	if n := testing.AllocsPerRun(10_000, life); n != 0 {
		t.Errorf("allocations in a connection's life: got %v, want 0", n)
	}
}

// segmentBytes is how many bytes of fuzz input make a segment.
const segmentBytes = 20

// FuzzStep gives the tracker arbitrary segments between four sockets.
func FuzzStep(f *testing.F) {
	seed := func(segs ...[6]uint32) (b []byte) { // direction, flags, seq, ack, payload, time
		for _, s := range segs {
			b = append(b, byte(s[0]), byte(s[1]), 0, 0)
			for _, v := range s[2:] {
				b = binary.LittleEndian.AppendUint32(b, v)
			}
		}
		return b
	}
	f.Add(seed([6]uint32{0, 2, 100, 0, 0, 0}, [6]uint32{1, 0x12, 300, 101, 0, 1}, [6]uint32{0, 0x10, 101, 301, 0, 1},
		[6]uint32{0, 0x11, 101, 301, 0, 1}, [6]uint32{1, 0x11, 301, 102, 0, 1}, [6]uint32{0, 0x10, 102, 302, 0, 1}))
	f.Add(seed([6]uint32{0, 2, 100, 0, 0, 0}, [6]uint32{1, 2, 300, 0, 0, 1}, [6]uint32{0, 0x12, 100, 301, 0, 1}, [6]uint32{1, 0x12, 300, 101, 0, 1}))
	f.Add(seed([6]uint32{2, 0x14, 0, 101, 0, 0}, [6]uint32{4, 2, 0, 101, 0, 1 << 31}))
	f.Fuzz(func(t *testing.T, b []byte) {
		first := fuzzRun(t, b)
		if again := fuzzRun(t, b); again != first {
			t.Errorf("replay differs:\n%s\n%s", first, again)
		}
	})
}

func fuzzRun(t *testing.T, b []byte) string {
	var out strings.Builder
	laws := newLaws(t)
	tr := laws.tracker(TrackerOptions{Capacity: 3}, func(s string) { out.WriteString(s + "\n") })
	socks := [4]netip.AddrPort{socket("A"), socket("B"), socket("X"), socket("A:2")}
	now := int64(0)
	for ; len(b) >= segmentBytes; b = b[segmentBytes:] {
		u32 := func(i int) uint32 { return binary.LittleEndian.Uint32(b[i:]) }
		now += int64(int32(u32(16))) * 100 // steps back, too
		src := int(b[0]) & 1
		dst := 1 - src
		if b[0]&2 != 0 {
			dst = 2
		}
		if b[0]&4 != 0 {
			src = 3
		}
		if b[0]&8 != 0 {
			dst = src
		}
		seg := Segment{Time: now, Point: points[[]string{"lo", "in", "out"}[int(b[2])%3]], Src: socks[src], Dst: socks[dst],
			Flags: Flags(b[1]), Seq: Seq(u32(4)), Ack: Seq(u32(8)), Payload: u32(12), Forwarded: b[2]&8 != 0, ToLocal: b[2]&16 != 0}
		fmt.Fprintln(&out, tr.Step(&seg))
		laws.check(tr)
		switch b[3] {
		case 1:
			tr.Advance(now)
		case 2:
			tr.Loss(now)
		case 4:
			k := Known{Originator: socks[src], Responder: socks[dst], OriginatorKnown: b[2]&1 != 0, Local: [2]bool{true, b[2]&2 != 0},
				Closer: Side(b[2] >> 5 % 3), Start: now}
			fmt.Fprintln(&out, tr.Learn(&Census{Time: now, Point: nowhere, Open: []Known{k},
				Over: func(a, b netip.AddrPort) bool { return a == socks[1] || b == socks[1] }}))
		case 3:
			tr.Detach(1)
			out.WriteString(formatTallies(tr.Tallies()))
			clear(laws.completed)
			clear(laws.ended)
		}
		laws.check(tr)
	}
	out.WriteString(formatTallies(tr.Tallies()))
	return out.String()
}
