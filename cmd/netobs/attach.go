package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync/atomic"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"netobs/metrics"
)

// attachOptions are the flags of attach.
type attachOptions struct {
	target
	output  string
	web     webOptions
	metrics metricsFlags
}

func (o *attachOptions) addFlags(fs *pflag.FlagSet) {
	o.target.addFlags(fs)
	fs.StringVar(&o.output, "output", outputText, "`form` in which to print connections: text, json or none")
	o.web.addFlags(fs)
	o.metrics.addFlags(fs)
	o.addTuning(fs)
}

// validate returns all that is wrong with the flags.
func (o *attachOptions) validate() error {
	_, err := newSink(o.output, io.Discard)
	return errors.Join(o.target.validate(), err, o.web.validate(), o.metrics.validate())
}

func newAttach(stdout, stderr io.Writer) *cobra.Command {
	var o attachOptions
	cmd := &cobra.Command{
		Use:   "attach",
		Short: "Watch network namespaces: a line for each handshake and teardown, and metrics",
		Long: `Watch network namespaces: print a line for each handshake and each teardown as it happens, and serve Prometheus
metrics. Ctrl-C ends it, prints a summary and leaves nothing behind.`,
		Example: `  netobs attach --all --output none
  netobs attach --netns test
  netobs attach --netns host --kind physical --output none
  netobs attach --pid 1234 --output json | jq 'select(.outcome == "refused")'`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			o.web.complete(cmd.Flags())
			if err := o.validate(); err != nil {
				return usageError{err, cmd.CommandPath()}
			}
			return attach(cmd.Context(), o, stdout, stderr)
		},
	}
	o.addFlags(cmd.Flags())
	return cmd
}

// attach watches until ctx is done.
func attach(ctx context.Context, o attachOptions, stdout, stderr io.Writer) error {
	out, err := newSink(o.output, stdout)
	if err != nil {
		return err
	}
	if err := o.web.checkConfig(); err != nil {
		return err
	}
	listeners, err := o.web.open()
	if err != nil {
		return err
	}
	for _, listener := range listeners {
		defer listener.Close()
	}
	var ready atomic.Bool
	l := live{
		target:    &o.target,
		out:       out,
		metrics:   o.metrics.Options,
		listeners: o.output != outputNone,
		stderr:    stderr,
		beside: func(ctx context.Context, p *pipeline) error {
			h := metrics.NewHandler(p.metrics, metrics.HandlerOptions{Ready: ready.Load, Profiling: o.web.pprof})
			return metrics.Serve(ctx, listeners, h, metrics.ServeOptions{ConfigFile: o.web.config, Log: o.logger(stderr)})
		},
		ready: func() error {
			if err := o.web.checkConfig(); err != nil {
				return fmt.Errorf("%w; netobs reads it again for each connection, without the privilege to read the files of others",
					err)
			}
			ready.Store(true)
			for _, listener := range listeners {
				fmt.Fprintf(stderr, "metrics on %s://%s/metrics\n", o.web.scheme(), listener.Addr())
			}
			daemon.SdNotify(true, daemon.SdNotifyReady) // an error means that nobody wants to know
			return nil
		},
		ended: func(p *pipeline, took time.Duration) error { return printSummary(stderr, p, took) },
	}
	return l.watch(ctx)
}
