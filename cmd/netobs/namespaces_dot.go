package main

import (
	"fmt"
	"html"
	"io"
	"slices"
	"strings"

	"netobs/loader/wiring"
)

// printDOT writes the graph in Graphviz's language, to be laid out by its program dot: namespaces are boxes, veth pairs
// cables between them. The host's is in the middle, with its bridges in its middle; the others are on its left and right.
func printDOT(w io.Writer, h *wiring.Host) {
	g := graph{w, h, sides(h)}
	fmt.Fprint(w, `graph netobs {
  rankdir=LR; compound=true; newrank=true; ranksep=0.9; nodesep=0.16; bgcolor=white; fontname="Helvetica,Arial,sans-serif"
  node [shape=plain; fontname="Helvetica,Arial,sans-serif"; fontsize=11]
  edge [color="#4a6fa5"; penwidth=2]
`)
	for _, ns := range h.Namespaces {
		g.namespace(ns)
	}
	for _, ns := range h.Namespaces {
		for _, i := range ns.Interfaces {
			g.cable(ns, i)
		}
	}
	fmt.Fprintln(w, "}")
}

type graph struct {
	w    io.Writer
	host *wiring.Host
	side map[uint64]int // by inode, see sides
}

// sides says how far from the host each namespace is, in cables: to the right if positive, to the left if negative. The host
// is at 0. Neighbours of the host take turns; what is behind one is on its side.
func sides(h *wiring.Host) map[uint64]int {
	neighbours := make(map[uint64][]uint64)
	side := make(map[uint64]int)
	var queue []uint64
	for _, ns := range h.Namespaces {
		for _, i := range ns.Interfaces {
			if i.Peer != nil {
				neighbours[ns.Inode] = append(neighbours[ns.Inode], i.Peer.Inode)
			}
		}
		if ns.Host {
			side[ns.Inode] = 0
			queue = append(queue, ns.Inode)
		}
	}
	turn := -1
	place := func(at uint64, by int) {
		if _, placed := side[at]; placed {
			return
		}
		if by == 0 {
			by, turn = turn, -turn
		} else if by > 0 {
			by++
		} else {
			by--
		}
		side[at] = by
		queue = append(queue, at)
	}
	visit := func() {
		for len(queue) > 0 {
			at := queue[0]
			queue = queue[1:]
			for _, n := range neighbours[at] {
				place(n, side[at])
			}
		}
	}
	visit()
	for _, ns := range h.Namespaces { // those without a way to the host
		place(ns.Inode, 0)
		visit()
	}
	return side
}

func (g *graph) namespace(ns *wiring.Namespace) {
	fill, pen := "#f4f7fb", "#9bb0cc"
	if ns.Host {
		fill, pen = "#fbf7ef", "#cbb98f"
	}
	fmt.Fprintf(g.w, "  subgraph cluster_%d {\n", ns.Inode)
	fmt.Fprintf(g.w, "    style=\"rounded,filled\"; fillcolor=%q; color=%q; margin=14; labeljust=l\n", fill, pen)
	fmt.Fprintf(g.w, "    label=<<b>%s</b>", html.EscapeString(ns.Name))
	if about := describe(ns); about != "" {
		fmt.Fprintf(g.w, "<br align=\"left\"/><font point-size=\"9\" color=\"#666666\">%s</font>", html.EscapeString(about))
	}
	fmt.Fprint(g.w, "<br align=\"left\"/>>\n")
	if len(ns.Interfaces) == 0 {
		text := "no interfaces"
		if ns.Error != "" {
			text = "not known: " + ns.Error
		}
		fmt.Fprintf(g.w, "    \"%d\" [label=%q; fontcolor=\"#666666\"]\n", ns.Inode, text)
	}
	var middle []string
	for _, i := range ns.Interfaces {
		fmt.Fprintf(g.w, "    %s [label=<%s>]\n", node(ns.Inode, i.Index), card(i))
		if i.Master == "" && (i.Peer == nil || !ns.Host) {
			middle = append(middle, node(ns.Inode, i.Index))
		}
	}
	if len(middle) > 1 {
		fmt.Fprintf(g.w, "    {rank=same; %s}\n", strings.Join(middle, "; "))
	}
	fmt.Fprintln(g.w, "  }")
}

func node(inode uint64, index int) string { return fmt.Sprintf("\"%d/%d\"", inode, index) }

// card is an interface: name, kind and state; its addresses; the programs attached.
func card(i *wiring.Interface) string {
	border, fill := "#8a8a8a", "white"
	switch {
	case i.Kind == "bridge":
		border, fill = "#4a6fa5", "#dde7f5"
	case i.State != "up":
		border, fill = "#c0c0c0", "#f2f2f2"
	}
	state := ""
	if i.State != "up" {
		state = " · " + i.State
	}
	var b strings.Builder
	fmt.Fprintf(&b, `<table border="1" cellborder="0" cellspacing="1" cellpadding="3" style="rounded" color="%s" bgcolor="%s">`, border, fill)
	row := func(format string, args ...any) {
		for k := range args {
			args[k] = html.EscapeString(fmt.Sprint(args[k]))
		}
		fmt.Fprintf(&b, `<tr><td align="left">`+format+`&#160;</td></tr>`, args...)
	}
	row(`<b>%s</b> <font point-size="9" color="#666666"> %s%s</font>`, i.Name, i.Kind, state)
	for _, a := range i.Addresses {
		if !a.Addr().IsLinkLocalUnicast() && !a.Addr().IsLoopback() {
			row(`<font point-size="10">%s</font>`, a)
		}
	}
	for _, a := range attachments(i) {
		row(`<font point-size="9" color="#a04000">● %s</font>`, joined(" · ", a.where, a.holders))
	}
	b.WriteString(`</table>`)
	return b.String()
}

// cable draws what an interface is connected to: each veth pair once, and a port to its bridge. Edges go from left to right.
func (g *graph) cable(ns *wiring.Namespace, i *wiring.Interface) {
	here := node(ns.Inode, i.Index)
	if p := i.Peer; p != nil && (ns.Inode < p.Inode || ns.Inode == p.Inode && i.Index < p.Index) {
		there := node(p.Inode, p.Index)
		if g.side[ns.Inode] > g.side[p.Inode] {
			here, there = there, here
		}
		fmt.Fprintf(g.w, "  %s:e -- %s:w\n", here, there)
	}
	here = node(ns.Inode, i.Index)
	if m := find(ns, i.Master); m != nil {
		from, to := node(ns.Inode, m.Index), here
		if i.Peer != nil && g.side[i.Peer.Inode] < g.side[ns.Inode] || i.Peer == nil && g.side[ns.Inode] > 0 {
			from, to = to, from
		}
		fmt.Fprintf(g.w, "  %s:e -- %s:w [color=\"#8a8a8a\"; penwidth=1]\n", from, to)
	}
	if parent := find(ns, i.Parent); parent != nil {
		fmt.Fprintf(g.w, "  %s -- %s [color=\"#8a8a8a\"; style=dashed; penwidth=1]\n", node(ns.Inode, parent.Index), here)
	}
}

// find returns the interface of a name, nil if there is none.
func find(ns *wiring.Namespace, name string) *wiring.Interface {
	k := slices.IndexFunc(ns.Interfaces, func(i *wiring.Interface) bool { return name != "" && i.Name == name })
	if k < 0 {
		return nil
	}
	return ns.Interfaces[k]
}
