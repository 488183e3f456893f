package main

import (
	"context"
	"errors"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"time"

	"golang.org/x/sys/unix"

	"netobs/bpf"
	"netobs/loader"
	"netobs/metrics"
)

// live is what a command makes of live traffic.
type live struct {
	target *target
	out    sink
	stderr io.Writer // for what is watched, and logs

	metrics   metrics.Options
	listeners bool       // see loader.Options
	shows     *bpf.Watch // see bpf.Options

	// beside runs until its context is done; when it returns before, the watching ends. Optional.
	beside func(context.Context, *pipeline) error
	// ready is called when all there is to watch is watched, and privileges were given up. Optional.
	ready func() error
	// ended is called after the last segment. Optional.
	ended func(p *pipeline, took time.Duration) error
}

// watch runs until ctx is done. Shutdown goes the way of the data: detach, flush the ring, drain it, stop what runs beside,
// close.
func (l *live) watch(ctx context.Context) (err error) {
	// Whoever reads the output may go, as head does: that is an error of a write then, not the end without detaching.
	pipe := make(chan os.Signal, 1)
	signal.Notify(pipe, unix.SIGPIPE)
	defer signal.Stop(pipe)
	namespaces, err := l.target.namespaces()
	if err != nil {
		return err
	}
	opts := l.target.options(namespaces, l.stderr)
	opts.Listeners, opts.BPF.Watch = l.listeners && !l.target.unprivileged, l.shows
	loaded, err := loader.New(opts)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, loaded.Close()) }()
	attribute(l.out, loaded.Listener)
	p, err := newPipeline(loaded, l.out, l.target.limits.latency, l.metrics)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.close()) }()

	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	start := time.Now()
	read := make(chan error, 1)
	go func() {
		defer cancel() // nobody reads any more
		read <- p.run()
	}()
	besideCtx, stopBeside := context.WithCancel(context.WithoutCancel(ctx))
	defer stopBeside()
	beside := make(chan error, 1)
	go func() {
		if l.beside == nil {
			beside <- nil
			return
		}
		defer cancel()
		beside <- l.beside(besideCtx, p)
	}()

	watchErr := loaded.Attach(ctx)
	if watchErr == nil && ctx.Err() == nil {
		watchErr = l.attached(loaded, namespaces)
		debug.FreeOSMemory() // to begin takes more than to go on
	}
	if watchErr == nil {
		watchErr = loaded.Follow(ctx)
	}
	flushErr := p.reader.Flush()
	readErr := waitAtMost(outputPatience, read)
	stopBeside()
	besideErr := <-beside
	if err := errors.Join(watchErr, flushErr, readErr, besideErr); err != nil || l.ended == nil {
		return err
	}
	return l.ended(p, time.Since(start))
}

// attached gives up privileges, and says what is watched.
func (l *live) attached(loaded *loader.Loader, namespaces []loader.Netns) error {
	if err := l.target.restrict(loaded); err != nil {
		return err
	}
	printWatching(l.stderr, namespaces, loaded.Interfaces(), l.target)
	if l.ready == nil {
		return nil
	}
	return l.ready()
}

// outputPatience is how long the end waits for somebody to take what is still to be printed.
const outputPatience = 3 * time.Second

func waitAtMost(patience time.Duration, done <-chan error) error {
	select {
	case err := <-done:
		return err
	case <-time.After(patience):
		return errors.New("whoever reads the output does not take it: the last lines are lost")
	}
}
