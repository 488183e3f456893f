package loader

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"netobs/decode"
)

// Hooks where a front can be attached, as in metrics, and the word for the usual choice among them.
const (
	HookTCX  = "tcx"  // BPF links on an interface, Linux 6.6
	HookTC   = "tc"   // a filter of the clsact qdisc
	HookXDP  = "xdp"  // before the packet becomes an skb: ingress alone
	HookAuto = "auto" // tcx, and tc where the kernel has no tcx
)

// Hooks returns what Options.Hooks takes.
func Hooks() []string { return []string{HookAuto, HookTCX, HookTC, HookXDP} }

func validateHooks(hooks []string) error {
	for _, hook := range hooks {
		if !slices.Contains(Hooks(), hook) {
			return fmt.Errorf("hook %q is none of %s", hook, strings.Join(Hooks(), ", "))
		}
	}
	return nil
}

// hook returns the preferred one.
func (o *Options) hook() string {
	if len(o.Hooks) == 0 || o.Hooks[0] == HookAuto {
		return HookTCX
	}
	return o.Hooks[0]
}

// place is where a point can be attached to an interface.
type place struct {
	hook      string
	direction decode.Direction
}

// ladders returns, for each point of an interface, the places where it may be, the preferred one first. XDP sees what
// arrives, so at egress the other hooks stand in for it, those of HookAuto if none is given. Every segment on lo passes
// egress and then ingress, and once is enough: the hook says where.
func (i *iface) ladders(hooks []string) [][]place {
	auto := []string{HookTCX, HookTC}
	if len(hooks) == 0 {
		hooks = auto
	}
	if at := slices.Index(hooks, HookAuto); at >= 0 {
		hooks = slices.Replace(slices.Clone(hooks), at, at+1, auto...)
	}
	var in, out, lo []place
	for _, hook := range hooks {
		in = append(in, place{hook, decode.Ingress})
		if hook == HookXDP {
			lo = append(lo, place{hook, decode.Ingress})
			continue
		}
		out = append(out, place{hook, decode.Egress})
		lo = append(lo, place{hook, decode.Egress})
	}
	if i.kind == KindLoopback {
		return [][]place{lo}
	}
	if len(out) == 0 {
		for _, hook := range auto {
			out = append(out, place{hook, decode.Egress})
		}
	}
	return [][]place{in, out}
}

// yields reports whether an error is a reason to try the next place of the ladder: the kernel or the interface does not
// offer this one, or another XDP program is there, beside which there is room for none.
func (pl place) yields(err error) bool {
	if pl.hook == HookXDP && (isXDPTaken(err) || errors.Is(err, unix.EOPNOTSUPP)) {
		return true
	}
	return errors.Is(err, ebpf.ErrNotSupported)
}

// attachProgram attaches a front. It keeps running until the result is closed. The calling thread is in the namespace of
// the interface; mode says more about the hook, for people.
func (l *Loader) attachProgram(ns *namespace, i *iface, pl place, front *ebpf.Program) (at io.Closer, mode string, err error) {
	switch pl.hook {
	case HookTCX:
		at, err = l.attachTCX(link.TCXOptions{
			Interface: i.index,
			Program:   front,
			Attach:    pl.tcxType(),
			Anchor:    link.Head(), // to see what programs in front would hide
		})
	case HookTC:
		at, err = l.attachTC(ns, i, pl.direction, front)
	case HookXDP:
		at, mode, err = attachXDP(i.index, front)
	}
	if err != nil {
		return nil, "", fmt.Errorf("attach %s %s to %s in %s: %w", pl.hook, pl.direction, i.name, ns.Name, err)
	}
	return at, mode, nil
}

func (pl place) tcxType() ebpf.AttachType {
	if pl.direction == decode.Egress {
		return ebpf.AttachTCXEgress
	}
	return ebpf.AttachTCXIngress
}
