package main

import (
	"fmt"
	"net/netip"
	"strings"
	"time"

	"netobs/decode"
)

// A ladder is one connection on its way to the terminal.
type ladder struct {
	number int
	of     conversation
	point  *decode.Point
	start  int64             // first segment
	ends   [2]netip.AddrPort // by side
	names  [2]string         // what the sides are called

	shown, begun, over bool
	ended              int64
	rungs              []rung // not yet drawn

	states decode.Ends
	base   [2]seqBase // relative numbers count from it
	last   int64      // time of the segment before
	still  stretch
	count  int
}

type seqBase struct {
	known bool
	at    decode.Seq
}

// rung is a line of a ladder: a segment, or a note.
type rung struct {
	gap    time.Duration // since the segment before
	first  bool          // there is none before
	pause  bool          // so long a gap that it is drawn
	from   decode.Side
	labels []string  // what is said of the segment, the more telling first, the shorter last
	states [2]string // of the sides afterwards; empty: as before
	colour string
	sent   uint32 // bytes of payload
	note   string // instead of all else: a line between the sides
}

// A stretch is many segments that change no state: the first and the last are shown, of the others only how many there were.
type stretch struct {
	length  int
	held    []rung // the last, not yet shown
	skipped int
	bytes   [2]uint64 // in those skipped, by sender
}

const (
	runShown = 6 // at its beginning
	runHeld  = 2 // at its end

	// rungsMost is how many segments are shown at most: states that change for ever take forgery.
	rungsMost = 1000

	// pauseFrom is from which gap on a ladder shows a pause.
	pauseFrom = time.Second
)

func newLadder(number int, seg *decode.Segment, place decode.Place) *ladder {
	s := &ladder{number: number, of: conversationBetween(seg.Point, seg.Src, seg.Dst), point: seg.Point, start: seg.Time,
		ends: [2]netip.AddrPort{seg.Src, seg.Dst}, names: [2]string{decode.Originator.String(), decode.Responder.String()}}
	switch place.Side {
	case decode.Responder:
		s.ends[0], s.ends[1] = seg.Dst, seg.Src
	case decode.SideUnknown:
		s.names = [2]string{"one end", "the other"}
	}
	return s
}

// title says which connection it is, when it began and where it was seen.
func (l *ladder) title() string {
	title := fmt.Sprintf("%d  %s", l.number, time.Unix(0, l.start).Format("2006-01-02 15:04:05.000000"))
	for _, place := range []string{l.point.Netns, l.point.Interface} {
		if place != "" {
			title += "  " + place
		}
	}
	return title
}

// add adds a segment.
func (l *ladder) add(seg *decode.Segment, place decode.Place) {
	side := decode.Originator
	if seg.Src != l.ends[decode.Originator] {
		side = decode.Responder
	}
	r := rung{first: l.count == 0, gap: time.Duration(seg.Time - l.last), from: side, colour: rungColour(seg, place), sent: seg.Payload}
	r.pause = !r.first && r.gap >= pauseFrom
	r.labels = l.labels(seg, side, place)
	l.last = seg.Time
	l.count++

	before := [2]decode.EndState{l.states.State(decode.Originator), l.states.State(decode.Responder)}
	l.states.Step(seg, side, place)
	changed := false
	for i := range before {
		if now := l.states.State(decode.Side(i)); now != before[i] {
			r.states[i] = now.String()
			changed = true
		}
	}
	switch {
	case changed && l.count <= rungsMost:
		l.catchUp()
		l.rungs = append(l.rungs, r)
	case l.still.length < runShown && l.count <= rungsMost:
		l.still.length++
		l.rungs = append(l.rungs, r)
	default:
		l.still.length++
		l.hold(r)
	}
}

// hold keeps a segment of a run until it is known whether there are more.
func (l *ladder) hold(r rung) {
	if u := &l.still; len(u.held) == runHeld {
		u.skipped++
		u.bytes[u.held[0].from] += uint64(u.held[0].sent)
		u.held = append(u.held[:0], u.held[1:]...)
	}
	l.still.held = append(l.still.held, r)
}

// catchUp ends a run.
func (l *ladder) catchUp() {
	if l.still.skipped > 0 {
		l.say(fmt.Sprintf("… %s …", plural(l.still.skipped, "segment")))
		if b := l.still.bytes; b != [2]uint64{} {
			l.say(fmt.Sprintf("%d B →, ← %d B", b[decode.Originator], b[decode.Responder]))
		}
	}
	l.rungs = append(l.rungs, l.still.held...)
	l.still = stretch{}
}

// say adds notes.
func (l *ladder) say(notes ...string) {
	for _, note := range notes {
		l.rungs = append(l.rungs, rung{note: note})
	}
}

// labels returns what is said of a segment.
func (l *ladder) labels(seg *decode.Segment, side decode.Side, place decode.Place) []string {
	seq, ack := l.relative(seg, side)
	long, short := "["+strings.ReplaceAll(seg.Flags.String(), "|", ",")+"]", "["+tcpdumpFlags(seg)+"]"
	if seg.Len() > 0 || seg.Has(decode.RST) {
		long += fmt.Sprintf(" seq %d", seq)
		short += fmt.Sprintf(" %d", seq)
		if seg.Payload > 0 {
			long += fmt.Sprintf(":%d", seq+seg.Payload)
			short += fmt.Sprintf("+%d", seg.Payload)
		}
	}
	if seg.Has(decode.ACK) {
		long += fmt.Sprintf(" ack %d", ack)
		short += fmt.Sprintf(" ack %d", ack)
	}
	word := ""
	switch {
	case place.Kind == decode.PlaceIgnored:
		word = " ignored"
	case place.Kind == decode.PlaceLate:
		word = " late"
	case place.Again:
		word = " again"
	}
	return []string{long + word, short + word}
}

// relative returns the numbers of a segment, counted from the SYNs; where those were not seen, from before the first number.
func (l *ladder) relative(seg *decode.Segment, side decode.Side) (seq, ack uint32) {
	mine, peer := &l.base[side], &l.base[1-side]
	switch {
	case seg.Has(decode.SYN):
		*mine = seqBase{true, seg.Seq}
	case seg.Has(decode.RST) && !mine.known: // its number may mean nothing
		seq = uint32(seg.Seq)
	case !mine.known:
		*mine = seqBase{true, seg.Seq - 1}
	}
	if mine.known {
		seq = seg.Seq.From(mine.at)
	}
	if !seg.Has(decode.ACK) {
		return seq, 0
	}
	if !peer.known {
		*peer = seqBase{true, seg.Ack - 1}
	}
	return seq, seg.Ack.From(peer.at)
}

// tcpdumpFlags returns tcpdump's letters for the flags of a segment.
func tcpdumpFlags(seg *decode.Segment) string {
	flags, _, _ := strings.Cut(strings.TrimPrefix(string(seg.AppendTcpdump(nil, 0, 0)), "Flags ["), "]")
	return flags
}

func rungColour(seg *decode.Segment, place decode.Place) string {
	switch {
	case place.Kind == decode.PlaceIgnored, place.Kind == decode.PlaceLate:
		return dim
	case place.Again:
		return yellow
	case seg.Has(decode.RST):
		return red
	case seg.Flags&(decode.SYN|decode.FIN) != 0:
		return green
	}
	return ""
}
