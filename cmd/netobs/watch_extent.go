package main

import "netobs/decode"

// extent is how much data a side was seen to send, or its peer to acknowledge.
type extent struct {
	known, finished bool
	first, next     decode.Seq // of the data; next is the FIN's number, too, if finished
	began           int64      // time of the first SYN, in ns since the epoch; 0: not seen
}

// bytes returns the length, modulo 2^32.
func (e *extent) bytes() uint32 { return e.next.From(e.first) }

// begin begins at a number.
func (e *extent) begin(first decode.Seq) { *e = extent{known: true, first: first, next: first} }

// reach notes that all before a number was sent. The first that is heard of begins at from.
func (e *extent) reach(from, to decode.Seq) {
	if !e.known {
		e.begin(from)
	}
	if e.next.Less(to) && !e.finished {
		e.next = to
	}
}

// follow notes what a segment says of the data that both sides sent.
func (n *numbers) follow(seg *decode.Segment, side decode.Side) {
	mine, peer := &n.sent[side], &n.sent[1-side]
	if seg.Has(decode.RST) {
		return // its numbers may mean nothing
	}
	first := seg.Seq
	if seg.Has(decode.SYN) {
		if first++; !mine.known || mine.first != first {
			mine.begin(first)
			if mine.began = seg.Time; !seg.Has(decode.ACK) {
				*peer = extent{}
			}
		}
	}
	mine.reach(first, first.Add(seg.Payload))
	if seg.Has(decode.FIN) {
		mine.finished = true
	}
	if seg.Has(decode.ACK) {
		peer.reach(seg.Ack, seg.Ack)
	}
}
