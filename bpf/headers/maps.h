/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Maps and load-time constants. */
#pragma once

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include "netobs.h"

#define likely(x) __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)

/* The compiler does not move the computation of x across this. */
#define in_order(x) asm volatile("" : "+r"(x) : : "memory")

/* A constant of the front. */
#define CONSTANT(which)                                                                                                \
	({                                                                                                             \
		__u64 value;                                                                                           \
		asm volatile("%0 = %1 ll" : "=r"(value) : "i"(CONSTANT_MAGIC + (which)));                              \
		value;                                                                                                 \
	})

/* Constants of the slow programs, set before they are loaded. One struct, so that one register serves to read it. */
struct constants {
	__u64 hash_key[4];     /* of the pending filter: random, the same for all programs of one loader */
	__u32 xdp_load_bytes;  /* bool; the kernel has bpf_xdp_load_bytes (Linux 5.18) */
	__u32 wakeup_bytes;    /* fill of the ring at which the reader is woken */
	__u64 syn_interval_ns; /* of the rate limit: nanoseconds for each SYN or SYN-ACK */
	__u64 syn_burst_ns;    /* how far ahead of that rate they may be */
};

const volatile struct constants self;

#define MAX_POINTS 4096

/* Memory that all programs and the loader share; .data, not .bss, so that the loader can map it. */
struct shared_memory {
	/* Records that the rule wanted and that did not get into the ring, full or limited, of all points: the reader
	 * looks here instead of at all counters. */
	__u64 records_lost;
	/* Bool; the reader found nothing for long, and looks at the ring again only when it is woken: the first record
	 * does so. The loader writes it. */
	__u64 reader_idle;
	/* By slot: the interface is a port of a bridge, where every packet that crosses the bridge is PACKET_OTHERHOST.
	 * The loader writes it while the point lives: interfaces join and leave bridges. */
	__u8 bridge_port[MAX_POINTS];
	/* By slot, of XDP points: the interface's Ethernet address, in the first six bytes. */
	__u8 address[MAX_POINTS][8];
} shared SEC(".data.shared");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, MAX_POINTS);
	__type(key, __u32);
	__type(value, struct point_counters);
} counters SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 8 << 20); /* default; the loader may choose another */
} ring SEC(".maps");

/* The slow program of each hook. A table holds programs of one type. */
struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} tails SEC(".maps"), xdp_tails SEC(".maps");

/* A TCP segment out of its packet. */
struct packet {
	/* All but time, point, kind and what comes after ttl. */
	struct segment_record segment;
	__u32 options_offset; /* in the packet */
	__u8 options_bytes;   /* what the header says */
};

/* What a CPU has of its own. */
struct cpu {
	struct identity whose; /* of the front that passed on the packet, for the slow program */
	struct packet packet;  /* what the parser found, for the reporter */
	__u64 clock_jiffies;   /* when clock_ns was read; see clock.h */
	__u64 clock_ns;
};

/* One entry for each CPU: between front and slow program nothing else runs there, as both hooks are entered with
 * softirqs off. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct cpu);
} cpus SEC(".maps");
