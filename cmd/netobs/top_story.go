package main

import (
	"fmt"
	"net/netip"
	"time"

	"netobs/decode"
)

// topStory is what happened in one handshake, as far as it was reported.
type topStory struct {
	start int64
	steps []topStep
	more  int // that were not kept
}

type topStep struct {
	at    int64
	flags decode.Flags
	place decode.Place
}

// topSteps is how many segments of a handshake are kept. Linux sends eleven SYNs before it gives up.
const topSteps = 12

// add adds a segment.
func (s *topStory) add(seg *decode.Segment, place decode.Place) {
	if len(s.steps) == topSteps {
		s.more++
		return
	}
	s.steps = append(s.steps, topStep{seg.Time, seg.Flags, place})
}

// lines tells the story, and that it ended in silence at a time if it did.
func (s *topStory) lines(h *decode.Handshake) (lines []string) {
	for _, step := range s.steps {
		lines = append(lines, fmt.Sprintf("+%-8s %-8s %s", short(time.Duration(max(0, step.at-s.start))), step.flags, step.place))
	}
	if s.more > 0 {
		lines = append(lines, fmt.Sprintf("… and %d more", s.more))
	}
	if h.Outcome == decode.OutcomeUnanswered || h.Outcome == decode.OutcomeHalfOpen {
		lines = append(lines, fmt.Sprintf("+%-8s no answer came", short(time.Duration(max(0, h.End-s.start)))))
	}
	return lines
}

// topStoryKey is a socket pair in a namespace.
type topStoryKey struct {
	netnsID uint32
	sockets [2]netip.AddrPort
}

func topStoryOf(netnsID uint32, a, b netip.AddrPort) topStoryKey {
	if a.Compare(b) > 0 {
		a, b = b, a
	}
	return topStoryKey{netnsID, [2]netip.AddrPort{a, b}}
}

// topStories are those of the last handshakes: of the topStoriesMost last begun for sure, of twice as many at most.
type topStories struct {
	recent, older map[topStoryKey]*topStory
}

const topStoriesMost = 2048

// add adds a segment to the story of its handshake, which a SYN begins.
func (s *topStories) add(seg *decode.Segment, place decode.Place) {
	switch place.Kind {
	case decode.PlaceSYN, decode.PlaceSYNACK, decode.PlaceRefused, decode.PlaceAborted, decode.PlaceReset:
	default:
		return
	}
	key := topStoryOf(seg.Point.NetnsID, seg.Src, seg.Dst)
	one := s.of(key)
	if one == nil || place.Kind == decode.PlaceSYN && !place.Again {
		one = &topStory{start: seg.Time}
		if s.recent == nil || len(s.recent) >= topStoriesMost {
			s.recent, s.older = make(map[topStoryKey]*topStory), s.recent
		}
		s.recent[key] = one
	}
	one.add(seg, place)
}

// of returns the last story of a socket pair; nil if none is kept.
func (s *topStories) of(key topStoryKey) *topStory {
	if one := s.recent[key]; one != nil {
		return one
	}
	return s.older[key]
}
