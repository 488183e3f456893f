/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* What the fronts pass on: every packet that is not TCP, is counted as a segment, or ends in one named counter. */
#pragma once

#include "packet.h"

/* IPv6 next-header values that may stand before TCP (RFC 8200 4.1, the IANA registry). */
#define IPV6_HOP_BY_HOP 0
#define IPV6_ROUTING 43
#define IPV6_FRAGMENT 44
#define IPV6_AUTHENTICATION 51
#define IPV6_DESTINATION 60
#define IPV6_MOBILITY 135
#define IPV6_HIP 139
#define IPV6_SHIM6 140

/* A TCP packet. The pointers are into the packet. */
struct packet {
	void *ip; /* struct ipv6hdr iff ipv6, else struct iphdr */
	struct tcphdr *tcp;
	__u32 payload_bytes;
	__u16 flags; /* enum tcp_flag */
	_Bool ipv6;
};

/* What parse() says of a packet; smaller values are an enum unparsed_reason. */
enum parsed {
	PARSED_TCP = UNPARSED_REASON_LEN,
	PARSED_NOT_TCP,
};

/* The packet is longer than what can be read directly, or it is not. */
static __always_inline int parse_short(struct __sk_buff *skb)
{
	return skb->data_end - skb->data < skb->len ? UNPARSED_NOT_LINEAR : UNPARSED_TRUNCATED;
}

/* segment_bytes: TCP header and payload, as the IP header says; negative if that contradicts itself */
static __always_inline int parse_tcp(struct __sk_buff *skb, struct packet *p, __s32 segment_bytes)
{
	__u32 header;

	if ((void *)(p->tcp + 1) > (void *)(long)skb->data_end)
		return parse_short(skb);
	header = tcp_header_bytes(p->tcp);
	/* Four bits of data offset, three reserved, nine flags (RFC 9293 3.1, RFC 9768). */
	p->flags = bpf_ntohs(*((__be16 *)p->tcp + 6)) & 0x1ff;
	p->payload_bytes = segment_bytes - header;
	return header < sizeof(*p->tcp) || (__s32)p->payload_bytes < 0 ? UNPARSED_MALFORMED : PARSED_TCP;
}

static __always_inline int parse_ipv4(struct __sk_buff *skb, struct packet *p, void *l3)
{
	struct iphdr *ip = l3;
	__u32 header;

	if ((void *)(ip + 1) > (void *)(long)skb->data_end)
		return parse_short(skb);
	if (ip->protocol != IPPROTO_TCP)
		return PARSED_NOT_TCP;
	if (ip->frag_off & bpf_htons(IPV4_FRAGMENT))
		return UNPARSED_FRAGMENT;
	header = ipv4_header_bytes(ip);
	if (*(__u8 *)ip >> 4 != 4 || header < sizeof(*ip))
		return UNPARSED_MALFORMED;
	p->ip = ip;
	p->tcp = l3 + header;
	p->ipv6 = 0;
	return parse_tcp(skb, p, ipv4_segment_bytes(skb, ip, header));
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
static __always_inline int parse_ipv6_extension(struct __sk_buff *skb, const struct ipv6hdr *ip)
{
	/* The first byte of each extension header says what is next (RFC 8200 4). */
	const __u8 *next = (const void *)(ip + 1);

	if (!is_ipv6_extension(ip->nexthdr))
		return PARSED_NOT_TCP;
	if ((void *)(next + 1) <= (void *)(long)skb->data_end && *next != IPPROTO_TCP && !is_ipv6_extension(*next))
		return PARSED_NOT_TCP;
	return ip->nexthdr == IPV6_FRAGMENT ? UNPARSED_FRAGMENT : UNPARSED_IPV6_EXTENSION;
}

static __always_inline int parse_ipv6(struct __sk_buff *skb, struct packet *p, void *l3)
{
	struct ipv6hdr *ip = l3;

	if ((void *)(ip + 1) > (void *)(long)skb->data_end)
		return parse_short(skb);
	if (ip->nexthdr != IPPROTO_TCP)
		return parse_ipv6_extension(skb, ip);
	p->ip = ip;
	p->tcp = (void *)(ip + 1);
	p->ipv6 = 1;
	return parse_tcp(skb, p, ipv6_segment_bytes(skb, ip));
}

/* Returns an enum parsed or an enum unparsed_reason. Fills p iff PARSED_TCP. */
static __always_inline int parse(struct __sk_buff *skb, struct packet *p)
{
	void *l3 = (void *)(long)skb->data + ETH_HLEN;

	if (l3 > (void *)(long)skb->data_end)
		return parse_short(skb);
	switch (ethernet_type(l3)) {
	case bpf_htons(ETH_P_IP):
		return parse_ipv4(skb, p, l3);
	case bpf_htons(ETH_P_IPV6):
		return parse_ipv6(skb, p, l3);
	case bpf_htons(ETH_P_8021Q):
	case bpf_htons(ETH_P_8021AD):
		return UNPARSED_VLAN;
	}
	return PARSED_NOT_TCP;
}

static __always_inline void count_segment(struct point_counters *c, const struct packet *p)
{
	c->segment_bytes_total += p->payload_bytes;
	if ((p->flags & 0xff & ~FLAG_PSH) == FLAG_ACK) {
		(*segments_ack(c, p->flags))++;
		return;
	}
	c->segments_total__other++;
	/* Unrolled: one load, add and store for each flag. */
#pragma unroll
	for (int i = 0; i < FLAGS_COUNTED; i++)
		c->flags_total[i] += p->flags >> i & 1;
}

/* Counts the packet. Returns whether it may be of interest beyond that: a control segment, or one that the filter let
 * through. Then p is filled. */
static __always_inline _Bool slow_count(struct __sk_buff *skb, const struct identity *whose, struct point_counters *c,
					struct packet *p)
{
	struct socket_pair pair;
	int what = parse(skb, p);

	if (what == PARSED_NOT_TCP)
		return 0;
	if (what == PARSED_TCP && not_for_us(skb, whose))
		what = UNPARSED_NOT_FOR_US;
	if (what < UNPARSED_REASON_LEN) {
		c->unparsed_packets_total[what]++;
		return 0;
	}
	count_segment(c, p);
	if ((p->flags & (FLAG_SYN | FLAG_FIN | FLAG_RST)) || whose->report_all)
		return 1;
	socket_pair_of(&pair, p->ip, p->tcp, p->ipv6);
	return pending_test(pending_hash(&pair, whose, p->ipv6));
}
