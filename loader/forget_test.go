package loader

import (
	"maps"
	"slices"
	"testing"
	"time"

	"netobs/bpf"
)

// TestForgetsDeparted: what a namespace counted, and an interface, is told for a while after its end. Then it goes, or a host
// would have more series with each container. The sum stays.
func TestForgetsDeparted(t *testing.T) {
	t.Parallel()
	end := &iface{index: 7, name: "veth1a2b", kind: KindVeth, peerIndex: 2, peerNsid: 5}
	host := &namespace{Netns: Netns{Name: HostName}, nsid: ownNsid, links: map[int]*iface{3: {name: "eth0", label: "eth0"}, 7: end}}
	pod := &namespace{Netns: Netns{Name: "pod"}, nsid: 5, links: map[int]*iface{2: {index: 2, name: "eth0", kind: KindVeth}}}
	bare := &namespace{Netns: host.Netns, links: map[int]*iface{3: host.links[3]}}
	inside, outside := pointLabels{netns: "pod", iface: "eth0"}, pointLabels{netns: HostName, iface: "veth→pod/eth0"}
	// One that is there, and those of a namespace that was given by name: few, and its other series stay, too.
	others := []pointLabels{{netns: HostName, iface: "eth0"}, {netns: "given", iface: "eth0"}}
	for _, tc := range []struct {
		name       string
		ago        time.Duration
		namespaces []*namespace
		want       []pointLabels // beside others
	}{
		{"just ended", 0, []*namespace{bare}, []pointLabels{inside, outside}},
		{"long ago", keepFor, []*namespace{bare}, nil},
		{"long ago, host end still there", keepFor, []*namespace{host}, []pointLabels{outside}},
		{"name in use again", keepFor, []*namespace{pod, host}, []pointLabels{inside, outside}},
		{"interface removed long ago", keepFor, []*namespace{{Netns: pod.Netns}, host}, []pointLabels{outside}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			ago := time.Now().Add(-tc.ago)
			l := &Loader{
				namespaces: []*namespace{pod, host},
				departed:   map[string]time.Time{"pod": ago},
				totals:     make(map[pointLabels]bpf.PointCounters),
				unused:     map[interfaceLabel]time.Time{inside.ofInterface(): ago, outside.ofInterface(): ago},
				errors:     map[AttachError]uint64{{"pod", "enter"}: 1},
			}
			l.relabel(pod, pod.links[2])
			all := append([]pointLabels{inside, outside}, others...)
			for _, labels := range all {
				l.totals[labels] = bpf.PointCounters{SegmentBytesTotal: 1}
			}
			l.namespaces = tc.namespaces
			l.forgetDeparted()
			for _, labels := range append(slices.Clone(tc.want), others...) {
				if _, ok := l.totals[labels]; !ok {
					t.Errorf("lacks %v", labels)
				}
			}
			if len(l.totals) != len(tc.want)+len(others) {
				t.Errorf("%v are left, want %v and %v", slices.Collect(maps.Keys(l.totals)), tc.want, others)
			}
			there := slices.ContainsFunc(tc.namespaces, func(ns *namespace) bool { return ns.Name == "pod" }) || tc.ago == 0
			if there == slices.Contains(l.forgotten, "pod") {
				t.Errorf("the names that are forgotten are %q, those of pod: %v", l.forgotten, !there)
			}
			if (len(l.errors) > 0) != there {
				t.Errorf("attach errors of a namespace: %v, want any %v", l.errors, there)
			}
			if sum, err := l.Total(); err != nil || sum.SegmentBytesTotal != uint64(len(all)) {
				t.Errorf("%d bytes in all, %v, want %d", sum.SegmentBytesTotal, err, len(all))
			}
		})
	}
}

// TestForgetsUnused: the time begins when an interface goes, and again each time.
func TestForgetsUnused(t *testing.T) {
	t.Parallel()
	eth0 := &iface{name: "eth0", label: "eth0"}
	ns := &namespace{Netns: Netns{Name: "a"}, links: map[int]*iface{2: eth0}}
	labels := pointLabels{netns: "a", iface: "eth0"}
	l := &Loader{
		namespaces: []*namespace{ns},
		totals:     map[pointLabels]bpf.PointCounters{labels: {}},
		unused:     make(map[interfaceLabel]time.Time),
	}
	passes := func(d time.Duration) {
		for of, at := range l.unused {
			l.unused[of] = at.Add(-d)
		}
		l.forgetDeparted()
	}
	for range 2 {
		passes(keepFor)
		delete(ns.links, 2)
		passes(keepFor)
		passes(keepFor / 2)
		if _, ok := l.totals[labels]; !ok {
			t.Fatal("forgotten after half of the time")
		}
		ns.links[2] = eth0
	}
	passes(keepFor)
	delete(ns.links, 2)
	passes(0)
	passes(keepFor)
	if len(l.totals)+len(l.unused) != 0 {
		t.Errorf("%v, %v are left", l.totals, l.unused)
	}
}
