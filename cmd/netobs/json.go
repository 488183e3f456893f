package main

import (
	"bufio"
	"encoding/json"
	"io"
	"net/netip"
	"time"

	"netobs/decode"
)

// The lines of --output json, one object each. Times are RFC 3339 with nanoseconds, durations in seconds. Names are
// stable; a field that is absent is not known.

type jsonLeg struct {
	First float64 `json:"first_seconds"` // from the first transmission: what the user waited
	Last  float64 `json:"last_seconds"`  // from the last before the answer: the network's round trip
}

type jsonHandshake struct {
	Type          string         `json:"type"` // "handshake"
	Time          time.Time      `json:"time"` // of the outcome
	Netns         string         `json:"netns,omitempty"`
	File          string         `json:"file,omitempty"` // of captures
	Interface     string         `json:"interface,omitempty"`
	Originator    netip.AddrPort `json:"originator"`
	Responder     netip.AddrPort `json:"responder"`
	Role          string         `json:"role"`
	Outcome       string         `json:"outcome"`
	Start         time.Time      `json:"start"` // of the first SYN
	ResponderLeg  *jsonLeg       `json:"responder_leg,omitempty"`
	OriginatorLeg *jsonLeg       `json:"originator_leg,omitempty"`
	Total         *jsonLeg       `json:"total,omitempty"`
	SYNs          uint16         `json:"syn_retransmissions"`
	SYNACKs       uint16         `json:"syn_ack_retransmissions"`
}

type jsonConnection struct {
	Type            string         `json:"type"` // "connection"
	Time            time.Time      `json:"time"` // of the end
	Netns           string         `json:"netns,omitempty"`
	File            string         `json:"file,omitempty"`
	Interface       string         `json:"interface,omitempty"`
	Originator      netip.AddrPort `json:"originator"`
	Responder       netip.AddrPort `json:"responder"`
	OriginatorKnown bool           `json:"originator_known"`
	Role            string         `json:"role"`
	Unseen          bool           `json:"unseen"`
	Teardown        string         `json:"teardown"`
	Closer          string         `json:"closer"`
	FINsCrossed     bool           `json:"fins_crossed"`
	Start           time.Time      `json:"start"`
	Duration        float64        `json:"duration_seconds"`
	OriginatorBytes *uint32        `json:"originator_bytes,omitempty"`
	ResponderBytes  *uint32        `json:"responder_bytes,omitempty"`
	History         string         `json:"history"`
}

// jsonLines prints one JSON object a line.
type jsonLines struct {
	w   *bufio.Writer // remembers its first error, for flush
	enc *json.Encoder

	files bool // points are in files, not in namespaces
}

func newJSON(w io.Writer) *jsonLines {
	buf := newBuffer(w)
	return &jsonLines{w: buf, enc: json.NewEncoder(buf)}
}

func (j *jsonLines) handshake(h *decode.Handshake) {
	netns, file := j.place(h.Point)
	j.enc.Encode(jsonHandshake{
		Type:          "handshake",
		Time:          utc(h.End),
		Netns:         netns,
		File:          file,
		Interface:     h.Point.Interface,
		Originator:    h.Originator,
		Responder:     h.Responder,
		Role:          h.Role.String(),
		Outcome:       h.Outcome.String(),
		Start:         utc(h.Start),
		ResponderLeg:  legOf(h.ResponderLeg),
		OriginatorLeg: legOf(h.OriginatorLeg),
		Total:         legOf(h.Total),
		SYNs:          h.SYNs,
		SYNACKs:       h.SYNACKs,
	})
}

func (j *jsonLines) connection(c *decode.Connection) {
	netns, file := j.place(c.Point)
	line := jsonConnection{
		Type:            "connection",
		Time:            utc(c.End),
		Netns:           netns,
		File:            file,
		Interface:       c.Point.Interface,
		Originator:      c.Originator,
		Responder:       c.Responder,
		OriginatorKnown: c.OriginatorKnown,
		Role:            c.Role.String(),
		Unseen:          c.Unseen,
		Teardown:        c.Teardown.String(),
		Closer:          c.Closer.String(),
		FINsCrossed:     c.FINsCrossed,
		Start:           utc(c.Start),
		Duration:        c.Duration().Seconds(),
		History:         c.History,
	}
	if c.BytesKnown[decode.Originator] {
		line.OriginatorBytes = &c.Bytes[decode.Originator]
	}
	if c.BytesKnown[decode.Responder] {
		line.ResponderBytes = &c.Bytes[decode.Responder]
	}
	j.enc.Encode(line)
}

// place returns the name of p's namespace, or file.
func (j *jsonLines) place(p *decode.Point) (netns, file string) {
	if j.files {
		return "", p.Netns
	}
	return p.Netns, ""
}

func (j *jsonLines) flush() error { return j.w.Flush() }

func utc(ns int64) time.Time { return time.Unix(0, ns).UTC() }

func legOf(l decode.Leg) *jsonLeg {
	if !l.Known {
		return nil
	}
	return &jsonLeg{l.First.Seconds(), l.Last.Seconds()}
}
