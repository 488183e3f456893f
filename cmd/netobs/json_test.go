package main

import (
	"bytes"
	"encoding/json"
	"math"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"
	"time"

	"netobs/decode"
	"netobs/loader"
)

// What encoding/json would be given for the lines of --output json.

type jsonLeg struct {
	First float64 `json:"first_seconds"`
	Last  float64 `json:"last_seconds"`
}

type jsonHandshake struct {
	jsonHead
	Time          time.Time      `json:"time"`
	Netns         string         `json:"netns,omitempty"`
	File          string         `json:"file,omitempty"`
	Interface     string         `json:"interface,omitempty"`
	Originator    netip.AddrPort `json:"originator"`
	Responder     netip.AddrPort `json:"responder"`
	CommunityID   string         `json:"community_id"`
	Role          string         `json:"role"`
	Outcome       string         `json:"outcome"`
	Start         time.Time      `json:"start"`
	ResponderLeg  *jsonLeg       `json:"responder_leg,omitempty"`
	OriginatorLeg *jsonLeg       `json:"originator_leg,omitempty"`
	Total         *jsonLeg       `json:"total,omitempty"`
	SYNs          uint16         `json:"syn_retransmissions"`
	SYNACKs       uint16         `json:"syn_ack_retransmissions"`
	Process       *jsonProcess   `json:"responder_process,omitempty"`
}

type jsonProcess struct {
	PID  int    `json:"pid"`
	Name string `json:"name"`
}

type jsonConnection struct {
	jsonHead
	Time            time.Time      `json:"time"`
	Netns           string         `json:"netns,omitempty"`
	File            string         `json:"file,omitempty"`
	Interface       string         `json:"interface,omitempty"`
	Originator      netip.AddrPort `json:"originator"`
	Responder       netip.AddrPort `json:"responder"`
	CommunityID     string         `json:"community_id"`
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
	Process         *jsonProcess   `json:"responder_process,omitempty"`
}

func legOf(l decode.Leg) *jsonLeg {
	if !l.Known {
		return nil
	}
	return &jsonLeg{seconds(l.First), seconds(l.Last)}
}

func communityID(a, b netip.AddrPort) string { return string(decode.AppendCommunityID(nil, a, b)) }

// seconds is Duration.Seconds, rounded once.
func seconds(d time.Duration) float64 { return float64(d) / 1e9 }

// checkJSON checks that a line is what encoding/json makes of want, read again into a T, and has no field that T lacks.
func checkJSON[T any](t *testing.T, line []byte, want T) {
	t.Helper()
	var got T
	dec := json.NewDecoder(bytes.NewReader(line))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&got); err != nil {
		t.Fatalf("%v in %s", err, line)
	}
	back, err := json.Marshal(got)
	if err != nil {
		t.Fatal(err)
	}
	wanted, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(back, wanted) || bytes.Count(line, []byte("\n")) != 1 {
		t.Errorf("got %swant %s", line, wanted)
	}
}

// TestJSON compares with encoding/json on random results.
func TestJSON(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	yes := func() bool { return r.IntN(2) == 0 }
	one := func(of ...string) string { return of[r.IntN(len(of))] }
	at := func() int64 {
		return [...]int64{0, 1, 1e9, 1_700_000_000_123_456_789, 1_700_000_000_120_000_000, -1, math.MaxInt64, r.Int64()}[r.IntN(8)]
	}
	duration := func() time.Duration { return time.Duration(r.Int64N(1 << (1 + r.IntN(50)))) }
	socket := func() netip.AddrPort {
		var b [16]byte
		for i := range b {
			b[i] = byte(r.Uint32())
		}
		if addr := netip.AddrFrom16(b); yes() {
			return netip.AddrPortFrom(addr, uint16(r.Uint32()))
		}
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte(b[:])), uint16(r.Uint32()))
	}
	leg := func() decode.Leg { return decode.Leg{Known: yes(), First: duration(), Last: duration()} }
	for range 2000 {
		var out bytes.Buffer
		j := newJSON(&out)
		j.files = yes()
		var process *jsonProcess
		if yes() {
			process = &jsonProcess{int(r.Int32()), one("nginx", `"`)}
			j.listener = func(uint32, netip.AddrPort) (loader.Process, bool) {
				return loader.Process{PID: process.PID, Name: process.Name}, true
			}
		}
		p := &decode.Point{Netns: one("", "test", `a"b\c`, "ä<b>&\u2028\x00", "\xff"), Interface: one("", "lo", "eth0\t")}
		netns, file := strings.ToValidUTF8(p.Netns, "\ufffd"), ""
		if j.files {
			netns, file = file, netns
		}
		h := decode.Handshake{Point: p, Originator: socket(), Responder: socket(), Role: decode.RoleLocal, Start: at(), End: at(),
			Outcome: decode.Outcomes()[r.IntN(len(decode.Outcomes()))], ResponderLeg: leg(), OriginatorLeg: leg(), Total: leg(),
			SYNs: uint16(r.Uint32()), SYNACKs: uint16(r.IntN(2))}
		j.handshake(&h)
		j.flush()
		checkJSON(t, out.Bytes(), jsonHandshake{headOf("handshake"), utc(h.End), netns, file, p.Interface, h.Originator, h.Responder,
			communityID(h.Originator, h.Responder), "local",
			h.Outcome.String(), utc(h.Start), legOf(h.ResponderLeg), legOf(h.OriginatorLeg), legOf(h.Total), h.SYNs, h.SYNACKs, process})

		out.Reset()
		start := at() / 2
		c := decode.Connection{Point: p, Originator: socket(), Responder: socket(), OriginatorKnown: yes(), Unseen: yes(),
			Role: decode.RoleResponder, Teardown: decode.Teardowns()[r.IntN(len(decode.Teardowns()))], Closer: decode.Sides()[r.IntN(len(decode.Sides()))],
			FINsCrossed: yes(), Start: start, End: start + int64(duration()), Bytes: [2]uint32{r.Uint32(), r.Uint32()},
			BytesKnown: [2]bool{yes(), yes()}, History: one("", "ShADadFf")}
		want := jsonConnection{headOf("connection"), utc(c.End), netns, file, p.Interface, c.Originator, c.Responder,
			communityID(c.Originator, c.Responder), c.OriginatorKnown,
			"responder", c.Unseen, c.Teardown.String(), c.Closer.String(), c.FINsCrossed, utc(c.Start), seconds(c.Duration()), nil, nil,
			c.History, process}
		if c.BytesKnown[decode.Originator] {
			want.OriginatorBytes = &c.Bytes[decode.Originator]
		}
		if c.BytesKnown[decode.Responder] {
			want.ResponderBytes = &c.Bytes[decode.Responder]
		}
		j.connection(&c)
		j.flush()
		checkJSON(t, out.Bytes(), want)
	}
}
