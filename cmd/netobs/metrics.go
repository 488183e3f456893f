package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"netobs/metrics"
)

// metricsFlags are the flags of attach that say what is exported.
type metricsFlags struct {
	metrics.Options
	ports []string // as given
}

const metricsFlag = "metrics"

// busiest is the value of --metrics-port-label that is given without one.
const busiest = "busiest"

func (m *metricsFlags) addFlags(fs *pflag.FlagSet) {
	fs.TextVar(&m.Level, metricsFlag, metrics.LevelDefault,
		"`how much` is exported: minimal, default or full; \"netobs metrics\" shows what each\nhas")
	fs.IntVar(&m.MaxNamespaces, "max-namespaces", metrics.DefaultMaxNamespaces,
		"`values` of the label netns, and in each namespace of interface; those that come\nlater share \"other\"")
	fs.StringSliceVar(&m.ports, "metrics-port-label", nil,
		"label handshakes by the responder's port, too; the `ports` given have a value of\ntheir own, else the first 50 to which 10 handshakes completed; the rest is \"other\"")
	fs.Lookup("metrics-port-label").NoOptDefVal = busiest
}

// validate returns what is wrong with the flags, and takes the ports over.
func (m *metricsFlags) validate() error {
	var errs []error
	if m.MaxNamespaces < 1 {
		errs = append(errs, fmt.Errorf("--max-namespaces %d is less than 1", m.MaxNamespaces))
	}
	m.PortLabel, m.Ports = len(m.ports) > 0, nil
	for _, arg := range m.ports {
		if arg == busiest {
			continue
		}
		port, err := strconv.ParseUint(arg, 10, 16)
		if err != nil || port == 0 {
			errs = append(errs, fmt.Errorf("--metrics-port-label %s is no port: give some as in --metrics-port-label=80,443", arg))
		}
		m.Ports = append(m.Ports, uint16(port))
	}
	return errors.Join(errs...)
}

func newMetrics(stdout io.Writer) *cobra.Command {
	output := outputText
	cmd := &cobra.Command{
		Use:   "metrics",
		Short: "Print the table of the metrics that attach exports",
		Long: `Print the table of the metrics that attach exports: name, type, labels, unit, the first level of --metrics that has it, and
what it means. Metrics of the process (process_*) come with every level, those of the Go runtime (go_*) with full.`,
		Example: `  netobs metrics
  netobs metrics --output json | jq -r '.metrics[] | select(.level == "minimal").name'`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			switch output {
			case outputText:
				return metrics.WriteTable(stdout)
			case outputJSON:
				encoder := json.NewEncoder(stdout)
				encoder.SetIndent("", "  ")
				encoder.SetEscapeHTML(false)
				return encoder.Encode(struct {
					jsonHead
					Metrics []metrics.Row `json:"metrics"`
				}{headOf("metrics"), metrics.Table()})
			}
			return usageError{fmt.Errorf("--output is text or json, not %q", output), cmd.CommandPath()}
		},
	}
	cmd.Flags().StringVar(&output, "output", output, "`form`: text or json")
	return cmd
}
