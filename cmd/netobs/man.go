package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
)

func newMan() *cobra.Command {
	var dir string
	cmd := &cobra.Command{
		Use:   "man",
		Short: "Write the man pages, one for each command",
		Long:  "Write the man pages of netobs, one for each command, made of the same flags and words as its --help.",
		Example: `  netobs man --to /usr/local/share/man/man1
  netobs man --to . && man ./netobs-attach.1`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if dir == "" {
				return usageError{fmt.Errorf("say where to write: --to DIR"), cmd.CommandPath()}
			}
			return writeMan(cmd.Root(), dir)
		},
	}
	cmd.Flags().StringVar(&dir, "to", "", "`directory` to write into")
	return cmd
}

// writeMan writes the page of a command and those below it.
func writeMan(cmd *cobra.Command, dir string) error {
	for _, sub := range cmd.Commands() {
		if sub.IsAvailableCommand() {
			if err := writeMan(sub, dir); err != nil {
				return err
			}
		}
	}
	page, err := manPage(cmd)
	if err != nil {
		return err
	}
	name := strings.ReplaceAll(cmd.CommandPath(), " ", "-") + ".1"
	return os.WriteFile(filepath.Join(dir, name), page, 0o644)
}

// manPage returns the page of a command. Flags are as --help has them: cobra's pages have the zero values of lists and switches, too.
func manPage(cmd *cobra.Command) ([]byte, error) {
	var page bytes.Buffer
	cmd.DisableAutoGenTag = true
	header := &doc.GenManHeader{Section: "1", Source: "netobs " + revision(), Manual: "User Commands"}
	if err := doc.GenMan(cmd, header, &page); err != nil {
		return nil, err
	}
	return zeroDefault.ReplaceAll(page.Bytes(), []byte("$1")), nil
}

// zeroDefault is the line of a flag with a default that says nothing.
var zeroDefault = regexp.MustCompile(`(?m)^((?:\\fB-\w\\fP, )?\\fB--[\w.-]+\\fP)(?:\[=.*\]|=\[\]|=""|=0s?)$`)
