package preflight

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"netobs/loader"
	"netobs/loader/wiring"
)

// enoughMemory is more than netobs takes with the default settings. Measured in a cgroup of its own: 78 MiB at most with 6
// points, 82 with 123; 67 of them are the kernel's.
const enoughMemory = 128 << 20

// checkMemory looks at the limits that BPF memory counts against: the cgroup's, and on older kernels that of the process.
func checkMemory() []Finding {
	findings := []Finding{checkCgroup()}
	var limit unix.Rlimit
	f := Finding{About: "memory", Name: "RLIMIT_MEMLOCK", State: OK}
	if err := unix.Getrlimit(unix.RLIMIT_MEMLOCK, &limit); err != nil {
		f.State, f.Detail = Note, err.Error()
	} else if limit.Cur == unix.RLIM_INFINITY {
		f.Detail = "unlimited"
	} else {
		f.Detail = size(limit.Cur) + "; counts before Linux 5.11 only, and netobs raises it"
	}
	return append(findings, f)
}

func checkCgroup() Finding {
	f := Finding{About: "memory", Name: "cgroup", State: OK, Detail: "no limit"}
	dir, err := cgroupDir()
	if err != nil {
		f.State, f.Detail = Note, oneLine(err)
		return f
	}
	// The limits of all above count, too.
	for ; strings.HasPrefix(dir, cgroupRoot); dir = filepath.Dir(dir) {
		limit, limitErr := readNumber(filepath.Join(dir, "memory.max")) // no number: "max", or no such file in the root
		used, usedErr := readNumber(filepath.Join(dir, "memory.current"))
		if limitErr != nil || usedErr != nil {
			continue
		}
		f.Detail = fmt.Sprintf("%s of %s used in %s", size(used), size(limit), dir)
		if used+enoughMemory > limit {
			f.State = Note
			f.Remedy = fmt.Sprintf("netobs may take %s: raise memory.max (MemoryMax= of systemd), or lower --ring-bytes and --flows",
				size(enoughMemory))
			return f
		}
	}
	return f
}

const cgroupRoot = "/sys/fs/cgroup"

// cgroupDir returns where the limits of this process' cgroup are, if there is a unified hierarchy.
func cgroupDir() (string, error) {
	text, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return "", fmt.Errorf("find the cgroup: %w", err)
	}
	for line := range strings.Lines(string(text)) {
		if path, ok := strings.CutPrefix(line, "0::"); ok {
			return filepath.Join(cgroupRoot, strings.TrimSpace(path)), nil
		}
	}
	return "", errors.New("find the cgroup: no unified hierarchy")
}

func readNumber(path string) (uint64, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	return strconv.ParseUint(strings.TrimSpace(string(text)), 10, 64)
}

func size(n uint64) string {
	switch {
	case n >= 1<<30:
		return fmt.Sprintf("%.1f GiB", float64(n)/(1<<30))
	case n >= 1<<20:
		return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
	}
	return fmt.Sprintf("%d KiB", n>>10)
}

// checkSettings looks at what the kernel keeps for all.
func checkSettings() []Finding {
	stats := Finding{About: "setting", Name: "kernel.bpf_stats_enabled", State: OK,
		Detail: "0: the kernel does not measure BPF programs", Remedy: "sysctl kernel.bpf_stats_enabled=1 measures each run of a program, and reads the clock twice for it"}
	on, err := readNumber("/proc/sys/kernel/bpf_stats_enabled")
	switch {
	case err != nil:
		stats.State, stats.Detail, stats.Remedy = Note, oneLine(err), ""
	case on != 0:
		stats.State, stats.Detail = Note, "1: the kernel measures each run of a BPF program, and reads the clock twice for it"
		stats.Remedy = "sysctl kernel.bpf_stats_enabled=0 when it is not needed"
	}
	findings := []Finding{stats}
	left, value, err := loader.SettingLeft()
	rcu := Finding{About: "setting", Name: "rcu_expedited", State: OK, Detail: strconv.Itoa(value)}
	switch {
	case err != nil:
		rcu.State, rcu.Detail = Note, oneLine(err)
	case left:
		rcu.State, rcu.Detail, rcu.Remedy = Note, "left raised by a netobs that was killed", "netobs detach"
	case value != 0:
		rcu.Detail += ": raised by somebody, or by a netobs that is running"
	}
	return append(findings, rcu)
}

// checkNamespaces looks for what a killed netobs left, and who else is attached.
func checkNamespaces(ctx context.Context) []Finding {
	var findings []Finding
	namespaces, err := loader.AllNetns(ctx)
	if err != nil {
		findings = append(findings, Finding{About: "leftover", Name: "filters", State: Note, Detail: oneLine(err)})
	}
	var failed []string
	for i := range namespaces {
		ns := &namespaces[i]
		left, err := loader.FindLeftovers(ns)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			failed = append(failed, oneLine(err))
		}
		for _, l := range left {
			if l.Removed > 0 {
				findings = append(findings, Finding{About: "leftover", Name: l.Interface + " in " + ns.Name, State: Note,
					Detail: loader.CountFilters(l.Removed) + " of a netobs that was killed", Remedy: "netobs detach"})
			}
		}
	}
	if len(failed) > 0 {
		findings = append(findings, notKnown("leftover", "filters", failed, len(namespaces)))
	}
	if len(findings) == 0 {
		findings = append(findings, Finding{About: "leftover", Name: "filters", State: OK, Detail: "none of a netobs that was killed"})
	}
	return append(findings, others(ctx)...)
}

// notKnown is the one finding about all namespaces that could not be looked at.
func notKnown(about, name string, failed []string, of int) Finding {
	return Finding{About: about, Name: name, State: Note,
		Detail: fmt.Sprintf("not known in %d of %d network namespaces: %s", len(failed), of, failed[0]),
		Remedy: "run netobs check as root"}
}

// others lists the programs that are attached where netobs would be.
func others(ctx context.Context) []Finding {
	host, err := wiring.Look(ctx)
	if err != nil {
		return []Finding{{About: "program", Name: "all", State: Note, Detail: oneLine(err)}}
	}
	var findings []Finding
	var failed []string
	for _, ns := range host.Namespaces {
		if ns.Error != "" {
			failed = append(failed, ns.Error)
		}
		for _, i := range ns.Interfaces {
			for _, p := range i.Programs {
				f := Finding{About: "program", Name: i.Name + " in " + ns.Name, State: OK,
					Detail: fmt.Sprintf("%s %s: %s (id %d)", p.Hook, p.Direction, p.Name, p.ID)}
				for _, h := range p.Holders {
					f.Detail += fmt.Sprintf(", held by %s (%d)", h.Process, h.Pid)
				}
				if p.Hook == loader.HookXDP {
					f.State, f.Remedy = Note, "no --hook xdp there: an interface has room for one XDP program"
				}
				findings = append(findings, f)
			}
		}
	}
	if len(failed) > 0 {
		findings = append(findings, notKnown("program", "interfaces", failed, len(host.Namespaces)))
	}
	if len(findings) == 0 {
		findings = append(findings, Finding{About: "program", Name: "interfaces", State: OK, Detail: "nobody else is attached"})
	}
	return findings
}
