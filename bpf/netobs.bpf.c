// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
// clang-format off
//go:build ignore
// clang-format on

/* netobs: one small front program for each observation point, and one slow program that they share.
 * Passive: every path returns TCX_NEXT, and nothing is written but netobs' own maps. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include "netobs.h"
#include "front.h"
#include "slow.h"
#include "report.h"

/* On every packet of one observation point. */
SEC("tc")
int front(struct __sk_buff *skb)
{
	if (front_packet(skb))
		return TCX_NEXT;
	front_hand_over();
	bpf_tail_call(skb, &tails, TAIL_SLOW);
	/* Reached only while the loader goes away. */
	return TCX_NEXT;
}

/* On what the fronts pass on: control segments, what the pending filter let through, and what is not plain. */
SEC("tc")
int slow(struct __sk_buff *skb)
{
	__u32 zero = 0, slot;
	struct identity *whose = bpf_map_lookup_elem(&handoff, &zero);
	struct point_counters *c;
	struct packet p;

	if (!whose)
		return TCX_NEXT; /* for the verifier */
	slot = whose->slot;
	c = bpf_map_lookup_elem(&counters, &slot);
	if (!c)
		return TCX_NEXT; /* for the verifier */
	if (slow_count(skb, whose, c, &p))
		report_segment(skb, whose, c, &p);
	return TCX_NEXT;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
