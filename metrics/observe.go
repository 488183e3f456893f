package metrics

import (
	"github.com/prometheus/client_golang/prometheus"

	"netobs/decode"
)

// ObserveHandshake counts h. Durations are those of completed handshakes only: the quick RST of a closed port and the
// clock that gave up on an unanswered SYN would both pass for a latency that no user met.
func (m *Metrics) ObserveHandshake(h *decode.Handshake) {
	m.mu.Lock()
	defer m.mu.Unlock()
	netns := label(h.Point.Netns)
	n := m.namespace(netns)
	n.seen[h.Role] = true
	n.handshakes[h.Role][h.Outcome]++
	n.again[h.Role][againSYN] += uint64(h.SYNs)
	n.again[h.Role][againSYNACK] += uint64(h.SYNACKs)

	if h.Outcome != decode.OutcomeCompleted {
		return
	}
	d := m.durations(netns)
	for leg, l := range [legs]*decode.Leg{&h.ResponderLeg, &h.OriginatorLeg, &h.Total} {
		if l.Known && (leg == legTotal || m.opts.Level > LevelMinimal) {
			d.leg(m.handshakeDuration, h.Role, leg).Observe(l.First.Seconds())
		}
	}
}

// ObserveConnection counts the end of c. Its duration counts if both its ends were seen: neither a connection whose
// handshake was missed nor one that netobs let go of tells how long it lasted.
func (m *Metrics) ObserveConnection(c *decode.Connection) {
	m.mu.Lock()
	defer m.mu.Unlock()
	netns := label(c.Point.Netns)
	n := m.namespace(netns)
	n.seen[c.Role] = true
	n.teardowns[c.Role][c.Teardown][c.Closer]++

	switch c.Teardown {
	case decode.TeardownFIN, decode.TeardownFINRST, decode.TeardownRST:
		if !c.Unseen && m.opts.Level >= connectionDuration.level {
			m.durations(netns).whole(m.connectionDuration, c.Role).Observe(c.Duration().Seconds())
		}
	}
}

// Forget drops all that was counted in the namespaces of this name. They begin again at 0 with their next event. What
// the kernel counted there is for the kernel's source to drop.
func (m *Metrics) Forget(netns string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	netns = label(netns)
	delete(m.namespaces, netns)
	delete(m.histograms, netns)
	m.handshakeDuration.DeletePartialMatch(prometheus.Labels{"netns": netns})
	m.connectionDuration.DeletePartialMatch(prometheus.Labels{"netns": netns})
}

// namespace returns the counts of the namespaces of this name. The caller holds m.mu.
func (m *Metrics) namespace(netns string) *namespace {
	n := m.namespaces[netns]
	if n == nil {
		n = new(namespace)
		m.namespaces[netns] = n
	}
	return n
}

// addTo adds all counts to s.
func (m *Metrics) addTo(s *sums) {
	names, counts, tracker := m.snapshot()
	for i := range counts {
		counts[i].addTo(s, names[i])
	}
	s.add(trackerConnections, tracker.live)
	s.add(trackerCapacity, tracker.capacity)
	s.add(trackerEvictionsTotal, tracker.evictions)
}

// snapshot returns a copy of what m counted, so that the reading goroutine is not kept waiting while metrics are made.
func (m *Metrics) snapshot() (names []string, counts []namespace, tracker trackerCounts) {
	m.mu.Lock()
	defer m.mu.Unlock()
	names = make([]string, 0, len(m.namespaces))
	counts = make([]namespace, 0, len(m.namespaces))
	for netns, n := range m.namespaces {
		names = append(names, netns)
		counts = append(counts, *n)
	}
	return names, counts, m.tracker
}
