package main

import (
	"fmt"
	"html"
	"io"
	"strings"

	"netobs/decode"
)

// Measures of a drawing, in pixels.
const (
	svgWidth  = 880
	svgLeft   = 260 // where the sides are
	svgRight  = svgWidth - 170
	svgRow    = 30
	svgMargin = 24
)

// svgStyle is all that a drawing needs: no font but what is there, no script, nothing from elsewhere.
const svgStyle = `text { font: 13px ui-monospace, "DejaVu Sans Mono", Menlo, Consolas, monospace; fill: #1f2328; }
.title { font-size: 15px; font-weight: bold; }
.quiet { fill: #656d76; }
.side { stroke: #8c959f; stroke-width: 1.5; }
.pause { stroke-dasharray: 2 5; }
.arrow { stroke: currentColor; stroke-width: 1.5; fill: currentColor; }
.plain { color: #57606a; } .green { color: #1a7f37; } .red { color: #cf222e; } .yellow { color: #9a6700; } .dim { color: #afb8c1; }
`

// ladderSVG draws ladders below each other in one picture. It is written at the end, when its height is known.
type ladderSVG struct {
	w    io.Writer
	body strings.Builder
	y    int // what is drawn so far
	top  int // where the sides of the current ladder begin
}

func newLadderSVG(w io.Writer) *ladderSVG { return &ladderSVG{w: w} }

func (d *ladderSVG) begin(l *ladder) {
	d.y += svgMargin
	d.text(svgMargin, d.y, "start", "title", l.title())
	d.y += svgRow
	d.text(svgLeft, d.y, "middle", "title", l.names[decode.Originator])
	d.text(svgRight, d.y, "middle", "title", l.names[decode.Responder])
	d.y += svgRow * 2 / 3
	d.text(svgLeft, d.y, "middle", "quiet", l.ends[decode.Originator].String())
	d.text(svgRight, d.y, "middle", "quiet", l.ends[decode.Responder].String())
	d.y += svgRow / 3
	d.top = d.y
}

func (d *ladderSVG) rung(r *rung) {
	if r.note != "" {
		d.text((svgLeft+svgRight)/2, d.y+svgRow*2/3, "middle", "quiet", r.note)
		d.sides(svgRow*5/6, "")
		return
	}
	if r.pause {
		d.sides(svgRow, " pause")
	}
	// The label stands above its arrow.
	line := d.y + svgRow - 6
	d.text((svgLeft+svgRight)/2, line-6, "middle", "", r.labels[0])
	from, to, head := svgLeft, svgRight, -9
	if r.from == decode.Responder {
		from, to, head = to, from, 9
	}
	fmt.Fprintf(&d.body, `<path class="arrow %s" d="M%d %dH%dm%d -4l%d 4l%d 4z"/>`+"\n", svgColour(r.colour), from, line, to, head, -head, head)
	if !r.first {
		d.text(svgMargin+70, line+4, "end", "quiet", gapText(r))
	}
	d.text(svgLeft-12, line+4, "end", "", r.states[decode.Originator])
	d.text(svgRight+12, line+4, "start", "", r.states[decode.Responder])
	d.sides(svgRow, "")
}

func (d *ladderSVG) end() {
	d.sides(svgRow/3, "")
	d.y += svgMargin
}

// sides draws the two sides so far down.
func (d *ladderSVG) sides(height int, class string) {
	for _, x := range []int{svgLeft, svgRight} {
		fmt.Fprintf(&d.body, `<line class="side%s" x1="%d" x2="%[2]d" y1="%d" y2="%d"/>`+"\n", class, x, d.y, d.y+height)
	}
	d.y += height
}

func (d *ladderSVG) text(x, y int, anchor, class, s string) {
	if s != "" {
		fmt.Fprintf(&d.body, `<text class="%s" x="%d" y="%d" text-anchor="%s">%s</text>`+"\n", class, x, y, anchor, html.EscapeString(s))
	}
}

func (d *ladderSVG) flush() error { return nil }

func (d *ladderSVG) finish() error {
	height := d.y + svgMargin
	_, err := fmt.Fprintf(d.w, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %[1]d %[2]d">
<style>
%s</style>
<rect width="100%%" height="100%%" fill="#fff"/>
%s</svg>
`, svgWidth, height, svgStyle, d.body.String())
	return err
}

// svgColour returns the class for one of the colours of a terminal.
func svgColour(colour string) string {
	switch colour {
	case green:
		return "green"
	case red:
		return "red"
	case yellow:
		return "yellow"
	case dim:
		return "dim"
	}
	return "plain"
}
