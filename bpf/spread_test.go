package bpf

import (
	"encoding/binary"
	"math"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	"github.com/cilium/ebpf"
)

// Flows that differ in one thing by the same step, as those of a tool that counts, share buckets of the pending filter about as
// often as random ones: with the worst seeds for IPv6 twice as often. Each seed is another one, and a hash that is bad at it,
// ten times as bad, is so for some.
func TestSeriesSpread(t *testing.T) {
	const flows, seeds = 8000, 4
	addr4 := func(n uint32) netip.Addr {
		return netip.AddrFrom4([4]byte(binary.BigEndian.AppendUint32(nil, n)))
	}
	addr6 := func(hi, lo uint64) netip.Addr {
		return netip.AddrFrom16([16]byte(binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, hi), lo)))
	}
	series := []struct {
		name   string
		source func(start uint64, i int) netip.AddrPort
	}{
		{"addresses", func(start uint64, i int) netip.AddrPort {
			return netip.AddrPortFrom(addr4(uint32(start)+uint32(i)), 1234)
		}},
		{"addresses, each 256th", func(start uint64, i int) netip.AddrPort {
			return netip.AddrPortFrom(addr4(uint32(start)+uint32(i)<<8), 1234)
		}},
		{"ports", func(start uint64, i int) netip.AddrPort {
			return netip.AddrPortFrom(addr4(uint32(start)), uint16(i))
		}},
		{"addresses and ports", func(start uint64, i int) netip.AddrPort {
			return netip.AddrPortFrom(addr4(uint32(start)+uint32(i)), uint16(i))
		}},
		{"IPv6 addresses, each 65536th", func(start uint64, i int) netip.AddrPort {
			return netip.AddrPortFrom(addr6(start, start+uint64(i)<<16), 1234)
		}},
		{"IPv6 ports", func(start uint64, i int) netip.AddrPort {
			return netip.AddrPortFrom(addr6(start, start), uint16(i))
		}},
	}
	random := rand.New(rand.NewPCG(1, 2))
	for range seeds {
		w := newWorld(t, Options{SYNRate: 1})
		p := w.point(t, w.namespace(), true)
		f := w.pending(t)
		for _, s := range series {
			f.fill(0)
			start := random.Uint64()
			for i := range flows {
				pkt := packet{src: server4, dst: s.source(start, i), flags: syn | ack}
				if pkt.dst.Addr().Is6() {
					pkt.src = server6
				}
				if _, err := p.front.Run(&ebpf.RunOptions{Data: pkt.frame()}); err != nil {
					t.Fatal(err)
				}
			}
			// Balls thrown into bins at random hit so many.
			n := float64(f.entries / bucketEntries)
			even := n * -math.Expm1(-flows/n)
			buckets := f.armed()
			for i := range buckets {
				buckets[i] /= bucketEntries
			}
			if got := len(slices.Compact(buckets)); flows-float64(got) > 3*(flows-even) {
				t.Errorf("%s: %d flows share %d buckets, random ones some %.0f", s.name, flows, got, even)
			}
		}
	}
}
