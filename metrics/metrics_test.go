package metrics

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"golang.org/x/sys/unix"

	"netobs/decode"
)

var update = flag.Bool("update", false, "rewrite testdata")

// registry returns a registry that checks everything about m.
func registry(m *Metrics) *prometheus.Registry {
	reg := prometheus.NewPedanticRegistry()
	register(reg, m)
	return reg
}

// exposition returns what a scrape of m shows after a hand-over, without what concerns the process.
func exposition(tb testing.TB, m *Metrics) string {
	tb.Helper()
	m.mu.Lock()
	m.handOver()
	m.mu.Unlock()
	rec := httptest.NewRecorder()
	NewHandler(m, HandlerOptions{}).ServeHTTP(rec, httptest.NewRequest("GET", "/metrics", nil))
	if rec.Code != 200 {
		tb.Fatalf("scrape: %d\n%s", rec.Code, rec.Body)
	}
	var b strings.Builder
	for line := range strings.Lines(rec.Body.String()) {
		if !strings.Contains(line, "process_") { // which differ
			b.WriteString(line)
		}
	}
	return b.String()
}

// samples returns the lines of an exposition that are samples and contain part.
func samples(exposition, part string) []string {
	var lines []string
	for line := range strings.Lines(exposition) {
		if !strings.HasPrefix(line, "#") && strings.Contains(line, part) {
			lines = append(lines, strings.TrimSpace(line))
		}
	}
	return lines
}

// wantSamples checks that the samples of m that contain part are exactly those given.
func wantSamples(tb testing.TB, m *Metrics, part string, want ...string) {
	tb.Helper()
	if got := samples(exposition(tb, m), part); !slices.Equal(got, want) {
		tb.Errorf("samples with %q\nwant\n\t%s\ngot\n\t%s", part, strings.Join(want, "\n\t"), strings.Join(got, "\n\t"))
	}
}

func TestExposition(t *testing.T) {
	idle := New(testBuild, func() (Kernel, error) {
		return Kernel{Points: pod("test"), ObservationPoints: []HookPoints{{"test", "tcx", 3}}}, nil
	}, Options{})
	for _, tt := range []struct {
		name string
		m    *Metrics
	}{
		{"empty", New(testBuild, nil, Options{})},
		{"idle", idle},
		{"busy", busy(t)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := registry(tt.m).Gather(); err != nil {
				t.Errorf("pedantic registry: %v", err)
			}
			got := exposition(t, tt.m)
			file := "testdata/" + tt.name + ".prom"
			if *update {
				if err := os.WriteFile(file, []byte(got), 0o666); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(want, []byte(got)) {
				t.Errorf("%s (-update rewrites it)\nwant\n%s\ngot\n%s", file, want, got)
			}
		})
	}
}

func TestLint(t *testing.T) {
	problems, err := testutil.GatherAndLint(registry(busy(t)))
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
}

func TestNativeHistograms(t *testing.T) {
	families, err := registry(busy(t)).Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetType().String() != "HISTOGRAM" {
			continue
		}
		h := f.GetMetric()[0].GetHistogram()
		if h.GetSchema() != 3 || len(h.GetPositiveSpan()) == 0 { // schema 3: 2^(1/8) = 1.09
			t.Errorf("%s: want a native histogram of schema 3, got %v", f.GetName(), h)
		}
		if n := len(h.GetBucket()); n == 0 || n > 12 {
			t.Errorf("%s: want 1 to 12 classic buckets, got %d", f.GetName(), n)
		}
	}
}

func TestEqualLabelsAddUp(t *testing.T) {
	points := append(pod("a"), pod("a")...)
	for i := range points {
		points[i].Segments, points[i].Flags[1] = 10, 3
		points[i].Control, points[i].Unparsed = dispositions(1, 0, 0, 0), unparsed(1)
	}
	m := New(testBuild, func() (Kernel, error) {
		return Kernel{
			Points:            points,
			ObservationPoints: []HookPoints{{"a", "tcx", 1}, {"a", "tcx", 2}},
			AttachErrors:      []AttachErrors{{"a", "busy", 1}, {"a", "busy", 2}},
		}, nil
	}, Options{})
	wantSamples(t, m, `netobs_segments_total{direction="ingress"`, `netobs_segments_total{direction="ingress",interface="eth0",netns="a"} 20`)
	wantSamples(t, m, `netobs_flags_total{direction="ingress"`, `netobs_flags_total{direction="ingress",flag="SYN",interface="eth0",netns="a"} 6`)
	wantSamples(t, m, `disposition="reported",interface="eth0"`, `netobs_control_segments_total{disposition="reported",interface="eth0",netns="a"} 4`)
	wantSamples(t, m, `reason="vlan"`,
		`netobs_unparsed_packets_total{interface="eth0",netns="a",reason="vlan"} 4`,
		`netobs_unparsed_packets_total{interface="lo",netns="a",reason="vlan"} 2`)
	wantSamples(t, m, `hook="tcx"`, `netobs_observation_points{hook="tcx",netns="a"} 3`)
	wantSamples(t, m, `reason="busy"`, `netobs_attach_errors_total{netns="a",reason="busy"} 3`)
}

func TestHostileNames(t *testing.T) {
	m := New(Build{Version: "\xff"}, func() (Kernel, error) { return Kernel{Points: pod("\xff\n\"")}, nil }, Options{})
	m.ObserveHandshake(handshake("\xff\n\""))
	wantSamples(t, m, `outcome="completed"`, `netobs_handshakes_total{netns="�\n\"",outcome="completed",role="local"} 1`)
	m.Forget("\xff\n\"")
	wantSamples(t, m, "netobs_handshake")
}

func TestDurations(t *testing.T) {
	for _, o := range []decode.Outcome{decode.OutcomeRefused, decode.OutcomeUnanswered, decode.OutcomeHalfOpen} {
		m := New(Build{}, nil, Options{})
		h := handshake("a")
		h.Outcome = o
		m.ObserveHandshake(h)
		wantSamples(t, m, "handshake_duration")
	}

	m := New(Build{}, nil, Options{})
	h := handshake("a")
	h.ResponderLeg = decode.Leg{Known: true, First: time.Second, Last: time.Millisecond}
	h.OriginatorLeg.Known, h.Total.Known = false, false
	m.ObserveHandshake(h)
	wantSamples(t, m, "handshake_duration_seconds_sum", `netobs_handshake_duration_seconds_sum{leg="responder",netns="a",role="local"} 1`)

	for _, c := range []*decode.Connection{
		{Unseen: true, Teardown: decode.TeardownFIN}, {Teardown: decode.TeardownEvicted},
		{Teardown: decode.TeardownDetached}, {Teardown: decode.TeardownExpired},
	} {
		m := New(Build{}, nil, Options{})
		c.Point = &decode.Point{Netns: "a"}
		m.ObserveConnection(c)
		wantSamples(t, m, "connection_duration")
	}
}

func TestFailingSource(t *testing.T) {
	m := New(testBuild, func() (Kernel, error) { return Kernel{}, errors.New("map is gone") }, Options{})
	m.ObserveHandshake(handshake("a"))
	families, err := registry(m).Gather()
	if err == nil || !strings.Contains(err.Error(), "map is gone") {
		t.Errorf("want the cause, got %v", err)
	}
	if len(families) == 0 {
		t.Error("want what does not come from the kernel, got nothing")
	}
}

func TestConcurrentScrapes(t *testing.T) {
	var readings atomic.Uint64
	m := New(testBuild, func() (k Kernel, _ error) {
		n := readings.Add(1)
		for i := range n % 20 {
			k.Points = append(k.Points, pod(fmt.Sprint("n", i))...)
		}
		return k, nil
	}, Options{MaxNamespaces: 10, PortLabel: true})
	reg := registry(m)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 50 {
				if _, err := reg.Gather(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Go(func() {
		for i := range 2000 {
			name := fmt.Sprint("n", i%20)
			m.ObserveHandshake(handshake(name))
			m.ObserveConnection(connection(name))
			m.ObserveTallies(tallies(name))
			if i%7 == 0 {
				m.Forget(name)
			}
		}
	})
	wg.Wait()
}

// fill makes m see each role with everything that commonly happens to it.
func fill(m *Metrics, netns string, rs ...decode.Role) {
	ts := tallies(netns)
	for _, role := range rs {
		for o := range outcomes {
			h := handshake(netns)
			h.Role, h.Outcome, h.SYNs, h.SYNACKs = role, decode.Outcome(o), 1, 1
			m.ObserveHandshake(h)
		}
		for _, closer := range []decode.Side{decode.Originator, decode.Responder} {
			for _, teardown := range []decode.Teardown{decode.TeardownFIN, decode.TeardownRST} {
				c := connection(netns)
				c.Role, c.Closer, c.Teardown = role, closer, teardown
				m.ObserveConnection(c)
			}
		}
		ts.Netns[0].Unseen[role], ts.Netns[0].SYNACKsAfterACK[role] = 1, 1
	}
	if len(rs) > 0 {
		m.ObserveTallies(ts)
	}
}

// TestSeriesBudget counts the series of a namespace with loopback and one veth.
func TestSeriesBudget(t *testing.T) {
	for _, tt := range []struct {
		name   string
		roles  []decode.Role
		flags  [8]uint64
		budget int
	}{
		{name: "quiet", budget: 60},
		{
			name:   "busy",
			roles:  []decode.Role{decode.RoleLocal, decode.RoleOriginator, decode.RoleResponder},
			flags:  [8]uint64{1, 1, 1, 1, 1},
			budget: 250,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			points := pod("a")
			for i := range points {
				points[i].Flags = tt.flags
			}
			m := New(testBuild, func() (Kernel, error) {
				return Kernel{Points: points, ObservationPoints: []HookPoints{{"a", "tcx", 3}}, Listens: []Listens{{Netns: "a"}}}, nil
			}, Options{})
			fill(m, "a", tt.roles...)
			n := len(samples(exposition(t, m), `netns="a"`))
			t.Logf("%d series", n)
			if n > tt.budget {
				t.Errorf("want at most %d series, got %d", tt.budget, n)
			}
		})
	}
}

// discard is a client that reads everything at once.
type discard struct{ header http.Header }

func (d discard) Header() http.Header         { return d.header }
func (d discard) Write(p []byte) (int, error) { return len(p), nil }
func (d discard) WriteHeader(int)             {}

// cpuTime returns what the process has used, which tells more than the clock where others run, too.
func cpuTime(tb testing.TB) time.Duration {
	tb.Helper()
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		tb.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkScrape makes the exposition of 1 000 namespaces.
func BenchmarkScrape(b *testing.B) {
	for _, bb := range []struct {
		name  string
		roles []decode.Role
		flags [8]uint64
	}{
		{name: "quiet"},
		{"busy", []decode.Role{decode.RoleLocal, decode.RoleOriginator, decode.RoleResponder}, [8]uint64{1, 1, 1, 1, 1}},
	} {
		b.Run(bb.name, func(b *testing.B) {
			var points []PointCounters
			m := New(testBuild, func() (Kernel, error) { return Kernel{Points: points}, nil }, Options{})
			for i := range 1000 {
				netns := fmt.Sprintf("namespace-%04d", i)
				ps := pod(netns)
				for i := range ps {
					ps[i].Flags = bb.flags
				}
				points = append(points, ps...)
				fill(m, netns, bb.roles...)
			}
			n := len(samples(exposition(b, m), ""))
			handler := NewHandler(m, HandlerOptions{})
			req := httptest.NewRequest("GET", "/metrics", nil)
			b.ReportAllocs()
			before := cpuTime(b)
			for b.Loop() {
				handler.ServeHTTP(discard{make(http.Header)}, req)
			}
			b.ReportMetric(float64((cpuTime(b)-before).Milliseconds())/float64(b.N), "cpu-ms/op")
			b.ReportMetric(float64(n), "series")
		})
	}
}

// BenchmarkTallies is what handing over the tallies of 1 000 namespaces costs the reading goroutine for each batch.
func BenchmarkTallies(b *testing.B) {
	m := New(testBuild, nil, Options{})
	var ts decode.Tallies
	for i := range 1000 {
		ts.Netns = append(ts.Netns, tally(uint32(i), fmt.Sprintf("namespace-%04d", i)))
	}
	b.ReportAllocs()
	for b.Loop() {
		m.ObserveTallies(ts)
	}
}

// BenchmarkObserve is what one connection costs the reading goroutine.
func BenchmarkObserve(b *testing.B) {
	m := New(testBuild, nil, Options{})
	h, c := handshake("a"), connection("a")
	b.ReportAllocs()
	for b.Loop() {
		m.ObserveHandshake(h)
		m.ObserveConnection(c)
	}
}
