package main

import (
	"cmp"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// captureBytesEnv is the size of the capture that BenchmarkRead reads.
const captureBytesEnv = "NETOBS_BENCH_CAPTURE_BYTES"

const (
	captureBytes = 100_000_000
	readRounds   = 3
)

// A reading is one way to read a capture.
type reading struct {
	name string
	args []string // FILE stands for the capture
	ours bool     // netobs, of this test binary

	took, cpu []time.Duration // of each round
	rss       int64           // bytes, most at any time
}

func readings() []*reading {
	return []*reading{
		{name: "netobs read --summary", args: []string{"read", "--summary", "FILE"}, ours: true},
		{name: "netobs read", args: []string{"read", "FILE"}, ours: true},
		{name: "netobs read --output json", args: []string{"read", "--output", "json", "FILE"}, ours: true},
		{name: "netobs read --segments", args: []string{"read", "--segments", "FILE"}, ours: true},
		{name: "dd bs=1M", args: []string{"dd", "if=FILE", "of=/dev/null", "bs=1M"}},
		{name: "cat", args: []string{"cat", "FILE"}},
		{name: "argus -r", args: []string{"argus", "-r", "FILE", "-w", "-"}},
		{name: "tcptrace -n", args: []string{"tcptrace", "-n", "FILE"}},
		{name: "tcpdump -n", args: []string{"tcpdump", "-n", "-r", "FILE"}},
		{name: "tshark -q -z conv,tcp", args: []string{"tshark", "-n", "-q", "-z", "conv,tcp", "-r", "FILE"}},
	}
}

// command returns the process that reads file into nothing.
func (r *reading) command(file string) *exec.Cmd {
	var args []string
	for _, arg := range r.args {
		args = append(args, strings.Replace(arg, "FILE", file, 1))
	}
	if r.ours {
		cmd := exec.Command("/proc/self/exe", args...)
		cmd.Env = append(os.Environ(), asNetobs+"=1")
		return cmd
	}
	return exec.Command(args[0], args[1:]...)
}

func median(d []time.Duration) time.Duration {
	d = slices.Sorted(slices.Values(d))
	return d[len(d)/2]
}

// BenchmarkRead reads a capture of real traffic by netobs and by others, in turns: whole processes, the file in the page cache,
// output to /dev/null. Times are medians of the rounds, ratios are to netobs read --summary; RSS is of a round of its own.
func BenchmarkRead(b *testing.B) {
	size := int64(captureBytes)
	if v := os.Getenv(captureBytesEnv); v != "" {
		var err error
		if size, err = strconv.ParseInt(v, 10, 64); err != nil {
			b.Fatalf("%s: %v", captureBytesEnv, err)
		}
	}
	file := mustCapture(b, size)
	all := slices.DeleteFunc(readings(), func(r *reading) bool {
		_, err := exec.LookPath(r.args[0])
		missing := !r.ours && err != nil
		if missing {
			b.Logf("%s is not installed: left out", r.args[0])
		}
		return missing
	})
	b.ResetTimer()
	for range readRounds {
		for _, r := range all {
			cmd, start := r.command(file), time.Now()
			if err := cmd.Run(); err != nil {
				b.Fatalf("%s: %v", r.name, err)
			}
			r.took = append(r.took, time.Since(start))
			r.cpu = append(r.cpu, cmd.ProcessState.UserTime()+cmd.ProcessState.SystemTime())
		}
	}
	b.StopTimer()
	ours := all[0]
	var table strings.Builder
	fmt.Fprintf(&table, "%-27s %10s %7s %10s %7s %9s\n", byteCount(size)+" of traffic on lo", "time", "ratio", "CPU", "ratio", "RSS")
	for _, r := range all {
		r.measureRSS(b, file)
		took, cpu := median(r.took), median(r.cpu)
		fmt.Fprintf(&table, "%-27s %7d ms %7.2f %7d ms %7.2f %9s\n", r.name, took.Milliseconds(),
			float64(took)/float64(median(ours.took)), cpu.Milliseconds(), float64(cpu)/float64(median(ours.cpu)), byteCount(r.rss))
	}
	fmt.Printf("\n%s", table.String()) // Logf would cut it
	rivals := slices.DeleteFunc(slices.Clone(all), func(r *reading) bool {
		return r.ours || !slices.Contains([]string{"argus", "tcptrace", "tshark"}, r.args[0])
	})
	if len(rivals) > 0 {
		fastest := slices.MinFunc(rivals, func(a, b *reading) int { return cmp.Compare(median(a.took), median(b.took)) })
		b.ReportMetric(float64(median(fastest.took))/float64(median(ours.took)), "times-faster-than-"+fastest.args[0])
	}
	b.ReportMetric(float64(size)/1e6/median(ours.took).Seconds(), "MB/s")
	b.ReportMetric(0, "ns/op")
}

// measureRSS runs r once more. The kernel's ru_maxrss would include what its parent had, so the process is looked at while it
// runs.
func (r *reading) measureRSS(b *testing.B, file string) {
	cmd := r.command(file)
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	for every := time.NewTicker(5 * time.Millisecond); ; {
		select {
		case err := <-ended:
			if err != nil {
				b.Fatalf("%s: %v", r.name, err)
			}
			return
		case <-every.C:
		}
		status, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", cmd.Process.Pid))
		for line := range strings.Lines(string(status)) {
			if f := strings.Fields(line); f[0] == "VmHWM:" {
				kB, _ := strconv.ParseInt(f[1], 10, 64)
				r.rss = max(r.rss, kB<<10)
			}
		}
	}
}
