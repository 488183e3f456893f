package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"netobs/loader/nettest"
	"netobs/metrics/grafana"
)

// TestPrometheus: a real Prometheus, with and without native histograms, scrapes a netobs under a load of which each number is
// known. Every query of every panel and every rule must tell of it.
func TestPrometheus(t *testing.T) {
	nettest.NeedProgram(t, "promtool")
	m := newMixer(t)
	broken := nettest.New(t, "broken")
	unattachable(broken)
	if stats, err := ebpf.EnableStats(unix.BPF_STATS_RUN_TIME); err != nil {
		t.Fatal(err)
	} else {
		t.Cleanup(func() { stats.Close() })
	}
	m.hold(portDrain, 1) // older than netobs
	watched := startAttach(t, "--netns", m.client.Name, "--netns", m.server.Name, "--netns", m.bridge.Name, "--output", "none")
	limited := startAttach(t, "--netns", m.server.Name, "--netns", broken.Name, "--hook", "tc", "--syn-rate", "1", "--output", "none")
	gone := m.server.Listen("10.9.0.2:0").Addr().String() // nobody listens there in our namespace
	servers := []*prometheus{
		startPrometheus(t, false, watched.addr, limited.addr, gone),
		startPrometheus(t, true, watched.addr, limited.addr, gone),
	}
	began := float64(time.Now().Unix())
	m.hold(portDrain, 2)
	m.hold(portFull, 1) // fills the queue
	const held = 4

	// Series begin with their first event, which rate does not see.
	base := mixed{good: 9, refused: 30, unanswered: 9, halfOpen: 30, reset: 100, slow: 3, overflow: 2, late: 4, fragments: 5}
	m.run(base)
	watched.waitForMixed(m, base, held)
	from := make([]float64, len(servers))
	for i, p := range servers {
		from[i] = p.nextScrape(watched.addr)
	}
	load := base.times(3)
	m.run(load)
	watched.waitForMixed(m, base.times(4), held)

	for i, p := range servers {
		to := p.nextScrape(watched.addr)
		t.Run(fmt.Sprintf("native %v", p.native), func(t *testing.T) {
			about := seen{load: load, seconds: to - from[i], open: held, native: p.native, main: watched.addr, limited: limited.addr,
				broken: broken.Name}
			p.checkDashboards(t, m, to, gone, about)
			t.Run("rules", func(t *testing.T) { p.checkRules(t, m, about, base.times(4), gone) })
			t.Run("histograms", func(t *testing.T) { p.checkHistograms(t, m, to, began, base.times(4)) })
			t.Run("variables", func(t *testing.T) { p.checkVariables(t, m, watched.addr) })
			t.Run("no data", func(t *testing.T) { p.checkEmpty(t, to) })
		})
	}
	checkByPromtool(t, watched)
}

// unattachable makes an interface whose clsact qdisc cannot be made.
func unattachable(ns *nettest.NS) {
	ns.Bridge("br0")
	index := ns.Index("br0")
	ns.Do(func() error {
		return netlink.QdiscAdd(&netlink.Ingress{QdiscAttrs: netlink.QdiscAttrs{LinkIndex: index, Parent: netlink.HANDLE_INGRESS}})
	})
}

// waitForMixed waits until all of a load has its verdict, at both ends, and only the held connections are open.
func (s *session) waitForMixed(m *mixer, load mixed, held int) {
	s.tb.Helper()
	for _, ns := range []*nettest.NS{m.client, m.server} {
		netns := label("netns", ns.Name)
		for outcome, n := range map[string]int{"half_open": load.halfOpen, "unanswered": load.unanswered + load.overflow, "refused": load.refused} {
			s.waitFor(float64(n), "handshakes_total", netns, label("outcome", outcome))
		}
		s.waitFor(float64(load.completed()), "teardowns_total", netns)
		s.waitFor(float64(load.late), "late_segments_total", netns)
		s.waitFor(float64(held), "connections", netns)
	}
}

// checkDashboards asks all queries of all dashboards, as Grafana does.
func (p *prometheus) checkDashboards(t *testing.T, m *mixer, at float64, gone string, about seen) {
	client, server := about, about
	client.client, client.netns, client.role = true, m.client.Name, "originator"
	server.netns, server.role = m.server.Name, "responder"
	for _, tc := range []struct {
		dashboard, view, netns string
		expected               []expectation
		about                  seen
	}{
		{"overview", "local|originator", ".+", overviewPanels, client},
		{"overview", "local|responder", ".+", overviewPanels, server},
		{"namespace", "", m.client.Name, namespacePanels, client},
		{"namespace", "", m.server.Name, namespacePanels, server},
		{"netobs", "", ".+", itselfPanels, about},
	} {
		t.Run(tc.dashboard+" "+tc.about.role, func(t *testing.T) {
			p.tb = t
			panels := panelsOf(t, tc.dashboard)
			for _, e := range tc.expected {
				queries, ok := panels[e.panel]
				want := e.of(&tc.about)
				if !ok || len(queries) != len(want) {
					t.Fatalf("%s has %d queries, %d expected", e.panel, len(queries), len(want))
				}
				instance := map[string]string{"": about.main, askLimited: about.limited, askGone: gone}[e.instance]
				escaped := strings.ReplaceAll(regexp.QuoteMeta(instance), `\`, `\\`) // as Grafana does
				window := fmt.Sprintf("%dms", int(about.seconds*1000+1.5))
				for i, query := range queries {
					expr := strings.NewReplacer("$job", "netobs", "$instance", escaped, "$netns", tc.netns, "$view", tc.view,
						"$__rate_interval", window, "$__range", window).Replace(query)
					if err := want[i].check(p.query(at, expr)); err != nil {
						t.Errorf("%s, query %d: %v\n%s", e.panel, i, err, expr)
					}
				}
			}
			for title := range panels {
				if !slices.ContainsFunc(tc.expected, func(e expectation) bool { return e.panel == title }) {
					t.Errorf("nothing is expected of panel %s", title)
				}
			}
		})
	}
}

// panelsOf returns the queries of each panel of a dashboard, by its title.
func panelsOf(t *testing.T, name string) map[string][]string {
	t.Helper()
	var d struct {
		Panels []struct {
			Title   string
			Targets []struct{ Expr string }
		}
	}
	i := slices.IndexFunc(grafana.Dashboards, func(d grafana.Dashboard) bool { return d.Name == name })
	if err := json.Unmarshal(grafana.Dashboards[i].JSON(), &d); err != nil {
		t.Fatal(err)
	}
	panels := make(map[string][]string)
	for _, panel := range d.Panels {
		for _, target := range panel.Targets {
			panels[panel.Title] = append(panels[panel.Title], target.Expr)
		}
	}
	return panels
}

// key returns labels in order, without the name; numbers of buckets in one form.
func key(labels map[string]string) string {
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(labels)) {
		value := labels[name]
		if f, err := strconv.ParseFloat(value, 64); err == nil && name == "le" {
			value = strconv.FormatFloat(f, 'g', -1, 64)
		}
		if name != "__name__" {
			parts = append(parts, name+"="+value)
		}
	}
	return strings.Join(parts, ",")
}

// check compares the samples with what is wanted: all of it, and nothing else but zeros.
func (w wants) check(got []promSample) error {
	found := make(map[string]bool)
	for i := range got {
		k, v := key(got[i].Metric), got[i].value()
		if _, any := w["*"]; any && len(got) == 1 {
			k = "*"
		}
		want, ok := w[k]
		switch {
		case !ok && v != 0:
			return fmt.Errorf("unexpected %v", &got[i])
		case ok && !(want.min <= v && v <= want.max):
			return fmt.Errorf("%v, want %v", &got[i], want)
		case ok:
			found[k] = true
		}
	}
	for k := range w {
		if !found[k] {
			return fmt.Errorf("no sample {%s} among %d: %v", k, len(got), got)
		}
	}
	return nil
}

// checkVariables: Grafana finds values for each variable of the dashboards.
func (p *prometheus) checkVariables(t *testing.T, m *mixer, netobs string) {
	p.tb = t
	var d struct {
		Templating struct {
			List []struct{ Name, Type, Query string }
		}
	}
	for _, dashboard := range grafana.Dashboards {
		if err := json.Unmarshal(dashboard.JSON(), &d); err != nil {
			t.Fatal(err)
		}
		for _, v := range d.Templating.List {
			if v.Type != "query" {
				continue
			}
			match := regexp.MustCompile(`^label_values\((.*), (\w+)\)$`).FindStringSubmatch(v.Query)
			if match == nil {
				t.Fatalf("%s of %s asks %s", v.Name, dashboard.Name, v.Query)
			}
			var values []string
			series := strings.NewReplacer("$job", "netobs", "$instance", netobs).Replace(match[1])
			p.get("label/"+match[2]+"/values", url.Values{"match[]": {series}}, &values)
			want := map[string][]string{"job": {"netobs"}, "instance": {netobs}, "netns": {m.client.Name, m.server.Name, m.bridge.Name}}[v.Name]
			for _, value := range want {
				if !slices.Contains(values, value) {
					t.Errorf("%s of %s: %v, without %s", v.Name, dashboard.Name, values, value)
				}
			}
		}
	}
}

// checkEmpty: where there is no netobs, no query is an error, and none returns anything.
func (p *prometheus) checkEmpty(t *testing.T, at float64) {
	p.tb = t
	for _, dashboard := range grafana.Dashboards {
		for title, queries := range panelsOf(t, dashboard.Name) {
			for _, query := range queries {
				expr := strings.NewReplacer("$job", "nobody", "$__rate_interval", "1m", "$__range", "1h").Replace(query)
				if got := p.query(at, expr); len(got) > 0 {
					t.Errorf("%s: %v of nobody", title, got)
				}
			}
		}
	}
}

// checkByPromtool holds the exposition against the rules of Prometheus's own tool.
func checkByPromtool(t *testing.T, s *session) {
	t.Helper()
	res, err := http.Get("http://" + s.addr + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	cmd := exec.Command("promtool", "check", "metrics")
	cmd.Stdin = res.Body
	if out, err := cmd.CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("promtool check metrics: %v\n%s", err, out)
	}
}
