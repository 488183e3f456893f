package loader

import (
	"errors"
	"syscall"
	"testing"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"netobs/loader/nettest"
)

// TestRuns: while the kernel keeps statistics each segment is a run, and runs stay counted when the points are gone.
func TestRuns(t *testing.T) {
	t.Parallel()
	a := nettest.New(t, "a")
	a.Up("lo")
	l := attached(t, Options{}, a)
	statistics, err := ebpf.EnableStats(uint32(unix.BPF_STATS_RUN_TIME))
	if err != nil {
		t.Fatal(err)
	}
	defer statistics.Close()
	if _, err := a.Dial("127.0.0.1:9"); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Fatal(err)
	}
	ran := func() BPFRuns {
		t.Helper()
		stats, err := l.Stats()
		if err != nil {
			t.Fatal(err)
		}
		return stats.Runs[HookTCX]
	}
	live := ran()
	if live.Runs != 2 || live.Time <= 0 {
		t.Errorf("%+v, want 2 runs, of a SYN and the RST that refuses it, and the time they took", live)
	}
	if err := l.detachAll(); err != nil {
		t.Fatal(err)
	}
	if gone := ran(); gone != live {
		t.Errorf("%+v without points, %+v with them", gone, live)
	}
}
