package metrics

import (
	"slices"

	"netobs/decode"
)

// trackerCounts are what the tracker counts regardless of namespaces.
type trackerCounts struct{ live, capacity, evictions uint64 }

// ObserveTallies takes over what the tracker keeps count of itself, and hands over to scrapes all that was observed. It is
// called once for each batch of records that was drained. Every snapshot of the tracker must come here, in order: the last
// counts of a namespace that was let go of are in one only.
//
// What is added is the gain since the snapshot before, because namespaces that follow each other may have one name: the
// sum must not drop when the older one is gone.
func (m *Metrics) ObserveTallies(t decode.Tallies) {
	// From the end: of one identity that was let go of and watched again, the older life stands behind.
	for _, now := range slices.Backward(t.Netns) {
		before := m.tallied[now.NetnsID]
		if now != before {
			m.addTally(&now, &before)
		}
		if now.Detached {
			delete(m.tallied, now.NetnsID)
		} else {
			m.tallied[now.NetnsID] = now
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.tracker = trackerCounts{uint64(t.Connections), uint64(t.Capacity), t.Evictions}
	m.handOver()
}

// addTally adds to a namespace's counts what its tallies gained since before. Without a gain it touches nothing, so that
// a forgotten namespace stays forgotten.
func (m *Metrics) addTally(now, before *decode.NetnsTally) {
	if now.Netns != before.Netns && before.Netns != "" { // it has another name
		m.addOpen(before.Netns, decode.NetnsTally{}.Open, before.Open)
		before.Open = decode.NetnsTally{}.Open
	}
	open := now.Open
	if now.Detached {
		open = decode.NetnsTally{}.Open
	}
	m.addOpen(now.Netns, open, before.Open)
	for r := range roles {
		if gain := now.Unseen[r] - before.Unseen[r]; gain > 0 {
			c := m.role(now.Netns, r)
			c.unseen[r] += gain
		}
		if gain := now.SYNACKsAfterACK[r] - before.SYNACKsAfterACK[r]; gain > 0 {
			c := m.role(now.Netns, r)
			c.again[r][againSYNACKAfterACK] += gain
		}
	}
	if gain := now.Late - before.Late; gain > 0 {
		m.namespace(now.Netns).now.late += gain
	}
}

// addOpen adds what the connections gained that are open in a namespace.
func (m *Metrics) addOpen(netns string, now, before [roles][states]int) {
	for r := range roles {
		for st := range states {
			if gain := now[r][st] - before[r][st]; gain != 0 {
				m.role(netns, r).open[r][st] += int64(gain)
			}
		}
	}
}

// role returns the counts of a namespace in which a role occurred.
func (m *Metrics) role(netns string, role int) *counts {
	c := &m.namespace(netns).now
	c.seen[role] = true
	return c
}
