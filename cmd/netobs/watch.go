package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"netobs/bpf"
	"netobs/decode"
)

// Which segments watch shows.
const (
	segmentsControl = "control"
	segmentsAll     = "all"
)

// watchOptions are the flags of watch.
type watchOptions struct {
	target
	filter   watchFilter
	segments string
	payload  bool
	style    watchStyle
	out      watchOutput
	count    int
	numeric  bool
}

func (o *watchOptions) addFlags(fs *pflag.FlagSet) {
	o.target.addFlags(fs)
	fs.StringVar(&o.segments, "segments", segmentsControl,
		"`which` segments: control (SYN, FIN, RST, and the ACKs that complete) or all, which\nneeds more of the CPU")
	fs.BoolVar(&o.payload, "payload", false, "with the first line of plain HTTP requests and responses")
	o.filter.addFlags(fs)
	o.out.addFlags(fs)
	fs.BoolVar(&o.style.plain, "plain", false, "only what tcpdump prints, without what segments mean")
	fs.BoolVarP(&o.style.absolute, "absolute-tcp-sequence-numbers", "S", false, "sequence numbers as sent, not relative")
	fs.CountVarP(&o.style.stamp, "time", "t",
		"no times; -tt seconds since 1970; -ttt since the line before; -tttt date and time;\n-ttttt since the first line")
	fs.IntVarP(&o.count, "count", "c", 0, "end after so many `lines`")
	fs.BoolVarP(&o.numeric, "numeric", "n", false, "addresses and ports are always numbers; this is for fingers used to tcpdump")
	o.addTuning(fs)
}

// validate returns all that is wrong with the flags.
func (o *watchOptions) validate() error {
	errs := []error{o.target.validate(), o.filter.validate(), o.out.validate()}
	if o.out.ladder.draw && o.filter.only != 0 {
		errs = append(errs, errors.New("--ladder needs the segments that --flags leaves out"))
	}
	if o.segments != segmentsControl && o.segments != segmentsAll {
		errs = append(errs, fmt.Errorf("--segments is control or all, not %q", o.segments))
	}
	if o.style.stamp > maxStampForm {
		errs = append(errs, fmt.Errorf("-t is given %d times, and means nothing after the fifth", o.style.stamp))
	}
	if o.count < 0 {
		errs = append(errs, fmt.Errorf("--count %d is less than 0", o.count))
	}
	return errors.Join(errs...)
}

func newWatch(stdout, stderr io.Writer) *cobra.Command {
	var o watchOptions
	cmd := &cobra.Command{
		Use:   "watch",
		Short: "Show segments as tcpdump does, with what they mean",
		Long: `Show TCP segments as tcpdump does, one a line, and beside each its place in the life of its connection. Several
network namespaces can be watched at once; one that a segment crosses shows it once. Ctrl-C ends it.`,
		Example: `  netobs watch --netns test
  netobs watch --all --segments all
  netobs watch --all --outcome refused,unanswered
  netobs watch --netns test --payload --port 8080
  netobs watch --netns test --plain -tttt
  netobs watch --netns test --ladder --segments all
  netobs watch --netns test --write - | wireshark -k -i -
  netobs watch --all --write all.pcapng --rotate-size 100M`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := o.validate(); err != nil {
				return usageError{err, cmd.CommandPath()}
			}
			return watch(cmd.Context(), o, stdout, stderr)
		},
	}
	o.addFlags(cmd.Flags())
	return cmd
}

// watch watches until ctx is done, or all lines were printed that are wanted.
func watch(ctx context.Context, o watchOptions, stdout, stderr io.Writer) error {
	ctx, enough := context.WithCancel(ctx)
	defer enough()
	o.style.named = o.dynamic.All || len(o.dynamic.Containers)+len(o.netns)+len(o.pids) > 1
	o.style.only, o.out.only = o.filter.only, o.filter.only
	shows := o.shows()
	text := func() follower { return newWatchText(stdout, o.style, isTerminal(stdout)) }
	shown, err := o.out.follower(stdout, text, !shows.All)
	if err != nil {
		return err
	}
	out := shown
	if o.count > 0 {
		out = &countdown{follower: out, only: o.filter.only, left: o.count, enough: enough}
	}
	var back *heldBack
	if o.filter.ends.any() {
		back = newHeldBack(out, o.filter.ends)
		out = back
	}
	l := live{target: &o.target, out: out, stderr: stderr, shows: shows}
	l.ended = func(p *pipeline, took time.Duration) error {
		err := errors.Join(finish(shown), printMissing(stderr, p, back))
		if err != nil || o.out.capture.file == "" {
			return err
		}
		return printSummary(stderr, p, took)
	}
	return l.watch(ctx)
}

// shows returns what the programs are to report. They need not report all segments if only those are wanted that they report
// anyway.
func (o *watchOptions) shows() *bpf.Watch {
	control := o.segments == segmentsControl || o.filter.only != 0 && decode.Flags(o.filter.only)&^(decode.SYN|decode.FIN|decode.RST) == 0
	return &bpf.Watch{All: !control, Payload: o.payload, Filter: o.filter.connections}
}

// printMissing says what is missing. back is nil if nothing was held back.
func printMissing(w io.Writer, p *pipeline, back *heldBack) error {
	stats, err := p.loader.Stats()
	if err != nil {
		return err
	}
	if n := stats.RecordsLost; n > 0 {
		fmt.Fprintf(w, "%s lost, as they came faster than they were taken; --ring-bytes makes more room\n", plural(n, "segment"))
	}
	if back != nil && back.dropped > 0 {
		fmt.Fprintf(w, "%s dropped before it was known how their connections end, as no more than %d are held back\n",
			plural(back.dropped, "segment"), back.most)
	}
	return nil
}

// countdown hands on until so many segments were shown, and then says that it is enough.
type countdown struct {
	follower
	only   flagFilter // those that are shown
	left   int
	enough func()
}

func (c *countdown) handshake(h *decode.Handshake) {
	if c.left > 0 {
		c.follower.handshake(h)
	}
}

func (c *countdown) connection(conn *decode.Connection) {
	if c.left > 0 {
		c.follower.connection(conn)
	}
}

func (c *countdown) place(seg *decode.Segment, place decode.Place) {
	if c.left == 0 {
		return
	}
	c.follower.place(seg, place)
	if !c.only.passes(seg) {
		return
	}
	if c.left--; c.left == 0 {
		c.enough()
	}
}
