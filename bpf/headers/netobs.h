/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* What the BPF programs and the loader agree on. bpf2go turns these types into Go; there is no second copy.
 * All numbers are in host byte order; addresses are 16 bytes in network order, IPv4 mapped (::ffff:a.b.c.d). */
#pragma once

#include <linux/types.h>

/* Debian 12's <linux/bpf.h> is older than TCX. The value is that of TC_ACT_UNSPEC: go on with the next program. */
#define TCX_NEXT (-1)

/* What an entry of the ring buffer is. Hop and drop records are to come. */
enum record_kind {
	RECORD_SEGMENT = 1,
	RECORD_WATCHED, /* a segment with all that netobs watch shows */
	RECORD_KIND_LEN,
};

/* Bits of segment_record.flags beyond the eight of <linux/tcp.h>, in the order of RFC 9293 3.1, FIN lowest. */
enum tcp_flag {
	FLAG_FIN = 1 << 0,
	FLAG_SYN = 1 << 1,
	FLAG_RST = 1 << 2,
	FLAG_PSH = 1 << 3,
	FLAG_ACK = 1 << 4,
	FLAG_URG = 1 << 5,
	FLAG_ECE = 1 << 6,
	FLAG_CWR = 1 << 7,
	FLAG_AE = 1 << 8, /* RFC 9768 */
};

/* What an acknowledgment may be awaited for. The first that comes says so in its record, also when the segment that it
 * acknowledges was not delivered: a record that found the ring full, or was over the rate limit. */
enum awaited {
	AWAITED_SYN_ACK = 1 << 0, /* it completes a handshake */
	AWAITED_FIN = 1 << 1,	  /* both sides sent FIN, and this acknowledges the peer's */
};

#define TCP_OPTIONS_MAX 40

/* One reported segment. */
struct segment_record {
	__u64 time_ns; /* CLOCK_MONOTONIC */
	__u8 src[16];
	__u8 dst[16];
	__u32 point; /* id of the observation point */
	__u32 seq;
	__u32 ack;
	__u32 payload_bytes; /* TCP payload; a GSO segment is one segment */
	__u16 src_port;
	__u16 dst_port;
	__u16 window;
	__u16 flags; /* enum tcp_flag */
	__u8 kind;   /* enum record_kind; first byte after what all kinds would share */
	__u8 ip_version;
	__u8 ttl;	    /* or hop limit */
	__u8 forwarded;	    /* at egress: came in by another interface of this namespace */
	__u8 options_bytes; /* how many bytes of options follow; 0 unless the segment carries SYN */
	__u8 completes;	    /* enum awaited: what this segment's acknowledgment was awaited for */
	__u8 pad[2];
};

/* The longer form, used when options_bytes > 0. Bytes after options_bytes are not defined. */
struct segment_record_options {
	struct segment_record segment;
	__u8 options[TCP_OPTIONS_MAX];
};

#define PAYLOAD_MAX 64
#define FILTERS_MAX 4096

/* What a filter of netobs watch says of a port or address. */
enum filter {
	FILTER_ONLY = 1 << 0, /* connections of this one, or of another with this bit */
	FILTER_NOT = 1 << 1,  /* no connections of this one */
};

/* For netobs watch: with the options of all segments. */
struct watched_record {
	struct segment_record segment;
	__u8 options[TCP_OPTIONS_MAX]; /* those after options_bytes are not defined */
	__u16 urgent;		       /* the urgent pointer; 0 unless the segment carries URG */
	__u8 payload_copied;	       /* how many bytes of payload follow */
	__u8 pad[5];
};

/* The longer form, used where payload is wanted and there is some. Bytes after payload_copied are not defined. */
struct watched_payload_record {
	struct watched_record watched;
	__u8 payload[PAYLOAD_MAX];
};

_Static_assert(sizeof(struct segment_record) == 72, "wire record has no hidden padding");
_Static_assert(sizeof(struct segment_record_options) == 112, "wire record has no hidden padding");
_Static_assert(sizeof(struct watched_record) == 120, "wire record has no hidden padding");

/* What became of a control segment. */
enum disposition {
	DISPOSITION_REPORTED,
	DISPOSITION_DUPLICATE, /* a copy of one reported at another point of this namespace */
	DISPOSITION_RING_FULL,
	DISPOSITION_RATE_LIMITED, /* a SYN or SYN-ACK above Options.SYNRate */
	DISPOSITION_LEN,
};

/* Why a packet that is TCP, or may be, is not counted as a segment. */
enum unparsed_reason {
	UNPARSED_VLAN,		 /* more than two 802.1Q or 802.1ad tags in the packet */
	UNPARSED_FRAGMENT,	 /* IPv4 or IPv6 fragment without a TCP header: all but the first */
	UNPARSED_IPV6_EXTENSION, /* IPv6 extension headers more often than they may be */
	UNPARSED_TRUNCATED,	 /* the packet ends inside its headers */
	UNPARSED_MALFORMED,	 /* header lengths contradict each other */
	UNPARSED_NOT_FOR_US,	 /* flooded by a bridge to a namespace that will drop it (PACKET_OTHERHOST) */
	UNPARSED_REASON_LEN,
};

#define FLAGS_COUNTED 8 /* FIN SYN RST PSH ACK URG ECE CWR */

/* Per point and CPU. They only grow. A data segment touches one of the first two and the third. */
struct point_counters {
	__u64 segments_total__ack[2];	  /* ACK and no other flag; ACK and PSH, no other flag */
	__u64 segment_bytes_total;	  /* payload of all segments */
	__u64 segments_total__other;	  /* segments with any other flags */
	__u64 flags_total[FLAGS_COUNTED]; /* flags of those other segments, by bit of enum tcp_flag */
	__u64 control_segments_seen_total;
	__u64 control_segments_total[DISPOSITION_LEN];
	__u64 unparsed_packets_total[UNPARSED_REASON_LEN];
};

/* An observation point. */
struct identity {
	__u64 netns_key; /* the namespace's part in the hash of the pending filter */
	__u32 point;	 /* in records; counts up, never used again */
	__u32 slot;	 /* index of its counters; used again after the point is gone */
	__u32 netns;	 /* the namespace; told apart in flows */
	__u8 egress;	 /* bool */
	__u8 l3;	 /* bool; the interface has no Ethernet header */
	__u8 pad[2];
};

/* What the loader writes into the instructions of a front, of which each point has its own. There it is a constant for
 * the verifier, costs no memory access and needs no map. In the object an instruction that loads CONSTANT_MAGIC + one
 * of these stands for it. */
enum constant {
	CONSTANT_SLOT, /* of the point's counters; MAX_POINTS: there are none, so the front passes on everything */
	CONSTANT_EGRESS,
	CONSTANT_L3,
	CONSTANT_IDENTITY,		       /* the words of struct identity */
	CONSTANT_HASH = CONSTANT_IDENTITY + 3, /* hash_key; see pending.h */
	CONSTANT_LEN = CONSTANT_HASH + 4,
};

#define CONSTANT_MAGIC 0x6e65746f62730000

/* BTF keeps only types that something with a place in memory refers to; this makes it keep those that Go needs. */
struct shared_types {
	enum record_kind record_kind;
	enum tcp_flag tcp_flag;
	enum awaited awaited;
	enum constant constant;
	enum disposition disposition;
	enum unparsed_reason unparsed_reason;
	struct segment_record_options record;
	struct watched_payload_record watched;
	enum filter filter;
};
const volatile struct shared_types *const volatile shared_types = 0;
