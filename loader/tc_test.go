package loader

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"

	"netobs/loader/nettest"
)

// attached returns a loader that has attached, and that nobody lets follow.
func attached(t *testing.T, opts Options, watched ...*nettest.NS) *Loader {
	t.Helper()
	for _, ns := range watched {
		opts.Netns = append(opts.Netns, mustFind(t, ns.Name))
	}
	l, err := New(opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := l.Attach(context.Background()); err != nil {
		t.Fatal(err)
	}
	return l
}

// lines are what a loader logs.
type lines struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func (l *lines) logger() *slog.Logger { return slog.New(slog.NewTextHandler(l, nil)) }

// count returns how many lines have all parts.
func (l *lines) count(parts ...string) (n int) {
	for line := range strings.Lines(l.String()) {
		if !slices.ContainsFunc(parts, func(part string) bool { return !strings.Contains(line, part) }) {
			n++
		}
	}
	return n
}

// want checks that exactly one line has all parts.
func (l *lines) want(t *testing.T, parts ...string) {
	t.Helper()
	if n := l.count(parts...); n != 1 {
		t.Errorf("%d lines with %q, want one:\n%s", n, parts, l)
	}
}

func (l *lines) none(t *testing.T, parts ...string) {
	t.Helper()
	if n := l.count(parts...); n != 0 {
		t.Errorf("%d lines with %q, want none:\n%s", n, parts, l)
	}
}

func checkFilters(t *testing.T, ns *nettest.NS, name string, qdisc bool, want ...string) {
	t.Helper()
	if got := ns.Filters(name); !slices.Equal(got, want) {
		t.Errorf("filters on %s: %q, want %q", name, got, want)
	}
	if got := ns.HasClsact(name); got != qdisc {
		t.Errorf("clsact qdisc on %s: %v, want %v", name, got, qdisc)
	}
}

func TestTCLeavesNothing(t *testing.T) {
	t.Parallel()
	a := nettest.New(t, "a")
	a.Bridge("br0")
	l := attached(t, Options{Hooks: []string{HookTC}}, a)
	waited := 0
	l.waitForRuns = func() error {
		waited++
		return nil
	}
	checkFilters(t, a, "lo", true, "egress netobs+clsact 1")
	checkFilters(t, a, "br0", true, "ingress netobs+clsact 1", "egress netobs+clsact 1")
	stats, err := l.Stats()
	if err != nil {
		t.Fatal(err)
	}
	if got := stats.Attached[Attachment{a.Name, HookTC}]; got != 3 || len(stats.Attached) != 1 {
		t.Errorf("points: %v, want 3 at tc", stats.Attached)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if waited != 2 {
		t.Errorf("waited for the ends of programs at %d interfaces, want 2", waited)
	}
	checkFilters(t, a, "lo", false)
	checkFilters(t, a, "br0", false)
}

func TestTCBesideOthers(t *testing.T) {
	t.Parallel()
	a := nettest.New(t, "a")
	a.Bridge("br0")
	before := nettest.NewForeign(t, ebpf.SchedCLS, nettest.TCPass)
	before.TC(a, "br0", false, 1, 1)
	before.TC(a, "br0", false, 7, 1)
	first := attached(t, Options{Hooks: []string{HookTC}}, a)
	checkFilters(t, a, "br0", true, "ingress netobs 1", "ingress foreign 1", "ingress foreign 7", "egress netobs 1")
	second := attached(t, Options{Hooks: []string{HookTC}}, a)
	checkFilters(t, a, "br0", true, "ingress netobs 1", "ingress netobs 1", "ingress foreign 1", "ingress foreign 7",
		"egress netobs 1", "egress netobs 1")
	checkFilters(t, a, "lo", true, "egress netobs+clsact 1", "egress netobs+clsact 1")
	after := nettest.NewForeign(t, ebpf.SchedCLS, nettest.TCPass)
	after.TC(a, "lo", true, 3, 1)

	// The first to leave, which made the qdiscs, leaves the second in peace.
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	checkFilters(t, a, "br0", true, "ingress netobs 1", "ingress foreign 1", "ingress foreign 7", "egress netobs 1")
	checkFilters(t, a, "lo", true, "egress netobs+clsact 1", "egress foreign 3")
	if err := second.Close(); err != nil {
		t.Fatal(err)
	}
	checkFilters(t, a, "br0", true, "ingress foreign 1", "ingress foreign 7")
	checkFilters(t, a, "lo", true, "egress foreign 3") // made by netobs, but somebody came to use it
}

// TestTCPriority: where others have a priority for themselves, ours is the next one.
func TestTCPriority(t *testing.T) {
	entry := func(priority, protocol uint16, chain *uint32) netlink.Filter {
		return &netlink.BpfFilter{FilterAttrs: netlink.FilterAttrs{Priority: priority, Protocol: protocol, Chain: chain}}
	}
	const all, ipv4 = 3, 0x0800 // ETH_P_ALL, ETH_P_IP
	other := &netlink.GenericFilter{FilterAttrs: netlink.FilterAttrs{Priority: 1, Protocol: all}, FilterType: "flower"}
	chain := uint32(7)
	for _, tc := range []struct {
		name    string
		filters []netlink.Filter
		want    uint16
	}{
		{name: "none", want: 1},
		{name: "bpf for all protocols", filters: []netlink.Filter{entry(1, all, nil)}, want: 1},
		{name: "bpf for one protocol", filters: []netlink.Filter{entry(1, ipv4, nil)}, want: 2},
		{name: "another kind", filters: []netlink.Filter{other, entry(2, ipv4, nil)}, want: 3},
		{name: "later ones do not matter", filters: []netlink.Filter{entry(9, ipv4, nil)}, want: 1},
		{name: "other chains do not matter", filters: []netlink.Filter{entry(1, ipv4, &chain)}, want: 1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := tcPriority(tc.filters); got != tc.want {
				t.Errorf("priority %d, want %d", got, tc.want)
			}
		})
	}
}

// TestTCBehindAnotherKind: the kernel takes the priority that tcPriority found.
func TestTCBehindAnotherKind(t *testing.T) {
	t.Parallel()
	a := nettest.New(t, "a")
	a.Bridge("br0")
	index := a.Index("br0")
	a.Do(func() error {
		if err := netlink.QdiscAdd(clsact(index)); err != nil {
			return err
		}
		return netlink.FilterAdd(&netlink.BpfFilter{
			FilterAttrs: netlink.FilterAttrs{LinkIndex: index, Parent: netlink.HANDLE_MIN_INGRESS, Handle: 1, Priority: 1,
				Protocol: 0x0800},
			Fd:   nettest.NewForeign(t, ebpf.SchedCLS, nettest.TCNext).FD(),
			Name: "foreign",
		})
	})
	l := attached(t, Options{Hooks: []string{HookTC}}, a)
	checkFilters(t, a, "br0", true, "ingress foreign 1", "ingress netobs 2", "egress netobs 1")
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	checkFilters(t, a, "br0", true, "ingress foreign 1")
}

// TestFallsBackToTC where the kernel has no TCX, and not for another reason.
func TestFallsBackToTC(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name  string
		hooks []string
		err   error
		want  string // the error
	}{
		{name: "auto", err: ebpf.ErrNotSupported},
		{name: "asked for tcx", hooks: []string{HookTCX}, err: ebpf.ErrNotSupported, want: "attach tcx egress to lo"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			a := nettest.New(t, "a")
			l, err := New(Options{Hooks: tc.hooks, Netns: []Netns{mustFind(t, a.Name)}})
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			l.attachTCX = func(link.TCXOptions) (io.Closer, error) { return nil, fmt.Errorf("tcx: %w", tc.err) }
			err = l.Attach(t.Context())
			if tc.want == "" {
				if err != nil {
					t.Error(err)
				}
				checkFilters(t, a, "lo", true, "egress netobs+clsact 1")
				return
			}
			if err == nil || !strings.Contains(err.Error(), tc.want) || !errors.Is(err, ebpf.ErrNotSupported) {
				t.Errorf("error %v, want %s", err, tc.want)
			}
			checkFilters(t, a, "lo", false)
		})
	}
}

// TestNoClsact: what the kernel answers for a kind of qdisc that it does not know is explained.
func TestNoClsact(t *testing.T) {
	t.Parallel()
	a := nettest.New(t, "a")
	a.Bridge("br0")
	index := a.Index("br0")
	a.Do(func() error {
		unknown := &netlink.GenericQdisc{QdiscAttrs: *clsact(index).Attrs(), QdiscType: "nonesuch"}
		err := explainQdisc(netlink.QdiscAdd(unknown))
		if !errors.Is(err, ebpf.ErrNotSupported) || !strings.Contains(err.Error(), "the kernel has no clsact qdisc") {
			t.Errorf("error %v, want that the kernel has no clsact", err)
		}
		return nil
	})
}

// TestIngressQdiscInTheWay: the older qdisc has no egress.
func TestIngressQdiscInTheWay(t *testing.T) {
	t.Parallel()
	a := nettest.New(t, "a")
	a.Bridge("br0")
	index := a.Index("br0")
	a.Do(func() error {
		return netlink.QdiscAdd(&netlink.Ingress{QdiscAttrs: netlink.QdiscAttrs{LinkIndex: index, Parent: netlink.HANDLE_INGRESS}})
	})
	var log lines
	l := attached(t, Options{Hooks: []string{HookTC}, Select: Selection{Names: []string{"br0"}}, Log: log.logger()}, a)
	stats, err := l.Stats()
	if err != nil {
		t.Fatal(err)
	}
	if got := stats.AttachErrors[AttachError{a.Name, "attach"}]; got != 1 || stats.Attached[Attachment{a.Name, HookTC}] != 0 {
		t.Errorf("attach errors %v, points %v, want one error and no points", stats.AttachErrors, stats.Attached)
	}
	log.want(t, "attach tc ingress to br0 in "+a.Name, "replace it by clsact")
	if len(stats.Points) != 0 {
		t.Errorf("counters of an interface that is not watched: %+v", stats.Points)
	}
	checkFilters(t, a, "br0", false)
}

// TestTCAttachesAgain when somebody removes the qdisc with everything on it.
func TestTCAttachesAgain(t *testing.T) {
	t.Parallel()
	a := nettest.New(t, "a")
	a.Bridge("br0")
	var log lines
	l := attached(t, Options{Hooks: []string{HookTC}, Log: log.logger()}, a)
	l.checkCompany()
	log.none(t, "level=WARN")
	a.RemoveClsact("br0")
	l.checkCompany()
	log.want(t, "somebody removed netobs from an interface", "interface=br0")
	checkFilters(t, a, "br0", true, "ingress netobs+clsact 1", "egress netobs+clsact 1")
	if got := l.lastPoint; got != 5 {
		t.Errorf("last point is %d, want 5: 3, and 2 anew", got)
	}
}
