package main

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"netobs/bpf"
	"netobs/decode"
	"netobs/loader"
)

// printWatching says what is watched, and what is not and could be.
func printWatching(w io.Writer, interfaces []loader.Interface, o attachOptions) {
	type lists struct{ watched, idle, all []string }
	byNetns := make(map[string]*lists)
	var names []string
	for _, i := range interfaces {
		l := byNetns[i.Netns]
		if l == nil {
			l = new(lists)
			byNetns[i.Netns] = l
			names = append(names, i.Netns)
		}
		state := "down"
		if i.Up {
			state = "up"
		}
		l.all = append(l.all, fmt.Sprintf("%s (%s, %s)", i.Name, i.Kind, state))
		switch {
		case i.Watched:
			l.watched = append(l.watched, i.Name)
		case i.Up:
			l.idle = append(l.idle, fmt.Sprintf("%s (%s)", i.Name, i.Kind))
		}
	}
	for _, netns := range names {
		l := byNetns[netns]
		if len(l.watched) == 0 {
			fmt.Fprintf(w, "no interface in %s is of a kind or name to watch; there are %s: choose with --kind or "+
				"--interface; waiting for one\n", netns, strings.Join(l.all, ", "))
			continue
		}
		fmt.Fprintf(w, "watching %s: %s\n", netns, strings.Join(l.watched, ", "))
		if len(l.idle) > 0 && len(o.interfaces) == 0 {
			fmt.Fprintf(w, "not watched in %s: %s; with --kind any they would be\n", netns, strings.Join(l.idle, ", "))
		}
	}
}

// printSummary tells what was seen, after the end.
func printSummary(w io.Writer, p *pipeline, took time.Duration) error {
	stats, err := p.loader.Stats()
	if err != nil {
		return err
	}
	var seen, control uint64
	var by [len(bpf.Dispositions)]uint64
	for _, c := range stats.Points {
		seen += c.Segments()
		control += c.ControlSegmentsSeenTotal
		for i, n := range c.ControlSegmentsTotal {
			by[i] += n
		}
	}
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
	fmt.Fprintf(table, "  segments\t%d seen, %d of them control segments\n", seen, control)
	fmt.Fprintf(table, "  events\t%d reported, %d duplicates at other points, %d lost\n", by[0], by[1], stats.RecordsLost)
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
