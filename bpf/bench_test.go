package bpf

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
)

// BenchmarkFront shows what a segment costs at one observation point, against an empty program: interleaved rounds in
// one run, because the machine's speed drifts; compare the minima.
func BenchmarkFront(b *testing.B) {
	const (
		rounds = 15
		runs   = 200_000
	)
	empty, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Type:         ebpf.SchedCLS,
		License:      "GPL",
		Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, -1), asm.Return()},
	})
	if err != nil {
		b.Fatal(err)
	}
	defer empty.Close()
	progs := mustLoad(b, Options{})
	egress := mustFront(b, progs, Point{ID: 1, Slot: 1, Netns: 1, Egress: true})
	ingress := mustFront(b, progs, Point{ID: 2, Slot: 2, Netns: 1})

	payload := make([]byte, 1000)
	data4 := packet{src: client4, dst: server4, flags: ack, payload: payload}.frame()
	data6 := packet{src: client6, dst: server6, flags: ack | psh, payload: payload}.frame()
	options := []byte{2, 4, 5, 180, 4, 2, 8, 10, 1, 2, 3, 4, 0, 0, 0, 0, 1, 3, 3, 7}
	syn4 := packet{src: client4, dst: server4, flags: syn, options: options}.frame()
	cases := []struct {
		name  string
		prog  *ebpf.Program
		frame []byte
		ns    []float64
	}{
		{name: "empty", prog: empty, frame: data4},
		{name: "data-ipv4-egress", prog: egress, frame: data4},
		{name: "data-ipv6-egress", prog: egress, frame: data6},
		{name: "data-ipv4-ingress", prog: ingress, frame: data4},
		{name: "data-ipv6-ingress", prog: ingress, frame: data6},
		{name: "syn-reported", prog: egress, frame: syn4},
		{name: "syn-duplicate", prog: ingress, frame: syn4},
	}
	for b.Loop() {
		for range rounds {
			for i := range cases {
				c := &cases[i]
				n := runs
				if c.frame[47]&syn != 0 {
					n = runs / 10 // what the ring holds
				}
				// The kernel's own figure is a whole number of nanoseconds.
				start := time.Now()
				if _, _, err := c.prog.Benchmark(c.frame, n, nil); err != nil {
					b.Fatal(c.name, err)
				}
				c.ns = append(c.ns, float64(time.Since(start))/float64(n))
			}
			drain(b, progs)
		}
	}
	var base float64
	fmt.Printf("%-20s %8s %8s %8s\n", "ns per segment", "min", "median", "above")
	for i := range cases {
		c := &cases[i]
		slices.Sort(c.ns)
		if i == 0 {
			base = c.ns[0]
		}
		fmt.Printf("%-20s %8.1f %8.1f %8.1f\n", c.name, c.ns[0], c.ns[len(c.ns)/2], c.ns[0]-base)
	}
}
