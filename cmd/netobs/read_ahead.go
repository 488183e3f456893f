package main

import (
	"slices"

	"netobs/decode"
	"netobs/decode/pcap"
)

const (
	batchSize   = 1024
	batchesMost = 4
	optionsMost = 40 // bytes in a segment (RFC 9293 §3.1)
)

// readAhead parses a capture while the tracker is busy with what came before. Batches go round: run fills them, and whoever
// has read one from full gives it back to empty. run ends by closing full.
type readAhead struct {
	full, empty chan *batch
	options     bool   // whether segments keep their options: a tracker does not look at them
	filling     *batch // of the goroutine of run
	err         error  // why it ended; valid iff full is closed
}

// batch is some segments, with the options that their reader would overwrite.
type batch struct {
	segments []decode.Segment
	options  []byte
}

func newReadAhead(options bool) *readAhead {
	a := &readAhead{
		full:    make(chan *batch, batchesMost),
		empty:   make(chan *batch, batchesMost),
		options: options,
		filling: newBatch(),
	}
	for range batchesMost - 1 {
		a.empty <- newBatch()
	}
	return a
}

func newBatch() *batch {
	return &batch{
		segments: make([]decode.Segment, 0, batchSize),
		options:  make([]byte, 0, batchSize*optionsMost),
	}
}

// run reads to the end.
func (a *readAhead) run(p *pcap.Reader) {
	defer close(a.full)
	var seg decode.Segment
	for a.err = p.Next(&seg); a.err == nil; a.err = p.Next(&seg) {
		b := a.filling
		switch n := len(b.options); {
		case !a.options:
			seg.Options = nil
		case len(seg.Options) > 0:
			b.options = append(b.options, seg.Options...)
			seg.Options = slices.Clip(decode.Options(b.options[n:]))
		}
		b.segments = append(b.segments, seg)
		if len(b.segments) == batchSize {
			a.handOver()
		}
	}
	a.handOver()
}

// handOver gives away what there is.
func (a *readAhead) handOver() {
	if len(a.filling.segments) == 0 {
		return
	}
	a.full <- a.filling
	a.filling = <-a.empty
	a.filling.segments = a.filling.segments[:0]
	a.filling.options = a.filling.options[:0]
}
