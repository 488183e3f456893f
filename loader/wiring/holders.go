package wiring

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"netobs/loader/inventory"
)

// findHolders finds the processes that hold the programs, by a file descriptor of theirs or of their links. It looks at all
// file descriptors of all processes, if there is a program at all.
func (h *Host) findHolders() {
	programs := make(map[uint32][]*Program)
	for _, ns := range h.Namespaces {
		for _, i := range ns.Interfaces {
			for k := range i.Programs {
				p := &i.Programs[k]
				programs[p.ID] = append(programs[p.ID], p)
			}
		}
	}
	if len(programs) == 0 {
		return
	}
	dirs, _ := filepath.Glob("/proc/[0-9]*/fd") // the pattern is good
	for _, dir := range dirs {
		holder := Holder{}
		for _, id := range heldBy(filepath.Dir(dir)) {
			if holder.Pid == 0 && programs[id] != nil {
				holder.Pid, _ = strconv.Atoi(filepath.Base(filepath.Dir(dir)))
				comm, _ := os.ReadFile(filepath.Join(filepath.Dir(dir), "comm"))
				holder.Process = inventory.Printable(strings.TrimSuffix(string(comm), "\n"))
			}
			for _, p := range programs[id] {
				p.Holders = append(p.Holders, holder)
			}
		}
	}
}

// heldBy returns the ids of the programs that a process, given by its directory, has open. None if it may not be looked at.
func heldBy(process string) []uint32 {
	entries, _ := os.ReadDir(filepath.Join(process, "fd"))
	var ids []uint32
	for _, e := range entries {
		target, err := os.Readlink(filepath.Join(process, "fd", e.Name()))
		if err != nil || target != "anon_inode:bpf-prog" && target != "anon_inode:bpf_link" {
			continue
		}
		info, _ := os.ReadFile(filepath.Join(process, "fdinfo", e.Name()))
		for line := range bytes.Lines(info) {
			if digits, ok := bytes.CutPrefix(line, []byte("prog_id:")); ok {
				if id, err := strconv.ParseUint(string(bytes.TrimSpace(digits)), 10, 32); err == nil {
					ids = append(ids, uint32(id))
				}
			}
		}
	}
	slices.Sort(ids)
	return slices.Compact(ids)
}
