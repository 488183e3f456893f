package main

import "netobs/decode"

// jsonSegments is the sink that prints an object for each segment.
type jsonSegments struct {
	lines   *jsonLines
	results bool // and for what becomes of them
}

func (j jsonSegments) handshake(h *decode.Handshake) {
	if j.results {
		j.lines.handshake(h)
	}
}

func (j jsonSegments) connection(c *decode.Connection) {
	if j.results {
		j.lines.connection(c)
	}
}

func (j jsonSegments) place(seg *decode.Segment, place decode.Place) {
	j.lines.printSegment(seg, place)
}
func (j jsonSegments) flush() error { return j.lines.flush() }

// printSegment prints a segment and its place in its connection.
func (j *jsonLines) printSegment(seg *decode.Segment, place decode.Place) {
	j.begin("segment")
	j.time("time", seg.Time)
	j.place(seg.Point)
	if seg.Point.Direction != decode.DirectionUnknown {
		j.word("direction", seg.Point.Direction.String())
	}
	j.socket("source", seg.Src)
	j.socket("destination", seg.Dst)
	j.community(seg.Src, seg.Dst)
	if place.Side != decode.SideUnknown {
		j.word("sender", place.Side.String())
	}
	j.word("place", place.Kind.Label())
	j.yesNo("again", place.Again)
	j.key("flags")
	j.line = append(j.line, '[')
	for bit, comma := decode.FIN, false; bit <= decode.AE; bit <<= 1 {
		if !seg.Has(bit) {
			continue
		}
		if comma {
			j.line = append(j.line, ',')
		}
		j.line = append(append(append(j.line, '"'), bit.String()...), '"')
		comma = true
	}
	j.line = append(j.line, ']')
	j.count("seq", uint64(seg.Seq))
	if seg.Has(decode.ACK) {
		j.count("ack", uint64(seg.Ack))
	}
	j.count("window", uint64(seg.Wnd))
	j.count("payload_bytes", uint64(seg.Payload))
	j.count("ttl", uint64(seg.TTL))
	if len(seg.Options) > 0 {
		j.text("options", seg.Options.String())
	}
	j.end()
}
