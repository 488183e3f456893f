package metrics

import (
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"netobs/decode"
)

// Build says what is running.
type Build struct {
	Version string // of netobs
	Go      string // release that built it
	Kernel  string // release it runs on
}

// Prefix is what the names of all metrics of netobs begin with.
const Prefix = "netobs_"

// Options for New. The zero value of each field is usable.
type Options struct {
	// How much is exported.
	Level Level
	// How many values the label netns has; namespaces beyond share "other". In each namespace as many of interface. 0 means
	// DefaultMaxNamespaces.
	MaxNamespaces int
	// Label handshakes by the port of the responder.
	PortLabel bool
	// The ports that have a value of their own with PortLabel, the rest shares "other". Optional: without, the first 50 to which
	// 10 handshakes completed.
	Ports []uint16
}

// DefaultMaxNamespaces is that of Options.MaxNamespaces.
const DefaultMaxNamespaces = 1000

// Metrics counts what the decoder found and is the collector of everything netobs exports. The methods whose names begin
// with Observe, and Forget, are called by one goroutine, that which steps the tracker. It waits for a scrape no longer than
// that takes to copy the counts, or to walk over the histograms when one begins. The others may be called concurrently.
type Metrics struct {
	opts   Options
	kernel func() (Kernel, error)
	build  Build
	began  int64                        // ns since the Unix epoch
	descs  map[*family]*prometheus.Desc // of opts.Level

	handshakeDuration  *prometheus.HistogramVec
	connectionDuration *prometheus.HistogramVec

	// Owned by the goroutine that observes.
	byName  map[string]*namespace        // those of namespaces, by name; several may share one
	changed []*namespace                 // what has something to hand over
	tallied map[uint32]decode.NetnsTally // by NetnsID: the tallies that are already in namespaces
	ports   *ports                       // nil if they are no label

	reading  sync.Mutex // guards readings; taken before mu
	readings *readings

	mu         sync.Mutex            // guards all below
	names      *places               // of namespaces
	namespaces map[string]*namespace // by label
	present    map[string]bool       // names of which the kernel told at the last reading, and that were not forgotten since
	tracker    trackerCounts
}

// New returns the metrics of the program described by build. kernel is asked for the kernel's counters at each scrape, by one
// at a time; what it returns is only read, its error fails the scrape. It may be nil where there is no kernel side.
func New(build Build, kernel func() (Kernel, error), opts Options) *Metrics {
	if kernel == nil {
		kernel = func() (Kernel, error) { return Kernel{}, nil }
	}
	if opts.MaxNamespaces == 0 {
		opts.MaxNamespaces = DefaultMaxNamespaces
	}
	began := time.Now().UnixNano()
	m := &Metrics{
		opts:       opts,
		kernel:     kernel,
		build:      build,
		began:      began,
		descs:      make(map[*family]*prometheus.Desc),
		byName:     make(map[string]*namespace),
		tallied:    make(map[uint32]decode.NetnsTally),
		readings:   newReadings(began),
		names:      newPlaces(opts.MaxNamespaces),
		namespaces: make(map[string]*namespace),
	}
	if opts.PortLabel {
		m.ports = newPorts(opts.Ports)
	}
	for _, f := range families {
		if f.level <= opts.Level {
			m.descs[f] = prometheus.NewDesc(Prefix+f.name, f.help, m.labels(f), nil)
		}
	}
	m.handshakeDuration = m.newHistogram(handshakeDuration, handshakeBuckets)
	m.connectionDuration = m.newHistogram(connectionDuration, connectionBuckets)
	return m
}

// labels returns the names of the labels of a family.
func (m *Metrics) labels(f *family) []string {
	if m.opts.PortLabel && f.hasPort() {
		return append(slices.Clone(f.labels), "port")
	}
	return f.labels
}

// Describe sends every Desc. It implements prometheus.Collector.
func (m *Metrics) Describe(ch chan<- *prometheus.Desc) {
	for _, desc := range m.descs {
		ch <- desc
	}
}

// Collect sends the metrics as they are now. It implements prometheus.Collector.
func (m *Metrics) Collect(ch chan<- prometheus.Metric) {
	s := newSums(m.opts.Level)
	s.add(buildInfo, 1, m.began, m.build.Version, m.build.Go, m.build.Kernel)

	// The kernel is asked last, so that what was decoded is counted there too.
	m.addTo(s)
	if err := m.read(s); err != nil {
		ch <- prometheus.NewInvalidMetric(m.descs[buildInfo], err)
	}
	m.send(ch, s)
	m.handshakeDuration.Collect(ch)
	m.connectionDuration.Collect(ch)
}

// register registers m, and what concerns the process under the names that all programs have for it:
// process_resident_memory_bytes, process_cpu_seconds_total and others.
func register(reg prometheus.Registerer, m *Metrics) {
	reg.MustRegister(m)
	reg.MustRegister(collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	if m.opts.Level >= LevelFull {
		reg.MustRegister(collectors.NewGoCollector())
	}
}
