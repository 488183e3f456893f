/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* What differs between the hooks: TCX and tc give a program a struct __sk_buff, XDP a struct xdp_md. Each function is
 * compiled for either; xdp is a constant. */
#pragma once

#include <linux/bpf.h>
#include <linux/if_packet.h>
#include <linux/types.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>
#include "maps.h"

static __always_inline void *hook_data(const void *ctx, const _Bool xdp)
{
	return (void *)(long)(xdp ? ((const struct xdp_md *)ctx)->data : ((const struct __sk_buff *)ctx)->data);
}

static __always_inline void *hook_data_end(const void *ctx, const _Bool xdp)
{
	return (void *)(long)(xdp ? ((const struct xdp_md *)ctx)->data_end : ((const struct __sk_buff *)ctx)->data_end);
}

/* Copies from the packet, which may be in parts. False: it ends before. */
static __always_inline _Bool hook_load(void *ctx, const _Bool xdp, __u32 offset, void *to, __u32 bytes)
{
	if (!xdp)
		return !bpf_skb_load_bytes(ctx, offset, to, bytes);
	/* Kernels without the helper have no such packets: what is not there to read directly is not there. */
	return self.xdp_load_bytes && !bpf_xdp_load_bytes(ctx, offset, to, bytes);
}

/* The same for TCP options: at least 4 bytes, at most TCP_OPTIONS_MAX, a multiple of 4. Mostly they can be read in
 * place, which takes a third of the time. */
static __always_inline _Bool hook_load_options(void *ctx, const _Bool xdp, __u32 offset, __u8 *to, __u32 bytes)
{
	const void *from;
	__u32 last = bytes - 1;

	/* The verifier follows no pointer further than 64 KiB. */
	barrier_var(offset);
	if (offset < 1 << 15) {
		from = hook_data(ctx, xdp) + offset;
		for (__u32 i = 0; i < TCP_OPTIONS_MAX; i += 4) {
			if (i >= bytes)
				return 1;
			if (from + i + 4 > hook_data_end(ctx, xdp))
				goto copy;
			*(__u32 *)(to + i) = *(const __u32 *)(from + i);
		}
		return 1;
	}
copy:
	/* For the verifier, which forgot. The barrier keeps the compiler from testing one register and passing another,
	 * of which Linux 5.10, 6.1 and 7.2 know no minimum. */
	barrier_var(last);
	if (last >= TCP_OPTIONS_MAX)
		return 0;
	return hook_load(ctx, xdp, offset, to, last + 1);
}

/* Does a bridge bother this namespace with a packet for somebody else? The IP stack will drop it (ip_rcv). XDP comes
 * before the kernel compared addresses (eth_type_trans), and does it here. frame: the Ethernet
 * header. */
static __always_inline _Bool hook_not_for_us(const void *ctx, const _Bool xdp, __u32 slot, const __u8 *frame)
{
	slot &= MAX_POINTS - 1;
	if (xdp) {
		/* Six of the eight bytes. */
		const __u64 *to = (const void *)frame, *us = (const void *)shared.address[slot];

		if (likely(bpf_be64_to_cpu(*to ^ *us) >> 16 == 0))
			return 0;
		if (frame[0] & 1) /* to a group */
			return 0;
	} else if (likely(((const struct __sk_buff *)ctx)->pkt_type != PACKET_OTHERHOST)) {
		return 0;
	}
	return !shared.bridge_port[slot];
}
