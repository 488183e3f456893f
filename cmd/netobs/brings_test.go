package main

import (
	"encoding/json"
	"strings"
	"testing"
)

func TestDashboardCommand(t *testing.T) {
	code, list, stderr := runHere(t, "dashboard", "--list")
	if code != 0 || stderr != "" {
		t.Fatalf("code %d, stderr %q", code, stderr)
	}
	lines := strings.Split(strings.TrimSuffix(list, "\n"), "\n")
	if len(lines) != 3 {
		t.Errorf("%d dashboards listed", len(lines))
	}
	for _, line := range lines {
		name, _, _ := strings.Cut(line, " ")
		code, stdout, stderr := runHere(t, "dashboard", name)
		var d struct{ Title string }
		if err := json.Unmarshal([]byte(stdout), &d); code != 0 || stderr != "" || err != nil || !strings.HasPrefix(d.Title, "netobs / ") {
			t.Errorf("%s: code %d, stderr %q, %v, title %q", name, code, stderr, err, d.Title)
		}
	}
	for _, args := range [][]string{{"dashboard"}, {"dashboard", "namespaces"}, {"dashboard", "a", "b"}, {"dashboard", "--list", "overview", "netobs"}} {
		checkRefused(t, exitUsage, []string{"overview, namespace, netobs"}, args...)
	}
}

func TestAlertsCommand(t *testing.T) {
	code, stdout, stderr := runHere(t, "alerts")
	if code != 0 || stderr != "" || !strings.Contains(stdout, "runbook_url: README.md#netobsdown\n") {
		t.Errorf("code %d, stderr %q,\n%s", code, stderr, stdout)
	}
	_, elsewhere, _ := runHere(t, "alerts", "--runbooks", "https://wiki.example/netobs")
	if !strings.Contains(elsewhere, "runbook_url: https://wiki.example/netobs#netobsdown\n") || strings.Contains(elsewhere, "README") {
		t.Errorf("runbooks elsewhere:\n%s", elsewhere)
	}
}
