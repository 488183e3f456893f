package main

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"netobs/loader"
)

const logLevelFlag = "log-level"

// target is what the commands that watch live traffic have in common: the flags that say what to watch, and how.
type target struct {
	dynamic      loader.Dynamic
	netns        []string
	pids         []int
	kinds        []string
	interfaces   []string
	hooks        []string
	fastAttach   bool
	unprivileged bool
	limits       limits
	logLevel     slog.Level
}

// addFlags adds the flags that say what to watch. addTuning adds those that say how, for after a command's own.
func (t *target) addFlags(fs *pflag.FlagSet) {
	fs.SortFlags = false
	fs.BoolVar(&t.dynamic.All, "all", false, "watch all network namespaces of this host, those to come included")
	fs.StringArrayVar(&t.dynamic.Exclude, "exclude-netns", nil,
		"with --all, not those whose name, as in the output, matches this `glob`, such as\n'cni-*'; may be repeated")
	fs.StringArrayVar(&t.dynamic.Containers, "container", nil,
		"watch this container: its `name`, or the beginning of its id; it is followed when it is\nstarted again; may be repeated")
	fs.StringArrayVar(&t.netns, "netns", nil,
		"network namespace to watch: a `name` under /run/netns, a path such as\n/proc/PID/ns/net, or host; may be repeated")
	fs.IntSliceVar(&t.pids, "pid", nil, "watch the network namespace of the process with this `id`; may be repeated")
	fs.StringSliceVar(&t.kinds, "kind", nil,
		"`kinds` of interfaces: "+wrapped(loader.Kinds(), 64)+"\n(default loopback,veth,bridge, or any with --interface)")
	fs.StringArrayVar(&t.interfaces, "interface", nil,
		"only interfaces whose name matches this `glob`, such as 'eth*'; may be repeated")
	fs.StringSliceVar(&t.hooks, "hook", nil,
		"`hooks` to attach to, the preferred one first: "+strings.Join(loader.Hooks(), ",")+"\n(default auto: tcx, or tc where the kernel has no tcx)")
	fs.BoolVar(&t.fastAttach, "fast-attach", false,
		"let the kernel hurry while many points are attached, for each of which it else\nwaits some 10 ms; interrupts every CPU")
	fs.BoolVar(&t.unprivileged, "drop-privileges", false,
		"keep no privileges once all is attached, rather than those that it takes to follow:\ninterfaces that come later are not watched")
}

func (t *target) addTuning(fs *pflag.FlagSet) {
	t.limits.addFlags(fs)
	fs.TextVar(&t.logLevel, logLevelFlag, slog.LevelWarn, "`level` from which to log: debug, info, warn or error")
	fs.Lookup(logLevelFlag).DefValue = "warn" // not WARN
}

// wrapped joins words by commas, in lines that are not much longer than width.
func wrapped(words []string, width int) string {
	var b strings.Builder
	line := 0
	for i, word := range words {
		if i > 0 {
			b.WriteByte(',')
		}
		if line > 0 && line+len(word) > width {
			b.WriteByte('\n')
			line = 0
		}
		b.WriteString(word)
		line += len(word) + 1
	}
	return b.String()
}

// validate returns all that is wrong with the flags.
func (t *target) validate() error {
	var errs []error
	if len(t.netns) == 0 && len(t.pids) == 0 && len(t.dynamic.Containers) == 0 && !t.dynamic.All {
		errs = append(errs, errors.New("say what to watch: --all, --netns NAME, --netns host, --container NAME or --pid N"))
	}
	if len(t.dynamic.Exclude) > 0 && !t.dynamic.All {
		errs = append(errs, errors.New("--exclude-netns goes with --all"))
	}
	if t.unprivileged && (t.dynamic.All || len(t.dynamic.Containers) > 0) {
		errs = append(errs, errors.New("--drop-privileges goes with --netns and --pid: --all and --container follow what comes, which takes privileges"))
	}
	errs = append(errs, t.dynamic.Validate())
	for _, pid := range t.pids {
		if pid <= 0 {
			errs = append(errs, fmt.Errorf("--pid %d is no process id", pid))
		}
	}
	for _, kind := range t.kinds {
		if !slices.Contains(loader.Kinds(), kind) {
			errs = append(errs, fmt.Errorf("--kind %s is none of %s", kind, strings.Join(loader.Kinds(), ", ")))
		}
	}
	for _, hook := range t.hooks {
		if !slices.Contains(loader.Hooks(), hook) {
			errs = append(errs, fmt.Errorf("--hook %s is none of %s", hook, strings.Join(loader.Hooks(), ", ")))
		}
	}
	errs = append(errs, t.limits.validate())
	selection := loader.Selection{Names: t.interfaces}
	errs = append(errs, selection.Validate())
	return errors.Join(errs...)
}

// namespaces finds what the flags name.
func (t *target) namespaces() ([]loader.Netns, error) {
	var all []loader.Netns
	var errs []error
	for _, arg := range t.netns {
		ns, err := loader.FindNetns(arg)
		errs = append(errs, err)
		all = append(all, ns)
	}
	for _, pid := range t.pids {
		ns, err := loader.FindPid(pid)
		errs = append(errs, err)
		all = append(all, ns)
	}
	return all, errors.Join(errs...)
}

// options returns what a loader is told of the namespaces found. Logs go to w.
func (t *target) options(namespaces []loader.Netns, w io.Writer) loader.Options {
	return loader.Options{
		Netns:      namespaces,
		Dynamic:    t.dynamic,
		Select:     loader.Selection{Kinds: t.kinds, Names: t.interfaces},
		Hooks:      t.hooks,
		FastAttach: t.fastAttach,
		BPF:        t.limits.bpf,
		Log:        t.logger(w),
	}
}

func (t *target) logger(w io.Writer) *slog.Logger {
	return slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: t.logLevel}))
}
