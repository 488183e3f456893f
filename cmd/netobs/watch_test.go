package main

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"netobs/decode"
	"netobs/loader/nettest"
)

// startWatch runs netobs watch with args and returns when it watches. It is stopped at the end of the test.
func startWatch(tb testing.TB, args ...string) *session {
	tb.Helper()
	nettest.NeedPrivileges(tb)
	ctx, cancel := context.WithCancel(context.Background())
	s := &session{tb: tb, stop: cancel, code: make(chan int, 1)}
	go func() { s.code <- run(ctx, append([]string{"watch"}, args...), &s.stdout, &s.stderr) }()
	tb.Cleanup(func() { s.end() })
	nettest.Eventually(tb, 30*time.Second, func() error {
		if !strings.Contains(s.stderr.String(), "watching") {
			return fmt.Errorf("netobs does not watch yet: %s", s.stderr.String())
		}
		return nil
	})
	return s
}

// waitLines waits for so many lines and returns them.
func (s *session) waitLines(n int) []string {
	s.tb.Helper()
	var lines []string
	nettest.Eventually(s.tb, 20*time.Second, func() error {
		out := s.stdout.String()
		lines = strings.Split(strings.TrimSuffix(out, "\n"), "\n")
		if got := strings.Count(out, "\n"); got < n {
			return fmt.Errorf("%d lines, want %d:\n%s", got, n, out)
		}
		return nil
	})
	return lines
}

// loNS makes a namespace whose lo is up.
func loNS(tb testing.TB, name string) *nettest.NS {
	tb.Helper()
	ns := nettest.New(tb, name)
	ns.Up("lo")
	return ns
}

// converse lets a client send 78 bytes and a server answer with 155, and each wait for the other; the client closes first. Then
// a connection is refused.
func converse(tb testing.TB, ns *nettest.NS) {
	tb.Helper()
	served := make(chan struct{})
	ns.Serve("127.0.0.1:8080", func(c *net.TCPConn) {
		defer close(served)
		request := make([]byte, 78)
		if _, err := c.Read(request); err != nil {
			tb.Error(err)
		}
		c.Write(make([]byte, 155))
		c.Read(request) // FIN
		c.Close()
	})
	c, err := ns.Dial("127.0.0.1:8080")
	if err != nil {
		tb.Fatal(err)
	}
	c.Write(make([]byte, 78))
	c.Read(make([]byte, 155))
	c.Close()
	<-served
	if _, err := ns.Dial("127.0.0.1:81"); err == nil {
		tb.Fatal("somebody listens on port 81")
	}
}

// masks replace what differs from run to run.
var masks = []struct {
	what *regexp.Regexp
	with string
}{
	{regexp.MustCompile(`\b\d\d:\d\d:\d\d\.\d{6}\b`), "TIME"},
	{regexp.MustCompile(`127\.0\.0\.1\.(\d{5})\b`), "CLIENT"},
	{regexp.MustCompile(`127\.0\.0\.1\.(\d+)\b`), "SERVER.$1"},
	{regexp.MustCompile(`\b(seq|ack|val|ecr|win) \d{4,}`), "$1 N"},
	{regexp.MustCompile(`win \d+`), "win N"},
	{regexp.MustCompile(`ecr \d+`), "ecr N"},
	{regexp.MustCompile(`wscale \d+`), "wscale N"},
	{regexp.MustCompile(`after [\d.]+(ns|µs|ms|s)`), "after D"},
	{regexp.MustCompile(`  +# `), "  # "},
}

func masked(lines []string) string {
	text := strings.Join(lines, "\n")
	for _, m := range masks {
		text = m.what.ReplaceAllString(text, m.with)
	}
	return text
}

const (
	maskedSYN   = "options [mss 65495,sackOK,TS val N ecr N,nop,wscale N], length 0"
	maskedPlain = "options [nop,nop,TS val N ecr N], length "
)

func TestWatchAll(t *testing.T) {
	ns := loNS(t, "watch")
	s := startWatch(t, "--netns", ns.Name, "--segments", "all")
	converse(t, ns)
	want := []string{
		"CLIENT > SERVER.8080: Flags [S], seq N, win N, " + maskedSYN + "  # handshake 1 of 3",
		"SERVER.8080 > CLIENT: Flags [S.], seq N, ack N, win N, " + maskedSYN + "  # handshake 2 of 3 after D",
		"CLIENT > SERVER.8080: Flags [.], ack 1, win N, " + maskedPlain + "0  # handshake 3 of 3 after D",
		"CLIENT > SERVER.8080: Flags [P.], seq 1:79, ack 1, win N, " + maskedPlain +
			"78  # data; sent so far: originator 78 B, responder 0 B",
		"SERVER.8080 > CLIENT: Flags [.], ack 79, win N, " + maskedPlain + "0  # ACK",
		"SERVER.8080 > CLIENT: Flags [P.], seq 1:156, ack 79, win N, " + maskedPlain +
			"155  # data; sent so far: originator 78 B, responder 155 B",
		"CLIENT > SERVER.8080: Flags [.], ack 156, win N, " + maskedPlain + "0  # ACK",
		"CLIENT > SERVER.8080: Flags [F.], seq 79, ack 156, win N, " + maskedPlain +
			"0  # FIN 1 of 2; sent so far: originator 78 B, responder 155 B",
		"SERVER.8080 > CLIENT: Flags [F.], seq 156, ack 80, win N, " + maskedPlain +
			"0  # FIN 2 of 2; sent so far: originator 78 B, responder 155 B",
		"CLIENT > SERVER.8080: Flags [.], ack 157, win N, " + maskedPlain + "0  # last ACK, closed",
		"CLIENT > SERVER.81: Flags [S], seq N, win N, " + maskedSYN + "  # handshake 1 of 3",
		"SERVER.81 > CLIENT: Flags [R.], seq 0, ack N, win N, length 0  # RST: refused after D",
	}
	for i := range want {
		want[i] = "TIME lo    In  IP " + want[i]
	}
	if got := masked(s.waitLines(len(want))); got != strings.Join(want, "\n") {
		t.Errorf("got\n%s\nwant\n%s", got, strings.Join(want, "\n"))
	}
}

// TestWatchControl shows without data segments what the others tell of it.
func TestWatchControl(t *testing.T) {
	a, b := loNS(t, "watch"), loNS(t, "watch")
	s := startWatch(t, "--netns", a.Name, "--netns", b.Name, "-c", "8", "-t")
	for _, ns := range []*nettest.NS{a, b} {
		converse(t, ns)
		s.waitLines(1)
	}
	if code := <-s.code; code != 0 {
		t.Errorf("exit code %d: %s", code, s.stderr.String())
	}
	s.code = nil
	lines := s.waitLines(8)
	if len(lines) != 8 {
		t.Errorf("%d lines, want 8", len(lines))
	}
	for i, words := range []string{"# handshake 1 of 3", "# handshake 2 of 3", "# handshake 3 of 3",
		"# FIN 1 of 2; sent so far: originator 78 B, responder 155 B",
		"# FIN 2 of 2; sent so far: originator 78 B, responder 155 B", "# last ACK, closed"} {
		if want := a.Name + " lo    In  IP 127.0.0.1."; !strings.HasPrefix(lines[i], want) || !strings.Contains(lines[i], words) {
			t.Errorf("line %d: got %s, want %s… %s", i+1, lines[i], want, words)
		}
	}
}

func TestWatchUnanswered(t *testing.T) {
	ns := loNS(t, "watch")
	ns.NFT("table inet t {\nchain c {\ntype filter hook input priority 0\ntcp dport 8080 drop\n}\n}")
	s := startWatch(t, "--netns", ns.Name)
	ns.Do(func() error {
		c, err := net.DialTimeout("tcp", "127.0.0.1:8080", 2500*time.Millisecond)
		if err == nil {
			c.Close()
			return syscall.EISCONN
		}
		return nil
	})
	nettest.Eventually(t, 20*time.Second, func() error {
		if !strings.Contains(s.stdout.String(), "unanswered") {
			return fmt.Errorf("no verdict: %s", s.stdout.String())
		}
		return nil
	})
	lines := s.waitLines(3)
	syn := "TIME lo    In  IP CLIENT > SERVER.8080: Flags [S], seq N, win N, " + maskedSYN + "  # handshake 1 of 3"
	for i, line := range lines {
		want := syn
		switch i {
		case 0:
		case len(lines) - 1:
			want = "TIME lo    In  # CLIENT > SERVER.8080: unanswered, nothing came back for "
		default:
			want += ", retransmission"
		}
		if got := masked([]string{line}); !strings.HasPrefix(got, want) {
			t.Errorf("line %d: got %s, want %s", i+1, got, want)
		}
	}
}

// shownBy returns what watch prints of a namespace in which one connection is made and closed, and one refused. Lines are
// masked.
func shownBy(t *testing.T, lines int, args ...string) string {
	t.Helper()
	ns := loNS(t, "watch")
	s := startWatch(t, append([]string{"--netns", ns.Name, "-t"}, args...)...)
	converse(t, ns)
	s.waitLines(lines)
	s.end() // by then all is printed
	return masked(s.waitLines(lines))
}

func TestWatchFilters(t *testing.T) {
	const refused = "lo    In  IP CLIENT > SERVER.81: Flags [S], seq N, win N, " + maskedSYN + "  # handshake 1 of 3\n" +
		"lo    In  IP SERVER.81 > CLIENT: Flags [R.], seq 0, ack N, win N, length 0  # RST: refused after D"
	for _, args := range []string{"--port 81", "--exclude-port 8080 --segments all", "--outcome refused", "--outcome refused --segments all",
		"--host 127.0.0.1 --port 81,82", "--exclude-host 10.0.0.0/8 --port 81", "--outcome refused,unanswered"} {
		t.Run(args, func(t *testing.T) {
			if got := shownBy(t, 2, strings.Fields(args)...); got != refused {
				t.Errorf("got\n%s\nwant\n%s", got, refused)
			}
		})
	}
	t.Run("--flags rst", func(t *testing.T) {
		_, want, _ := strings.Cut(refused, "\n")
		if got := shownBy(t, 1, "--flags", "rst"); got != want {
			t.Errorf("got\n%s\nwant\n%s", got, want)
		}
	})
	t.Run("--outcome fin", func(t *testing.T) {
		got := shownBy(t, 10, "--outcome", "fin", "--segments", "all")
		if n := strings.Count(got, "SERVER.8080"); n != 10 || strings.Count(got, "\n") != 9 || !strings.HasSuffix(got, "last ACK, closed") {
			t.Errorf("got\n%s\nwant all ten segments of the connection that was closed", got)
		}
	})
}

// TestWatchPayload shows the first line of what HTTP says, whatever the port.
func TestWatchPayload(t *testing.T) {
	ns := loNS(t, "watch")
	s := startWatch(t, "--netns", ns.Name, "-t", "--segments", "all", "--payload", "--plain")
	long := "GET /" + strings.Repeat("x", 100) + " HTTP/1.1\r\n\r\n"
	requests := []string{"GET / HTTP/1.1\r\nHost: a\r\n\r\n", "HTTP/1.0 200 OK\r\n", long, "GETTING\r\n", "PUT \x1b[1m HTTP/1.1\r\n"}
	want := []string{": HTTP: GET / HTTP/1.1", ": HTTP: HTTP/1.0 200 OK", ": HTTP: " + long[:64] + "...", "", ": HTTP: PUT ..."}
	ns.Serve("127.0.0.1:9000", func(c *net.TCPConn) {
		for b := make([]byte, 500); ; {
			n, err := c.Read(b)
			if err != nil {
				c.Close()
				return
			}
			c.Write([]byte{byte(n)})
		}
	})
	c, err := ns.Dial("127.0.0.1:9000")
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range requests {
		c.Write([]byte(r))
		c.Read(make([]byte, 1))
	}
	c.Close()
	var got []string
	nettest.Eventually(t, 20*time.Second, func() error {
		got = nil
		for line := range strings.Lines(s.stdout.String()) {
			if before, gist, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ", length "); strings.Contains(before, ".9000: Flags [P.]") {
				got = append(got, strings.TrimLeft(gist, "0123456789"))
			}
		}
		if len(got) < len(want) {
			return fmt.Errorf("%d requests, want %d", len(got), len(want))
		}
		return nil
	})
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// TestHeldBack checks the bound: what is oldest goes first, and is counted.
func TestHeldBack(t *testing.T) {
	var w witness
	h := newHeldBack(&w, endings{outcomes: map[decode.Outcome]bool{decode.OutcomeRefused: true}})
	h.most = 3
	point := new(decode.Point)
	syn := func(port uint16) *decode.Segment {
		return &decode.Segment{Point: point, Src: netip.AddrPortFrom(netip.IPv6Loopback(), port), Dst: demoServer, Flags: decode.SYN}
	}
	for port := uint16(1); port <= 4; port++ {
		h.place(syn(port), decode.Place{Kind: decode.PlaceSYN})
	}
	if h.dropped != 1 || h.count != 3 {
		t.Errorf("%d dropped, %d held, want 1 and 3", h.dropped, h.count)
	}
	for port := uint16(1); port <= 2; port++ {
		h.handshake(&decode.Handshake{Point: point, Originator: syn(port).Src, Responder: demoServer, Outcome: decode.OutcomeRefused})
	}
	h.handshake(&decode.Handshake{Point: point, Originator: syn(3).Src, Responder: demoServer, Outcome: decode.OutcomeCompleted})
	if len(w.steps) != 1 || w.steps[0].Src.Port() != 2 || h.count != 1 {
		t.Errorf("handed on %v, %d held, want the SYN from port 2 only, and 1", w.steps, h.count)
	}
	rst := &decode.Segment{Point: point, Src: demoServer, Dst: syn(1).Src, Flags: decode.RST | decode.ACK}
	h.place(rst, decode.Place{Kind: decode.PlaceRefused})
	if len(w.steps) != 2 {
		t.Error("the RST that refused is not shown, as its SYN was dropped")
	}
	h.place(&decode.Segment{Point: point, Src: syn(3).Src, Dst: demoServer, Flags: decode.ACK}, decode.Place{Kind: decode.PlaceACK})
	if len(w.steps) != 2 {
		t.Error("a segment of a connection is shown that did not end as wanted")
	}
}

func TestWatchUsage(t *testing.T) {
	for _, c := range []struct{ args, want string }{
		{"", "say what to watch"},
		{"--netns a --segments some", `--segments is control or all, not "some"`},
		{"--netns a --port 99999", "--port 99999 is no port"},
		{"--netns a --host x", "--host x is no address"},
		{"--netns a --flags syn,foo", "--flags foo is none of fin, syn"},
		{"--netns a --outcome lost", "--outcome lost is none of completed, refused"},
		{"--netns a -c -1", "--count -1 is less than 0"},
		{"--netns a -tttttt", "-t is given 6 times"},
	} {
		checkRefused(t, exitUsage, []string{c.want}, append([]string{"watch"}, strings.Fields(c.args)...)...)
	}
}
