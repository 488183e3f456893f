package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"

	"netobs/loader"
	"netobs/metrics"
)

const logLevelFlag = "log-level"

// attachOptions are the flags of attach.
type attachOptions struct {
	dynamic    loader.Dynamic
	netns      []string
	pids       []int
	kinds      []string
	interfaces []string
	hooks      []string
	fastAttach bool
	output     string
	listen     string
	listenSet  bool
	limits     limits
	logLevel   slog.Level
}

func (o *attachOptions) addFlags(fs *pflag.FlagSet) {
	fs.SortFlags = false
	fs.BoolVar(&o.dynamic.All, "all", false, "watch all network namespaces of this host, those to come included")
	fs.StringArrayVar(&o.dynamic.Exclude, "exclude-netns", nil,
		"with --all, not those whose name, as in the output, matches this `glob`, such as\n'cni-*'; may be repeated")
	fs.StringArrayVar(&o.dynamic.Containers, "container", nil,
		"watch this container: its `name`, or the beginning of its id; it is followed when it is\nstarted again; may be repeated")
	fs.StringArrayVar(&o.netns, "netns", nil,
		"network namespace to watch: a `name` under /run/netns, a path such as\n/proc/PID/ns/net, or host; may be repeated")
	fs.IntSliceVar(&o.pids, "pid", nil, "watch the network namespace of the process with this `id`; may be repeated")
	fs.StringSliceVar(&o.kinds, "kind", nil,
		"`kinds` of interfaces: "+wrapped(loader.Kinds(), 64)+"\n(default loopback,veth,bridge, or any with --interface)")
	fs.StringArrayVar(&o.interfaces, "interface", nil,
		"only interfaces whose name matches this `glob`, such as 'eth*'; may be repeated")
	fs.StringSliceVar(&o.hooks, "hook", nil,
		"`hooks` to attach to, the preferred one first: "+strings.Join(loader.Hooks(), ",")+"\n(default auto: tcx, or tc where the kernel has no tcx)")
	fs.BoolVar(&o.fastAttach, "fast-attach", false,
		"let the kernel hurry while many points are attached, for each of which it else\nwaits some 10 ms; interrupts every CPU")
	fs.StringVar(&o.output, "output", outputText, "`form` in which to print connections: text, json or none")
	fs.StringVar(&o.listen, "listen", defaultListen,
		"`address` to serve metrics on, empty for none; without the flag, the next\nfree port is taken")
	o.limits.addFlags(fs)
	fs.TextVar(&o.logLevel, logLevelFlag, slog.LevelWarn, "`level` from which to log: debug, info, warn or error")
	fs.Lookup(logLevelFlag).DefValue = "warn" // not WARN
}

// wrapped joins words by commas, in lines that are not much longer than width.
func wrapped(words []string, width int) string {
	var b strings.Builder
	line := 0
	for i, word := range words {
		if i > 0 {
			b.WriteByte(',')
		}
		if line > 0 && line+len(word) > width {
			b.WriteByte('\n')
			line = 0
		}
		b.WriteString(word)
		line += len(word) + 1
	}
	return b.String()
}

// validate returns all that is wrong with the flags.
func (o *attachOptions) validate() error {
	var errs []error
	if len(o.netns) == 0 && len(o.pids) == 0 && len(o.dynamic.Containers) == 0 && !o.dynamic.All {
		errs = append(errs, errors.New("say what to watch: --all, --netns NAME, --netns host, --container NAME or --pid N"))
	}
	if len(o.dynamic.Exclude) > 0 && !o.dynamic.All {
		errs = append(errs, errors.New("--exclude-netns goes with --all"))
	}
	errs = append(errs, o.dynamic.Validate())
	for _, pid := range o.pids {
		if pid <= 0 {
			errs = append(errs, fmt.Errorf("--pid %d is no process id", pid))
		}
	}
	for _, kind := range o.kinds {
		if !slices.Contains(loader.Kinds(), kind) {
			errs = append(errs, fmt.Errorf("--kind %s is none of %s", kind, strings.Join(loader.Kinds(), ", ")))
		}
	}
	for _, hook := range o.hooks {
		if !slices.Contains(loader.Hooks(), hook) {
			errs = append(errs, fmt.Errorf("--hook %s is none of %s", hook, strings.Join(loader.Hooks(), ", ")))
		}
	}
	if _, err := newSink(o.output, io.Discard); err != nil {
		errs = append(errs, err)
	}
	errs = append(errs, checkListen(o.listen))
	errs = append(errs, o.limits.validate())
	selection := loader.Selection{Names: o.interfaces}
	errs = append(errs, selection.Validate())
	return errors.Join(errs...)
}

// namespaces finds what the flags name.
func (o *attachOptions) namespaces() ([]loader.Netns, error) {
	var all []loader.Netns
	var errs []error
	for _, arg := range o.netns {
		ns, err := loader.FindNetns(arg)
		errs = append(errs, err)
		all = append(all, ns)
	}
	for _, pid := range o.pids {
		ns, err := loader.FindPid(pid)
		errs = append(errs, err)
		all = append(all, ns)
	}
	return all, errors.Join(errs...)
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

// attach watches until ctx is done. Shutdown goes the way of the data: detach, flush the ring, drain it, stop serving,
// close.
func attach(ctx context.Context, o attachOptions, stdout, stderr io.Writer) (err error) {
	// Whoever reads the output may go, as head does: that is an error of a write then, not the end without detaching.
	pipe := make(chan os.Signal, 1)
	signal.Notify(pipe, unix.SIGPIPE)
	defer signal.Stop(pipe)
	namespaces, err := o.namespaces()
	if err != nil {
		return err
	}
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
	l, err := loader.New(loader.Options{
		Netns:      namespaces,
		Dynamic:    o.dynamic,
		Select:     loader.Selection{Kinds: o.kinds, Names: o.interfaces},
		Hooks:      o.hooks,
		FastAttach: o.fastAttach,
		Listeners:  o.output != outputNone,
		BPF:        o.limits.bpf,
		Log:        slog.New(slog.NewTextHandler(stderr, &slog.HandlerOptions{Level: o.logLevel})),
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	attribute(out, l.Listener)
	p, err := newPipeline(l, out, o.limits.latency)
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
	serveCtx, stopServing := context.WithCancel(context.WithoutCancel(ctx))
	defer stopServing()
	served := make(chan error, 1)
	go func() {
		defer cancel()
		served <- serve(serveCtx, listener, p.metrics)
	}()

	watchErr := l.Attach(ctx)
	if watchErr == nil && ctx.Err() == nil {
		printWatching(stderr, namespaces, l.Interfaces(), o)
		if listener != nil {
			fmt.Fprintf(stderr, "metrics on http://%s/metrics\n", listener.Addr())
		}
	}
	if watchErr == nil {
		watchErr = l.Follow(ctx)
	}
	flushErr := p.reader.Flush()
	readErr := waitAtMost(outputPatience, read)
	stopServing()
	serveErr := <-served
	if err := errors.Join(watchErr, flushErr, readErr, serveErr); err != nil {
		return err
	}
	return printSummary(stderr, p, time.Since(start))
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

// serve serves metrics, or without a listener waits for the end.
func serve(ctx context.Context, l net.Listener, m *metrics.Metrics) error {
	if l == nil {
		<-ctx.Done()
		return nil
	}
	return metrics.Serve(ctx, l, metrics.NewHandler(m))
}
