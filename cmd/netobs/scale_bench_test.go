package main

import (
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
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
	settle          = 2 * time.Second
	idleSpan        = 10 * time.Second // two looks at all processes
)

// scaled is what one way to attach costs.
type scaled struct {
	name         string
	args         []string
	attach, stop time.Duration
	cpu          time.Duration // of the process until it watches
	kernel       int64         // bytes
	rss, own     int64         // bytes
	idle         float64
}

// BenchmarkScale watches many namespaces, each with lo and a veth pair to a common one, in which the other ends are watched,
// too. Attach is from the start of the process until all is watched; loading is a part of it, and measured once more alone.
// Kernel memory is what MemAvailable lost, less the process's own: of RSS, RssAnon. The rest is files, and what it maps of the
// kernel's. Nobody sends anything meanwhile.
//
// The processes are never killed: a kernel that frees thousands of programs at once may not recover. For many namespaces,
// take an emulated one, which does all the same, slowly; in this directory:
//
//	NETOBS_BENCH_NAMESPACES=500 CGO_ENABLED=0 go test -timeout 2h -run '^$' -bench Scale -benchtime 1x \
//		-exec "$PWD/../../build/kernels --timeout 2h --memory 6G --exec newest" .
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
	args = slices.Clip(args)
	load := loadFronts(b, points)
	fmt.Printf("\n%d namespaces, %d points; loading all programs takes %.2f s\n", n, points, load.Seconds())
	fmt.Printf("  %-18s %9s %9s %9s %8s %14s %9s %9s %9s\n", "", "attach", "CPU", "points/s", "stop", "kernel memory", "RSS", "own", "idle CPU")
	for _, s := range []*scaled{
		{name: "tcx", args: args},
		{name: "tcx --fast-attach", args: append(args, "--fast-attach")},
		{name: "tc", args: append(args, "--hook", "tc")},
		{name: "tcx, --all", args: append([]string{"attach", "--all", "--listen", "", "--output", "none"}, excludeAllBut(prefix)...)},
	} {
		s.measure(b)
		fmt.Printf("  %-18s %7.2f s %7.2f s %9.0f %6.2f s %11.1f MB %9s %9s %7.2f %%\n", s.name, s.attach.Seconds(), s.cpu.Seconds(),
			float64(points)/s.attach.Seconds(), s.stop.Seconds(), float64(s.kernel)/1e6, byteCount(s.rss), byteCount(s.own), s.idle)
	}
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

func (s *scaled) measure(b *testing.B) {
	before := availableAtRest(b)
	stderr := new(buffer)
	cmd := exec.Command("/proc/self/exe", s.args...)
	cmd.Env = append(os.Environ(), asNetobs+"=1")
	cmd.Stderr = stderr
	start := time.Now()
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	stop := sync.OnceFunc(func() {
		cmd.Process.Signal(syscall.SIGINT)
		if err := <-ended; err != nil {
			b.Errorf("%v: %s", err, stderr)
		}
	})
	b.Cleanup(stop)
	nettest.Eventually(b, 30*time.Minute, func() error { // in an emulated kernel
		select {
		case err := <-ended:
			ended <- err
			b.Fatalf("netobs ended: %v: %s", err, stderr)
		default:
		}
		if !strings.Contains(stderr.String(), "watching") {
			return fmt.Errorf("netobs does not watch yet: %s", stderr)
		}
		return nil
	})
	s.attach = time.Since(start)
	s.cpu = cpuOf(b, cmd.Process.Pid)
	time.Sleep(settle)
	cpu := cpuOf(b, cmd.Process.Pid)
	time.Sleep(idleSpan)
	s.idle = 100 * (cpuOf(b, cmd.Process.Pid) - cpu).Seconds() / idleSpan.Seconds()
	status := fmt.Sprintf("/proc/%d/status", cmd.Process.Pid)
	s.rss = procNumber(b, status, "VmRSS:")
	s.own = procNumber(b, status, "RssAnon:")
	s.kernel = before - memAvailable(b) - s.own
	start = time.Now()
	stop()
	s.stop = time.Since(start)
}

func memAvailable(b *testing.B) int64 { return procNumber(b, "/proc/meminfo", "MemAvailable:") }

// availableAtRest waits until the kernel has freed what it is about to free.
func availableAtRest(b *testing.B) int64 {
	last := memAvailable(b)
	nettest.Eventually(b, time.Minute, func() error {
		time.Sleep(2 * time.Second)
		now := memAvailable(b)
		grown := now - last
		last = now
		if grown > 1<<20 {
			return fmt.Errorf("%d bytes more are available", grown)
		}
		return nil
	})
	return last
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
