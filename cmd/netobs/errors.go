package main

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"
	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"
)

// usageError is a mistake in the command line.
type usageError struct {
	err     error
	command string
}

func (e usageError) Error() string {
	return fmt.Sprintf("%v; see \"%s --help\"", e.err, e.command)
}

func (e usageError) Unwrap() error { return e.err }

func noArgs(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	if cmd.HasParent() {
		return usageError{fmt.Errorf("unexpected argument %q", args[0]), cmd.CommandPath()}
	}
	err := fmt.Errorf("unknown command %q", args[0])
	if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
		err = fmt.Errorf("%w (did you mean %q?)", err, near[0])
	}
	return usageError{err, cmd.CommandPath()}
}

// explain adds the remedy to errors whose cause the kernel does not name.
func explain(err error) string {
	switch {
	case errors.As(err, new(*ebpf.VerifierError)):
		return fmt.Sprintf("%v: this kernel (%s) does not accept netobs' BPF programs: please report it", err, kernelRelease())
	case errors.Is(err, ebpf.ErrNotSupported):
		return fmt.Sprintf("%v: this kernel (%s) lacks a feature; without --hook, netobs takes the hook that the kernel has", err,
			kernelRelease())
	case errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES):
		return fmt.Sprintf("%v: run netobs as root, or with the capabilities CAP_SYS_ADMIN, CAP_NET_ADMIN and "+
			"CAP_NET_BROADCAST, and CAP_SYS_PTRACE for --pid and host; \"netobs check\" says which are missing", err)
	}
	return err.Error()
}

func kernelRelease() string {
	var u unix.Utsname
	if unix.Uname(&u) != nil {
		return "unknown"
	}
	return unix.ByteSliceToString(u.Release[:])
}
