package main

import (
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"netobs/loader"
)

// netnsNames is where named network namespaces are.
const netnsNames = "/run/netns"

// valueWords are the values that a shell offers for flags, of all commands that have them. Those of --output differ.
var valueWords = map[string]func() []string{
	"netns":      namedNamespaces,
	"kind":       loader.Kinds,
	"hook":       loader.Hooks,
	"flags":      flagWords,
	"outcome":    endingWords,
	"segments":   func() []string { return []string{segmentsControl, segmentsAll} },
	logLevelFlag: func() []string { return []string{"debug", "info", "warn", "error"} },
}

var outputWords = map[string][]string{
	"attach":     {outputText, outputJSON, outputNone},
	"watch":      {outputText, outputJSON, outputSVG},
	"read":       {outputText, outputJSON, outputNone, outputSVG},
	"namespaces": {outputText, outputJSON, outputDOT, outputSVG},
	"check":      {outputText, outputJSON},
	"metrics":    {outputText, outputJSON},
}

// namedNamespaces returns what --netns takes by name.
func namedNamespaces() []string {
	names := []string{loader.HostName}
	entries, _ := os.ReadDir(netnsNames) // there may be none
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// addCompletion adds the command that prints scripts for shells, and what these may offer.
func addCompletion(root *cobra.Command) error {
	root.InitDefaultCompletionCmd()
	for _, cmd := range root.Commands() {
		if cmd.Name() == "completion" {
			wordCompletion(cmd)
			continue
		}
		if cmd.ValidArgsFunction == nil && cmd.Name() != "read" { // which takes files
			cmd.ValidArgsFunction = cobra.NoFileCompletions
		}
		for name, words := range valueWords {
			if cmd.Flags().Lookup(name) == nil || cmd.Flags().Lookup(name).Value.Type() == "bool" {
				continue
			}
			if err := cmd.RegisterFlagCompletionFunc(name, offering(words)); err != nil {
				return err
			}
		}
		if cmd.Name() == "dashboard" {
			cmd.ValidArgsFunction = offering(dashboardNames)
		}
		if words := outputWords[cmd.Name()]; words != nil {
			if err := cmd.RegisterFlagCompletionFunc("output", offering(func() []string { return words })); err != nil {
				return err
			}
		}
	}
	return nil
}

// wordCompletion says in our words what cobra's command does. There is no PowerShell where netobs runs.
func wordCompletion(cmd *cobra.Command) {
	cmd.Short = "Print a script that lets a shell complete commands, flags and their values"
	cmd.Long = "Print a script that lets a shell complete what is typed: commands, flags, and values such as namespaces for --netns."
	where := map[string]string{
		"bash": "/etc/bash_completion.d/netobs",
		"zsh":  "/usr/local/share/zsh/site-functions/_netobs",
		"fish": "/etc/fish/completions/netobs.fish",
	}
	for _, sub := range cmd.Commands() {
		to, ok := where[sub.Name()]
		if !ok {
			cmd.RemoveCommand(sub)
			continue
		}
		sub.Short, sub.Long = "Print the script for "+sub.Name(), ""
		sub.Example = fmt.Sprintf("  netobs completion %s > %s", sub.Name(), to)
		if cmd.Example != "" {
			cmd.Example += "\n"
		}
		cmd.Example += sub.Example
	}
}

// offering offers the words that begin with what is typed; after a comma, those of a list.
func offering(words func() []string) cobra.CompletionFunc {
	return func(_ *cobra.Command, _ []string, typed string) ([]cobra.Completion, cobra.ShellCompDirective) {
		list := typed[:strings.LastIndexByte(typed, ',')+1]
		var fit []string
		for _, w := range words() {
			if strings.HasPrefix(list+w, typed) && !slices.Contains(strings.Split(list, ","), w) {
				fit = append(fit, list+w)
			}
		}
		return fit, cobra.ShellCompDirectiveNoFileComp
	}
}
