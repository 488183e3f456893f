/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* The slow programs' parser: it finds the TCP header of any packet that has one, or says why there is none. Headers are
 * read in place where they can be, else copied. */
#pragma once

#include "packet.h"

/* What parse() says of a packet; smaller values are an enum unparsed_reason. */
enum parsed {
	PARSED_TCP = UNPARSED_REASON_LEN,
	PARSED_NOT_TCP,
};

/* How far the parser has come. */
struct cursor {
	void *ctx;
	_Bool xdp;
	__u16 fragment;	     /* not 0: the first of more */
	__be16 type;	     /* Ethernet type of what is next */
	__u32 offset;	     /* of what is next */
	__s32 segment_bytes; /* from there on, as the IP header says; negative if that contradicts itself */
	void *copy;	     /* room for a header */
};

/* Returns the next header, in place or a copy; NULL if the packet ends before its end. */
static __always_inline const void *next_header(struct cursor *at, __u32 bytes)
{
	const void *header;
	__u32 offset = at->offset;

	/* The verifier follows no pointer further than 64 KiB, and Linux 6.1 loses the bound of the offset in a
	 * multiplication, 5.10 on the stack. The barrier makes the compiler test the register that it adds. */
	barrier_var(offset);
	header = hook_data(at->ctx, at->xdp) + offset;
	if (likely(offset < 1 << 15 && header + bytes <= hook_data_end(at->ctx, at->xdp)))
		return header;
	return hook_load(at->ctx, at->xdp, at->offset, at->copy, bytes) ? at->copy : 0;
}

/* Finds the IP header. Returns PARSED_TCP if there may be one. */
static __always_inline int parse_link(struct cursor *at, const struct identity *whose)
{
	const __be16 *header;

	if (whose->l3) {
		if (!at->xdp) {
			at->type = ((struct __sk_buff *)at->ctx)->protocol;
			return PARSED_TCP;
		}
		/* Nobody says what it is, but the first four bits of IP do. */
		header = next_header(at, 1);
		if (!header)
			return UNPARSED_TRUNCATED;
		at->type = *(const __u8 *)header >> 4 == 6 ? bpf_htons(ETH_P_IPV6) : bpf_htons(ETH_P_IP);
		return PARSED_TCP;
	}
	header = next_header(at, ETH_HLEN);
	if (!header)
		return UNPARSED_TRUNCATED;
	at->type = header[ETH_ALEN];
	/* Where generic XDP copied the packet, ingress finds it without its Ethernet header: the kernel forgot how long
	 * that is (mac_len). But it knows what comes behind. */
	if (!at->xdp && !whose->egress && at->type != ((struct __sk_buff *)at->ctx)->protocol) {
		at->type = ((struct __sk_buff *)at->ctx)->protocol;
		return PARSED_TCP;
	}
	at->offset = ETH_HLEN;
	for (int i = 0; i < VLAN_TAGS_MAX && is_vlan(at->type); i++) {
		header = next_header(at, VLAN_TAG_BYTES);
		if (!header)
			return UNPARSED_TRUNCATED;
		at->type = header[1];
		at->offset += VLAN_TAG_BYTES;
	}
	return is_vlan(at->type) ? UNPARSED_VLAN : PARSED_TCP;
}

/* Bytes from the IP header on, of a packet whose header says 0: BIG TCP, over 64 KiB (skb_ip_totlen). */
static __always_inline __u32 big_tcp_bytes(const struct cursor *at)
{
	const struct __sk_buff *skb = at->ctx;

	if (at->xdp || !skb->gso_size)
		return 0;
	return skb->len - at->offset;
}

static __always_inline int parse_ipv4(struct cursor *at, struct packet *p)
{
	struct segment_record *s = &p->segment;
	const struct iphdr *ip = next_header(at, sizeof(*ip));
	__u32 *src = (__u32 *)s->src, *dst = (__u32 *)s->dst;
	__u32 header, total;

	if (!ip)
		return UNPARSED_TRUNCATED;
	if (ip->protocol != IPPROTO_TCP)
		return PARSED_NOT_TCP;
	if (ip->frag_off & bpf_htons(IPV4_FRAGMENT_OFFSET))
		return UNPARSED_FRAGMENT;
	header = (*(const __u8 *)ip & 0xf) << 2;
	if (*(const __u8 *)ip >> 4 != 4 || header < sizeof(*ip))
		return UNPARSED_MALFORMED;
	total = bpf_ntohs(ip->tot_len);
	if (!total)
		total = big_tcp_bytes(at);
	at->segment_bytes = total - header;
	at->fragment = ip->frag_off & bpf_htons(IPV4_MORE_FRAGMENTS);
	at->offset += header;
	src[0] = src[1] = dst[0] = dst[1] = 0;
	src[2] = dst[2] = bpf_htonl(0xffff);
	src[3] = ip->saddr;
	dst[3] = ip->daddr;
	s->ttl = ip->ttl;
	s->ip_version = 4;
	return PARSED_TCP;
}

/* IPv6 extension headers that TCP may come behind (RFC 8200 4.1, the IANA registry): 8 plus this, without the lowest
 * two bits, times the second byte are their length. Behind Encapsulating Security Payload nobody sees. A table, so that
 * the verifier has no branches to follow. */
#define IPV6_FRAGMENT_HEADER 1
#define IPV6_FRAGMENT_OFFSET 0xfff8
#define IPV6_MORE_FRAGMENTS 1
static const __u8 ipv6_extension[256] SEC(".rodata.ipv6") = {
    [0] = 8,   [43] = 8,  [44] = IPV6_FRAGMENT_HEADER, [51] = 4 /* RFC 4302 2.2 */, [60] = 8, [135] = 8,
    [139] = 8, [140] = 8,
};

#define IPV6_EXTENSIONS 10 /* eight kinds and a second one, which the loop bound must be above */
#define IPV6_KIND(header) (1ull << ((header) & 63)) /* no two of them have the same */

/* Goes on behind the extension headers. Each may come once, destination options twice, hop-by-hop options only first
 * (RFC 8200 4.1). Fills next. */
static __always_inline int parse_ipv6_extensions(struct cursor *at, __u8 *next)
{
	__u64 seen = 0, twice = IPV6_KIND(IPPROTO_DSTOPTS);

#pragma clang loop unroll(disable)
	for (int i = 0; i < IPV6_EXTENSIONS; i++) {
		__u8 extension = ipv6_extension[*next];
		__u64 kind = IPV6_KIND(*next);
		const __u8 *header;
		__be16 fragment;
		__u32 bytes;

		if (!extension)
			return PARSED_TCP;
		if (seen & kind & ~twice)
			return UNPARSED_IPV6_EXTENSION;
		twice &= ~(seen & kind);
		seen |= kind | IPV6_KIND(IPPROTO_HOPOPTS);
		header = next_header(at, 8); /* none is shorter */
		if (!header)
			return UNPARSED_TRUNCATED;
		*next = header[0];
		bytes = 8 + header[1] * (extension & 12); /* so the verifier knows that the sum is small */
		/* The field of a fragment header, 0 of others; RFC 8200 4.5. */
		fragment = *(const __be16 *)(header + 2) & -(extension & IPV6_FRAGMENT_HEADER);
		if (fragment & bpf_htons(IPV6_FRAGMENT_OFFSET))
			return *next == IPPROTO_TCP || ipv6_extension[*next] ? UNPARSED_FRAGMENT : PARSED_NOT_TCP;
		at->fragment |= fragment & bpf_htons(IPV6_MORE_FRAGMENTS);
		at->offset += bytes;
		at->segment_bytes -= bytes;
	}
	return UNPARSED_IPV6_EXTENSION;
}

static __always_inline int parse_ipv6(struct cursor *at, struct packet *p)
{
	struct segment_record *s = &p->segment;
	const struct ipv6hdr *ip = next_header(at, sizeof(*ip));
	__u8 next;
	int what;

	if (!ip)
		return UNPARSED_TRUNCATED;
	next = ip->nexthdr;
	at->segment_bytes = bpf_ntohs(ip->payload_len);
	if (!at->segment_bytes)
		at->segment_bytes = big_tcp_bytes(at) - sizeof(*ip);
	__builtin_memcpy(s->src, &ip->saddr, sizeof(s->src));
	__builtin_memcpy(s->dst, &ip->daddr, sizeof(s->dst));
	s->ttl = ip->hop_limit;
	s->ip_version = 6;
	at->offset += sizeof(*ip);
	what = parse_ipv6_extensions(at, &next);
	return what != PARSED_TCP || next == IPPROTO_TCP ? what : PARSED_NOT_TCP;
}

static __always_inline int parse_tcp(struct cursor *at, struct packet *p)
{
	struct segment_record *s = &p->segment;
	const struct tcphdr *tcp;
	__u32 header;

	if (at->segment_bytes < (__s32)sizeof(*tcp))
		return at->fragment ? UNPARSED_FRAGMENT : UNPARSED_MALFORMED;
	tcp = next_header(at, sizeof(*tcp));
	if (!tcp)
		return UNPARSED_TRUNCATED;
	header = tcp_header_bytes(tcp);
	s->payload_bytes = at->segment_bytes - header;
	if ((__s32)s->payload_bytes < 0) {
		if (!at->fragment)
			return UNPARSED_MALFORMED;
		s->payload_bytes = 0; /* the rest of the options is in the next one */
	}
	if (header < sizeof(*tcp))
		return UNPARSED_MALFORMED;
	p->options_offset = at->offset + sizeof(*tcp);
	p->options_bytes = header - sizeof(*tcp);
	s->seq = bpf_ntohl(tcp->seq);
	s->ack = bpf_ntohl(tcp->ack_seq);
	s->src_port = bpf_ntohs(tcp->source);
	s->dst_port = bpf_ntohs(tcp->dest);
	s->window = bpf_ntohs(tcp->window);
	/* Four bits of data offset, three reserved, nine flags (RFC 9293 3.1, RFC 9768). */
	s->flags = bpf_ntohs(*((const __be16 *)tcp + 6)) & 0x1ff;
	return PARSED_TCP;
}

/* Is it a packet that a bridge sends everywhere, and not to this namespace? */
static __always_inline _Bool parse_not_for_us(struct cursor *at, const struct identity *whose)
{
	const __u8 *frame;

	if (whose->egress || whose->l3)
		return 0;
	at->offset = 0;
	frame = next_header(at, ETH_HLEN);
	return frame && hook_not_for_us(at->ctx, at->xdp, whose->slot, frame);
}

/* Returns an enum parsed or an enum unparsed_reason. Fills p iff PARSED_TCP. */
static __always_inline int parse(void *ctx, const _Bool xdp, const struct identity *whose, struct packet *p)
{
	__u64 copy[sizeof(struct ipv6hdr) / sizeof(__u64)]; /* the longest */
	struct cursor at = {.ctx = ctx, .xdp = xdp, .copy = copy};
	int what = parse_link(&at, whose);

	if (what != PARSED_TCP)
		return what;
	if (at.type == bpf_htons(ETH_P_IP))
		what = parse_ipv4(&at, p);
	else if (at.type == bpf_htons(ETH_P_IPV6))
		what = parse_ipv6(&at, p);
	else
		return PARSED_NOT_TCP;
	if (what == PARSED_TCP)
		what = parse_tcp(&at, p);
	if (what == PARSED_TCP && parse_not_for_us(&at, whose))
		return UNPARSED_NOT_FOR_US;
	return what;
}
