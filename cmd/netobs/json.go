package main

import (
	"bufio"
	"encoding/json"
	"io"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"netobs/decode"
)

// jsonLines prints the lines of --output json, one object each. Times are RFC 3339 with nanoseconds, durations in seconds.
// Names are stable; a field that is absent is not known. The schema, schema.json, describes them.
type jsonLines struct {
	w     *bufio.Writer // remembers its first error, for flush
	files bool          // points without a namespace are in files
	clock clock
	line  []byte

	listener listenerOf
}

func newJSON(w io.Writer) *jsonLines {
	return &jsonLines{w: newBuffer(w), clock: clock{layout: "2006-01-02T15:04:05", in: time.UTC}}
}

func (j *jsonLines) handshake(h *decode.Handshake) {
	j.begin("handshake")
	j.time("time", h.End)
	j.place(h.Point)
	j.socket("originator", h.Originator)
	j.socket("responder", h.Responder)
	j.word("role", h.Role.String())
	j.community(h.Originator, h.Responder)
	j.word("outcome", h.Outcome.String())
	j.time("start", h.Start)
	j.leg("responder_leg", h.ResponderLeg)
	j.leg("originator_leg", h.OriginatorLeg)
	j.leg("total", h.Total)
	j.count("syn_retransmissions", uint64(h.SYNs))
	j.count("syn_ack_retransmissions", uint64(h.SYNACKs))
	j.process(h.Point, h.Role, h.Responder)
	j.end()
}

func (j *jsonLines) connection(c *decode.Connection) {
	j.begin("connection")
	j.time("time", c.End)
	j.place(c.Point)
	j.socket("originator", c.Originator)
	j.socket("responder", c.Responder)
	j.community(c.Originator, c.Responder)
	j.yesNo("originator_known", c.OriginatorKnown)
	j.word("role", c.Role.String())
	j.yesNo("unseen", c.Unseen)
	j.word("teardown", c.Teardown.String())
	j.word("closer", c.Closer.String())
	j.yesNo("fins_crossed", c.FINsCrossed)
	j.time("start", c.Start)
	j.seconds("duration_seconds", c.Duration())
	for side, name := range [...]string{"originator_bytes", "responder_bytes"} {
		if c.BytesKnown[side] {
			j.count(name, uint64(c.Bytes[side]))
		}
	}
	j.word("history", c.History)
	j.process(c.Point, c.Role, c.Responder)
	j.end()
}

// process prints the responder's, if it is known.
func (j *jsonLines) process(at *decode.Point, role decode.Role, responder netip.AddrPort) {
	if p, ok := j.listener.responder(at, role, responder); ok {
		j.key("responder_process")
		j.line = strconv.AppendInt(append(j.line, `{"pid":`...), int64(p.PID), 10)
		j.text("name", p.Name)
		j.line = append(j.line, '}')
	}
}

// place says where p is.
func (j *jsonLines) place(p *decode.Point) {
	switch {
	case p.Netns == "":
	case j.files && p.NetnsID == 0:
		j.text("file", p.Netns)
	default:
		j.text("netns", p.Netns)
	}
	if p.Interface != "" {
		j.text("interface", p.Interface)
	}
}

func (j *jsonLines) leg(name string, l decode.Leg) {
	if !l.Known {
		return
	}
	j.key(name)
	j.line = append(j.line, `{"first_seconds":`...) // from the first transmission: what the user waited
	j.line = appendSeconds(j.line, l.First)
	j.line = append(j.line, `,"last_seconds":`...) // from the last before the answer: the network's round trip
	j.line = append(appendSeconds(j.line, l.Last), '}')
}

func (j *jsonLines) begin(typ string) {
	j.line = append(j.line[:0], `{"type":"`...)
	j.line = append(append(j.line, typ...), `","schema":`...)
	j.line = strconv.AppendInt(j.line, schemaVersion, 10)
}

func (j *jsonLines) end() {
	j.line = append(j.line, "}\n"...)
	j.w.Write(j.line)
}

func (j *jsonLines) key(name string) {
	j.line = append(append(append(j.line, `,"`...), name...), `":`...)
}

func (j *jsonLines) time(name string, ns int64) {
	j.key(name)
	var left uint32
	j.line, left = j.clock.append(append(j.line, '"'), ns)
	j.line = append(appendFraction(j.line, left), `Z"`...)
}

func (j *jsonLines) socket(name string, s netip.AddrPort) {
	j.key(name)
	j.line = append(s.AppendTo(append(j.line, '"')), '"')
}

// community prints the Community ID.
func (j *jsonLines) community(a, b netip.AddrPort) {
	j.key("community_id")
	j.line = append(decode.AppendCommunityID(append(j.line, '"'), a, b), '"')
}

// word prints a string of letters and underscores.
func (j *jsonLines) word(name, s string) {
	j.key(name)
	j.line = append(append(append(j.line, '"'), s...), '"')
}

// text prints any string.
func (j *jsonLines) text(name, s string) {
	if strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r > '~' || strings.ContainsRune(`"\<>&`, r) }) {
		quoted, _ := json.Marshal(s) // of strings it makes no error
		j.key(name)
		j.line = append(j.line, quoted...)
		return
	}
	j.word(name, s)
}

func (j *jsonLines) count(name string, n uint64) {
	j.key(name)
	j.line = strconv.AppendUint(j.line, n, 10)
}

func (j *jsonLines) yesNo(name string, v bool) {
	j.key(name)
	j.line = strconv.AppendBool(j.line, v)
}

func (j *jsonLines) seconds(name string, d time.Duration) {
	j.key(name)
	j.line = appendSeconds(j.line, d)
}

func (j *jsonLines) flush() error { return j.w.Flush() }

// appendSeconds appends a duration in seconds.
func appendSeconds(dst []byte, d time.Duration) []byte {
	if d < 0 {
		dst = append(dst, '-')
	}
	v := uint64(max(d, -d))
	return appendFraction(strconv.AppendUint(dst, v/1e9, 10), uint32(v%1e9))
}

// appendFraction appends nanoseconds as a fraction of a second, without zeros at its end.
func appendFraction(dst []byte, nanos uint32) []byte {
	if nanos == 0 {
		return dst
	}
	dst = appendDigits(append(dst, '.'), nanos, 9)
	for dst[len(dst)-1] == '0' {
		dst = dst[:len(dst)-1]
	}
	return dst
}

func utc(ns int64) time.Time { return time.Unix(0, ns).UTC() }
