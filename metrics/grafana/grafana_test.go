package grafana

//lint:file-ignore SA1019 The classic model: all releases of Grafana import it. dashboardv2 needs the newest ones.

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/grafana/grafana-foundation-sdk/go/cog"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
	"github.com/grafana/grafana-foundation-sdk/go/heatmap"
	"github.com/grafana/grafana-foundation-sdk/go/prometheus"
	"github.com/grafana/grafana-foundation-sdk/go/stat"
	"github.com/grafana/grafana-foundation-sdk/go/table"
	"github.com/grafana/grafana-foundation-sdk/go/timeseries"
)

// load reads a dashboard as Grafana's schema has it: a field that it does not know is an error.
func load(t *testing.T, d Dashboard) *dashboard.Dashboard {
	t.Helper()
	runtime := cog.NewRuntime()
	runtime.RegisterPanelcfgVariant(stat.VariantConfig())
	runtime.RegisterPanelcfgVariant(timeseries.VariantConfig())
	runtime.RegisterPanelcfgVariant(heatmap.VariantConfig())
	runtime.RegisterPanelcfgVariant(table.VariantConfig())
	runtime.RegisterDataqueryVariant(prometheus.VariantConfig())
	// No error is a nil slice of errors, in an interface that is not nil; for that reason nothing is in it, either.
	if err := new(dashboard.Dashboard).UnmarshalJSONStrict(d.JSON()); err.Error() != "" {
		t.Fatalf("%s: %v", d.Name, err)
	}
	loaded := new(dashboard.Dashboard)
	if err := json.Unmarshal(d.JSON(), loaded); err != nil {
		t.Fatal(err)
	}
	return loaded
}

// TestRules holds each dashboard against the rules of Grafana's dashboard-linter, and our own.
func TestRules(t *testing.T) {
	uids, titles := make(map[string]bool), make(map[string]bool)
	for _, d := range Dashboards {
		t.Run(d.Name, func(t *testing.T) {
			loaded := load(t, d)
			if loaded.Uid == nil || loaded.Title == nil || uids[*loaded.Uid] || titles[*loaded.Title] {
				t.Fatal("no uid or title of its own")
			}
			uids[*loaded.Uid], titles[*loaded.Title] = true, true
			if loaded.Editable == nil || *loaded.Editable {
				t.Error("can be edited, and would be overwritten")
			}
			if loaded.SchemaVersion < 42 {
				t.Errorf("schema version %d", loaded.SchemaVersion)
			}
			if len(loaded.Links) == 0 || !loaded.Links[0].IncludeVars || !loaded.Links[0].KeepTime {
				t.Error("no link to the others that keeps variables and time")
			}
			for _, empty := range []string{`"mode": ""`, `"orientation": ""`} { // what the SDK writes if nothing was chosen
				if strings.Contains(string(d.JSON()), empty) {
					t.Errorf("%s is no choice of Grafana's", empty)
				}
			}
			checkVariables(t, loaded.Templating.List)
			ids, names := make(map[uint32]bool), make(map[string]bool)
			for _, p := range loaded.Panels {
				if p.Panel == nil {
					if ids[p.RowPanel.Id] {
						t.Errorf("row %s: id used twice", *p.RowPanel.Title)
					}
					ids[p.RowPanel.Id] = true
					continue
				}
				if p.Panel.Id == nil || ids[*p.Panel.Id] || p.Panel.Title == nil || names[*p.Panel.Title] {
					t.Fatalf("panel %v: no id or title of its own", p.Panel.Title)
				}
				ids[*p.Panel.Id], names[*p.Panel.Title] = true, true
				t.Run(*p.Panel.Title, func(t *testing.T) { checkPanel(t, p.Panel) })
			}
		})
	}
}

func checkVariables(t *testing.T, list []dashboard.VariableModel) {
	found := make(map[string]dashboard.VariableModel)
	for _, v := range list {
		found[v.Name] = v
		if v.Label == nil || *v.Label == "" {
			t.Errorf("variable %s without label", v.Name)
		}
	}
	if v := found["datasource"]; v.Type != dashboard.VariableTypeDatasource || *v.Query.String != "prometheus" {
		t.Errorf("datasource is %+v", v)
	}
	for _, name := range []string{"job", "instance", "netns"} {
		v := found[name]
		if v.Type != dashboard.VariableTypeQuery || *v.Datasource.Uid != "${datasource}" || *v.Refresh != dashboard.VariableRefreshOnTimeRangeChanged {
			t.Errorf("%s is %+v", name, v)
		}
	}
}

var (
	metric = regexp.MustCompile(`\b(netobs_\w+|up|process_\w+|go_\w+|scrape_\w+)(\{[^}]*\})`)
	// Metrics that a sum over roles would count once for each namespace.
	byRole = regexp.MustCompile(`^netobs_(handshakes_|handshake_|teardowns_|connection_duration|connections$|connections_unseen)`)
)

func checkPanel(t *testing.T, p *dashboard.Panel) {
	if p.Description == nil || len(*p.Description) < 10 {
		t.Error("no description")
	}
	if p.FieldConfig.Defaults.Unit == nil || *p.FieldConfig.Defaults.Unit == "" {
		t.Error("no unit")
	}
	if p.FieldConfig.Defaults.Thresholds == nil || len(p.FieldConfig.Defaults.Thresholds.Steps) == 0 {
		t.Error("no thresholds")
	}
	if p.FieldConfig.Defaults.NoValue == nil {
		t.Error("says nothing where there is no data")
	}
	if *p.Datasource.Uid != "${datasource}" {
		t.Errorf("asks %s", *p.Datasource.Uid)
	}
	if len(p.Targets) == 0 {
		t.Error("asks nothing")
	}
	for _, target := range p.Targets {
		q, ok := target.(prometheus.Dataquery)
		if !ok {
			ptr, _ := target.(*prometheus.Dataquery)
			q = *ptr
		}
		if p.Type != "table" && (q.LegendFormat == nil || *q.LegendFormat == "") {
			t.Error("no legend")
		}
		checkQuery(t, q.Expr)
	}
}

func checkQuery(t *testing.T, expr string) {
	selectors := metric.FindAllStringSubmatch(expr, -1)
	if len(selectors) == 0 || len(selectors) != strings.Count(expr, "{") {
		t.Errorf("%d metrics found in %s", len(selectors), expr)
	}
	for _, s := range selectors {
		for _, label := range []string{"job", "instance"} {
			if !strings.Contains(s[2], fmt.Sprintf(`%s=~"$%[1]s"`, label)) {
				t.Errorf("%s%s does not filter by %s", s[1], s[2], label)
			}
		}
		if byRole.MatchString(s[1]) && !strings.Contains(s[2], "role=") && !regexp.MustCompile(`by \([^)]*\brole\b`).MatchString(expr) {
			t.Errorf("%s adds up roles", expr)
		}
		if strings.HasSuffix(s[1], "_total") && !strings.Contains(expr, "rate("+s[0]+"[$__rate_interval])") &&
			!strings.Contains(expr, "increase("+s[0]+"[$__r") && !cumulative[s[1]] {
			t.Errorf("%s is a counter, without rate or increase", s[1])
		}
	}
	for _, interval := range regexp.MustCompile(`\[[^\]]*\]`).FindAllString(expr, -1) {
		if interval != "[$__rate_interval]" && interval != "[$__range]" {
			t.Errorf("interval %s", interval)
		}
	}
}

// cumulative are counters whose value since netobs began is what tells something.
var cumulative = map[string]bool{
	"netobs_attach_errors_total":         true,
	"netobs_control_segments_seen_total": true,
	"netobs_control_segments_total":      true,
	"netobs_records_read_total":          true,
}

// TestAllListed: each file is a dashboard, each dashboard a file.
func TestAllListed(t *testing.T) {
	entries, err := files.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	if len(entries) != len(Dashboards) {
		t.Errorf("%d files, %d dashboards", len(entries), len(Dashboards))
	}
	for _, d := range Dashboards {
		if !json.Valid(d.JSON()) || d.About == "" {
			t.Errorf("%s: no JSON, or nothing about it", d.Name)
		}
	}
}
