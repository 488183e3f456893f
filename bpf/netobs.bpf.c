// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
// clang-format off
//go:build ignore
// clang-format on

/* netobs: one small front program for each observation point, and one report program that they share.
 * Passive: every path returns TCX_NEXT, and nothing is written but netobs' own maps. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include "netobs.h"
#include "front.h"
#include "report.h"

/* On every packet of one observation point: count, and hand over what is worth a look. */
SEC("tc")
int front(struct __sk_buff *skb)
{
	if (front_packet(skb))
		bpf_tail_call(skb, &tails, TAIL_REPORT);
	/* Reached after a tail call only while the loader goes away. */
	return TCX_NEXT;
}

/* On control segments, and on what the pending filter let through. */
SEC("tc")
int report(struct __sk_buff *skb)
{
	report_segment(skb);
	return TCX_NEXT;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
