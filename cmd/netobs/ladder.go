package main

import (
	"fmt"
	"io"
	"net/netip"
	"time"

	"netobs/decode"
)

// laddersMost is how many ladders are drawn.
const laddersMost = 10

// lateFor is how long a connection that is over is waited for, in case late segments come.
const lateFor = int64(3 * time.Second)

// ladders is the sink of --ladder. It tells connections apart, and has each drawn from its first segment to its last, one after
// another: the oldest while it goes on, what came of the others when that is over.
type ladders struct {
	pen     ladderPen
	choice  choice
	clock   func() int64 // the time when nothing happens, in ns since the Unix epoch; nil: time is that of segments
	stories map[conversation]*ladder
	queue   []*ladder // to be drawn, in the order of their first segments
	begun   int       // connections, as far as anybody needs to know
	drawn   int
	results []result // since the last segment
	now     int64    // latest time
}

// ladderPen draws ladders, one after another.
type ladderPen interface {
	begin(*ladder)
	rung(*rung)
	end()
	flush() error
	finish() error // nothing more will come
}

// result is what became of a connection.
type result struct {
	of    conversation
	notes []string
	over  bool
	end   int64
}

func newLadders(pen ladderPen, c choice) *ladders {
	return &ladders{pen: pen, choice: c, stories: make(map[conversation]*ladder)}
}

func (l *ladders) handshake(h *decode.Handshake) {
	l.results = append(l.results, result{conversationBetween(h.Point, h.Originator, h.Responder), handshakeNotes(h),
		h.Outcome != decode.OutcomeCompleted, h.End})
}

func (l *ladders) connection(c *decode.Connection) {
	l.results = append(l.results, result{conversationBetween(c.Point, c.Originator, c.Responder), connectionNotes(c), true, c.End})
}

// place takes a segment. The results before it are its own, or those of others, or that of a connection which it displaces.
func (l *ladders) place(seg *decode.Segment, place decode.Place) {
	l.now = max(l.now, seg.Time)
	of := conversationBetween(seg.Point, seg.Src, seg.Dst)
	begins := place.Kind == decode.PlaceUnseen || place.Kind == decode.PlaceSYN && !place.Again
	var own []result
	for _, r := range l.results {
		if s := l.stories[of]; r.of != of || begins && r.over && s != nil && !s.over {
			l.take(r)
		} else {
			own = append(own, r)
		}
	}
	l.results = l.results[:0]
	s := l.stories[of]
	switch {
	case s != nil && !(s.over && begins):
	case begins, place.Kind == decode.PlaceCompletes, place.Kind == decode.PlaceRefused: // the latter two if what was before is lost
		s = l.begin(of, seg, place)
	}
	if s != nil && s.shown {
		s.add(seg, place)
	}
	for _, r := range own {
		l.take(r)
	}
	l.advance(false)
}

// begin begins the story of a connection; nil if nobody wants to know.
func (l *ladders) begin(of conversation, seg *decode.Segment, place decode.Place) *ladder {
	if l.drawn == laddersMost || l.choice.last > 0 && l.begun >= l.choice.last {
		return nil
	}
	l.begun++
	s := newLadder(l.begun, seg, place)
	if s.shown = l.choice.wants(l.begun, of.sockets); s.shown {
		l.drawn++
		l.queue = append(l.queue, s)
	}
	l.stories[of] = s
	return s
}

// take takes a result.
func (l *ladders) take(r result) {
	l.now = max(l.now, r.end)
	s := l.stories[r.of]
	if s == nil {
		return
	}
	if s.shown {
		s.say(r.notes...)
	}
	if r.over {
		s.over, s.ended = true, r.end
		if !s.shown {
			delete(l.stories, r.of)
		}
	}
}

// advance draws what can be drawn.
func (l *ladders) advance(all bool) {
	for len(l.queue) > 0 {
		s := l.queue[0]
		done := all || s.over && l.now-s.ended > lateFor
		if done {
			s.catchUp()
			if !s.over {
				s.say("its end was not seen")
			}
		}
		if !s.begun {
			s.begun = true
			l.pen.begin(s)
		}
		for i := range s.rungs {
			l.pen.rung(&s.rungs[i])
		}
		s.rungs = s.rungs[:0]
		if !done {
			return
		}
		l.pen.end()
		if l.stories[s.of] == s {
			delete(l.stories, s.of)
		}
		l.queue = l.queue[1:]
	}
}

// flush takes the results that no segment brought, and draws.
func (l *ladders) flush() error {
	for _, r := range l.results {
		l.take(r)
	}
	l.results = l.results[:0]
	if l.clock != nil {
		l.now = max(l.now, l.clock())
	}
	l.advance(false)
	return l.pen.flush()
}

// restart ends all stories: what comes has nothing to do with them.
func (l *ladders) restart() {
	for _, r := range l.results {
		l.take(r)
	}
	l.results = l.results[:0]
	l.advance(true)
	clear(l.stories)
	l.now = 0
}

// finish ends all stories and the drawing.
func (l *ladders) finish() error {
	l.restart()
	return l.pen.finish()
}

// conversation is the two sockets of a connection, the lower first, and the namespace.
type conversation struct {
	netns   uint32
	sockets [2]netip.AddrPort
}

func conversationBetween(p *decode.Point, a, b netip.AddrPort) conversation {
	if a.Compare(b) > 0 {
		a, b = b, a
	}
	return conversation{p.NetnsID, [2]netip.AddrPort{a, b}}
}

// newPen returns what draws in a form, text or svg.
func newPen(form string, w io.Writer) ladderPen {
	if form == outputSVG {
		return newLadderSVG(w)
	}
	return newLadderText(w, isTerminal(w))
}

// more says how many connections were not drawn.
func (l *ladders) more(t *totals) string {
	all := int(t.handshakes()) + t.unfinished + int(t.unseen)
	switch {
	case l.drawn == 0 && l.choice != choice{}:
		return fmt.Sprintf("netobs: none of %s is what --connection says\n", plural(all, "connection"))
	case l.drawn < all:
		return fmt.Sprintf("%d of %s drawn; --connection says which\n", l.drawn, plural(all, "connection"))
	}
	return ""
}
