package metrics

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"netobs/decode"
)

// gathered returns the values of a counter by the label netns, and how many series of netobs there are in all.
func gathered(tb testing.TB, reg prometheus.Gatherer) (by map[string]map[string]float64, series int) {
	tb.Helper()
	families, err := reg.Gather()
	if err != nil {
		tb.Fatal(err)
	}
	by = make(map[string]map[string]float64)
	for _, f := range families {
		if len(f.GetName()) < len(Prefix) || f.GetName()[:len(Prefix)] != Prefix {
			continue
		}
		values := make(map[string]float64)
		for _, metric := range f.GetMetric() {
			series += 1 + len(metric.GetHistogram().GetBucket())
			for _, l := range metric.GetLabel() {
				if l.GetName() == "netns" && metric.Counter != nil {
					values[l.GetValue()] += metric.GetCounter().GetValue()
				}
			}
		}
		by[f.GetName()] = values
	}
	return by, series
}

// life is a namespace, from its first event until its name is forgotten.
type life struct {
	segments, handshakes uint64
	ended                int // the step at which the namespace ended
	own                  bool
	scraped              bool
}

// TestChurn: while 10 000 namespaces come and go, more at a time than have a label value, the series remain few, each namespace
// is told exactly to the last, and other tells exactly of those that were beyond the limit when they came.
func TestChurn(t *testing.T) {
	const (
		namespaces = 10_000
		most       = 150
		each       = 200 // come at each scrape, and are there for some scrapes
		keep       = 2   // scrapes after the end
	)
	random := rand.New(rand.NewPCG(1, 2))
	known := make(map[string]*life)
	m := New(testBuild, func() (Kernel, error) {
		var k Kernel
		for name, l := range known {
			k.Points = append(k.Points,
				PointCounters{Netns: name, Interface: "lo", Direction: "egress", Segments: l.segments / 2},
				PointCounters{Netns: name, Interface: "eth0", Direction: "egress", Segments: l.segments - l.segments/2})
			k.Listens = append(k.Listens, Listens{Netns: name})
		}
		return k, nil
	}, Options{MaxNamespaces: most})
	reg := registry(m)
	var otherSegments, otherHandshakes uint64 // of lives that are over
	var came, bound, restarted int
	for step := 0; came < namespaces || len(known) > 0; step++ {
		var live []string
		for name, l := range known {
			switch {
			case step > l.ended+keep:
				if !l.own {
					otherSegments += l.segments
					otherHandshakes += l.handshakes
				}
				delete(known, name)
				m.Forget(name)
			case step <= l.ended:
				live = append(live, name)
			}
		}
		for range min(each, namespaces-came) {
			came++
			name := fmt.Sprint("ns", came)
			if came%10 == 0 { // as an earlier one, which is forgotten or not
				name = fmt.Sprint("ns", max(1, came-random.IntN(8*each)))
			}
			if known[name] == nil {
				known[name] = new(life)
			} else {
				restarted++
			}
			known[name].ended = step + random.IntN(3)
			live = append(live, name)
		}
		slices.Sort(live)
		for _, name := range slices.Compact(live) {
			l := known[name]
			l.segments += random.Uint64N(100)
			for range 1 + random.IntN(2) {
				l.handshakes++
				m.ObserveHandshake(handshake(name))
			}
		}
		m.ObserveTallies(decode.Tallies{})

		by, series := gathered(t, reg)
		segments, handshakes := by["netobs_segments_total"], by["netobs_handshakes_total"]
		wantSegments, wantHandshakes := float64(otherSegments), float64(otherHandshakes)
		for name, l := range known {
			got, own := segments[name]
			if own && !l.scraped {
				l.own = true
			}
			l.scraped = true
			if !l.own {
				wantSegments += float64(l.segments)
				wantHandshakes += float64(l.handshakes)
			}
			if own != l.own || own && (got != float64(l.segments) || handshakes[name] != float64(l.handshakes)) {
				t.Fatalf("step %d: %s has %v segments and %v handshakes (its own: %v), want %+v", step, name, got, handshakes[name], own, *l)
			}
		}
		if segments[other] != wantSegments || handshakes[other] != wantHandshakes {
			t.Fatalf("step %d: other has %v segments and %v handshakes, want %v and %v", step, segments[other], handshakes[other],
				wantSegments, wantHandshakes)
		}
		for name := range segments {
			if name != other && known[name] == nil {
				t.Fatalf("step %d: %s is forgotten and told", step, name)
			}
		}
		if len(segments) > most+1 || len(handshakes) > most+1 {
			t.Fatalf("step %d: %d and %d values of netns", step, len(segments), len(handshakes))
		}
		bound = max(bound, series)
	}
	t.Logf("at most %d series, %d names came back before they were forgotten", bound, restarted)
	if bound > 60*(most+1) {
		t.Errorf("%d series of %d namespaces", bound, most)
	}
	if otherSegments == 0 || restarted == 0 {
		t.Errorf("nobody was beyond the limit, or came back: this does not test what it should")
	}
	if len(m.byName) > 0 || len(m.names.own)+len(m.names.beyond) > 0 || len(m.readings.last) > 0 || len(m.readings.interfaces) > 0 {
		t.Errorf("something is left of %v, %v, %v", slices.Collect(maps.Keys(m.byName)), m.names, m.readings.last)
	}
}

// TestManyInterfaces: also of interface there are so many values, and what comes later counts in other, as long as its namespace
// is told of.
func TestManyInterfaces(t *testing.T) {
	interfaces := map[string]uint64{"eth0": 1, "eth1": 2}
	kernel := func() (k Kernel, _ error) {
		for _, name := range slices.Sorted(maps.Keys(interfaces)) {
			k.Points = append(k.Points, PointCounters{Netns: "a", Interface: name, Direction: "egress", Segments: interfaces[name]})
		}
		return k, nil
	}
	m := New(testBuild, kernel, Options{MaxNamespaces: 2})
	want := func(when string, want ...string) {
		t.Helper()
		for i := range want {
			want[i] = `netobs_segments_total{direction="egress",interface="` + want[i]
		}
		t.Log(when)
		wantSamples(t, m, "netobs_segments_total", want...)
	}
	want("at first", `eth0",netns="a"} 1`, `eth1",netns="a"} 2`)
	interfaces["eth2"], interfaces["aaa"] = 4, 8
	want("two more", `eth0",netns="a"} 1`, `eth1",netns="a"} 2`, `other",netns="a"} 12`)
	delete(interfaces, "eth0")
	interfaces["eth2"] = 5
	want("one goes, the others keep what they have", `eth1",netns="a"} 2`, `other",netns="a"} 13`)
	interfaces["new"] = 16
	want("there is room", `eth1",netns="a"} 2`, `new",netns="a"} 16`, `other",netns="a"} 13`)
	delete(interfaces, "eth2")
	want("other does not drop", `eth1",netns="a"} 2`, `new",netns="a"} 16`, `other",netns="a"} 13`)
	clear(interfaces)
	want("nothing of a namespace that is not told of")
}

// TestNamespaceCalledOther counts where those beyond the limit do, so that they are not told apart, but not mixed up either.
func TestNamespaceCalledOther(t *testing.T) {
	m := New(testBuild, nil, Options{})
	m.ObserveHandshake(handshake(other))
	m.Forget(other)
	m.ObserveHandshake(handshake(other))
	wantSamples(t, m, `outcome="completed"`, `netobs_handshakes_total{netns="other",outcome="completed",role="local"} 2`)
}
