package main

import (
	"errors"
	"io"

	"github.com/spf13/cobra"
)

func newDemo(stdout, stderr io.Writer) *cobra.Command {
	return &cobra.Command{Use: "demo", RunE: func(*cobra.Command, []string) error { return errors.New("later") }}
}
