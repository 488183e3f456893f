package main

//lint:file-ignore SA1019 The classic model: all releases of Grafana import it. dashboardv2 needs the newest ones.

import (
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
	"github.com/grafana/grafana-foundation-sdk/go/units"
)

// Shared sentences.
const (
	aboutView = " Whose view counts is chosen above: a connection counts once, not once for each namespace it crosses."
	quiet     = "no handshakes"
)

// ratios are thresholds of a share that should be near 1.
var ratios = []threshold{{0.95, orange}, {0.99, green}}

// slow are thresholds of a handshake: beyond 1 s, a SYN or SYN-ACK was sent again.
var slow = []threshold{{0.25, orange}, {1, red}}

func overview() *dashboard.DashboardBuilder {
	hs := func(outcome string) string { return rate(selector("handshakes_total", inView, outcome)) }
	namespaceURL := "/d/" + uidNamespace + "?${datasource:queryparam}&${job:queryparam}&${__url_time_range}" +
		"&var-instance=${__data.fields.Host}&var-netns=${__value.raw}"
	failures := func(outcome string) string {
		return sum("increase("+selector("handshakes_total", inView, outcome)+"[$__range])", "instance", "netns")
	}
	return newDashboard(uidOverview, "netobs / Overview",
		"TCP connections of all network namespaces: can they be made, how fast, how do they end, and why do they fail.").
		WithVariable(netns()).
		WithVariable(view()).
		WithRow(dashboard.NewRowBuilder("Now")).
		WithPanel(panel{
			title: "Connections", unit: units.CountsPerSecond, width: 4,
			about:   "Handshakes completed each second." + aboutView,
			queries: []query{{expr: sum(hs(completed)), legend: "completed"}},
		}.stat()).
		WithPanel(panel{
			title: "Success ratio now", unit: units.PercentUnit, width: 4,
			about:      "The share of handshakes that completed, of those whose outcome is known." + aboutView,
			queries:    []query{{expr: share(sum(hs(completed)), sum(hs(known))), legend: "completed"}},
			below:      red,
			thresholds: ratios,
			empty:      quiet,
		}.stat()).
		WithPanel(panel{
			title: "Failures", unit: units.CountsPerSecond, width: 4,
			about:      "Handshakes that did not complete, each second, for whatever reason." + aboutView,
			queries:    []query{{expr: sum(hs(failed)), legend: "failed"}},
			thresholds: []threshold{{0.1, orange}, {10, red}},
		}.stat()).
		WithPanel(panel{
			title: "Handshake p99 now", unit: units.Seconds, width: 4,
			about: "99 % of handshakes took at most so long, from the first SYN to the completing ACK. Beyond 1 s, a SYN or " +
				"SYN-ACK had to be sent again." + aboutView,
			queries:    []query{{expr: quantile("0.99", "handshake_duration_seconds", []string{inView, `leg="total"`}), legend: "p99"}},
			thresholds: slow,
			empty:      quiet,
		}.stat()).
		WithPanel(panel{
			title: "Open connections", unit: units.Short, width: 4,
			about:   "Connections that are established or half-closed now." + aboutView,
			queries: []query{{expr: sum(selector("connections", inView, `state=~"established|half_closed"`)), legend: "open"}},
		}.stat()).
		WithPanel(panel{
			title: "Events lost", unit: units.CountsPerSecond, width: 4,
			about: "Control segments that netobs lost, each second. Above 0, some outcomes become unknown: see the dashboard " +
				"netobs / Itself.",
			queries:    []query{{expr: sum(rate(selector("control_segments_total", lost))), legend: "lost"}},
			thresholds: []threshold{{1e-9, red}},
		}.stat()).
		WithRow(dashboard.NewRowBuilder("Can connections be made?")).
		WithPanel(panel{
			title: "Connections per second", unit: units.CountsPerSecond, width: 12,
			about: "Handshakes completed each second: all, and those of the ten busiest namespaces." + aboutView,
			queries: []query{
				{expr: sum(hs(completed)), legend: "all"},
				{expr: "topk(10, " + sum(hs(completed), "instance", "netns") + ")", legend: "{{netns}} on {{instance}}"},
			},
		}.graph()).
		WithPanel(panel{
			title: "Success ratio", unit: units.PercentUnit, width: 12,
			about:      "The share of handshakes that completed, of those whose outcome is known." + aboutView,
			queries:    []query{{expr: share(sum(hs(completed)), sum(hs(known))), legend: "completed"}},
			below:      red,
			thresholds: ratios,
			empty:      quiet,
		}.graph()).
		WithPanel(panel{
			title: "Failures by outcome", unit: units.CountsPerSecond, width: 12,
			about: "Handshakes that did not complete, each second. refused: answered by RST, nobody listens. unanswered: no " +
				"answer, a firewall drops or the host is not there. half_open: the SYN-ACK was never acknowledged, a SYN flood or " +
				"a broken way back. aborted, reset: RST by the one who asked, or by the one who had agreed." + aboutView,
			queries: []query{{expr: sum(hs(failed), "outcome"), legend: "{{outcome}}"}},
			stacked: true,
		}.graph()).
		WithPanel(panel{
			title: "Top failing namespaces", unit: units.Short, width: 12,
			about: "The ten namespaces with most failed handshakes in the time shown, and what share of theirs that was." +
				" A click leads to the namespace." + aboutView,
			queries: []query{
				{expr: "topk(10, " + failures(failed) + " > 0)", instant: true},
				{expr: "(" + failures(failed) + " > 0) / " + failures(known), instant: true},
			},
		}.table(
			column{field: "instance", head: "Host"},
			column{field: "netns", head: "Namespace", link: namespaceURL},
			column{field: "Value #B", head: "Share failed", unit: units.PercentUnit},
			column{field: "Value #A", head: "Failed", unit: units.Short},
		)).
		WithRow(dashboard.NewRowBuilder("How fast?")).
		WithPanel(panel{
			title: "Handshake duration", unit: units.Seconds, width: 12,
			about: "Half of the handshakes took at most p50, 99 % at most p99, from the first SYN to the completing ACK. Beyond " +
				"1 s, a SYN or SYN-ACK had to be sent again." + aboutView,
			queries: []query{
				{expr: quantile("0.5", "handshake_duration_seconds", []string{inView, `leg="total"`}), legend: "p50"},
				{expr: quantile("0.99", "handshake_duration_seconds", []string{inView, `leg="total"`}), legend: "p99", exemplars: true},
			},
			thresholds: slow,
			empty:      quiet,
		}.graph()).
		WithPanel(panel{
			title: "Handshake durations", unit: units.Seconds, width: 12,
			about:   "How many handshakes took how long, from the first SYN to the completing ACK." + aboutView,
			queries: []query{{expr: buckets("handshake_duration_seconds", inView, `leg="total"`), legend: "{{le}}"}},
		}.heat()).
		WithPanel(panel{
			title: "Retransmissions", unit: units.CountsPerSecond, width: 12,
			about: "Segments of handshakes that were sent again, each second. syn: no answer came in time. syn_ack: no " +
				"acknowledgment came. syn_ack_after_ack: it had come, but was lost on the way or ignored, as by a full accept " +
				"queue." + aboutView,
			queries: []query{{expr: sum(rate(selector("handshake_retransmissions_total", inView)), "segment"), legend: "{{segment}}"}},
		}.graph()).
		WithPanel(panel{
			title: "Teardowns by kind and closer", unit: units.CountsPerSecond, width: 12,
			about: "Connections that ended, each second. fin: both sides closed. fin_rst: closing was cut short by RST. rst: " +
				"broken off. The closer sent the first FIN or RST." + aboutView,
			queries: []query{{expr: sum(rate(selector("teardowns_total", inView)), "teardown", "closer"),
				legend: "{{teardown}} by {{closer}}"}},
			stacked: true,
		}.graph())
}
