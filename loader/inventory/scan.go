package inventory

import (
	"bytes"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// nameDirs is where namespaces have names: those of people, and of most runtimes, and those of Docker.
var nameDirs = []string{"/run/netns", "/run/docker/netns"}

// process is one that is in a namespace.
type process struct {
	pid       int
	name      string // as in /proc/PID/comm
	container string // id, empty if in none
}

// strayAfter is how long a file that has the name of a namespace may be none: "ip netns add" makes it just before it becomes
// one, "ip netns del" removes it just after.
const strayAfter = time.Second

// stray is a file that has the name of a namespace and is none.
type stray struct {
	since time.Time     // that is known
	made  unix.Timespec // the file, or it was changed: another one of that name is not known for as long
}

// scanNames finds the namespaces that have names, and files that should be namespaces and are none. It reports whether the
// former changed.
func (s *scanner) scanNames() bool {
	old, oldStrays := s.names, s.strays
	s.names, s.strays = make(map[uint64][]string), make(map[string]stray)
	for _, dir := range nameDirs {
		entries, _ := os.ReadDir(s.root + dir) // none if there is no such directory
		for _, e := range entries {
			path := filepath.Join(dir, e.Name())
			var st unix.Stat_t
			if unix.Stat(s.root+path, &st) == nil && uint64(st.Dev) == s.dev {
				s.names[st.Ino] = append(s.names[st.Ino], path)
				continue
			}
			if unix.Lstat(s.root+path, &st) != nil {
				continue // it has gone
			}
			now := stray{time.Now(), st.Ctim}
			if old, ok := oldStrays[path]; ok && old.made == now.made {
				now = old
			}
			s.strays[path] = now
		}
	}
	for _, paths := range s.names {
		slices.SortStableFunc(paths, func(a, b string) int { return boolInt(madeUp(a)) - boolInt(madeUp(b)) })
	}
	return !maps.EqualFunc(old, s.names, slices.Equal)
}

// strayNames are the files that have been no namespaces for longer than it takes to make one, sorted.
func (s *scanner) strayNames() (paths []string) {
	for path, stray := range s.strays {
		if time.Since(stray.since) >= strayAfter {
			paths = append(paths, path)
		}
	}
	slices.Sort(paths)
	return paths
}

func boolInt(b bool) int {
	if b {
		return 1
	}
	return 0
}

// member is what is remembered of a process that is not in the host's namespace.
type member struct {
	netns     uint64
	container string // id, empty if in none
}

// scanProcesses looks at all processes. It reads one link for each, and more only of one that is new in a namespace, and of
// the oldest of each. It reports whether something changed.
func (s *scanner) scanProcesses() bool {
	old, oldContainers := maps.Clone(s.processes), s.containers
	s.looked, s.skipped = 0, make(map[Skip]int)
	pids := s.pids()
	if len(pids) > 0 && pids[0] != 1 {
		s.skipped[SkipHidden] = 1
	}
	members := make(map[uint64][]int)
	for _, pid := range pids {
		ino, err := s.netnsOf(pid)
		if err != nil {
			if pid != 1 { // where that one may not be looked at, the host's is our own
				s.skip(err)
			}
			continue
		}
		s.looked++
		if ino != s.host || len(members[ino]) == 0 {
			members[ino] = append(members[ino], pid)
		}
	}
	for ino := range s.processes {
		if len(members[ino]) == 0 {
			delete(s.processes, ino)
		}
	}
	for ino, pids := range members {
		s.setOldest(ino, pids)
	}
	s.setContainers(members)
	return !maps.Equal(old, s.processes) || !maps.EqualFunc(oldContainers, s.containers, slices.Equal)
}

// setContainers finds out which containers are in each namespace: not every runtime says whose network one uses.
func (s *scanner) setContainers(members map[uint64][]int) {
	old := s.members
	s.members, s.containers = make(map[int]member), make(map[uint64][]string)
	for ino, pids := range members {
		if ino == s.host {
			continue
		}
		for _, pid := range pids {
			m, ok := old[pid]
			if !ok || m.netns != ino {
				m = member{ino, s.containerOf(pid)}
			}
			s.members[pid] = m
			s.addContainer(m)
		}
	}
}

// addContainer reports whether it was not known to be there.
func (s *scanner) addContainer(m member) bool {
	in := s.containers[m.netns]
	i, known := slices.BinarySearch(in, m.container)
	if known || m.container == "" {
		return false
	}
	s.containers[m.netns] = slices.Insert(slices.Clone(in), i, m.container)
	return true
}

// executed looks at a process that called exec, and reports whether something changed.
func (s *scanner) executed(pid int) bool {
	ino, err := s.netnsOf(pid)
	if err != nil || ino == s.host {
		return false
	}
	m := member{ino, s.containerOf(pid)}
	s.members[pid] = m
	changed := s.addContainer(m)
	old, ok := s.processes[ino]
	if ok && old.pid != pid {
		return changed
	}
	now := s.look(pid)
	if now.name == "" {
		return changed // it has ended
	}
	s.processes[ino] = now
	return changed || now != old
}

// setOldest finds out which process of a namespace is the oldest. The one that was the oldest is so while it is there.
func (s *scanner) setOldest(ino uint64, pids []int) {
	if ino == s.host {
		s.processes[ino] = process{pid: pids[0]}
		return
	}
	old := s.processes[ino]
	if slices.Contains(pids, old.pid) {
		old.name = s.commOf(old.pid) // exec changes it
		s.processes[ino] = old
		return
	}
	oldest, first := pids[0], ^uint64(0)
	for _, pid := range pids {
		if start, ok := s.startOf(pid); ok && start < first {
			oldest, first = pid, start
		}
	}
	s.processes[ino] = s.look(oldest)
}

// look reads what concerns us of a process that is not in the host's namespace.
func (s *scanner) look(pid int) process {
	return process{pid: pid, name: s.commOf(pid), container: s.containerOf(pid)}
}

// containerOf returns the id of the container that a process is in, empty if it is in none or has ended.
func (s *scanner) containerOf(pid int) string {
	cgroup, _ := os.ReadFile(s.procPath(pid, "cgroup"))
	return containerOf(string(cgroup))
}

// pids are those of all processes that /proc shows, in ascending order.
func (s *scanner) pids() []int {
	dir, err := os.Open(s.root + "/proc")
	if err != nil {
		return nil
	}
	defer dir.Close()
	names, _ := dir.Readdirnames(-1) // what could be read
	var pids []int
	for _, name := range names {
		if pid, err := strconv.Atoi(name); err == nil {
			pids = append(pids, pid)
		}
	}
	slices.Sort(pids)
	return pids
}

func (s *scanner) procPath(pid int, file string) string {
	return s.root + "/proc/" + strconv.Itoa(pid) + "/" + file
}

// netnsOf returns the inode of a process's namespace. It reads the link, net:[4026531840], which is cheaper than to follow
// it.
func (s *scanner) netnsOf(pid int) (uint64, error) {
	var buf [64]byte
	n, err := unix.Readlink(s.procPath(pid, "ns/net"), buf[:])
	if err == unix.EACCES {
		// The kernel also says so of a process that ends between finding and reading the link (proc_ns_readlink in
		// fs/proc/namespaces.c). Then it is not found again.
		n, err = unix.Readlink(s.procPath(pid, "ns/net"), buf[:])
	}
	if err != nil {
		return 0, err
	}
	digits, ok := bytes.CutPrefix(bytes.TrimSuffix(buf[:n], []byte("]")), []byte("net:["))
	ino, err := strconv.ParseUint(string(digits), 10, 64)
	if !ok || err != nil {
		return 0, fmt.Errorf("link of the network namespace of process %d is %q", pid, buf[:n])
	}
	return ino, nil
}

// commOf returns the name of a process, empty if it has ended.
func (s *scanner) commOf(pid int) string {
	comm, _ := os.ReadFile(s.procPath(pid, "comm"))
	return strings.TrimSuffix(string(comm), "\n")
}

// startOf returns when a process started, in clock ticks since boot: field 22 of proc_pid_stat(5). The name, in parentheses,
// may hold anything.
func (s *scanner) startOf(pid int) (uint64, bool) {
	stat, err := os.ReadFile(s.procPath(pid, "stat"))
	if err != nil {
		return 0, false
	}
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	if len(fields) < 20 {
		return 0, false
	}
	start, err := strconv.ParseUint(string(fields[19]), 10, 64)
	return start, err == nil
}
