package main

import (
	"bytes"
	"cmp"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"netobs/loader/nettest"
)

// tcpdumpBeside lets tcpdump capture in a namespace. end ends it when it has written all that it has seen, and returns what it
// prints of that, and what it says at the end.
func tcpdumpBeside(tb testing.TB, ns *nettest.NS, filter ...string) (end func() (lines []string, report string)) {
	tb.Helper()
	nettest.NeedProgram(tb, "tcpdump")
	file := filepath.Join(tb.TempDir(), "beside.pcap")
	var stderr buffer
	cmd := exec.Command("tcpdump", append([]string{"-i", "any", "-U", "-B", "262144", "-s", "256", "-w", file}, filter...)...)
	cmd.Stderr = &stderr
	ns.Do(cmd.Start)
	tb.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	nettest.Eventually(tb, 10*time.Second, func() error {
		if !strings.Contains(stderr.String(), "listening on") {
			return fmt.Errorf("tcpdump does not listen yet: %s", stderr.String())
		}
		return nil
	})
	return func() ([]string, string) {
		// It takes what the kernel has once a second.
		for was, same := int64(-1), 0; same < 150; time.Sleep(10 * time.Millisecond) {
			info, err := os.Stat(file)
			if err != nil {
				tb.Fatal(err)
			}
			if same++; info.Size() != was {
				was, same = info.Size(), 0
			}
		}
		cmd.Process.Signal(unix.SIGINT)
		cmd.Wait()
		text, err := exec.Command("tcpdump", "-n", "-t", "-r", file).Output()
		if err != nil {
			tb.Fatal(err)
		}
		return strings.Split(strings.TrimSuffix(string(text), "\n"), "\n"), stderr.String()
	}
}

// talkMuch makes n connections, six at a time, over IPv4 and IPv6: some are refused, the others carry data both ways and are
// closed by either side, or reset.
func talkMuch(tb testing.TB, ns *nettest.NS, n int) {
	tb.Helper()
	for _, host := range []string{"127.0.0.1", "::1"} {
		ns.Serve(net.JoinHostPort(host, "8080"), func(c *net.TCPConn) {
			defer c.Close()
			request := make([]byte, 4)
			if _, err := io.ReadFull(c, request); err != nil {
				return
			}
			c.Write(bytes.Repeat([]byte("x"), 1+int(request[0])*400))
			if request[1]%2 == 0 {
				io.Copy(io.Discard, c) // until the client closes
			}
		})
	}
	var clients sync.WaitGroup
	for worker := range 6 {
		clients.Go(func() {
			ns.Do(func() error {
				for i := worker; i < n; i += 6 {
					host, port := [...]string{"127.0.0.1", "::1"}[i%2], "8080"
					if i%10 == 0 {
						port = "81"
					}
					c, err := net.Dial("tcp", net.JoinHostPort(host, port))
					if err != nil {
						continue
					}
					c.Write([]byte{byte(i), byte(i >> 1), 0, 0})
					if i%7 == 0 {
						c.(*net.TCPConn).SetLinger(0) // RST
					} else if i>>1%2 == 0 {
						c.(*net.TCPConn).CloseWrite()
						io.Copy(io.Discard, c)
					} else {
						io.Copy(io.Discard, c)
					}
					c.Close()
				}
				return nil
			})
		})
	}
	clients.Wait()
}

// byDirection returns lines by sender and receiver: the order of segments in opposite directions is not the same where netobs
// and tcpdump look, as there is a queue between the two. Without what tcpdump makes of the payload.
func byDirection(lines []string) map[string][]string {
	all := make(map[string][]string)
	for _, line := range lines {
		line = afterLength.ReplaceAllString(line, "$1")
		_, ends, _ := strings.Cut(line, " IP")
		ends, _, _ = strings.Cut(ends, ": ")
		all[ends] = append(all[ends], line)
	}
	return all
}

var afterLength = regexp.MustCompile(`(, length \d+).*$`)

// TestWatchTcpdump compares each line of watch --plain with tcpdump's, which watches beside it. For more connections, set
// NETOBS_WATCH_CONNECTIONS.
func TestWatchTcpdump(t *testing.T) {
	n, err := strconv.Atoi(cmp.Or(os.Getenv("NETOBS_WATCH_CONNECTIONS"), "300"))
	if err != nil {
		t.Fatal(err)
	}
	ns := loNS(t, "watch")
	end := tcpdumpBeside(t, ns, "tcp")
	s := startWatch(t, "--netns", ns.Name, "--plain", "--segments", "all", "-t", "--ring-bytes", "67108864")
	talkMuch(t, ns, n)
	theirs, report := end()
	if !strings.Contains(report, "\n0 packets dropped by kernel") {
		t.Fatalf("tcpdump lost packets: %s", report)
	}
	s.end()
	ours := strings.Split(strings.TrimSuffix(s.stdout.String(), "\n"), "\n")
	got, want := byDirection(ours), byDirection(theirs)
	different := 0
	for ends, lines := range want {
		for i, line := range lines {
			if mine := got[ends]; i >= len(mine) || mine[i] != line {
				if different++; different <= 10 {
					t.Errorf("%s, line %d: got\n%s\nwant\n%s", ends, i+1, strings.Join(mine[min(i, len(mine)):min(i+1, len(mine))], ""), line)
				}
			}
		}
	}
	for ends, lines := range got {
		for _, line := range lines[min(len(lines), len(want[ends])):] {
			if different++; different <= 10 {
				t.Errorf("%s: tcpdump does not have\n%s", ends, line)
			}
		}
	}
	t.Logf("%d connections, %d lines, of tcpdump %d; %d are different", n, len(ours), len(theirs), different)
	if different > 0 {
		t.Log(report)
	}
}
