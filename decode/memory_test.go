package decode

import (
	"bytes"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"testing"
)

// million is set in the process that has a million connections: tests of memory cannot share one.
const million = "NETOBS_TEST_MILLION"

// TestMemory has a million connections established, of IPv4 and of IPv6.
func TestMemory(t *testing.T) {
	if kind := os.Getenv(million); kind != "" {
		each, rss := measureMillion(kind)
		fmt.Println(each, rss)
		os.Exit(0)
	}
	if testing.Short() {
		t.Skip("takes seconds, and memory is not what it is with the race detector")
	}
	for _, kind := range []string{"IPv4", "IPv6"} {
		cmd := exec.Command(os.Args[0], "-test.run=^TestMemory$")
		cmd.Env = append(os.Environ(), million+"="+kind)
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		var each, rss int
		if _, err := fmt.Sscan(string(out), &each, &rss); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		t.Logf("%s: %d bytes a connection, the process has %d MB", kind, each, rss/1e6)
		if each > 250 {
			t.Errorf("%s: %d bytes a connection, want at most 250", kind, each)
		}
		if rss > 300e6 {
			t.Errorf("%s: resident memory is %d MB, want at most 300", kind, rss/1e6)
		}
	}
}

// measureMillion returns how many bytes of heap a connection takes, and the most that the process had resident, in bytes.
func measureMillion(kind string) (each, rss int) {
	heap := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := heap()
	const n = 1_000_000
	tr := NewTracker(TrackerOptions{Capacity: n})
	for i := range n {
		a, b := client(i), toB
		if kind == "IPv6" {
			b = socket("X")
			a = netip.AddrPortFrom(netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, 15: byte(i >> 16)}), uint16(i))
		}
		connect(tr, a, b, int64(i)*1000)
	}
	tr.Advance(n * 1000)
	after := heap()
	if open := tr.Tallies().Netns[0].Open[RoleLocal][StateEstablished]; open != n {
		panic(fmt.Sprintf("%d connections are established, want %d", open, n))
	}
	return int(after-before) / n, peakRSS()
}

// peakRSS returns the most memory that the process had resident, in bytes.
func peakRSS() int {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		panic(err)
	}
	for line := range bytes.Lines(status) {
		if rest, ok := strings.CutPrefix(string(line), "VmHWM:"); ok {
			kb, err := strconv.Atoi(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(rest), "kB")))
			if err != nil {
				panic(err)
			}
			return kb * 1024
		}
	}
	panic("no VmHWM")
}
