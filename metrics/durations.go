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

// durations are the histograms of the namespaces of one name, nil until the first event: to find one by its labels costs more
// than to observe in it.
type durations struct {
	netns      string // the label
	handshake  [roles][legs]prometheus.Observer
	connection [roles]prometheus.Observer
}

// durations returns the histograms of the namespaces with this label. The caller holds m.mu.
func (m *Metrics) durations(netns string) *durations {
	d := m.histograms[netns]
	if d == nil {
		d = &durations{netns: netns}
		m.histograms[netns] = d
	}
	return d
}

// leg returns the one of a leg.
func (d *durations) leg(of *prometheus.HistogramVec, role decode.Role, leg int) prometheus.Observer {
	o := &d.handshake[role][leg]
	if *o == nil {
		*o = of.WithLabelValues(d.netns, role.String(), legLabels[leg])
	}
	return *o
}

// whole returns the one of connections.
func (d *durations) whole(of *prometheus.HistogramVec, role decode.Role) prometheus.Observer {
	o := &d.connection[role]
	if *o == nil {
		*o = of.WithLabelValues(d.netns, role.String())
	}
	return *o
}
