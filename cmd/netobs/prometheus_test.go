package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

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
	m.hold(portDrain, 2)
	m.hold(portFull, 1) // fills the queue
	const held = 4

	// Series begin with their first event, which rate does not see.
	base := mixed{good: 9, refused: 20, unanswered: 9, halfOpen: 20, reset: 100, slow: 3, overflow: 2, late: 4, fragments: 5}
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
			p.tb = t
			about := seen{load: load, seconds: to - from[i], open: held, native: p.native, main: watched.addr, limited: limited.addr,
				broken: broken.Name}
			p.checkDashboards(t, m, to, gone, about)
			p.checkRules(t, m, about, base.times(4), limited.addr, gone)
			p.checkHistograms(t, m, to, base.times(4), from[i])
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

// checkRules: the server evaluated all of the rules, without error; records have their values, and each alert is on its way.
func (p *prometheus) checkRules(t *testing.T, m *mixer, about seen, total mixed, limited, gone string) {
	var data struct {
		Groups []struct {
			Rules []struct {
				Name, Type, Health, LastError string
				Alerts                        []struct {
					Labels map[string]string
					State  string
				}
			}
		}
	}
	p.get("rules", nil, &data)
	now := p.nextScrape(about.main)
	// Of what happened before the first scrape the rates know nothing, so that they are between those of the later load and those of all.
	rate := func(load, total int) bounds { return between(0.95*float64(load)/300, 1.15*float64(total)/300) }
	near := func(v float64) bounds { return between(0.85*v, 1.15*v) }
	all := total.completed() + total.failed()
	ratio := func(n int) bounds { return near(float64(n) / float64(all)) }
	records := map[string]map[string]bounds{ // by outcome, of the client
		"netns_role:netobs_handshakes:rate5m": {"": rate(about.load.completed()+about.load.failed(), all)},
		"netns_role_outcome:netobs_handshakes_failed:rate5m": {
			"refused": rate(about.load.refused, total.refused), "half_open": rate(about.load.halfOpen, total.halfOpen),
			"unanswered": rate(about.load.unanswered+about.load.overflow, total.unanswered+total.overflow)},
		"netns_role_outcome:netobs_handshakes_failed:ratio_rate5m": {
			"refused": ratio(total.refused), "half_open": ratio(total.halfOpen), "unanswered": ratio(total.unanswered + total.overflow)},
		"netns_role:netobs_handshake_duration_seconds:p99_5m": {"": slowTime},
		"netns_role:netobs_teardowns:rate5m":                  {"": rate(about.load.completed(), total.completed())},
		"netns_role:netobs_teardowns_rst:rate5m":              {"": rate(about.load.reset, total.reset)},
		"instance:netobs_events_lost:rate5m":                  {"": exactly(0)},
	}
	alerts := map[string]map[string]string{ // labels of one alert
		"NetobsConnectionsRefused":    {"netns": m.client.Name, "role": "originator", "outcome": "refused"},
		"NetobsConnectionsUnanswered": {"netns": m.client.Name, "role": "originator", "outcome": "unanswered"},
		"NetobsHandshakesSlow":        {"netns": m.client.Name, "role": "originator"},
		"NetobsHalfOpenGrowing":       {"netns": m.server.Name, "role": "responder", "outcome": "half_open"},
		"NetobsAcceptQueueFull":       {"netns": m.server.Name},
		"NetobsResetStorm":            {"netns": m.client.Name, "role": "originator"},
		"NetobsLosingEvents":          {"instance": limited},
		"NetobsDown":                  {"instance": gone},
	}
	evaluated := 0
	for _, group := range data.Groups {
		for _, rule := range group.Rules {
			evaluated++
			if rule.Health != "ok" {
				t.Errorf("%s is %s: %s", rule.Name, rule.Health, rule.LastError)
			}
			if rule.Type == "alerting" {
				want, ok := alerts[rule.Name]
				found := false
				for _, a := range rule.Alerts {
					matches := true
					for name, value := range want {
						matches = matches && a.Labels[name] == value
					}
					found = found || matches
				}
				if !ok || !found {
					t.Errorf("%s: no alert with %v among %v", rule.Name, want, rule.Alerts)
				}
				continue
			}
			want, ok := records[rule.Name]
			if !ok {
				t.Errorf("nothing is expected of %s", rule.Name)
			}
			for outcome, bounds := range want {
				labels := fmt.Sprintf(`{instance="%s", netns="%s", outcome="%s"}`, about.main, m.client.Name, outcome)
				if strings.HasPrefix(rule.Name, "instance:") {
					labels = fmt.Sprintf(`{instance="%s"}`, about.main)
				}
				if err := (wants{"*": bounds}).check(p.query(now, rule.Name+labels)); err != nil {
					t.Errorf("%s%s: %v", rule.Name, labels, err)
				}
			}
		}
	}
	if n := len(records) + len(alerts); evaluated != n {
		t.Errorf("%d rules evaluated, %d expected", evaluated, n)
	}
}

// checkHistograms: native histograms and exemplars arrived.
func (p *prometheus) checkHistograms(t *testing.T, m *mixer, at float64, total mixed, from float64) {
	got := p.query(at, fmt.Sprintf(`netobs_handshake_duration_seconds{netns="%s", leg="total"}`, m.client.Name))
	if p.native {
		// The held ones, too, but not the one that is older.
		n := float64(total.completed() + 3)
		if len(got) != 1 || got[0].Histogram == nil || got[0].value() != n {
			t.Errorf("native histogram %v, want one of %v", got, n)
		}
	} else if len(got) != 0 {
		t.Errorf("native histogram %v of a server that does not take them", got)
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
