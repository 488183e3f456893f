package metrics

import (
	"github.com/prometheus/client_golang/prometheus"

	"netobs/decode"
)

// Legs of a handshake.
const (
	legResponder = iota
	legOriginator
	legTotal
	legs
)

var legLabels = [legs]string{legResponder: "responder", legOriginator: "originator", legTotal: "total"}

// durations are the histograms of one label of namespace, nil until the first event: to find one by its labels costs more
// than to observe in it.
type durations struct {
	handshake  map[string]*[roles][legs]leg // by label of the responder's port, which is empty if that is no label
	connection [roles]prometheus.Observer
}

// leg returns that of handshakes in which the namespace has a role, to a port.
func (m *Metrics) leg(n *namespace, role decode.Role, which int, port string) *leg {
	of := n.handshake[port]
	if of == nil {
		if n.handshake == nil {
			n.handshake = make(map[string]*[roles][legs]leg)
		}
		of = new([roles][legs]leg)
		n.handshake[port] = of
	}
	l := &of[role][which]
	if l.Observer == nil {
		values := []string{n.netns, role.String(), legLabels[which], port}
		l.Observer = m.handshakeDuration.WithLabelValues(values[:len(m.labels(handshakeDuration))]...)
	}
	return l
}

// whole returns the histogram of connections in which the namespace has a role.
func (m *Metrics) whole(n *namespace, role decode.Role) prometheus.Observer {
	o := &n.connection[role]
	if *o == nil {
		*o = m.connectionDuration.WithLabelValues(n.netns, role.String())
	}
	return *o
}
