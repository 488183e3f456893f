package bpf

import (
	"bufio"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
)

// What the programs are made of observes: whatever could write, pull, redirect, or wait is not called.
func TestHelpers(t *testing.T) {
	spec, err := loadNetobs()
	if err != nil {
		t.Fatal(err)
	}
	front := []asm.BuiltinFunc{asm.FnMapLookupElem, asm.FnTailCall}
	slow := []asm.BuiltinFunc{asm.FnMapLookupElem, asm.FnMapUpdateElem, asm.FnKtimeGetNs, asm.FnJiffies64, asm.FnRingbufReserve,
		asm.FnRingbufSubmit, asm.FnRingbufQuery}
	allowed := map[string][]asm.BuiltinFunc{
		netobsProgNetobsFront:    front,
		netobsProgNetobsSlow:     append(slow[:len(slow):len(slow)], asm.FnSkbLoadBytes),
		netobsProgNetobsWatch:    append(slow[:len(slow):len(slow)], asm.FnSkbLoadBytes),
		netobsProgNetobsXdpWatch: append(slow[:len(slow):len(slow)], asm.FnXdpLoadBytes),
		netobsProgNetobsXdp:      front,
		netobsProgNetobsXdpSlow:  append(slow[:len(slow):len(slow)], asm.FnXdpLoadBytes),
	}
	// Their own functions, whose instructions are among theirs.
	reporters := map[string]string{
		netobsProgNetobsSlow:     "netobs_report",
		netobsProgNetobsXdpSlow:  "netobs_xdp_report",
		netobsProgNetobsWatch:    "netobs_watch_report",
		netobsProgNetobsXdpWatch: "netobs_xdp_watch_report",
	}
	if len(spec.Programs) != len(allowed) {
		t.Errorf("programs: got %d, want %d", len(spec.Programs), len(allowed))
	}
	for name, prog := range spec.Programs {
		for i, ins := range prog.Instructions {
			switch {
			case ins.IsKfuncCall() || ins.IsFunctionCall() && ins.Reference() != reporters[name] || isLegacyLoad(ins):
				t.Errorf("%s, instruction %d: %v", name, i, ins)
			case ins.IsBuiltinCall() && !slices.Contains(allowed[name], asm.BuiltinFunc(ins.Constant)):
				t.Errorf("%s, instruction %d calls %v, want only %v", name, i, asm.BuiltinFunc(ins.Constant), allowed[name])
			}
		}
	}
}

// isLegacyLoad says whether an instruction reads the packet in the way of classic BPF, which ends the program when the
// packet is short: a silent return, with code 0.
func isLegacyLoad(ins asm.Instruction) bool {
	return ins.OpCode.Class() == asm.LdClass &&
		(ins.OpCode.Mode() == asm.AbsMode || ins.OpCode.Mode() == asm.IndMode)
}

// The same of what the kernel made of them: the functions that are called at last, by their names. A program that writes to
// its packet would be given a call that makes the packet its own (bpf_unclone_prologue).
func TestVerifiedInstructions(t *testing.T) {
	w, watch := newWorld(t, Options{}), newWorld(t, Options{Watch: &Watch{All: true, Payload: true, Filter: someFilter}})
	watch.anyPoint(t, Point{Hook: HookXDP})
	programs := map[string]*ebpf.Program{
		"ingress":                  w.anyPoint(t, Point{}).front,
		"egress":                   w.anyPoint(t, Point{Egress: true}).front,
		"ingress without Ethernet": w.anyPoint(t, Point{L3: true}).front,
		"xdp":                      w.anyPoint(t, Point{Hook: HookXDP}).front,
		"slow":                     w.hooks[HookTC].slowProg,
		"slow xdp":                 w.hooks[HookXDP].slowProg,
		"slow, to watch":           watch.hooks[HookTC].slowProg,
		"slow xdp, to watch":       watch.hooks[HookXDP].slowProg,
	}
	allowed := []string{
		"bpf_ktime_get_ns", "bpf_jiffies64", "bpf_ringbuf_reserve", "bpf_ringbuf_submit", "bpf_ringbuf_query", "bpf_skb_load_bytes",
		"bpf_xdp_load_bytes",
		// bpf_map_lookup_elem and bpf_map_update_elem of the maps' types; some kernels call these directly.
		"bpf_map_lookup_elem", "bpf_map_update_elem", "percpu_array_map_lookup_elem", "__htab_map_lookup_elem",
		"htab_lru_map_lookup_elem", "htab_lru_map_update_elem", "trie_lookup_elem",
	}
	names := kernelFunctions(t)
	for name, prog := range programs {
		info, err := prog.Info()
		if err != nil {
			t.Fatal(err)
		}
		instructions, err := info.Instructions()
		if err != nil {
			t.Fatal(err)
		}
		calls, own := 0, 0
		for i, ins := range instructions {
			switch {
			case ins.IsKfuncCall() || isLegacyLoad(ins):
				t.Errorf("%s, instruction %d: %v", name, i, ins)
			case ins.IsFunctionCall(): // whose instructions are there, too
				own++
			case ins.IsBuiltinCall() && ins.Constant != int64(asm.FnTailCall):
				calls++
				if f := names[ins.Constant]; !slices.Contains(allowed, f) {
					t.Errorf("%s, instruction %d calls %q, want only %q", name, i, f, allowed)
				}
			}
		}
		want := 0
		if strings.HasPrefix(name, "slow") {
			want = 1
			if calls < 8 {
				t.Errorf("%s: found %d calls, which are not all", name, calls)
			}
		}
		if own != want {
			t.Errorf("%s: calls of its own functions: got %d, want %d", name, own, want)
		}
	}
}

// kernelFunctions returns the names of the kernel's functions by what a call of them holds: their distance from
// __bpf_call_base.
func kernelFunctions(t *testing.T) map[int64]string {
	t.Helper()
	f, err := os.Open("/proc/kallsyms")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	addresses := make(map[string]uint64)
	for lines := bufio.NewScanner(f); lines.Scan(); {
		fields := strings.Fields(lines.Text())
		if len(fields) != 3 || fields[1] != "T" && fields[1] != "t" { // not of a module
			continue
		}
		address, err := strconv.ParseUint(fields[0], 16, 64)
		if err != nil {
			t.Fatal(err)
		}
		addresses[fields[2]] = address
	}
	base := addresses["__bpf_call_base"]
	if base == 0 {
		t.Skip("needs the addresses in /proc/kallsyms (kptr_restrict hides them)")
	}
	names := make(map[int64]string)
	for name, address := range addresses {
		names[int64(address-base)] = name
	}
	return names
}
