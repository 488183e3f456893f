package main

import (
	"bytes"
	"fmt"
	"net/netip"
	"regexp"
	"strings"
	"testing"

	"netobs/decode"
)

// TestNarrator tells conversations that the demo itself has seldom or never. Segments are written as sender (> client,
// < server), tcpdump's flags, relative Seq and Ack, bytes of data.
func TestNarrator(t *testing.T) {
	const opened = "> S 0 0 0, < S. 0 1 0, > . 1 1 0, "
	tests := []struct {
		name     string
		segments string
		want     string // labels from the fourth on
		says     []string
	}{
		{
			"server closes first, with an ACK for each FIN",
			opened + "> P. 1 1 65, < P. 1 66 138, < F. 139 66 0, > . 66 140 0, > F. 66 140 0, < . 140 67 0",
			"data|data|FIN 1 of 2|ACK of the FIN|FIN 2 of 2|the last ACK",
			[]string{
				"The server sends 138 bytes: its HTTP response, numbers 1 to 138. Its Ack = 66 says that everything before has",
				"The server is the first to close (FIN): it has sent everything. The FIN counts as one, like the SYN; its " +
					"number is 139.",
				"The client has seen the FIN: Ack = 139 + 1 = 140.",
				"The client closes, too (FIN, number 66).",
				"The server acknowledges the client's FIN: Ack = 66 + 1 = 67.",
			},
		}, {
			"a FIN that comes with data",
			opened + "> P. 1 1 65, < FP. 1 66 138, > F. 66 140 0, < . 140 67 0",
			"data|FIN 1 of 2|FIN 2 of 2|the last ACK",
			[]string{
				"its number is 139. It brings 138 bytes along, from number 1 on. Its Ack = 66 says",
				"The same segment acknowledges the server's FIN: Ack = 139 + 1 = 140.",
			},
		}, {
			"FINs that cross",
			opened + "> F. 1 1 0, < F. 1 1 0, > . 2 2 0, < . 2 2 0",
			"FIN 1 of 2|FIN 2 of 2|ACK of a FIN|the last ACK",
			[]string{
				"It does not know of the client's FIN yet (Ack = 1): the two crossed on the way.",
				"The client acknowledges the server's FIN: Ack = 1 + 1 = 2. The other FIN still waits for its ACK.",
				"The server acknowledges the client's FIN: Ack = 1 + 1 = 2.",
			},
		}, {
			"reset, then late",
			opened + "> P. 1 1 65, < R. 1 66 0, > R 66 0 0, > . 66 1 0",
			"data|reset (RST)|late RST|late",
			[]string{"The server breaks the connection off after"},
		}, {
			"sent again",
			opened + "> P. 1 1 10, > P. 1 1 10, > P. 11 1 10, < . 1 21 0, < . 1 21 0",
			"data|data|data|acknowledgment|acknowledgment",
			[]string{"It is sent again", "more of its HTTP request", "everything up to number 20", "repeats Ack = 21"},
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			r := recordingOf(t, test.segments)
			n := narrator{server: demoServer}
			var labels []string
			var text strings.Builder
			for i := range r.steps {
				label, _, says := n.explain(&r.steps[i])
				labels = append(labels, label)
				fmt.Fprintf(&text, "%s: %s\n", label, says)
			}
			want := "handshake 1 of 3|handshake 2 of 3|handshake 3 of 3|" + test.want
			if got := strings.Join(labels, "|"); got != want {
				t.Errorf("labels\n%s, want\n%s", got, want)
			}
			for _, says := range test.says {
				if !strings.Contains(text.String(), says) {
					t.Errorf("nowhere is said: %s", says)
				}
			}
			if t.Failed() {
				t.Log(text.String())
			}
		})
	}
}

// TestStoryColour checks that colours change nothing but colours: columns stay where they are.
func TestStoryColour(t *testing.T) {
	r := recordingOf(t, "> S 0 0 0, < S. 0 1 0, > . 1 1 0, > P. 1 1 65, < F. 1 66 0, > F. 66 2 0, < . 2 67 0")
	r.exposition = []byte("# HELP netobs_late_segments_total x\nnetobs_late_segments_total{netns=\"demo\"} 3\n")
	told := func(colour bool) string {
		var b bytes.Buffer
		s := newStory(&b, colour)
		if err := s.introduce(); err != nil {
			t.Fatal(err)
		}
		if err := s.tell(r); err != nil {
			t.Fatal(err)
		}
		return b.String()
	}
	plain, coloured := told(false), told(true)
	if strings.Contains(plain, "\x1b") || !strings.Contains(coloured, "\x1b") {
		t.Error("colour is not where it should be")
	}
	if got := regexp.MustCompile(`\x1b\[\d+m`).ReplaceAllString(coloured, ""); got != plain {
		t.Errorf("without its colours it is\n%s, want\n%s", got, plain)
	}
}

// recordingOf lets the tracker judge segments as in TestNarrator.
func recordingOf(tb testing.TB, segments string) *recording {
	tb.Helper()
	w := newWitness()
	tracker := decode.NewTracker(decode.TrackerOptions{OnHandshake: w.handshake, OnConnection: w.connection})
	point := &decode.Point{Netns: demoName, Interface: "lo", Direction: decode.Egress, Loopback: true}
	ends := [2]netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:40000"), demoServer}
	iss := [2]decode.Seq{4_000_000_000, 1_000}
	letters := map[rune]decode.Flags{'S': decode.SYN, '.': decode.ACK, 'P': decode.PSH, 'F': decode.FIN, 'R': decode.RST}
	for i, s := range strings.Split(segments, ", ") {
		var sender, flags string
		var seq, ack, payload uint32
		if _, err := fmt.Sscanf(s, "%s %s %d %d %d", &sender, &flags, &seq, &ack, &payload); err != nil {
			tb.Fatalf("segment %q: %v", s, err)
		}
		side := decode.Originator
		if sender == "<" {
			side = decode.Responder
		}
		seg := decode.Segment{Time: int64(1e18) + int64(i)*1000, Point: point, Src: ends[side], Dst: ends[1-side],
			Seq: iss[side].Add(seq), Payload: payload, Wnd: 64}
		for _, l := range flags {
			seg.Flags |= letters[l]
		}
		if seg.Has(decode.ACK) {
			seg.Ack = iss[1-side].Add(ack)
		}
		w.place(&seg, tracker.Step(&seg))
	}
	return &w.recording
}
