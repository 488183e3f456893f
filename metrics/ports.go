package metrics

import (
	"slices"
	"strconv"

	"netobs/decode"
)

const (
	// maxPorts have a label value of their own, unless they are given.
	maxPorts = 50
	// A port is busy, and so has its own value, when so many handshakes to it completed. A scan completes none, and a port that
	// a program opens for one connection has one.
	busyPort = 10
)

// ports gives labels to the ports of responders. A port that has its own keeps it, and what it counted before remains in other:
// so no series changes its meaning, and nothing counts twice.
type ports struct {
	places    *places
	fixed     bool // which have their own is given
	completed map[uint16]int
}

// newPorts gives the ports given their own labels; without, the first ones to be busy.
func newPorts(given []uint16) *ports {
	p := &ports{newPlaces(maxPorts), len(given) > 0, make(map[uint16]int)}
	p.places.max = max(p.places.max, len(given))
	for _, port := range given {
		p.places.of(strconv.Itoa(int(port)))
	}
	return p
}

// label returns the label of the port that h is to.
func (p *ports) label(h *decode.Handshake) string {
	port := h.Responder.Port()
	name := strconv.Itoa(int(port))
	if p.places.own[name] {
		return name
	}
	if p.fixed || len(p.places.own) >= p.places.max || h.Outcome != decode.OutcomeCompleted {
		return other
	}
	if p.completed[port]++; p.completed[port] < busyPort {
		return other
	}
	delete(p.completed, port)
	return p.places.of(name)
}

// hasPort reports whether the responder's port is a label of the family, if it is one at all.
func (f *family) hasPort() bool {
	return slices.Contains([]*family{handshakesTotal, handshakeDuration}, f)
}
