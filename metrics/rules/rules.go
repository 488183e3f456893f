// Package rules holds the recording rules and alerts of netobs, as Prometheus loads them by rule_files.
package rules

import _ "embed"

// File is a rule file. The runbook_url of each alert is a section of README.md. The alerts keep the label port, if there is one.
//
//go:embed netobs.yaml
var File []byte
