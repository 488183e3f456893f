package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"

	"netobs/decode"
	"netobs/metrics"
)

// recording is what netobs saw of the demo.
type recording struct {
	steps       []step // in the order in which they passed lo
	handshakes  []decode.Handshake
	connections []decode.Connection
	exposition  []byte // the metrics afterwards
}

// step is a segment and what it meant.
type step struct {
	decode.Segment
	decode.Place
}

// witness writes the recording: it is the sink of the pipeline. What it has belongs to the goroutine that runs the
// pipeline, until that ended.
type witness struct {
	recording
	over  bool
	ended chan struct{} // closed when over becomes true
}

func newWitness() *witness { return &witness{ended: make(chan struct{})} }

func (w *witness) place(seg *decode.Segment, place decode.Place) {
	s := step{*seg, place}
	s.Options = slices.Clone(seg.Options)
	w.steps = append(w.steps, s)
}

func (w *witness) handshake(h *decode.Handshake) { w.handshakes = append(w.handshakes, *h) }

func (w *witness) connection(c *decode.Connection) { w.connections = append(w.connections, *c) }

// flush sees whether all is over. The ring was found empty, so what came late is recorded, too.
func (w *witness) flush() error {
	completed := 0
	for i := range w.handshakes {
		if w.handshakes[i].Outcome == decode.OutcomeCompleted {
			completed++
		}
	}
	if !w.over && len(w.handshakes) == demoAttempts && len(w.connections) == completed {
		w.over = true
		close(w.ended)
	}
	return nil
}

// watch runs the pipeline while talk makes traffic, until what came of that is known.
func (w *witness) watch(ctx context.Context, p *pipeline, talk func(context.Context) error) (*recording, error) {
	ours, cancel := context.WithTimeoutCause(ctx, demoPatience, errNoVerdict)
	defer cancel()
	read := make(chan error, 1)
	go func() {
		defer cancel() // nobody reads any more
		read <- p.run()
	}()
	err := talk(ours)
	if err == nil {
		select {
		case <-w.ended:
		case <-ours.Done():
			err = context.Cause(ours)
		}
	}
	flushErr := p.reader.Flush()
	readErr := <-read
	switch {
	case readErr != nil:
		err = readErr // the reason of the others
	case ctx.Err() != nil:
		err = errInterrupted
	}
	if err := errors.Join(err, flushErr); err != nil {
		return nil, err
	}
	w.exposition, err = scrape(p.metrics)
	return &w.recording, err
}

// scrape returns what a GET of /metrics would.
func scrape(m *metrics.Metrics) ([]byte, error) {
	req, err := http.NewRequest(http.MethodGet, "/metrics", nil)
	if err != nil {
		return nil, err
	}
	page := page{header: make(http.Header), status: http.StatusOK}
	metrics.NewHandler(m, metrics.HandlerOptions{}).ServeHTTP(&page, req)
	if page.status != http.StatusOK {
		return nil, fmt.Errorf("gather metrics: %s", bytes.TrimSpace(page.Bytes()))
	}
	return page.Bytes(), nil
}

// page is a response in memory.
type page struct {
	bytes.Buffer
	header http.Header
	status int
}

func (p *page) Header() http.Header    { return p.header }
func (p *page) WriteHeader(status int) { p.status = status }
