/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* The pending filter: "somebody here waits for an acknowledgment in this direction".
 *
 * The data path asks it for each segment, so it is one load from an array: no map lookup. That is a bucket of four
 * entries, mostly empty. An entry holds a tag from the seeded hash of (namespace, socket pair in the acknowledging
 * direction) and a coarse time. The filter may say yes wrongly (then the flow entry decides, and nothing is lost), and
 * no wrongly only after a second and a false hit or another flow's arming (then the tracker infers the acknowledgment).
 *
 * With 100 000 flows that wait, one in 1 300 others has the tag of one in its bucket, and one in 5 000 a bucket where
 * more than four wait. */
#pragma once

#include <linux/types.h>
#include <bpf/bpf_endian.h>
#include "maps.h"

#define PENDING_BITS 18	  /* of a bucket's index */
#define PENDING_ENTRIES 4 /* of a bucket */
#define PENDING_TAG_BITS 10
#define PENDING_TAG_MASK ((1 << PENDING_TAG_BITS) - 1)
#define PENDING_TAG_NONE 0
#define PENDING_TAG_SHARED                                                                                             \
	PENDING_TAG_MASK       /* of the first entry: more flows wait than there are entries; matches any */
#define PENDING_EPOCH_SHIFT 28 /* an epoch is 268 ms: few of a flood's entries are young at once */
#define PENDING_EPOCH_MASK 63
#define PENDING_EPOCHS 4 /* after these an entry that gave a false hit is cleared */

/* Entries have the tag in their low bits and the epoch in the others. */
struct pending_bucket {
	__u16 entry[PENDING_ENTRIES];
} __attribute__((aligned(8)));

/* A value for each entry of a bucket. */
#define PENDING_EACH(value) ((value) * 0x0001000100010001ull)

/* A data section rather than a map, for a constant address; .data, not .bss, so that the loader can share it. */
struct pending_bucket pending[1 << PENDING_BITS] SEC(".data.pending");

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

static __always_inline struct pending_bucket *pending_at(__u64 hash)
{
	return &pending[hash >> (64 - PENDING_BITS)];
}

/* 1 to 512, from the bits below those of the index */
static __always_inline __u16 pending_tag(__u64 hash)
{
	return (hash >> (64 - PENDING_BITS - 9) & 0x1ff) + 1;
}

static __always_inline __u16 pending_tag_of(__u16 entry)
{
	return entry & PENDING_TAG_MASK;
}

/* Mostly the bucket is empty, and no more is looked at. Else its entries are compared together: what differs from the
 * tag carries into the highest bit of its entry. */
static __always_inline _Bool pending_test(__u64 hash)
{
	const struct pending_bucket *bucket = pending_at(hash);
	__u64 entries = *(const __u64 *)bucket;

	if (likely(!entries))
		return 0;
	if (pending_tag_of(bucket->entry[0]) == PENDING_TAG_SHARED)
		return 1;
	entries ^= PENDING_EACH((__u64)pending_tag(hash));
	entries &= PENDING_EACH(PENDING_TAG_MASK);
	in_order(entries); /* see hash_ipv6() */
	entries += PENDING_EACH(0x7fff);
	in_order(entries);
	return (entries & PENDING_EACH(0x8000)) != PENDING_EACH(0x8000);
}

static __always_inline __u16 pending_entry(__u16 tag, __u64 now)
{
	return tag | now >> PENDING_EPOCH_SHIFT << PENDING_TAG_BITS;
}

static __always_inline _Bool pending_is_old(__u16 entry, __u64 now)
{
	/* An entry of the next two epochs is young: the time of the CPU that armed it may be ahead of now. */
	__u32 age = (now >> PENDING_EPOCH_SHIFT) + 2 - (entry >> PENDING_TAG_BITS);

	return (age & PENDING_EPOCH_MASK) >= PENDING_EPOCHS + 2;
}

/* Not atomic: two CPUs arming one entry at the same instant may lose one of them, and the tracker infers. */
static __always_inline void pending_arm(__u64 hash, __u64 now)
{
	__u16 *entry = pending_at(hash)->entry, tag = pending_tag(hash);
	__u32 place = PENDING_ENTRIES;

#pragma unroll
	for (int i = PENDING_ENTRIES - 1; i >= 0; i--)
		if (entry[i] == PENDING_TAG_NONE || pending_is_old(entry[i], now))
			place = i;
#pragma unroll
	for (int i = 0; i < PENDING_ENTRIES; i++)
		if (pending_tag_of(entry[i]) == tag)
			place = i;
	if (place == PENDING_ENTRIES) {
		place = 0;
		tag = PENDING_TAG_SHARED;
	}
	entry[place] = pending_entry(tag, now);
}

/* What is shared stays: another flow may still wait. */
static __always_inline void pending_disarm(__u64 hash)
{
	__u16 *entry = pending_at(hash)->entry, tag = pending_tag(hash);

#pragma unroll
	for (int i = 0; i < PENDING_ENTRIES; i++)
		if (pending_tag_of(entry[i]) == tag)
			entry[i] = PENDING_TAG_NONE;
}

/* After a false hit: clear what has been waiting in vain. */
static __always_inline void pending_expire(__u64 hash, __u64 now)
{
	__u16 *entry = pending_at(hash)->entry, tag = pending_tag(hash);

#pragma unroll
	for (int i = 0; i < PENDING_ENTRIES; i++) {
		_Bool mine = pending_tag_of(entry[i]) == tag || (!i && pending_tag_of(entry[i]) == PENDING_TAG_SHARED);

		if (mine && pending_is_old(entry[i], now))
			entry[i] = PENDING_TAG_NONE;
	}
}
