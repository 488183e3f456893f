package main

import (
	"fmt"
	"net/netip"
	"time"

	"netobs/decode"
)

// narrator says in plain words what the segments of one conversation meant, from first to last. It describes what
// happened, never what should have: who closes first, and whether an ACK travels alone, differs from run to run.
type narrator struct {
	server netip.AddrPort
	teach  bool  // explain the notation, too
	start  int64 // of the first segment
	half   [2]told
	numbers
}

// told is what one side was told to have sent so far.
type told struct {
	started bool
	iss     decode.Seq // number of its SYN
	bytes   uint32     // of data
	fin     uint32     // number of its FIN, relative; 0 before that
	acked   uint32     // relative number up to which the peer acknowledged
}

// sender returns who sent seg. In the demo the server is always the responder.
func (n *narrator) sender(seg *decode.Segment) decode.Side {
	if seg.Src == n.server {
		return decode.Responder
	}
	return decode.Originator
}

// endName returns what the story calls an end.
func endName(side decode.Side) string {
	if side == decode.Responder {
		return "server"
	}
	return "client"
}

// explain returns a label, its colour if any, and what the next segment means.
func (n *narrator) explain(st *step) (label, colour, text string) {
	side := n.sender(&st.Segment)
	if n.start == 0 {
		n.start = st.Time
	}
	if st.Has(decode.SYN) {
		n.half[side].started = true
		n.half[side].iss = st.Seq
	}
	label, colour, text = n.words(st, side)
	if st.Again {
		text += " It is sent again, because no answer came in time."
	}
	n.remember(st, side)
	return label, colour, text
}

// words is explain without the bookkeeping.
func (n *narrator) words(st *step, side decode.Side) (label, colour, text string) {
	who, other := endName(side), endName(1-side)
	mine, peer := &n.half[side], &n.half[1-side]
	seq, ack := st.Seq.From(mine.iss), st.Ack.From(peer.iss) // relative
	switch st.Kind {
	case decode.PlaceSYN:
		text := fmt.Sprintf("The %s asks for a connection to port %d (SYN). Seq = %d is where it starts counting.", who,
			st.Dst.Port(), st.Seq)
		if n.teach {
			text += offer(st.Options)
		}
		return "handshake 1 of 3", green, text
	case decode.PlaceSYNACK:
		return "handshake 2 of 3", green, fmt.Sprintf("The %s agrees (SYN-ACK), %s later. Seq = %d is where it starts "+
			"counting. Ack = the %s's Seq + 1 = %d is the number it expects next: a SYN counts as one.", who, n.since(st),
			st.Seq, other, st.Ack)
	case decode.PlaceCompletes:
		text := fmt.Sprintf("The %s acknowledges: Ack = the %s's Seq + 1 = %d. The connection is established after %s. From "+
			"here on tcpdump counts from where each side started, so it writes this Ack as %d.", who, other, st.Ack,
			n.since(st), ack)
		return "handshake 3 of 3", green, text + n.extras(st, seq)
	case decode.PlaceRefused:
		return "refused (RST)", red, fmt.Sprintf("No SYN-ACK but RST: nobody listens on port %d. Ack = the %s's Seq + 1 = %d "+
			"says which SYN is meant; Seq is %d because this side never started counting. The client's connect() fails at "+
			"once, after %s, with \"connection refused\". That is a clear answer: the machine is there, the program is not. "+
			"With no answer at all the client would repeat its SYN for minutes, and netobs would call it unanswered.",
			st.Src.Port(), other, st.Ack, st.Seq, n.since(st))
	case decode.PlaceAborted, decode.PlaceReset:
		return "no handshake", red, fmt.Sprintf("The %s breaks the handshake off (RST) after %s.", who, n.since(st))
	case decode.PlaceData:
		text := fmt.Sprintf("The %s sends %s: %s, numbers %d to %d.", who, bytesOfData(st.Payload), content(side, mine),
			seq, seq+st.Payload-1)
		if n.teach && mine.bytes+peer.bytes == 0 {
			text += fmt.Sprintf(" (tcpdump writes %d:%d, which is from %d up to, but without, %d.)", seq, seq+st.Payload,
				seq, seq+st.Payload)
		}
		return "data", "", text + n.acknowledges(st, ack, side)
	case decode.PlaceACK:
		if ack <= peer.acked {
			return "acknowledgment", "", fmt.Sprintf("The %s repeats Ack = %d: nothing new.", who, ack)
		}
		return "acknowledgment", "", fmt.Sprintf("The %s has everything up to number %d: Ack = %d is what it expects next.", who,
			ack-1, ack)
	case decode.PlaceFirstFIN:
		text := fmt.Sprintf("The %s is the first to close (FIN): it has sent everything. The FIN counts as one, like the SYN; "+
			"its number is %d.", who, seq+st.Payload)
		return "FIN 1 of 2", green, text + n.extras(st, seq) + n.acknowledges(st, ack, side)
	case decode.PlaceFirstFINAcked:
		return "ACK of the FIN", green, fmt.Sprintf("The %s has seen the FIN: Ack = %d + 1 = %d. It might go on sending.", who,
			peer.fin, ack)
	case decode.PlaceSecondFIN:
		text := fmt.Sprintf("The %s closes, too (FIN, number %d).", who, seq+st.Payload)
		switch {
		case ack <= peer.fin:
			text += fmt.Sprintf(" It does not know of the %s's FIN yet (Ack = %d): the two crossed on the way.", other, ack)
		case peer.acked <= peer.fin:
			text += fmt.Sprintf(" The same segment acknowledges the %s's FIN: Ack = %d + 1 = %d.", other, peer.fin, ack)
		}
		return "FIN 2 of 2", green, text + n.extras(st, seq)
	case decode.PlaceFINAcked:
		return "ACK of a FIN", green, fmt.Sprintf("The %s acknowledges the %s's FIN: Ack = %d + 1 = %d. The other FIN still "+
			"waits for its ACK.", who, other, peer.fin, ack)
	case decode.PlaceFinished:
		return "the last ACK", green, fmt.Sprintf("The %s acknowledges the %s's FIN: Ack = %d + 1 = %d. Both sides have closed "+
			"and both know it: the connection is over after %s.", who, other, peer.fin, ack, n.since(st))
	case decode.PlaceRST:
		return "reset (RST)", red, fmt.Sprintf("The %s breaks the connection off after %s: whatever was still to come is lost.",
			who, n.since(st))
	case decode.PlaceLate:
		if st.Has(decode.RST) {
			return "late RST", yellow, fmt.Sprintf("The connection is already over; the %s's end is gone and says so (RST). "+
				"It changes nothing.", who)
		}
		return "late", yellow, fmt.Sprintf("Sent by the %s when the connection was already over. It changes nothing.", who)
	}
	return "other", "", fmt.Sprintf("From the %s: %s.", who, st.Kind)
}

// since returns the time from the first segment.
func (n *narrator) since(st *step) string { return short(time.Duration(max(st.Time-n.start, 0))) }

// remember notes what was told.
func (n *narrator) remember(st *step, side decode.Side) {
	mine, peer := &n.half[side], &n.half[1-side]
	if st.Has(decode.RST) {
		return
	}
	if st.Has(decode.FIN) {
		mine.fin = st.Seq.Add(st.Payload).From(mine.iss)
	}
	if !st.Again {
		mine.bytes += st.Payload
	}
	if st.Has(decode.ACK) {
		peer.acked = max(peer.acked, st.Ack.From(peer.iss))
	}
}

// extras tells what a segment carries beside its main purpose.
func (n *narrator) extras(st *step, seq uint32) string {
	text := ""
	if st.Payload > 0 {
		text = fmt.Sprintf(" It brings %s along, from number %d on.", bytesOfData(st.Payload), seq)
	}
	if st.Has(decode.FIN) && st.Kind == decode.PlaceCompletes {
		text += " It closes at once (FIN)."
	}
	return text
}

// acknowledges tells what a segment acknowledges by the way, if that is news.
func (n *narrator) acknowledges(st *step, ack uint32, side decode.Side) string {
	peer := &n.half[1-side]
	if !st.Has(decode.ACK) || ack <= max(peer.acked, 1) {
		return ""
	}
	return fmt.Sprintf(" Its Ack = %d says that everything before has arrived.", ack)
}

// content says what data a side sends, which tcpdump does not tell but the demo knows.
func content(side decode.Side, sent *told) string {
	what := "HTTP request"
	if side == decode.Responder {
		what = "HTTP response"
	}
	if sent.bytes > 0 {
		return "more of its " + what
	}
	return "its " + what
}

func bytesOfData(n uint32) string {
	if n == 1 {
		return "1 byte"
	}
	return fmt.Sprintf("%d bytes", n)
}

// offer explains the options of a SYN.
func offer(o decode.Options) string {
	mss, hasMSS := o.MSS()
	shift, hasScale := o.WindowScale()
	if !hasMSS || !hasScale || !o.SACKPermitted() {
		return ""
	}
	return fmt.Sprintf(" Its options say what it can do: take segments of up to %d bytes (mss), use reports about gaps "+
		"(sackOK), measure round trips with timestamps (TS), and, from the next segment on, count its window (win, the bytes "+
		"it has room for) in units of %d (wscale %d).", mss, 1<<min(shift, 14), shift)
}
