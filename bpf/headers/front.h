/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* The front: it counts the data segments without surprises, which are nearly all packets, and knows what is not TCP.
 * Headers are read in place, a bounds check for each, no helper but the counters' lookup. Everything else is for the
 * slow program; so no instruction here serves anything but the data path. */
#pragma once

#include "packet.h"

/* A plain TCP segment: ACK, perhaps PSH, nobody waits for it. Counts it and returns 1, or leaves it and returns 0. */
static __always_inline _Bool front_tcp(struct __sk_buff *skb, struct point_counters *c, const void *ip,
				       const struct tcphdr *tcp, __s32 segment_bytes, _Bool ipv6)
{
	/* Data offset, reserved bits and AE in one byte, the other flags in the next. */
	__u8 offset = ((const __u8 *)tcp)[12], flags = ((const __u8 *)tcp)[13];
	__s32 payload_bytes = segment_bytes - tcp_header_bytes(tcp);
	struct socket_pair pair;

	if (unlikely((flags & ~FLAG_PSH) != FLAG_ACK))
		return 0;
	/* BIG TCP has no length, which makes it negative here. */
	if (unlikely(offset < sizeof(*tcp) / 4 << 4 || payload_bytes < 0))
		return 0;
	if (not_for_us(skb, &self))
		return 0;
	socket_pair_of(&pair, ip, tcp, ipv6);
	if (unlikely(pending_test(pending_hash(&pair, &self, ipv6))) || self.report_all)
		return 0;
	(*segments_ack(c, flags))++;
	c->segment_bytes_total += payload_bytes;
	return 1;
}

/* Returns whether all is done: what is no TCP, and plain segments. */
static __always_inline _Bool front_packet(struct __sk_buff *skb)
{
	void *data, *end, *l3;
	struct point_counters *c;
	__u32 slot = self.slot;

	/* First, so that after this call the registers are the parser's. */
	c = bpf_map_lookup_elem(&counters, &slot);
	if (!c)
		return 1; /* for the verifier: the slot exists */
	data = (void *)(long)skb->data;
	end = (void *)(long)skb->data_end;
	l3 = data + ETH_HLEN;
	if (unlikely(l3 + sizeof(struct iphdr) + sizeof(struct tcphdr) > end))
		return 0;
	if (likely(ethernet_type(l3) == bpf_htons(ETH_P_IP))) {
		struct iphdr *ip = l3;

		if (ip->protocol != IPPROTO_TCP)
			return 1;
		/* Version and header length are one byte, and nearly always this. */
		if (unlikely(*(__u8 *)ip != 0x45 || ip->frag_off & bpf_htons(IPV4_FRAGMENT)))
			return 0;
		return front_tcp(skb, c, ip, (void *)(ip + 1), bpf_ntohs(ip->tot_len) - sizeof(*ip), 0);
	}
	if (ethernet_type(l3) == bpf_htons(ETH_P_IPV6)) {
		struct ipv6hdr *ip = l3;
		struct tcphdr *tcp = (void *)(ip + 1);

		/* UDP is most of what is no TCP; others may be extension headers. */
		if (unlikely(ip->nexthdr != IPPROTO_TCP))
			return ip->nexthdr == IPPROTO_UDP;
		if (unlikely((void *)(tcp + 1) > end))
			return 0;
		return front_tcp(skb, c, ip, tcp, bpf_ntohs(ip->payload_len), 1);
	}
	return ethernet_type(l3) != bpf_htons(ETH_P_8021Q) && ethernet_type(l3) != bpf_htons(ETH_P_8021AD);
}

/* Tells the slow program who we are. */
static __always_inline void front_hand_over(void)
{
	__u32 zero = 0;
	struct identity *whose = bpf_map_lookup_elem(&handoff, &zero);

	if (whose)
		*whose = self;
}
