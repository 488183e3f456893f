/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* The pending filter: "somebody here waits for an acknowledgment in this direction".
 *
 * The data path asks it for each segment, so it is one load from an array: no map lookup. An entry holds a tag from the
 * hash of (namespace, socket pair in the acknowledging direction) and a coarse time. It may say yes wrongly (then the
 * flow entry decides, and nothing is lost), and no wrongly only after a second and a false hit or another flow's arming
 * (then the tracker infers the acknowledgment). */
#pragma once

#include <linux/types.h>
#include "maps.h"

#define PENDING_BITS 20
#define PENDING_TAG_NONE 0
#define PENDING_TAG_SHARED 255 /* more than one flow waits here: matches any */
#define PENDING_EPOCH_SHIFT 28 /* an epoch is 268 ms: few of a flood's entries are young at once */
#define PENDING_EPOCHS 4       /* after these an entry that gave a false hit is cleared */

struct pending_entry {
	__u8 tag;
	__u8 epoch;
};

/* A data section rather than a map, for a constant address; .data, not .bss, so that the loader can share it. */
struct pending_entry pending[1 << PENDING_BITS] SEC(".data.pending");

/* Addresses and ports as the packet holds them; IPv4 uses lo only. */
struct socket_pair {
	__u64 src_hi, src_lo;
	__u64 dst_hi, dst_lo;
	__u32 ports; /* source first */
};

/* Pairwise multilinear hashing (Lemire and Kaser 2014): products of words keyed with a secret, so that nobody outside
 * can aim at one entry. The high bits are good, and are used. IPv6 words are longer than the theorem allows: addresses
 * that differ in one byte alone spread over 2^8 entries only, but connections differ in their ports, too. */
static __always_inline __u64 pending_hash(const struct socket_pair *p, __u64 netns_key, _Bool ipv6)
{
	__u64 h = (p->src_lo + self.hash_seed[0]) * (p->dst_lo + self.hash_seed[1]) + p->ports * self.hash_seed[2] +
		  netns_key;

	if (ipv6)
		h += (p->src_hi + self.hash_seed[3]) * (p->dst_hi + self.hash_seed[4]);
	return h;
}

static __always_inline struct pending_entry *pending_at(__u64 hash)
{
	return &pending[hash >> (64 - PENDING_BITS)];
}

/* 1 to 128, from the bits below those of the index */
static __always_inline __u8 pending_tag(__u64 hash)
{
	return (hash >> (64 - PENDING_BITS - 7) & 0x7f) + 1;
}

/* Mostly the entry is empty, and no more is looked at. */
static __always_inline _Bool pending_test(__u64 hash)
{
	__u8 tag = pending_at(hash)->tag;

	return unlikely(tag != PENDING_TAG_NONE) && (tag == pending_tag(hash) || tag == PENDING_TAG_SHARED);
}

static __always_inline __u8 pending_epoch(__u64 now)
{
	return now >> PENDING_EPOCH_SHIFT;
}

static __always_inline _Bool pending_is_old(const struct pending_entry *e, __u64 now)
{
	return (__u8)(pending_epoch(now) - e->epoch) >= PENDING_EPOCHS;
}

/* Not atomic: two CPUs arming one entry at the same instant may lose one of them, and the tracker infers. */
static __always_inline void pending_arm(__u64 hash, __u64 now)
{
	struct pending_entry *e = pending_at(hash);
	__u8 tag = pending_tag(hash);

	if (e->tag != PENDING_TAG_NONE && e->tag != tag && !pending_is_old(e, now))
		tag = PENDING_TAG_SHARED;
	e->tag = tag;
	e->epoch = pending_epoch(now);
}

/* A shared entry stays: another flow may still wait. */
static __always_inline void pending_disarm(__u64 hash)
{
	struct pending_entry *e = pending_at(hash);

	if (e->tag == pending_tag(hash))
		e->tag = PENDING_TAG_NONE;
}

/* After a false hit: clear what has been waiting in vain. */
static __always_inline void pending_expire(__u64 hash, __u64 now)
{
	struct pending_entry *e = pending_at(hash);

	if (pending_is_old(e, now))
		e->tag = PENDING_TAG_NONE;
}
