package main

import (
	"math"
	"math/bits"
	"time"
)

// quantiles of any number of durations in constant memory: they are counted in buckets, 1024 for each doubling, so that a
// quantile is right to three digits. Short of 2 µs, and for the longest, it is exact.
type quantiles struct {
	n        uint64
	min, max uint64
	buckets  [(63 - quantileBits + 1) << quantileBits]uint64
}

const quantileBits = 10

func (q *quantiles) add(d time.Duration) {
	v := uint64(max(d, 0))
	if q.n == 0 || v < q.min {
		q.min = v
	}
	q.max = max(q.max, v)
	q.n++
	q.buckets[bucketOf(v)]++
}

// bucketOf keeps the highest bits of v, and how many there are below.
func bucketOf(v uint64) int {
	low := max(bits.Len64(v)-quantileBits-1, 0)
	return low<<quantileBits + int(v>>low)
}

// middleOf is the middle of a bucket.
func middleOf(bucket int) uint64 {
	if bucket < 2<<quantileBits {
		return uint64(bucket)
	}
	low := bucket>>quantileBits - 1
	return (uint64(bucket-low<<quantileBits))<<low + 1<<low>>1
}

// at returns the quantile p of 0 to 1, by nearest rank. There must be a duration.
func (q *quantiles) at(p float64) time.Duration {
	rank := uint64(math.Ceil(p * float64(q.n)))
	if rank >= q.n {
		return q.longest()
	}
	var seen uint64
	for i, n := range q.buckets {
		if seen += n; n > 0 && seen >= rank {
			return time.Duration(min(max(middleOf(i), q.min), q.max))
		}
	}
	return q.longest()
}

func (q *quantiles) longest() time.Duration { return time.Duration(q.max) }
