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
	return pending_test(pending_hash(&p->pair, whose->netns_key, p->ipv6));
}
