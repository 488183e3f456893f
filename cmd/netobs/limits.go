package main

import (
	"errors"
	"fmt"
	"math/bits"
	"os"
	"time"

	"github.com/spf13/pflag"

	"netobs/bpf"
	"netobs/loader"
)

// limits are the flags of attach for hosts where the defaults are too small, too large or too slow.
type limits struct {
	latency time.Duration
	bpf     bpf.Options
}

const (
	maxRingBytes = 1 << 30
	maxFlows     = 1 << 24
	maxSYNRate   = 10_000_000
)

func (l *limits) addFlags(fs *pflag.FlagSet) {
	fs.DurationVar(&l.latency, "latency", loader.DefaultLatency,
		"how long an event may wait when traffic is low: the longer, the fewer\nwake-ups")
	fs.Uint32Var(&l.bpf.RingBytes, "ring-bytes", 8<<20,
		"room for events not yet read, a power of two; one takes 80 or 120 `bytes`")
	fs.Uint32Var(&l.bpf.Flows, "flows", 300_000,
		"`connections` of which is remembered what was reported, 190 bytes each")
	fs.Uint32Var(&l.bpf.SYNRate, "syn-rate", 100_000,
		"SYN and SYN-ACK `events` per second and CPU; those above are counted only")
}

func (l *limits) validate() error {
	var errs []error
	if l.latency < time.Millisecond || l.latency > time.Hour {
		errs = append(errs, fmt.Errorf("--latency %s is not between 1ms and 1h", l.latency))
	}
	n, page := l.bpf.RingBytes, uint32(os.Getpagesize())
	if bits.OnesCount32(n) != 1 || n < page || n > maxRingBytes {
		errs = append(errs, fmt.Errorf("--ring-bytes %d is no power of two between %d and %d", n, page, maxRingBytes))
	}
	if l.bpf.Flows < 1 || l.bpf.Flows > maxFlows {
		errs = append(errs, fmt.Errorf("--flows %d is not between 1 and %d", l.bpf.Flows, maxFlows))
	}
	if l.bpf.SYNRate < 1 || l.bpf.SYNRate > maxSYNRate {
		errs = append(errs, fmt.Errorf("--syn-rate %d is not between 1 and %d", l.bpf.SYNRate, maxSYNRate))
	}
	return errors.Join(errs...)
}
