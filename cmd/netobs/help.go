package main

import (
	"errors"
	"fmt"
	"strconv"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// newHelp returns the command that shows the help of another. Cobra's own takes whatever it does not know for the root.
func newHelp() *cobra.Command {
	return &cobra.Command{
		Use:     "help [command]",
		Short:   "Help about any command",
		Example: `  netobs help watch`,
		RunE: func(cmd *cobra.Command, args []string) error {
			of, rest, err := cmd.Root().Find(args)
			if err != nil {
				return err
			}
			if len(rest) > 0 {
				return noArgs(of, rest)
			}
			return of.Help()
		},
	}
}

// tidyHelp lets the help of a command and of those below it show what is a switch as people use it: --all, without the values
// that pflag adds to its name.
func tidyHelp(cmd *cobra.Command) {
	cmd.InitDefaultHelpFlag()
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		if f.Value.Type() == "bool" {
			f.Value = switchValue{f.Value}
		}
	})
	for _, sub := range cmd.Commands() {
		tidyHelp(sub)
	}
}

// switchValue hides the method IsBoolFlag, for which pflag adds "[=true|false]" to the help.
type switchValue struct{ pflag.Value }

// flagError is called for a flag that cannot be parsed.
func flagError(cmd *cobra.Command, err error) error {
	var invalid *pflag.InvalidValueError
	switch {
	case !errors.As(err, &invalid):
	case invalid.GetFlag().Name == logLevelFlag:
		err = fmt.Errorf("--%s is debug, info, warn or error, not %q", logLevelFlag, invalid.GetValue())
	case invalid.GetFlag().Name == metricsFlag:
		err = fmt.Errorf("--%s is minimal, default or full, not %q", metricsFlag, invalid.GetValue())
	case errors.As(err, new(*strconv.NumError)):
		err = fmt.Errorf("--%s %s is no number", invalid.GetFlag().Name, invalid.GetValue())
	}
	return usageError{err, cmd.CommandPath()}
}

// helpTemplate is how help looks: what the command is for, then examples, as those who ask mostly want one to begin with.
const helpTemplate = `{{.Short}}.
{{if .HasExample}}
{{.Example}}
{{end}}{{with .Long}}
{{. | trimTrailingWhitespaces}}
{{end}}
Usage:{{if and .Runnable (not .HasAvailableSubCommands)}}
  {{.UseLine}}{{end}}{{if .HasAvailableSubCommands}}
  {{.CommandPath}} [command]

Commands:{{range .Commands}}{{if or .IsAvailableCommand (eq .Name "help")}}
  {{rpad .Name .NamePadding}} {{.Short}}{{end}}{{end}}{{end}}{{if .HasAvailableLocalFlags}}

Flags:
{{.LocalFlags.FlagUsages | trimTrailingWhitespaces}}{{end}}{{if .HasAvailableInheritedFlags}}

Global Flags:
{{.InheritedFlags.FlagUsages | trimTrailingWhitespaces}}{{end}}{{if .HasAvailableSubCommands}}

"{{.CommandPath}} COMMAND --help" tells more of one.{{end}}
`
