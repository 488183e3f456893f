// Package bpf holds the BPF programs of netobs: their C source, the objects compiled from it, the Go types that bpf2go
// made of the C structs, and how they are loaded.
//
// For each hook there are two programs. The front runs on every packet of one observation point; each point has a copy of
// its own with its identity baked in. The slow program, one for all, sees the few packets that the fronts pass on. TCX and
// the filters of a clsact qdisc take the same two, netobs_front and netobs_slow; XDP takes netobs_xdp and netobs_xdp_slow.
// For netobs watch, netobs_watch and netobs_xdp_watch stand in the place of the slow programs.
// What a slow program does after it counted is in a function that is not static, as the verifier looks at those once.
// headers/netobs.h is the truth about records and counters.
//
// "go generate" needs clang 19, llvm-strip 19 and the Debian package libbpf-dev; building and testing need none of them.
package bpf

//go:generate go tool bpf2go -tags linux -cc clang-19 -strip llvm-strip-19 -target bpfel,bpfeb -type record_kind -type tcp_flag -type awaited -type constant -type identity -type disposition -type unparsed_reason -type segment_record -type segment_record_options -type watched_record -type watched_payload_record -type filter -type point_counters netobs netobs.bpf.c -- -O2 -mcpu=v3 -g -Wall -Werror -Iheaders -I/usr/include/x86_64-linux-gnu

// The wire types of headers/netobs.h. Numbers are in host byte order; addresses are 16 bytes in network order, IPv4
// mapped; times are CLOCK_MONOTONIC nanoseconds.
type (
	SegmentRecord        = netobsSegmentRecord
	SegmentRecordOptions = netobsSegmentRecordOptions
	WatchedRecord        = netobsWatchedRecord
	WatchedPayload       = netobsWatchedPayloadRecord
	PointCounters        = netobsPointCounters
	Disposition          = netobsDisposition
	UnparsedReason       = netobsUnparsedReason
)

// Kinds of records: of a SegmentRecord with or without options, and, with Options.Watch, of a WatchedRecord with or without
// payload.
const (
	RecordSegment = uint8(netobsRecordKindRECORD_SEGMENT)
	RecordWatched = uint8(netobsRecordKindRECORD_WATCHED)
)

// What the acknowledgment of a segment was awaited for: the bits of SegmentRecord.Completes.
const (
	CompletesHandshake = uint8(netobsAwaitedAWAITED_SYN_ACK) // the first acknowledgment of a SYN-ACK
	CompletesTeardown  = uint8(netobsAwaitedAWAITED_FIN)     // both sides sent FIN, and this acknowledges the peer's
)

// Dispositions are the metric labels of PointCounters.ControlSegmentsTotal, in its order.
var Dispositions = [...]string{
	netobsDispositionDISPOSITION_REPORTED:     "reported",
	netobsDispositionDISPOSITION_DUPLICATE:    "duplicate",
	netobsDispositionDISPOSITION_RING_FULL:    "ring_full",
	netobsDispositionDISPOSITION_RATE_LIMITED: "rate_limited",
}

// Indices in Dispositions.
const (
	DispositionReported  = netobsDispositionDISPOSITION_REPORTED
	DispositionDuplicate = netobsDispositionDISPOSITION_DUPLICATE
)

// UnparsedReasons are the metric labels of PointCounters.UnparsedPacketsTotal, in its order.
var UnparsedReasons = [...]string{
	netobsUnparsedReasonUNPARSED_VLAN:          "vlan",
	netobsUnparsedReasonUNPARSED_FRAGMENT:      "fragment",
	netobsUnparsedReasonUNPARSED_IPV6EXTENSION: "ipv6_extension",
	netobsUnparsedReasonUNPARSED_TRUNCATED:     "truncated",
	netobsUnparsedReasonUNPARSED_MALFORMED:     "malformed",
	netobsUnparsedReasonUNPARSED_NOT_FOR_US:    "not_for_us",
}
