// Package metrics tells Prometheus what netobs saw: it counts the results of package decode, reads the kernel's counters
// when scraped, and serves both over HTTP.
//
// All names begin with netobs_. A segment is a TCP header with its payload; an observation point is one direction of one
// network interface in one network namespace (netns); a handshake is the exchange that opens a connection (SYN, SYN-ACK,
// ACK) and a teardown the one that ends it (FIN or RST). "netobs metrics" prints this table; the level is the first of attach's
// --metrics that has the metric.
//
//	name                             type       labels                             unit         level    meaning
//	segments_total                   counter    netns, interface, direction        segments     default  TCP segments that passed the point
//	segment_bytes_total              counter    netns, interface, direction        bytes        default  TCP payload they carried
//	flags_total                      counter    netns, interface, direction, flag  segments     default  segments with this control bit set
//	handshakes_total                 counter    netns, role, outcome               handshakes   minimal  attempts to open a connection whose outcome is known
//	handshake_duration_seconds       histogram  netns, role, leg                   seconds      minimal  how long completed handshakes took, from the first transmission; minimal: total only
//	handshake_retransmissions_total  counter    netns, role, segment               segments     minimal  handshake segments sent again
//	connections_unseen_total         counter    netns, role                        connections  default  connections first seen after their handshake
//	teardowns_total                  counter    netns, role, teardown, closer      connections  minimal  connections that ended
//	connection_duration_seconds      histogram  netns, role                        seconds      default  how long connections lasted, from first SYN to FIN or RST
//	connections                      gauge      netns, role, state                 connections  minimal  connections open now
//	late_segments_total              counter    netns                              segments     default  segments of connections that had already ended
//	listen_overflows_total           counter    netns                              connections  minimal  turned away by a full accept queue; the kernel's own count
//	listen_drops_total               counter    netns                              segments     minimal  dropped by listening sockets for any reason; the kernel's own count
//	control_segments_total           counter    netns, interface, disposition      segments     minimal  control segments by what became of them in the kernel
//	control_segments_seen_total      counter    netns, interface                   segments     default  control segments before any decision
//	unparsed_packets_total           counter    netns, interface, reason           packets      default  packets that are TCP, or may be, but were not decoded
//	records_read_total               counter                                       records      default  control segments that arrived in the program
//	tracker_evictions_total          counter                                       connections  minimal  connections given up because the table was full
//	tracker_connections              gauge                                         connections  minimal  connections in the table now
//	tracker_capacity                 gauge                                         connections  minimal  connections the table can hold
//	observation_points               gauge      netns, hook                        points       minimal  points being watched now
//	attach_errors_total              counter    netns, reason                      errors       minimal  failed attempts to watch an interface
//	bpf_runs_total                   counter    hook                               runs         default  of the points' programs, tail calls not counted; while the kernel keeps statistics
//	bpf_run_seconds_total            counter    hook                               seconds      default  CPU time they took, tail calls included
//	build_info                       gauge      version, go, kernel                             minimal  always 1; the labels tell what is running
//
// Beside them stands what concerns the process, under the names that all programs have for it: process_resident_memory_bytes,
// process_cpu_seconds_total, process_open_fds and others; with the level full also what the Go runtime does, go_*.
//
// # Reading them
//
// Every namespace reports its own view: a connection that leaves container A, crosses the host and enters container B is
// counted in three namespaces, with the roles originator, forwarded and responder. For a host-wide figure select roles,
// role=~"local|originator" for outgoing or role=~"local|responder" for incoming connections; a sum over all roles counts a
// connection once per namespace it crosses.
//
// Two sums hold, and are what to look at when in doubt about netobs itself. With traffic at rest,
// control_segments_seen_total = the sum of control_segments_total over disposition, and disposition="reported" summed
// over all points = records_read_total. In each namespace, handshakes_total{outcome="completed"} +
// connections_unseen_total = teardowns_total + connections{state=~"established|half_closed"}. The former holds until a
// namespace is forgotten: 5 min after it ended, if no other one has its name, its series go.
//
// The kernel keeps statistics of BPF programs, and so bpf_runs_total and bpf_run_seconds_total are there, if the sysctl
// kernel.bpf_stats_enabled is 1, for which it reads the clock twice a run. Each point's program counts; the time of the program that it
// calls for control segments is in its own, the runs are not.
//
// What the decoder counts is handed over once for each batch of records that was drained, so that a scrape sees handshakes,
// teardowns and open connections as of one moment. The kernel's counters are read at each scrape, without stopping anything.
//
// # Exemplars
//
// In OpenMetrics and Protobuf, handshakes_total shows of each outcome but completed whose the last one was, and
// handshake_duration_seconds whose a slow one was: labels originator and responder, address and port. Slow is what took a
// second or more, for which a segment must have been lost, and what falls into classic buckets, or above, in which at most
// one in a hundred of its series did before.
//
// # Limits
//
// netns has at most --max-namespaces values, and interface as many in each namespace. Those that come when all are taken count in
// "other" for as long as they exist, also when others have gone since; so no series changes its meaning. What other tells only
// grows, by what each of them gains from one scrape to the next. A namespace that is called other counts there, too.
//
// Series of a namespace, or an interface, go 5 min after its end, and never into other, where increase() would count them again.
// Until then a new one of the name goes on with them. After that it begins at 0, and so says the series' created timestamp,
// which Prometheus reads from Protobuf if told to (created-timestamp-zero-ingestion): else an increase is missed if the new
// counter is above the old one when it is first scraped. In OpenMetrics text the timestamp is a sample more for each series, and
// only there with --metrics full.
//
// --metrics-port-label adds the label port, the responder's, to handshakes_total and handshake_duration_seconds: 8 and up to 36
// series more for each role, namespace and port in use. The ports given have a value of their own, or else the first 50 to which
// 10 handshakes completed, which no scan does; they keep it until netobs ends. What a port counted before, and all others, is
// in "other".
//
// # When a series appears
//
// A counter that appears with its first event hides that event from rate(). So these begin at 0: handshakes_total with
// all outcomes as soon as a role was seen in a namespace; listen_overflows_total and listen_drops_total for each namespace,
// where the kernel's count when netobs came is left out; control_segments_total and unparsed_packets_total with all
// their values as soon as an interface is watched. The rest appears with its first event, flags_total for each flag, so
// that a namespace costs at most 60 series while it is quiet and about 250 when it is busy.
package metrics
