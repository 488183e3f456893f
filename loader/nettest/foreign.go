package nettest

import (
	"errors"
	"fmt"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Foreign is somebody else's program, which counts the packets that it sees.
type Foreign struct {
	tb   testing.TB
	prog *ebpf.Program
	seen *ebpf.Map
}

// Verdict is the end of a program; its instructions find the context in R6.
type Verdict []asm.Instruction

// Verdicts of programs, linux/pkt_cls.h and linux/bpf.h.
var (
	TCNext  = returns(-1)
	TCPass  = returns(0) // and no other program after it
	XDPPass = returns(2)
)

func returns(code int32) Verdict { return Verdict{asm.Mov.Imm(asm.R0, code), asm.Return()} }

// TCRedirect sends all packets out of an interface of the same namespace.
func (ns *NS) TCRedirect(name string) Verdict {
	return Verdict{
		asm.Mov.Imm(asm.R1, int32(ns.Index(name))),
		asm.Mov.Imm(asm.R2, 0),
		asm.FnRedirect.Call(),
		asm.Return(),
	}
}

// TCDropPort drops TCP to a port, over IPv4 without options, and ends the chain for all else.
func TCDropPort(port uint16) Verdict {
	const portAt, shot = 14 + 20 + 2, 2
	return Verdict{
		asm.StoreImm(asm.RFP, -8, 0, asm.Word),
		asm.Mov.Reg(asm.R1, asm.R6),
		asm.Mov.Imm(asm.R2, portAt),
		asm.Mov.Reg(asm.R3, asm.RFP),
		asm.Add.Imm(asm.R3, -8),
		asm.Mov.Imm(asm.R4, 2),
		asm.FnSkbLoadBytes.Call(),
		asm.LoadMem(asm.R1, asm.RFP, -8, asm.Byte),
		asm.LSh.Imm(asm.R1, 8),
		asm.LoadMem(asm.R2, asm.RFP, -7, asm.Byte),
		asm.Or.Reg(asm.R1, asm.R2),
		asm.Mov.Imm(asm.R0, 0),
		asm.JNE.Imm(asm.R1, int32(port), "end"),
		asm.Mov.Imm(asm.R0, shot),
		asm.Return().WithSymbol("end"),
	}
}

// NewForeign loads a program that counts and then does what the verdict says.
func NewForeign(tb testing.TB, kind ebpf.ProgramType, verdict Verdict) *Foreign {
	tb.Helper()
	NeedPrivileges(tb)
	seen, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.Array, KeySize: 4, ValueSize: 8, MaxEntries: 1})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { seen.Close() })
	insns := asm.Instructions{
		asm.Mov.Reg(asm.R6, asm.R1),
		asm.StoreImm(asm.RFP, -4, 0, asm.Word),
		asm.LoadMapPtr(asm.R1, seen.FD()),
		asm.Mov.Reg(asm.R2, asm.RFP),
		asm.Add.Imm(asm.R2, -4),
		asm.FnMapLookupElem.Call(),
		asm.JEq.Imm(asm.R0, 0, "verdict"),
		asm.Mov.Imm(asm.R1, 1),
		asm.StoreXAdd(asm.R0, asm.R1, asm.DWord),
		verdict[0].WithSymbol("verdict"),
	}
	prog, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Name:         "foreign",
		Type:         kind,
		License:      "GPL",
		Instructions: append(insns, verdict[1:]...),
	})
	if err != nil {
		tb.Fatalf("%+v", err)
	}
	tb.Cleanup(func() { prog.Close() })
	return &Foreign{tb, prog, seen}
}

// FD returns a descriptor of the program, valid until the end of the test.
func (f *Foreign) FD() int { return f.prog.FD() }

// Seen returns how many packets the program has seen.
func (f *Foreign) Seen() (n uint64) {
	f.tb.Helper()
	if err := f.seen.Lookup(uint32(0), &n); err != nil {
		f.tb.Fatal(err)
	}
	return n
}

// TCX attaches the program, until the end of the test or until the result is called.
func (f *Foreign) TCX(ns *NS, name string, egress bool, anchor link.Anchor) (detach func()) {
	f.tb.Helper()
	hook := ebpf.AttachTCXIngress
	if egress {
		hook = ebpf.AttachTCXEgress
	}
	return f.attach(ns, name, func(index int) (link.Link, error) {
		return link.AttachTCX(link.TCXOptions{Interface: index, Program: f.prog, Attach: hook, Anchor: anchor})
	})
}

// XDP attaches the program in the driver or in generic mode.
func (f *Foreign) XDP(ns *NS, name string, mode link.XDPAttachFlags) (detach func()) {
	f.tb.Helper()
	return f.attach(ns, name, func(index int) (link.Link, error) {
		return link.AttachXDP(link.XDPOptions{Interface: index, Program: f.prog, Flags: mode})
	})
}

func (f *Foreign) attach(ns *NS, name string, attach func(index int) (link.Link, error)) (detach func()) {
	f.tb.Helper()
	index := ns.Index(name)
	var l link.Link
	ns.Do(func() (err error) {
		l, err = attach(index)
		return err
	})
	f.tb.Cleanup(func() { l.Close() })
	return func() { l.Close() }
}

// TC attaches the program as a filter of the clsact qdisc, which is made if there is none. It stays until its interface
// goes.
func (f *Foreign) TC(ns *NS, name string, egress bool, priority uint16, handle uint32) {
	f.tb.Helper()
	index := ns.Index(name)
	ns.Do(func() error {
		err := netlink.QdiscAdd(&netlink.Clsact{QdiscAttrs: netlink.QdiscAttrs{
			LinkIndex: index,
			Handle:    netlink.MakeHandle(0xffff, 0),
			Parent:    netlink.HANDLE_CLSACT,
		}})
		if err != nil && !errors.Is(err, unix.EEXIST) {
			return err
		}
		return netlink.FilterAdd(&netlink.BpfFilter{
			FilterAttrs: netlink.FilterAttrs{
				LinkIndex: index,
				Parent:    clsactSide(egress),
				Handle:    handle,
				Priority:  priority,
				Protocol:  unix.ETH_P_ALL,
			},
			Fd:           f.prog.FD(),
			Name:         "foreign",
			DirectAction: true,
		})
	})
}

func clsactSide(egress bool) uint32 {
	if egress {
		return netlink.HANDLE_MIN_EGRESS
	}
	return netlink.HANDLE_MIN_INGRESS
}

// Index returns the index of an interface.
func (ns *NS) Index(name string) (index int) {
	ns.tb.Helper()
	ns.Do(func() error {
		l, err := netlink.LinkByName(name)
		if err == nil {
			index = l.Attrs().Index
		}
		return err
	})
	return index
}

// Filters returns the BPF filters on an interface in the order in which they run, as "ingress NAME PRIORITY".
func (ns *NS) Filters(name string) (filters []string) {
	ns.tb.Helper()
	index := ns.Index(name)
	ns.Do(func() error {
		for _, egress := range []bool{false, true} {
			list, err := netlink.FilterList(&netlink.Device{LinkAttrs: netlink.LinkAttrs{Index: index}}, clsactSide(egress))
			if err != nil {
				return err
			}
			for _, f := range list {
				// An entry without program is a priority itself.
				if b, ok := f.(*netlink.BpfFilter); ok && b.Id != 0 {
					side := map[bool]string{false: "ingress", true: "egress"}[egress]
					filters = append(filters, fmt.Sprintf("%s %s %d", side, b.Name, b.Priority))
				}
			}
		}
		return nil
	})
	return filters
}

// HasClsact reports whether an interface has a clsact qdisc.
func (ns *NS) HasClsact(name string) (has bool) {
	ns.tb.Helper()
	index := ns.Index(name)
	ns.Do(func() error {
		qdiscs, err := netlink.QdiscList(&netlink.Device{LinkAttrs: netlink.LinkAttrs{Index: index}})
		for _, q := range qdiscs {
			has = has || q.Type() == "clsact"
		}
		return err
	})
	return has
}

// RemoveClsact removes the clsact qdisc with all filters, as "tc qdisc del dev NAME clsact" does.
func (ns *NS) RemoveClsact(name string) {
	ns.tb.Helper()
	index := ns.Index(name)
	ns.Do(func() error {
		return netlink.QdiscDel(&netlink.Clsact{QdiscAttrs: netlink.QdiscAttrs{
			LinkIndex: index,
			Handle:    netlink.MakeHandle(0xffff, 0),
			Parent:    netlink.HANDLE_CLSACT,
		}})
	})
}
