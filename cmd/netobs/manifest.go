package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"netobs/cmd/netobs/deploy"
)

func newManifest(stdout io.Writer) *cobra.Command {
	var to string
	long := []string{`Print the files by which netobs is installed, each after a line with its name, or write them to a directory:`, ""}
	for _, k := range deploy.Kinds {
		long = append(long, fmt.Sprintf("  %-10s  %s", k.Name, k.About))
	}
	cmd := &cobra.Command{
		Use:   "manifest KIND",
		Short: "Print what installs netobs: systemd, docker, compose or kubernetes",
		Long:  strings.Join(long, "\n"),
		Example: `  netobs manifest systemd --to /etc/systemd/system
  netobs manifest compose --to netobs && cd netobs && docker compose up --build --detach
  netobs manifest kubernetes | kubectl apply -f -`,
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			kind, err := findKind(args)
			if err != nil {
				return usageError{err, cmd.CommandPath()}
			}
			if to == "" {
				return printFiles(stdout, kind)
			}
			return writeFiles(stdout, kind, to)
		},
	}
	cmd.Flags().StringVar(&to, "to", "", "write the files to this `directory` instead, with netobs itself if they go beside it")
	return cmd
}

func findKind(args []string) (deploy.Kind, error) {
	var names []string
	for _, k := range deploy.Kinds {
		if len(args) == 1 && k.Name == args[0] {
			return k, nil
		}
		names = append(names, k.Name)
	}
	choice := strings.Join(names, ", ")
	if len(args) == 1 {
		return deploy.Kind{}, fmt.Errorf("there is no manifest %q: there are %s", args[0], choice)
	}
	return deploy.Kind{}, errors.New("say which manifest: one of " + choice)
}

// printFiles separates YAML files as documents of one stream.
func printFiles(w io.Writer, kind deploy.Kind) error {
	for _, f := range kind.Files() {
		if strings.HasSuffix(f.Name, ".yaml") {
			if _, err := fmt.Fprintln(w, "---"); err != nil {
				return err
			}
		}
		if _, err := fmt.Fprintf(w, "# %s\n%s", f.Name, f.Content); err != nil {
			return err
		}
	}
	return nil
}

// writeFiles replaces files that are there, and says which it wrote.
func writeFiles(w io.Writer, kind deploy.Kind, to string) error {
	files := kind.Files()
	if kind.Binary {
		// Of a running program, not of what its path means now.
		self, err := os.ReadFile("/proc/self/exe")
		if err != nil {
			return fmt.Errorf("read netobs itself: %w", err)
		}
		files = append(files, deploy.File{Name: "netobs", Content: self})
	}
	for _, f := range files {
		name := filepath.Join(to, filepath.FromSlash(f.Name))
		mode := os.FileMode(0o644)
		if f.Name == "netobs" {
			mode = 0o755
		}
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			return fmt.Errorf("write manifest: %w", err)
		}
		if err := replaceFile(name, f.Content, mode); err != nil {
			return fmt.Errorf("write manifest: %w", err)
		}
		if _, err := fmt.Fprintln(w, name); err != nil {
			return err
		}
	}
	return nil
}

// replaceFile also replaces a program that runs.
func replaceFile(name string, content []byte, mode os.FileMode) error {
	temporary := name + ".new"
	if err := os.WriteFile(temporary, content, mode); err != nil {
		return err
	}
	return os.Rename(temporary, name)
}
