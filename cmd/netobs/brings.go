package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"netobs/metrics/grafana"
	"netobs/metrics/rules"
)

func newDashboard(stdout io.Writer) *cobra.Command {
	var list bool
	cmd := &cobra.Command{
		Use:   "dashboard NAME",
		Short: "Print a Grafana dashboard of netobs",
		Long: `Print a Grafana dashboard of netobs, as JSON to import or to provision. It asks a Prometheus data source, which is
chosen in Grafana. --list shows which there are.`,
		Example: `  netobs dashboard --list
  netobs dashboard overview > overview.json`,
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if list && len(args) == 0 {
				return listDashboards(stdout)
			}
			json, err := findDashboard(args)
			if err != nil {
				return usageError{err, cmd.CommandPath()}
			}
			_, err = stdout.Write(json)
			return err
		},
	}
	cmd.Flags().BoolVar(&list, "list", false, "list the dashboards instead")
	return cmd
}

func listDashboards(w io.Writer) error {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, d := range grafana.Dashboards {
		fmt.Fprintf(tw, "%s\t%s\n", d.Name, d.About)
	}
	return tw.Flush()
}

func dashboardNames() []string {
	var names []string
	for _, d := range grafana.Dashboards {
		names = append(names, d.Name)
	}
	return names
}

func findDashboard(args []string) ([]byte, error) {
	for _, d := range grafana.Dashboards {
		if len(args) == 1 && d.Name == args[0] {
			return d.JSON(), nil
		}
	}
	choice := strings.Join(dashboardNames(), ", ")
	if len(args) == 1 {
		return nil, fmt.Errorf("there is no dashboard %q: there are %s", args[0], choice)
	}
	return nil, errors.New("say which dashboard: one of " + choice + ", or --list")
}

// runbooks is where the alerts say that README.md is.
const runbooks = "README.md"

func newAlerts(stdout io.Writer) *cobra.Command {
	at := runbooks
	cmd := &cobra.Command{
		Use:   "alerts",
		Short: "Print the Prometheus rules of netobs: alerts, and what they are made of",
		Long: `Print the alerts of netobs, and the recording rules that they are made of, as a file that Prometheus loads by
rule_files. README.md has a section about each alert: what it means, and what to look at.`,
		Example: `  netobs alerts > netobs.yaml
  netobs alerts --runbooks https://wiki.example/netobs > netobs.yaml`,
		Args: noArgs,
		RunE: func(*cobra.Command, []string) error {
			from, to := "runbook_url: "+runbooks+"#", "runbook_url: "+at+"#"
			_, err := stdout.Write(bytes.ReplaceAll(rules.File, []byte(from), []byte(to)))
			return err
		},
	}
	cmd.Flags().StringVar(&at, "runbooks", runbooks, "`URL` at which your team reads the README, for the link in each alert")
	return cmd
}
