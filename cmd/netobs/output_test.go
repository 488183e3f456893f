package main

import (
	"bytes"
	"math"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"netobs/decode"
)

var (
	outputPoint = &decode.Point{Netns: "test", Interface: "lo", Loopback: true, Direction: decode.Egress}
	outputStart = time.Date(2026, 1, 2, 15, 3, 42, 394751123, time.Local).UnixNano()
)

// outputSamples prints one of each kind of line.
func outputSamples(s sink) error {
	client, server := netip.MustParseAddrPort("127.0.0.1:42514"), netip.MustParseAddrPort("127.0.0.1:8080")
	leg := func(first, last time.Duration) decode.Leg { return decode.Leg{Known: true, First: first, Last: last} }
	s.handshake(&decode.Handshake{
		Point: outputPoint, Originator: client, Responder: server, Role: decode.RoleLocal,
		Outcome: decode.OutcomeCompleted, Start: outputStart, End: outputStart + 1_004_500_000,
		ResponderLeg: leg(1004*time.Millisecond, 9*time.Microsecond), OriginatorLeg: leg(5*time.Microsecond, 5*time.Microsecond),
		Total: leg(1004500*time.Microsecond, 14*time.Microsecond), SYNs: 1,
	})
	s.connection(&decode.Connection{
		Point: outputPoint, Originator: client, Responder: server, OriginatorKnown: true, Role: decode.RoleLocal,
		Teardown: decode.TeardownFIN, Closer: decode.Responder, FINsCrossed: true, Start: outputStart,
		End: outputStart + 2_000_000_000, Bytes: [2]uint32{78, 751}, BytesKnown: [2]bool{true, true}, History: "ShADdfFa",
	})
	s.handshake(&decode.Handshake{
		Point: outputPoint, Originator: netip.MustParseAddrPort("[::1]:42515"), Responder: netip.MustParseAddrPort("[::1]:81"),
		Role: decode.RoleLocal, Outcome: decode.OutcomeRefused, Start: outputStart, End: outputStart + 7000,
		ResponderLeg: leg(7*time.Microsecond, 7*time.Microsecond),
	})
	s.connection(&decode.Connection{
		Point: outputPoint, Originator: server, Responder: client, Unseen: true, Role: decode.RoleForwarded,
		Teardown: decode.TeardownRST, Closer: decode.SideUnknown, Start: outputStart, End: outputStart, History: "R",
	})
	return s.flush()
}

func TestOutputForms(t *testing.T) {
	for _, tc := range []struct {
		golden string
		sink   func(*bytes.Buffer) sink
	}{
		{"lines.txt", func(b *bytes.Buffer) sink { return newText(b, false) }},
		{"lines-colour.txt", func(b *bytes.Buffer) sink { return newText(b, true) }},
		{"lines.json", func(b *bytes.Buffer) sink { return newJSON(b) }},
	} {
		t.Run(tc.golden, func(t *testing.T) {
			var got bytes.Buffer
			if err := outputSamples(tc.sink(&got)); err != nil {
				t.Fatal(err)
			}
			golden := filepath.Join("testdata", tc.golden)
			if *update {
				if err := os.WriteFile(golden, got.Bytes(), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if got.String() != string(want) {
				t.Errorf("got\n%s\nwant\n%s", got.String(), want)
			}
		})
	}
}

func TestShort(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0ns", 999: "999ns", 9130: "9.13µs", 14_100: "14.1µs", 148_000: "148µs", 1_250_000: "1.25ms", 3 * time.Second: "3.00s",
		90 * time.Second: "90.0s", 2 * time.Hour: "2h0m0s", 7234 * time.Second: "2h0m34s", -1500: "-1.50µs", 1: "1ns",
		9_994: "9.99µs", 9_996: "10.0µs", 99_960: "100µs", 999_400: "999µs", 999_600: "1.00ms", 1_004_500_000: "1.00s",
		999_999_999: "1.00s", 1_005_000_000: "1.01s", math.MaxInt64: "106751d23h47m17s", math.MinInt64: "-106751d23h47m17s",
		3599 * time.Second: "3599s", 48 * time.Hour: "2d0h0m0s",
	} {
		if got := short(d); got != want {
			t.Errorf("short(%d) = %q, want %q", d, got, want)
		}
	}
}
