package main

import (
	"bufio"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"netobs/decode"
)

// A ladder is as wide as the narrowest terminal: the gap to the segment before, a state, a side, what passes between, a side, a state.
const (
	gapWidth    = 9
	stateWidth  = 12
	ladderWidth = 80

	innerWidth = ladderWidth - gapWidth - 2*(1+stateWidth+1) - 1
)

// ladderText draws ladders on a terminal.
type ladderText struct {
	w      *bufio.Writer // remembers its first error, for flush
	colour bool
	drawn  int
}

func newLadderText(w io.Writer, colour bool) *ladderText {
	return &ladderText{w: newBuffer(w), colour: colour}
}

// begin prints who talks to whom.
func (t *ladderText) begin(l *ladder) {
	if t.drawn++; t.drawn > 1 {
		fmt.Fprintln(t.w)
	}
	title := []rune(l.title())
	fmt.Fprintln(t.w, string(title[:min(len(title), ladderWidth)]))
	width := max(utf8.RuneCountInString(l.names[0]), utf8.RuneCountInString(l.names[1]))
	for side, name := range l.names {
		fmt.Fprintf(t.w, "%-*s  %s\n", width, name, l.ends[side])
	}
	t.line("", "", l.names[0], " "+strings.Repeat(" ", innerWidth)+" ", l.names[1])
	t.line("", "", "", "│"+strings.Repeat(" ", innerWidth)+"│", "")
}

func (t *ladderText) rung(r *rung) {
	if r.note != "" {
		t.line(dim, "", "", "│"+centred(r.note, innerWidth)+"│", "")
		return
	}
	if r.pause {
		t.line(dim, "", "", "┊"+strings.Repeat(" ", innerWidth)+"┊", "")
	}
	gap := ""
	if !r.first {
		gap = gapText(r)
	}
	label := r.labels[0]
	for _, label = range r.labels {
		if utf8.RuneCountInString(label) <= innerWidth-5 {
			break
		}
	}
	arrow := strings.Repeat("─", max(0, innerWidth-4-utf8.RuneCountInString(label)))
	if r.from == decode.Originator {
		arrow = "├─ " + label + " " + arrow + "▶│"
	} else {
		arrow = "│◀" + arrow + " " + label + " ─┤"
	}
	t.line(r.colour, gap, r.states[0], arrow, r.states[1])
}

func (t *ladderText) end() {}

// line prints a line; the colour is that of what is between the sides.
func (t *ladderText) line(colour, gap, left, between, right string) {
	if t.colour && colour != "" {
		between = colour + between + plain
	}
	fmt.Fprintln(t.w, strings.TrimRight(fmt.Sprintf("%*s %*s %s %s", gapWidth, gap, stateWidth, left, between, right), " "))
}

func (t *ladderText) flush() error  { return t.w.Flush() }
func (t *ladderText) finish() error { return t.w.Flush() }

// gapText returns the time since the segment before. It is less than 0 where the clocks of two CPUs meet.
func gapText(r *rung) string {
	if r.gap < 0 {
		return short(r.gap)
	}
	return "+" + short(r.gap)
}

// centred returns s in the middle of so many columns.
func centred(s string, width int) string {
	left := max(0, width-utf8.RuneCountInString(s)) / 2
	return string(pad([]byte(strings.Repeat(" ", left)+s), 0, width))
}
