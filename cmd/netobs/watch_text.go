package main

import (
	"bufio"
	"io"
	"time"
	"unicode/utf8"

	"netobs/decode"
)

// watchText prints a line for each segment as tcpdump -i any does, and beside it what the segment means.
type watchText struct {
	watchStyle
	w      *bufio.Writer // remembers its first error, for flush
	colour bool
	stamp  *stamp

	numbering numbering
	line      []byte
	width     int // of what tcpdump prints, so far
}

// watchStyle is how lines look.
type watchStyle struct {
	only     flagFilter
	plain    bool // without what segments mean
	absolute bool // sequence numbers as sent
	named    bool // with the name of the namespace
	stamp    int  // how many -t
}

// alignedMost is how wide a line may be before what it means is no longer put below that of the line before.
const alignedMost = 170

func newWatchText(w io.Writer, style watchStyle, colour bool) *watchText {
	return &watchText{watchStyle: style, w: newBuffer(w), colour: colour, stamp: newStamp(style.stamp)}
}

// handshake prints outcomes that no segment tells.
func (t *watchText) handshake(h *decode.Handshake) {
	words := ""
	switch h.Outcome {
	case decode.OutcomeUnanswered:
		words = "unanswered, nothing came back for "
	case decode.OutcomeHalfOpen:
		words = "half open, the SYN-ACK was not acknowledged for "
	case decode.OutcomeUnknown:
		words = "no verdict, segments may be missing, nothing came for "
	default:
		return
	}
	if t.plain {
		return
	}
	t.begin(h.End, h.Point)
	t.paint(red)
	t.add("# ")
	t.line = appendSocket(t.line, h.Originator)
	t.add(" > ")
	t.line = appendSocket(t.line, h.Responder)
	t.add(": ")
	t.add(words)
	t.line = appendShort(t.line, time.Duration(h.End-h.Start))
	t.unpaint()
	t.end()
}

func (t *watchText) connection(*decode.Connection) {}

func (t *watchText) flush() error { return t.w.Flush() }

func (t *watchText) place(seg *decode.Segment, place decode.Place) {
	talk, side := t.numbering.of(seg)
	seqBase, ackBase := talk.bases(seg, side)
	talk.follow(seg, side)
	if !t.only.passes(seg) {
		return
	}
	if t.absolute {
		seqBase, ackBase = 0, 0
	}
	t.begin(seg.Time, seg.Point)
	t.line = appendGist(appendIP(t.line, seg, seqBase, ackBase), seg)
	if !t.plain {
		t.margin()
		t.paint(placeColour(place))
		t.add("# ")
		t.line = appendPlace(t.line, seg, place, talk, side)
		t.unpaint()
	}
	t.end()
}

// begin begins a line with what tcpdump -i any prints before "IP".
func (t *watchText) begin(at int64, p *decode.Point) {
	t.line = t.stamp.append(t.line[:0], at)
	if t.named {
		t.add(p.Netns)
		t.add(" ")
	}
	start := len(t.line)
	t.add(p.Interface)
	t.line = append(pad(t.line, start, 5), ' ')
	if p.Direction == decode.Egress && !p.Loopback { // tcpdump sees what crosses lo when it comes in
		t.add("Out ")
	} else {
		t.add("In  ")
	}
}

// margin moves to the column of what segments mean.
func (t *watchText) margin() {
	if n := utf8.RuneCount(t.line); n <= alignedMost {
		t.width = max(t.width, n)
	}
	t.line = pad(t.line, 0, t.width)
	t.add("  ")
}

func (t *watchText) add(s string) { t.line = append(t.line, s...) }

func (t *watchText) paint(colour string) {
	if t.colour {
		t.add(colour)
	}
}

func (t *watchText) unpaint() { t.paint(plain) }

func (t *watchText) end() {
	t.line = append(t.line, '\n')
	t.w.Write(t.line) // the error is that of flush
}
