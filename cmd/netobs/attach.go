package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"netobs/metrics"
)

// attachOptions are the flags of attach.
type attachOptions struct {
	target
	output    string
	listen    string
	listenSet bool
}

func (o *attachOptions) addFlags(fs *pflag.FlagSet) {
	o.target.addFlags(fs)
	fs.StringVar(&o.output, "output", outputText, "`form` in which to print connections: text, json or none")
	fs.StringVar(&o.listen, "listen", defaultListen,
		"`address` to serve metrics on, empty for none; without the flag, the next\nfree port is taken")
	o.addTuning(fs)
}

// validate returns all that is wrong with the flags.
func (o *attachOptions) validate() error {
	_, err := newSink(o.output, io.Discard)
	return errors.Join(o.target.validate(), err, checkListen(o.listen))
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
			if err := o.validate(); err != nil {
				return usageError{err, cmd.CommandPath()}
			}
			o.listenSet = cmd.Flags().Changed("listen")
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
	listener, err := listen(o.listen, o.listenSet)
	if err != nil {
		return err
	}
	if listener != nil {
		defer listener.Close()
	}
	l := live{
		target:    &o.target,
		out:       out,
		listeners: o.output != outputNone,
		stderr:    stderr,
		beside:    func(ctx context.Context, p *pipeline) error { return serve(ctx, listener, p.metrics) },
		ready: func() {
			if listener != nil {
				fmt.Fprintf(stderr, "metrics on http://%s/metrics\n", listener.Addr())
			}
		},
		ended: func(p *pipeline, took time.Duration) error { return printSummary(stderr, p, took) },
	}
	return l.watch(ctx)
}

// serve serves metrics, or without a listener waits for the end.
func serve(ctx context.Context, l net.Listener, m *metrics.Metrics) error {
	if l == nil {
		<-ctx.Done()
		return nil
	}
	return metrics.Serve(ctx, l, metrics.NewHandler(m))
}
