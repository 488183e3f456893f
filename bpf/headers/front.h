/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* The front: it counts the data segments without surprises, which are nearly all packets, and knows what is not TCP.
 * Headers are read in place, a bounds check for each, no helper but the counters' lookup. Everything else is for the
 * slow program; so no instruction here serves anything but the data path. */
#pragma once

#include "packet.h"

/* A packet on its way through the front. ctx and xdp as in hook.h. */
struct passing {
	void *ctx;
	_Bool xdp;
	const void *frame; /* its first 14 bytes can be read, if the interface has Ethernet headers */
	const void *end;
	struct point_counters *c;
};

/* A plain TCP segment: ACK, perhaps PSH, nobody waits for it. Counts it and returns 1, or leaves it and returns 0. */
static __always_inline _Bool front_tcp(const struct passing *p, const struct tcphdr *tcp,
				       const struct socket_pair *pair, __s32 segment_bytes, _Bool ipv6)
{
	/* Data offset, reserved bits and AE in one byte, the other flags in the next. */
	__u8 offset = ((const __u8 *)tcp)[12], flags = ((const __u8 *)tcp)[13];
	__s32 payload_bytes = segment_bytes - tcp_header_bytes(tcp);

	if (unlikely((flags & ~FLAG_PSH) != FLAG_ACK))
		return 0;
	/* BIG TCP has no length, which makes it negative here. */
	if (unlikely(offset < sizeof(*tcp) / 4 << 4 || payload_bytes < 0))
		return 0;
	if (!self.point.egress && !self.point.l3 &&
	    unlikely(hook_not_for_us(p->ctx, p->xdp, self.point.slot, p->frame)))
		return 0;
	if (unlikely(pending_test(pending_hash(pair, self.point.netns_key, ipv6))) || self.point.report_all)
		return 0;
	(*segments_ack(p->c, flags))++;
	p->c->segment_bytes_total += payload_bytes;
	return 1;
}

static __always_inline _Bool front_ipv4(const struct passing *p, const struct iphdr *ip)
{
	const struct tcphdr *tcp = (const void *)(ip + 1);
	struct socket_pair pair;

	/* Version and header length are one byte, and nearly always this. */
	if (unlikely(*(const __u8 *)ip != 0x45))
		return 0;
	if (ip->protocol != IPPROTO_TCP)
		return 1;
	if (unlikely(ip->frag_off & bpf_htons(IPV4_MORE_FRAGMENTS | IPV4_FRAGMENT_OFFSET)))
		return 0;
	pair.src_hi = pair.dst_hi = 0;
	pair.src_lo = ip->saddr;
	pair.dst_lo = ip->daddr;
	pair.ports = *(const __u32 *)tcp;
	return front_tcp(p, tcp, &pair, bpf_ntohs(ip->tot_len) - sizeof(*ip), 0);
}

static __always_inline _Bool front_ipv6(const struct passing *p, const struct ipv6hdr *ip)
{
	const __u64 *src = (const __u64 *)&ip->saddr, *dst = (const __u64 *)&ip->daddr;
	const struct tcphdr *tcp = (const void *)(ip + 1);
	struct socket_pair pair;

	/* UDP is most of what is no TCP; others may be extension headers. */
	if (unlikely(ip->nexthdr != IPPROTO_TCP))
		return ip->nexthdr == IPPROTO_UDP;
	if (unlikely((const void *)(tcp + 1) > p->end))
		return 0;
	pair.src_hi = src[0];
	pair.src_lo = src[1];
	pair.dst_hi = dst[0];
	pair.dst_lo = dst[1];
	pair.ports = *(const __u32 *)tcp;
	return front_tcp(p, tcp, &pair, bpf_ntohs(ip->payload_len), 1);
}

/* The type of what is at l3, or 0 for the slow program to find out. */
static __always_inline __be16 front_type(const struct passing *p, const void *l3)
{
	if (!self.point.l3)
		return ethernet_type(l3);
	if (!p->xdp)
		return ((const struct __sk_buff *)p->ctx)->protocol;
	return *(const __u8 *)l3 == 0x45 ? bpf_htons(ETH_P_IP) : 0;
}

/* Neither IP nor a VLAN tag. Ingress may find the packet without its Ethernet header; see parse_link(). */
static __always_inline _Bool front_other(const struct passing *p, __be16 type)
{
	if (self.point.l3)
		return !p->xdp;
	return p->xdp || self.point.egress || type == ((const struct __sk_buff *)p->ctx)->protocol;
}

/* Returns whether all is done: what is no TCP, and plain segments. */
static __always_inline _Bool front_packet(void *ctx, const _Bool xdp)
{
	struct passing p = {.ctx = ctx, .xdp = xdp};
	__u32 slot = self.point.slot;
	const void *l3;

	/* First, so that after this call the registers are the parser's. */
	p.c = bpf_map_lookup_elem(&counters, &slot);
	if (!p.c)
		return 1; /* for the verifier: the slot exists */
	p.frame = hook_data(ctx, xdp);
	p.end = hook_data_end(ctx, xdp);
	l3 = p.frame + (self.point.l3 ? 0 : ETH_HLEN);
#pragma clang loop unroll(disable)
	for (int tags = 0; tags <= VLAN_TAGS_MAX; tags++) {
		__be16 type;

		if (unlikely(l3 + sizeof(struct iphdr) + sizeof(struct tcphdr) > p.end))
			return 0;
		type = front_type(&p, l3);
		if (likely(type == bpf_htons(ETH_P_IP)))
			return front_ipv4(&p, l3);
		if (type == bpf_htons(ETH_P_IPV6))
			return front_ipv6(&p, l3);
		if (!is_vlan(type))
			return front_other(&p, type);
		l3 += VLAN_TAG_BYTES;
	}
	return 0;
}

/* Tells the slow program who we are. */
static __always_inline void front_hand_over(void)
{
	__u32 zero = 0;
	struct identity *whose = bpf_map_lookup_elem(&handoff, &zero);

	if (whose)
		*whose = self.point;
}
