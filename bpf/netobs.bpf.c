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

/* What the slow programs do with a segment that they counted and that may be of interest beyond that. Functions that
 * are not static: the verifier looks at them once, and not once more for each path through the parser. What it found is
 * in the memory of this CPU. */
__noinline int netobs_report(struct __sk_buff *skb)
{
	report(skb, 0, 0);
	return 0;
}

__noinline int netobs_xdp_report(struct xdp_md *xdp)
{
	report(xdp, 1, 0);
	return 0;
}

/* On what the fronts pass on: control segments, what the pending filter let through, and what is not plain. */
SEC("tc")
int netobs_slow(struct __sk_buff *skb)
{
	if (slow_count(skb, 0, 0))
		netobs_report(skb);
	return TCX_NEXT;
}

SEC("xdp")
int netobs_xdp_slow(struct xdp_md *xdp)
{
	if (slow_count(xdp, 1, 0))
		netobs_xdp_report(xdp);
	return XDP_PASS;
}

/* For netobs watch they stand in the place of the slow programs. */
__noinline int netobs_watch_report(struct __sk_buff *skb)
{
	report(skb, 0, 1);
	return 0;
}

__noinline int netobs_xdp_watch_report(struct xdp_md *xdp)
{
	report(xdp, 1, 1);
	return 0;
}

SEC("tc")
int netobs_watch(struct __sk_buff *skb)
{
	if (slow_count(skb, 0, 1))
		netobs_watch_report(skb);
	return TCX_NEXT;
}

SEC("xdp")
int netobs_xdp_watch(struct xdp_md *xdp)
{
	if (slow_count(xdp, 1, 1))
		netobs_xdp_watch_report(xdp);
	return XDP_PASS;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
