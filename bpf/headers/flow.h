/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* The flow entry: which point reports a connection's control segments in this namespace, and what was reported.
 * Touched by control segments and filter hits only. No lock: a race costs at worst one report too many, which the
 * tracker absorbs. */
#pragma once

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include "netobs.h"

/* Default; the loader may choose another. An attempt is remembered for 3 s: 100 000 of them each second. */
#define MAX_FLOWS 300000
#define OWNER_SILENT_NS (3 * 1000 * 1000 * 1000ll)

/* The socket pair in canonical order: the lower address and port first. */
struct flow_key {
	__u64 addr[2][2];
	__u32 netns;
	__u32 ports; /* the first one's in the high half */
};

_Static_assert(sizeof(struct flow_key) == 40, "a map key has no hidden padding");

enum segment_kind {
	KIND_SYN = 1 << 0,
	KIND_SYN_ACK = 1 << 1,
	KIND_FIN = 1 << 2,
	KIND_RST = 1 << 3,
	/* Of flow_half.reported only: there was an attempt before, whose first position is known. */
	KIND_PREVIOUS = 1 << 4,
};

/* These have the first position, the initial sequence number. */
#define KINDS_FIRST (KIND_SYN | KIND_SYN_ACK)

/* One direction. Its current segment is the last one with SYN, FIN or RST that was reported: of these kinds, at that
 * position. */
struct flow_half {
	__u64 reported_ns;  /* time of the owner's last report */
	__u32 owner;	    /* point that reports; 0: none yet */
	__u32 rival;	    /* first other point that saw the current segment, too; 0: none */
	__u16 owner_copies; /* how often the owner reported the current segment; no more than COPIES_MAX */
	__u16 rival_copies; /* how often the rival saw it */
	__u32 iss;	    /* position of the last reported SYN or SYN-ACK; valid iff reported has one of them */
	union {
		__u32 fin; /* position of the last reported FIN; valid iff reported has it */
		/* iss of the attempt before; valid iff reported has KIND_PREVIOUS and no KIND_FIN */
		__u32 previous_iss;
	};
	__u32 acked;	/* highest acknowledgment reported; valid iff has_acked */
	__u32 want;	/* awaited acknowledgment; valid iff waiting */
	__u8 reported;	/* enum segment_kind */
	__u8 current;	/* enum segment_kind, of the current segment */
	__u8 has_acked; /* bool */
	__u8 waiting;	/* enum awaited */
};

#define COPIES_MAX 0xffff

_Static_assert(sizeof(struct flow_half) == 40, "there are many of them");

/* Indexed by the direction: who sends, as in flow_key. */
struct flow {
	struct flow_half half[2];
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, MAX_FLOWS);
	__type(key, struct flow_key);
	__type(value, struct flow);
} flows SEC(".maps");

/* a - b >= 0 in sequence space (RFC 9293 3.4) */
static __always_inline _Bool seq_reached(__u32 a, __u32 b)
{
	return (__s32)(a - b) >= 0;
}

/* Fills key and returns the direction of the segment: 0 if its sender is the first of the key. */
static __always_inline __u32 flow_key(struct flow_key *key, const struct segment_record *s, __u32 netns)
{
	const __u64 *src = (const __u64 *)s->src, *dst = (const __u64 *)s->dst;
	__u32 dir = src[0] != dst[0] ? src[0] > dst[0] : src[1] != dst[1] ? src[1] > dst[1] : s->src_port > s->dst_port;

	key->netns = netns;
	if (dir) {
		key->addr[0][0] = dst[0];
		key->addr[0][1] = dst[1];
		key->addr[1][0] = src[0];
		key->addr[1][1] = src[1];
		key->ports = (__u32)s->dst_port << 16 | s->src_port;
	} else {
		key->addr[0][0] = src[0];
		key->addr[0][1] = src[1];
		key->addr[1][0] = dst[0];
		key->addr[1][1] = dst[1];
		key->ports = (__u32)s->src_port << 16 | s->dst_port;
	}
	return dir;
}

/* NULL if the map is full of entries in use, which an LRU map reports only under contention. */
static __always_inline struct flow *flow_get_or_create(const struct flow_key *key)
{
	struct flow *flow = bpf_map_lookup_elem(&flows, key);
	struct flow fresh = {};

	if (flow)
		return flow;
	bpf_map_update_elem(&flows, key, &fresh, BPF_NOEXIST);
	return bpf_map_lookup_elem(&flows, key);
}

static __always_inline __u8 segment_kinds(__u16 flags)
{
	__u8 kinds = 0;

	if (flags & FLAG_SYN)
		kinds |= flags & FLAG_ACK ? KIND_SYN_ACK : KIND_SYN;
	if (flags & FLAG_FIN)
		kinds |= KIND_FIN;
	if (flags & FLAG_RST)
		kinds |= KIND_RST;
	return kinds;
}

static __always_inline _Bool flow_has_previous(const struct flow_half *half)
{
	return (half->reported & (KIND_PREVIOUS | KIND_FIN)) == KIND_PREVIOUS;
}

/* Is one of the kinds, at its position, not yet reported in this direction? */
static __always_inline _Bool flow_is_news(const struct flow_half *half, __u8 kinds, __u32 seq, __u32 fin)
{
	/* Attempts may follow each other so fast that both are in a queue between two points. */
	if ((kinds & KINDS_FIRST) && flow_has_previous(half) && half->previous_iss == seq)
		kinds &= ~KINDS_FIRST;
	return (kinds & ~half->reported) || ((kinds & KINDS_FIRST) && half->iss != seq) ||
	       ((kinds & KIND_FIN) && half->fin != fin);
}

/* Another attempt begins. The last one's first segment, and who reported it, are remembered. */
static __always_inline void flow_forget(struct flow_half *half)
{
	struct flow_half past = {.reported_ns = half->reported_ns, .owner = half->owner};

	if (half->reported & KINDS_FIRST) {
		past.previous_iss = half->iss;
		past.reported = KIND_PREVIOUS;
	} else if (flow_has_previous(half)) {
		past.previous_iss = half->previous_iss;
		past.reported = KIND_PREVIOUS;
	}
	*half = past;
}

static __always_inline void flow_note(struct flow_half *half, __u8 kinds, __u32 seq, __u32 fin)
{
	if (kinds & KINDS_FIRST) {
		if ((half->reported & KINDS_FIRST) && half->iss != seq) {
			half->reported &= ~KINDS_FIRST;
			if (!(half->reported & KIND_FIN)) {
				half->previous_iss = half->iss;
				half->reported |= KIND_PREVIOUS;
			}
		}
		half->iss = seq;
	}
	if (kinds & KIND_FIN)
		half->fin = fin;
	barrier(); /* first the position, for another CPU that looks whether there is one */
	half->reported |= kinds;
}

/* Of two FINs that two CPUs handle at once, each stores its own and then looks for the other: without a fence between,
 * both may look before they see, and no acknowledgment is awaited. An addition, of nothing, that does not fetch is all
 * that Linux 5.10 has. It is a fence on x86-64 and s390x; on arm64 it is none, and there the tracker's clock ends the
 * connection, 3 s later. */
static __always_inline void flow_fence(struct flow_half *half)
{
	__u32 nothing = 0;

	barrier_var(nothing); /* the compiler would make it an instruction that Linux 5.10 does not have */
	__sync_fetch_and_add(&half->fin, nothing);
}

static __always_inline void count_copy(__u16 *copies)
{
	if (*copies < COPIES_MAX)
		(*copies)++;
}

/* The owner reports a segment. */
static __always_inline void flow_owner_reports(struct flow_half *half, __u8 kinds, _Bool news)
{
	if (news || half->current != kinds) {
		half->current = kinds;
		half->owner_copies = half->rival_copies = 0;
		half->rival = 0;
	}
	count_copy(&half->owner_copies);
}

/* Another point sees what was reported. The owner may have lost its part of the path: then the first other one sees
 * more copies than it reported. Returns whether that is so. Copies that wait in a queue between the two change nothing,
 * however long that takes. */
static __always_inline _Bool flow_rival_sees(struct flow_half *half, __u32 point, __u8 kinds, __u32 seq)
{
	if (!kinds || half->current != kinds || ((kinds & KINDS_FIRST) && half->iss != seq))
		return 0;
	if (!half->rival)
		half->rival = point;
	if (half->rival != point)
		return 0;
	count_copy(&half->rival_copies);
	return half->rival_copies > half->owner_copies;
}
