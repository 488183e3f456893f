package loader

import (
	"maps"
	"slices"
	"testing"
	"time"

	"netobs/bpf"
)

// TestForgetsDeparted: what a namespace counted, and the host's end of its veth, is told for a while after its end. Then it
// goes, or a host would have more series with each container.
func TestForgetsDeparted(t *testing.T) {
	t.Parallel()
	end := &iface{index: 7, name: "veth1a2b", kind: KindVeth, peerIndex: 2, peerNsid: 5}
	host := &namespace{Netns: Netns{Name: HostName}, nsid: ownNsid, links: map[int]*iface{7: end}}
	pod := &namespace{Netns: Netns{Name: "pod"}, nsid: 5, links: map[int]*iface{2: {index: 2, name: "eth0", kind: KindVeth}}}
	inside, outside := pointLabels{netns: "pod", iface: "eth0"}, pointLabels{netns: HostName, iface: "veth→pod/eth0"}
	others := []pointLabels{{netns: HostName, iface: "eth0"}, {netns: "pod2", iface: "eth0"}, {netns: HostName, iface: "veth→pod2/eth0"}}
	for _, tc := range []struct {
		name       string
		ago        time.Duration
		namespaces []*namespace
		want       []pointLabels // beside others
	}{
		{"just ended", 0, []*namespace{{Netns: host.Netns}}, []pointLabels{inside, outside}},
		{"long ago", keepFor, []*namespace{{Netns: host.Netns}}, nil},
		{"long ago, host end still there", keepFor, []*namespace{host}, []pointLabels{outside}},
		{"name in use again", keepFor, []*namespace{pod, host}, []pointLabels{inside, outside}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			l := &Loader{
				namespaces: []*namespace{pod, host},
				departed:   map[string]time.Time{"pod": time.Now().Add(-tc.ago)},
				totals:     make(map[pointLabels]bpf.PointCounters),
				errors:     map[AttachError]uint64{{"pod", "enter"}: 1},
			}
			l.relabel(pod, pod.links[2])
			for _, labels := range append([]pointLabels{inside, outside}, others...) {
				l.totals[labels] = bpf.PointCounters{}
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
			if gone := !slices.Contains(tc.want, inside); gone != slices.Contains(l.forgotten, "pod") {
				t.Errorf("the names that are forgotten are %q, those of pod: %v", l.forgotten, gone)
			}
			if inside := slices.Contains(tc.want, inside); (len(l.errors) > 0) != inside {
				t.Errorf("attach errors of a namespace: %v, want any %v", l.errors, inside)
			}
		})
	}
}
