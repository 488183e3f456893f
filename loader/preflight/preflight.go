// Package preflight finds out what netobs can do on this machine, and what would make it do more: by doing it in a network
// namespace of its own, not by comparing versions.
package preflight

import (
	"context"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"
)

// A State is what a finding means to somebody who wants to run netobs.
type State string

// States, from good to bad.
const (
	OK      State = "ok"
	Note    State = "note"    // works, but worth knowing
	Missing State = "missing" // something does not work; the remedy says what to do
)

// A Finding is one line of the result. It is also the JSON that netobs prints.
type Finding struct {
	About  string `json:"about"` // kernel, hook, capability, memory, setting, leftover or program
	Name   string `json:"name"`
	State  State  `json:"state"`
	Detail string `json:"detail,omitempty"`
	Remedy string `json:"remedy,omitempty"`
}

// A Report is all findings.
type Report struct {
	// CanAttach says whether netobs attach works: programs load, and at least one of the hooks tcx and tc takes them.
	CanAttach bool      `json:"can_attach"`
	Findings  []Finding `json:"findings"`
}

// Check looks at everything. It changes nothing that lasts: what it attaches is in a namespace that ends with it.
func Check(ctx context.Context) *Report {
	r := &Report{Findings: []Finding{{About: "kernel", Name: kernelName(), State: OK}}}
	hooks, can := checkHooks(ctx)
	r.CanAttach = can
	r.Findings = append(r.Findings, hooks...)
	r.Findings = append(r.Findings, checkCapabilities()...)
	r.Findings = append(r.Findings, checkMemory()...)
	r.Findings = append(r.Findings, checkSettings()...)
	r.Findings = append(r.Findings, checkNamespaces(ctx)...)
	return r
}

func kernelName() string {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return "unknown: " + err.Error()
	}
	return fmt.Sprintf("%s %s %s", unix.ByteSliceToString(u.Sysname[:]), unix.ByteSliceToString(u.Release[:]),
		unix.ByteSliceToString(u.Machine[:]))
}

// oneLine makes of joined errors one line.
func oneLine(err error) string { return strings.ReplaceAll(err.Error(), "\n", "; ") }
