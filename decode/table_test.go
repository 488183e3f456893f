package decode

import (
	"math/rand/v2"
	"net/netip"
	"testing"
	"unsafe"
)

func TestConnIsCompact(t *testing.T) {
	if n := unsafe.Sizeof(conn{}); n != 128 {
		t.Errorf("conn: %d bytes, want two cache lines, 128", n)
	}
}

// TestIndex compares the index with a map, with hashes that are often equal, or near the end of the table.
func TestIndex(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	x, want := newIndex(), map[uint32]uint32{} // hash by slot
	slots := func(hash uint32) map[uint32]bool {
		got := map[uint32]bool{}
		for i := hash; ; {
			slot, after := x.next(hash, i)
			if slot == 0 {
				return got
			}
			got[slot], i = true, after
		}
	}
	for i := range uint32(200_000) {
		hash := ^uint32(r.IntN(3000)) << uint(r.IntN(2)*16)
		if r.IntN(2) == 0 || len(want) < 500 {
			slot := i + 1
			x.add(hash, slot)
			want[slot] = hash
		} else {
			for slot, hash := range want { // any
				x.remove(hash, slot)
				delete(want, slot)
				break
			}
		}
		if i%1000 > 0 {
			continue
		}
		for slot, hash := range want {
			if !slots(hash)[slot] {
				t.Fatalf("step %d: slot %d with hash %#x is not found", i, slot, hash)
			}
		}
		if x.used != len(want) || 3*x.used > 2*len(x.entries) {
			t.Fatalf("step %d: %d of %d used, want %d", i, x.used, len(x.entries), len(want))
		}
	}
}

// slab returns a table with n connections, IPv4 and others mixed.
func slab(n int) *table {
	t := newTable(n)
	for i := range n {
		seg := Segment{Point: onLo, Src: client(i), Dst: toB}
		if i%3 == 0 {
			seg.Src, seg.Dst = socket("Y"), netip.AddrPortFrom(netip.AddrFrom16([16]byte{1, byte(i >> 16), byte(i >> 8), byte(i)}), 1)
		}
		var k key
		k.set(&seg)
		t.insert(&k, k.hash(&t.secret), t.points.number(onLo, func(*Point) *NetnsTally { return &NetnsTally{} }))
	}
	return &t
}

func TestTableFinds(t *testing.T) {
	tab := slab(3000)
	for slot := uint32(1); slot <= tab.used; slot++ {
		c := tab.at(slot)
		k := tab.keyOf(c)
		if got := tab.find(&k, k.hash(&tab.secret)); got != c {
			t.Fatalf("slot %d: found %v", slot, got)
		}
		if slot%2 == 0 {
			tab.remove(c)
			if got := tab.find(&k, k.hash(&tab.secret)); got != nil {
				t.Fatalf("slot %d: removed, but found", slot)
			}
		}
	}
	for _, pt := range []*Point{{NetnsID: 1}, {NetnsID: 2}} { // another point of the namespace, another namespace
		k := tab.keyOf(tab.at(1))
		k.netns = pt.NetnsID
		if got := tab.find(&k, k.hash(&tab.secret)) != nil; got != (pt.NetnsID == 1) {
			t.Errorf("in namespace %d: found is %v", pt.NetnsID, got)
		}
	}
}

// TestTimers compares the timers with the alarms themselves.
func TestTimers(t *testing.T) {
	for _, disorder := range []int64{0, 5, 1 << 20} {
		r := rand.New(rand.NewPCG(uint64(disorder), 0))
		tab, q := slab(300), newTimers()
		want, heaped := map[uint32]int64{}, 0
		for i := range int64(50_000) {
			slot := 1 + r.Uint32N(tab.used)
			c := tab.at(slot)
			if r.IntN(3) == 0 {
				q.drop(tab, c)
				delete(want, slot)
			} else {
				at := i + []int64{10, 20, 1 << 40}[r.IntN(3)] - r.Int64N(disorder+1)
				q.set(tab, c, at)
				if old, ok := want[slot]; !ok || at < old {
					want[slot] = at
				}
			}
			heaped = max(heaped, len(q.heap))
			first := int64(never)
			for _, at := range want {
				first = min(first, at)
			}
			if got := q.due(first); got != 0 {
				t.Fatalf("disorder %d, step %d: alarm of slot %d before the first", disorder, i, got)
			}
			if len(want) > 0 && want[q.due(first+1)] != first {
				t.Fatalf("disorder %d, step %d: the first at %d is not due", disorder, i, first)
			}
		}
		if (heaped > 0) != (disorder > 100) {
			t.Errorf("disorder %d: up to %d in the heap", disorder, heaped)
		}
	}
}

// TestIdle: the open connection silent for longest is evicted, while others are active, come and go.
func TestIdle(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	tab := slab(100)
	var q idle
	for now := int64(1); now < 20_000; now++ {
		for range r.IntN(4) {
			c := tab.at(1 + r.Uint32N(tab.used))
			c.phase, c.seen = phaseEstablished, now
			now++
		}
		if r.IntN(2) == 0 {
			tab.at(1 + r.Uint32N(tab.used)).phase = phaseFinished
		}
		want := uint32(0)
		for slot := uint32(1); slot <= tab.used; slot++ {
			if c := tab.at(slot); c.phase.open() && (want == 0 || c.seen < tab.at(want).seen) {
				want = slot
			}
		}
		if want == 0 {
			continue
		}
		if got := q.longest(tab); got != want {
			t.Fatalf("time %d: slot %d, seen at %d; want slot %d, seen at %d", now, got, tab.at(got).seen, want, tab.at(want).seen)
		}
		tab.at(want).phase = phaseFinished
	}
}

// TestPointsAreForgotten: interfaces come and go for ever.
func TestPointsAreForgotten(t *testing.T) {
	tr := NewTracker(TrackerOptions{Capacity: 10})
	for i := range 10_000 {
		pt := &Point{ID: uint32(i), NetnsID: uint32(i % 7), Netns: "test"}
		seg := Segment{Time: int64(i), Point: pt, Src: client(i), Dst: toB, Flags: SYN}
		tr.Step(&seg)
		for p := range tr.Connections() {
			if p.Point.ID+10 <= uint32(i) || p.Start != int64(p.Point.ID) {
				t.Fatalf("segment %d: %+v at %+v", i, p, p.Point)
			}
		}
	}
	if p := &tr.table.points; len(p.refs) > 64 || len(p.index) > len(p.refs) {
		t.Errorf("%d points are remembered, for 10 connections", len(p.refs))
	}
}
