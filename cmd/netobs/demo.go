package main

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"time"

	"github.com/spf13/cobra"

	"netobs/bpf"
	"netobs/loader"
	"netobs/metrics"
)

// demoPatience is how long the demo may take. On an idle machine it takes a third of a second.
const demoPatience = 10 * time.Second

var (
	errInterrupted = errors.New("interrupted: everything that the demo had made is removed")
	errNoVerdict   = errors.New("the end of the demo's connections was not seen within " + demoPatience.String())
)

func newDemo(stdout, stderr io.Writer) *cobra.Command {
	return &cobra.Command{
		Use:   "demo",
		Short: "Tell the story of one connection, on any Linux machine",
		Long: `Tell the story of one TCP connection, segment by segment, then of one that is refused, and show the lines and the
metrics that come of them. The demo needs root and nothing else: it makes a network namespace of its own with an HTTP
server and a client in it, watches it, and removes everything again, also after Ctrl-C.`,
		Example: `  netobs demo`,
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return demo(cmd.Context(), stdout, stderr)
		},
	}
}

// demo first records what happens and removes everything it made, then tells the story.
func demo(ctx context.Context, stdout, stderr io.Writer) error {
	s := newStory(stdout, isTerminal(stdout))
	log := slog.New(slog.NewTextHandler(stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	r, err := record(ctx, log, s.introduce)
	if err != nil {
		return err
	}
	return s.tell(r)
}

// record makes a namespace, lets two connections happen in it and returns what netobs saw of them. It calls live when
// the namespace is watched. When it returns, nothing of what it made is left.
func record(ctx context.Context, log *slog.Logger, live func() error) (_ *recording, err error) {
	if ctx.Err() != nil {
		return nil, errInterrupted
	}
	ns, err := newDemoNetns()
	if err != nil {
		return nil, err
	}
	defer ns.close()
	l, err := loader.New(loader.Options{
		Netns:  []loader.Netns{ns.Netns},
		Select: loader.Selection{Kinds: []string{loader.KindLoopback}},
		BPF:    bpf.Options{Watch: &bpf.Watch{All: true}},
		Log:    log,
	})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	if err := l.Attach(ctx); err != nil {
		return nil, err
	}
	if ctx.Err() != nil {
		return nil, errInterrupted
	}
	for _, i := range l.Interfaces() {
		if !i.Watched {
			return nil, errors.New("the demo's loopback interface could not be watched") // why is logged
		}
	}
	w := newWitness()
	p, err := newPipeline(l, w, 0, metrics.Options{})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, p.close()) }()
	if err := live(); err != nil {
		return nil, err
	}
	return w.watch(ctx, p, func(ctx context.Context) error { return talk(ctx, &ns.Netns) })
}
