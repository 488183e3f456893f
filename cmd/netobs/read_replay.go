package main

import (
	"context"
	"fmt"
	"io"
	"math"
	"strings"
	"time"

	"netobs/decode"
	"netobs/decode/pcap"
)

const (
	// replayCapacity is how many connections are followed at a time. Memory is taken as they come, 300 MB at most.
	replayCapacity = 1 << 20

	// outOfOrder is how far the time of a segment may be behind that of one before: packets of several CPUs come in the
	// order in which the capture got hold of them.
	outOfOrder = time.Millisecond

	// breakAfter is how long nothing may be seen between two files of a rotated capture. After a longer time silence
	// proves nothing: perhaps nobody captured.
	breakAfter = 3 * time.Second

	// pointsMost is how many interfaces are remembered. Each section of a pcapng file has its own.
	pointsMost = 1 << 12
)

// segmentSink is a sink that wants to see segments, and nothing else.
type segmentSink interface {
	sink
	segment(*decode.Segment)
	restart() // segments to come have nothing to do with those before
}

// follower is a sink that wants to see segments and what they meant, each after the results that it had.
type follower interface {
	sink
	place(*decode.Segment, decode.Place)
}

// replay gives capture files to a tracker, as pipeline does with live events.
type replay struct {
	out      sink
	segments segmentSink // out, or nil
	follower follower    // out, or nil
	decap    bool
	labels   bool // several files: points have their names
	totals   *totals

	// A world is what the files know that continue each other.
	begun   bool
	tracker *decode.Tracker // nil if the world is for segments
	last    int64           // latest time in the world
	points  uint32
}

func newReplay(out sink) *replay {
	r := &replay{out: out, totals: newTotals()}
	r.segments, _ = out.(segmentSink)
	r.follower, _ = out.(follower)
	return r
}

// join makes the world ready for a file that begins at a time. controlOnly says that it has no data.
func (r *replay) join(begin int64, controlOnly bool) {
	if r.begun && begin >= r.last-int64(outOfOrder) {
		if r.tracker != nil && begin-r.last > int64(breakAfter) {
			r.tracker.Loss(r.last)
		}
		return
	}
	r.endWorld()
	r.begun, r.last = true, math.MinInt64
	if r.segments != nil {
		r.segments.restart()
		return
	}
	r.tracker = decode.NewTracker(decode.TrackerOptions{
		EverySegment: !controlOnly,
		Capacity:     replayCapacity,
		OnHandshake: func(h *decode.Handshake) {
			r.totals.handshake(h)
			r.out.handshake(h)
		},
		OnConnection: func(c *decode.Connection) {
			r.totals.connection(c)
			r.out.connection(c)
		},
	})
}

// endWorld counts what is unfinished, and stays so: the capture does not tell what came after it.
func (r *replay) endWorld() {
	if r.tracker != nil {
		r.totals.add(r.tracker.Tallies())
	}
	r.tracker = nil
	if l, ok := r.out.(*ladders); ok {
		l.restart()
	}
}

// readFile opens and replays a file. Its errors name it.
func (r *replay) readFile(ctx context.Context, name string, stdin io.Reader, bar *progress) []error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	in, err := openInput(ctx, name, stdin)
	if err != nil {
		return []error{err}
	}
	defer in.Close()
	ahead := newReadAhead(r.segments != nil || r.follower != nil)
	in.before = func(n int64) {
		bar.add(n)
		ahead.handOver() // this may be a pipe with nothing more to say for now
	}
	p, err := pcap.NewReader(in, in.name, pcap.Options{Decap: r.decap})
	if err != nil {
		return []error{in.explain(err)}
	}
	go ahead.run(p)
	r.take(ahead, name, p.ControlOnly(), stop)
	var errs []error
	if ahead.err != io.EOF {
		errs = append(errs, in.explain(ahead.err))
	}
	stats := p.Stats()
	r.totals.addFile(&stats)
	for _, l := range stats.Unsupported() {
		link := strings.TrimPrefix(pcap.LinkName(l.Link), "link type ")
		errs = append(errs, fmt.Errorf("%s: unsupported link type %s: %s not read", in.name, link,
			plural(l.Packets, "packet")))
	}
	return errs
}

// take does what pipeline.run does. It calls stop if the output fails, and then goes on until there are no more segments.
func (r *replay) take(ahead *readAhead, name string, controlOnly bool, stop func()) {
	var (
		from  *decode.Point // of the file
		point *decode.Point // ours
		first int64
	)
	points := make(map[*decode.Point]*decode.Point)
	for b := range ahead.full {
		for i := range b.segments {
			seg := &b.segments[i]
			if from == nil {
				r.join(seg.Time, controlOnly)
				first = seg.Time
			}
			if seg.Point != from {
				from = seg.Point
				if point = points[from]; point == nil {
					if len(points) == pointsMost {
						clear(points)
					}
					point = r.newPoint(from, name)
					points[from] = point
				}
			}
			seg.Point = point
			r.last = max(r.last, seg.Time)
			r.step(seg)
		}
		ahead.empty <- b
		// All that was read is printed before there is a wait for more.
		if len(ahead.full) == 0 && r.out.flush() != nil {
			stop()
		}
	}
	if from == nil {
		return
	}
	if r.tracker != nil {
		r.tracker.Advance(r.last)
	}
	r.totals.saw(first, r.last)
}

// step takes one segment.
func (r *replay) step(seg *decode.Segment) {
	if r.segments != nil {
		r.segments.segment(seg)
		return
	}
	r.tracker.Advance(r.last) // each time, so that results come in the order of their times
	place := r.tracker.Step(seg)
	if r.follower != nil {
		r.follower.place(seg, place)
	}
}

// newPoint returns the point of a file with an identity of its own. Captures do not tell namespaces, but those that netobs
// wrote: what files know of the place is their name, if there are several.
func (r *replay) newPoint(p *decode.Point, name string) *decode.Point {
	r.points++
	own := *p
	own.ID = r.points
	if r.labels && own.Netns == "" {
		own.Netns = name
	}
	return &own
}
