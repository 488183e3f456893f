package rules

import (
	"bytes"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"netobs/loader/nettest"
)

// TestPromtool runs the unit tests of the rules, by Prometheus's own tool.
func TestPromtool(t *testing.T) {
	nettest.NeedProgram(t, "promtool")
	for _, args := range [][]string{
		{"check", "rules", "--lint=all", "--lint-fatal", "netobs.yaml"},
		{"test", "rules", "testdata/netobs_test.yaml"},
	} {
		if out, err := exec.Command("promtool", args...).CombinedOutput(); err != nil {
			t.Errorf("promtool %v: %v\n%s", args, err, out)
		}
	}
}

// TestEachAlertIsTold: an alert has a test in which it fires, and a section in the README.
func TestEachAlertIsTold(t *testing.T) {
	tests, err := os.ReadFile("testdata/netobs_test.yaml")
	if err != nil {
		t.Fatal(err)
	}
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	alerts := regexp.MustCompile(`- alert: (\w+)`).FindAllSubmatch(File, -1)
	if len(alerts) == 0 {
		t.Fatal("no alerts")
	}
	for _, match := range alerts {
		name := string(match[1])
		if !bytes.Contains(tests, []byte("alertname: "+name+"\n")) {
			t.Errorf("%s has no test", name)
		}
		if !bytes.Contains(File, []byte("runbook_url: README.md#"+strings.ToLower(name)+"\n")) {
			t.Errorf("%s has no runbook", name)
		}
		if !bytes.Contains(readme, []byte("# "+name+"\n")) {
			t.Errorf("README.md has no section %s", name)
		}
	}
	for _, field := range []string{"summary:", "description:", "severity:"} {
		if n := bytes.Count(File, []byte(field)); n != len(alerts) {
			t.Errorf("%d alerts, %d times %s", len(alerts), n, field)
		}
	}
}
