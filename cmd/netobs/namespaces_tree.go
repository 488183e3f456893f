package main

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"

	"netobs/loader/wiring"
)

// treeRow is a line of the tree. Without kind it is one of text, and not in columns.
type treeRow struct {
	name, kind, state, rest string
}

// printTree shows each namespace with its interfaces, ports below their bridge, and programs below their interface.
func printTree(w io.Writer, h *wiring.Host) {
	var rows []treeRow
	for n, ns := range h.Namespaces {
		if n > 0 {
			rows = append(rows, treeRow{})
		}
		rows = append(rows, treeRow{name: joined("  ", ns.Name, describe(ns))})
		if ns.Error != "" {
			rows = append(rows, treeRow{name: "└─ not known: " + ns.Error})
		}
		rows = append(rows, treeOf(ns, "", "")...)
	}
	width := [3]int{}
	for _, r := range rows {
		if r.kind != "" {
			for i, column := range []string{r.name, r.kind, r.state} {
				width[i] = max(width[i], utf8.RuneCountInString(column))
			}
		}
	}
	for _, r := range rows {
		line := r.name
		if r.kind != "" {
			line = fmt.Sprintf("%-*s  %-*s  %-*s  %s", width[0], r.name, width[1], r.kind, width[2], r.state, r.rest)
		}
		fmt.Fprintln(w, strings.TrimRight(line, " "))
	}
	for _, reason := range slices.Sorted(maps.Keys(h.Skipped)) {
		switch reason {
		case "hidden":
			fmt.Fprintln(w, "\nProcesses of others are hidden (/proc is mounted with hidepid): namespaces without a name may be missing.")
		default:
			fmt.Fprintf(w, "\nProcesses that could not be looked at (%s): %d. Namespaces without a name may be missing; it takes CAP_SYS_PTRACE.\n",
				reason, h.Skipped[reason])
		}
	}
}

// treeOf shows the interfaces of which master is the master, or all that have none.
func treeOf(ns *wiring.Namespace, master, indent string) []treeRow {
	var level []*wiring.Interface
	for _, i := range ns.Interfaces {
		if i.Master == master {
			level = append(level, i)
		}
	}
	var rows []treeRow
	for n, i := range level {
		branch, below := "├─ ", "│  "
		if n == len(level)-1 {
			branch, below = "└─ ", "   "
		}
		rows = append(rows, treeRow{indent + branch + i.Name, i.Kind, i.State, joined("  ", addresses(i), farEnd(i))})
		ports := treeOf(ns, i.Name, indent+below)
		rail := "   "
		if len(ports) > 0 {
			rail = "│  "
		}
		for _, p := range attachments(i) {
			rows = append(rows, treeRow{name: indent + below + rail + "● " + p.String()})
		}
		rows = append(rows, ports...)
	}
	return rows
}

// joined joins what is not empty.
func joined(separator string, parts ...string) string {
	return strings.Join(slices.DeleteFunc(parts, func(s string) bool { return s == "" }), separator)
}

// describe tells where a namespace comes from.
func describe(ns *wiring.Namespace) string {
	var parts []string
	if ns.Container != nil {
		parts = append(parts, "container "+ns.Container.ID[:min(12, len(ns.Container.ID))])
	}
	for _, c := range ns.Guests {
		parts = append(parts, "with "+c.Short())
	}
	for _, path := range ns.Paths {
		if !ns.Host && ns.Container == nil {
			parts = append(parts, path)
		}
	}
	if ns.Pid != 0 {
		parts = append(parts, fmt.Sprintf("process %s (%d)", ns.Process, ns.Pid))
	}
	return strings.Join(parts, ", ")
}

// addresses leaves out link-local ones, which every interface has.
func addresses(i *wiring.Interface) string {
	var all []string
	for _, a := range i.Addresses {
		if !a.Addr().IsLinkLocalUnicast() {
			all = append(all, a.String())
		}
	}
	return strings.Join(all, " ")
}

// farEnd tells what is at the other end.
func farEnd(i *wiring.Interface) string {
	switch {
	case i.Peer != nil:
		return "↔ " + i.Peer.String()
	case i.Kind == "veth":
		return "↔ not found"
	case i.Parent != "":
		return "on " + i.Parent
	}
	return ""
}

// attachment is what somebody attached to an interface: mostly two programs, one for each direction.
type attachment struct {
	where    string // hooks and directions
	programs string // names and ids
	holders  string // empty if nobody has them open
}

// attachments puts together what belongs to the same.
func attachments(i *wiring.Interface) []attachment {
	var all []attachment
	last := &wiring.Program{}
	for k := range i.Programs {
		p := &i.Programs[k]
		name := p.Name
		if name == "" {
			name = "unnamed"
		}
		if len(all) > 0 && p.Hook == last.Hook && p.Name == last.Name && slices.Equal(p.Holders, last.Holders) {
			a := &all[len(all)-1]
			a.where += ", " + p.Direction
			a.programs += fmt.Sprintf(", %d", p.ID)
		} else {
			all = append(all, attachment{p.Hook + " " + p.Direction, fmt.Sprintf("%s, id %d", name, p.ID), holders(p)})
		}
		last = p
	}
	return all
}

func (a attachment) String() string {
	line := fmt.Sprintf("%s: program %s", a.where, a.programs)
	if a.holders != "" {
		line += ", held by " + a.holders
	}
	return line
}

func holders(p *wiring.Program) string {
	var all []string
	for _, h := range p.Holders {
		all = append(all, fmt.Sprintf("%s (%d)", h.Process, h.Pid))
	}
	return strings.Join(all, ", ")
}
