package metrics

import (
	"maps"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"netobs/decode"
)

// ObserveHandshake counts h. Durations are those of completed handshakes only: the quick RST of a closed port and the
// clock that gave up on an unanswered SYN would both pass for a latency that no user met.
func (m *Metrics) ObserveHandshake(h *decode.Handshake) {
	n := m.namespace(h.Point.Netns)
	c := &n.now
	port, a := "", &c.attempts
	if m.ports != nil {
		port = m.ports.label(h)
		a = c.toPort(port)
	}
	c.seen[h.Role] = true
	a.handshakes[h.Role][h.Outcome]++
	a.note(h)
	c.again[h.Role][againSYN] += uint64(h.SYNs)
	c.again[h.Role][againSYNACK] += uint64(h.SYNACKs)

	if h.Outcome != decode.OutcomeCompleted {
		return
	}
	for leg, l := range [legs]*decode.Leg{&h.ResponderLeg, &h.OriginatorLeg, &h.Total} {
		if l.Known && (leg == legTotal || m.opts.Level > LevelMinimal) {
			m.leg(n, h.Role, leg, port).observe(l.First.Seconds(), h)
		}
	}
}

// ObserveConnection counts the end of c. Its duration counts if both its ends were seen: neither a connection whose
// handshake was missed nor one that netobs let go of tells how long it lasted.
func (m *Metrics) ObserveConnection(c *decode.Connection) {
	n := m.namespace(c.Point.Netns)
	n.now.seen[c.Role] = true
	n.now.teardowns[c.Role][c.Teardown][c.Closer]++

	switch c.Teardown {
	case decode.TeardownFIN, decode.TeardownFINRST, decode.TeardownRST:
		if !c.Unseen && m.opts.Level >= connectionDuration.level {
			m.whole(n, c.Role).Observe(c.Duration().Seconds())
		}
	}
}

// Forget drops all that was counted in the namespaces of this name. They begin again at 0 with their next event. What
// the kernel counted there is for the kernel's source to drop. What namespaces beyond the limit counted stays, as others
// count there, too.
func (m *Metrics) Forget(netns string) {
	name := label(netns)
	maps.DeleteFunc(m.byName, func(raw string, _ *namespace) bool { return label(raw) == name })
	for id, t := range m.tallied {
		if label(t.Netns) == name {
			t.Open = decode.NetnsTally{}.Open // in what is dropped
			m.tallied[id] = t
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.names.own[name] {
		delete(m.namespaces, name)
		m.handshakeDuration.DeletePartialMatch(prometheus.Labels{"netns": name})
		m.connectionDuration.DeletePartialMatch(prometheus.Labels{"netns": name})
	}
	m.names.leave(name)
	delete(m.present, name)
}

// namespace returns what is counted in the namespaces of a name, to be changed.
func (m *Metrics) namespace(name string) *namespace {
	n := m.byName[name]
	if n == nil {
		n = m.newNamespace(name)
	}
	if !n.changed {
		n.changed = true
		m.changed = append(m.changed, n)
	}
	return n
}

func (m *Metrics) newNamespace(name string) *namespace {
	m.mu.Lock()
	defer m.mu.Unlock()
	netns := m.names.of(label(name))
	n := m.namespaces[netns]
	if n == nil {
		n = &namespace{netns: netns, created: time.Now().UnixNano()}
		m.namespaces[netns] = n
	}
	m.byName[name] = n
	return n
}

// toPort returns the attempts to a port.
func (c *counts) toPort(port string) *attempts {
	a := c.byPort[port]
	if a == nil {
		if c.byPort == nil {
			c.byPort = make(map[string]*attempts)
		}
		a = new(attempts)
		c.byPort[port] = a
	}
	return a
}

// handOver tells what was counted since it was called last. The caller holds m.mu.
func (m *Metrics) handOver() {
	for _, n := range m.changed {
		n.told, n.changed = n.now.copy(), false
	}
	clear(m.changed)
	m.changed = m.changed[:0]
}

// addTo adds all counts to s.
func (m *Metrics) addTo(s *sums) {
	all, tracker := m.snapshot()
	for i := range all {
		all[i].counts.addTo(s, all[i].netns, all[i].created)
	}
	s.add(trackerConnections, tracker.live, m.began)
	s.add(trackerCapacity, tracker.capacity, m.began)
	s.add(trackerEvictionsTotal, tracker.evictions, m.began)
}

// told is a copy of what a namespace told.
type told struct {
	netns   string
	created int64
	counts
}

// snapshot returns a copy of what was handed over, so that the goroutine that observes is not kept waiting while metrics are
// made.
func (m *Metrics) snapshot() (all []told, tracker trackerCounts) {
	m.mu.Lock()
	defer m.mu.Unlock()
	all = make([]told, 0, len(m.namespaces))
	for _, n := range m.namespaces {
		all = append(all, told{n.netns, n.created, n.told})
	}
	return all, m.tracker
}
