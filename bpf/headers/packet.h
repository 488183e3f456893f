/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* What both programs know of Ethernet, IP and TCP headers. */
#pragma once

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/tcp.h>
#include <bpf/bpf_endian.h>
#include "maps.h"

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
