/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* For netobs watch: records with all that tcpdump prints of a segment, and filters. Other programs have nothing of it:
 * where watched is 0, the compiler leaves it out. */
#pragma once

#include "hook.h"
#include "ring.h"

/* Constants of the programs for netobs watch, set before they are loaded. */
struct watching {
	__u32 all;     /* bool; every segment, not only control segments */
	__u32 payload; /* bool; with the beginning of the payload */
	__u32 ports;   /* enum filter; what there is in watch_ports */
	__u32 hosts;   /* enum filter; what there is in watch_hosts */
};

const volatile struct watching watching SEC(".rodata.watching");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, FILTERS_MAX);
	__type(key, __u16);
	__type(value, __u8);
} watch_ports SEC(".maps");

/* An address as in records. */
struct host_prefix {
	__u32 bits; /* of the address that count */
	__u32 address[4];
};

/* A value has the bits of all prefixes that hold the whole of its own. */
struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, FILTERS_MAX);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct host_prefix);
	__type(value, __u8);
} watch_hosts SEC(".maps");

static __always_inline __u8 watch_port(__u16 port)
{
	const __u8 *says = bpf_map_lookup_elem(&watch_ports, &port);

	return says ? *says : 0;
}

static __always_inline __u8 watch_host(const __u8 *address)
{
	struct host_prefix key = {.bits = 128};
	const __u8 *says;

	__builtin_memcpy(key.address, address, sizeof(key.address));
	says = bpf_map_lookup_elem(&watch_hosts, &key);
	return says ? *says : 0;
}

/* says: of both ends. */
static __always_inline _Bool watch_passes(__u32 filter, __u8 says)
{
	return !(says & FILTER_NOT) && (!(filter & FILTER_ONLY) || (says & FILTER_ONLY));
}

/* Is the segment's connection one that is wanted? The same for both directions. */
static __always_inline _Bool watch_wants(const struct segment_record *s)
{
	if (watching.ports && !watch_passes(watching.ports, watch_port(s->src_port) | watch_port(s->dst_port)))
		return 0;
	return !watching.hosts || watch_passes(watching.hosts, watch_host(s->src) | watch_host(s->dst));
}

static __always_inline void watch_fill(void *ctx, const _Bool xdp, const struct packet *p, struct watched_record *out)
{
	__be16 urgent = 0;

	out->segment = p->segment;
	out->segment.kind = RECORD_WATCHED;
	/* If they are cut off, the segment itself is good. */
	if (p->options_bytes && hook_load_options(ctx, xdp, p->options_offset, out->options, p->options_bytes))
		out->segment.options_bytes = p->options_bytes;
	/* The last two bytes of the header. */
	if (p->segment.flags & FLAG_URG)
		hook_load(ctx, xdp, p->options_offset - sizeof(urgent), &urgent, sizeof(urgent));
	out->urgent = bpf_ntohs(urgent);
	out->payload_copied = 0;
	__builtin_memset(out->pad, 0, sizeof(out->pad));
}

/* Copies the beginning of the payload. Returns how much that is. */
static __always_inline __u8 watch_load_payload(void *ctx, const _Bool xdp, const struct packet *p, __u8 *to)
{
	__u32 offset = p->options_offset + p->options_bytes, last = p->segment.payload_bytes - 1;
	const void *from;

	if (last >= PAYLOAD_MAX)
		last = PAYLOAD_MAX - 1;
	if (!xdp || self.xdp_load_bytes) {
		/* For the verifier; see hook_load_options(). */
		barrier_var(last);
		if (last >= PAYLOAD_MAX)
			return 0;
		return hook_load(ctx, xdp, offset, to, last + 1) ? last + 1 : 0;
	}
	barrier_var(offset);
	if (offset >= 1 << 15)
		return 0;
	from = hook_data(ctx, xdp) + offset;
#pragma clang loop unroll(disable)
	for (__u32 i = 0; i < PAYLOAD_MAX; i++) {
		if (i > last)
			break;
		if (from + i + 1 > hook_data_end(ctx, xdp))
			return 0;
		to[i] = *(const __u8 *)(from + i);
	}
	return last + 1;
}

static __always_inline enum disposition watch_emit(void *ctx, const _Bool xdp, const struct packet *p)
{
	struct watched_payload_record *longer;
	struct watched_record *out;

	if (watching.payload && p->segment.payload_bytes) {
		longer = bpf_ringbuf_reserve(&ring, sizeof(*longer), 0);
		if (!longer)
			return DISPOSITION_RING_FULL;
		watch_fill(ctx, xdp, p, &longer->watched);
		longer->watched.payload_copied = watch_load_payload(ctx, xdp, p, longer->payload);
		bpf_ringbuf_submit(longer, wakeup_flag());
		return DISPOSITION_REPORTED;
	}
	out = bpf_ringbuf_reserve(&ring, sizeof(*out), 0);
	if (!out)
		return DISPOSITION_RING_FULL;
	watch_fill(ctx, xdp, p, out);
	bpf_ringbuf_submit(out, wakeup_flag());
	return DISPOSITION_REPORTED;
}
