package main

import (
	"fmt"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"

	"netobs/loader/nettest"
)

// A promRule is a rule as the server knows it.
type promRule struct {
	Name, Type, Health, LastError string
	Alerts                        []struct{ Labels map[string]string }
}

// fires reports whether there is an alert with all of the labels.
func (r *promRule) fires(labels map[string]string) bool {
	for _, a := range r.Alerts {
		all := true
		for name, value := range labels {
			all = all && a.Labels[name] == value
		}
		if all {
			return true
		}
	}
	return false
}

// rules returns all rules by name.
func (p *prometheus) rules() map[string]*promRule {
	p.tb.Helper()
	var data struct{ Groups []struct{ Rules []*promRule } }
	p.get("rules", nil, &data)
	all := make(map[string]*promRule)
	for _, group := range data.Groups {
		for _, r := range group.Rules {
			all[r.Name] = r
		}
	}
	return all
}

// checkRules: the server evaluates all of the rules, without error; records have their values, and each alert is on its way.
func (p *prometheus) checkRules(t *testing.T, m *mixer, about seen, total mixed, gone string) {
	p.tb = t
	// Of what happened before the first scrape the rates know nothing, so that they are between those of the later load and those of all.
	rate := func(load, total int) bounds { return between(0.95*float64(load)/300, 1.15*float64(total)/300) }
	later, all := about.load.completed()+about.load.failed(), total.completed()+total.failed()
	ratio := func(load, total int) bounds {
		return between(0.95*float64(load)/float64(all), 1.05*float64(total)/float64(later))
	}
	records := map[string]map[string]bounds{ // by outcome, of the client
		"netns_role:netobs_handshakes:rate5m": {"": rate(later, all)},
		"netns_role_outcome:netobs_handshakes_failed:rate5m": {
			"refused": rate(about.load.refused, total.refused), "half_open": rate(about.load.halfOpen, total.halfOpen),
			"unanswered": rate(about.load.unanswered+about.load.overflow, total.unanswered+total.overflow)},
		"netns_role_outcome:netobs_handshakes_failed:ratio_rate5m": {
			"refused": ratio(about.load.refused, total.refused), "half_open": ratio(about.load.halfOpen, total.halfOpen),
			"unanswered": ratio(about.load.unanswered+about.load.overflow, total.unanswered+total.overflow)},
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
		"NetobsLosingEvents":          {"instance": about.limited},
		"NetobsDown":                  {"instance": gone},
	}
	for name, labels := range alerts {
		// They are evaluated some time after what they are made of.
		nettest.Eventually(t, 15*time.Second, func() error {
			if r := p.rules()[name]; r == nil || !r.fires(labels) {
				return fmt.Errorf("%s: no alert with %v in %+v", name, labels, r)
			}
			return nil
		})
	}
	now := p.nextScrape(about.main)
	for name, byOutcome := range records {
		for outcome, bounds := range byOutcome {
			labels := fmt.Sprintf(`{instance="%s", netns="%s", outcome="%s"}`, about.main, m.client.Name, outcome)
			if strings.HasPrefix(name, "instance:") {
				labels = fmt.Sprintf(`{instance="%s"}`, about.main)
			}
			if err := (wants{"*": bounds}).check(p.query(now, name+labels)); err != nil {
				t.Errorf("%s%s: %v", name, labels, err)
			}
		}
	}
	for name, r := range p.rules() {
		if r.Health != "ok" {
			t.Errorf("%s is %s: %s", name, r.Health, r.LastError)
		}
		if records[name] == nil && alerts[name] == nil {
			t.Errorf("nothing is expected of %s", name)
		}
	}
}

// checkHistograms: native histograms and exemplars arrived. since is when the test began.
func (p *prometheus) checkHistograms(t *testing.T, m *mixer, at, since float64, total mixed) {
	p.tb = t
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
	for _, want := range []struct {
		metric string
		port   string // of the responder
		bounds
	}{
		{`{__name__=~"netobs_handshake_duration_seconds(_bucket)?", leg="total", role="originator"}`, portSlow, slowTime},
		{`netobs_handshakes_total{outcome="refused", role="originator"}`, portClosed, exactly(1)},
		{`netobs_handshakes_total{outcome="half_open", role="responder"}`, portHalfOpen, exactly(1)},
	} {
		found := false
		for _, e := range p.exemplars(since, at, want.metric) {
			value, err := strconv.ParseFloat(e.Value, 64)
			if err != nil || !strings.HasPrefix(e.Labels["originator"], "10.9.0.1:") || !strings.HasPrefix(e.Labels["responder"], serverIP+":") {
				t.Errorf("exemplar of %s is %+v, %v", want.metric, e, err)
			}
			// Of a native histogram, this server keeps the exemplar of one classic bucket only.
			histogram := strings.Contains(want.metric, "duration")
			found = found || p.native && histogram ||
				value >= want.min && value <= want.max && e.Labels["responder"] == net.JoinHostPort(serverIP, want.port)
		}
		if !found {
			t.Errorf("no exemplar of %s at port %s", want.metric, want.port)
		}
	}
}
