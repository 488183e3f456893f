package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cilium/ebpf"

	"netobs/bpf"
	"netobs/loader/nettest"
)

// namespacesEnv is how many namespaces BenchmarkScale makes. Each has five observation points, two of them at the host's end.
const namespacesEnv = "NETOBS_BENCH_NAMESPACES"

const (
	benchNamespaces = 20
	pointsEach      = 5
	idleSpan        = 5 * time.Second
)

// scaled is what one way to attach costs.
type scaled struct {
	name         string
	args         []string
	attach, stop time.Duration
	kernel, rss  int64 // bytes
	idle         float64
}

// BenchmarkScale watches many namespaces, each with lo and a veth pair to a common one, in which the other ends are watched,
// too. Attach is from the start of the process until all is watched; loading is a part of it, and measured once more alone.
// Kernel memory is what MemAvailable lost, less RSS. Nobody sends anything meanwhile.
//
// The processes are never killed: a kernel that frees thousands of programs at once may not recover.
func BenchmarkScale(b *testing.B) {
	nettest.NeedPrivileges(b)
	n := benchNamespaces
	if v := os.Getenv(namespacesEnv); v != "" {
		var err error
		if n, err = strconv.Atoi(v); err != nil || n < 1 || n*pointsEach > bpf.MaxPoints {
			b.Fatalf("%s: %q is not between 1 and %d", namespacesEnv, v, bpf.MaxPoints/pointsEach)
		}
	}
	prefix := fmt.Sprintf("scale%dx", os.Getpid())
	host := nettest.New(b, prefix+"host")
	args := []string{"attach", "--listen", "", "--output", "none", "--netns", host.Name}
	for i := range n {
		ns := nettest.New(b, prefix)
		nettest.Veth(ns, "eth0", host, fmt.Sprint("veth", i))
		ns.Up("lo")
		args = append(args, "--netns", ns.Name)
	}
	points := n*pointsEach + 1 // and lo of the common one
	b.ResetTimer()
	load := loadFronts(b, points)
	all := []*scaled{
		{name: "tcx"},
		{name: "tcx --fast-attach", args: []string{"--fast-attach"}},
		{name: "tc", args: []string{"--hook", "tc"}},
	}
	for _, s := range all {
		s.measure(b, append(args, s.args...))
	}
	dynamic := &scaled{name: "tcx, --all"}
	dynamic.measure(b, append([]string{"attach", "--all", "--listen", "", "--output", "none"}, excludeAllBut(prefix)...))
	all = append(all, dynamic)
	b.StopTimer()
	var table bytes.Buffer
	fmt.Fprintf(&table, "%d namespaces, %d points; loading all programs takes %.2f s\n", n, points, load.Seconds())
	fmt.Fprintf(&table, "  %-18s %9s %9s %8s %14s %9s %9s\n", "", "attach", "points/s", "stop", "kernel memory", "RSS", "idle CPU")
	for _, s := range all {
		fmt.Fprintf(&table, "  %-18s %7.2f s %9.0f %6.2f s %11.1f MB %9s %7.2f %%\n", s.name, s.attach.Seconds(),
			float64(points)/s.attach.Seconds(), s.stop.Seconds(), float64(s.kernel)/1e6, byteCount(s.rss), s.idle)
	}
	fmt.Printf("\n%s", table.String())
	b.ReportMetric(0, "ns/op")
}

// loadFronts loads the programs of so many points, and frees them slowly.
func loadFronts(b *testing.B, points int) time.Duration {
	start := time.Now()
	progs, err := bpf.Load(bpf.Options{})
	if err != nil {
		b.Fatal(err)
	}
	defer progs.Close()
	var fronts []*ebpf.Program
	for i := range points {
		front, err := progs.NewFront(bpf.Point{ID: uint32(i + 1), Slot: uint32(i), Netns: 1})
		if err != nil {
			b.Fatal(err)
		}
		fronts = append(fronts, front)
	}
	took := time.Since(start)
	for i, front := range fronts {
		front.Close()
		if i%50 == 49 {
			time.Sleep(10 * time.Millisecond)
		}
	}
	return took
}

func (s *scaled) measure(b *testing.B, args []string) {
	before := procNumber(b, "/proc/meminfo", "MemAvailable:")
	stderr := new(buffer)
	cmd := exec.Command("/proc/self/exe", args...)
	cmd.Env = append(os.Environ(), asNetobs+"=1")
	cmd.Stderr = stderr
	start := time.Now()
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	ended := false
	stop := func() {
		if !ended {
			ended = true
			cmd.Process.Signal(syscall.SIGINT)
			if err := cmd.Wait(); err != nil {
				b.Errorf("%v: %s", err, stderr)
			}
		}
	}
	b.Cleanup(stop)
	nettest.Eventually(b, 10*time.Minute, func() error {
		if !strings.Contains(stderr.String(), "watching") {
			return fmt.Errorf("netobs does not watch yet: %s", stderr)
		}
		return nil
	})
	s.attach = time.Since(start)
	cpu := cpuOf(b, cmd.Process.Pid)
	time.Sleep(idleSpan)
	s.idle = 100 * (cpuOf(b, cmd.Process.Pid) - cpu).Seconds() / idleSpan.Seconds()
	s.rss = procNumber(b, fmt.Sprintf("/proc/%d/status", cmd.Process.Pid), "VmRSS:")
	s.kernel = before - procNumber(b, "/proc/meminfo", "MemAvailable:") - s.rss
	start = time.Now()
	stop()
	s.stop = time.Since(start)
}

// procNumber returns a number of kB in a file of /proc, in bytes.
func procNumber(b *testing.B, file, name string) int64 {
	text, err := os.ReadFile(file)
	if err != nil {
		b.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if f := strings.Fields(line); len(f) > 1 && f[0] == name {
			kB, err := strconv.ParseInt(f[1], 10, 64)
			if err != nil {
				b.Fatal(err)
			}
			return kB << 10
		}
	}
	b.Fatalf("no %s in %s", name, file)
	return 0
}
