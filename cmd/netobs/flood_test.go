package main

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"netobs/loader/nettest"
)

// pendingFilter finds the pending filter of the worker.
func (w *worker) pendingFilter() *ebpf.Map {
	w.tb.Helper()
	infos, err := filepath.Glob(fmt.Sprintf("/proc/%d/fdinfo/*", w.process.Pid))
	if err != nil {
		w.tb.Fatal(err)
	}
	for _, file := range infos {
		info, _ := os.ReadFile(file) // if it is closed by now, it is none
		match := mapID.FindSubmatch(info)
		if match == nil {
			continue
		}
		id, _ := strconv.Atoi(string(match[1]))
		m, err := ebpf.NewMapFromID(ebpf.MapID(id))
		if err != nil {
			w.tb.Fatal(err)
		}
		about, err := m.Info()
		if err != nil {
			w.tb.Fatal(err)
		}
		if about.Name == ".data.pending" {
			w.tb.Cleanup(func() { m.Close() })
			return m
		}
		m.Close()
	}
	w.tb.Fatal("netobs has no pending filter")
	return nil
}

var mapID = regexp.MustCompile(`(?m)^map_id:\s*(\d+)$`)

// falseHits returns the chance that a data segment that nobody waits for hits the filter: that of its bucket having an entry
// of another flow with the same tag, of 512, or more flows than entries. An old entry hits once and is cleared, so it does not
// count; see bpf/headers/pending.h.
func falseHits(t *testing.T, filter *ebpf.Map) float64 {
	t.Helper()
	const (
		bucketBytes = 8
		tagBits     = 10
		shared      = 1<<tagBits - 1
		epochBits   = 28
		epochMask   = 1<<(16-tagBits) - 1
		old         = 4
	)
	buckets, err := filter.LookupBytes(uint32(0))
	if err != nil {
		t.Fatal(err)
	}
	var now unix.Timespec
	unix.ClockGettime(unix.CLOCK_MONOTONIC, &now)
	var chance float64
	for i := 0; i < len(buckets); i += bucketBytes {
		var here float64
		for j := i; j < i+bucketBytes; j += 2 {
			entry := binary.NativeEndian.Uint16(buckets[j:])
			tag, epoch := entry&shared, entry>>tagBits
			switch {
			case tag == 0 || (uint16(now.Nano()>>epochBits)-epoch)&epochMask >= old:
			case tag == shared:
				here = 1
			default:
				here += 1. / 512
			}
		}
		chance += min(here, 1)
	}
	return chance / float64(len(buckets)/bucketBytes)
}

// flood is a server under a SYN flood from outside, beside real clients.
type flood struct {
	client, server *nettest.NS
	worker         *worker
	syns           int
	series         bool         // the sources count up
	accepted       atomic.Int64 // real connections, as the server saw them
}

const (
	floodPort = 80 // of the server; many sockets ask, one listens
	realPort  = "81"
	bulkPort  = "82"
)

// newFlood makes the namespaces: what the server answers to the flood goes back to the client's, where nobody takes it.
func newFlood(t *testing.T, syns int, args ...string) *flood {
	f := &flood{client: nettest.New(t, "client"), server: nettest.New(t, "server"), syns: syns}
	nettest.Veth(f.client, "eth0", f.server, "eth0")
	f.client.Addr("eth0", "10.9.0.1/24")
	f.server.Addr("eth0", "10.9.0.2/24")
	nettest.Know(f.client, "eth0", "10.9.0.1", f.server, "eth0", "10.9.0.2")
	f.server.Route("198.18.0.0/15", "10.9.0.1")
	f.server.Sysctl("net/ipv4/tcp_syncookies", "1")
	// A resend of the SYN-ACK is not counted among the segments sent.
	f.server.Sysctl("net/ipv4/tcp_synack_retries", "1")
	f.server.Listen("10.9.0.2:" + strconv.Itoa(floodPort))
	f.server.Serve("10.9.0.2:"+realPort, func(c *net.TCPConn) {
		f.accepted.Add(1)
		c.Close()
	})
	f.server.Serve("10.9.0.2:"+bulkPort, func(c *net.TCPConn) {
		f.accepted.Add(1)
		io.Copy(io.Discard, c)
		c.Close()
	})
	f.worker = startWorker(t, append(args, "--netns", f.server.Name)...)
	return f
}

// run floods the server while an older connection carries data and others are made. It returns how many the
// server accepted, and the highest chance of a false hit meanwhile. A client whose completing ACK was dropped in front of the
// server, which answers by SYN cookies and so does not repeat its SYN-ACK, is none.
func (f *flood) run(t *testing.T) (completed int, chance float64) {
	filter := f.worker.pendingFilter()
	old, err := f.client.Dial("10.9.0.2:" + bulkPort)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() { // until the flood is over
		buf := make([]byte, 1000)
		old.SetNoDelay(true)
		for {
			select {
			case <-done:
				old.Close()
				return
			default:
				if _, err := old.Write(buf); err != nil {
					t.Errorf("the connection from before the flood: %v", err)
					return
				}
			}
		}
	})
	wg.Go(func() {
		f.client.Do(func() error {
			for {
				select {
				case <-done:
					return nil
				case <-time.After(10 * time.Millisecond):
				}
				c, err := net.DialTimeout("tcp", "10.9.0.2:"+realPort, 10*time.Second)
				if err != nil {
					return err
				}
				io.Copy(io.Discard, c)
				c.Close()
			}
		})
	})
	wg.Go(func() {
		for {
			select {
			case <-done:
				return
			case <-time.After(100 * time.Millisecond):
				chance = max(chance, falseHits(t, filter))
			}
		}
	})
	f.client.Flood("eth0", f.server.MAC("eth0"), netip.AddrPortFrom(netip.MustParseAddr("10.9.0.2"), floodPort), f.syns, f.series)
	close(done)
	wg.Wait()
	return int(f.accepted.Load()), chance
}

// TestSYNFlood: a server is flooded with SYNs that nobody stands behind. With a rate limit, netobs costs little; without,
// it tells what happened; always, the connections of real clients are there, and every segment is counted.
func TestSYNFlood(t *testing.T) {
	syns := 1_000_000
	if testing.Short() {
		syns = 50_000
	}
	perSYN := make(map[string]float64) // CPU time of netobs
	for _, tc := range []struct {
		name    string
		syns    int
		args    []string
		limited bool
		series  bool
	}{
		{"unlimited", 50_000, []string{"--syn-rate", "10000000", "--ring-bytes", strconv.Itoa(64 << 20)}, false, true},
		// So low that the real clients alone are above it, on whatever CPU their SYNs are.
		{"limited", syns, []string{"--syn-rate", "20"}, true, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f := newFlood(t, tc.syns, tc.args...)
			f.series = tc.series
			in, out := kernelTCP(t, f.server, "InSegs"), kernelTCP(t, f.server, "OutSegs")
			cpu, start := f.worker.cpu(), time.Now()
			completed, chance := f.run(t)
			took := time.Since(start)
			f.worker.drained()
			cpu = f.worker.cpu() - cpu // before this test scrapes
			f.worker.waitFor(0, "connections", label("state", "established"))
			m := f.worker.rest()
			perSYN[tc.name] = cpu.Seconds() / float64(tc.syns)

			eth0, ingress := label("interface", "eth0"), label("direction", "ingress")
			if got, want := m.sum("segments_total", eth0, ingress), kernelTCP(t, f.server, "InSegs")-in; got != want {
				t.Errorf("%v segments received, the kernel says %v", got, want)
			}
			if got, want := m.sum("segments_total", eth0, label("direction", "egress")), kernelTCP(t, f.server, "OutSegs")-out; got != want {
				t.Errorf("%v segments sent, the kernel says %v", got, want)
			}
			outcome := func(o string) float64 { return m.sum("handshakes_total", label("outcome", o)) }
			if got := outcome("completed"); got != float64(completed) {
				t.Errorf("%v handshakes completed, want the %d of real clients", got, completed)
			}
			if got := m.sum("teardowns_total", label("teardown", "fin")); got != float64(completed) {
				t.Errorf("%v connections ended by FIN, want the %d of real clients", got, completed)
			}
			for _, o := range []string{"refused", "aborted", "reset"} {
				if n := outcome(o); n != 0 {
					t.Errorf("%v handshakes %s, and there was none", n, o)
				}
			}
			legs := m.sum("handshake_duration_seconds_count", label("leg", "responder"))
			limited := m.sum("control_segments_total", label("disposition", "rate_limited"))
			full := m.sum("control_segments_total", label("disposition", "ring_full"))
			control := m.sum("control_segments_seen_total")
			data := m.sum("segments_total") - control
			t.Logf("%d SYNs in %s, netobs took %s of CPU; %v control segments, %v limited, %v ring full; %d real connections, "+
				"%v with a responder leg; half open %v, unanswered %v, unknown %v; %v data segments, %.3f %% false hits",
				tc.syns, took.Round(time.Millisecond), cpu, control, limited, full, completed, legs,
				outcome("half_open"), outcome("unanswered"), outcome("unknown"), data, 100*chance)
			// Equal tags make most of them, so they grow with the rate.
			limit := 0.002 * max(1, float64(tc.syns)/took.Seconds()/80_000)
			if chance <= 0 || chance > limit {
				t.Errorf("%.3f %% false hits of the pending filter, want some and less than %.3f %%", 100*chance, 100*limit)
			}
			if !tc.limited {
				asked := m.sum("flags_total", ingress, label("flag", "SYN"))
				if limited+full > 0 || outcome("unknown") > 0 || outcome("half_open")+outcome("unanswered") < asked/2 {
					t.Errorf("of %v handshakes %v are half open, %v unanswered, %v unknown; %v events lost", asked,
						outcome("half_open"), outcome("unanswered"), outcome("unknown"), limited+full)
				}
				return
			}
			if limited < float64(tc.syns)/2 {
				t.Errorf("%v events limited, of %d SYNs", limited, tc.syns)
			}
			if n := outcome("half_open") + outcome("unanswered"); n > 0 {
				t.Errorf("%v verdicts by silence although events were not delivered", n)
			}
			if legs >= float64(completed) {
				t.Errorf("%v of %d handshakes have a leg that begins with a SYN, although those were limited", legs, completed)
			}
		})
	}
	if perSYN["limited"] > perSYN["unlimited"]/2 {
		t.Errorf("CPU time for each SYN: %.3g s limited, %.3g s unlimited, want less than half", perSYN["limited"], perSYN["unlimited"])
	}
}
