package metrics

import (
	"sync"

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
}

// Metrics counts what the decoder found and is the collector of everything netobs exports. The methods whose names begin
// with Observe are called by the goroutine that steps the tracker; they never wait for a scrape longer than it takes to
// copy the counts, or to walk over the histograms when one begins. All methods may be called concurrently.
type Metrics struct {
	opts   Options
	kernel func() (Kernel, error)
	build  Build
	descs  map[*family]*prometheus.Desc // of opts.Level

	handshakeDuration  *prometheus.HistogramVec
	connectionDuration *prometheus.HistogramVec

	mu         sync.Mutex                   // guards all below
	namespaces map[string]*namespace        // by label
	histograms map[string]*durations        // those of the two vectors, by label
	tallied    map[uint32]decode.NetnsTally // by NetnsID: the tallies that are already in namespaces
	tracker    trackerCounts
}

// New returns the metrics of the program described by build. kernel is asked for the kernel's counters at each scrape,
// from several goroutines when scrapes overlap; what it returns is only read, its error fails the scrape. It may be nil
// where there is no kernel side.
func New(build Build, kernel func() (Kernel, error), opts Options) *Metrics {
	if kernel == nil {
		kernel = func() (Kernel, error) { return Kernel{}, nil }
	}
	m := &Metrics{
		opts:               opts,
		kernel:             kernel,
		build:              build,
		descs:              make(map[*family]*prometheus.Desc),
		handshakeDuration:  newHistogram(handshakeDuration, handshakeBuckets),
		connectionDuration: newHistogram(connectionDuration, connectionBuckets),
		histograms:         make(map[string]*durations),
		namespaces:         make(map[string]*namespace),
		tallied:            make(map[uint32]decode.NetnsTally),
	}
	for _, f := range families {
		if f.level <= opts.Level {
			m.descs[f] = f.desc()
		}
	}
	return m
}

// Describe sends every Desc. It implements prometheus.Collector.
func (m *Metrics) Describe(ch chan<- *prometheus.Desc) {
	for _, desc := range m.descs {
		ch <- desc
	}
}

// Collect sends the metrics as they are now. It implements prometheus.Collector.
func (m *Metrics) Collect(ch chan<- prometheus.Metric) {
	s := &sums{m.opts.Level, make(map[series]uint64)}
	s.add(buildInfo, 1, m.build.Version, m.build.Go, m.build.Kernel)

	// The kernel is asked last, so that what was decoded is counted there too.
	m.addTo(s)
	if k, err := m.kernel(); err != nil {
		ch <- prometheus.NewInvalidMetric(m.descs[buildInfo], err)
	} else {
		k.addTo(s)
	}
	s.send(ch, m.descs)
	m.handshakeDuration.Collect(ch)
	m.connectionDuration.Collect(ch)
}

// register registers m under Prefix, and what concerns the process under the names that all programs have for it:
// process_resident_memory_bytes, process_cpu_seconds_total and others.
func register(reg prometheus.Registerer, m *Metrics) {
	prometheus.WrapRegistererWithPrefix(Prefix, reg).MustRegister(m)
	reg.MustRegister(collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	if m.opts.Level >= LevelFull {
		reg.MustRegister(collectors.NewGoCollector())
	}
}
