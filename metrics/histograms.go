package metrics

import "github.com/prometheus/client_golang/prometheus"

// Native histograms hold the detail; the classic buckets cost a series each and so are few.
const (
	// nativeFactor is the growth from one native bucket to the next.
	nativeFactor = 1.1
	// nativeBuckets bounds the memory of a native histogram. From 5 µs to 7 s it takes 164 at full resolution; when it
	// has more, pairs are merged: no count is lost.
	nativeBuckets = 160
)

var (
	// handshakeBuckets: 5 µs is a handshake on loopback, 25 µs across a veth, 1 ms a data centre, 100 ms an ocean. A lost SYN
	// is sent again after 1, 3 and 7 s in all (and at each second between, since Linux 6.5): beyond 1 s, one was lost.
	handshakeBuckets = []float64{5e-6, 25e-6, 100e-6, 1e-3, 5e-3, 25e-3, 100e-3, 1, 3, 7}

	connectionBuckets = []float64{10e-3, 100e-3, 1, 10, 60, 600}
)

func (m *Metrics) newHistogram(f *family, buckets []float64) *prometheus.HistogramVec {
	return prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name:                           Prefix + f.name,
		Help:                           f.help,
		Buckets:                        buckets,
		NativeHistogramBucketFactor:    nativeFactor,
		NativeHistogramMaxBucketNumber: nativeBuckets,
	}, m.labels(f))
}
