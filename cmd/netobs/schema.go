package main

import (
	_ "embed"
	"fmt"
	"io"

	"github.com/spf13/cobra"
)

// schemaVersion is the version of what --output json prints. It changes when a name or a meaning does; more names are no change.
const schemaVersion = 1

// schema describes what --output json prints, in the words of JSON Schema 2020-12.
//
//go:embed schema.json
var schema string

// jsonHead is what each object begins with.
type jsonHead struct {
	Type   string `json:"type"`
	Schema int    `json:"schema"`
}

func headOf(typ string) jsonHead { return jsonHead{typ, schemaVersion} }

func newSchema(stdout io.Writer) *cobra.Command {
	return &cobra.Command{
		Use:   "schema",
		Short: "Print the JSON Schema of what --output json prints",
		Long: `Print the JSON Schema (2020-12) of the objects that --output json prints: each type of object with its fields, and what
they mean. Every object says the version of the schema in "schema". Within a version names and meanings stay; a reader
ignores fields that it does not know, as there may be more of them.`,
		Example: `  netobs schema
  netobs schema | jq '."$defs".handshake.properties | map_values(.description)'`,
		Args: noArgs,
		RunE: func(*cobra.Command, []string) error {
			_, err := fmt.Fprint(stdout, schema)
			return err
		},
	}
}
