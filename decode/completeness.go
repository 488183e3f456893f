package decode

import "strings"

// Completeness is which kinds of segments of a connection were seen, in tshark's bits (tcp.completeness). As in the history,
// data that a live source does not report counts when sequence numbers say that it passed.
type Completeness uint8

// Kinds of segments.
const (
	SeenSYN    Completeness = 1 << iota // SYN without ACK
	SeenSYNACK                          // SYN with ACK
	SeenACK                             // ACK without SYN and payload; FIN and RST do not matter
	SeenData                            // payload
	SeenFIN                             // FIN
	SeenRST                             // RST
)

var completenessNames = [...]string{"SYN", "SYN-ACK", "ACK", "data", "FIN", "RST"}

// String returns the names of the bits set, lowest first, joined by "|".
func (c Completeness) String() string {
	var names []string
	for i, name := range completenessNames {
		if c&(1<<i) != 0 {
			names = append(names, name)
		}
	}
	return strings.Join(names, "|")
}

// completenessOf returns the bits of one segment.
func completenessOf(seg *Segment) (c Completeness) {
	switch {
	case seg.Has(SYN | ACK):
		c = SeenSYNACK
	case seg.Has(SYN):
		c = SeenSYN
	case seg.Has(ACK) && seg.Payload == 0:
		c = SeenACK
	}
	if seg.Payload > 0 {
		c |= SeenData
	}
	if seg.Has(FIN) {
		c |= SeenFIN
	}
	if seg.Has(RST) {
		c |= SeenRST
	}
	return c
}
