package main

import (
	"maps"
	"slices"
	"sync"
	"time"

	"netobs/decode"
	"netobs/loader"
)

// topCounts is the sink of top: it adds up by the name of the namespace. The goroutine that reads adds, the screen takes
// samples.
type topCounts struct {
	mu      sync.Mutex
	netns   map[string]*topNetns
	stories topStories
}

// topNetns is what is known of the namespaces of one name.
type topNetns struct {
	topNumbers
	recent   topDurations
	failures []topFailure // the last ones, newest last
}

// topNumbers only grow, but for open and pending.
type topNumbers struct {
	outcomes           [decode.OutcomeHalfOpen + 1]uint64
	outgoing, incoming uint64 // attempts of this host's sockets, and to them
	retransmissions    uint64 // in handshakes
	ended              uint64
	lost               uint64 // events
	open, pending      int    // connections, handshakes
}

// topFailure is a handshake that did not complete.
type topFailure struct {
	decode.Handshake
	story *topStory // the segment that decided may still be added
}

// topFailures is how many failures of a namespace are kept.
const topFailures = 20

func newTopCounts() *topCounts { return &topCounts{netns: make(map[string]*topNetns)} }

func (t *topCounts) of(name string) *topNetns {
	n := t.netns[name]
	if n == nil {
		n = new(topNetns)
		t.netns[name] = n
	}
	return n
}

func (t *topCounts) handshake(h *decode.Handshake) {
	t.mu.Lock()
	defer t.mu.Unlock()
	n := t.of(h.Point.Netns)
	n.outcomes[h.Outcome]++
	if h.Role == decode.RoleLocal || h.Role == decode.RoleOriginator {
		n.outgoing++
	}
	if h.Role == decode.RoleLocal || h.Role == decode.RoleResponder {
		n.incoming++
	}
	n.retransmissions += uint64(h.SYNs) + uint64(h.SYNACKs)
	switch h.Outcome {
	case decode.OutcomeCompleted:
		n.recent.add(h)
	case decode.OutcomeUnknown:
	default:
		if len(n.failures) == topFailures {
			n.failures = slices.Delete(n.failures, 0, 1)
		}
		told := t.stories.of(topStoryOf(h.Point.NetnsID, h.Originator, h.Responder))
		n.failures = append(n.failures, topFailure{*h, told})
	}
}

func (t *topCounts) place(seg *decode.Segment, place decode.Place) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.stories.add(seg, place)
}

func (t *topCounts) connection(c *decode.Connection) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.of(c.Point.Netns).ended++
}

func (*topCounts) flush() error { return nil }

// tallies takes over what the tracker counts itself.
func (t *topCounts) tallies(all decode.Tallies) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, n := range t.netns {
		n.open, n.pending = 0, 0
	}
	for i := range all.Netns {
		n := t.of(all.Netns[i].Netns)
		for _, states := range all.Netns[i].Open {
			n.pending += states[decode.StateHandshake]
			n.open += states[decode.StateEstablished] + states[decode.StateHalfClosed]
		}
	}
}

// forget drops a namespace that is gone for long.
func (t *topCounts) forget(name string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.netns, name)
}

// sample returns what is known at a time. stats are the kernel's counters then.
func (t *topCounts) sample(at time.Time, stats *loader.Stats) *topSample {
	s := &topSample{at: at, netns: make(map[string]topNumbers), points: stats.Points}
	t.mu.Lock()
	for name, n := range t.netns {
		s.netns[name] = n.topNumbers
	}
	t.mu.Unlock()
	for i := range stats.Points {
		p := &stats.Points[i]
		n := s.netns[p.Netns]
		n.lost += lostAt(p)
		s.netns[p.Netns] = n
	}
	return s
}

// failures returns the last failures of one namespace with their stories, the newest first.
func (t *topCounts) failures(name string) (told []toldFailure) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if n := t.netns[name]; n != nil {
		for _, f := range slices.Backward(n.failures) {
			one := toldFailure{Handshake: f.Handshake}
			if f.story != nil {
				one.lines = f.story.lines(&f.Handshake)
			}
			told = append(told, one)
		}
	}
	return told
}

// toldFailure is a failure in lines for people.
type toldFailure struct {
	decode.Handshake
	lines []string
}

// durations returns the durations since a time in all namespaces. It sorts copies: whoever counts does not wait for that.
func (t *topCounts) durations(since time.Time) map[string]topQuantiles {
	recent := make(map[string]topDurations)
	t.mu.Lock()
	for name, n := range t.netns {
		recent[name] = topDurations{all: slices.Clone(n.recent.all)}
	}
	t.mu.Unlock()
	all := make(map[string]topQuantiles, len(recent))
	for name, d := range recent {
		all[name] = d.quantiles(since)
	}
	return all
}

// topSample is what was known at one time.
type topSample struct {
	at     time.Time
	netns  map[string]topNumbers
	points []loader.PointCounters
}

// since returns what grew since an older sample, and what is so now. The counts of a namespace that was forgotten and came
// back are those of its new life.
func (s *topSample) since(o *topSample) map[string]topNumbers {
	grown := maps.Clone(s.netns)
	for name, n := range grown {
		grown[name] = n.since(o.netns[name])
	}
	return grown
}

func (n topNumbers) since(o topNumbers) topNumbers {
	if o.attempts() > n.attempts() || o.ended > n.ended {
		o = topNumbers{}
	}
	for i := range n.outcomes {
		n.outcomes[i] -= o.outcomes[i]
	}
	n.outgoing -= o.outgoing
	n.incoming -= o.incoming
	n.retransmissions -= o.retransmissions
	n.ended -= o.ended
	n.lost -= min(o.lost, n.lost)
	return n
}

func (n *topNumbers) attempts() (sum uint64) {
	for _, of := range n.outcomes {
		sum += of
	}
	return sum
}

// success returns the share of attempts that completed, of those whose outcome is known.
func (n *topNumbers) success() (share float64, known bool) {
	decided := n.attempts() - n.outcomes[decode.OutcomeUnknown]
	return float64(n.outcomes[decode.OutcomeCompleted]) / float64(decided), decided > 0
}

// topRecent is how many completed handshakes of a namespace are remembered for their durations.
const topRecent = 1024

// topDurations are those of the last completed handshakes of a namespace: a ring.
type topDurations struct {
	all  []topDuration
	next int
}

type topDuration struct {
	end  int64
	legs [len(legNames)]time.Duration // -1: not known
}

func (d *topDurations) add(h *decode.Handshake) {
	one := topDuration{end: h.End}
	for i, leg := range [...]decode.Leg{h.ResponderLeg, h.OriginatorLeg, h.Total} {
		if one.legs[i] = -1; leg.Known {
			one.legs[i] = leg.First
		}
	}
	if len(d.all) < topRecent {
		d.all = append(d.all, one)
		return
	}
	d.all[d.next] = one
	d.next = (d.next + 1) % topRecent
}

// topQuantiles are the median and the 99th percentile of each leg; no leg that has none.
type topQuantiles [len(legNames)]struct {
	n        int
	p50, p99 time.Duration
}

func (d *topDurations) quantiles(since time.Time) (q topQuantiles) {
	var sorted []time.Duration
	for leg := range q {
		sorted = sorted[:0]
		for i := range d.all {
			if one := &d.all[i]; one.end >= since.UnixNano() && one.legs[leg] >= 0 {
				sorted = append(sorted, one.legs[leg])
			}
		}
		if q[leg].n = len(sorted); q[leg].n > 0 {
			slices.Sort(sorted)
			q[leg].p50, q[leg].p99 = sorted[len(sorted)/2], sorted[len(sorted)*99/100]
		}
	}
	return q
}
