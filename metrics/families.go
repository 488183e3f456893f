package metrics

import (
	"github.com/prometheus/client_golang/prometheus"
)

// A family is a metric counted in plain Go and made at scrape time. Histograms are client_golang's own, below.
type family struct {
	desc   *prometheus.Desc
	kind   prometheus.ValueType
	labels int
	per    float64 // how many of what is counted make one of the unit
}

func newFamily(kind prometheus.ValueType, name, help string, labels []string) *family {
	return &family{prometheus.NewDesc(name, help, labels, nil), kind, len(labels), 1}
}

// in says that a unit is so many of what is counted.
func (f *family) in(per float64) *family {
	f.per = per
	return f
}

func counter(name, help string, labels ...string) *family {
	return newFamily(prometheus.CounterValue, name, help, labels)
}

func gauge(name, help string, labels ...string) *family {
	return newFamily(prometheus.GaugeValue, name, help, labels)
}

// perNetns ends the Help of what is counted by role.
const perNetns = " A connection counts once in each namespace it crosses: for the whole host select " +
	`role=~"local|originator" (outgoing) or "local|responder" (incoming) instead of adding up all roles.`

var (
	segmentsTotal = counter("segments_total",
		"TCP segments (a TCP header with its data) that passed an interface, by direction as the interface sees it. "+
			"On a loopback interface each is counted once, as egress.",
		"netns", "interface", "direction")
	segmentBytesTotal = counter("segment_bytes_total",
		"Bytes of TCP payload that passed an interface, headers not counted.",
		"netns", "interface", "direction")
	flagsTotal = counter("flags_total",
		"TCP segments that had this control bit set: SYN opens a connection, FIN closes one direction, RST breaks it off, "+
			"ACK acknowledges. A segment with two bits counts under both.",
		"netns", "interface", "direction", "flag")
	controlSegmentsTotal = counter("control_segments_total",
		"Control segments (with SYN, FIN or RST, or the acknowledgment of one) by what the kernel side did with them: "+
			"reported to netobs, left out as a duplicate of one reported at another interface of the namespace, or lost "+
			"because the ring buffer was full (ring_full) or the rate limit was reached (rate_limited).",
		"netns", "interface", "disposition")
	controlSegmentsSeenTotal = counter("control_segments_seen_total",
		"Control segments (with SYN, FIN or RST, or the acknowledgment of one) that passed an interface. With traffic at "+
			"rest it equals the sum of netobs_control_segments_total over all dispositions.",
		"netns", "interface")
	unparsedPacketsTotal = counter("unparsed_packets_total",
		"Packets that are TCP, or may be, but were not counted as segments, by reason.",
		"netns", "interface", "reason")
	recordsReadTotal = counter("records_read_total",
		"Control segments that netobs read from the kernel's ring buffer. With traffic at rest it equals the sum of "+
			`netobs_control_segments_total{disposition="reported"}.`)
	listenOverflowsTotal = counter("listen_overflows_total",
		"Connections that a listening socket lost because its accept queue was full, as the kernel counts them for the whole "+
			"namespace (ListenOverflows) since netobs watches it. The program that listens does not accept fast enough; "+
			"whoever connects sees no answer, or a slow one.",
		"netns")
	listenDropsTotal = counter("listen_drops_total",
		"SYNs and connections that listening sockets dropped for any reason, full accept queues included, as the kernel counts "+
			"them for the whole namespace (ListenDrops) since netobs watches it.",
		"netns")
	bpfRunsTotal = counter("bpf_runs_total",
		"How often the programs of netobs in the kernel ran, by hook; once for each packet at each point. It is there only "+
			"where the kernel keeps statistics of BPF programs (sysctl kernel.bpf_stats_enabled=1).",
		"hook")
	bpfRunSecondsTotal = counter("bpf_run_seconds_total",
		"CPU time that the programs of netobs took in the kernel, by hook. It is there only where the kernel keeps statistics of "+
			"BPF programs (sysctl kernel.bpf_stats_enabled=1).",
		"hook").in(1e9)
	observationPoints = gauge("observation_points",
		"Observation points (one direction of one interface) being watched now, by the kernel hook they use.",
		"netns", "hook")
	attachErrorsTotal = counter("attach_errors_total",
		"Failed attempts to watch an interface, by reason. Connections seen only there are missing.",
		"netns", "reason")

	handshakesTotal = counter("handshakes_total",
		"Attempts to open a TCP connection, by how they ended: completed (SYN, SYN-ACK, ACK), refused (answered by RST: "+
			"nobody listens), unreachable (ICMP said so), aborted (the originator gave up by RST), reset (the responder took "+
			"its SYN-ACK back by RST), unanswered (no answer to the SYN), half_open (SYN-ACK never acknowledged), unknown "+
			"(netobs lost events, ran out of memory or stopped watching)."+perNetns,
		"netns", "role", "outcome")
	retransmissionsTotal = counter("handshake_retransmissions_total",
		"Segments of TCP handshakes that were sent again: syn (no answer came in time), syn_ack (no acknowledgment came), "+
			"syn_ack_after_ack (sent again although it had been acknowledged: the acknowledgment was lost or ignored)."+perNetns,
		"netns", "role", "segment")
	unseenTotal = counter("connections_unseen_total",
		"TCP connections first seen after their handshake, because they are older than netobs or events were lost."+perNetns,
		"netns", "role")
	teardownsTotal = counter("teardowns_total",
		"TCP connections that ended, by how: fin (both sides closed), fin_rst (closing was cut short by RST), rst (broken "+
			"off by RST), evicted (forgotten, the table was full), detached (netobs stopped watching), expired (nothing seen "+
			"for too long, or its ports taken by a new connection); closer is who sent the first FIN or RST."+
			perNetns,
		"netns", "role", "teardown", "closer")
	connections = gauge("connections",
		"TCP connections open now: handshake (SYN seen, not yet completed), established, half_closed (a side has sent FIN)."+perNetns,
		"netns", "role", "state")
	lateSegmentsTotal = counter("late_segments_total",
		"Control segments of TCP connections that had already ended. A few are common, such as an RST after both FINs.",
		"netns")

	trackerEvictionsTotal = counter("tracker_evictions_total",
		"Connections and handshakes that netobs gave up because its table was full.")
	trackerConnections = gauge("tracker_connections",
		"Connections and handshakes that netobs remembers now in all namespaces, those that ended in the last seconds included.")
	trackerCapacity = gauge("tracker_capacity",
		"Connections and handshakes that netobs can remember before it has to forget some.")

	buildInfo = gauge("build_info",
		"Always 1. The labels tell the version of netobs, the Go release that built it and the kernel it runs on.",
		"version", "go", "kernel")
)

// families are all of the above.
var families = []*family{
	segmentsTotal, segmentBytesTotal, flagsTotal, controlSegmentsTotal, controlSegmentsSeenTotal, unparsedPacketsTotal,
	recordsReadTotal, listenOverflowsTotal, listenDropsTotal, bpfRunsTotal, bpfRunSecondsTotal, observationPoints, attachErrorsTotal,
	handshakesTotal, retransmissionsTotal, unseenTotal, teardownsTotal, connections, lateSegmentsTotal,
	trackerEvictionsTotal, trackerConnections, trackerCapacity,
	buildInfo,
}

// Native histograms hold the detail; the classic buckets cost a series each and so are few.
const (
	// nativeFactor is the growth from one native bucket to the next.
	nativeFactor = 1.1
	// nativeBuckets bounds the memory of a native histogram. From 5 µs to 7 s it takes 164 at full resolution; when it
	// has more, pairs are merged: no count is lost.
	nativeBuckets = 160
)

func newHandshakeDuration() *prometheus.HistogramVec {
	return prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "handshake_duration_seconds",
		Help: "How long completed TCP handshakes took, from the first transmission, so that waiting for retransmissions is " +
			"included: responder (SYN to SYN-ACK), originator (SYN-ACK to ACK), total (SYN to ACK)." + perNetns,
		// 5 µs is a handshake on loopback, 25 µs across a veth, 1 ms a data centre, 100 ms an ocean. A lost SYN is sent
		// again after 1, 3 and 7 s in all (and at each second between, since Linux 6.5): beyond 1 s, one was lost.
		Buckets:                        []float64{5e-6, 25e-6, 100e-6, 1e-3, 5e-3, 25e-3, 100e-3, 1, 3, 7},
		NativeHistogramBucketFactor:    nativeFactor,
		NativeHistogramMaxBucketNumber: nativeBuckets,
	}, []string{"netns", "role", "leg"})
}

func newConnectionDuration() *prometheus.HistogramVec {
	return prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "connection_duration_seconds",
		Help: "How long TCP connections lasted, from the first SYN to the FIN or RST that ended them. Connections whose " +
			"beginning or end was not seen are left out." + perNetns,
		Buckets:                        []float64{10e-3, 100e-3, 1, 10, 60, 600},
		NativeHistogramBucketFactor:    nativeFactor,
		NativeHistogramMaxBucketNumber: nativeBuckets,
	}, []string{"netns", "role"})
}
