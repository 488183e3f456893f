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

static __always_inline _Bool front_is_pending(const void *ip, const struct tcphdr *tcp, _Bool ipv6)
{
	const struct iphdr *ip4 = ip;
	const struct ipv6hdr *ip6 = ip;
	const void *ports = tcp;

	return pending_test(ipv6 ? hash_ipv6((const void *)&ip6->saddr, (const void *)&ip6->daddr, ports, 1, 0)
				 : hash_ipv4((const void *)&ip4->saddr, ports, 1, 0));
}

/* A plain TCP segment: ACK, perhaps PSH, nobody waits for it. Counts it and returns 1, or leaves it and returns 0. */
static __always_inline _Bool front_tcp(const struct passing *p, const void *ip, const struct tcphdr *tcp,
				       __s32 segment_bytes, _Bool ipv6)
{
	/* Data offset, reserved bits and AE in one byte, the other flags in the next. */
	__u8 offset = ((const __u8 *)tcp)[12], flags = ((const __u8 *)tcp)[13];
	__s32 payload_bytes = segment_bytes - tcp_header_bytes(tcp);
	volatile __s32 kept;

	if (unlikely((flags & ~FLAG_PSH) != FLAG_ACK))
		return 0;
	/* BIG TCP has no length, which makes it negative here. */
	if (unlikely(offset < sizeof(*tcp) / 4 << 4 || payload_bytes < 0))
		return 0;
	/* IPv6 needs its register for the hash. The stack is cheaper than another one, which all packets would pay for.
	 */
	if (ipv6)
		kept = payload_bytes;
	if (unlikely(front_is_pending(ip, tcp, ipv6)))
		return 0;
	if (ipv6)
		payload_bytes = kept;
	/* Read once more: that is cheaper than to keep it in a register. */
	(*segments_ack(p->c, ((const __u8 *)tcp)[13]))++;
	p->c->segment_bytes_total += payload_bytes;
	return 1;
}

static __always_inline _Bool front_ipv4(const struct passing *p, const struct iphdr *ip)
{
	const struct tcphdr *tcp = (const void *)(ip + 1);

	/* Version and header length are one byte, and nearly always this. */
	if (unlikely(*(const __u8 *)ip != 0x45))
		return 0;
	if (ip->protocol != IPPROTO_TCP)
		return 1;
	if (unlikely(ip->frag_off & bpf_htons(IPV4_MORE_FRAGMENTS | IPV4_FRAGMENT_OFFSET)))
		return 0;
	return front_tcp(p, ip, tcp, bpf_ntohs(ip->tot_len) - sizeof(*ip), 0);
}

static __always_inline _Bool front_ipv6(const struct passing *p, const struct ipv6hdr *ip)
{
	const struct tcphdr *tcp = (const void *)(ip + 1);

	/* UDP is most of what is no TCP; others may be extension headers. */
	if (unlikely(ip->nexthdr != IPPROTO_TCP))
		return ip->nexthdr == IPPROTO_UDP;
	if (unlikely((const void *)(tcp + 1) > p->end))
		return 0;
	return front_tcp(p, ip, tcp, bpf_ntohs(ip->payload_len), 1);
}

static __always_inline _Bool front_is_tagged(__be16 type)
{
	return type != bpf_htons(ETH_P_IP) && type != bpf_htons(ETH_P_IPV6) && is_vlan(type);
}

/* Returns whether all is done: what is no TCP, and plain segments. */
static __always_inline _Bool front_packet(void *ctx, const _Bool xdp)
{
	struct passing p = {.ctx = ctx, .xdp = xdp};
	__u32 slot = CONSTANT(CONSTANT_SLOT);
	const void *l3;
	__be16 type;

	/* First, so that after this call the registers are the parser's. */
	p.c = bpf_map_lookup_elem(&counters, &slot);
	if (unlikely(!p.c))
		return 0;
	p.frame = hook_data(ctx, xdp);
	p.end = hook_data_end(ctx, xdp);
	if (CONSTANT(CONSTANT_L3)) {
		l3 = p.frame;
		if (unlikely(l3 + sizeof(struct iphdr) + sizeof(struct tcphdr) > p.end))
			return 0;
		if (!xdp)
			type = ((const struct __sk_buff *)ctx)->protocol;
		else if (*(const __u8 *)l3 == 0x45)
			type = bpf_htons(ETH_P_IP);
		else
			return 0; /* nobody says what it is */
	} else {
		l3 = p.frame + ETH_HLEN;
		if (unlikely(l3 + sizeof(struct iphdr) + sizeof(struct tcphdr) > p.end))
			return 0;
		if (!CONSTANT(CONSTANT_EGRESS) && unlikely(hook_not_for_us(ctx, xdp, CONSTANT(CONSTANT_SLOT), p.frame)))
			return 0;
		type = ethernet_type(l3);
		if (unlikely(front_is_tagged(type))) {
			l3 += VLAN_TAG_BYTES;
			if (unlikely(l3 + sizeof(struct iphdr) + sizeof(struct tcphdr) > p.end))
				return 0;
			type = ethernet_type(l3);
			if (unlikely(is_vlan(type)))
				return 0;
		}
	}
	if (likely(type == bpf_htons(ETH_P_IP)))
		return front_ipv4(&p, l3);
	if (type == bpf_htons(ETH_P_IPV6))
		return front_ipv6(&p, l3);
	/* Ingress may find the packet without its Ethernet header; see parse_link(). */
	return xdp || type == ((const struct __sk_buff *)ctx)->protocol;
}

/* Tells the slow program who we are. */
static __always_inline void front_hand_over(void)
{
	__u32 zero = 0;
	__u64 *whose = bpf_map_lookup_elem(&cpus, &zero);

	_Static_assert(sizeof(struct identity) == 3 * sizeof(__u64), "there are three constants");
	if (!whose)
		return; /* for the verifier */
	whose[0] = CONSTANT(CONSTANT_IDENTITY);
	whose[1] = CONSTANT(CONSTANT_IDENTITY + 1);
	whose[2] = CONSTANT(CONSTANT_IDENTITY + 2);
}
