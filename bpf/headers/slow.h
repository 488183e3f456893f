/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* What the fronts pass on: every packet that is not TCP, is counted as a segment, or ends in one named counter. */
#pragma once

#include "parse.h"
#include "watch.h"

static __always_inline void count_segment(struct point_counters *c, const struct segment_record *s)
{
	c->segment_bytes_total += s->payload_bytes;
	if ((s->flags & 0xff & ~FLAG_PSH) == FLAG_ACK) {
		(*segments_ack(c, s->flags))++;
		return;
	}
	c->segments_total__other++;
	/* Unrolled: one load, add and store for each flag. */
#pragma unroll
	for (int i = 0; i < FLAGS_COUNTED; i++)
		c->flags_total[i] += s->flags >> i & 1;
}

/* The hash of the pending filter for the acknowledgments of the segment's sender, or of its receiver. */
static __always_inline __u64 segment_hash(const struct segment_record *s, _Bool receiver, __u64 netns_key)
{
	const void *src = receiver ? s->dst : s->src, *dst = receiver ? s->src : s->dst;
	__u16 ports[2] = {bpf_htons(receiver ? s->dst_port : s->src_port),
			  bpf_htons(receiver ? s->src_port : s->dst_port)};
	__u32 addresses[2];

	if (s->ip_version == 6)
		return hash_ipv6(src, dst, (__u32 *)ports, 0, netns_key);
	addresses[0] = ((const __u32 *)src)[3];
	addresses[1] = ((const __u32 *)dst)[3];
	return hash_ipv4((__u64 *)addresses, (__u32 *)ports, 0, netns_key);
}

/* Whose the packet is, and its counters. */
struct at_work {
	struct cpu *cpu;
	struct point_counters *c;
};

/* False, for the verifier, if a map has no such entry. */
static __always_inline _Bool slow_begin(struct at_work *w)
{
	__u32 zero = 0, slot;

	w->cpu = bpf_map_lookup_elem(&cpus, &zero);
	if (!w->cpu)
		return 0;
	slot = w->cpu->whose.slot;
	w->c = bpf_map_lookup_elem(&counters, &slot);
	return w->c;
}

/* Counts the packet. Returns whether it may be of interest beyond that: a control segment, or one that the filter let
 * through. Then the CPU's packet is filled. watched is a constant: for netobs watch. */
static __always_inline _Bool slow_count(void *ctx, const _Bool xdp, const _Bool watched)
{
	const struct segment_record *s;
	struct at_work w;
	int what;

	if (!slow_begin(&w))
		return 0;
	what = parse(ctx, xdp, &w.cpu->whose, &w.cpu->packet);
	if (what == PARSED_NOT_TCP)
		return 0;
	if (what < UNPARSED_REASON_LEN) {
		w.c->unparsed_packets_total[what]++;
		return 0;
	}
	s = &w.cpu->packet.segment;
	count_segment(w.c, s);
	if (!(s->flags & (FLAG_SYN | FLAG_FIN | FLAG_RST)) && !(watched && watching.all) &&
	    !pending_test(segment_hash(s, 0, w.cpu->whose.netns_key)))
		return 0;
	return !watched || watch_wants(s);
}
