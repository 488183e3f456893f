/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* What both programs know of Ethernet, IP and TCP headers. */
#pragma once

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/tcp.h>
#include <bpf/bpf_endian.h>
#include "maps.h"
#include "pending.h"

#define IPV4_FRAGMENT 0x3fff /* more-fragments bit and offset (RFC 791 3.1) */

/* The Ethernet type, before l3. Not through struct ethhdr, which is packed: that would be two loads. */
static __always_inline __be16 ethernet_type(const void *l3)
{
	return *(const __be16 *)(l3 - 2);
}

static __always_inline __u32 ipv4_header_bytes(const struct iphdr *ip)
{
	return (*(const __u8 *)ip & 0xf) << 2;
}

/* Bytes of the TCP header and payload, as the IP header says: not what the frame holds, which may be padded. A length
 * of zero is BIG TCP, over 64 KiB. */
static __always_inline __s32 ipv4_segment_bytes(struct __sk_buff *skb, const struct iphdr *ip, __u32 header)
{
	__u32 total = bpf_ntohs(ip->tot_len);

	if (unlikely(!total))
		total = skb->len - ETH_HLEN;
	return total - header;
}

static __always_inline __s32 ipv6_segment_bytes(struct __sk_buff *skb, const struct ipv6hdr *ip)
{
	__u32 payload = bpf_ntohs(ip->payload_len);

	if (unlikely(!payload))
		payload = skb->len - ETH_HLEN - sizeof(*ip);
	return payload;
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

/* Does a bridge bother this namespace with a packet for somebody else? The IP stack will drop it (ip_rcv). */
static __always_inline _Bool not_for_us(struct __sk_buff *skb, const volatile struct identity *whose)
{
	return !whose->egress && unlikely(skb->pkt_type == PACKET_OTHERHOST) &&
	       !shared.bridge_port[whose->slot & (MAX_POINTS - 1)];
}

static __always_inline void socket_pair_of(struct socket_pair *pair, const void *ip, const void *tcp, _Bool ipv6)
{
	if (ipv6) {
		const __u64 *src = (const __u64 *)&((const struct ipv6hdr *)ip)->saddr;
		const __u64 *dst = (const __u64 *)&((const struct ipv6hdr *)ip)->daddr;

		pair->src_hi = src[0];
		pair->src_lo = src[1];
		pair->dst_hi = dst[0];
		pair->dst_lo = dst[1];
	} else {
		pair->src_hi = pair->dst_hi = 0;
		pair->src_lo = ((const struct iphdr *)ip)->saddr;
		pair->dst_lo = ((const struct iphdr *)ip)->daddr;
	}
	pair->ports = *(const __u32 *)tcp;
}
