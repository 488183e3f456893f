package decode

import (
	"net/netip"
	"time"
)

// Side is one end of a connection.
type Side uint8

// The sides. Two directions are always [2]half indexed by Originator and Responder.
const (
	Originator Side = iota // sent the first SYN
	Responder
	SideUnknown // first seen in mid-stream
	numSides
)

// Role says how a connection relates to the namespace that saw it.
type Role uint8

// Roles. DESIGN: each namespace reports its own view, so one connection has one role in every namespace it crosses.
const (
	RoleUnknown    Role = iota
	RoleLocal           // both ends are in the namespace
	RoleOriginator      // the namespace opened it
	RoleResponder       // the namespace was asked
	RoleForwarded       // the namespace bridges or routes it
	numRoles
)

// Outcome is how a handshake ended.
type Outcome uint8

// Outcomes.
const (
	OutcomeUnknown     Outcome = iota // no verdict: events were lost since the SYN, or netobs stopped watching it
	OutcomeCompleted                  // SYN, SYN-ACK, completing ACK
	OutcomeRefused                    // an acceptable RST answered the SYN
	OutcomeUnreachable                // an ICMP destination-unreachable quoted the SYN
	OutcomeAborted                    // the originator sent an acceptable RST before completing
	OutcomeReset                      // the responder sent an acceptable RST after its SYN-ACK, before completion
	OutcomeUnanswered                 // no answer within the clock
	OutcomeHalfOpen                   // SYN-ACK not acknowledged within the clock
	numOutcomes
)

// Teardown is how a connection ended.
type Teardown uint8

// Teardowns.
const (
	TeardownFIN      Teardown = iota // both FINs sent and acknowledged, or both seen and 3 s passed
	TeardownFINRST                   // FIN, then an acceptable RST before both FINs were acknowledged
	TeardownRST                      // RST, no FIN before it
	TeardownEvicted                  // the table was full
	TeardownDetached                 // netobs let go of the namespace
	TeardownExpired                  // nothing seen for its limit, or its socket pair was taken by a new SYN
	numTeardowns
)

// State is what a pending connection waits for, as far as metrics tell it.
type State uint8

// States.
const (
	StateHandshake   State = iota // SYN seen, outcome open
	StateEstablished              // completed or unseen, no FIN yet
	StateHalfClosed               // one FIN or both seen, not finished
	numStates
)

// A Leg is one part of a handshake's duration.
type Leg struct {
	// Known says that both ends of the leg were seen, and so whether the durations hold.
	Known bool
	// First is measured from the first transmission: what the user waited.
	First time.Duration
	// Last is measured from the last transmission before the answer: the network's round trip (Karn's rule).
	Last time.Duration
}

// A Handshake is reported once for each attempt to open a connection, when its outcome is known.
type Handshake struct {
	Point *Point // where the attempt was first reported

	Originator, Responder netip.AddrPort

	Role    Role
	Outcome Outcome
	Start   int64 // time of the first SYN, or of what followed it if that was lost; ns since the Unix epoch
	End     int64 // time of the segment that decided the outcome, or of the clock that did

	ResponderLeg  Leg // SYN to SYN-ACK, or to the RST that refused
	OriginatorLeg Leg // SYN-ACK to completing ACK
	Total         Leg // SYN to completing ACK

	// Retransmissions, the first transmission not counted. SYN-ACKs repeated after the completing ACK come too late for
	// this record: see NetnsTally.SYNACKsAfterACK.
	SYNs, SYNACKs uint16
}

// A Connection is reported once, at its end, if its handshake completed or was unseen.
type Connection struct {
	Point *Point // where the connection was first reported; Known.Point if none of its segments was

	// Originator and Responder are the ends; if Unseen and no segment told who is who, Originator is the sender of the
	// first segment seen and OriginatorKnown is false.
	Originator, Responder netip.AddrPort
	OriginatorKnown       bool
	Unseen                bool // first seen without a SYN, or learned

	Role        Role
	Teardown    Teardown
	Closer      Side  // sender of the first FIN or RST reported
	FINsCrossed bool  // the second FIN does not acknowledge the first
	Start       int64 // time of the first segment, or Known.Start; ns since the Unix epoch
	End         int64 // time of the segment that ended it, or of the clock that did

	// Bytes of payload by Side, modulo 2^32: position of the FIN, else the highest sequence number that the side used or
	// its peer acknowledged, less the initial sequence number. Valid iff BytesKnown.
	Bytes      [2]uint32
	BytesKnown [2]bool

	Completeness Completeness // tshark's bits
	History      string       // zeek's letters, upper case for the originator
}

// Duration returns how long the connection lasted, or if it is Unseen, at least; 0 if time stepped back meanwhile.
func (c *Connection) Duration() time.Duration { return max(0, time.Duration(c.End-c.Start)) }
