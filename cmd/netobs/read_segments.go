package main

import (
	"bufio"
	"io"
	"net/netip"
	"strconv"

	"netobs/decode"
)

// appendSegment appends what tcpdump -n prints of a segment, after its time where it was seen.
func appendSegment(dst []byte, at *clock, seg *decode.Segment, places [2]string, seqBase, ackBase decode.Seq) []byte {
	dst = at.appendTimeOfDay(dst, seg.Time)
	for _, place := range places {
		if place != "" {
			dst = append(append(dst, ' '), place...)
		}
	}
	return appendIP(append(dst, ' '), seg, seqBase, ackBase)
}

// appendIP appends what tcpdump -n prints of a segment from "IP" or "IP6" on.
func appendIP(dst []byte, seg *decode.Segment, seqBase, ackBase decode.Seq) []byte {
	if seg.Src.Addr().Is4() {
		dst = append(dst, "IP "...)
	} else {
		dst = append(dst, "IP6 "...)
	}
	dst = appendSocket(dst, seg.Src)
	dst = append(dst, " > "...)
	dst = appendSocket(dst, seg.Dst)
	dst = append(dst, ": "...)
	return seg.AppendTcpdump(dst, seqBase, ackBase)
}

func appendSocket(dst []byte, s netip.AddrPort) []byte {
	return strconv.AppendUint(append(s.Addr().AppendTo(dst), '.'), uint64(s.Port()), 10)
}

// numbers are where the two sides of a connection started counting, as far as tcpdump knows.
type numbers struct {
	known bool
	start [2]decode.Seq // by side, however sides are told apart
	sent  [2]extent
}

// bases returns what tcpdump subtracts from the numbers of the next segment, sent by a side: nothing before both sides'
// first numbers are known. It learns them from a SYN-ACK, or the first segment with ACK that it sees.
func (n *numbers) bases(seg *decode.Segment, side decode.Side) (seq, ack decode.Seq) {
	if !seg.Has(decode.ACK) {
		return 0, 0
	}
	if !n.known || seg.Has(decode.SYN) {
		n.known = true
		n.start[side], n.start[1-side] = seg.Seq, seg.Ack-1
		return 0, 0
	}
	return n.start[side], n.start[1-side]
}

// senderOf says who of a conversation sent a segment: Originator stands for the lower socket.
func senderOf(seg *decode.Segment) decode.Side {
	if seg.Src.Compare(seg.Dst) > 0 {
		return decode.Responder
	}
	return decode.Originator
}

// numbering remembers the numbers of connections: of the numberedMost last used for sure, of twice as many at most.
type numbering struct {
	recent, older map[conversation]*numbers
}

const numberedMost = 1 << 17

// of returns the numbers of a segment's connection, and its sender.
func (n *numbering) of(seg *decode.Segment) (*numbers, decode.Side) {
	key := conversationBetween(seg.Point, seg.Src, seg.Dst)
	c := n.recent[key]
	if c == nil {
		if c = n.older[key]; c == nil {
			c = new(numbers)
		}
		if n.recent == nil || len(n.recent) >= numberedMost {
			n.recent, n.older = make(map[conversation]*numbers), n.recent
		}
		n.recent[key] = c
	}
	return c, senderOf(seg)
}

func (n *numbering) bases(seg *decode.Segment) (seq, ack decode.Seq) {
	c, side := n.of(seg)
	return c.bases(seg, side)
}

// segmentLines is the sink of --segments.
type segmentLines struct {
	discard
	w         *bufio.Writer
	clock     clock
	line      []byte
	numbering numbering
}

func newSegmentLines(w io.Writer) *segmentLines {
	return &segmentLines{w: newBuffer(w), clock: timeOfDay()}
}

func (s *segmentLines) segment(seg *decode.Segment) {
	seqBase, ackBase := s.numbering.bases(seg)
	places := [2]string{seg.Point.Netns, seg.Point.Interface}
	s.line = append(appendSegment(s.line[:0], &s.clock, seg, places, seqBase, ackBase), '\n')
	s.w.Write(s.line) // the error is that of flush
}

func (s *segmentLines) restart() { s.numbering = numbering{} }

func (s *segmentLines) flush() error { return s.w.Flush() }
