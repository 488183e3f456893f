package main

import (
	"fmt"
	"net/netip"
	"strings"
	"time"
	"unicode/utf8"
)

// painter puts lines together for a screen or a page of a width.
type painter struct {
	width  int
	colour bool
	lines  []string
}

// line adds a line, cut to the width.
func (p *painter) line(s string) { p.lines = append(p.lines, p.cut(s)) }

func (p *painter) cut(s string) string {
	if utf8.RuneCountInString(s) > p.width {
		return fit(s, p.width, false)
	}
	return s
}

// paint adds a line in a colour.
func (p *painter) paint(colour, s string) { p.lines = append(p.lines, p.painted(colour, p.cut(s))) }

func (p *painter) painted(colour, s string) string {
	if !p.colour {
		return s
	}
	return colour + s + plain
}

func (p *painter) heading(s string) { p.paint(bold, s) }

// ends adds a line with something at each end.
func (p *painter) ends(left, right string) {
	gap := p.width - utf8.RuneCountInString(left) - utf8.RuneCountInString(right)
	p.heading(left + strings.Repeat(" ", max(gap, 1)) + right)
}

// fill adds empty lines until there are so many.
func (p *painter) fill(height int) {
	for len(p.lines) < height {
		p.lines = append(p.lines, "")
	}
}

// row adds a namespace.
func (p *painter) row(r *topRow, name int, columns []int, chosen bool) {
	mark := strings.Repeat(" ", topMargin)
	if chosen {
		mark = "> "
	}
	line := mark + fit(r.name, name, false)
	for _, i := range columns {
		c := &topColumns[i]
		cell := c.text(r)
		text := fit(cell, c.width, true)
		if c.bad && cell != "0" {
			text = p.painted(red, text)
		}
		line += text
	}
	if chosen {
		line = p.painted(bold, mark+fit(r.name, name, false)) + strings.TrimPrefix(line, mark+fit(r.name, name, false))
	}
	p.lines = append(p.lines, line)
}

// legs adds how long handshakes took.
func (p *painter) legs(q *topQuantiles) {
	p.heading(fit("LEG", 16, false) + fit("HANDSHAKES", 12, true) + fit("P50", 10, true) + fit("P99", 10, true))
	for i, name := range legNames {
		p50, p99 := "-", "-"
		if q[i].n > 0 {
			p50, p99 = short(q[i].p50), short(q[i].p99)
		}
		p.line(fit(name, 16, false) + fit(fmt.Sprint(q[i].n), 12, true) + fit(p50, 10, true) + fit(p99, 10, true))
	}
}

// traffic adds what passed the interfaces.
func (p *painter) traffic(rows []trafficRow, seconds float64) {
	name := topNameLeast
	for i := range rows {
		name = max(name, utf8.RuneCountInString(rows[i].name))
	}
	name = min(name, max(topNameLeast, p.width-62))
	titles := fit("INTERFACE", name, false) + "  " + fit("DIRECTION", 10, false)
	for _, title := range []string{"SEGMENTS/S", "BYTES/S", "CONTROL/S", "COPIES", "LOST"} {
		titles += fit(title, 11, true)
	}
	p.heading(strings.TrimRight(titles, " "))
	for i := range rows {
		r := &rows[i]
		line := fit(r.name, name, false) + "  " + fit(r.direction, 10, false)
		for _, n := range []uint64{r.segments, r.bytes, r.control} {
			line += fit(perSecond(float64(n)/seconds), 11, true)
		}
		p.line(line + fit(thousands(r.duplicates), 11, true) + fit(thousands(r.lost), 11, true))
	}
}

// failure adds a failed handshake with its story.
func (p *painter) failure(f *toldFailure) {
	at := timeOfDay()
	line := fmt.Sprintf("%s  %s  %s  after %s", at.appendTimeOfDay(nil, f.End), ends(f.Originator, f.Responder), f.Outcome,
		short(max(0, time.Duration(f.End-f.Start))))
	if n := f.SYNs + f.SYNACKs; n > 0 {
		line += fmt.Sprintf(", %d sent again", n)
	}
	p.paint(outcomeColour(f.Outcome), line)
	for _, step := range f.lines {
		p.line("  " + step)
	}
}

func ends(from, to netip.AddrPort) string { return from.String() + " > " + to.String() }
