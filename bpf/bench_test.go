package bpf

import (
	"fmt"
	"net/netip"
	"os"
	"slices"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
)

// A load is a packet that a program is run on, again and again.
type load struct {
	name  string
	hook  Hook
	prog  *ebpf.Program
	frame []byte
	slow  bool      // not the data path: fewer runs, with records to take away
	all   bool      // the pending filter says yes to every flow
	ns    []float64 // of one run, in each round
}

// BenchmarkSegment shows what a segment costs at one observation point, above a program that does nothing: interleaved
// rounds in one run, because the machine's speed drifts. Rounds are short, so that the fastest of them were not interrupted:
// compare the minima. TCX and tc run the same program.
func BenchmarkSegment(b *testing.B) {
	const rounds, runs = 200, 10_000
	progs := mustLoad(b, Options{SYNRate: 1e9})
	front := func(p Point) *ebpf.Program { return mustFront(b, progs, p) }
	egress := front(Point{ID: 1, Slot: 1, Netns: 1, Egress: true})
	ingress := front(Point{ID: 2, Slot: 2, Netns: 1})
	xdp := front(Point{ID: 3, Slot: 3, Netns: 1, Hook: HookXDP})
	l3 := front(Point{ID: 4, Slot: 4, Netns: 1, L3: true, Egress: true})

	data := func(f func([]byte) []byte, conn packet) []byte {
		conn.flags, conn.payload, conn.change = ack|psh, make([]byte, 1000), f
		return conn.frame()
	}
	ipv4, ipv6 := packet{src: client4, dst: server4}, packet{src: client6, dst: server6}
	// Of this source the kernel thinks that it is IPv4, also without Ethernet header; see TestNoEthernetHeader.
	bare4 := packet{src: netip.MustParseAddrPort("8.0.0.1:40000"), dst: server4}
	udp := data(protocol(17), ipv4)
	syn4 := packet{src: client4, dst: server4, flags: syn,
		options: []byte{2, 4, 5, 180, 4, 2, 8, 10, 1, 2, 3, 4, 0, 0, 0, 0, 1, 3, 3, 7}}.frame()
	loads := []load{
		{name: "nothing", prog: empty(b, ebpf.SchedCLS, int32(-1), 0), frame: data(nil, ipv4)},
		{name: "IPv4, egress", prog: egress, frame: data(nil, ipv4)},
		{name: "IPv6, egress", prog: egress, frame: data(nil, ipv6)},
		{name: "VLAN IPv4, egress", prog: egress, frame: data(tagged(0x8100), ipv4)},
		{name: "VLAN IPv6, egress", prog: egress, frame: data(tagged(0x8100), ipv6)},
		{name: "IPv4, ingress", prog: ingress, frame: data(nil, ipv4)},
		{name: "IPv6, ingress", prog: ingress, frame: data(nil, ipv6)},
		{name: "VLAN IPv4, ingress", prog: ingress, frame: data(tagged(0x8100), ipv4)},
		{name: "IPv4, no Ethernet", prog: l3, frame: data(nil, bare4)[14:]},
		{name: "UDP", prog: egress, frame: udp},
		{name: "false filter hit", prog: egress, frame: data(nil, ipv4), slow: true, all: true},
		{name: "SYN reported", prog: egress, frame: syn4, slow: true},
		{name: "SYN duplicate", prog: ingress, frame: syn4, slow: true},
		{name: "nothing", hook: HookXDP, prog: empty(b, ebpf.XDP, xdpPass, 0), frame: data(nil, ipv4)},
		{name: "IPv4", hook: HookXDP, prog: xdp, frame: data(nil, ipv4)},
		{name: "IPv6", hook: HookXDP, prog: xdp, frame: data(nil, ipv6)},
		{name: "VLAN IPv4", hook: HookXDP, prog: xdp, frame: data(tagged(0x8100), ipv4)},
	}
	filter := (&world{Programs: progs}).pending(b)
	for b.Loop() {
		for range rounds {
			for i := range loads {
				l := &loads[i]
				n := runs
				if l.slow {
					n /= 10
				}
				if l.all {
					filter.fill(newEntry(tagShared, epochAgo(b, 0)))
				}
				l.ns = append(l.ns, l.once(b, n))
				if l.all {
					filter.fill(0)
				}
				if l.slow {
					drain(b, progs)
				}
			}
		}
	}
	out := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprint(out, "segment\thook\tmin ns\tabove nothing\tmedian ns\tabove nothing\tratio\t\n")
	var nothing [2]load
	for _, l := range loads {
		slices.Sort(l.ns)
		if l.name == "nothing" {
			nothing[l.hook] = l
		}
		minimum, median := l.ns[0], l.ns[len(l.ns)/2]
		base := nothing[l.hook].ns
		fmt.Fprintf(out, "%s\t%s\t%.1f\t%.1f\t%.1f\t%.1f\t%.2f\t\n", l.name, [...]string{"tcx, tc", "xdp"}[l.hook],
			minimum, minimum-base[0], median, median-base[len(base)/2], median/base[len(base)/2])
	}
	out.Flush()
}

// once returns the nanoseconds of one of so many runs. The kernel's own figure is a whole number, so that the time is taken
// around them; but not with XDP, where the kernel first changes its own code, which takes milliseconds.
func (l *load) once(tb testing.TB, runs int) float64 {
	tb.Helper()
	start := time.Now()
	_, each, err := l.prog.Benchmark(l.frame, runs, nil)
	if err != nil {
		tb.Fatal(l.name, err)
	}
	if l.hook == HookXDP {
		return float64(each)
	}
	return float64(time.Since(start)) / float64(runs)
}

// empty returns a program that returns its code.
func empty(tb testing.TB, kind ebpf.ProgramType, code int32, flags uint32) *ebpf.Program {
	tb.Helper()
	prog, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Type:         kind,
		License:      "GPL",
		Flags:        flags,
		Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, code), asm.Return()},
	})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { prog.Close() })
	return prog
}
