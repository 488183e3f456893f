package metrics

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"netobs/decode"
)

// counterOf returns the sum of the counters of a family and namespace, and when the first one began, as Prometheus is told.
func counterOf(tb testing.TB, m *Metrics, family, netns string) (sum float64, began time.Time) {
	tb.Helper()
	m.ObserveTallies(decode.Tallies{})
	families, err := registry(m).Gather()
	if err != nil {
		tb.Fatal(err)
	}
	for _, f := range families {
		for _, metric := range f.GetMetric() {
			for _, l := range metric.GetLabel() {
				if f.GetName() != Prefix+family || l.GetName() != "netns" || l.GetValue() != netns {
					continue
				}
				sum += metric.GetCounter().GetValue()
				if at := metric.GetCounter().GetCreatedTimestamp().AsTime(); began.IsZero() || at.Before(began) {
					began = at
				}
			}
		}
	}
	return sum, began
}

// TestCreated: counters tell when they began, so that increase() is right: before what they counted, and after the last scrape
// of what had their name before. A namespace that comes back before its name is forgotten goes on.
func TestCreated(t *testing.T) {
	var points []PointCounters
	m := New(testBuild, func() (Kernel, error) { return Kernel{Points: points}, nil }, Options{})
	count := func(segments uint64) {
		points = []PointCounters{{Netns: "a", Interface: "lo", Direction: "egress", Segments: segments}}
		m.ObserveHandshake(handshake("a"))
	}
	// check wants counts, that began between from and to.
	check := func(when string, segments, handshakes float64, from, to time.Time) {
		t.Helper()
		for _, c := range []struct {
			family string
			want   float64
		}{{"segments_total", segments}, {"handshakes_total", handshakes}} {
			got, began := counterOf(t, m, c.family, "a")
			if got != c.want || began.Before(from) || began.After(to) {
				t.Errorf("%s: %s is %v since %v, want %v since %v to %v", when, c.family, got, began, c.want, from, to)
			}
		}
	}
	start := time.Now()
	counterOf(t, m, "segments_total", "a")
	count(5)
	counted := time.Now()
	check("at first", 5, 1, start, counted)
	count(9)
	check("another of the name, before it is forgotten", 9, 2, start, counted)

	points = nil
	m.Forget("a")
	if n, _ := counterOf(t, m, "handshakes_total", "a"); n != 0 {
		t.Errorf("forgotten, and has %v handshakes", n)
	}
	count(20)
	counted2 := time.Now()
	check("another of the name, after", 20, 1, counted, counted2)

	scraped := time.Now()
	m.Forget("a")
	count(30)
	check("another of the name, and nobody scraped meanwhile", 30, 1, counted2, time.Now())
	if _, began := counterOf(t, m, "handshakes_total", "a"); began.Before(scraped) {
		t.Errorf("handshakes since %v, want after %v", began, scraped)
	}
}

// TestCreatedSamples: in OpenMetrics text they are samples, which the level full alone has; Protobuf has them always.
func TestCreatedSamples(t *testing.T) {
	for level, want := range map[Level]bool{LevelDefault: false, LevelFull: true} {
		m := New(testBuild, nil, Options{Level: level})
		m.ObserveHandshake(handshake("a"))
		if got := len(openMetrics(t, m, "netobs_handshakes_created{")) > 0; got != want {
			t.Errorf("%v: samples of when series began: %v, want %v", level, got, want)
		}
	}
}

// TestHandOver: what is observed is told when the batch is over, all of it at once.
func TestHandOver(t *testing.T) {
	m := New(testBuild, nil, Options{PortLabel: true})
	told := func(want int) {
		t.Helper()
		all, _ := m.snapshot()
		s := newSums(LevelDefault)
		for i := range all {
			all[i].addTo(s, "a", 0)
		}
		n := 0
		for key, sample := range s.by {
			if key.family == handshakesTotal || key.family == teardownsTotal {
				n += int(sample.n)
			}
		}
		if n != want {
			t.Errorf("%d handshakes and teardowns are told, want %d", n, want)
		}
	}
	m.ObserveHandshake(handshake("a"))
	m.ObserveConnection(connection("a"))
	told(0)
	m.ObserveTallies(decode.Tallies{})
	told(2)
	m.ObserveHandshake(handshake("a"))
	told(2)
	m.ObserveTallies(decode.Tallies{})
	told(3)
}

// TestPortLabel: the ports given have values of their own, or the first ones that are busy.
func TestPortLabel(t *testing.T) {
	to := func(m *Metrics, port string, n int, outcome decode.Outcome) {
		for range n {
			h := between("10.0.0.1:1000", "10.0.0.2:"+port, 0)
			h.Outcome = outcome
			m.ObserveHandshake(h)
		}
	}
	want := func(m *Metrics, want ...string) {
		t.Helper()
		var got []string
		for _, s := range samples(exposition(t, m), `outcome="completed"`) {
			got = append(got, s[strings.Index(s, "port="):])
		}
		if strings.Join(got, "\n") != strings.Join(want, "\n") {
			t.Errorf("completed handshakes are\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	}
	given := New(testBuild, nil, Options{PortLabel: true, Ports: []uint16{80, 443}})
	to(given, "80", 1, decode.OutcomeCompleted)
	to(given, "81", 20, decode.OutcomeCompleted)
	want(given, `port="80",role="local"} 1`, `port="other",role="local"} 20`)
	wantSamples(t, given, `netobs_handshake_duration_seconds_count{leg="total"`,
		`netobs_handshake_duration_seconds_count{leg="total",netns="a",port="80",role="local"} 1`,
		`netobs_handshake_duration_seconds_count{leg="total",netns="a",port="other",role="local"} 20`)

	busiest := New(testBuild, nil, Options{PortLabel: true})
	to(busiest, "79", 100, decode.OutcomeRefused)
	to(busiest, "80", 12, decode.OutcomeCompleted)
	want(busiest, `port="80",role="local"} 3`, `port="other",role="local"} 9`)
	for port := range 2 * maxPorts {
		to(busiest, fmt.Sprint(1000+port), busyPort, decode.OutcomeCompleted)
	}
	if n := len(samples(exposition(t, busiest), `outcome="completed"`)); n != maxPorts+1 {
		t.Errorf("%d ports, want %d and other", n, maxPorts)
	}
	to(busiest, "80", 1, decode.OutcomeCompleted)
	if got := samples(exposition(t, busiest), `outcome="completed",port="80",role="local"} 4`); len(got) != 1 {
		t.Error("port 80 did not keep its value")
	}
}
