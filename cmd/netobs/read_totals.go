package main

import (
	"cmp"
	"math"
	"net/netip"
	"slices"

	"netobs/decode"
	"netobs/decode/pcap"
)

// totals add up what was read. Their memory does not grow with the files.
type totals struct {
	Files       int
	Packets     int64
	Bytes       int64 // of packets, as sent
	Parsed      [decode.NumParsed]int64
	Start, End  int64 // times of the first and the last segment
	outcomes    map[decode.Outcome]uint64
	teardowns   map[decode.Teardown]map[decode.Side]uint64 // by closer
	legs        [3]quantiles                               // see legNames
	responders  responders
	unfinished  int // handshakes at the end of the capture
	open        int // connections at the end of the capture
	unseen      uint64
	late        uint64
	evicted     uint64
	negative    uint64
	retransmits uint64
}

var legNames = [3]string{"responder leg", "originator leg", "total"}

func newTotals() *totals {
	return &totals{
		Start:      math.MaxInt64,
		End:        math.MinInt64,
		outcomes:   make(map[decode.Outcome]uint64),
		teardowns:  make(map[decode.Teardown]map[decode.Side]uint64),
		responders: responders{most: respondersMost, all: make(map[netip.AddrPort]*responder)},
	}
}

func (t *totals) handshake(h *decode.Handshake) {
	t.outcomes[h.Outcome]++
	t.retransmits += uint64(h.SYNs) + uint64(h.SYNACKs)
	for i, leg := range [...]decode.Leg{h.ResponderLeg, h.OriginatorLeg, h.Total} {
		if leg.Known {
			t.legs[i].add(leg.First)
		}
	}
	t.responders.add(h.Responder, h.Outcome)
}

func (t *totals) connection(c *decode.Connection) {
	by := t.teardowns[c.Teardown]
	if by == nil {
		by = make(map[decode.Side]uint64)
		t.teardowns[c.Teardown] = by
	}
	by[c.Closer]++
}

// addFile adds a file that was read.
func (t *totals) addFile(s *pcap.Stats) {
	t.Files++
	t.Packets += s.Packets
	t.Bytes += s.Bytes
	for i, n := range s.Parsed {
		t.Parsed[i] += n
	}
}

// saw notes the times of segments.
func (t *totals) saw(first, last int64) {
	t.Start, t.End = min(t.Start, first), max(t.End, last)
}

// add adds what a tracker counted, and has not finished.
func (t *totals) add(s decode.Tallies) {
	for i := range s.Netns {
		n := &s.Netns[i]
		t.late += n.Late
		for _, unseen := range n.Unseen {
			t.unseen += unseen
		}
		for _, open := range n.Open {
			t.unfinished += open[decode.StateHandshake]
			t.open += open[decode.StateEstablished] + open[decode.StateHalfClosed]
		}
	}
	t.evicted += s.Evictions
	t.negative += s.NegativeIntervals
}

func (t *totals) handshakes() uint64 {
	var sum uint64
	for _, n := range t.outcomes {
		sum += n
	}
	return sum
}

func (t *totals) ended() uint64 {
	var sum uint64
	for _, by := range t.teardowns {
		for _, n := range by {
			sum += n
		}
	}
	return sum
}

// respondersMost is how many responders are counted exactly.
const respondersMost = 1 << 16

// responders count handshakes by responder. When there are too many, the half with the fewest is forgotten: a scan must
// not fill the memory, and those with many are what is asked for.
type responders struct {
	most      int
	all       map[netip.AddrPort]*responder
	forgotten int
}

type responder struct {
	addr     netip.AddrPort
	attempts uint64
	outcomes [8]uint64 // by decode.Outcome
}

func (r *responders) add(addr netip.AddrPort, o decode.Outcome) {
	one := r.all[addr]
	if one == nil {
		if len(r.all) >= r.most {
			r.forget()
		}
		one = &responder{addr: addr}
		r.all[addr] = one
	}
	one.attempts++
	one.outcomes[o]++
}

func (r *responders) forget() {
	for _, one := range r.top(len(r.all))[r.most/2:] {
		delete(r.all, one.addr)
		r.forgotten++
	}
}

// top returns the n with most attempts.
func (r *responders) top(n int) []*responder {
	all := make([]*responder, 0, len(r.all))
	for _, one := range r.all {
		all = append(all, one)
	}
	slices.SortFunc(all, func(a, b *responder) int {
		return cmp.Or(cmp.Compare(b.attempts, a.attempts), a.addr.Compare(b.addr))
	})
	return all[:min(n, len(all))]
}

// failures returns how many attempts did not complete. Of one whose outcome is unknown that is not known.
func (r *responder) failures() uint64 {
	return r.attempts - r.outcomes[decode.OutcomeCompleted] - r.outcomes[decode.OutcomeUnknown]
}
