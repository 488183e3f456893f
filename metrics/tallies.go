package metrics

import (
	"slices"

	"netobs/decode"
)

// trackerCounts are what the tracker counts regardless of namespaces.
type trackerCounts struct{ live, capacity, evictions uint64 }

// ObserveTallies takes over what the tracker keeps count of itself. The reading goroutine calls it once for each batch of
// records that it drained. Every snapshot of the tracker must come here, in order: the last counts of a namespace that
// was let go of are in one only.
//
// What is added is the gain since the snapshot before, because namespaces that follow each other may have one name: the
// sum must not drop when the older one is gone.
func (m *Metrics) ObserveTallies(t decode.Tallies) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.tracker = trackerCounts{uint64(t.Connections), uint64(t.Capacity), t.Evictions}

	for _, n := range m.namespaces {
		n.open = [roles][states]uint64{}
	}
	// From the end: of one identity that was let go of and watched again, the older life stands behind.
	for _, now := range slices.Backward(t.Netns) {
		m.addTally(now, m.tallied[now.NetnsID])
		if now.Detached {
			delete(m.tallied, now.NetnsID)
		} else {
			m.tallied[now.NetnsID] = now
		}
	}
}

// addTally adds to a namespace's counts what its tallies gained since before. Without a gain it touches nothing, so that
// a forgotten namespace stays forgotten. The caller holds m.mu.
func (m *Metrics) addTally(now, before decode.NetnsTally) {
	counts := func(role int) *namespace {
		n := m.namespace(label(now.Netns))
		n.seen[role] = true
		return n
	}
	for r := range roles {
		if gain := now.Unseen[r] - before.Unseen[r]; gain > 0 {
			counts(r).unseen[r] += gain
		}
		if gain := now.SYNACKsAfterACK[r] - before.SYNACKsAfterACK[r]; gain > 0 {
			counts(r).again[r][againSYNACKAfterACK] += gain
		}
		for st, open := range now.Open[r] {
			if open > 0 {
				counts(r).open[r][st] += uint64(open)
			}
		}
	}
	if gain := now.Late - before.Late; gain > 0 {
		m.namespace(label(now.Netns)).late += gain
	}
}
