package main

import (
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/pflag"

	"netobs/decode"
)

// watchOutput are the flags of watch that say where segments go.
type watchOutput struct {
	form    string
	ladder  ladderOptions
	capture captureOptions
	print   bool // lines beside a capture
	only    flagFilter
}

func (o *watchOutput) addFlags(fs *pflag.FlagSet) {
	fs.StringVar(&o.form, "output", outputText, "`form` in which to print: text or json; with --ladder text or svg")
	o.ladder.addFlags(fs)
	fs.StringVarP(&o.capture.file, "write", "w", "",
		"write segments into this pcapng `file` instead of printing them, - for standard output;\nwhat netobs concludes from one is its comment")
	fs.BoolVar(&o.print, "print", false, "with --write FILE, print them as well")
	fs.StringVar(&o.capture.size, "rotate-size", "", "with --write, begin FILE1, FILE2 and so on when there are so many `bytes`, such as\n100M")
	fs.DurationVar(&o.capture.every, "rotate-every", 0,
		"with --write, likewise after such a `time`, such as 1h; or if FILE has them, with\n%Y, %m, %d, %H, %M, %S replaced by the time")
}

func (o *watchOutput) validate() error {
	errs := []error{o.capture.validate(), o.ladder.validate(o.form)}
	switch {
	case o.ladder.draw:
	case o.form != outputText && o.form != outputJSON:
		errs = append(errs, fmt.Errorf("--output is text or json, not %q", o.form))
	}
	switch {
	case o.print && (o.capture.file == "" || o.capture.file == stdinName):
		errs = append(errs, errors.New("--print goes with --write FILE"))
	case o.capture.file != "" && !o.print && (o.ladder.draw || o.form != outputText):
		errs = append(errs, errors.New("--write prints nothing, without --print"))
	}
	return errors.Join(errs...)
}

// finisher is a follower that has something to do at the end.
type finisher interface {
	follower
	finish() error
}

// follower returns where segments go, as far as that is not text.
func (o *watchOutput) follower(stdout io.Writer, text func() follower, controlOnly bool) (follower, error) {
	var out follower
	switch {
	case o.capture.file != "" && !o.print:
	case o.ladder.draw:
		l := newLadders(newPen(o.form, stdout), o.ladder.choice)
		l.clock = func() int64 { return time.Now().UnixNano() }
		out = l
	case o.form == outputJSON:
		out = o.only.of(jsonSegments{lines: newJSON(stdout), results: true})
	default:
		out = text()
	}
	if o.capture.file == "" {
		return out, nil
	}
	o.capture.controlOnly = controlOnly
	c, err := newCapture(o.capture, stdout)
	if err != nil {
		return nil, err
	}
	if out == nil {
		return o.only.of(c), nil
	}
	return both{o.only.of(c), out}, nil
}

// finish ends what out writes.
func finish(out follower) error {
	if f, ok := out.(finisher); ok {
		return f.finish()
	}
	return nil
}

// both hands on to two.
type both struct{ a, b follower }

func (f both) handshake(h *decode.Handshake)   { f.a.handshake(h); f.b.handshake(h) }
func (f both) connection(c *decode.Connection) { f.a.connection(c); f.b.connection(c) }
func (f both) place(seg *decode.Segment, place decode.Place) {
	f.a.place(seg, place)
	f.b.place(seg, place)
}
func (f both) flush() error  { return errors.Join(f.a.flush(), f.b.flush()) }
func (f both) finish() error { return errors.Join(finish(f.a), finish(f.b)) }
