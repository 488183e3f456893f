package decode

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"
)

// TestEnds goes through transcripts and compares the states of A and B after each segment: those of the figures are the figures'.
func TestEnds(t *testing.T) {
	for _, tc := range []struct{ transcript, want string }{
		{"figure06-basic", "SYN-SENT/ ESTABLISHED/SYN-RECEIVED " +
			"ESTABLISHED/ESTABLISHED ESTABLISHED/ESTABLISHED ESTABLISHED/ESTABLISHED"},
		{"figure07-simultaneous-open", "SYN-SENT/ SYN-RECEIVED/SYN-SENT SYN-RECEIVED/ESTABLISHED " +
			"ESTABLISHED/ESTABLISHED FIN-WAIT-1/CLOSE-WAIT TIME-WAIT/LAST-ACK TIME-WAIT/CLOSED"},
		{"figure10-active-side", "SYN-SENT/ ESTABLISHED/SYN-RECEIVED " +
			"ESTABLISHED/ESTABLISHED ESTABLISHED/ESTABLISHED CLOSED/CLOSED"},
		{"figure11-two-passive", "SYN-SENT/ ESTABLISHED/SYN-RECEIVED CLOSED/LISTEN"},
		{"figure12-four-steps", "SYN-SENT/ ESTABLISHED/SYN-RECEIVED ESTABLISHED/ESTABLISHED " +
			"FIN-WAIT-1/CLOSE-WAIT FIN-WAIT-2/CLOSE-WAIT TIME-WAIT/LAST-ACK TIME-WAIT/CLOSED"},
		{"figure12-live", "SYN-SENT/ ESTABLISHED/SYN-RECEIVED ESTABLISHED/ESTABLISHED " +
			"FIN-WAIT-1/CLOSE-WAIT TIME-WAIT/LAST-ACK TIME-WAIT/CLOSED"},
		{"figure13-simultaneous-close", "SYN-SENT/ ESTABLISHED/SYN-RECEIVED ESTABLISHED/ESTABLISHED " +
			"FIN-WAIT-1/CLOSE-WAIT CLOSING/FIN-WAIT-1 CLOSING/TIME-WAIT TIME-WAIT/TIME-WAIT"},
		{"aborted", "SYN-SENT/ ESTABLISHED/SYN-RECEIVED ESTABLISHED/SYN-RECEIVED CLOSED/LISTEN"},
		{"synack-lost", "SYN-SENT/ ESTABLISHED/ESTABLISHED FIN-WAIT-1/CLOSE-WAIT TIME-WAIT/LAST-ACK TIME-WAIT/CLOSED"},
		{"last-ack-lost", "SYN-SENT/ ESTABLISHED/SYN-RECEIVED ESTABLISHED/ESTABLISHED " +
			"FIN-WAIT-1/CLOSE-WAIT TIME-WAIT/LAST-ACK TIME-WAIT/LAST-ACK TIME-WAIT/CLOSED"},
		{"late-rst", "SYN-SENT/ ESTABLISHED/SYN-RECEIVED ESTABLISHED/ESTABLISHED FIN-WAIT-1/CLOSE-WAIT " +
			"TIME-WAIT/LAST-ACK TIME-WAIT/CLOSED CLOSED/CLOSED CLOSED/CLOSED"},
		{"retransmissions", "SYN-SENT/ SYN-SENT/ ESTABLISHED/SYN-RECEIVED " +
			"ESTABLISHED/SYN-RECEIVED ESTABLISHED/ESTABLISHED ESTABLISHED/SYN-RECEIVED"},
		{"rst", "SYN-SENT/ ESTABLISHED/SYN-RECEIVED ESTABLISHED/ESTABLISHED CLOSED/CLOSED CLOSED/CLOSED"},
		{"unseen-to-fin-rst", "ESTABLISHED/ESTABLISHED ESTABLISHED/ESTABLISHED " +
			"CLOSE-WAIT/FIN-WAIT-1 CLOSE-WAIT/FIN-WAIT-2 CLOSED/CLOSED"},
		{"half-close", "SYN-SENT/ ESTABLISHED/SYN-RECEIVED ESTABLISHED/ESTABLISHED FIN-WAIT-1/CLOSE-WAIT " +
			"FIN-WAIT-2/CLOSE-WAIT FIN-WAIT-2/CLOSE-WAIT FIN-WAIT-2/CLOSE-WAIT TIME-WAIT/LAST-ACK TIME-WAIT/CLOSED"},
		{"completing-fin", "SYN-SENT/ ESTABLISHED/SYN-RECEIVED FIN-WAIT-1/CLOSE-WAIT TIME-WAIT/LAST-ACK TIME-WAIT/CLOSED"},
	} {
		t.Run(tc.transcript, func(t *testing.T) {
			text, err := os.ReadFile("testdata/rfc9293/" + tc.transcript + ".txt")
			if err != nil {
				t.Fatal(err)
			}
			if got := endsOf(t, string(text)); got != tc.want {
				t.Errorf("got\n%s\nwant\n%s", got, tc.want)
			}
		})
	}
}

// endsOf returns the states of A and B after each segment.
func endsOf(t *testing.T, transcript string) string {
	input, _, _ := strings.Cut(transcript, "----\n")
	tracker := NewTracker(TrackerOptions{})
	via := "lo"
	var ends Ends
	var got []string
	for line := range strings.Lines(input) {
		f := strings.Fields(line)
		if len(f) < 2 || f[0] == "#" || !strings.Contains(f[1], ">") {
			continue
		}
		at, err := time.ParseDuration(f[0])
		if err != nil {
			t.Fatal(err)
		}
		seg, v, err := parseSegment(int64(at), f[1:], via)
		if err != nil {
			t.Fatal(err)
		}
		via = v
		side := Originator
		if f[1][0] == 'B' {
			side = Responder
		}
		ends.Step(seg, side, tracker.Step(seg))
		got = append(got, fmt.Sprintf("%s/%s", ends.State(Originator), ends.State(Responder)))
	}
	return strings.Join(got, " ")
}
