/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* When a record wakes the reader of the ring. */
#pragma once

#include "maps.h"

/* Forced only while the fill crosses the threshold; the margin is for CPUs that cross it together. Below it the
 * reader's deadline serves, if it has not gone to sleep for longer. */
static __always_inline __u64 wakeup_flag(void)
{
	__u64 over = bpf_ringbuf_query(&ring, BPF_RB_AVAIL_DATA) - self.wakeup_bytes;

	if (shared.reader_idle)
		return BPF_RB_FORCE_WAKEUP;
	return over < 16 * sizeof(struct segment_record_options) ? BPF_RB_FORCE_WAKEUP : BPF_RB_NO_WAKEUP;
}
