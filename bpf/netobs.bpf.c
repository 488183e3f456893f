// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
// clang-format off
//go:build ignore
// clang-format on

/* netobs: for each hook, one small front program for each observation point, and one slow program that they share.
 * Passive: every path returns the code to go on, and nothing is written but netobs' own maps. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include "netobs.h"
#include "front.h"
#include "slow.h"
#include "report.h"

/* On every packet of one observation point of TCX or tc. */
SEC("tc")
int netobs_front(struct __sk_buff *skb)
{
	if (front_packet(skb, 0))
		return TCX_NEXT;
	front_hand_over();
	bpf_tail_call(skb, &tails, 0);
	/* Reached only while the loader goes away. */
	return TCX_NEXT;
}

/* The same of XDP. */
SEC("xdp")
int netobs_xdp(struct xdp_md *xdp)
{
	if (front_packet(xdp, 1))
		return XDP_PASS;
	front_hand_over();
	bpf_tail_call(xdp, &xdp_tails, 0);
	return XDP_PASS;
}

/* On what the fronts pass on: control segments, what the pending filter let through, and what is not plain. */
static __always_inline void slow(void *ctx, const _Bool xdp)
{
	__u32 zero = 0, slot;
	struct identity *whose = bpf_map_lookup_elem(&handoff, &zero);
	struct point_counters *c;
	struct packet p;

	if (!whose)
		return; /* for the verifier */
	slot = whose->slot;
	c = bpf_map_lookup_elem(&counters, &slot);
	if (!c)
		return; /* for the verifier */
	if (slow_count(ctx, xdp, whose, c, &p))
		report_segment(ctx, xdp, whose, c, &p);
}

SEC("tc")
int netobs_slow(struct __sk_buff *skb)
{
	slow(skb, 0);
	return TCX_NEXT;
}

SEC("xdp")
int netobs_xdp_slow(struct xdp_md *xdp)
{
	slow(xdp, 1);
	return XDP_PASS;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
