// Package loader watches network namespaces: it finds their interfaces, attaches the BPF programs to them, follows
// what appears, goes, is renamed or moves, and reads what the programs report.
//
// A Loader has two users. One goroutine calls Attach and then Follow, and owns what is attached. Another reads segments
// from Reader. What both need, and the counters read at scrape time, is behind one mutex that is never held across an
// attachment.
//
// Nothing is kept open inside a watched namespace: a file descriptor or a socket there would keep its interfaces alive
// after "ip netns del". One rtnetlink socket in netobs' own namespace hears the events of all (NETLINK_LISTEN_ALL_NSID);
// for that the kernel assigns each watched namespace a number, which it forgets with the namespace. To attach, the
// namespace is opened again by its path for some milliseconds.
//
// What an interface gets for others (PACKET_OTHERHOST) is no business of its namespace, unless that passes it on: at ports of
// bridges, and under macvlan interfaces, whose connections are forwarded ones for it.
//
// When a namespace is ready, its kernel is asked for the connections that are older than netobs: see learn.go.
//
// A point is attached by a TCX or XDP link, which the kernel closes with the process, or by a filter on a clsact qdisc, which
// it does not: see owner, tcFilter and RemoveLeftovers. What changes the kernel for a while, see hurry, is marked in the same
// way. Nobody else's programs, filters, qdiscs and settings are touched.
//
// With Options.Dynamic, package inventory tells which namespaces there are. What an event wants attached is noted, and
// attached when no event waits: the namespaces' own ends before the host's, and a veth that moves only where it arrives. A
// namespace that is new has its lo watched 11 ms after it was begun to be made, a veth pair both its ends 36 ms after; with
// Options.FastAttach 3 and 4 ms, since each TCX link takes 9 ms otherwise (minima of 200, Linux 6.18; the medians of a
// machine that five times as much is asked of are twice that). What a namespace or an interface counted is told for 5 min
// after its end.
//
// The package keeps the main goroutine on the main thread (see init): threads that entered a namespace end, and the main
// thread cannot.
package loader
