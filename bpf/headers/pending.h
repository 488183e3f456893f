/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* The pending filter: "somebody here waits for an acknowledgment in this direction".
 *
 * The data path asks it for each segment, so it is one load from an array: no map lookup. An entry holds a tag from the
 * hash of (namespace, socket pair in the acknowledging direction) and a coarse time. It may say yes wrongly (then the
 * flow entry decides, and nothing is lost), and no wrongly only after a second and a false hit or another flow's arming
 * (then the tracker infers the acknowledgment). */
#pragma once

#include <linux/types.h>
#include <bpf/bpf_endian.h>
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

/* A word of the key: random, but that that of HASH_NETNS is another one for each namespace. A front has it in its
 * instructions. */
#define HASH_NETNS 1

static __always_inline __u64 hash_key(const _Bool front, int i, __u64 netns_key)
{
	if (front)
		return CONSTANT(CONSTANT_HASH + i);
	return self.hash_key[i] + (i == HASH_NETNS ? netns_key : 0);
}

/* The high bits of a product are good, and are used. But a series of addresses or ports makes a series of products,
 * whose terms may fall on few entries; so the high bits are folded into the low ones, which no series is like, and
 * multiplied once more. The factor is that of Knuth (6.4), negative, so that it has bits in both halves. With 24 the
 * false hits that a series of 100 000 makes were as few as those of random addresses, in models of 100 seeds each. */
static __always_inline __u64 hash_finish(__u64 h)
{
	h ^= h >> 24;
	return h * -1640531535ll;
}

/* Pairwise multilinear hashing (Lemire and Kaser 2014): products of words to which a secret was added, so that nobody
 * outside can aim at one entry.
 *
 * Words are as the packet holds them: the addresses of IPv4 in one, and the ports in one, the sender's first. */
static __always_inline __u64 hash_ipv4(const __u64 *addresses, const __u32 *ports, const _Bool front, __u64 netns_key)
{
	__u64 h = *addresses + hash_key(front, 0, 0);

	in_order(h);
	return hash_finish(h * (*ports + hash_key(front, HASH_NETNS, netns_key)));
}

/* Each step on its own: the front has few registers, as each that it must restore costs it. */
static __always_inline __u64 hash_ipv6(const __u64 *src, const __u64 *dst, const __u32 *ports, const _Bool front,
				       __u64 netns_key)
{
	__u64 h = src[1] + hash_key(front, 0, 0), g;

	in_order(h);
	h *= dst[1] + hash_key(front, HASH_NETNS, netns_key);
	in_order(h);
	g = dst[0] ^ *ports;
	in_order(g);
	g += hash_key(front, 3, 0);
	in_order(g);
	return hash_finish(h + g * (src[0] + hash_key(front, 2, 0)));
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
	/* An entry of the next two is young: the time of the CPU that armed it may be ahead of now. */
	return (__u8)(pending_epoch(now) + 2 - e->epoch) >= PENDING_EPOCHS + 2;
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
