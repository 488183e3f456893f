package bpf

import (
	"encoding/binary"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
)

// A program that runs for milliseconds has ended when WaitForRuns returns.
func TestWaitForRuns(t *testing.T) {
	const begun, ended = 1, 2
	state := mustMap(t, &ebpf.MapSpec{Type: ebpf.Array, KeySize: 4, ValueSize: 8, MaxEntries: 1, Flags: 1 << 10}) // BPF_F_MMAPABLE
	again := mustMap(t, &ebpf.MapSpec{Type: ebpf.ProgramArray, KeySize: 4, ValueSize: 4, MaxEntries: 1})
	set := func(value int64) asm.Instructions {
		return asm.Instructions{
			asm.LoadMapValue(asm.R1, state.FD(), 0),
			asm.Mov.Imm(asm.R2, int32(value)),
			asm.StoreMem(asm.R1, 0, asm.R2, asm.DWord),
		}
	}
	var ins asm.Instructions
	ins = append(ins, asm.Mov.Reg(asm.R6, asm.R1))
	ins = append(ins, set(begun)...)
	ins = append(ins,
		asm.Mov.Imm(asm.R7, 0),
		asm.Add.Imm(asm.R7, 1).WithSymbol("loop"),
		asm.JLT.Imm(asm.R7, 300_000, "loop"),
		asm.Mov.Reg(asm.R1, asm.R6),
		asm.LoadMapPtr(asm.R2, again.FD()),
		asm.Mov.Imm(asm.R3, 0),
		asm.FnTailCall.Call(), // to itself, 32 times
	)
	ins = append(ins, set(ended)...)
	ins = append(ins, asm.Mov.Imm(asm.R0, -1), asm.Return())
	slow, err := ebpf.NewProgram(&ebpf.ProgramSpec{Type: ebpf.SchedCLS, License: "GPL", Instructions: ins})
	if err != nil {
		t.Fatal(err)
	}
	defer slow.Close()
	if err := again.Put(uint32(0), slow); err != nil {
		t.Fatal(err)
	}
	memory, err := state.Memory()
	if err != nil {
		t.Fatal(err)
	}
	now := func() uint64 {
		var b [8]byte
		if _, err := memory.ReadAt(b[:], 0); err != nil {
			t.Fatal(err)
		}
		return binary.NativeEndian.Uint64(b[:])
	}
	w := newWorld(t, Options{})
	done := make(chan error, 1)
	go func() {
		_, err := slow.Run(&ebpf.RunOptions{Data: fromClient(syn, 1, 0, 0).frame()})
		done <- err
	}()
	for now() == 0 {
		select {
		case err := <-done:
			t.Fatalf("the program ended and did nothing, %v", err)
		default:
		}
	}
	if err := w.WaitForRuns(); err != nil {
		t.Fatal(err)
	}
	if got := now(); got != ended {
		t.Errorf("the program is at %d, want at its end, %d", got, ended)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

func mustMap(tb testing.TB, spec *ebpf.MapSpec) *ebpf.Map {
	tb.Helper()
	m, err := ebpf.NewMap(spec)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { m.Close() })
	return m
}
