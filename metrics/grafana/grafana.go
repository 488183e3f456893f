// Package grafana holds the Grafana dashboards of netobs, as Grafana imports and provisions them. They are made by
// go generate from the Go files in generate/; every query names metrics of package metrics.
package grafana

import "embed"

//go:generate go run ./generate

//go:embed *.json
var files embed.FS

// A Dashboard is a file that Grafana imports.
type Dashboard struct {
	Name  string // by which it is asked for; the file is Name.json
	About string // what it shows, in a line
}

// Dashboards are all there are, in the order in which people read them.
var Dashboards = []Dashboard{
	{"overview", "all namespaces: can connections be made, how fast, how do they end, where do they fail"},
	{"namespace", "one namespace: roles, interfaces, flags, half-open connections, accept queues"},
	{"netobs", "netobs itself: loss, duplicates, attach errors, what it costs"},
}

// JSON returns the file of a dashboard.
func (d Dashboard) JSON() []byte {
	b, err := files.ReadFile(d.Name + ".json")
	if err != nil {
		panic(err) // embedded
	}
	return b
}
