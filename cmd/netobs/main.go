// Netobs watches TCP connections being born and dying in the network namespaces of a Linux host. See README.md.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"
)

// Exit codes.
const (
	exitFailed = 1
	exitUsage  = 2
)

// version is set by the linker.
var version = "devel"

// ownsProcess says that netobs is alone in its process, and may change what holds for all of it.
var ownsProcess bool

func main() {
	ownsProcess = true
	ends := []os.Signal{os.Interrupt, unix.SIGTERM}
	if !signal.Ignored(unix.SIGHUP) { // as nohup does
		ends = append(ends, unix.SIGHUP)
	}
	ctx, stop := signal.NotifyContext(context.Background(), ends...)
	context.AfterFunc(ctx, stop) // a second signal kills
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// run is the program: it returns the exit code, and stops when ctx is done.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	root := &cobra.Command{
		Use:   "netobs",
		Short: "Watch TCP connections being born and dying, in every network namespace",
		Example: `  netobs demo                    the whole story of one connection, on any Linux machine
  netobs attach --netns test     watch one network namespace: connections, and metrics
  netobs watch --netns test      its segments, with what they mean
  netobs top --all               the whole host at a glance
  netobs read lo.pcap            connections in a capture file
  netobs check                   can it work here, and if not, what to do`,
		Args:          noArgs,
		SilenceErrors: true,
		SilenceUsage:  true,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SuggestionsMinimumDistance = 2
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	root.SetFlagErrorFunc(flagError)
	root.SetHelpCommand(newHelp())
	root.Version = versionLine()
	root.SetVersionTemplate("{{.Version}}\n")
	root.Flags().Bool("version", false, "print the version")
	root.AddCommand(
		newAttach(stdout, stderr),
		newWatch(stdout, stderr),
		newTop(stdout, stderr),
		newRead(stdout, stderr),
		newCheck(stdout),
		newDetach(stdout),
		newMetrics(stdout),
		newNamespaces(stdout),
		newManifest(stdout),
		newDashboard(stdout),
		newAlerts(stdout),
		newDemo(stdout, stderr),
		newSchema(stdout),
		newMan(),
		newVersion(stdout),
	)
	root.SetHelpTemplate(helpTemplate)
	err := addCompletion(root)
	tidyHelp(root)

	if err == nil {
		err = root.ExecuteContext(ctx)
	}
	if err == nil {
		return 0
	}
	if errors.Is(err, errReported) {
		return exitFailed
	}
	// Joined errors are on lines of their own.
	fmt.Fprintf(stderr, "netobs: %s\n", strings.ReplaceAll(explain(err), "\n", "; "))
	if errors.As(err, new(usageError)) {
		return exitUsage
	}
	return exitFailed
}

func newVersion(stdout io.Writer) *cobra.Command {
	return &cobra.Command{
		Use:     "version",
		Short:   "Print the version",
		Example: `  netobs version`,
		Args:    noArgs,
		RunE: func(*cobra.Command, []string) error {
			_, err := fmt.Fprintln(stdout, versionLine())
			return err
		},
	}
}

func versionLine() string {
	b := build()
	return fmt.Sprintf("netobs %s %s linux %s", b.Version, b.Go, b.Kernel)
}

// revision is the version from the linker, or what Go noted of the source.
func revision() string {
	if info, ok := debug.ReadBuildInfo(); ok && version == "devel" {
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" && len(s.Value) >= 12 {
				return "devel-" + s.Value[:12]
			}
		}
	}
	return version
}
