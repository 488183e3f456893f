package metrics

import (
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// series names one sample: a family and its label values, the unused ones empty.
type series struct {
	*family
	values [4]string
}

// sample is a value, of the series that began at created, in ns since the Unix epoch.
type sample struct {
	n       uint64
	created int64
	failure *failure // exemplar. Optional
}

// sums are the samples of one scrape. Samples with equal labels add up: sent twice they would fail the scrape.
type sums struct {
	level Level // what is beyond is left out
	by    map[series]*sample
}

func newSums(level Level) *sums { return &sums{level, make(map[series]*sample)} }

// add adds n to a sample, and returns it. Label values come from outside (any bytes may name a namespace or an interface), and
// one that is not UTF-8 would fail the scrape: such bytes are replaced.
func (s *sums) add(f *family, n uint64, created int64, values ...string) *sample {
	key := series{family: f}
	for i, v := range values {
		key.values[i] = label(v)
	}
	return s.addSeries(key, n, created)
}

func (s *sums) addSeries(key series, n uint64, created int64) *sample {
	if key.level > s.level {
		return &sample{}
	}
	to := s.by[key]
	if to == nil {
		to = &sample{created: created}
		s.by[key] = to
	}
	to.n += n
	to.created = min(to.created, created)
	return to
}

// send sends the samples as metrics, those of a family in the order in which they are exposed: the registry sorts them, which
// for many takes longer than all else unless they are in order already.
func (m *Metrics) send(ch chan<- prometheus.Metric, s *sums) {
	byFamily := make(map[*family][]series)
	for key := range s.by {
		byFamily[key.family] = append(byFamily[key.family], key)
	}
	for f, keys := range byFamily {
		labels := m.labels(f)
		byName := make([]int, len(labels)) // positions of labels in the order of their names
		for i := range byName {
			byName[i] = i
		}
		slices.SortFunc(byName, func(i, j int) int { return strings.Compare(labels[i], labels[j]) })
		slices.SortFunc(keys, func(a, b series) int {
			for _, i := range byName {
				if order := strings.Compare(a.values[i], b.values[i]); order != 0 {
					return order
				}
			}
			return 0
		})
		for _, key := range keys {
			ch <- m.metric(key, s.by[key])
		}
	}
}

// metric returns a sample as the registry takes it.
func (m *Metrics) metric(key series, sample *sample) prometheus.Metric {
	value := float64(sample.n)
	if key.perUnit != 0 {
		value /= key.perUnit
	}
	desc, values := m.descs[key.family], key.values[:len(m.labels(key.family))]
	if key.kind == gauge {
		return prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, value, values...)
	}
	counter := prometheus.MustNewConstMetricWithCreatedTimestamp(desc, prometheus.CounterValue, value,
		time.Unix(0, sample.created), values...)
	if sample.failure != nil {
		return prometheus.MustNewMetricWithExemplars(counter, sample.failure.exemplar())
	}
	return counter
}

// label returns v as Prometheus accepts it.
func label(v string) string { return strings.ToValidUTF8(v, "\uFFFD") }
