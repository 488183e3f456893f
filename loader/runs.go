package loader

import (
	"os"
	"strings"
	"time"
)

// BPFRuns are what the kernel counts of BPF programs, while it keeps statistics of them: by the sysctl
// kernel.bpf_stats_enabled, or for who asked it to (BPF_ENABLE_STATS). A front's time includes that of the slow program, which
// it tail-calls and of which the kernel counts nothing.
type BPFRuns struct {
	Runs uint64
	Time time.Duration
}

func (r *BPFRuns) add(o BPFRuns) {
	r.Runs += o.Runs
	r.Time += o.Time
}

// statsEnabled is "1" while statistics are kept for everybody.
const statsEnabled = "/proc/sys/kernel/bpf_stats_enabled"

// runStats returns the counts by hook. The caller holds l.mu.
func (l *Loader) runStats() map[string]BPFRuns {
	all := make(map[string]BPFRuns)
	for hook, r := range l.ran {
		all[hook] = r
	}
	for _, ns := range l.namespaces {
		for _, i := range ns.links {
			for _, p := range i.points {
				p.countRuns()
				sum := all[p.hook]
				sum.add(p.ran)
				all[p.hook] = sum
			}
		}
	}
	setting, _ := os.ReadFile(statsEnabled) // not there before Linux 5.1
	kept := strings.TrimSpace(string(setting)) == "1"
	for _, r := range all {
		kept = kept || r.Runs > 0
	}
	if !kept {
		return nil
	}
	return all
}

// countRuns asks the kernel, if the front is still there. The caller holds the Loader's mu.
func (p *point) countRuns() {
	if p.closed {
		return
	}
	if s, err := p.front.Stats(); err == nil {
		p.ran = BPFRuns{s.RunCount, s.Runtime}
	}
}

// noteLastRuns is to be called when a point is detached, before its front is closed.
func (l *Loader) noteLastRuns(p *point) {
	l.mu.Lock()
	defer l.mu.Unlock()
	p.countRuns()
	p.closed = true
}
