package decode

import "math/bits"

// history is zeek's connection history, packed: five bits a letter, first letter lowest, 0 ends it. The letters, upper
// case for the originator: S SYN, H SYN-ACK, A acknowledgment alone, D data, F FIN, R RST, I FIN with RST, Q other
// impossible combinations of SYN, FIN and RST. Each is noted once a direction, S and H together once, as zeek does
// (update_history in its TCPSessionAdapter.cc).
type history uint64

const (
	historyLetters = "\x00SHADFRIQshadfriq"
	historyBits    = 5
	historyMax     = 64 / historyBits
	historySides   = 8 // letters a side
)

// Letters of the originator. Add historySides for the responder's.
const (
	letterS history = iota + 1
	letterH
	letterA
	letterD
	letterF
	letterR
	letterI
	letterQ
)

// lowest has the lowest bit of each letter.
const lowest history = (1<<(historyMax*historyBits) - 1) / (1<<historyBits - 1)

// has reports whether letter l of side s was noted. It looks at all at once, for a letter of the difference that is zero: if there
// is one, subtracting 1 from each sets its highest bit, which was not set.
func (h history) has(s Side, l history) bool {
	diff := h ^ (l+history(s)*historySides)*lowest
	return (diff-lowest)&^diff&(lowest<<(historyBits-1)) != 0
}

// add notes letter l of side s, unless it was. A history that is full, which takes impossible flags, stays as it is.
func (h *history) add(s Side, l history) {
	if h.has(s, l) || l == letterH && h.has(s, letterS) || l == letterS && h.has(s, letterH) {
		return
	}
	if n := (bits.Len64(uint64(*h)) + historyBits - 1) / historyBits; n < historyMax {
		*h |= (l + history(s)*historySides) << (n * historyBits)
	}
}

// letterOf returns the letter of a segment by its control bits, 0 if it has none.
func letterOf(seg *Segment) history {
	switch seg.Flags & (SYN | FIN | RST) {
	case SYN:
		if seg.Has(ACK) {
			return letterH
		}
		return letterS
	case FIN:
		return letterF
	case RST:
		return letterR
	case FIN | RST:
		return letterI
	case 0:
		if seg.Payload > 0 {
			return letterD
		}
		if seg.Has(ACK) {
			return letterA
		}
		return 0
	}
	return letterQ
}

// String returns the letters.
func (h history) String() string {
	var buf [historyMax]byte
	b := buf[:0]
	for ; h != 0; h >>= historyBits {
		b = append(b, historyLetters[h&(1<<historyBits-1)])
	}
	return string(b)
}
