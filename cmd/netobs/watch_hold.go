package main

import (
	"container/list"
	"slices"

	"netobs/decode"
)

// heldBack keeps back the segments of connections until it is known how these end, and hands on those that end as wanted: all that
// was kept, and what still comes. Memory is bounded: what is held for longest is dropped, and counted.
type heldBack struct {
	follower
	ends    endings
	most    int // segments
	stories map[conversation]*list.Element
	order   *list.List // of *heldStory: that begun first, first
	count   int        // segments in all
	dropped uint64     // segments of connections that were not decided when there was no more room
}

// heldMost is how many segments wait for a verdict at most: some 30 MB.
const heldMost = 1 << 17

// heldStory is a connection under way, or one whose segments are wanted.
type heldStory struct {
	of       conversation
	segments []heldSegment
	wanted   bool
}

type heldSegment struct {
	decode.Segment
	decode.Place
}

func newHeldBack(out follower, ends endings) *heldBack {
	return &heldBack{follower: out, ends: ends, most: heldMost, stories: make(map[conversation]*list.Element), order: list.New()}
}

func (h *heldBack) handshake(hs *decode.Handshake) {
	of := conversationBetween(hs.Point, hs.Originator, hs.Responder)
	switch {
	case h.ends.outcomes[hs.Outcome]:
		h.want(of)
		h.follower.handshake(hs)
	case hs.Outcome != decode.OutcomeCompleted || len(h.ends.teardowns) == 0:
		h.forget(of)
	}
}

func (h *heldBack) connection(c *decode.Connection) {
	of := conversationBetween(c.Point, c.Originator, c.Responder)
	if h.ends.teardowns[c.Teardown] {
		h.want(of)
		h.follower.connection(c)
		return
	}
	if e := h.stories[of]; e != nil && !e.Value.(*heldStory).wanted {
		h.forget(of)
	}
}

// want hands on what was kept of a connection, and says that the rest is wanted.
func (h *heldBack) want(of conversation) {
	e := h.stories[of]
	if e == nil {
		e = h.begin(of)
	}
	s := e.Value.(*heldStory)
	s.wanted = true
	for i := range s.segments {
		h.follower.place(&s.segments[i].Segment, s.segments[i].Place)
	}
	h.count -= len(s.segments)
	s.segments = nil
}

func (h *heldBack) forget(of conversation) {
	if e := h.stories[of]; e != nil {
		h.count -= len(e.Value.(*heldStory).segments)
		h.order.Remove(e)
		delete(h.stories, of)
	}
}

func (h *heldBack) begin(of conversation) *list.Element {
	h.forget(of)
	e := h.order.PushBack(&heldStory{of: of})
	h.stories[of] = e
	return e
}

func (h *heldBack) place(seg *decode.Segment, place decode.Place) {
	of := conversationBetween(seg.Point, seg.Src, seg.Dst)
	e := h.stories[of]
	begins := place.Kind == decode.PlaceSYN && !place.Again && !seg.Has(decode.ACK)
	switch {
	case begins && (e == nil || !h.isSimultaneous(e, seg)), e == nil && place.Kind == decode.PlaceUnseen:
		e = h.begin(of)
	case e == nil:
		return // decided, and not wanted
	}
	s := e.Value.(*heldStory)
	if s.wanted {
		h.follower.place(seg, place)
		h.makeRoom()
		return
	}
	kept := heldSegment{*seg, place}
	kept.Options, kept.Data = slices.Clone(seg.Options), slices.Clone(seg.Data)
	s.segments = append(s.segments, kept)
	h.count++
	h.makeRoom()
}

// isSimultaneous reports whether a SYN meets that of the other side.
func (h *heldBack) isSimultaneous(e *list.Element, seg *decode.Segment) bool {
	s := e.Value.(*heldStory)
	return !s.wanted && len(s.segments) > 0 && s.segments[0].Src == seg.Dst
}

// makeRoom drops the oldest stories if there are too many segments, or stories.
func (h *heldBack) makeRoom() {
	for h.count > h.most || h.order.Len() > h.most {
		s := h.order.Front().Value.(*heldStory)
		h.dropped += uint64(len(s.segments))
		h.forget(s.of)
	}
}
