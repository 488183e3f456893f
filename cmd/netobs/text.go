package main

import (
	"bufio"
	"io"
	"net/netip"
	"strconv"
	"unicode/utf8"

	"netobs/decode"
)

// ANSI colours.
const (
	green  = "\x1b[32m"
	red    = "\x1b[31m"
	yellow = "\x1b[33m"
	dim    = "\x1b[2m"
	plain  = "\x1b[0m"
)

const clockFormat = "15:04:05.000000"

// text prints one line for each handshake and each end of a connection. Columns grow with what they hold, so that lines
// below each other stay aligned. One of width 0 is left out while nothing is known for it.
type text struct {
	w      *bufio.Writer // remembers its first error, for flush
	colour bool
	width  [4]int // netns, interface, ends, role
	clock  clock
	line   []byte

	listener listenerOf
}

// Widths of columns with words.
const (
	verdictWidth = 10
	legWidth     = 6
)

func newText(w io.Writer, colour bool) *text {
	return &text{w: newBuffer(w), colour: colour, width: [4]int{4, 2, 33, 10}, clock: timeOfDay()}
}

func (t *text) handshake(h *decode.Handshake) {
	t.begin(h.End, h.Point, h.Originator, h.Responder, h.Role)
	t.add("  handshake ")
	t.verdict(outcomeColour(h.Outcome), h.Outcome.String())
	t.leg("  responder leg ", h.ResponderLeg)
	t.leg("  originator leg ", h.OriginatorLeg)
	t.leg("  total ", h.Total)
	t.add("  retransmissions ")
	t.line = strconv.AppendUint(t.line, uint64(h.SYNs)+uint64(h.SYNACKs), 10)
	t.process(h.Point, h.Role, h.Responder)
	t.end()
}

func (t *text) connection(c *decode.Connection) {
	t.begin(c.End, c.Point, c.Originator, c.Responder, c.Role)
	t.add("  teardown  ")
	t.verdict(teardownColour(c.Teardown), c.Teardown.String())
	t.add("  closed first by ")
	t.add(c.Closer.String())
	if c.FINsCrossed {
		t.add(" (FINs crossed)")
	}
	t.add("  lasted ")
	t.line = appendShort(t.line, c.Duration())
	t.bytes("  originator sent ", c, decode.Originator)
	t.bytes(", responder ", c, decode.Responder)
	t.add("  history ")
	t.add(c.History)
	if c.Unseen {
		t.add("  handshake unseen")
	}
	t.process(c.Point, c.Role, c.Responder)
	t.end()
}

// process says who the responder is, if that is known.
func (t *text) process(at *decode.Point, role decode.Role, responder netip.AddrPort) {
	if p, ok := t.listener.responder(at, role, responder); ok {
		t.add("  to ")
		t.add(p.Name)
		t.add("[")
		t.line = append(strconv.AppendInt(t.line, int64(p.PID), 10), ']')
	}
}

// begin begins a line with what all lines begin with.
func (t *text) begin(at int64, p *decode.Point, originator, responder netip.AddrPort, role decode.Role) {
	t.line = t.line[:0]
	t.paint(dim)
	t.line = t.clock.appendTimeOfDay(t.line, at)
	t.unpaint()
	t.column(0, p.Netns)
	t.column(1, p.Interface)
	t.add("  ")
	start := len(t.line)
	t.line = originator.AppendTo(t.line)
	t.add(" > ")
	t.line = responder.AppendTo(t.line)
	t.width[2] = max(t.width[2], len(t.line)-start)
	t.line = pad(t.line, start, t.width[2])
	if role == decode.RoleUnknown && t.width[3] == 0 {
		return
	}
	t.column(3, role.String())
}

// column appends a column.
func (t *text) column(i int, s string) {
	if t.width[i] = max(t.width[i], utf8.RuneCountInString(s)); t.width[i] == 0 {
		return
	}
	t.add("  ")
	t.padded(s, t.width[i])
}

func (t *text) verdict(colour, s string) {
	t.paint(colour)
	t.padded(s, verdictWidth)
	t.unpaint()
}

func (t *text) leg(name string, leg decode.Leg) {
	t.add(name)
	start := len(t.line)
	if leg.Known {
		t.line = appendShort(t.line, leg.First)
	} else {
		t.add("-")
	}
	t.line = pad(t.line, start, legWidth)
}

func (t *text) bytes(name string, c *decode.Connection, side decode.Side) {
	t.add(name)
	if c.BytesKnown[side] {
		t.line = strconv.AppendUint(t.line, uint64(c.Bytes[side]), 10)
	} else {
		t.add("?")
	}
	t.add(" B")
}

func (t *text) add(s string) { t.line = append(t.line, s...) }

func (t *text) padded(s string, width int) {
	start := len(t.line)
	t.add(s)
	t.line = pad(t.line, start, width)
}

func (t *text) paint(colour string) {
	if t.colour {
		t.add(colour)
	}
}

func (t *text) unpaint() { t.paint(plain) }

func (t *text) end() {
	t.line = append(t.line, '\n')
	t.w.Write(t.line)
}

func (t *text) flush() error { return t.w.Flush() }

func outcomeColour(o decode.Outcome) string {
	switch o {
	case decode.OutcomeCompleted:
		return green
	case decode.OutcomeUnknown, decode.OutcomeAborted:
		return yellow
	}
	return red
}

func teardownColour(t decode.Teardown) string {
	switch t {
	case decode.TeardownFIN:
		return green
	case decode.TeardownRST:
		return red
	}
	return yellow
}
