package main

import (
	"bytes"
	"cmp"
	"encoding/xml"
	"fmt"
	"io"
	"net/netip"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"netobs/decode"
)

// ladderOf draws what is in packets, in the order of their times.
func ladderOf(t *testing.T, packets ...packet) string {
	t.Helper()
	slices.SortStableFunc(packets, func(a, b packet) int { return cmp.Compare(a.at, b.at) })
	inDir(t, map[string][]byte{"some.pcap": mustPcap(t, packets)})
	code, stdout, stderr := runHere(t, "read", "--ladder", "some.pcap")
	if code != 0 || stderr != "" {
		t.Fatalf("code %d, stderr %q", code, stderr)
	}
	return stdout
}

// TestLadderStretch checks that long stretches of data are told in short, the gaps too, and that nothing before or behind them is lost.
func TestLadderStretch(t *testing.T) {
	d := newDialog(t, "10.0.0.1:40001", "10.0.0.2:8080").opens(0)
	for i := range 100 {
		d.sends(ms, client, ack, 1+10*uint32(i), 1, "0123456789")
	}
	d.sends(2000*ms, client, decode.FIN|ack, 1001, 1, "").sends(2001*ms, server, decode.FIN|ack, 1, 1002, "").
		sends(2002*ms, client, ack, 1002, 2, "")
	got := ladderOf(t, d.packets...)
	for _, want := range []string{"[ACK] seq 1:11 ack 1 ", "seq 51:61 ", "… 92 segments …", "920 B →, ← 0 B", "seq 981:991 ", "seq 991:1001 ",
		"┊", "+2.00s", "[FIN,ACK] seq 1001 ack 1 ", "TIME-WAIT", "teardown fin"} {
		if strings.Count(got, want) == 0 {
			t.Errorf("lacks %q", want)
		}
	}
	if strings.Contains(got, "seq 61:71 ") || strings.Contains(got, "seq 971:981 ") {
		t.Error("more is shown than the first and the last")
	}
	if t.Failed() {
		t.Log("\n" + got)
	}
}

// TestLadderOrder checks that ladders come whole and in the order of their first segments, whatever happens at the same time; that a
// connection which takes the sockets of another has a ladder of its own; and that late segments are below the end.
func TestLadderOrder(t *testing.T) {
	one := newDialog(t, "10.0.0.1:40001", "10.0.0.2:8080").opens(0).asks(5 * ms)
	two := newDialog(t, "10.0.0.1:40002", "10.0.0.2:8080").opens(ms).asks(2*ms).closes(4*ms).
		sends(5*ms, server, decode.RST, 9, 0, "")
	again := newDialog(t, "10.0.0.1:40001", "10.0.0.2:8080").sends(7*ms, client, decode.SYN, 90000, 0, "").
		sends(8*ms, server, decode.RST|ack, noSeq, 90001, "")
	got := ladderOf(t, slices.Concat(one.packets, two.packets, again.packets)...)
	parts := strings.Split(got, "\n\n")
	if len(parts) != 3 {
		t.Fatalf("%d ladders, want 3:\n%s", len(parts), got)
	}
	for i, want := range [][]string{
		{"1  ", "10.0.0.1:40001", "[SYN] seq 0", "seq 1:8 ack 6", "teardown expired"},
		{"2  ", "10.0.0.1:40002", "handshake completed", "teardown fin", "[RST] seq 9 late"},
		{"3  ", "10.0.0.1:40001", "[SYN] seq 0", "[RST,ACK] seq 0 ack 1", "handshake refused after 1.00ms"},
	} {
		rest := parts[i]
		for _, w := range want {
			_, after, ok := strings.Cut(rest, w)
			if !ok {
				t.Errorf("ladder %d lacks %q, or at that place:\n%s", i+1, w, parts[i])
				break
			}
			rest = after
		}
	}
}

// TestLadderWidth draws what is in the corpus: no line is wider than a terminal, colours change nothing else, and drawings are XML.
func TestLadderWidth(t *testing.T) {
	colours := regexp.MustCompile("\x1b\\[\\d+m")
	drawn := 0
	for _, file := range corpus(t) {
		if info, err := os.Stat(file); err != nil || info.Size() > 1<<20 {
			continue
		}
		draw := func(pen ladderPen) {
			l := newLadders(pen, choice{})
			r := newReplay(l)
			r.readFile(t.Context(), file, nil, newProgress(io.Discard, readOptions{}, false)) // what is damaged others test
			r.endWorld()
			if err := l.finish(); err != nil {
				t.Fatal(err)
			}
			drawn += l.drawn
		}
		var bare, coloured, svg bytes.Buffer
		draw(newLadderText(&bare, false))
		draw(newLadderText(&coloured, true))
		draw(newLadderSVG(&svg))
		if colours.ReplaceAllString(coloured.String(), "") != bare.String() {
			t.Errorf("%s: colours change more than colours", file)
		}
		for line := range strings.Lines(bare.String()) {
			if n := utf8.RuneCountInString(strings.TrimSuffix(line, "\n")); n > 80 {
				t.Errorf("%s: %d columns: %s", file, n, line)
			}
		}
		for dec := xml.NewDecoder(&svg); ; {
			if _, err := dec.Token(); err == io.EOF {
				break
			} else if err != nil {
				t.Errorf("%s: %v", file, err)
				break
			}
		}
	}
	if drawn < 300 {
		t.Errorf("only %d ladders", drawn)
	}
}

func TestChoice(t *testing.T) {
	sockets := conversationBetween(&decode.Point{}, netip.MustParseAddrPort("10.0.0.1:5"), netip.MustParseAddrPort("[::1]:7")).sockets
	for _, tc := range []struct {
		choice string
		want   string // numbers from 1 to 4 of connections between the sockets
	}{
		{"3", "3"}, {"2-3", "2 3"}, {"1-9", "1 2 3 4"}, {"10.0.0.1:5", "1 2 3 4"}, {"[::1]:7-10.0.0.1:5", "1 2 3 4"},
		{"10.0.0.1:5-[::1]:7", "1 2 3 4"}, {"10.0.0.1:5-[::1]:8", ""}, {"10.0.0.1:7", ""}, {"10.0.0.1:5-10.0.0.1:5", ""},
		{"0", "bad"}, {"3-2", "bad"}, {"1-x", "bad"}, {"10.0.0.1", "bad"}, {"10.0.0.1:5-", "bad"}, {"-1", "bad"}, {"1-2-3", "bad"},
	} {
		c, err := parseChoice(tc.choice)
		var got []string
		for n := 1; n <= 4 && err == nil; n++ {
			if c.wants(n, sockets) {
				got = append(got, fmt.Sprint(n))
			}
		}
		if err != nil {
			got = []string{"bad"}
		}
		if strings.Join(got, " ") != tc.want {
			t.Errorf("%s: %v (%v), want %s", tc.choice, got, err, tc.want)
		}
	}
}
