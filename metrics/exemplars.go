package metrics

import (
	"net/netip"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"netobs/decode"
)

// failure is a handshake that was not completed: the exemplar of its outcome.
type failure struct {
	originator, responder netip.AddrPort
	end                   int64 // ns since the Unix epoch
}

// failureEvery is how long an exemplar stands at least, in ns: a flood must not make one for each of its SYNs.
const failureEvery = int64(time.Second)

// note makes h the exemplar of its outcome, if it is time for a new one.
func (a *attempts) note(h *decode.Handshake) {
	last := &a.failed[h.Role][h.Outcome]
	if h.Outcome != decode.OutcomeCompleted && (*last == nil || h.End-(*last).end >= failureEvery) {
		*last = &failure{h.Originator, h.Responder, h.End}
	}
}

// exemplar returns f for the exposition.
func (f *failure) exemplar() prometheus.Exemplar {
	return prometheus.Exemplar{Value: 1, Labels: socketPair(f.originator, f.responder), Timestamp: time.Unix(0, f.end)}
}

// socketPair names the ends of a connection. It takes 113 characters at most; 128 are allowed.
func socketPair(originator, responder netip.AddrPort) prometheus.Labels {
	return prometheus.Labels{"originator": originator.String(), "responder": responder.String()}
}

const (
	// slowShare: a handshake is slow if at most one in so many took as long, by classic bucket.
	slowShare = 100
	// surelySlow, in seconds, is what it takes if a segment was lost. One that takes so long is slow in any company.
	surelySlow = 1
)

// leg is the histogram of one leg of handshakes. Slow ones get an exemplar.
type leg struct {
	prometheus.Observer
	counts [11]uint64 // by classic bucket, the last is +Inf
	total  uint64
}

// observe counts a duration in seconds, of the handshake h.
func (l *leg) observe(seconds float64, h *decode.Handshake) {
	bucket, _ := slices.BinarySearch(handshakeBuckets, seconds) // the first bound that is no less
	slow := uint64(0)
	for _, n := range l.counts[bucket:] {
		slow += n
	}
	isSlow := seconds >= surelySlow || l.total >= slowShare && slow*slowShare <= l.total
	l.counts[bucket]++
	l.total++
	if isSlow {
		l.Observer.(prometheus.ExemplarObserver).ObserveWithExemplar(seconds, socketPair(h.Originator, h.Responder))
		return
	}
	l.Observe(seconds)
}
