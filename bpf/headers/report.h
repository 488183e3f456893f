/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Report a control segment once for each namespace, and note what acknowledgment it waits for. */
#pragma once

#include "slow.h"
#include "flow.h"

/* A segment to report. The hashes are those of the pending filter: for the acknowledgments of this
 * segment's sender, and for those of its receiver. */
struct reported {
	struct segment_record segment;
	__u64 own_hash;
	__u64 answer_hash;
	__u32 options_offset;
	__u32 fin; /* position of a FIN, if there is one */
	__u8 kinds;
	_Bool report_all;
};

/* Fills r from the packet. */
static __always_inline void report_read(struct __sk_buff *skb, const struct identity *whose, const struct packet *p,
					struct reported *r)
{
	struct segment_record *s = &r->segment;
	const struct tcphdr *tcp = p->tcp;
	struct socket_pair own, answer;

	socket_pair_of(&own, p->ip, tcp, p->ipv6);
	answer.src_hi = own.dst_hi;
	answer.src_lo = own.dst_lo;
	answer.dst_hi = own.src_hi;
	answer.dst_lo = own.src_lo;
	answer.ports = own.ports << 16 | own.ports >> 16;
	r->own_hash = pending_hash(&own, whose, p->ipv6);
	r->answer_hash = pending_hash(&answer, whose, p->ipv6);

	if (p->ipv6) {
		const struct ipv6hdr *ip = p->ip;

		__builtin_memcpy(s->src, &ip->saddr, sizeof(s->src));
		__builtin_memcpy(s->dst, &ip->daddr, sizeof(s->dst));
		s->ip_version = 6;
		s->ttl = ip->hop_limit;
	} else {
		const struct iphdr *ip = p->ip;
		__u32 *src = (__u32 *)s->src, *dst = (__u32 *)s->dst;

		src[0] = src[1] = dst[0] = dst[1] = 0;
		src[2] = dst[2] = bpf_htonl(0xffff);
		src[3] = ip->saddr;
		dst[3] = ip->daddr;
		s->ip_version = 4;
		s->ttl = ip->ttl;
	}
	s->time_ns = bpf_ktime_get_ns();
	s->point = whose->point;
	s->seq = bpf_ntohl(tcp->seq);
	s->ack = bpf_ntohl(tcp->ack_seq);
	s->payload_bytes = p->payload_bytes;
	s->src_port = bpf_ntohs(tcp->source);
	s->dst_port = bpf_ntohs(tcp->dest);
	s->window = bpf_ntohs(tcp->window);
	s->flags = p->flags;
	s->kind = RECORD_SEGMENT;
	s->forwarded = whose->egress && skb->ingress_ifindex;
	s->options_bytes = tcp_header_bytes(tcp) - sizeof(*tcp);
	__builtin_memset(s->pad, 0, sizeof(s->pad));
	r->options_offset = (void *)(tcp + 1) - (void *)(long)skb->data;
	r->fin = s->seq + s->payload_bytes;
	r->kinds = segment_kinds(s->flags);
	r->report_all = whose->report_all;
}

static __always_inline void await(struct flow_half *half, __u32 want, __u64 hash, __u64 now)
{
	if (half->has_acked && seq_reached(half->acked, want))
		return; /* known acknowledged */
	half->want = want;
	half->waiting = 1;
	pending_arm(hash, now);
}

/* What a reported segment answers, and what it waits for. mine is the direction of the segment, theirs the other one.
 */
static __always_inline void note_acknowledgments(struct flow_half *mine, struct flow_half *theirs,
						 const struct reported *r)
{
	const struct segment_record *s = &r->segment;
	_Bool reset = r->kinds & KIND_RST, acks = s->flags & FLAG_ACK;
	__u64 now = s->time_ns;

	/* The highest: a segment that was overtaken takes nothing back. */
	if (acks && !reset && (!mine->has_acked || seq_reached(s->ack, mine->acked))) {
		mine->acked = s->ack;
		mine->has_acked = 1;
	}
	if (mine->waiting && (reset || (acks && seq_reached(s->ack, mine->want)))) {
		mine->waiting = 0;
		pending_disarm(r->own_hash);
	}
	if (r->kinds & KIND_SYN_ACK)
		await(theirs, s->seq + 1, r->answer_hash, now);
	if ((r->kinds & KIND_FIN) && (theirs->reported & KIND_FIN)) {
		await(theirs, r->fin + 1, r->answer_hash, now);
		await(mine, theirs->fin + 1, r->own_hash, now);
	}
}

/* Forced only while the fill crosses the threshold; the margin is for CPUs that cross it together. Below it the
 * reader's deadline serves. */
static __always_inline __u64 wakeup_flag(void)
{
	__u64 over = bpf_ringbuf_query(&ring, BPF_RB_AVAIL_DATA) - wakeup_bytes;

	return over < 16 * sizeof(struct segment_record_options) ? BPF_RB_FORCE_WAKEUP : BPF_RB_NO_WAKEUP;
}

static __always_inline enum disposition emit_with_options(struct __sk_buff *skb, const struct reported *r)
{
	struct segment_record_options *out = bpf_ringbuf_reserve(&ring, sizeof(*out), 0);
	__u32 bytes = r->segment.options_bytes;

	if (!out)
		return DISPOSITION_RING_FULL;
	out->segment = r->segment;
	if (bytes > TCP_OPTIONS_MAX) /* for the verifier: a TCP header has no more */
		bytes = TCP_OPTIONS_MAX;
	if (bpf_skb_load_bytes(skb, r->options_offset, out->options, bytes))
		out->segment.options_bytes = 0; /* cut off; the segment itself is good */
	bpf_ringbuf_submit(out, wakeup_flag());
	return DISPOSITION_REPORTED;
}

static __always_inline enum disposition emit(struct __sk_buff *skb, const struct reported *r)
{
	struct segment_record *out;

	if (r->segment.options_bytes && ((r->segment.flags & FLAG_SYN) || r->report_all))
		return emit_with_options(skb, r);
	out = bpf_ringbuf_reserve(&ring, sizeof(*out), 0);
	if (!out)
		return DISPOSITION_RING_FULL;
	*out = r->segment;
	out->options_bytes = 0;
	bpf_ringbuf_submit(out, wakeup_flag());
	return DISPOSITION_REPORTED;
}

/* Is this the acknowledgment that the direction waits for? */
static __always_inline _Bool is_awaited(const struct flow_half *mine, const struct segment_record *s)
{
	return mine->waiting && (s->flags & FLAG_ACK) && seq_reached(s->ack, mine->want);
}

/* The report-once rule; DESIGN 3. */
static __always_inline _Bool is_to_report(const struct flow_half *mine, const struct reported *r)
{
	const struct segment_record *s = &r->segment;

	/* Signed: another CPU may have stored a time later than ours. */
	__s64 silent_ns = s->time_ns - mine->reported_ns;

	return mine->owner == s->point || flow_is_news(mine, r->kinds, s->seq, r->fin) || is_awaited(mine, s) ||
	       silent_ns > OWNER_SILENT_NS;
}

static __always_inline enum disposition emit_or_lose(struct __sk_buff *skb, const struct reported *r)
{
	enum disposition what = emit(skb, r);

	if (what == DISPOSITION_RING_FULL)
		__sync_fetch_and_add(&shared.records_lost, 1);
	return what;
}

/* Decides about a control segment, and returns what became of it. */
static __always_inline enum disposition report_control(struct __sk_buff *skb, struct flow_half *mine,
						       struct flow_half *theirs, const struct reported *r)
{
	const struct segment_record *s = &r->segment;

	if (!is_to_report(mine, r))
		return DISPOSITION_DUPLICATE;
	/* A new attempt on the same socket pair; in a simultaneous open the peer's SYN belongs to it. */
	if ((r->kinds & KIND_SYN) && (!(mine->reported & KIND_SYN) || mine->syn != s->seq)) {
		*mine = (struct flow_half){};
		if (theirs->reported != KIND_SYN)
			*theirs = (struct flow_half){};
	}
	/* The entry before the record, so that a record that finds the ring full counts once. */
	mine->owner = s->point;
	mine->reported_ns = s->time_ns;
	flow_note(mine, r->kinds, s->seq, r->fin);
	note_acknowledgments(mine, theirs, r);
	return emit_or_lose(skb, r);
}

static __always_inline void report_segment(struct __sk_buff *skb, const struct identity *whose,
					   struct point_counters *c, const struct packet *p)
{
	struct reported r;
	struct flow_key key;
	struct flow *flow;
	__u32 dir;

	report_read(skb, whose, p, &r);
	dir = flow_key(&key, &r.segment, whose->netns);
	if (r.kinds || whose->report_all) {
		c->control_segments_seen_total++;
		flow = flow_get_or_create(&key);
		/* Without an entry there is no rule: a report too many is better than a loss. */
		c->control_segments_total[flow ? report_control(skb, &flow->half[dir], &flow->half[!dir], &r)
					       : emit_or_lose(skb, &r)]++;
		return;
	}
	flow = bpf_map_lookup_elem(&flows, &key);
	if (!flow || !is_awaited(&flow->half[dir], &r.segment)) {
		pending_expire(r.own_hash, r.segment.time_ns);
		return;
	}
	c->control_segments_seen_total++;
	c->control_segments_total[report_control(skb, &flow->half[dir], &flow->half[!dir], &r)]++;
}
