package metrics

import "time"

// Kernel is what the kernel side has counted since the program began. All counts only grow, also when an interface or a
// point goes away: its last counts stay in the sums, else Prometheus takes the drop for a restart and counts everything
// anew. They may go together with their whole namespace, or all those of an interface label that is long gone.
type Kernel struct {
	// Points are the counters of each observation point. Several may have equal names (two interfaces with one label, a
	// point that replaces another): they are added up.
	Points []PointCounters
	// ObservationPoints is how many points are attached now. Equal namespace and hook are added up.
	ObservationPoints []HookPoints
	// AttachErrors are the failed attempts to attach. Equal namespace and reason are added up.
	AttachErrors []AttachErrors
	// Listens are the kernel's own counters of listening sockets. Equal namespaces are added up.
	Listens []Listens
	// Runs are the kernel's statistics of BPF programs, none where it keeps none. Equal hooks are added up.
	Runs []HookRuns
	// RecordsRead is how many records were taken from the ring buffer.
	RecordsRead uint64
}

// PointCounters are the kernel's counters of one observation point.
type PointCounters struct {
	Netns, Interface, Direction string

	Segments    uint64       // all TCP segments
	Bytes       uint64       // their payload
	Flags       [8]uint64    // segments with each control bit, in the order of decode.Flags: FIN SYN RST PSH ACK URG ECE CWR
	ControlSeen uint64       // control segments, counted before any decision about them
	Control     []LabelCount // the same by disposition: reported, duplicate, ring_full, rate_limited; zeros included
	Unparsed    []LabelCount // packets that may be TCP but were not decoded, by reason; zeros included
}

// LabelCount is a count with the label value that it belongs to.
type LabelCount struct {
	Label string
	Count uint64
}

// HookPoints says how many points of a namespace are attached at a hook: tcx, tc or xdp.
type HookPoints struct {
	Netns, Hook string
	Points      int
}

// AttachErrors says how often attaching failed in a namespace for one reason.
type AttachErrors struct {
	Netns, Reason string
	Count         uint64
}

// Listens are what the listening sockets of a namespace lost.
type Listens struct {
	Netns            string
	Overflows, Drops uint64
}

// HookRuns says how often the BPF programs at a hook ran, and for how long in all.
type HookRuns struct {
	Hook string
	Runs uint64
	Time time.Duration
}

// flagLabels name the elements of PointCounters.Flags.
var flagLabels = [8]string{"FIN", "SYN", "RST", "PSH", "ACK", "URG", "ECE", "CWR"}

// addTo adds the kernel's counters to s. created returns when those of an interface began, in ns since the Unix epoch; those of
// the namespace if the interface is empty.
func (k *Kernel) addTo(s *sums, created func(netns, iface string) int64, began int64) {
	for i := range k.Points {
		p := &k.Points[i]
		created := created(p.Netns, p.Interface)
		s.add(segmentsTotal, p.Segments, created, p.Netns, p.Interface, p.Direction)
		s.add(segmentBytesTotal, p.Bytes, created, p.Netns, p.Interface, p.Direction)
		for bit, n := range p.Flags {
			if n > 0 {
				s.add(flagsTotal, n, created, p.Netns, p.Interface, p.Direction, flagLabels[bit])
			}
		}
		s.add(controlSegmentsSeenTotal, p.ControlSeen, created, p.Netns, p.Interface)
		for _, c := range p.Control {
			s.add(controlSegmentsTotal, c.Count, created, p.Netns, p.Interface, c.Label)
		}
		for _, c := range p.Unparsed {
			s.add(unparsedPacketsTotal, c.Count, created, p.Netns, p.Interface, c.Label)
		}
	}
	for _, o := range k.ObservationPoints {
		s.add(observationPoints, uint64(o.Points), created(o.Netns, ""), o.Netns, o.Hook)
	}
	for _, e := range k.AttachErrors {
		s.add(attachErrorsTotal, e.Count, created(e.Netns, ""), e.Netns, e.Reason)
	}
	for _, l := range k.Listens {
		created := created(l.Netns, "")
		s.add(listenOverflowsTotal, l.Overflows, created, l.Netns)
		s.add(listenDropsTotal, l.Drops, created, l.Netns)
	}
	for _, r := range k.Runs {
		s.add(bpfRunsTotal, r.Runs, began, r.Hook)
		s.add(bpfRunSecondsTotal, uint64(r.Time), began, r.Hook)
	}
	s.add(recordsReadTotal, k.RecordsRead, began)
}
