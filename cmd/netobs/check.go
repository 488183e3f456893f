package main

import (
	"encoding/json"
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"netobs/loader/preflight"
)

func newCheck(stdout io.Writer) *cobra.Command {
	output := outputText
	cmd := &cobra.Command{
		Use:   "check",
		Short: "Tell whether netobs can work here, and what to do if not",
		Long: `Tell whether netobs can work here: it loads its programs and attaches them with each hook in a network namespace of its
own, which changes nothing, and looks at capabilities, memory limits, settings, what a killed netobs left behind, and
who else is attached to interfaces. The exit code is 1 if "netobs attach" cannot work.`,
		Example: `  netobs check
  netobs check --output json | jq '.findings[] | select(.state == "missing")'`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if output != outputText && output != outputJSON {
				return usageError{fmt.Errorf("--output is text or json, not %q", output), cmd.CommandPath()}
			}
			r := preflight.Check(cmd.Context())
			if err := showCheck(stdout, r, output); err != nil {
				return err
			}
			if !r.CanAttach {
				return errReported
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&output, "output", output, "`form`: text or json")
	return cmd
}

func showCheck(stdout io.Writer, r *preflight.Report, form string) error {
	if form == outputJSON {
		encoder := json.NewEncoder(stdout)
		encoder.SetIndent("", "  ")
		encoder.SetEscapeHTML(false)
		return encoder.Encode(struct {
			jsonHead
			*preflight.Report
		}{headOf("check"), r})
	}
	w := tabwriter.NewWriter(stdout, 0, 0, 2, ' ', 0)
	for _, f := range r.Findings {
		line := fmt.Sprintf("%s\t%s\t%s", f.State, f.About, f.Name)
		if f.Detail != "" {
			line += "\t" + f.Detail // else the name would be padded
		}
		if f.Remedy != "" && f.State != preflight.OK {
			line += "; " + f.Remedy
		}
		fmt.Fprintln(w, line)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	verdict := "\nnetobs attach works here"
	if !r.CanAttach {
		verdict = "\nnetobs attach cannot work here: see what is missing"
	}
	_, err := fmt.Fprintln(stdout, verdict)
	return err
}
