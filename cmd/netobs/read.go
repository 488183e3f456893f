package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// stdinName is the argument that stands for standard input.
const stdinName = "-"

// readOptions are the flags of read.
type readOptions struct {
	files    []string
	output   string
	summary  bool
	segments bool
	decap    bool
	ladder   ladderOptions
}

func (o *readOptions) addFlags(fs *pflag.FlagSet) {
	fs.SortFlags = false
	fs.StringVar(&o.output, "output", outputText, "`form` in which to print: text, json or none; with --ladder text or svg")
	fs.BoolVar(&o.summary, "summary", false, "print tables of the whole instead of a line for each connection")
	fs.BoolVar(&o.segments, "segments", false, "print a line for each segment instead, as tcpdump -n does, or an object with\nits place in its connection")
	o.ladder.addFlags(fs)
	fs.BoolVar(&o.decap, "decap", false, "look for TCP in tunnels, too: IP in IP, GRE, VXLAN, Geneve, GTP-U")
}

// validate returns all that is wrong with the command line.
func (o *readOptions) validate() error {
	var errs []error
	if len(o.files) == 0 {
		errs = append(errs, errors.New("say what to read: FILE, or - for standard input"))
	}
	if i := slices.Index(o.files, stdinName); i >= 0 && slices.Contains(o.files[i+1:], stdinName) {
		errs = append(errs, errors.New("- is given twice, but standard input can be read only once"))
	}
	if _, err := newSink(o.output, io.Discard); err != nil && !o.ladder.draw {
		errs = append(errs, err)
	}
	if o.summary && o.segments {
		errs = append(errs, errors.New("choose between --summary and --segments"))
	}
	if o.ladder.draw && (o.summary || o.segments) {
		errs = append(errs, errors.New("choose between --ladder, --summary and --segments"))
	}
	errs = append(errs, o.ladder.validate(o.output))
	return errors.Join(errs...)
}

func newRead(stdout, stderr io.Writer) *cobra.Command {
	var o readOptions
	cmd := &cobra.Command{
		Use:   "read FILE...",
		Short: "Tell of the connections in capture files, with the same decoder",
		Long: `Read capture files, pcap or pcapng, also compressed by gzip, and print a line for each handshake and each teardown
in them. - is standard input.

Files are read in the order given. One that begins after the one before ended continues it, as captures do that were
rotated: its connections go on. One that begins earlier was taken elsewhere or at another time, and starts afresh.

Time ends with the capture: a handshake whose outcome is not known by then is unfinished, a connection without an end
is still open. They have no line, but are counted.

With --ladder connections are sequence diagrams: at the left the time since the segment before, flags and numbers on the
arrows, counted from the SYNs, and on either side the state of that end by RFC 9293, where it changes. States are what the
segments show: the sender is in the one in which TCP sends such a segment, the receiver in the one to which it takes it
when it arrives, as in the figures of RFC 9293. Whether it does arrive is not seen. Of long stretches of data the middle
is left out.`,
		Example: `  netobs read lo.pcap
  netobs read --summary rotated.pcap0 rotated.pcap1 rotated.pcap2
  netobs read --ladder --connection 127.0.0.1:50416-127.0.0.1:8080 lo.pcap
  netobs read --ladder --output svg lo.pcap > ladders.svg
  tcpdump -i eth0 -U -w - tcp | netobs read -`,
		RunE: func(cmd *cobra.Command, args []string) error {
			o.files = args
			if err := o.validate(); err != nil {
				return usageError{err, cmd.CommandPath()}
			}
			return read(cmd.Context(), o, cmd.InOrStdin(), stdout, stderr)
		},
	}
	o.addFlags(cmd.Flags())
	return cmd
}

// errReported is returned when all errors were printed already, each when it occurred.
var errReported = errors.New("some input could not be read")

// read replays files until the last ends or ctx is done. What goes wrong with a file is told on a line of its own, after
// all that the file said; the other files are read nevertheless. Only when the output fails there is no going on.
func read(ctx context.Context, o readOptions, stdin io.Reader, stdout, stderr io.Writer) error {
	out, err := o.sink(stdout)
	if err != nil {
		return err
	}
	bar := newProgress(stderr, o, isTerminal(stdout))
	r := newReplay(out)
	r.decap, r.labels = o.decap, len(o.files) > 1
	failed := false
	for _, name := range o.files {
		errs := r.readFile(ctx, name, stdin, bar)
		bar.erase()
		if flushErr := out.flush(); flushErr != nil {
			return flushErr
		}
		for _, err := range errs {
			failed = true
			fmt.Fprintf(stderr, "netobs: %v\n", err)
		}
		if ctx.Err() != nil {
			break
		}
	}
	r.endWorld()
	if l, ok := out.(*ladders); ok {
		if err := l.finish(); err != nil {
			return err
		}
		fmt.Fprint(stderr, l.more(r.totals))
		o.output = outputNone
	}
	switch {
	case o.output == outputNone || r.totals.Files == 0:
	case o.summary && o.output == outputJSON:
		err = r.totals.printJSON(stdout)
	case o.summary:
		err = r.totals.printTables(stdout)
	case o.output == outputText && !o.segments:
		err = r.totals.printShort(stderr)
	}
	if err == nil && failed {
		return errReported
	}
	return err
}

// sink returns where results go while files are read.
func (o *readOptions) sink(stdout io.Writer) (sink, error) {
	switch {
	case o.ladder.draw:
		return newLadders(newPen(o.output, stdout), o.ladder.choice), nil
	case o.summary || o.output == outputNone:
		return discard{}, nil
	case o.segments && o.output == outputJSON:
		lines := newJSON(stdout)
		lines.files = true
		return jsonSegments{lines: lines}, nil
	case o.segments:
		return newSegmentLines(stdout), nil
	}
	out, err := newSink(o.output, stdout)
	switch out := out.(type) {
	case *text:
		out.width = [len(out.width)]int{2: 33} // no column for what captures do not say
		if len(o.files) > 1 {
			for _, name := range o.files {
				out.width[0] = max(out.width[0], len(name))
			}
		}
	case *jsonLines:
		out.files = true
	}
	return out, err
}
