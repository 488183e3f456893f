package main

import (
	"context"
	"fmt"
	"net"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

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
		lines = strings.Split(strings.TrimSuffix(s.stdout.String(), "\n"), "\n")
		if got := strings.Count(s.stdout.String(), "\n"); got < n {
			return fmt.Errorf("%d lines, want %d:\n%s", got, n, s.stdout.String())
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
		c, err := net.DialTimeout("tcp", "127.0.0.1:8080", 1500*time.Millisecond)
		if err == nil {
			c.Close()
			return syscall.EISCONN
		}
		return nil
	})
	got := masked(s.waitLines(3))
	want := "Flags [S], seq N, win N, " + maskedSYN + "  # handshake 1 of 3"
	want = "TIME lo    In  IP CLIENT > SERVER.8080: " + want + "\nTIME lo    In  IP CLIENT > SERVER.8080: " + want +
		", retransmission\nTIME lo    In  # CLIENT > SERVER.8080: unanswered, nothing came back for "
	if !strings.HasPrefix(got, want) {
		t.Errorf("got\n%s\nwant\n%s…", got, want)
	}
}
