package decode

import (
	"net/netip"
	"strings"
)

// Direction says which way a segment passed its observation point.
type Direction uint8

// Directions, as the interface sees them (IPFIX flowDirection, RFC 5102 §5.11.1).
const (
	Ingress          Direction = iota // received by the interface
	Egress                            // sent by the interface
	DirectionUnknown                  // captures do not say

	numDirections
)

// A Point is an observation point (RFC 5470 §2): one direction of one interface of one network namespace, or one
// interface of a capture file. Points are immutable and shared: a renamed interface gets a new Point with the same ID.
type Point struct {
	ID        uint32    // counts up, never used again while the program runs
	NetnsID   uint32    // identity of the namespace; connections are tracked apart for each
	Netns     string    // name of the namespace, the metric label
	Interface string    // name of the interface
	Direction Direction // of every segment reported here
	Loopback  bool      // a loopback interface: both ends of every connection are in this namespace
}

// Flags are the control bits of a TCP header in the order of RFC 9293 §3.1, FIN lowest, and AE (RFC 9768).
type Flags uint16

// Control bits.
const (
	FIN Flags = 1 << iota
	SYN
	RST
	PSH
	ACK
	URG
	ECE
	CWR
	AE
)

// flagNames are the names of the bits of Flags, lowest first.
var flagNames = [...]string{"FIN", "SYN", "RST", "PSH", "ACK", "URG", "ECE", "CWR", "AE"}

// String returns the names of the bits set, lowest first, joined by "|".
func (f Flags) String() string {
	var names []string
	for i, name := range flagNames {
		if f&(1<<i) != 0 {
			names = append(names, name)
		}
	}
	return strings.Join(names, "|")
}

// Seq is a sequence or acknowledgment number. Its order is that of RFC 9293 §3.4: modulo 2^32, so that Less is
// meaningful only between numbers less than 2^31 apart.
type Seq uint32

// Add returns s moved by n.
func (s Seq) Add(n uint32) Seq { return s + Seq(n) }

// Less reports whether s comes before o.
func (s Seq) Less(o Seq) bool { return int32(s-o) < 0 }

// LessEq reports whether s is o or comes before it.
func (s Seq) LessEq(o Seq) bool { return int32(s-o) <= 0 }

// From returns how many bytes s is after o, modulo 2^32.
func (s Seq) From(o Seq) uint32 { return uint32(s - o) }

// A Segment is one TCP header with what its packet says about it, as seen at one observation point. Numbers are in host
// byte order.
type Segment struct {
	Time  int64 // nanoseconds since the Unix epoch
	Point *Point

	Src, Dst netip.AddrPort // sender and receiver; IPv4 as 4-byte addresses

	Seq, Ack Seq    // SEG.SEQ, SEG.ACK; Ack valid iff Flags has ACK
	Payload  uint32 // bytes of data, without SYN and FIN
	Wnd      uint16 // SEG.WND as sent, not scaled
	Urgent   uint16 // SEG.UP. Valid iff Flags has URG; 0 where the source does not tell
	Flags    Flags
	TTL      uint8 // IPv4 time to live, IPv6 hop limit

	// Forwarded says that the packet reached an egress point from another interface of this namespace.
	Forwarded bool
	// ToLocal says that the destination is an address of this namespace.
	ToLocal bool

	// Completes says what the acknowledgment was awaited for, where the source knows. It does so even if what is
	// acknowledged was lost to us.
	Completes Awaited

	// Options are the TCP options as sent. Present where the source captures them: live, only on segments with SYN, unless
	// somebody watches. Owned by the source of the segment: valid until its next segment is read.
	Options Options
	// Data is the beginning of the payload, where the source captures it. Owned like Options.
	Data []byte
}

// Awaited is what an acknowledgment may be awaited for: a set of these.
type Awaited uint8

// What a live source awaits acknowledgments for.
const (
	AwaitedSYNACK Awaited = 1 << iota // it completes the handshake
	AwaitedFIN                        // both sides sent FIN, and it acknowledges the peer's
)

// Len returns SEG.LEN: the sequence numbers the segment occupies, SYN and FIN included (RFC 9293 §3.3.1).
func (s *Segment) Len() uint32 {
	n := s.Payload
	if s.Flags&SYN != 0 {
		n++
	}
	if s.Flags&FIN != 0 {
		n++
	}
	return n
}

// Has reports whether all control bits of f are set.
func (s *Segment) Has(f Flags) bool { return s.Flags&f == f }
