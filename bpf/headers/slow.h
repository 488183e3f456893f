/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* What the fronts pass on: every packet that is not TCP, is counted as a segment, or ends in one named counter. */
#pragma once

#include "parse.h"

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

/* Counts the packet. Returns whether it may be of interest beyond that: a control segment, or one that the filter let
 * through. Then p is filled. */
static __always_inline _Bool slow_count(void *ctx, const _Bool xdp, const struct identity *whose,
					struct point_counters *c, struct packet *p)
{
	int what = parse(ctx, xdp, whose, p);

	if (what == PARSED_NOT_TCP)
		return 0;
	if (what < UNPARSED_REASON_LEN) {
		c->unparsed_packets_total[what]++;
		return 0;
	}
	count_segment(c, &p->segment);
	if ((p->segment.flags & (FLAG_SYN | FLAG_FIN | FLAG_RST)) || whose->report_all)
		return 1;
	return pending_test(segment_hash(&p->segment, 0, whose->netns_key));
}
