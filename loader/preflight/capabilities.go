package preflight

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// A Capability is one that netobs uses.
type Capability struct {
	Name string
	Bit  int
	// What it is for, and whether netobs attach --netns NAME works without.
	For      string
	Optional bool
}

// Capabilities is the set that netobs uses; those that are not optional are enough for namespaces that have a name. On Linux
// before 5.11, where BPF memory counts against RLIMIT_MEMLOCK, CAP_SYS_RESOURCE raises that limit.
func Capabilities() []Capability {
	return []Capability{
		{"CAP_SYS_ADMIN", unix.CAP_SYS_ADMIN, "to enter network namespaces and load BPF programs", false},
		{"CAP_NET_ADMIN", unix.CAP_NET_ADMIN, "to attach to interfaces", false},
		{"CAP_NET_BROADCAST", unix.CAP_NET_BROADCAST, "to hear about interfaces of other namespaces", false},
		{"CAP_SYS_PTRACE", unix.CAP_SYS_PTRACE, "to find namespaces by process: --pid, --netns host, containers", true},
		{"CAP_SYS_RESOURCE", unix.CAP_SYS_RESOURCE, "to raise the limit of locked memory, before Linux 5.11", true},
	}
}

// checkCapabilities tells which of them this process has.
func checkCapabilities() []Finding {
	has, err := effective()
	if err != nil {
		return []Finding{{About: "capability", Name: "all", State: Missing, Detail: oneLine(err), Remedy: "mount /proc"}}
	}
	var findings []Finding
	for _, c := range Capabilities() {
		f := Finding{About: "capability", Name: c.Name, State: OK, Detail: c.For}
		if has&(1<<c.Bit) == 0 {
			f.State, f.Remedy = Missing, "run netobs as root, or with this capability (AmbientCapabilities= of systemd, cap_add of Docker)"
			if c.Optional {
				f.State, f.Remedy = Note, "add it if you need that"
			}
		}
		findings = append(findings, f)
	}
	return findings
}

// effective returns the effective capabilities of this process as a set of bits.
func effective() (uint64, error) {
	status, err := os.ReadFile("/proc/thread-self/status")
	if err != nil {
		return 0, fmt.Errorf("read capabilities: %w", err)
	}
	for line := range strings.Lines(string(status)) {
		if set, ok := strings.CutPrefix(line, "CapEff:"); ok {
			return strconv.ParseUint(strings.TrimSpace(set), 16, 64)
		}
	}
	return 0, fmt.Errorf("read capabilities: no line CapEff")
}
