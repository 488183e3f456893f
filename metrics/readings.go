package metrics

import (
	"maps"
	"time"
)

// readings keep what is to be remembered from one reading of the kernel's counters to the next. Metrics.reading guards them.
type readings struct {
	at         int64              // of the last one, ns since the Unix epoch
	began      map[place]int64    // when the counters that there are began
	interfaces map[string]*places // by namespace
	last       map[series]uint64  // what is beyond a limit had counted at the last reading
	folded     map[series]*sample // and in all, by the labels that it is told with
}

// place is an interface, or a namespace if iface is empty.
type place struct{ netns, iface string }

func newReadings(now int64) *readings {
	return &readings{
		at:         now,
		began:      make(map[place]int64),
		interfaces: make(map[string]*places),
		last:       make(map[series]uint64),
		folded:     make(map[series]*sample),
	}
}

// read adds the kernel's counters to s.
//
// What is beyond a limit counts in other. That must not drop when one of many goes, so what each gained is added up: what
// was gained since the last reading is lost with the one that goes, as it is told for some minutes after its end.
func (m *Metrics) read(s *sums) error {
	m.reading.Lock()
	defer m.reading.Unlock()
	k, err := m.kernel()
	if err != nil {
		return err
	}
	r := m.readings
	m.mu.Lock()
	present := maps.Clone(m.present)
	m.mu.Unlock()
	now := time.Now().UnixNano()
	raw := newSums(s.level)
	began := make(map[place]int64)
	k.addTo(raw, func(netns, iface string) int64 {
		of := place{label(netns), label(iface)}
		at, known := r.began[of]
		if !known || !present[of.netns] {
			at = r.at // it was not there then
		}
		began[of] = at
		return at
	}, m.began)
	r.began, r.at = began, now
	netns := m.place(began)

	last := make(map[series]uint64)
	for key, sample := range raw.by {
		told := key
		if hasLabel(key.family, 0, "netns") {
			told.values[0] = netns[key.values[0]]
		}
		if hasLabel(key.family, 1, "interface") && told.values[0] != other {
			told.values[1] = r.interfaces[key.values[0]].of(key.values[1])
		}
		if told.values[0] == other && hasLabel(key.family, 1, "interface") {
			told.values[1] = other
		}
		if told == key || key.kind == gauge {
			s.addSeries(told, sample.n, sample.created)
			continue
		}
		gain := sample.n
		if before := r.last[key]; before <= gain && present[key.values[0]] {
			gain -= before
		}
		last[key] = sample.n
		to := r.folded[told]
		if to == nil {
			to = new(*sample)
			to.n = 0
			r.folded[told] = to
		}
		to.n += gain
	}
	r.last = last
	for told, sample := range r.folded {
		s.addSeries(told, sample.n, sample.created)
	}
	return nil
}

func hasLabel(f *family, at int, name string) bool { return len(f.labels) > at && f.labels[at] == name }

// place returns the label values of the namespaces of which the kernel tells, and makes room for new ones where old ones are
// gone, also among the interfaces of each.
func (m *Metrics) place(there map[place]int64) (netns map[string]string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	r := m.readings
	interfaces := make(map[string]map[string]bool)
	for of := range there {
		if interfaces[of.netns] == nil {
			interfaces[of.netns] = make(map[string]bool)
		}
		if of.iface != "" {
			interfaces[of.netns][of.iface] = true
		}
	}
	for name := range m.names.own {
		if interfaces[name] == nil && m.namespaces[name] == nil {
			m.names.leave(name)
		}
	}
	netns = make(map[string]string)
	m.present = make(map[string]bool)
	for name, there := range interfaces {
		m.present[name] = true
		netns[name] = m.names.of(name)
		if r.interfaces[name] == nil {
			r.interfaces[name] = newPlaces(m.names.max)
		}
		r.interfaces[name].keep(there)
	}
	maps.DeleteFunc(r.interfaces, func(name string, _ *places) bool { return interfaces[name] == nil })
	maps.DeleteFunc(r.folded, func(told series, _ *sample) bool {
		name := told.values[0]
		return name != other && interfaces[name] == nil
	})
	return netns
}
