package main

import (
	"fmt"
	"strings"
)

// A query is one PromQL expression of a panel.
type query struct {
	expr   string
	legend string
	// instant asks for one value, of the whole time range, instead of a line.
	instant bool
	// exemplars shows single events, with their labels, on the lines.
	exemplars bool
}

// selector are the labels of a metric that every query filters by, and more.
func selector(metric string, more ...string) string {
	labels := append([]string{`job=~"$job"`, `instance=~"$instance"`, `netns=~"$netns"`}, more...)
	return "netobs_" + metric + "{" + strings.Join(labels, ", ") + "}"
}

// own is the selector of what is no namespace's.
func own(metric string) string { return metric + `{job=~"$job", instance=~"$instance"}` }

func rate(series string) string { return "rate(" + series + "[$__rate_interval])" }

func sum(expr string, by ...string) string {
	if len(by) == 0 {
		return "sum(" + expr + ")"
	}
	return "sum by (" + strings.Join(by, ", ") + ") (" + expr + ")"
}

// share is a part of a whole, and nothing where the whole is 0.
func share(part, whole string) string { return part + " / (" + whole + " > 0)" }

// quantile is one of a histogram, of its native form or, where the server does not take those, its classic one. Nothing
// where nothing was observed.
func quantile(q string, histogram string, labels []string, by ...string) string {
	native := sum(rate(selector(histogram, labels...)), by...)
	classic := sum(rate(selector(histogram+"_bucket", labels...)), append(by, "le")...)
	return fmt.Sprintf("(histogram_quantile(%s, %s) or histogram_quantile(%s, %s)) >= 0", q, native, q, classic)
}

// buckets are how many observations fell where: the native form or, where the server does not take those, the classic one.
func buckets(histogram string, labels ...string) string {
	native := "sum(increase(" + selector(histogram, labels...) + "[$__rate_interval]))"
	classic := "sum by (le) (increase(" + selector(histogram+"_bucket", labels...) + "[$__rate_interval]))"
	return native + " or (" + classic + " unless on () " + native + ")"
}

// Label matchers.
const (
	inView    = `role=~"$view"`
	completed = `outcome="completed"`
	known     = `outcome!="unknown"`
	failed    = `outcome!~"completed|unknown"`
	lost      = `disposition=~"ring_full|rate_limited"`
)
