package main

import (
	"fmt"
	"time"

	"netobs/decode"
)

// handshakeNotes says how a handshake ended, in lines for a ladder.
func handshakeNotes(h *decode.Handshake) []string {
	var again []string
	for _, r := range []struct {
		n    uint16
		what string
	}{{h.SYNs, "SYN"}, {h.SYNACKs, "SYN-ACK"}} {
		if r.n > 0 {
			again = append(again, plural(int(r.n), r.what)+" sent again")
		}
	}
	notes := []string{fmt.Sprintf("handshake %s after %s", h.Outcome, short(max(0, time.Duration(h.End-h.Start))))}
	if h.ResponderLeg.Known && h.OriginatorLeg.Known {
		notes = append(notes, fmt.Sprintf("legs: responder %s, originator %s", short(h.ResponderLeg.First), short(h.OriginatorLeg.First)))
	}
	return append(notes, again...)
}

// connectionNotes says how a connection ended.
func connectionNotes(c *decode.Connection) []string {
	notes := []string{fmt.Sprintf("teardown %s, closed first by %s", c.Teardown, c.Closer)}
	if c.FINsCrossed {
		notes = append(notes, "the FINs crossed")
	}
	lasted := "lasted "
	if c.Unseen {
		lasted = "lasted at least "
	}
	lasted += short(c.Duration())
	if c.BytesKnown[decode.Originator] && c.BytesKnown[decode.Responder] {
		lasted += fmt.Sprintf(": %d B →, ← %d B", c.Bytes[decode.Originator], c.Bytes[decode.Responder])
	}
	return append(notes, lasted)
}
