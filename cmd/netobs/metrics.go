package main

import (
	"encoding/json"
	"fmt"
	"io"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"netobs/metrics"
)

// metricsFlags are the flags of attach that say what is exported.
type metricsFlags struct{ metrics.Options }

func (m *metricsFlags) addFlags(fs *pflag.FlagSet) {
	fs.TextVar(&m.Level, "metrics", metrics.LevelDefault,
		"`how much` is exported: minimal, default or full; \"netobs metrics\" shows what each\nhas")
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
