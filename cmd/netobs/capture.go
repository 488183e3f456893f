package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"netobs/decode"
	"netobs/decode/pcap"
)

// captureOptions say where captures go, and when the next file begins.
type captureOptions struct {
	file        string // stdinName: standard output
	size        string // as given
	bytes       int64  // of size; 0: any
	every       time.Duration
	controlOnly bool
}

// validate returns what is wrong.
func (o *captureOptions) validate() error {
	var errs []error
	switch {
	case o.file == "" && (o.size != "" || o.every != 0):
		errs = append(errs, errors.New("--rotate-size and --rotate-every go with --write"))
	case o.file == stdinName && (o.size != "" || o.every != 0):
		errs = append(errs, errors.New("standard output cannot be rotated: --write FILE"))
	}
	if o.every < 0 {
		errs = append(errs, fmt.Errorf("--rotate-every %s is less than 0", o.every))
	}
	if o.size != "" {
		var err error
		o.bytes, err = parseBytes(o.size)
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// parseBytes reads a size: bytes, or with k, M or G thousands, millions or thousands of millions, as tcpdump -C counts.
func parseBytes(s string) (int64, error) {
	units := map[string]int64{"k": 1e3, "M": 1e6, "G": 1e9}
	number, unit := s, int64(1)
	for suffix, u := range units {
		if rest, ok := strings.CutSuffix(s, suffix); ok {
			number, unit = rest, u
		}
	}
	n, err := strconv.ParseInt(number, 10, 64)
	if err != nil || n <= 0 || n > 1<<62/unit {
		return 0, fmt.Errorf("--rotate-size is bytes, such as 500k, 100M or 1G, not %q", s)
	}
	return n * unit, nil
}

// capture is the sink of --write: segments in pcapng, with what netobs concluded from one as its comment.
type capture struct {
	opts   captureOptions
	stdout io.Writer

	w        *pcap.Writer
	file     io.Closer // nil: standard output
	name     string
	files    int
	began    int64 // time of the first segment in the file; 0: none yet
	verdicts []verdict
	err      error // the first; told by flush
}

// verdict is what the next segment decided, if it is of that connection. Else silence did, which has no segment.
type verdict struct {
	of   conversation
	text string
}

// newCapture creates the first file.
func newCapture(o captureOptions, stdout io.Writer) (*capture, error) {
	c := &capture{opts: o, stdout: stdout}
	return c, c.next(time.Now())
}

// next creates a file. Its name is that given, with a number behind it from the second on, as those of tcpdump -C.
func (c *capture) next(at time.Time) error {
	opts := pcap.WriterOptions{Version: revision(), ControlOnly: c.opts.controlOnly}
	if c.opts.file == stdinName {
		c.w = pcap.NewWriter(c.stdout, opts)
		return nil
	}
	name := c.opts.file
	if c.opts.every > 0 && strings.Contains(name, "%") {
		name = formatTime(name, at)
	}
	if c.files > 0 && (name == c.opts.file || name == c.name) {
		name += strconv.Itoa(c.files)
	}
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	c.w, c.file, c.name, c.began = pcap.NewWriter(f, opts), f, name, 0
	c.files++
	return nil
}

func (c *capture) handshake(h *decode.Handshake) {
	c.verdicts = append(c.verdicts, verdict{conversationBetween(h.Point, h.Originator, h.Responder), strings.Join(handshakeNotes(h), ", ")})
}

func (c *capture) connection(conn *decode.Connection) {
	c.verdicts = append(c.verdicts, verdict{conversationBetween(conn.Point, conn.Originator, conn.Responder), strings.Join(connectionNotes(conn), ", ")})
}

func (c *capture) place(seg *decode.Segment, _ decode.Place) {
	var comments []string
	for _, v := range c.verdicts {
		if v.of == conversationBetween(seg.Point, seg.Src, seg.Dst) {
			comments = append(comments, v.text)
		}
	}
	c.verdicts = c.verdicts[:0]
	if c.err != nil {
		return
	}
	if c.full(seg.Time) {
		if c.err = errors.Join(c.closeFile(), c.next(time.Unix(0, seg.Time))); c.err != nil {
			return
		}
	}
	if c.began == 0 {
		c.began = seg.Time
	}
	c.err = c.w.Write(seg, comments...)
}

// full reports whether a segment at that time belongs into the next file.
func (c *capture) full(at int64) bool {
	if c.began == 0 {
		return false
	}
	return c.opts.bytes > 0 && c.w.Length() >= c.opts.bytes || c.opts.every > 0 && at-c.began >= int64(c.opts.every)
}

func (c *capture) flush() error {
	c.verdicts = c.verdicts[:0]
	if c.err == nil {
		c.err = c.w.Flush()
	}
	return c.err
}

// finish ends the last file.
func (c *capture) finish() error {
	if c.err != nil {
		return c.err
	}
	return c.closeFile()
}

func (c *capture) closeFile() error {
	err := c.w.Close()
	if c.file != nil {
		err = errors.Join(err, c.file.Close())
	}
	return err
}

// formatTime replaces the conversions of strftime that make names of files.
func formatTime(name string, at time.Time) string {
	return strings.NewReplacer("%Y", at.Format("2006"), "%m", at.Format("01"), "%d", at.Format("02"), "%H", at.Format("15"),
		"%M", at.Format("04"), "%S", at.Format("05"), "%F", at.Format("2006-01-02"), "%T", at.Format("15:04:05"),
		"%s", strconv.FormatInt(at.Unix(), 10), "%%", "%").Replace(name)
}
