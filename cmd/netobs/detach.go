package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"

	"github.com/spf13/cobra"

	"netobs/loader"
)

func newDetach(stdout io.Writer) *cobra.Command {
	var names []string
	cmd := &cobra.Command{
		Use:   "detach",
		Short: "Remove what a netobs that was killed left behind",
		Long: `Remove what a netobs that was killed (kill -9) left behind: with --hook tc its filters, and the clsact qdiscs that it
made if nobody else uses them; and the setting /sys/kernel/rcu_expedited, if it had raised that (--fast-attach, or while
it stopped). With the other hooks the kernel removes everything by itself. What belongs to a netobs that is running, or
to others, is left alone.

netobs attach does the same when it starts, in the namespaces that it watches.`,
		Example: `  netobs detach
  netobs detach --netns test`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return detach(cmd.Context(), names, stdout) },
	}
	cmd.Flags().StringArrayVar(&names, "netns", nil,
		"only in this network namespace: a `name` under /run/netns, a path, or host; may be\nrepeated (default: all that there are)")
	return cmd
}

func detach(ctx context.Context, names []string, w io.Writer) error {
	namespaces, err := findAll(ctx, names)
	if err != nil {
		return err
	}
	var errs []error
	removed := false
	for i := range namespaces {
		ns := &namespaces[i]
		left, err := loader.RemoveLeftovers(ns)
		if errors.Is(err, fs.ErrNotExist) && len(names) == 0 {
			continue // ended meanwhile
		}
		errs = append(errs, err)
		for _, l := range left {
			if l.Removed > 0 {
				removed = true
				fmt.Fprintf(w, "%s in %s: removed %s\n", l.Interface, ns.Name, loader.CountFilters(l.Removed))
			}
			if l.InUse > 0 {
				fmt.Fprintf(w, "%s in %s: %s of a netobs that is running\n", l.Interface, ns.Name, loader.CountFilters(l.InUse))
			}
		}
	}
	restored, err := loader.RestoreSettings()
	errs = append(errs, err)
	if restored {
		removed = true
		fmt.Fprintln(w, "/sys/kernel/rcu_expedited: restored")
	}
	err = errors.Join(errs...)
	if err == nil && !removed {
		fmt.Fprintln(w, "nothing was left behind")
	}
	return err
}

func findAll(ctx context.Context, names []string) ([]loader.Netns, error) {
	if len(names) == 0 {
		return loader.AllNetns(ctx)
	}
	var all []loader.Netns
	var errs []error
	for _, name := range names {
		ns, err := loader.FindNetns(name)
		errs = append(errs, err)
		all = append(all, ns)
	}
	return all, errors.Join(errs...)
}
