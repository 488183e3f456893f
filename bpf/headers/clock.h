/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* The slow programs' time: CLOCK_MONOTONIC in nanoseconds. To read it takes as long as to find a flow entry (on a
 * virtual machine; it is much of what a duplicate costs), so that only records have their own. */
#pragma once

#include "maps.h"

/* The time now. */
static __always_inline __u64 clock_now(struct cpu *cpu)
{
	/* First: if the jiffy ends in between, the time is read again too early, and not too late. */
	cpu->clock_jiffies = bpf_jiffies64();
	cpu->clock_ns = bpf_ktime_get_ns();
	return cpu->clock_ns;
}

/* A time of the current jiffy, which is 1 to 10 ms long: the last one that this CPU read. The length of a jiffy need
 * not be known. */
static __always_inline __u64 clock_coarse(struct cpu *cpu)
{
	return cpu->clock_jiffies == bpf_jiffies64() ? cpu->clock_ns : clock_now(cpu);
}
