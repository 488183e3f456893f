package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"netobs/bpf"
	"netobs/decode"
	"netobs/loader"
)

// printWatching says what is watched, and what is not and could be.
func printWatching(w io.Writer, namespaces []loader.Netns, interfaces []loader.Interface, t *target) {
	for i := range namespaces {
		if namespaces[i].IsAssumedHost() {
			fmt.Fprintln(w, "host is the namespace that netobs runs in: process 1 may not be looked at (CAP_SYS_PTRACE)")
		}
	}
	if t.dynamic.All {
		printAll(w, interfaces, t)
		return
	}
	for len(interfaces) > 0 {
		netns := interfaces[0].Netns
		n := slices.IndexFunc(interfaces, func(i loader.Interface) bool { return i.Netns != netns })
		if n < 0 {
			n = len(interfaces)
		}
		printNetns(w, netns, interfaces[:n], t)
		printLoDown(w, netns, namespaces, interfaces[:n])
		interfaces = interfaces[n:]
	}
}

// printAll says how many there are, which may be many, and of the host's own interfaces what is not watched.
func printAll(w io.Writer, interfaces []loader.Interface, t *target) {
	namespaces := make(map[string]bool)
	watched := 0
	var idle []string
	for _, i := range interfaces {
		if i.Watched {
			namespaces[i.Netns] = true
			watched++
		}
		if i.Up && !i.Selected && i.Netns == loader.HostName {
			idle = append(idle, fmt.Sprintf("%s (%s)", i.Name, i.Kind))
		}
	}
	fmt.Fprintf(w, "watching %d interfaces in %d network namespaces, and those to come; \"netobs namespaces\" shows them\n", watched,
		len(namespaces))
	if len(idle) > 0 && len(t.interfaces) == 0 {
		fmt.Fprintf(w, "not watched in host: %s; with --kind any they would be\n", strings.Join(idle, ", "))
	}
}

func printNetns(w io.Writer, netns string, interfaces []loader.Interface, t *target) {
	var watched, idle, failed, all []string
	for _, i := range interfaces {
		state := "down"
		if i.Up {
			state = "up"
		}
		all = append(all, fmt.Sprintf("%s (%s, %s)", i.Name, i.Kind, state))
		switch {
		case i.Watched:
			watched = append(watched, i.Name)
		case i.Up && !i.Selected:
			idle = append(idle, fmt.Sprintf("%s (%s)", i.Name, i.Kind))
		case i.Selected:
			failed = append(failed, i.Name)
		}
	}
	if len(failed) > 0 {
		fmt.Fprintf(w, "could not be watched in %s: %s; the log says why\n", netns, strings.Join(failed, ", "))
	}
	if len(watched) == 0 && len(failed) > 0 {
		return
	}
	if len(watched) == 0 {
		fmt.Fprintf(w, "no interface in %s is watched; there are %s: choose by --kind or --interface; waiting for one\n",
			netns, strings.Join(all, ", "))
		return
	}
	fmt.Fprintf(w, "watching %s: %s\n", netns, strings.Join(watched, ", "))
	if len(idle) > 0 && len(t.interfaces) == 0 {
		fmt.Fprintf(w, "not watched in %s: %s; with --kind any they would be\n", netns, strings.Join(idle, ", "))
	}
}

// printLoDown says how to make lo of a namespace work, if it is watched and does not. The way in of a container is not known.
func printLoDown(w io.Writer, netns string, namespaces []loader.Netns, interfaces []loader.Interface) {
	if !slices.ContainsFunc(interfaces, func(i loader.Interface) bool {
		return i.Watched && i.Kind == loader.KindLoopback && !i.Up
	}) {
		return
	}
	how := "ip link set lo up, in that namespace"
	for _, ns := range namespaces {
		switch {
		case ns.Name != netns:
		case ns.Path == "/run/netns/"+netns:
			how = fmt.Sprintf("ip -n %s link set lo up", netns)
		default:
			how = fmt.Sprintf("nsenter --net=%s ip link set lo up", ns.Path)
		}
	}
	fmt.Fprintf(w, "lo is down in %s; connections need: %s\n", netns, how)
}

// printSummary tells what was seen, after the end.
func printSummary(w io.Writer, p *pipeline, took time.Duration) error {
	stats, err := p.loader.Stats()
	if err != nil {
		return err
	}
	total, err := p.loader.Total()
	if err != nil {
		return err
	}
	by := total.ControlSegmentsTotal
	var handshakes, ended uint64
	var outcomes, teardowns []string
	for _, o := range decode.Outcomes() {
		if n := p.outcomes[o]; n > 0 {
			handshakes += n
			outcomes = append(outcomes, fmt.Sprintf("%d %s", n, o))
		}
	}
	for _, t := range decode.Teardowns() {
		if n := p.teardowns[t]; n > 0 {
			ended += n
			teardowns = append(teardowns, fmt.Sprintf("%d %s", n, t))
		}
	}
	var open int
	for _, n := range p.tracker.Tallies().Netns {
		for _, role := range n.Open {
			open += role[decode.StateEstablished] + role[decode.StateHalfClosed]
		}
	}
	fmt.Fprintf(w, "\nwatched for %s\n", short(took))
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(table, "  segments\t%d seen, %d of them control segments\n", total.Segments(), total.ControlSegmentsSeenTotal)
	fmt.Fprintf(table, "  events\t%d reported, %d duplicates at other points, %d lost\n", by[bpf.DispositionReported],
		by[bpf.DispositionDuplicate], stats.RecordsLost)
	fmt.Fprintf(table, "  handshakes\t%s\n", countOf(handshakes, outcomes))
	fmt.Fprintf(table, "  connections\t%s; %d still open\n", countOf(ended, teardowns)+" ended", open)
	return table.Flush()
}

func countOf(total uint64, parts []string) string {
	if len(parts) == 0 {
		return fmt.Sprint(total)
	}
	return fmt.Sprintf("%d (%s)", total, strings.Join(parts, ", "))
}
