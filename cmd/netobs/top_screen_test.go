package main

import (
	"net/netip"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	tea "charm.land/bubbletea/v2"
	"github.com/charmbracelet/x/ansi"

	"netobs/bpf"
	"netobs/decode"
	"netobs/loader"
)

var topStart = time.Date(2026, 11, 28, 15, 3, 40, 0, time.UTC)

// topFixture is a screen that has two samples, ten seconds apart, of a busy, a failing and a quiet namespace.
func topFixture(t *testing.T) *topScreen {
	t.Helper()
	counts := newTopCounts()
	s := newTopScreen(counts, nil, time.Second, new(lastLine))
	stats := loader.Stats{Points: []loader.PointCounters{{Netns: "quiet", Interface: "lo", Direction: "egress"}}}
	for _, netns := range []string{"busy", "failing", "quiet"} {
		counts.of(netns)
	}
	s.add(counts.sample(topStart, &stats))
	from, to := netip.MustParseAddrPort("10.0.0.1:40000"), netip.MustParseAddrPort("10.0.0.2:80")
	point := func(netns string) *decode.Point { return &decode.Point{NetnsID: 7, Netns: netns, Interface: "lo"} }
	end := topStart.Add(5 * time.Second).UnixNano()
	for i := range 100 {
		total := decode.Leg{Known: true, First: time.Duration(i+1) * time.Millisecond}
		counts.handshake(&decode.Handshake{Point: point("busy"), Originator: from, Responder: to, Role: decode.RoleOriginator,
			Outcome: decode.OutcomeCompleted, End: end, ResponderLeg: total, Total: total, SYNs: 1})
	}
	segment := func(after time.Duration, flags decode.Flags, kind decode.PlaceKind, from, to netip.AddrPort, side decode.Side) {
		counts.place(&decode.Segment{Time: end + int64(after), Point: point("failing"), Src: from, Dst: to, Flags: flags},
			decode.Place{Kind: kind, Side: side})
	}
	segment(0, decode.SYN, decode.PlaceSYN, from, to, decode.Originator)
	// The verdict comes before the segment that decided it.
	counts.handshake(&decode.Handshake{Point: point("failing"), Originator: from, Responder: to, Role: decode.RoleOriginator,
		Outcome: decode.OutcomeRefused, Start: end, End: end + 30_000})
	segment(30*time.Microsecond, decode.RST|decode.ACK, decode.PlaceRefused, to, from, decode.Responder)
	counts.tallies(decode.Tallies{Netns: []decode.NetnsTally{{Netns: "busy", Open: [5][3]int{decode.RoleOriginator: {1, 2, 3}}}}})
	var c bpf.PointCounters
	c.SegmentsTotalOther, c.SegmentBytesTotal, c.ControlSegmentsSeenTotal = 50, 5000, 20
	stats.Points = []loader.PointCounters{{Netns: "quiet", Interface: "lo", Direction: "egress", PointCounters: c}}
	s.add(counts.sample(topStart.Add(10*time.Second), &stats))
	return s
}

// shows checks that the screen fits its size and contains words in this order.
func shows(t *testing.T, s *topScreen, words ...string) {
	t.Helper()
	screen := ansi.Strip(s.View().Content)
	lines := strings.Split(screen, "\n")
	if len(lines) > s.height {
		t.Errorf("%d lines on a screen of %d", len(lines), s.height)
	}
	for _, line := range lines {
		if utf8.RuneCountInString(line) > s.width {
			t.Errorf("wider than %d: %q", s.width, line)
		}
	}
	rest := screen
	for _, word := range words {
		i := strings.Index(rest, word)
		if i < 0 {
			t.Fatalf("the screen lacks %q, or has it too early:\n%s", word, screen)
		}
		rest = rest[i+len(word):]
	}
}

func press(s *topScreen, keys ...string) {
	for _, key := range keys {
		msg := tea.KeyPressMsg{Text: key}
		switch key {
		case "enter":
			msg = tea.KeyPressMsg{Code: tea.KeyEnter}
		case "esc":
			msg = tea.KeyPressMsg{Code: tea.KeyEscape}
		case "down":
			msg = tea.KeyPressMsg{Code: tea.KeyDown}
		case "up":
			msg = tea.KeyPressMsg{Code: tea.KeyUp}
		case "backspace":
			msg = tea.KeyPressMsg{Code: tea.KeyBackspace}
		default:
			msg.Code = []rune(key)[0]
		}
		s.Update(msg)
	}
}

func TestTopTable(t *testing.T) {
	s := topFixture(t)
	shows(t, s, "3 namespaces", "last 10 s  15:03:50",
		"outgoing 10.1/s  incoming 0/s  in handshake 1  events lost 0",
		"NAMESPACE ", "CONN/S", "OK", "REFUSED", "UNANSW", "HALF", "P50", "P99", "OPEN", "RETR", "LOST",
		"> busy   ", "10.0 100.0%", "51.0ms", "100ms", "5", "100",
		"  failing", "0.1   0.0%", "1",
		"  quiet  ", "0", "-", "q quit")
}

func TestTopKeys(t *testing.T) {
	s := topFixture(t)
	press(s, "s") // by the next column: the worst first
	shows(t, s, "▼OK", "failing", "busy", "quiet")
	press(s, "r")
	shows(t, s, "▲OK", "quiet", "busy", "failing")
	press(s, "r", "S", "S") // by name
	shows(t, s, "NAMESPACE▼", "busy", "failing", "quiet")
	press(s, "down", "down", "down")
	shows(t, s, "  busy", "> quiet")
	press(s, "up")
	shows(t, s, "> failing")

	press(s, "/", "i", "x", "backspace", "l")
	shows(t, s, "1 of 3 namespaces", "> failing", "names that contain: il")
	press(s, "enter", "enter")
	shows(t, s, "netobs top  failing", "handshakes   1 (1 refused), 0.1/s", "connections  0 open, 0 ended",
		"LEG", "responder leg", "originator leg", "INTERFACE", "LAST FAILED HANDSHAKES",
		"10.0.0.1:40000 > 10.0.0.2:80  refused  after 30.0µs", "+0ns", "SYN", "asks for a connection",
		"+30.0µs", "RST|ACK", "refuses, nobody listens", "esc back")
	press(s, "esc", "esc")
	shows(t, s, "3 namespaces", "busy")

	press(s, "t")
	shows(t, s, "since the start, 10.0s")
	press(s, "?")
	shows(t, s, "Keys:", "Columns:", "Any key goes back.")
	press(s, "x")
	shows(t, s, "3 namespaces")
	if _, quit := s.Update(tea.KeyPressMsg{Text: "q", Code: 'q'}); quit == nil || quit() != tea.Quit() {
		t.Error("q does not quit")
	}
}

func TestTopInterfaces(t *testing.T) {
	s := topFixture(t)
	s.chosen, s.inside = "quiet", true
	shows(t, s, "lo", "egress", "5.0", "500", "2.0", "LAST FAILED HANDSHAKES", "none")
}

// TestTopWindow: what is older than the window counts only since the start.
func TestTopWindow(t *testing.T) {
	s := topFixture(t)
	var stats loader.Stats
	for i := range 12 {
		s.add(s.counts.sample(topStart.Add(time.Duration(11+i)*time.Second), &stats))
	}
	if len(s.samples) > 13 {
		t.Errorf("%d samples are kept", len(s.samples))
	}
	shows(t, s, "last 10 s", "busy", " 0 ", "-")
	press(s, "t")
	shows(t, s, "since the start, 22.0s", "busy", "4.5 100.0%")
}

// TestTopFits: numbers of any size and long names leave the columns where they are.
func TestTopFits(t *testing.T) {
	s := topFixture(t)
	n := s.counts.of(strings.Repeat("pod/", 30))
	for o := range n.outcomes {
		n.outcomes[o] = 123_456_789_012
	}
	n.outgoing, n.retransmissions, n.open, n.pending = 1<<60, 1<<60, 1<<40, 1<<40
	s.add(s.counts.sample(topStart.Add(11*time.Second), new(loader.Stats)))
	for _, width := range []int{80, 100, 140, 200} {
		s.Update(tea.WindowSizeMsg{Width: width, Height: 10})
		shows(t, s, "pod/pod", "…")
		press(s, "enter")
		shows(t, s, "handshakes")
		press(s, "esc")
	}
	s.notes.Write([]byte("level=WARN msg=\"something\"\n"))
	shows(t, s, "something")
}

func TestTopStoryIsBounded(t *testing.T) {
	var s topStories
	seg := decode.Segment{Point: new(decode.Point), Dst: netip.MustParseAddrPort("[::1]:80"), Flags: decode.SYN}
	for i := range 3 * topStoriesMost {
		seg.Src = netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), 1)
		for again := range 2 * topSteps {
			s.add(&seg, decode.Place{Kind: decode.PlaceSYN, Again: again > 0})
		}
	}
	if n := len(s.recent) + len(s.older); n > 2*topStoriesMost {
		t.Errorf("%d stories are kept", n)
	}
	lines := s.of(topStoryOf(0, seg.Src, seg.Dst)).lines(&decode.Handshake{Outcome: decode.OutcomeUnanswered, End: 3e9})
	if len(lines) != topSteps+2 || !strings.Contains(lines[topSteps], "12 more") || !strings.Contains(lines[topSteps+1], "+3.00s") {
		t.Error(strings.Join(lines, "\n"))
	}
}
