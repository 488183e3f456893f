/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* What fronts and slow programs know of Ethernet, IP and TCP headers. */
#pragma once

#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/tcp.h>
#include "hook.h"
#include "pending.h"

#define IPV4_MORE_FRAGMENTS 0x2000 /* RFC 791 3.1 */
#define IPV4_FRAGMENT_OFFSET 0x1fff
#define VLAN_TAG_BYTES 4 /* the tag, and the type of what comes behind */
#define VLAN_TAGS_MAX 2	 /* 802.1Q, and 802.1ad around it */

/* The Ethernet type, before what it tells of. Not through struct ethhdr, which is packed: that would be two loads. */
static __always_inline __be16 ethernet_type(const void *l3)
{
	return *(const __be16 *)(l3 - 2);
}

static __always_inline _Bool is_vlan(__be16 type)
{
	return type == bpf_htons(ETH_P_8021Q) || type == bpf_htons(ETH_P_8021AD);
}

/* The data offset in bytes (RFC 9293 3.1). */
static __always_inline __u32 tcp_header_bytes(const struct tcphdr *tcp)
{
	return (((const __u8 *)tcp)[12] & 0xf0) >> 2;
}

/* The counter of a segment with ACK and perhaps PSH: the value of that flag is the distance of the two in memory. */
static __always_inline __u64 *segments_ack(struct point_counters *c, __u16 flags)
{
	_Static_assert(FLAG_PSH == sizeof(c->segments_total__ack[0]), "the flag is the distance");
	return (void *)c->segments_total__ack + (flags & FLAG_PSH);
}
