package main

import (
	"bufio"
	"fmt"
	"io"
	"net/netip"
	"strings"
	"time"

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
	w      *bufio.Writer
	colour bool
	width  [4]int // netns, interface, ends, role
}

func newText(w io.Writer, colour bool) *text {
	return &text{w: newBuffer(w), colour: colour, width: [4]int{4, 2, 33, 10}}
}

// prefix prints what all lines begin with.
func (t *text) prefix(at int64, p *decode.Point, originator, responder netip.AddrPort, role decode.Role) {
	columns := [4]string{p.Netns, p.Interface, originator.String() + " > " + responder.String(), role.String()}
	if role == decode.RoleUnknown && t.width[3] == 0 {
		columns[3] = ""
	}
	fmt.Fprint(t.w, t.painted(dim, time.Unix(0, at).Format(clockFormat)))
	for i, c := range columns {
		if t.width[i] = max(t.width[i], len(c)); t.width[i] == 0 {
			continue
		}
		fmt.Fprintf(t.w, "  %-*s", t.width[i], c)
	}
}

func (t *text) handshake(h *decode.Handshake) {
	t.prefix(h.End, h.Point, h.Originator, h.Responder, h.Role)
	fmt.Fprintf(t.w, "  handshake %s", t.painted(outcomeColour(h.Outcome), fmt.Sprintf("%-10s", h.Outcome)))
	for _, leg := range []struct {
		name string
		decode.Leg
	}{{"responder leg", h.ResponderLeg}, {"originator leg", h.OriginatorLeg}, {"total", h.Total}} {
		took := "-"
		if leg.Known {
			took = short(leg.First)
		}
		fmt.Fprintf(t.w, "  %s %-6s", leg.name, took)
	}
	fmt.Fprintf(t.w, "  retransmissions %d\n", int(h.SYNs)+int(h.SYNACKs))
}

func (t *text) connection(c *decode.Connection) {
	t.prefix(c.End, c.Point, c.Originator, c.Responder, c.Role)
	fmt.Fprintf(t.w, "  teardown  %s", t.painted(teardownColour(c.Teardown), fmt.Sprintf("%-10s", c.Teardown)))
	crossed := ""
	if c.FINsCrossed {
		crossed = " (FINs crossed)"
	}
	unseen := ""
	if c.Unseen {
		unseen = "  handshake unseen"
	}
	fmt.Fprintf(t.w, "  closed first by %s%s  lasted %s  originator sent %s, responder %s  history %s%s\n", c.Closer,
		crossed, short(c.Duration()), bytesOf(c, decode.Originator), bytesOf(c, decode.Responder), c.History, unseen)
}

func (t *text) flush() error { return t.w.Flush() }

func (t *text) painted(colour, s string) string {
	if !t.colour {
		return s
	}
	return colour + s + plain
}

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

func bytesOf(c *decode.Connection, side decode.Side) string {
	if !c.BytesKnown[side] {
		return "? B"
	}
	return fmt.Sprintf("%d B", c.Bytes[side])
}

// short prints a duration with three digits: 9.13µs, 1.25ms, 3.00s.
func short(d time.Duration) string {
	unit, name := time.Nanosecond, "ns"
	switch {
	case d >= time.Second:
		unit, name = time.Second, "s"
	case d >= time.Millisecond:
		unit, name = time.Millisecond, "ms"
	case d >= time.Microsecond:
		unit, name = time.Microsecond, "µs"
	}
	v := float64(d) / float64(unit)
	digits := 2
	for limit := 10.0; digits > 0 && v >= limit; limit *= 10 {
		digits--
	}
	s := fmt.Sprintf("%.*f", digits, v)
	if name == "ns" {
		s, _, _ = strings.Cut(s, ".")
	}
	return s + name
}
