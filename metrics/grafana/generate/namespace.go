package main

//lint:file-ignore SA1019 The classic model: all releases of Grafana import it. dashboardv2 needs the newest ones.

import (
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
	"github.com/grafana/grafana-foundation-sdk/go/units"
)

const aboutRoles = " local: both ends are in this namespace. originator: it opens the connection. responder: it is asked. " +
	"forwarded: it routes or bridges it."

func namespace() *dashboard.DashboardBuilder {
	counted := func(metric string, labels ...string) string { return rate(selector(metric, labels...)) }
	return newDashboard(uidNamespace, "netobs / Namespace",
		"TCP connections of one network namespace, by role, and what its interfaces carry.").
		WithVariable(value("netns", "Namespace", `label_values(netobs_observation_points{job=~"$job", instance=~"$instance"}, netns)`)).
		WithRow(dashboard.NewRowBuilder("Roles")).
		WithPanel(panel{
			title: "Handshakes by role and outcome", unit: units.CountsPerSecond, width: 12,
			about:   "Attempts to open a connection, each second, by how they ended." + aboutRoles,
			queries: []query{{expr: sum(counted("handshakes_total"), "role", "outcome") + " > 0", legend: "{{role}}: {{outcome}}"}},
		}.graph()).
		WithPanel(panel{
			title: "Success ratio by role", unit: units.PercentUnit, width: 12,
			about: "The share of handshakes that completed, of those whose outcome is known." + aboutRoles,
			queries: []query{{expr: share(sum(counted("handshakes_total", completed), "role"), sum(counted("handshakes_total", known), "role")),
				legend: "{{role}}"}},
			below:      red,
			thresholds: ratios,
			empty:      quiet,
		}.graph()).
		WithPanel(panel{
			title: "Handshake duration by role", unit: units.Seconds, width: 12,
			about: "Half of the handshakes took at most p50, 99 % at most p99, from the first SYN to the completing ACK." + aboutRoles,
			queries: []query{
				{expr: quantile("0.5", "handshake_duration_seconds", []string{`leg="total"`}, "role"), legend: "{{role}} p50"},
				{expr: quantile("0.99", "handshake_duration_seconds", []string{`leg="total"`}, "role"), legend: "{{role}} p99", exemplars: true},
			},
			thresholds: slow,
			empty:      quiet,
		}.graph()).
		WithPanel(panel{
			title: "Handshake p99 by leg", unit: units.Seconds, width: 12,
			about: "Who is slow? The responder's leg is from SYN to SYN-ACK, the originator's from SYN-ACK to ACK, as seen at this " +
				"namespace's interfaces." + aboutRoles,
			queries: []query{{expr: quantile("0.99", "handshake_duration_seconds", []string{`leg!="total"`}, "role", "leg"),
				legend: "{{role}}: {{leg}} leg"}},
			thresholds: slow,
			empty:      quiet,
		}.graph()).
		WithPanel(panel{
			title: "Connections by role and state", unit: units.Short, width: 12,
			about:   "Connections open now. half_closed: one side has sent FIN." + aboutRoles,
			queries: []query{{expr: sum(selector("connections", `state=~"established|half_closed"`), "role", "state"), legend: "{{role}}: {{state}}"}},
			stacked: true,
		}.graph()).
		WithPanel(panel{
			title: "Teardowns by role, kind and closer", unit: units.CountsPerSecond, width: 12,
			about: "Connections that ended, each second. fin: both sides closed. fin_rst: closing was cut short by RST. rst: " +
				"broken off. The closer sent the first FIN or RST." + aboutRoles,
			queries: []query{{expr: sum(counted("teardowns_total"), "role", "teardown", "closer"),
				legend: "{{role}}: {{teardown}} by {{closer}}"}},
		}.graph()).
		WithRow(dashboard.NewRowBuilder("Half-open connections and queues")).
		WithPanel(panel{
			title: "Half-open", unit: units.CountsPerSecond, width: 8,
			about: "Handshakes given up, each second, because the SYN-ACK was never acknowledged: a SYN flood, or the way back is " +
				"broken." + aboutRoles,
			queries:    []query{{expr: sum(counted("handshakes_total", `outcome="half_open"`), "role"), legend: "{{role}}"}},
			thresholds: []threshold{{1, red}},
		}.graph()).
		WithPanel(panel{
			title: "Handshakes under way", unit: units.Short, width: 8,
			about:   "Attempts that have begun and have no outcome yet. Where it grows, answers or acknowledgments stay away." + aboutRoles,
			queries: []query{{expr: sum(selector("connections", `state="handshake"`), "role"), legend: "{{role}}"}},
		}.graph()).
		WithPanel(panel{
			title: "Accept queue", unit: units.CountsPerSecond, width: 8,
			about: "SYNs and ACKs that the kernel dropped because a listening program does not accept fast enough (overflows), and all " +
				"that it dropped at listening sockets (drops): the kernel's own counters.",
			queries: []query{
				{expr: sum(counted("listen_overflows_total")), legend: "overflows"},
				{expr: sum(counted("listen_drops_total")), legend: "drops"},
			},
			thresholds: []threshold{{1e-9, orange}},
		}.graph()).
		WithPanel(panel{
			title: "Handshake retransmissions by role", unit: units.CountsPerSecond, width: 12,
			about: "Segments of handshakes that were sent again, each second. syn: no answer came in time. syn_ack: no " +
				"acknowledgment came. syn_ack_after_ack: it had come, but was lost on the way or ignored." + aboutRoles,
			queries: []query{{expr: sum(counted("handshake_retransmissions_total"), "role", "segment"), legend: "{{role}}: {{segment}}"}},
		}.graph()).
		WithPanel(panel{
			title: "Connection duration by role", unit: units.Seconds, width: 12,
			about: "Half of the connections that ended lasted at most p50, 99 % at most p99, from the first SYN to the FIN or RST." + aboutRoles,
			queries: []query{
				{expr: quantile("0.5", "connection_duration_seconds", nil, "role"), legend: "{{role}} p50"},
				{expr: quantile("0.99", "connection_duration_seconds", nil, "role"), legend: "{{role}} p99"},
			},
			empty: "no connection ended",
		}.graph()).
		WithRow(dashboard.NewRowBuilder("Interfaces")).
		WithPanel(panel{
			title: "Segments by interface", unit: units.PacketsPerSecond, width: 8,
			about:   "TCP segments that pass each interface, each second, by direction as the interface sees it. On lo each counts once.",
			queries: []query{{expr: sum(counted("segments_total"), "interface", "direction"), legend: "{{interface}} {{direction}}"}},
		}.graph()).
		WithPanel(panel{
			title: "Data by interface", unit: units.BytesPerSecondSI, width: 8,
			about:   "Bytes of TCP payload that pass each interface, each second, without headers.",
			queries: []query{{expr: sum(counted("segment_bytes_total"), "interface", "direction"), legend: "{{interface}} {{direction}}"}},
		}.graph()).
		WithPanel(panel{
			title: "Flags", unit: units.PacketsPerSecond, width: 8,
			about: "TCP segments with each control bit set, each second, at all interfaces, but for ACK, which nearly all have. A " +
				"segment that passes two interfaces counts twice.",
			queries: []query{{expr: sum(counted("flags_total", `flag!="ACK"`), "flag"), legend: "{{flag}}"}},
		}.graph()).
		WithPanel(panel{
			title: "Connections first seen late", unit: units.CountsPerSecond, width: 12,
			about: "Connections that netobs saw only after their handshake, each second: older than netobs, or events were lost." +
				aboutRoles,
			queries: []query{{expr: sum(counted("connections_unseen_total"), "role"), legend: "{{role}}"}},
		}.graph()).
		WithPanel(panel{
			title: "Late segments", unit: units.PacketsPerSecond, width: 12,
			about:   "Control segments of connections that had ended already, each second. A few are common, as an RST after both FINs.",
			queries: []query{{expr: sum(counted("late_segments_total")), legend: "late"}},
		}.graph())
}
