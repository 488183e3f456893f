package main

import (
	"github.com/grafana/grafana-foundation-sdk/go/cog"
	"github.com/grafana/grafana-foundation-sdk/go/cog/variants"
	"github.com/grafana/grafana-foundation-sdk/go/common"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
	"github.com/grafana/grafana-foundation-sdk/go/heatmap"
	"github.com/grafana/grafana-foundation-sdk/go/prometheus"
	"github.com/grafana/grafana-foundation-sdk/go/stat"
	"github.com/grafana/grafana-foundation-sdk/go/table"
	"github.com/grafana/grafana-foundation-sdk/go/timeseries"
	"github.com/grafana/grafana-foundation-sdk/go/units"
)

// A panel is what panels of all kinds are made of.
type panel struct {
	title, about string
	unit         string
	width        uint32 // of 24
	queries      []query
	below        string // the colour below all thresholds; "" is green
	thresholds   []threshold
	empty        string // what to show where there is no data
	stacked      bool   // lines are parts of a whole
}

// A threshold gives values from it on a colour.
type threshold struct {
	from  float64
	color string
}

// Colours of thresholds.
const (
	green  = "green"
	orange = "orange"
	red    = "red"
)

// Heights of panels, in the grid's units.
const (
	low  = 4
	high = 8
)

// builder is what the builders of all kinds of panels can do.
type builder[B any] interface {
	Title(string) B
	Description(string) B
	Unit(string) B
	Span(uint32) B
	Height(uint32) B
	Datasource(common.DataSourceRef) B
	Thresholds(cog.Builder[dashboard.ThresholdsConfig]) B
	ColorScheme(cog.Builder[dashboard.FieldColor]) B
	NoValue(string) B
	WithTarget(cog.Builder[variants.Dataquery]) B
}

// built gives a builder all that does not depend on the kind.
func built[B builder[B]](p panel, b B, height uint32, format prometheus.PromQueryFormat) B {
	below := p.below
	if below == "" {
		below = green
	}
	steps := []dashboard.Threshold{{Color: below}}
	for _, t := range p.thresholds {
		steps = append(steps, dashboard.Threshold{Value: &t.from, Color: t.color})
	}
	empty := p.empty
	if empty == "" {
		empty = "none"
	}
	b = b.Title(p.title).
		Description(p.about).
		Unit(p.unit).
		Span(p.width).
		Height(height).
		Datasource(source).
		NoValue(empty).
		Thresholds(dashboard.NewThresholdsConfigBuilder().Mode(dashboard.ThresholdsModeAbsolute).Steps(steps))
	for i, q := range p.queries {
		target := prometheus.NewDataqueryBuilder().
			Expr(q.expr).
			LegendFormat(q.legend).
			RefId(string(rune('A' + i))).
			Datasource(source).
			EditorMode(prometheus.QueryEditorModeCode).
			Format(format)
		if q.instant {
			target.Instant()
		} else {
			target.Range()
		}
		if q.exemplars {
			target.Exemplar(true)
		}
		b = b.WithTarget(target)
	}
	return b
}

// stat is one figure of now, over a small line.
func (p panel) stat() cog.Builder[dashboard.Panel] {
	return built(p, stat.NewPanelBuilder(), low, prometheus.PromQueryFormatTimeSeries).
		ColorScheme(dashboard.NewFieldColorBuilder().Mode(dashboard.FieldColorModeIdThresholds)).
		ColorMode(common.BigValueColorModeValue).
		GraphMode(common.BigValueGraphModeArea).
		Orientation(common.VizOrientationAuto).
		ReduceOptions(common.NewReduceDataOptionsBuilder().Calcs([]string{"lastNotNull"}))
}

// graph is lines over time. Thresholds are dashed lines.
func (p panel) graph() cog.Builder[dashboard.Panel] {
	b := built(p, timeseries.NewPanelBuilder(), high, prometheus.PromQueryFormatTimeSeries).
		ColorScheme(dashboard.NewFieldColorBuilder().Mode(dashboard.FieldColorModeIdPaletteClassic)).
		Min(0).
		LineWidth(1).
		FillOpacity(10).
		ShowPoints(common.VisibilityModeNever).
		Legend(common.NewVizLegendOptionsBuilder().
			ShowLegend(true).
			DisplayMode(common.LegendDisplayModeTable).
			Placement(common.LegendPlacementBottom).
			Calcs([]string{"mean", "max"})).
		Tooltip(common.NewVizTooltipOptionsBuilder().Mode(common.TooltipDisplayModeMulti).Sort(common.SortOrderDescending))
	if p.unit == units.PercentUnit {
		b.Max(1)
	}
	if p.stacked {
		b.FillOpacity(40).Stacking(common.NewStackingConfigBuilder().Mode(common.StackingModeNormal))
	}
	if len(p.thresholds) > 0 {
		b.ThresholdsStyle(common.NewGraphThresholdsStyleConfigBuilder().Mode(common.GraphThresholdsStyleModeDashed))
	}
	return b
}

// heat shows how durations are spread, over time.
func (p panel) heat() cog.Builder[dashboard.Panel] {
	return built(p, heatmap.NewPanelBuilder(), high, prometheus.PromQueryFormatHeatmap).
		Calculate(false).
		YAxis(heatmap.NewYAxisConfigBuilder().Unit(p.unit)).
		Color(heatmap.NewHeatmapColorOptionsBuilder().
			Mode(heatmap.HeatmapColorModeScheme).
			Scheme("Oranges").
			Fill("dark-orange").
			Exponent(0.5).
			Steps(64)).
		CellGap(1).
		Tooltip(heatmap.NewHeatmapTooltipBuilder().Mode(common.TooltipDisplayModeSingle)).
		ShowLegend()
}

// A column of a table.
type column struct {
	field string // label, or "Value", or "Value #A" if there are several queries
	head  string
	unit  string // of values
	link  string // where a value leads; optional
}

// table is rows of labels and values of now, with these columns alone. It is sorted by the last one.
func (p panel) table(columns ...column) cog.Builder[dashboard.Panel] {
	var fields []string
	heads, order := make(map[string]string), make(map[string]int)
	for i, c := range columns {
		fields = append(fields, c.field)
		heads[c.field] = c.head
		order[c.field] = i
	}
	b := built(p, table.NewPanelBuilder(), high, prometheus.PromQueryFormatTable).
		WithTransformation(dashboard.DataTransformerConfig{Id: "merge", Options: struct{}{}}).
		WithTransformation(dashboard.DataTransformerConfig{Id: "filterFieldsByName",
			Options: map[string]any{"include": map[string]any{"names": fields}}}).
		WithTransformation(dashboard.DataTransformerConfig{Id: "organize",
			Options: map[string]any{"renameByName": heads, "indexByName": order}}).
		Footer(common.NewTableFooterOptionsBuilder().Show(false).Reducer([]string{"sum"})).
		SortBy([]cog.Builder[common.TableSortByFieldState]{
			common.NewTableSortByFieldStateBuilder().DisplayName(columns[len(columns)-1].head).Desc(true)})
	for _, c := range columns {
		var properties []dashboard.DynamicConfigValue
		if c.unit != "" {
			properties = append(properties, dashboard.DynamicConfigValue{Id: "unit", Value: c.unit})
		}
		if c.link != "" {
			properties = append(properties, dashboard.DynamicConfigValue{Id: "links",
				Value: []map[string]string{{"title": "Show this namespace", "url": c.link}}})
		}
		if len(properties) > 0 {
			b.OverrideByName(c.head, properties)
		}
	}
	return b
}
