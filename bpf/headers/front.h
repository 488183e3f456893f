/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* The front: parse, count, ask the filter. Headers are read in place, a bounds check for each, no helper; a data
 * segment without surprises runs straight through. */
#pragma once

#include <linux/if_packet.h>
#include <linux/in.h>
#include "packet.h"
#include "pending.h"

#define IPV4_FRAGMENT 0x3fff /* more-fragments bit and offset (RFC 791 3.1) */

/* IPv6 next-header values that may stand before TCP (RFC 8200 4.1, the IANA registry). */
#define IPV6_HOP_BY_HOP 0
#define IPV6_ROUTING 43
#define IPV6_FRAGMENT 44
#define IPV6_AUTHENTICATION 51
#define IPV6_DESTINATION 60
#define IPV6_MOBILITY 135
#define IPV6_HIP 139
#define IPV6_SHIM6 140

/* What the front says of a packet; smaller values are an enum unparsed_reason. */
enum front_verdict {
	FRONT_DONE = UNPARSED_REASON_LEN, /* not TCP, or a segment that is counted */
	FRONT_REPORT,			  /* a segment that is counted, for the report program */
};

/* The packet is longer than what can be read directly, or it is not. */
static __always_inline int front_short(struct __sk_buff *skb)
{
	return skb->data_end - skb->data < skb->len ? UNPARSED_NOT_LINEAR : UNPARSED_TRUNCATED;
}

/* Does a bridge bother this namespace with a packet for somebody else? The IP stack will drop it (ip_rcv). */
static __always_inline _Bool not_for_us(struct __sk_buff *skb)
{
	return !self.egress && unlikely(skb->pkt_type == PACKET_OTHERHOST) && !shared.bridge_port[self.slot];
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

/* segment_bytes: TCP header and payload, as the IP header says; negative if that contradicts itself */
static __always_inline int front_tcp(struct __sk_buff *skb, struct point_counters *c, const void *ip,
				     const struct tcphdr *tcp, __s32 segment_bytes, _Bool ipv6)
{
	__u8 flags = ((const __u8 *)tcp)[13];
	__u32 header = tcp_header_bytes(tcp);
	__s32 payload_bytes = segment_bytes - header;
	struct socket_pair pair;
	__u64 hash;

	if (unlikely(header < sizeof(*tcp) || payload_bytes < 0))
		return UNPARSED_MALFORMED;
	if (not_for_us(skb))
		return UNPARSED_NOT_FOR_US;
	c->segment_bytes_total += payload_bytes;
	if (unlikely((flags & ~FLAG_PSH) != FLAG_ACK)) {
		c->segments_total__other++;
		/* Unrolled: one load, add and store for each flag. */
#pragma unroll
		for (int i = 0; i < FLAGS_COUNTED; i++)
			c->flags_total[i] += flags >> i & 1;
		if (flags & (FLAG_SYN | FLAG_FIN | FLAG_RST))
			return FRONT_REPORT;
	} else {
		c->segments_total__ack[!!(flags & FLAG_PSH)]++;
	}
	socket_pair_of(&pair, ip, tcp, ipv6);
	hash = pending_hash(&pair, &self, ipv6);
	return pending_test(hash) || report_all ? FRONT_REPORT : FRONT_DONE;
}

static __always_inline int front_ipv4(struct __sk_buff *skb, struct point_counters *c, struct iphdr *ip)
{
	void *end = (void *)(long)skb->data_end;
	struct tcphdr *tcp = (void *)(ip + 1);
	__u32 header = sizeof(*ip);

	if (ip->protocol != IPPROTO_TCP)
		return FRONT_DONE;
	if (unlikely(ip->frag_off & bpf_htons(IPV4_FRAGMENT)))
		return UNPARSED_FRAGMENT;
	/* Version and header length are one byte, and nearly always this. */
	if (unlikely(*(__u8 *)ip != 0x45)) {
		header = ipv4_header_bytes(ip);
		tcp = (void *)ip + header;
		if (*(__u8 *)ip >> 4 != 4 || header < sizeof(*ip))
			return UNPARSED_MALFORMED;
		if ((void *)(tcp + 1) > end)
			return front_short(skb);
	}
	return front_tcp(skb, c, ip, tcp, ipv4_segment_bytes(skb, ip, header), 0);
}

static __always_inline _Bool is_ipv6_extension(__u8 header)
{
	switch (header) {
	case IPV6_HOP_BY_HOP:
	case IPV6_ROUTING:
	case IPV6_FRAGMENT:
	case IPV6_AUTHENTICATION:
	case IPV6_DESTINATION:
	case IPV6_MOBILITY:
	case IPV6_HIP:
	case IPV6_SHIM6:
		return 1;
	}
	return 0;
}

/* No TCP header behind the IPv6 header. May it come later? One header is looked into, so that the usual ones, of
 * neighbour and multicast listener discovery, are not called unparsed. */
static __always_inline int front_ipv6_extension(struct __sk_buff *skb, const struct ipv6hdr *ip)
{
	/* The first byte of each extension header says what is next (RFC 8200 4). */
	const __u8 *next = (const void *)(ip + 1);

	if (!is_ipv6_extension(ip->nexthdr))
		return FRONT_DONE;
	if ((void *)(next + 1) <= (void *)(long)skb->data_end && *next != IPPROTO_TCP && !is_ipv6_extension(*next))
		return FRONT_DONE;
	return ip->nexthdr == IPV6_FRAGMENT ? UNPARSED_FRAGMENT : UNPARSED_IPV6_EXTENSION;
}

static __always_inline int front_ipv6(struct __sk_buff *skb, struct point_counters *c, struct ipv6hdr *ip)
{
	void *end = (void *)(long)skb->data_end;
	struct tcphdr *tcp = (void *)(ip + 1);

	if (unlikely(ip->nexthdr != IPPROTO_TCP))
		return front_ipv6_extension(skb, ip);
	if (unlikely((void *)(tcp + 1) > end))
		return front_short(skb);
	return front_tcp(skb, c, ip, tcp, ipv6_segment_bytes(skb, ip), 1);
}

/* Fewer bytes to read than the smallest TCP segment has: is it TCP, or may it be? */
static __always_inline int front_small(struct __sk_buff *skb, void *l3)
{
	void *end = (void *)(long)skb->data_end;
	struct iphdr *ip = l3;

	if (l3 > end)
		return front_short(skb);
	if (ethernet_type(l3) == bpf_htons(ETH_P_IPV6))
		return front_short(skb);
	if (ethernet_type(l3) != bpf_htons(ETH_P_IP))
		return FRONT_DONE;
	if ((void *)(ip + 1) > end)
		return front_short(skb);
	if (ip->protocol != IPPROTO_TCP)
		return FRONT_DONE;
	/* A last fragment may be as short as that. */
	return ip->frag_off & bpf_htons(IPV4_FRAGMENT) ? UNPARSED_FRAGMENT : front_short(skb);
}

/* Returns an enum front_verdict or an enum unparsed_reason. */
static __always_inline int front_ethernet(struct __sk_buff *skb, struct point_counters *c)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	void *l3 = data + ETH_HLEN;

	if (unlikely(l3 + sizeof(struct iphdr) + sizeof(struct tcphdr) > end))
		return front_small(skb, l3);
	switch (ethernet_type(l3)) {
	case bpf_htons(ETH_P_IP):
		return front_ipv4(skb, c, l3);
	case bpf_htons(ETH_P_IPV6):
		return front_ipv6(skb, c, l3);
	case bpf_htons(ETH_P_8021Q):
	case bpf_htons(ETH_P_8021AD):
		return UNPARSED_VLAN;
	default:
		return FRONT_DONE;
	}
}

/* Counts the packet. Returns whether the report program is to see it; then it finds our identity. */
static __always_inline _Bool front_packet(struct __sk_buff *skb)
{
	struct point_counters *c;
	struct identity *whose;
	__u32 slot = self.slot, zero = 0;
	int verdict;

	/* First, so that after this call the registers are the parser's. */
	c = bpf_map_lookup_elem(&counters, &slot);
	if (!c)
		return 0; /* for the verifier: the slot exists */
	verdict = front_ethernet(skb, c);
	if (unlikely(verdict < FRONT_DONE))
		c->unparsed_packets_total[verdict]++;
	if (verdict != FRONT_REPORT)
		return 0;
	whose = bpf_map_lookup_elem(&handoff, &zero);
	if (!whose)
		return 0; /* for the verifier */
	*whose = self;
	return 1;
}
