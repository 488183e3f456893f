package main

import (
	"bytes"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// BenchmarkWatchTraffic makes connections as fast as the machine can while netobs watch and tcpdump write lines of the same
// segments to files, and tells how many each of the two missed.
func BenchmarkWatchTraffic(b *testing.B) {
	for _, mode := range []struct{ segments, filter string }{
		{segmentsControl, "tcp[tcpflags] & (tcp-syn|tcp-fin|tcp-rst) != 0"},
		{segmentsAll, "tcp"},
	} {
		b.Run(mode.segments, func(b *testing.B) {
			ns := loNS(b, "watch")
			dir := b.TempDir()
			theirs, ours := mustCreate(b, filepath.Join(dir, "tcpdump.txt")), mustCreate(b, filepath.Join(dir, "netobs.txt"))
			var report buffer
			tcpdump := exec.Command("tcpdump", "-i", "lo", "-n", mode.filter)
			tcpdump.Stdout, tcpdump.Stderr = theirs, &report
			ns.Do(tcpdump.Start)
			netobs, stderr := netobsProcessTo(b, ours, "watch", "--netns", ns.Name, "--segments", mode.segments)

			ns.Serve("127.0.0.1:8080", func(c *net.TCPConn) { c.Close() })
			var made atomic.Int64
			var clients sync.WaitGroup
			begin := time.Now()
			for range 4 {
				clients.Go(func() {
					ns.Do(func() error {
						for time.Since(begin) < 5*time.Second {
							if c, err := net.Dial("tcp", "127.0.0.1:8080"); err == nil {
								c.Close()
								made.Add(1)
							}
						}
						return nil
					})
				})
			}
			clients.Wait()
			took := time.Since(begin)
			time.Sleep(2 * time.Second) // tcpdump takes what the kernel has once a second
			for _, cmd := range []*exec.Cmd{tcpdump, netobs} {
				cmd.Process.Signal(unix.SIGINT)
				cmd.Wait()
			}
			first := func(pattern, text string) float64 {
				match := regexp.MustCompile(pattern).FindStringSubmatch(text)
				if match == nil {
					return 0
				}
				n, _ := strconv.ParseFloat(match[1], 64)
				return n
			}
			b.ReportMetric(float64(made.Load())/took.Seconds(), "connections/s")
			b.ReportMetric(lineCount(b, ours), "netobs-lines")
			b.ReportMetric(first(`(?m)^(\d+) segments? lost`, stderr.String()), "netobs-lost")
			b.ReportMetric(lineCount(b, theirs), "tcpdump-lines")
			b.ReportMetric(first(`(?m)^(\d+) packets dropped by kernel`, report.String()), "tcpdump-dropped")
			b.ReportMetric(0, "ns/op")
		})
	}
}

func mustCreate(tb testing.TB, name string) *os.File {
	tb.Helper()
	f, err := os.Create(name)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { f.Close() })
	return f
}

func lineCount(tb testing.TB, f *os.File) float64 {
	tb.Helper()
	text, err := os.ReadFile(f.Name())
	if err != nil {
		tb.Fatal(err)
	}
	return float64(bytes.Count(text, []byte("\n")))
}
