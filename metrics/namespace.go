package metrics

import "netobs/decode"

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

// namespace is what was counted in the namespaces of one name. It holds no pointers: a scrape copies it.
type namespace struct {
	seen       [roles]bool // the role occurred
	handshakes [roles][outcomes]uint64
	again      [roles][agains]uint64
	unseen     [roles]uint64
	teardowns  [roles][teardowns][sides]uint64
	open       [roles][states]uint64 // now
	late       uint64
}

// addTo adds the counts to s. What has no event yet is left out, but for the outcomes and states of roles that occurred.
func (n *namespace) addTo(s *sums, netns string) {
	addEvents := func(f *family, n uint64, values ...string) {
		if n > 0 {
			s.add(f, n, values...)
		}
	}
	for r := range roles {
		if !n.seen[r] {
			continue
		}
		role := decode.Role(r).String()
		for o, count := range n.handshakes[r] {
			s.add(handshakesTotal, count, netns, role, decode.Outcome(o).String())
		}
		for st, count := range n.open[r] {
			s.add(connections, count, netns, role, decode.State(st).String())
		}
		for a, count := range n.again[r] {
			addEvents(retransmissionsTotal, count, netns, role, againLabels[a])
		}
		addEvents(unseenTotal, n.unseen[r], netns, role)
		for t, bySide := range n.teardowns[r] {
			for side, count := range bySide {
				addEvents(teardownsTotal, count, netns, role, decode.Teardown(t).String(), decode.Side(side).String())
			}
		}
	}
	addEvents(lateSegmentsTotal, n.late, netns)
}
