package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"netobs/loader/wiring"
)

// Forms in which the networks of the host are shown, beside text and JSON.
const (
	outputDOT = "dot"
	outputSVG = "svg"
)

func newNamespaces(stdout io.Writer) *cobra.Command {
	output := outputText
	cmd := &cobra.Command{
		Use:   "namespaces",
		Short: "Show the network namespaces of the host, and how they are connected",
		Long: `Show the network namespaces of the host: under /run/netns and /run/docker/netns, and those that only a process keeps.
Of each its name, as in the label netns of metrics; its interfaces with kind, state and addresses; which veth is the
other end of which, which interface is a port of which bridge; and which BPF programs are attached, and who holds them.

As a tree, as JSON, as a graph for Graphviz, or as a picture, which Graphviz draws.`,
		Example: `  netobs namespaces
  netobs namespaces --output svg > host.svg
  netobs namespaces --output json | jq -r '.namespaces[].name'`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if !slices.Contains([]string{outputText, outputJSON, outputDOT, outputSVG}, output) {
				return usageError{fmt.Errorf("--output is text, json, dot or svg, not %q", output), cmd.CommandPath()}
			}
			host, err := wiring.Look(cmd.Context())
			if err != nil {
				return err
			}
			return showHost(cmd.Context(), stdout, host, output)
		},
	}
	cmd.Flags().StringVar(&output, "output", output, "`form`: text, json, dot or svg")
	return cmd
}

func showHost(ctx context.Context, stdout io.Writer, host *wiring.Host, form string) error {
	w := bufio.NewWriter(stdout)
	switch form {
	case outputText:
		printTree(w, host)
	case outputDOT:
		printDOT(w, host)
	case outputSVG:
		if err := drawSVG(ctx, w, host); err != nil {
			return err
		}
	case outputJSON:
		encoder := json.NewEncoder(w)
		encoder.SetIndent("", "  ")
		encoder.SetEscapeHTML(false)
		object := struct {
			jsonHead
			*wiring.Host
		}{headOf("namespaces"), host}
		if err := encoder.Encode(object); err != nil {
			return err
		}
	}
	return w.Flush()
}

// drawSVG lets Graphviz draw. A layout of its own would be a project of its own, and the library that brings one along is
// larger than netobs.
func drawSVG(ctx context.Context, w io.Writer, host *wiring.Host) error {
	var graph, complaint strings.Builder
	printDOT(&graph, host)
	dot := exec.CommandContext(ctx, "dot", "-Tsvg")
	dot.Stdin, dot.Stdout, dot.Stderr = strings.NewReader(graph.String()), w, &complaint
	err := dot.Run()
	switch {
	case errors.Is(err, exec.ErrNotFound):
		return errors.New("to draw takes Graphviz, whose program dot is not installed: install the package graphviz, or take " +
			"--output dot to where it is and run \"dot -Tsvg\" there")
	case err != nil:
		return fmt.Errorf("draw with Graphviz: dot: %w: %s", err, firstLine(complaint.String()))
	}
	return nil
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(s, "\n")
	return line
}
