package metrics

import (
	"strings"

	"github.com/prometheus/client_golang/prometheus"
)

// series names one sample: a family and its label values, the unused ones empty.
type series struct {
	*family
	values [4]string
}

// sums are the samples of one scrape. Samples with equal labels add up: sent twice they would fail the scrape.
type sums struct {
	level Level // what is beyond is left out
	by    map[series]uint64
}

// add adds n to a sample. Label values come from outside (any bytes may name a namespace or an interface), and one that
// is not UTF-8 would fail the scrape: such bytes are replaced.
func (s *sums) add(f *family, n uint64, values ...string) {
	if f.level > s.level {
		return
	}
	key := series{family: f}
	for i, v := range values {
		key.values[i] = label(v)
	}
	s.by[key] += n
}

// send sends the samples as metrics.
func (s *sums) send(ch chan<- prometheus.Metric, descs map[*family]*prometheus.Desc) {
	for key, n := range s.by {
		value := float64(n)
		if key.perUnit != 0 {
			value /= key.perUnit
		}
		ch <- prometheus.MustNewConstMetric(descs[key.family], key.valueType(), value, key.values[:len(key.labels)]...)
	}
}

// label returns v as Prometheus accepts it.
func label(v string) string { return strings.ToValidUTF8(v, "\uFFFD") }
