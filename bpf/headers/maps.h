/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Maps and load-time constants. */
#pragma once

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include "netobs.h"

#define likely(x) __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)

/* Who this copy of the front is: set for each observation point. The verifier sees constants, so that a branch on them
 * costs nothing. One struct, so that one register serves to read it. */
const volatile struct identity self;

/* The same for all programs of one loader. */
const volatile __u32 wakeup_bytes; /* fill of the ring at which the reader is woken */

#define MAX_POINTS 4096

/* Memory that all programs and the loader share; .data, not .bss, so that the loader can map it. */
struct shared_memory {
	/* Records that did not get into the ring, of all points: the reader looks here instead of at all counters. */
	__u64 records_lost;
	/* By slot: the interface is a port of a bridge, where every packet that crosses the bridge is PACKET_OTHERHOST.
	 * The loader writes it while the point lives: interfaces join and leave bridges. */
	__u8 bridge_port[MAX_POINTS];
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

/* Slots of the tail-call table. */
enum tail {
	TAIL_SLOW,
	TAIL_LEN,
};

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, TAIL_LEN);
	__type(key, __u32);
	__type(value, __u32);
} tails SEC(".maps");

/* The identity of the front that passed on the segment, for the slow program. One entry for each CPU: a TC program is
 * not interrupted by another one on its CPU. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct identity);
} handoff SEC(".maps");
