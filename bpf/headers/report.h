/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Report a control segment once for each namespace, and note what acknowledgment it waits for. */
#pragma once

#include "slow.h"
#include "clock.h"
#include "flow.h"
#include "rate.h"

/* A segment to report. */
struct reported {
	void *ctx;
	_Bool xdp;     /* as in hook.h */
	_Bool watched; /* for netobs watch */
	__u8 kinds;
	__u32 fin; /* position of a FIN, if there is one */
	__u64 netns_key;
	struct cpu *cpu;
	struct packet *packet; /* of the cpu */
};

/* Fills what the parser left, but for the time. */
static __always_inline void report_fill(struct reported *r)
{
	const struct identity *whose = &r->cpu->whose;
	struct segment_record *s = &r->packet->segment;

	s->point = whose->point;
	s->kind = RECORD_SEGMENT;
	s->forwarded = !r->xdp && whose->egress && ((struct __sk_buff *)r->ctx)->ingress_ifindex;
	s->options_bytes = 0;
	s->completes = 0;
	__builtin_memset(s->pad, 0, sizeof(s->pad));
	r->fin = s->seq + s->payload_bytes;
	r->kinds = segment_kinds(s->flags);
	r->netns_key = whose->netns_key;
}

static __always_inline void await(struct flow_half *half, enum awaited what, __u32 want, __u64 hash, __u64 now)
{
	if (half->has_acked && seq_reached(half->acked, want))
		return; /* known acknowledged */
	half->want = want;
	half->waiting |= what;
	pending_arm(hash, now);
}

/* What a reported segment answers, and what it waits for. mine is the direction of the segment, theirs the other one.
 */
static __always_inline void note_acknowledgments(struct flow_half *mine, struct flow_half *theirs,
						 const struct reported *r)
{
	const struct segment_record *s = &r->packet->segment;
	_Bool reset = r->kinds & KIND_RST, acks = s->flags & FLAG_ACK;
	__u64 now = s->time_ns;

	/* The highest: a segment that was overtaken takes nothing back. */
	if (acks && !reset && (!mine->has_acked || seq_reached(s->ack, mine->acked))) {
		mine->acked = s->ack;
		mine->has_acked = 1;
	}
	if (mine->waiting && (reset || (acks && seq_reached(s->ack, mine->want)))) {
		mine->waiting = 0;
		pending_disarm(segment_hash(s, 0, r->netns_key));
	}
	if (r->kinds & KIND_SYN_ACK)
		await(theirs, AWAITED_SYN_ACK, s->seq + 1, segment_hash(s, 1, r->netns_key), now);
	if ((r->kinds & KIND_FIN) && (theirs->reported & KIND_FIN)) {
		await(theirs, AWAITED_FIN, r->fin + 1, segment_hash(s, 1, r->netns_key), now);
		await(mine, AWAITED_FIN, theirs->fin + 1, segment_hash(s, 0, r->netns_key), now);
	}
}

static __always_inline enum disposition emit_with_options(const struct reported *r)
{
	struct segment_record_options *out = bpf_ringbuf_reserve(&ring, sizeof(*out), 0);
	const struct packet *p = r->packet;

	if (!out)
		return DISPOSITION_RING_FULL;
	out->segment = p->segment;
	/* If they are cut off, the segment itself is good. */
	if (hook_load_options(r->ctx, r->xdp, p->options_offset, out->options, p->options_bytes))
		out->segment.options_bytes = p->options_bytes;
	bpf_ringbuf_submit(out, wakeup_flag());
	return DISPOSITION_REPORTED;
}

static __always_inline enum disposition emit(const struct reported *r)
{
	struct segment_record *out;

	if (r->watched)
		return watch_emit(r->ctx, r->xdp, r->packet);
	if (r->packet->options_bytes && (r->packet->segment.flags & FLAG_SYN))
		return emit_with_options(r);
	out = bpf_ringbuf_reserve(&ring, sizeof(*out), 0);
	if (!out)
		return DISPOSITION_RING_FULL;
	*out = r->packet->segment;
	bpf_ringbuf_submit(out, wakeup_flag());
	return DISPOSITION_REPORTED;
}

/* What the segment acknowledges that the direction waits for: enum awaited. */
static __always_inline __u8 awaited(const struct flow_half *mine, const struct segment_record *s)
{
	return (s->flags & FLAG_ACK) && seq_reached(s->ack, mine->want) ? mine->waiting : 0;
}

/* A segment that begins something, and ends nothing: there may be a flood of them. */
static __always_inline _Bool is_limited(const struct reported *r)
{
	const struct segment_record *s = &r->packet->segment;

	return (r->kinds & (KIND_SYN | KIND_SYN_ACK)) && !(r->kinds & (KIND_FIN | KIND_RST)) && !s->completes &&
	       !rate_allows(s->time_ns);
}

static __always_inline enum disposition emit_or_lose(const struct reported *r)
{
	enum disposition what = is_limited(r) ? DISPOSITION_RATE_LIMITED : emit(r);

	if (what != DISPOSITION_REPORTED)
		__sync_fetch_and_add(&shared.records_lost, 1);
	return what;
}

static __always_inline _Bool owner_is_silent(const struct flow_half *mine, struct cpu *cpu)
{
	/* Signed: another CPU may have stored a time later than ours. */
	if ((__s64)(clock_coarse(cpu) - mine->reported_ns) < OWNER_SILENT_NS / 2)
		return 0;
	return (__s64)(clock_now(cpu) - mine->reported_ns) > OWNER_SILENT_NS;
}

/* The report-once rule; DESIGN 3. */
static __always_inline _Bool is_to_report(struct flow_half *mine, const struct reported *r, _Bool news)
{
	const struct segment_record *s = &r->packet->segment;

	return mine->owner == s->point || news || s->completes || owner_is_silent(mine, r->cpu) ||
	       flow_rival_sees(mine, s->point, r->kinds, s->seq);
}

/* Whether to report a control segment. If so, its flow entry has changed, before there is a record: one that finds the
 * ring full counts once. */
static __always_inline _Bool report_decide(struct flow_half *mine, struct flow_half *theirs, const struct reported *r)
{
	struct segment_record *s = &r->packet->segment;
	_Bool news = flow_is_news(mine, r->kinds, s->seq, r->fin);

	s->completes = r->kinds & KIND_RST ? 0 : awaited(mine, s);
	if (!is_to_report(mine, r, news))
		return 0;
	s->time_ns = clock_now(r->cpu);
	/* A new attempt on the same socket pair; in a simultaneous open the peer's SYN belongs to it. */
	if ((r->kinds & KIND_SYN) && (!(mine->reported & KIND_SYN) || mine->iss != s->seq)) {
		flow_forget(mine);
		if ((theirs->reported & ~KIND_PREVIOUS) != KIND_SYN)
			flow_forget(theirs);
	}
	mine->owner = s->point;
	mine->reported_ns = s->time_ns;
	if (r->kinds) {
		flow_owner_reports(mine, r->kinds, news);
		flow_note(mine, r->kinds, s->seq, r->fin);
		if (r->kinds & KIND_FIN)
			flow_fence(mine);
	}
	note_acknowledgments(mine, theirs, r);
	return 1;
}

/* The CPU's packet, which is counted. watched is a constant. */
static __always_inline void report(void *ctx, const _Bool xdp, const _Bool watched)
{
	struct reported r = {.ctx = ctx, .xdp = xdp, .watched = watched};
	enum disposition what = DISPOSITION_DUPLICATE;
	struct segment_record *s;
	struct flow_key key;
	struct flow *flow;
	struct at_work w;
	__u32 dir;

	if (!slow_begin(&w))
		return;
	r.cpu = w.cpu;
	r.packet = &w.cpu->packet;
	s = &r.packet->segment;
	report_fill(&r);
	dir = flow_key(&key, s, w.cpu->whose.netns);
	if (r.kinds || (watched && watching.all)) {
		flow = flow_get_or_create(&key);
	} else {
		flow = bpf_map_lookup_elem(&flows, &key);
		if (!flow || !awaited(&flow->half[dir], s)) {
			/* No false hit while this flow itself waits: what it waits for may take longer than an
			 * entry is young. */
			if (!flow || !flow->half[dir].waiting)
				pending_expire(segment_hash(s, 0, r.netns_key), clock_coarse(w.cpu));
			return;
		}
	}
	w.c->control_segments_seen_total++;
	/* Without an entry there is no rule: a report too many is better than a loss. */
	if (!flow)
		s->time_ns = clock_now(w.cpu);
	if (!flow || report_decide(&flow->half[dir], &flow->half[!dir], &r))
		what = emit_or_lose(&r);
	w.c->control_segments_total[what]++;
}
