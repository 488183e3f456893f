package main

import (
	"errors"
	"runtime"
	"time"

	"netobs/decode"
	"netobs/loader"
	"netobs/metrics"
)

// While the ring is never empty, the tracker's clock is moved after so many segments, and what happened is handed on after
// so long.
const (
	advanceEvery = 1000
	handOnEvery  = time.Second
)

// sink takes the results of the tracker. What the pointers show is valid only during the call.
type sink interface {
	handshake(*decode.Handshake)
	connection(*decode.Connection)
	flush() error // when the ring was found empty
}

// tallySink is a sink that also takes what the tracker counts, and is told what will not be asked for again.
type tallySink interface {
	sink
	tallies(decode.Tallies)
	forget(netns string)
}

// pipeline is the one way that data flows: reader, tracker, metrics and output. Its fields belong to the goroutine that
// runs it, until run returns.
type pipeline struct {
	loader   *loader.Loader
	reader   *loader.Reader
	tracker  *decode.Tracker
	metrics  *metrics.Metrics
	out      sink
	follower follower // out, or nil

	outcomes  map[decode.Outcome]uint64
	teardowns map[decode.Teardown]uint64
}

// newPipeline returns the pipeline of l. latency is how long a segment may wait to be read; 0 means the default.
func newPipeline(l *loader.Loader, out sink, latency time.Duration, opts metrics.Options) (*pipeline, error) {
	reader, err := l.NewReader(latency)
	if err != nil {
		return nil, err
	}
	p := &pipeline{
		loader:    l,
		reader:    reader,
		out:       out,
		outcomes:  make(map[decode.Outcome]uint64),
		teardowns: make(map[decode.Teardown]uint64),
	}
	p.follower, _ = out.(follower)
	p.metrics = metrics.New(build(), func() (metrics.Kernel, error) { return kernelMetrics(l) }, opts)
	p.tracker = decode.NewTracker(decode.TrackerOptions{
		OnHandshake: func(h *decode.Handshake) {
			p.outcomes[h.Outcome]++
			p.metrics.ObserveHandshake(h)
			out.handshake(h)
		},
		OnConnection: func(c *decode.Connection) {
			p.teardowns[c.Teardown]++
			p.metrics.ObserveConnection(c)
			out.connection(c)
		},
	})
	return p, nil
}

// run reads until the reader is flushed. The error is that of the ring, or of the output.
func (p *pipeline) run() error {
	var seg decode.Segment
	var steps int
	var handedOn int64 // on the clock of segments
	tallies, _ := p.out.(tallySink)
	for {
		err := p.reader.Next(&seg)
		switch {
		case err == nil:
			p.noteLoss()
			place := p.tracker.Step(&seg)
			if p.follower != nil {
				p.follower.place(&seg, place)
			}
			if steps++; steps%advanceEvery != 0 {
				continue
			}
			p.learn(seg.Time)
			p.tracker.Advance(seg.Time)
			if seg.Time-handedOn < int64(handOnEvery) {
				continue
			}
			handedOn = seg.Time
		case errors.Is(err, loader.ErrDrained) || errors.Is(err, loader.ErrFlushed):
			p.noteLoss()
			p.learn(p.reader.Now())
			p.tracker.Advance(p.reader.Now())
			for _, netns := range p.reader.Gone() {
				p.tracker.Detach(netns)
			}
			for _, name := range p.reader.Forgotten() {
				p.metrics.Forget(name)
				if tallies != nil {
					tallies.forget(name)
				}
			}
			handedOn = p.reader.Now()
		default:
			return err
		}
		now := p.tracker.Tallies()
		p.metrics.ObserveTallies(now)
		if tallies != nil {
			tallies.tallies(now)
		}
		if err := p.out.flush(); err != nil {
			return err
		}
		if errors.Is(err, loader.ErrFlushed) {
			return nil
		}
	}
}

// noteLoss tells the tracker, before it concludes anything, that what it misses may have been lost by us.
func (p *pipeline) noteLoss() {
	if upTo, lost := p.reader.Lost(); lost {
		p.tracker.Loss(upTo)
	}
}

// learn tells the tracker of connections that are older than netobs. All records up to a time were read.
func (p *pipeline) learn(upTo int64) {
	for _, census := range p.reader.Learned(upTo) {
		p.tracker.Learn(&census)
	}
}

func (p *pipeline) close() error { return p.reader.Close() }

func build() metrics.Build {
	return metrics.Build{Version: revision(), Go: runtime.Version(), Kernel: kernelRelease()}
}
