package metrics

// A family is a metric with all its series. The table of package documentation and of Table is made of these.
type family struct {
	name    string // without Prefix
	kind    string
	labels  []string
	unit    string
	level   Level // the first that has it
	meaning string
	help    string
	perUnit float64 // how many of what is counted make one of the unit. 0 means 1
}

// Kinds of families.
const (
	counter   = "counter"
	gauge     = "gauge"
	histogram = "histogram"
)

// perNetns ends the help of what is counted by role.
const perNetns = " A connection counts once in each namespace it crosses: for the whole host select " +
	`role=~"local|originator" (outgoing) or "local|responder" (incoming) instead of adding up all roles.`

// keptStatistics ends the help of what is not always there.
const keptStatistics = " It is there only where the kernel keeps statistics of BPF programs (sysctl kernel.bpf_stats_enabled=1)."

var (
	segmentsTotal = &family{
		name: "segments_total", kind: counter, labels: []string{"netns", "interface", "direction"},
		unit:    "segments",
		meaning: "TCP segments that passed the point",
		help: "TCP segments (a TCP header with its data) that passed an interface, by direction as the interface sees it. " +
			"On a loopback interface each is counted once, as egress.",
	}
	segmentBytesTotal = &family{
		name: "segment_bytes_total", kind: counter, labels: []string{"netns", "interface", "direction"},
		unit:    "bytes",
		meaning: "TCP payload they carried",
		help:    "Bytes of TCP payload that passed an interface, headers not counted.",
	}
	flagsTotal = &family{
		name: "flags_total", kind: counter, labels: []string{"netns", "interface", "direction", "flag"},
		unit:    "segments",
		meaning: "segments with this control bit set",
		help: "TCP segments that had this control bit set: SYN opens a connection, FIN closes one direction, RST breaks it off, " +
			"ACK acknowledges. A segment with two bits counts under both.",
	}
	handshakesTotal = &family{
		name: "handshakes_total", kind: counter, labels: []string{"netns", "role", "outcome"},
		unit: "handshakes", level: LevelMinimal,
		meaning: "attempts to open a connection whose outcome is known",
		help: "Attempts to open a TCP connection, by how they ended: completed (SYN, SYN-ACK, ACK), refused (answered by RST: " +
			"nobody listens), unreachable (ICMP said so), aborted (the originator gave up by RST), reset (the responder took " +
			"its SYN-ACK back by RST), unanswered (no answer to the SYN), half_open (SYN-ACK never acknowledged), unknown " +
			"(netobs lost events, ran out of memory or stopped watching)." + perNetns,
	}
	handshakeDuration = &family{
		name: "handshake_duration_seconds", kind: histogram, labels: []string{"netns", "role", "leg"},
		unit: "seconds", level: LevelMinimal,
		meaning: "how long completed handshakes took, from the first transmission; minimal: total only",
		help: "How long completed TCP handshakes took, from the first transmission, so that waiting for retransmissions is " +
			"included: responder (SYN to SYN-ACK), originator (SYN-ACK to ACK), total (SYN to ACK)." + perNetns,
	}
	retransmissionsTotal = &family{
		name: "handshake_retransmissions_total", kind: counter, labels: []string{"netns", "role", "segment"},
		unit: "segments", level: LevelMinimal,
		meaning: "handshake segments sent again",
		help: "Segments of TCP handshakes that were sent again: syn (no answer came in time), syn_ack (no acknowledgment came), " +
			"syn_ack_after_ack (sent again although it had been acknowledged: the acknowledgment was lost or ignored)." + perNetns,
	}
	unseenTotal = &family{
		name: "connections_unseen_total", kind: counter, labels: []string{"netns", "role"},
		unit:    "connections",
		meaning: "connections first seen after their handshake",
		help:    "TCP connections first seen after their handshake, because they are older than netobs or events were lost." + perNetns,
	}
	teardownsTotal = &family{
		name: "teardowns_total", kind: counter, labels: []string{"netns", "role", "teardown", "closer"},
		unit: "connections", level: LevelMinimal,
		meaning: "connections that ended",
		help: "TCP connections that ended, by how: fin (both sides closed), fin_rst (closing was cut short by RST), rst (broken " +
			"off by RST), evicted (forgotten, the table was full), detached (netobs stopped watching), expired (nothing seen " +
			"for too long, or its ports taken by a new connection); closer is who sent the first FIN or RST." + perNetns,
	}
	connectionDuration = &family{
		name: "connection_duration_seconds", kind: histogram, labels: []string{"netns", "role"},
		unit:    "seconds",
		meaning: "how long connections lasted, from first SYN to FIN or RST",
		help: "How long TCP connections lasted, from the first SYN to the FIN or RST that ended them. Connections whose " +
			"beginning or end was not seen are left out." + perNetns,
	}
	connections = &family{
		name: "connections", kind: gauge, labels: []string{"netns", "role", "state"},
		unit: "connections", level: LevelMinimal,
		meaning: "connections open now",
		help: "TCP connections open now: handshake (SYN seen, not yet completed), established, half_closed (a side has sent FIN)." +
			perNetns,
	}
	lateSegmentsTotal = &family{
		name: "late_segments_total", kind: counter, labels: []string{"netns"},
		unit:    "segments",
		meaning: "segments of connections that had already ended",
		help:    "Control segments of TCP connections that had already ended. A few are common, such as an RST after both FINs.",
	}
	listenOverflowsTotal = &family{
		name: "listen_overflows_total", kind: counter, labels: []string{"netns"},
		unit: "connections", level: LevelMinimal,
		meaning: "turned away by a full accept queue; the kernel's own count",
		help: "Connections that a listening socket lost because its accept queue was full, as the kernel counts them for the " +
			"whole namespace (ListenOverflows) since netobs watches it. The program that listens does not accept fast enough; " +
			"whoever connects sees no answer, or a slow one.",
	}
	listenDropsTotal = &family{
		name: "listen_drops_total", kind: counter, labels: []string{"netns"},
		unit: "segments", level: LevelMinimal,
		meaning: "dropped by listening sockets for any reason; the kernel's own count",
		help: "SYNs and connections that listening sockets dropped for any reason, full accept queues included, as the kernel " +
			"counts them for the whole namespace (ListenDrops) since netobs watches it.",
	}
	controlSegmentsTotal = &family{
		name: "control_segments_total", kind: counter, labels: []string{"netns", "interface", "disposition"},
		unit: "segments", level: LevelMinimal,
		meaning: "control segments by what became of them in the kernel",
		help: "Control segments (with SYN, FIN or RST, or the acknowledgment of one) by what the kernel side did with them: " +
			"reported to netobs, left out as a duplicate of one reported at another interface of the namespace, or lost " +
			"because the ring buffer was full (ring_full) or the rate limit was reached (rate_limited).",
	}
	controlSegmentsSeenTotal = &family{
		name: "control_segments_seen_total", kind: counter, labels: []string{"netns", "interface"},
		unit:    "segments",
		meaning: "control segments before any decision",
		help: "Control segments (with SYN, FIN or RST, or the acknowledgment of one) that passed an interface. With traffic at " +
			"rest it equals the sum of netobs_control_segments_total over all dispositions.",
	}
	unparsedPacketsTotal = &family{
		name: "unparsed_packets_total", kind: counter, labels: []string{"netns", "interface", "reason"},
		unit:    "packets",
		meaning: "packets that are TCP, or may be, but were not decoded",
		help:    "Packets that are TCP, or may be, but were not counted as segments, by reason.",
	}
	recordsReadTotal = &family{
		name: "records_read_total", kind: counter,
		unit:    "records",
		meaning: "control segments that arrived in the program",
		help: "Control segments that netobs read from the kernel's ring buffer. With traffic at rest it equals the sum of " +
			`netobs_control_segments_total{disposition="reported"}.`,
	}
	trackerEvictionsTotal = &family{
		name: "tracker_evictions_total", kind: counter,
		unit: "connections", level: LevelMinimal,
		meaning: "connections given up because the table was full",
		help:    "Connections and handshakes that netobs gave up because its table was full.",
	}
	trackerConnections = &family{
		name: "tracker_connections", kind: gauge,
		unit: "connections", level: LevelMinimal,
		meaning: "connections in the table now",
		help: "Connections and handshakes that netobs remembers now in all namespaces, those that ended in the last seconds " +
			"included.",
	}
	trackerCapacity = &family{
		name: "tracker_capacity", kind: gauge,
		unit: "connections", level: LevelMinimal,
		meaning: "connections the table can hold",
		help:    "Connections and handshakes that netobs can remember before it has to forget some.",
	}
	observationPoints = &family{
		name: "observation_points", kind: gauge, labels: []string{"netns", "hook"},
		unit: "points", level: LevelMinimal,
		meaning: "points being watched now",
		help:    "Observation points (one direction of one interface) being watched now, by the kernel hook they use.",
	}
	attachErrorsTotal = &family{
		name: "attach_errors_total", kind: counter, labels: []string{"netns", "reason"},
		unit: "errors", level: LevelMinimal,
		meaning: "failed attempts to watch an interface",
		help:    "Failed attempts to watch an interface, by reason. Connections seen only there are missing.",
	}
	bpfRunsTotal = &family{
		name: "bpf_runs_total", kind: counter, labels: []string{"hook"},
		unit:    "runs",
		meaning: "of the points' programs, tail calls not counted; while the kernel keeps statistics",
		help:    "How often the programs of netobs in the kernel ran, by hook; once for each packet at each point." + keptStatistics,
	}
	bpfRunSecondsTotal = &family{
		name: "bpf_run_seconds_total", kind: counter, labels: []string{"hook"},
		unit: "seconds", perUnit: 1e9,
		meaning: "CPU time they took, tail calls included",
		help:    "CPU time that the programs of netobs took in the kernel, by hook." + keptStatistics,
	}
	buildInfo = &family{
		name: "build_info", kind: gauge, labels: []string{"version", "go", "kernel"},
		level:   LevelMinimal,
		meaning: "always 1; the labels tell what is running",
		help:    "Always 1. The labels tell the version of netobs, the Go release that built it and the kernel it runs on.",
	}
)

// families are all of the above.
var families = []*family{
	segmentsTotal, segmentBytesTotal, flagsTotal,
	handshakesTotal, handshakeDuration, retransmissionsTotal, unseenTotal,
	teardownsTotal, connectionDuration, connections, lateSegmentsTotal,
	listenOverflowsTotal, listenDropsTotal,
	controlSegmentsTotal, controlSegmentsSeenTotal, unparsedPacketsTotal, recordsReadTotal,
	trackerEvictionsTotal, trackerConnections, trackerCapacity,
	observationPoints, attachErrorsTotal, bpfRunsTotal, bpfRunSecondsTotal,
	buildInfo,
}
