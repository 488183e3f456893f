// Generate writes the Grafana dashboards of netobs into the current directory.
package main

//lint:file-ignore SA1019 The classic model: all releases of Grafana import it. dashboardv2 needs the newest ones.

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"

	"github.com/grafana/grafana-foundation-sdk/go/cog"
	"github.com/grafana/grafana-foundation-sdk/go/common"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
)

func main() {
	for name, b := range map[string]*dashboard.DashboardBuilder{
		"overview":  overview(),
		"namespace": namespace(),
		"netobs":    itself(),
	} {
		if err := write(name+".json", b); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
}

func write(file string, b *dashboard.DashboardBuilder) error {
	d, err := b.Build()
	if err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	for i := range d.Panels {
		id := uint32(i + 1)
		if p := d.Panels[i].Panel; p != nil {
			p.Id = &id
		} else {
			d.Panels[i].RowPanel.Id = id
		}
	}
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(d); err != nil {
		return err
	}
	return os.WriteFile(file, buf.Bytes(), 0o644)
}

const (
	uidOverview  = "netobs-overview"
	uidNamespace = "netobs-namespace"
	uidItself    = "netobs-itself"
)

// newDashboard returns a dashboard with links to the others and the variables that all have: data source, job, instance.
func newDashboard(uid, title, description string) *dashboard.DashboardBuilder {
	return dashboard.NewDashboardBuilder(title).
		Uid(uid).
		Description(description).
		Tags([]string{"netobs", "tcp"}).
		Readonly().
		Tooltip(dashboard.DashboardCursorSyncCrosshair).
		Timezone(common.TimeZoneBrowser).
		Time("now-1h", "now").
		Refresh("30s").
		Link(dashboard.NewDashboardLinkBuilder("netobs").
			Type(dashboard.DashboardLinkTypeDashboards).
			Tags([]string{"netobs"}).
			IncludeVars(true).
			KeepTime(true)).
		WithVariable(dashboard.NewDatasourceVariableBuilder("datasource").
			Label("Data source").
			Type("prometheus")).
		// All jobs are all of netobs: up and process metrics are everybody's.
		WithVariable(values("job", "Job", "label_values(netobs_build_info, job)")).
		WithVariable(values("instance", "Instance", `label_values(netobs_build_info{job=~"$job"}, instance)`).AllValue(".+"))
}

// values is a variable of the values of a label, any number of them.
func values(name, label, query string) *dashboard.QueryVariableBuilder {
	return value(name, label, query).Multi(true).IncludeAll(true).
		Current(dashboard.VariableOption{Text: text("All"), Value: text("$__all")})
}

// value is a variable of one value of a label.
func value(name, label, query string) *dashboard.QueryVariableBuilder {
	return dashboard.NewQueryVariableBuilder(name).
		Label(label).
		Datasource(source).
		Query(dashboard.StringOrMap{String: &query}).
		Definition(query).
		Refresh(dashboard.VariableRefreshOnTimeRangeChanged).
		Sort(dashboard.VariableSortNaturalAsc)
}

// netns is the variable of one or several namespaces.
func netns() *dashboard.QueryVariableBuilder {
	return values("netns", "Namespace", `label_values(netobs_observation_points{job=~"$job", instance=~"$instance"}, netns)`).
		AllValue(".+")
}

// view is the variable that keeps sums from counting a connection once for each namespace that it crosses.
func view() *dashboard.CustomVariableBuilder {
	query := "outgoing : local|originator, incoming : local|responder, forwarded : forwarded"
	return dashboard.NewCustomVariableBuilder("view").
		Label("Connections").
		Description("Whose view counts: of who opens connections, of who accepts them, or of who forwards them.").
		Values(dashboard.StringOrMap{String: &query}).
		Current(dashboard.VariableOption{Text: text("outgoing"), Value: text("local|originator")})
}

func text(s string) dashboard.StringOrArrayOfString {
	return dashboard.StringOrArrayOfString{String: &s}
}

// source is what all queries ask.
var source = common.DataSourceRef{Type: cog.ToPtr("prometheus"), Uid: cog.ToPtr("${datasource}")}
