package bpf

import (
	"testing"
	"time"

	"github.com/cilium/ebpf"
)

const limited = netobsDispositionDISPOSITION_RATE_LIMITED

// fillBucket sets until when all intervals of the rate limit are taken, on every CPU.
func (w *world) fillBucket(tb testing.TB, until uint64) {
	tb.Helper()
	perCPU := make([]uint64, ebpf.MustPossibleCPU())
	for i := range perCPU {
		perCPU[i] = until
	}
	if err := w.shared[netobsMapSynBucket].Put(uint32(0), perCPU); err != nil {
		tb.Fatal(err)
	}
}

// What is over the limit is not reported, but its flow is known: the rest of the connection is reported, once.
func TestRateLimit(t *testing.T) {
	c, s := fromClient, fromServer
	w := newWorld(t, Options{})
	for _, test := range []struct {
		name  string
		steps []step
	}{
		{"a connection", []step{
			{at: 0, seg: c(syn, 100, 0, 0), want: limited},
			{at: 1, seg: c(syn, 100, 0, 0), want: duplicate},
			{at: 0, seg: c(syn, 100, 0, 0), want: limited},
			{at: 1, seg: s(syn|ack, 300, 101, 0), want: limited},
			{at: 0, seg: s(syn|ack, 300, 101, 0), want: duplicate},
			{at: 0, seg: c(ack, 101, 301, 0), want: opens},
			{at: 1, seg: c(ack, 101, 301, 0), want: ordinary},
			{at: 0, seg: c(fin|ack, 101, 301, 0), want: reported},
			{at: 1, seg: s(fin|ack, 301, 102, 0), want: reported},
			{at: 0, seg: c(ack, 102, 302, 0), want: closes},
		}},
		{"refused", []step{
			{at: 0, seg: c(syn, 100, 0, 0), want: limited},
			{at: 0, seg: s(rst|ack, 0, 101, 0), want: reported},
		}},
		{"a SYN that is more", []step{
			{at: 0, seg: c(syn|fin, 100, 0, 0), want: reported},
			{at: 0, seg: c(syn|rst, 200, 0, 0), want: reported},
		}},
		{"simultaneous open", []step{
			{at: 0, seg: c(syn, 100, 0, 0), want: limited},
			{at: 0, seg: s(syn, 300, 0, 0), want: limited},
			{at: 0, seg: c(syn|ack, 100, 301, 0), want: limited},
			{at: 0, seg: s(syn|ack, 300, 101, 0), want: opens}, // completes, and has no limit
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			w.fillBucket(t, monotonic(t)+uint64(time.Hour))
			lost, limits := w.RecordsLost(), uint64(0)
			for _, s := range test.steps {
				if s.want == limited {
					limits++
				}
			}
			netns := w.namespace()
			play(t, []*point{w.point(t, netns, false), w.point(t, netns, true)}, test.steps, nil)
			if got, want := w.RecordsLost()-lost, limits; got != want {
				t.Errorf("records lost: got %d, want %d", got, want)
			}
		})
	}
}

// Each record takes its interval, and a tenth of a second is the most that may be taken ahead.
func TestRateLimitIsOfTime(t *testing.T) {
	const rate = 4
	w := newWorld(t, Options{SYNRate: rate})
	p := w.point(t, w.namespace(), true)
	taken := func() (until uint64) {
		var perCPU []uint64
		if err := w.shared[netobsMapSynBucket].Lookup(uint32(0), &perCPU); err != nil {
			t.Fatal(err)
		}
		for _, v := range perCPU {
			until = max(until, v)
		}
		return until
	}
	start := monotonic(t)
	p.check(t, fromClient(syn, 1, 0, 0), reported)
	if got, lo, hi := taken(), start+1e9/rate, monotonic(t)+1e9/rate; got < lo || got > hi {
		t.Errorf("an idle limit is taken until %d, want from %d to %d", got, lo, hi)
	}
	w.fillBucket(t, monotonic(t)+50e6)
	p.check(t, fromClient(syn, 2, 0, 0), reported)
	if got, lo, hi := taken(), start+50e6+1e9/rate, monotonic(t)+50e6+1e9/rate; got < lo || got > hi {
		t.Errorf("a limit in use is taken until %d, want from %d to %d", got, lo, hi)
	}
	w.fillBucket(t, monotonic(t)+3600e9)
	p.check(t, fromClient(syn, 3, 0, 0), limited)
}
