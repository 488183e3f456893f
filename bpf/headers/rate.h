/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* The rate limit of SYN and SYN-ACK records, for each CPU: what a flood costs the reader is bounded. */
#pragma once

#include "maps.h"

/* Each record takes an interval. The bucket holds the time up to which intervals are taken, which may be so far ahead
 * of now as the burst (the virtual scheduling algorithm of ITU-T I.371). */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} syn_bucket SEC(".maps");

static __always_inline _Bool rate_allows(__u64 now)
{
	__u32 zero = 0;
	__u64 *taken_until = bpf_map_lookup_elem(&syn_bucket, &zero);

	if (!taken_until)
		return 1; /* for the verifier */
	if (*taken_until < now)
		*taken_until = now;
	if (*taken_until - now > self.syn_burst_ns)
		return 0;
	*taken_until += self.syn_interval_ns;
	return 1;
}
