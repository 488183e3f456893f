package main

//lint:file-ignore SA1019 The classic model: all releases of Grafana import it. dashboardv2 needs the newest ones.

import (
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
	"github.com/grafana/grafana-foundation-sdk/go/units"
)

const noStats = "the kernel keeps no BPF statistics: sysctl kernel.bpf_stats_enabled=1"

func itself() *dashboard.DashboardBuilder {
	disposed := func(labels ...string) string { return rate(selector("control_segments_total", labels...)) }
	return newDashboard(uidItself, "netobs / Itself",
		"Does netobs see everything, and what does it cost?").
		WithVariable(netns()).
		WithRow(dashboard.NewRowBuilder("Is it there?")).
		WithPanel(panel{
			title: "Running", unit: units.Short, width: 4,
			about:      "How many netobs answer Prometheus.",
			queries:    []query{{expr: "sum(" + own("up") + ")", legend: "up"}},
			below:      red,
			thresholds: []threshold{{1, green}},
			empty:      "none",
		}.stat()).
		WithPanel(panel{
			title: "Not answering", unit: units.Short, width: 4,
			about:      "How many netobs Prometheus knows of that do not answer.",
			queries:    []query{{expr: "count(" + own("up") + ") - sum(" + own("up") + ")", legend: "down"}},
			thresholds: []threshold{{1, red}},
		}.stat()).
		WithPanel(panel{
			title: "Namespaces watched", unit: units.Short, width: 4,
			about:   "How many network namespaces are watched.",
			queries: []query{{expr: "count(" + sum(selector("observation_points"), "instance", "netns") + " > 0)", legend: "namespaces"}},
		}.stat()).
		WithPanel(panel{
			title: "Versions", unit: units.Short, width: 12,
			about:   "What runs where.",
			queries: []query{{expr: own("netobs_build_info"), instant: true}},
		}.table(
			column{field: "instance", head: "Host"},
			column{field: "version", head: "netobs"},
			column{field: "go", head: "Go"},
			column{field: "kernel", head: "Linux"},
		)).
		WithPanel(panel{
			title: "Observation points by hook", unit: units.Short, width: 12,
			about:   "How many points (one direction of one interface) are watched, by the kernel hook that is used.",
			queries: []query{{expr: sum(selector("observation_points"), "hook"), legend: "{{hook}}"}},
			stacked: true,
		}.graph()).
		WithPanel(panel{
			title: "Attach errors", unit: units.Short, width: 12,
			about: "Failed attempts to watch an interface since netobs runs, by namespace and reason. Connections seen only there " +
				"are missing.",
			queries:    []query{{expr: sum(selector("attach_errors_total"), "netns", "reason") + " > 0", legend: "{{netns}}: {{reason}}"}},
			thresholds: []threshold{{1, red}},
		}.graph()).
		WithRow(dashboard.NewRowBuilder("Does it see everything?")).
		WithPanel(panel{
			title: "Events lost by cause", unit: units.CountsPerSecond, width: 12,
			about: "Control segments that did not reach netobs, each second. ring_full: netobs got too little CPU, or --ring-bytes is " +
				"too small. rate_limited: more SYNs than --syn-rate, as in a SYN flood.",
			queries:    []query{{expr: sum(disposed(lost), "disposition"), legend: "{{disposition}}"}},
			thresholds: []threshold{{1e-9, red}},
		}.graph()).
		WithPanel(panel{
			title: "Duplicates", unit: units.PercentUnit, width: 12,
			about: "The share of control segments that were left out because another interface of the namespace had reported them: " +
				"half, where everything crosses two interfaces.",
			queries: []query{{expr: share(sum(disposed(`disposition="duplicate"`)), sum(rate(selector("control_segments_seen_total")))),
				legend: "duplicates"}},
			empty: "no control segments",
		}.graph()).
		WithPanel(panel{
			title: "Balance", unit: units.Short, width: 12,
			about: "Control segments that are seen but not decided about, and reported but not read. With traffic at rest both are " +
				"0; under traffic they are what is on its way. If they grow for ever, netobs miscounts: that is a bug.",
			queries: []query{
				{expr: "sum by (instance) (" + selector("control_segments_seen_total") + ") - sum by (instance) (" +
					selector("control_segments_total") + ")", legend: "undecided on {{instance}}"},
				{expr: `sum by (instance) (netobs_control_segments_total{job=~"$job", instance=~"$instance", disposition="reported"}) - ` +
					"sum by (instance) (" + own("netobs_records_read_total") + ")", legend: "unread on {{instance}}"},
			},
		}.graph()).
		WithPanel(panel{
			title: "Packets not decoded", unit: units.PacketsPerSecond, width: 12,
			about: "Packets that are TCP, or may be, but were not counted as segments, each second, by reason. not_for_us: what a " +
				"bridge flooded to everybody.",
			queries: []query{{expr: sum(rate(selector("unparsed_packets_total")), "reason") + " > 0", legend: "{{reason}}"}},
			empty:   "all decoded",
		}.graph()).
		WithPanel(panel{
			title: "Connection table", unit: units.Short, width: 12,
			about: "Connections that netobs remembers, and how many it can. At the limit it gives up some, and their outcomes are unknown.",
			queries: []query{
				{expr: sum(own("netobs_tracker_connections"), "instance"), legend: "remembered on {{instance}}"},
				{expr: sum(own("netobs_tracker_capacity"), "instance"), legend: "capacity on {{instance}}"},
			},
		}.graph()).
		WithPanel(panel{
			title: "Evictions", unit: units.CountsPerSecond, width: 12,
			about:      "Connections given up each second because the table was full.",
			queries:    []query{{expr: sum(rate(own("netobs_tracker_evictions_total")), "instance"), legend: "{{instance}}"}},
			thresholds: []threshold{{1e-9, red}},
		}.graph()).
		WithRow(dashboard.NewRowBuilder("What does it cost?")).
		WithPanel(panel{
			title: "BPF time per run", unit: units.Seconds, width: 8,
			about: "How long a BPF program runs for a segment, on average. The kernel counts this only if told to " +
				"(kernel.bpf_stats_enabled), which itself costs some 20 ns a run.",
			queries: []query{{expr: share(sum(rate(own("netobs_bpf_run_seconds_total")), "hook"), sum(rate(own("netobs_bpf_runs_total")), "hook")),
				legend: "{{hook}}"}},
			empty: noStats,
		}.graph()).
		WithPanel(panel{
			title: "CPU in BPF", unit: units.Short, width: 8,
			about:   "CPUs that the BPF programs take: 0.01 is 1 % of one.",
			queries: []query{{expr: sum(rate(own("netobs_bpf_run_seconds_total")), "instance", "hook"), legend: "{{hook}} on {{instance}}"}},
			empty:   noStats,
		}.graph()).
		WithPanel(panel{
			title: "CPU of the process", unit: units.Short, width: 8,
			about:   "CPUs that netobs itself takes, to decode and to answer Prometheus: 0.01 is 1 % of one.",
			queries: []query{{expr: sum(rate(own("process_cpu_seconds_total")), "instance"), legend: "{{instance}}"}},
		}.graph()).
		WithPanel(panel{
			title: "Memory", unit: units.BytesIEC, width: 12,
			about: "Resident memory of netobs. Its size is bounded by --ring-bytes, the connection table and the limit of " +
				"namespaces.",
			queries: []query{{expr: sum(own("process_resident_memory_bytes"), "instance"), legend: "{{instance}}"}},
		}.graph()).
		WithPanel(panel{
			title: "Scrapes", unit: units.Seconds, width: 6,
			about:      "How long Prometheus waits for the metrics.",
			queries:    []query{{expr: "max by (instance) (" + own("scrape_duration_seconds") + ")", legend: "{{instance}}"}},
			thresholds: []threshold{{1, red}},
		}.graph()).
		WithPanel(panel{
			title: "Series", unit: units.Short, width: 6,
			about:   "Samples in a scrape: what netobs costs Prometheus. A quiet namespace has at most 60, a busy one about 250.",
			queries: []query{{expr: "max by (instance) (" + own("scrape_samples_scraped") + ")", legend: "{{instance}}"}},
		}.graph())
}
