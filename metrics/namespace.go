package metrics

import (
	"maps"

	"netobs/decode"
)

// How many values each enum of decode has. A test compares them with decode's own lists.
const (
	roles     = int(decode.RoleForwarded) + 1
	outcomes  = int(decode.OutcomeHalfOpen) + 1
	teardowns = int(decode.TeardownExpired) + 1
	sides     = int(decode.SideUnknown) + 1
	states    = int(decode.StateHalfClosed) + 1
)

// Handshake segments that may be sent again.
const (
	againSYN = iota
	againSYNACK
	againSYNACKAfterACK
	agains
)

var againLabels = [agains]string{"syn", "syn_ack", "syn_ack_after_ack"}

// namespace is what was counted in the namespaces of one label. But for told it belongs to the goroutine that observes.
type namespace struct {
	netns   string // the label
	created int64  // ns since the Unix epoch
	durations
	now     counts
	changed bool   // now is not yet told
	told    counts // now, as of the last hand-over. Metrics.mu guards it
}

// counts are all numbers but durations.
type counts struct {
	seen      [roles]bool // the role occurred
	attempts  attempts
	byPort    map[string]*attempts // by label of the responder's port, instead of attempts if that is a label
	again     [roles][agains]uint64
	unseen    [roles]uint64
	teardowns [roles][teardowns][sides]uint64
	open      [roles][states]int64 // now
	late      uint64
}

// attempts are those to open a connection.
type attempts struct {
	handshakes [roles][outcomes]uint64
	failed     [roles][outcomes]*failure // the last one of each; nil for completed ones
}

// copy returns counts that do not change with c.
func (c *counts) copy() counts {
	told := *c
	told.byPort = maps.Clone(c.byPort)
	for port, a := range told.byPort {
		told.byPort[port] = new(*a)
	}
	return told
}

// addTo adds the counts to s. What has no event yet is left out, but for the outcomes and states of roles that occurred.
func (c *counts) addTo(s *sums, netns string, created int64) {
	addEvents := func(f *family, n uint64, values ...string) {
		if n > 0 {
			s.add(f, n, created, values...)
		}
	}
	for r := range roles {
		if !c.seen[r] {
			continue
		}
		role := decode.Role(r).String()
		if c.byPort == nil {
			c.attempts.addTo(s, netns, r, "", created)
		}
		for port, a := range c.byPort {
			if a.handshakes[r] != [outcomes]uint64{} {
				a.addTo(s, netns, r, port, created)
			}
		}
		for st, n := range c.open[r] {
			s.add(connections, uint64(max(n, 0)), created, netns, role, decode.State(st).String())
		}
		for a, n := range c.again[r] {
			addEvents(retransmissionsTotal, n, netns, role, againLabels[a])
		}
		addEvents(unseenTotal, c.unseen[r], netns, role)
		for t, bySide := range c.teardowns[r] {
			for side, n := range bySide {
				addEvents(teardownsTotal, n, netns, role, decode.Teardown(t).String(), decode.Side(side).String())
			}
		}
	}
	addEvents(lateSegmentsTotal, c.late, netns)
}

func (a *attempts) addTo(s *sums, netns string, role int, port string, created int64) {
	for o, n := range a.handshakes[role] {
		sample := s.add(handshakesTotal, n, created, netns, decode.Role(role).String(), decode.Outcome(o).String(), port)
		if f := a.failed[role][o]; f != nil {
			sample.failure = f
		}
	}
}
