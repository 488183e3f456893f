package decode

// The names here are metric labels, and words of the JSON output: changing one breaks dashboards and programs.
var (
	directionNames = [numDirections]string{"ingress", "egress", "unknown"}
	parsedNames    = [numParsed]string{"segment", "not_tcp", "other", "vlan", "fragment", "ipv6_extension", "truncated", "malformed"}
	sideNames      = [numSides]string{"originator", "responder", "unknown"}
	roleNames      = [numRoles]string{"unknown", "local", "originator", "responder", "forwarded"}
	outcomeNames   = [numOutcomes]string{"unknown", "completed", "refused", "unreachable", "aborted", "reset", "unanswered", "half_open"}
	teardownNames  = [numTeardowns]string{"fin", "fin_rst", "rst", "evicted", "detached", "expired"}
	endStateNames  = [numEndStates]string{"", "LISTEN", "SYN-SENT", "SYN-RECEIVED", "ESTABLISHED", "FIN-WAIT-1", "FIN-WAIT-2", "CLOSE-WAIT",
		"CLOSING", "LAST-ACK", "TIME-WAIT", "CLOSED"}
	stateNames  = [numStates]string{"handshake", "established", "half_closed"}
	placeLabels = [numPlaces]string{"ignored", "syn", "syn_ack", "completes", "refused", "aborted", "reset", "unseen", "data",
		"keep_alive", "ack", "first_fin", "first_fin_acked", "second_fin", "fin_acked", "finished", "rst", "late"}
)

// Label returns the word that programs are given for k.
func (k PlaceKind) Label() string { return nameOf(placeLabels[:], k) }

// Places returns all kinds of places, in order.
func Places() []PlaceKind { return upTo(numPlaces) }

// String returns the metric label of d.
func (d Direction) String() string { return nameOf(directionNames[:], d) }

// String returns the metric label of p.
func (p Parsed) String() string { return nameOf(parsedNames[:], p) }

// String returns the metric label of s.
func (s Side) String() string { return nameOf(sideNames[:], s) }

// String returns the metric label of r.
func (r Role) String() string { return nameOf(roleNames[:], r) }

// String returns the metric label of o.
func (o Outcome) String() string { return nameOf(outcomeNames[:], o) }

// String returns the metric label of t.
func (t Teardown) String() string { return nameOf(teardownNames[:], t) }

// String returns the metric label of s.
func (s State) String() string { return nameOf(stateNames[:], s) }

// String returns the name that RFC 9293 has for s, nothing for EndUnknown.
func (s EndState) String() string { return nameOf(endStateNames[:], s) }

// Sides returns all sides, in order.
func Sides() []Side { return upTo(numSides) }

// Roles returns all roles, in order.
func Roles() []Role { return upTo(numRoles) }

// Outcomes returns all outcomes, in order.
func Outcomes() []Outcome { return upTo(numOutcomes) }

// Teardowns returns all teardowns, in order.
func Teardowns() []Teardown { return upTo(numTeardowns) }

// States returns all states, in order.
func States() []State { return upTo(numStates) }

func nameOf[T ~uint8](names []string, v T) string {
	if int(v) < len(names) {
		return names[v]
	}
	return "invalid"
}

func upTo[T ~uint8](n T) []T {
	all := make([]T, n)
	for i := range all {
		all[i] = T(i)
	}
	return all
}
