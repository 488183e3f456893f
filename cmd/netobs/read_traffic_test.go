package main

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"netobs/loader/nettest"
)

// A test binary in whose environment this is set makes traffic until it ends, or standard input does.
const asTraffic = "NETOBS_TEST_AS_TRAFFIC"

const (
	trafficServers = 16 // on 127.0.0.1 and following addresses
	trafficClients = 8
	trafficPort    = 8080
	trafficRounds  = 3 // requests on a connection
	trafficLongest = 3000
)

// mustCapture returns the name of a capture of real traffic on lo of a namespace, of a size in bytes or a little more. It is
// removed at the end of the test.
func mustCapture(tb testing.TB, size int64) string {
	tb.Helper()
	tcpdump, err := exec.LookPath("tcpdump")
	if err != nil {
		tb.Skip("no tcpdump to record traffic with")
	}
	ns := nettest.New(tb, "traffic")
	ns.Up("lo")
	file := filepath.Join(tb.TempDir(), "traffic.pcap")
	var said buffer
	record := exec.Command(tcpdump, "-i", "lo", "-n", "-s", "0", "-B", "65536", "-Z", "root", "-w", file, "tcp")
	record.Stderr = &said
	traffic := exec.Command("/proc/self/exe")
	traffic.Env = append(os.Environ(), asTraffic+"=1")
	traffic.Stderr = os.Stderr
	stop, err := traffic.StdinPipe()
	if err != nil {
		tb.Fatal(err)
	}
	ns.Do(record.Start)
	tb.Cleanup(func() { record.Process.Kill() })
	nettest.Eventually(tb, 10*time.Second, func() error {
		if !strings.Contains(said.String(), "listening on") {
			return errors.New("tcpdump does not listen yet: " + said.String())
		}
		return nil
	})
	ns.Do(traffic.Start)
	nettest.Eventually(tb, time.Minute+time.Duration(size)*100, func() error { // at 10 MB a second; ten times that is usual
		if info, err := os.Stat(file); err != nil || info.Size() < size {
			return fmt.Errorf("capture too small after a long time: %v", err)
		}
		return nil
	})
	stop.Close()
	if err := traffic.Wait(); err != nil {
		tb.Fatal(err)
	}
	if err := errors.Join(record.Process.Signal(unix.SIGINT), record.Wait()); err != nil {
		tb.Fatal(err)
	}
	tb.Logf("recorded %s", strings.ReplaceAll(strings.TrimSpace(said.String()), "\n", "; "))
	return file
}

// makeTraffic makes connections until standard input ends: most ask and are answered three times, and are closed by either
// side; some are reset, some refused.
func makeTraffic() error {
	for i := range trafficServers {
		l, err := net.Listen("tcp4", trafficServer(i, trafficPort))
		if err != nil {
			return err
		}
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				go answer(c)
			}
		}()
	}
	var over atomic.Bool
	go func() {
		io.Copy(io.Discard, os.Stdin)
		over.Store(true)
	}()
	var wg sync.WaitGroup
	errs := make([]error, trafficClients)
	for i := range errs {
		wg.Go(func() {
			for n := i; !over.Load() && errs[i] == nil; n += trafficClients {
				errs[i] = ask(n)
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

func trafficServer(i, port int) string { return fmt.Sprintf("127.0.0.%d:%d", 1+i%trafficServers, port) }

// ask makes the nth connection. What it does, and all sizes, follow from n.
func ask(n int) error {
	if n%50 == 0 {
		if _, err := net.Dial("tcp4", trafficServer(n, trafficPort+1)); !errors.Is(err, unix.ECONNREFUSED) {
			return fmt.Errorf("connection to a closed port: %v", err)
		}
		return nil
	}
	c, err := net.Dial("tcp4", trafficServer(n, trafficPort))
	if err != nil {
		return err
	}
	defer c.Close()
	resets := n%30 == 1
	var buf [trafficLongest]byte
	for round := range trafficRounds {
		request, response := 100+n*7%300, 200+(n*13+round*400)%(trafficLongest-200)
		binary.BigEndian.PutUint16(buf[:], uint16(request))
		binary.BigEndian.PutUint16(buf[2:], uint16(response))
		buf[4] = byte(n & 1) // who closes
		if resets || round < trafficRounds-1 {
			buf[4] = 0
		}
		if _, err := c.Write(buf[:request]); err != nil {
			return err
		}
		if _, err := io.ReadFull(c, buf[:response]); err != nil {
			return err
		}
	}
	switch {
	case resets:
		return c.(*net.TCPConn).SetLinger(0)
	case n&1 == 1:
		_, err = io.Copy(io.Discard, c)
	}
	return err
}

// answer serves one connection.
func answer(c net.Conn) {
	defer c.Close()
	var buf [trafficLongest]byte
	for {
		if _, err := io.ReadFull(c, buf[:5]); err != nil {
			return
		}
		request, response := binary.BigEndian.Uint16(buf[:]), binary.BigEndian.Uint16(buf[2:])
		closes := buf[4] == 1
		if _, err := io.ReadFull(c, buf[5:request]); err != nil {
			return
		}
		if _, err := c.Write(buf[:response]); err != nil || closes {
			return
		}
	}
}

// TestReadTraffic reads what the kernel sent and tcpdump recorded: every handshake is completed or refused, every
// connection closed by FINs or reset, but for those that the end of the capture cut.
func TestReadTraffic(t *testing.T) {
	code, stdout, stderr := runHere(t, "read", "--summary", "--output", "json", mustCapture(t, 1<<20))
	if code != 0 {
		t.Fatal(stderr)
	}
	var s jsonSummary
	if err := json.Unmarshal([]byte(stdout), &s); err != nil {
		t.Fatal(err)
	}
	completed, refused := s.Handshakes["completed"], s.Handshakes["refused"]
	for outcome, n := range s.Handshakes {
		if outcome != "completed" && outcome != "refused" && n > 0 {
			t.Errorf("%d handshakes %s", n, outcome)
		}
	}
	fin, rst := s.Teardowns["fin"], s.Teardowns["rst"]
	if min(refused, fin["originator"], fin["responder"], rst["originator"]) == 0 {
		t.Errorf("a kind is missing: %d refused, fin %v, rst %v", refused, fin, rst)
	}
	var ended uint64
	for _, by := range s.Teardowns {
		for _, n := range by {
			ended += n
		}
	}
	if completed != ended+uint64(s.Open) || s.Unseen > 0 || s.Late > ended {
		t.Errorf("%d completed, %d ended, %d open, %d unseen, %d late segments", completed, ended, s.Open, s.Unseen, s.Late)
	}
}
