package bpf

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"unsafe"

	"github.com/cilium/ebpf"
)

// Values of headers/pending.h.
const (
	bucketEntries = 4
	tagBits       = 10
	tagsMax       = 512 // of flows
	tagShared     = 1<<tagBits - 1
	epochShift    = 28
	epochMask     = 63
	epochsToOld   = 4          // one more by a clock that may be a jiffy late, as that of false hits
	nextEpoch     = ^uint64(0) // ago, that is, by a clock that is ahead
)

// entry is one of the filter's: tag and epoch.
type entry uint16

func newEntry(tag uint16, epoch uint8) entry { return entry(tag | uint16(epoch)<<tagBits) }

func (e entry) tag() uint16  { return uint16(e) & (1<<tagBits - 1) }
func (e entry) epoch() uint8 { return uint8(e >> tagBits) }

// pending is the filter's array, for looking into it and arming by hand. Four entries are a bucket.
type pending struct {
	tb      testing.TB
	memory  *ebpf.Memory
	entries int
}

func (w *world) pending(tb testing.TB) pending {
	tb.Helper()
	m, err := w.shared[pendingSection].Memory()
	if err != nil {
		tb.Fatal(err)
	}
	if got, want := unsafe.Sizeof(netobsPendingBucket{}), bucketEntries*unsafe.Sizeof(entry(0)); got != want {
		tb.Fatalf("size of a bucket: got %d, want %d", got, want)
	}
	return pending{tb, m, int(m.Size()) / int(unsafe.Sizeof(entry(0)))}
}

func bytesOf(entries []entry) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(&entries[0])), len(entries)*int(unsafe.Sizeof(entries[0])))
}

// read fills entries with those from index i on.
func (p pending) read(i int, entries []entry) {
	p.tb.Helper()
	if _, err := p.memory.ReadAt(bytesOf(entries), int64(i)*int64(unsafe.Sizeof(entry(0)))); err != nil {
		p.tb.Fatal(err)
	}
}

func (p pending) write(i int, entries []entry) {
	p.tb.Helper()
	if _, err := p.memory.WriteAt(bytesOf(entries), int64(i)*int64(unsafe.Sizeof(entry(0)))); err != nil {
		p.tb.Fatal(err)
	}
}

func (p pending) at(i int) entry {
	p.tb.Helper()
	var e [1]entry
	p.read(i, e[:])
	return e[0]
}

func (p pending) set(i int, e entry) {
	p.tb.Helper()
	p.write(i, []entry{e})
}

func (p pending) fill(e entry) {
	p.tb.Helper()
	p.write(0, slices.Repeat([]entry{e}, p.entries))
}

// armed returns the indexes of the entries that somebody waits at.
func (p pending) armed() (at []int) {
	return p.find(func(tag uint16) bool { return tag != 0 })
}

// find returns the indexes of the entries with a tag that f likes.
func (p pending) find(f func(tag uint16) bool) (at []int) {
	p.tb.Helper()
	all := make([]entry, p.entries)
	p.read(0, all)
	for i := range all {
		if f(all[i].tag()) {
			at = append(at, i)
		}
	}
	return at
}

// one returns the index of the only entry that somebody waits at.
func (p pending) one() int {
	p.tb.Helper()
	at := p.armed()
	if len(at) != 1 {
		p.tb.Fatalf("entries armed: got %d, want one", at)
	}
	return at[0]
}

// epochAgo returns the coarse time so many epochs ago.
func epochAgo(tb testing.TB, n uint64) uint8 {
	tb.Helper()
	return uint8(monotonic(tb)>>epochShift-n) & epochMask
}

// Who waits for an acknowledgment, and what ends it. Points 0 and 1 are of one namespace; armed counts the entries of
// the filter after each step.
func TestAwaitedAcknowledgments(t *testing.T) {
	c, s := fromClient, fromServer
	type armed struct {
		step
		armed int
	}
	const last = 1<<32 - 1
	lo1, lo2 := netip.MustParseAddrPort("127.0.0.1:1"), netip.MustParseAddrPort("127.0.0.1:2")
	far6 := netip.MustParseAddrPort("[2001:db8::1]:80")
	cases := []struct {
		name  string
		steps []armed
	}{
		{"completing ACK", []armed{
			{step{seg: c(syn, 100, 0, 0), want: reported}, 0},
			{step{seg: c(ack, 101, 301, 0), want: ordinary}, 0},
			{step{seg: s(syn|ack, 300, 101, 0), want: reported}, 1},
			{step{seg: s(syn|ack, 300, 101, 0), want: duplicate, at: 1}, 1},
			{step{seg: s(ack, 301, 301, 0), want: ordinary}, 1}, // the other direction
			{step{seg: c(ack, 101, 300, 0), want: ordinary}, 1},
			{step{seg: c(psh|ack, 101, 300, 5), want: ordinary}, 1},
			{step{seg: c(psh, 101, 301, 5), want: ordinary}, 1}, // no ACK flag
			{step{seg: c(ack, 101, 301, 0), want: opens}, 0},
			{step{seg: c(ack, 101, 301, 0), want: ordinary, at: 1}, 0},
			{step{seg: c(ack, 101, 301, 0), want: ordinary}, 0},
			{step{seg: c(ack, 101, 400, 0), want: ordinary}, 0},
		}},
		{"completing ACK with data, past what was awaited", []armed{
			{step{seg: s(syn|ack, 300, 101, 0), want: reported}, 1},
			{step{seg: c(psh|ack, 101, 350, 5), want: opens, at: 1}, 0},
			{step{seg: c(psh|ack, 101, 350, 5), want: ordinary}, 0},
		}},
		{"completing ACK with unusual flags", []armed{
			{step{seg: s(syn|ack, 300, 101, 0), want: reported}, 1},
			{step{seg: c(ack|urg|ece|cwr|ae, 101, 301, 0), want: opens}, 0},
		}},
		{"FIN completes", []armed{
			{step{seg: s(syn|ack, 300, 101, 0), want: reported}, 1},
			{step{seg: c(fin|ack, 101, 301, 5), want: opens}, 0},
			{step{seg: c(ack, 107, 301, 0), want: ordinary}, 0},
		}},
		{"FIN that acknowledges too little", []armed{
			{step{seg: s(syn|ack, 300, 101, 0), want: reported}, 1},
			{step{seg: c(fin|ack, 101, 300, 5), want: reported}, 1},
			{step{seg: c(ack, 107, 301, 0), want: opens}, 0},
		}},
		{"one acknowledgment of SYN-ACK and FIN", []armed{
			{step{seg: s(syn|ack, 300, 101, 0), want: reported}, 1},
			{step{seg: c(fin|ack, 101, 1, 0), want: reported}, 1},
			{step{seg: s(fin|ack, 301, 102, 0), want: reported}, 1},
			{step{seg: c(ack, 102, 302, 0), want: opensAndCloses}, 0},
		}},
		{"RST ends the waiting for its sender", []armed{
			{step{seg: s(syn|ack, 300, 101, 0), want: reported}, 1},
			{step{seg: c(rst, 101, 0, 0), want: reported}, 0},
			{step{seg: c(ack, 101, 301, 0), want: ordinary}, 0},
		}},
		{"what an RST acknowledges counts for nothing", []armed{
			{step{seg: c(rst|ack, 101, 301, 0), want: reported}, 0},
			{step{seg: s(syn|ack, 300, 101, 0), want: reported}, 1},
			{step{seg: c(ack, 101, 301, 0), want: opens}, 0},
		}},
		{"from an address to itself", []armed{
			{step{seg: packet{src: lo1, dst: lo2, flags: syn, seq: 100}, want: reported}, 0},
			{step{seg: packet{src: lo2, dst: lo1, flags: syn | ack, seq: 300, ack: 101}, want: reported}, 1},
			{step{seg: packet{src: lo2, dst: lo1, flags: ack, seq: 301, ack: 301}, want: ordinary}, 1},
			{step{seg: packet{src: lo1, dst: lo2, flags: ack, seq: 101, ack: 301}, want: opens}, 0},
		}},
		{"by IPv6", []armed{
			{step{seg: packet{src: server6, dst: client6, flags: syn | ack, seq: 300, ack: 101}, want: reported}, 1},
			{step{seg: packet{src: server6, dst: client6, flags: ack, seq: 301, ack: 301}, want: ordinary}, 1},
			{step{seg: packet{src: client6, dst: server6, flags: ack, seq: 101, ack: 301}, want: opens}, 0},
		}},
		{"by IPv6, to another network", []armed{
			{step{seg: packet{src: far6, dst: client6, flags: syn | ack, seq: 300, ack: 101}, want: reported}, 1},
			{step{seg: packet{src: client6, dst: far6, flags: ack, seq: 101, ack: 301}, want: opens}, 0},
		}},
		{"RST of the peer does not", []armed{
			{step{seg: s(syn|ack, 300, 101, 0), want: reported}, 1},
			{step{seg: s(rst, 301, 0, 0), want: reported}, 1},
			{step{seg: c(ack, 101, 301, 0), want: opens}, 0},
		}},
		{"sequence numbers wrap", []armed{
			{step{seg: s(syn|ack, last, 101, 0), want: reported}, 1},
			{step{seg: c(ack, 101, last, 0), want: ordinary}, 1},
			{step{seg: c(ack, 101, 0, 0), want: opens}, 0},
			{step{seg: s(syn|ack, last-1, 101, 0), want: reported}, 0}, // acknowledged by the 0
			{step{seg: s(syn|ack, 10, 101, 0), want: reported}, 1},
			{step{seg: c(ack, 101, 11+1<<31, 0), want: ordinary}, 1}, // before
			{step{seg: c(ack, 101, 11+1<<31-1, 0), want: opens}, 0},
		}},
		{"retransmitted SYN-ACK", []armed{
			{step{seg: s(syn|ack, 300, 101, 0), want: reported}, 1},
			{step{seg: s(syn|ack, 300, 101, 0), want: reported}, 1},
			{step{seg: c(ack, 101, 301, 0), want: opens}, 0},
			{step{seg: s(syn|ack, 300, 101, 0), want: reported}, 0}, // known acknowledged
			{step{seg: c(ack, 101, 301, 0), want: ordinary}, 0},
		}},
		{"another SYN-ACK", []armed{
			{step{seg: s(syn|ack, 300, 101, 0), want: reported}, 1},
			{step{seg: s(syn|ack, 400, 101, 0), want: reported}, 1},
			{step{seg: c(ack, 101, 301, 0), want: ordinary}, 1},
			{step{seg: c(ack, 101, 401, 0), want: opens}, 0},
		}},
		{"simultaneous open", []armed{
			{step{seg: c(syn, 100, 0, 0), want: reported}, 0},
			{step{seg: s(syn, 300, 0, 0), want: reported}, 0},
			{step{seg: c(syn|ack, 100, 301, 0), want: reported}, 1},
			{step{seg: s(syn|ack, 300, 101, 0), want: opens}, 0},
			{step{seg: c(ack, 101, 301, 0), want: ordinary}, 0},
		}},
		{"second FIN acknowledges the first", []armed{
			{step{seg: c(fin|ack, 100, 300, 7), want: reported}, 0},
			{step{seg: s(ack, 300, 108, 0), want: ordinary}, 0},
			{step{seg: s(fin|ack, 300, 108, 9), want: reported}, 1},
			{step{seg: s(ack, 310, 108, 0), want: ordinary}, 1},
			{step{seg: c(ack, 108, 309, 0), want: ordinary}, 1},
			{step{seg: c(ack, 108, 310, 0), want: closes, at: 1}, 0},
			{step{seg: c(ack, 108, 310, 0), want: ordinary}, 0},
		}},
		{"crossed FINs", []armed{
			{step{seg: c(fin|ack, 100, 300, 0), want: reported}, 0},
			{step{seg: s(fin|ack, 300, 100, 0), want: reported}, 2},
			{step{seg: c(ack, 101, 300, 0), want: ordinary}, 2},
			{step{seg: s(ack, 301, 100, 0), want: ordinary}, 2},
			{step{seg: c(ack, 101, 301, 0), want: closes}, 1},
			{step{seg: s(ack, 301, 101, 0), want: closes}, 0},
		}},
		{"crossed FINs, one of them sent again", []armed{
			{step{seg: c(fin|ack, 100, 300, 0), want: reported}, 0},
			{step{seg: s(fin|ack, 300, 100, 0), want: reported}, 2},
			{step{seg: c(fin|ack, 100, 301, 0), want: closes}, 1},
			{step{seg: s(ack, 301, 101, 0), want: closes}, 0},
			{step{seg: c(fin|ack, 100, 301, 0), want: reported}, 0},
		}},
		{"duplicate of a second FIN arms nothing", []armed{
			{step{seg: c(fin|ack, 100, 300, 0), want: reported}, 0},
			{step{seg: s(fin|ack, 300, 101, 0), want: reported}, 1},
			{step{seg: c(ack, 101, 301, 0), want: closes}, 0},
			{step{seg: s(fin|ack, 300, 101, 0), want: duplicate, at: 1}, 0},
		}},
		{"RST after crossed FINs", []armed{
			{step{seg: c(fin|ack, 100, 300, 0), want: reported}, 0},
			{step{seg: s(fin|ack, 300, 100, 0), want: reported}, 2},
			{step{seg: c(rst|ack, 101, 301, 0), want: reported}, 1},
			{step{seg: s(rst|ack, 101, 301, 0), want: reported}, 0},
		}},
		{"first FIN known acknowledged by an earlier report", []armed{
			{step{seg: s(syn|ack, 99, 300, 0), want: reported}, 1},
			{step{seg: c(ack, 300, 102, 0), want: opens}, 0},         // acknowledges more than the SYN
			{step{seg: s(fin|ack, 101, 300, 0), want: reported}, 0},  // ends at 101
			{step{seg: c(fin|ack, 300, 101, 0), want: reported}, 1},  // only its own is awaited
			{step{seg: s(ack, 102, 301, 0), want: closes}, 0},        //
			{step{seg: c(fin|ack, 300, 102, 0), want: reported}, 0},  //
			{step{seg: s(ack, 102, 301, 0), want: ordinary}, 0},      //
			{step{seg: s(syn|ack, 5000, 301, 0), want: reported}, 1}, // all anew
		}},
		{"a new SYN forgets what was awaited", []armed{
			{step{seg: c(syn, 100, 0, 0), want: reported}, 0},
			{step{seg: s(syn|ack, 300, 101, 0), want: reported}, 1},
			{step{seg: c(syn, 200, 0, 0), want: reported}, 1}, // the entry stays until it is old
			{step{seg: c(ack, 101, 301, 0), want: ordinary}, 1},
			{step{seg: s(syn|ack, 400, 201, 0), want: reported}, 1},
			{step{seg: c(ack, 201, 401, 0), want: opens}, 0},
		}},
		{"and what was acknowledged", []armed{
			{step{seg: c(syn, 100, 0, 0), want: reported}, 0},
			{step{seg: s(syn|ack, 300, 101, 0), want: reported}, 1},
			{step{seg: c(ack, 101, 301, 0), want: opens}, 0},
			{step{seg: c(syn, 200, 0, 0), want: reported}, 0},
			{step{seg: s(syn|ack, 100, 201, 0), want: reported}, 1}, // below the 301
			{step{seg: c(ack, 201, 101, 0), want: opens}, 0},
		}},
	}
	w := newWorld(t, Options{})
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			w.pending(t).fill(0)
			var steps []step
			for _, a := range c.steps {
				steps = append(steps, a.step)
			}
			netns := w.namespace()
			play(t, []*point{w.point(t, netns, false), w.point(t, netns, true)}, steps, func(i int) {
				if got, want := w.pending(t).armed(), c.steps[i].armed; len(got) != want {
					t.Errorf("entries armed: got %d, want %d", got, want)
				}
			})
		})
	}
}

// Each byte of the identity of a direction matters. Bucket and tag have 27 bits together; the last byte of half an IPv6
// address changes only the highest 8 of them, so that a flow may have its neighbour's place by chance, and the test
// tries again with another seed.
func TestPendingTellsFlowsApart(t *testing.T) {
	type place struct {
		bucket int
		tag    uint16
	}
	var same []string
	for range 5 {
		w := newWorld(t, Options{})
		here, there := w.point(t, w.namespace(), true), w.point(t, w.namespace(), true)
		arm := func(p *point, conn packet, change func([]byte) []byte) place {
			f := w.pending(t)
			f.fill(0)
			p.run(t, packet{src: conn.src, dst: conn.dst, flags: syn | ack, seq: 300, change: change})
			drain(t, w.Programs)
			i := f.one()
			tag := f.at(i).tag()
			if tag < 1 || tag > tagsMax {
				t.Errorf("tag: got %d, want 1 to %d", tag, tagsMax)
			}
			return place{i / bucketEntries, tag}
		}
		same = nil
		for _, f := range families {
			base := arm(here, f.conn, nil)
			differs := func(what string, p place) {
				if p == base {
					same = append(same, f.name+" "+what)
				}
			}
			differs("namespace", arm(there, f.conn, nil))
			differs("direction", arm(here, packet{src: f.conn.dst, dst: f.conn.src}, nil))
			addresses := 14 + 12
			if f.conn.src.Addr().Is6() {
				addresses = 14 + 8
			}
			for i := addresses; i < len(f.conn.frame())-20+4; i++ { // to the end of the ports
				differs(fmt.Sprint("byte ", i), arm(here, f.conn, func(frame []byte) []byte {
					frame[i] ^= 1
					return frame
				}))
			}
		}
		if len(same) == 0 {
			return
		}
	}
	t.Errorf("places that do not depend on: %q", same)
}

// An acknowledgment may be longer under way than an entry is young. What passes before it, and does not acknowledge enough,
// is no false hit.
func TestSlowAcknowledgment(t *testing.T) {
	w := newWorld(t, Options{})
	f := w.pending(t)
	p := w.point(t, w.namespace(), false)
	play(t, []*point{p}, []step{
		{seg: fromServer(fin|ack, 300, 100, 0), want: reported},
		{seg: fromClient(fin|ack, 100, 300, 0), want: reported},
	}, nil)
	for _, at := range f.armed() {
		f.set(at, newEntry(f.at(at).tag(), epochAgo(t, epochsToOld+1)))
	}
	play(t, []*point{p}, []step{
		{seg: fromClient(ack, 101, 300, 0), want: ordinary},
		{seg: fromServer(ack, 301, 100, 0), want: ordinary},
		{seg: fromClient(ack, 101, 301, 0), want: closes},
		{seg: fromServer(ack, 301, 101, 0), want: closes},
	}, nil)
}

// A false hit is counted as data and not reported; it clears what is old.
func TestFalseHits(t *testing.T) {
	w := newWorld(t, Options{})
	f := w.pending(t)
	cleared := func(t *testing.T, p *point, pkt packet, tag uint16, age uint64) []int {
		t.Helper()
		f.fill(newEntry(tag, epochAgo(t, age)))
		p.check(t, pkt, ordinary)
		return f.find(func(tag uint16) bool { return tag == 0 })
	}
	bothWays(t, w, func(t *testing.T, p *point, conn packet) {
		data := conn
		data.flags, data.payload = ack|psh, []byte("data")
		for _, entry := range []string{"no flow entry", "flow entry that waits for nothing"} {
			for _, age := range []uint64{epochsToOld - 2, 0, nextEpoch} {
				if got := cleared(t, p, data, tagShared, age); len(got) != 0 {
					t.Errorf("%s: cleared young entries %d, of %d epochs ago", entry, got, int64(age))
				}
			}
			if got := cleared(t, p, data, tagShared, epochsToOld+1); len(got) != 1 {
				t.Errorf("%s: cleared old entries %d, want one", entry, got)
			}
			conn.flags = syn
			f.fill(0)
			p.check(t, conn, reported)
		}
		// One tag is the flow's, at any place in its bucket; with another one, a segment does not get past the front.
		bucket := cleared(t, p, data, tagShared, epochsToOld+1)[0]
		f.fill(0)
		own := uint16(0)
		for place := range bucketEntries {
			var hits []uint16
			for tag := uint16(1); tag < tagShared; tag++ {
				if place > 0 && tag%50 != own%50 {
					continue
				}
				f.set(bucket+place, newEntry(tag, epochAgo(t, epochsToOld+1)))
				p.run(t, data)
				if f.at(bucket+place) == 0 {
					hits = append(hits, tag)
				}
			}
			f.set(bucket+place, 0)
			if len(hits) != 1 || hits[0] > tagsMax || own != 0 && hits[0] != own {
				t.Fatalf("tags of the flow: got %d at place %d, want one of 1 to %d, the same at each", hits, place, tagsMax)
			}
			own = hits[0]
		}
	})
}

// Flows that wait in one bucket.
func TestSharedBucket(t *testing.T) {
	w := newWorld(t, Options{})
	p := w.point(t, w.namespace(), true)
	f := w.pending(t)
	p.check(t, fromServer(syn|ack, 300, 101, 0), reported)
	bucket := f.one()
	if bucket%bucketEntries != 0 {
		t.Fatalf("first flow of its bucket: got entry %d", bucket)
	}
	if age := (epochAgo(t, 0) - f.at(bucket).epoch()) & epochMask; age > 30 {
		t.Errorf("epoch: got %d, want that of now, %d", f.at(bucket).epoch(), epochAgo(t, 0))
	}
	type tags [bucketEntries]uint16
	own := f.at(bucket).tag()
	a, b, c, d := own%tagsMax+1, (own+1)%tagsMax+1, (own+2)%tagsMax+1, (own+3)%tagsMax+1
	const old = epochsToOld
	seq := uint32(300)
	for _, tc := range []struct {
		name string
		is   tags
		ages [bucketEntries]uint64
		want tags
	}{
		{"empty", tags{}, [4]uint64{}, tags{own}},
		{"its own", tags{own}, [4]uint64{old}, tags{own}},
		{"its own behind others", tags{a, b, own}, [4]uint64{old}, tags{a, b, own}},
		{"room at the end", tags{a, b, c}, [4]uint64{}, tags{a, b, c, own}},
		{"room between", tags{a, 0, c, d}, [4]uint64{0, 30}, tags{a, own, c, d}},
		{"one is old", tags{a, b, c, d}, [4]uint64{0, 0, old, 0}, tags{a, b, own, d}},
		{"none is old yet", tags{a, b, c, d}, [4]uint64{1, 1, 1, 1}, tags{tagShared, b, c, d}},
		{"none is old, by a clock that is ahead", tags{a, b, c, d}, [4]uint64{nextEpoch, nextEpoch, 0, 0}, tags{tagShared, b, c, d}},
		{"shared", tags{tagShared, b, c, d}, [4]uint64{}, tags{tagShared, b, c, d}},
		{"shared, and room", tags{tagShared, b}, [4]uint64{}, tags{tagShared, b, own}},
		{"shared, old", tags{tagShared, b, c, d}, [4]uint64{old}, tags{own, b, c, d}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			seq += 1000
			for i := range tc.is {
				f.set(bucket+i, 0)
				if tc.is[i] != 0 {
					f.set(bucket+i, newEntry(tc.is[i], epochAgo(t, tc.ages[i])))
				}
			}
			got := func() (got tags) {
				for i := range got {
					got[i] = f.at(bucket + i).tag()
				}
				return got
			}
			p.check(t, fromServer(syn|ack, seq, 101, 0), reported)
			if got := got(); got != tc.want {
				t.Errorf("tags after arming: got %d, want %d", got, tc.want)
			}
			p.check(t, fromClient(ack, 101, seq, 0), ordinary)
			p.check(t, fromClient(ack, 101, seq+1, 0), opens)
			p.check(t, fromClient(ack, 101, seq+1, 0), ordinary)
			for i, tag := range tc.want {
				if tag == own {
					tc.want[i] = 0
				}
			}
			if got := got(); got != tc.want {
				t.Errorf("tags after the acknowledgment: got %d, want %d", got, tc.want)
			}
		})
	}
}
