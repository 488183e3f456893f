package loader

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"netobs/loader/inventory"
)

// Dynamic says which namespaces of the host are watched, those to come included. The zero value means none beside
// Options.Netns.
type Dynamic struct {
	// All but those of Exclude.
	All bool
	// Exclude are globs as in path.Match, of names as in metrics. With All. Optional.
	Exclude []string
	// Containers are names, or beginnings of ids, of containers; those that are started again are followed. Optional.
	Containers []string
}

func (d *Dynamic) any() bool { return d.All || len(d.Containers) > 0 }

// Validate returns what is wrong with the globs.
func (d *Dynamic) Validate() error {
	var errs []error
	for _, glob := range d.Exclude {
		if _, err := path.Match(glob, ""); err != nil {
			errs = append(errs, fmt.Errorf("namespace pattern %q: %w", glob, err))
		}
	}
	return errors.Join(errs...)
}

func (d *Dynamic) wants(n *inventory.Namespace) bool {
	excluded := slices.ContainsFunc(d.Exclude, func(glob string) bool {
		ok, _ := path.Match(glob, n.Label) // checked by Validate
		return ok
	})
	return d.All && !excluded || slices.ContainsFunc(d.Containers, n.Has)
}

// roster tells the Loader which namespaces there are.
type roster struct {
	watcher *inventory.Watcher
	updates chan inventory.Update
	cancel  context.CancelFunc
	done    chan struct{} // closed when nothing more will be told
	err     error         // why. Valid iff done is closed
}

// newRoster begins to watch. Each update is followed by a call of wake, from another goroutine, and so is the end. The
// caller closes the roster.
func newRoster(wake func()) (*roster, error) {
	w, err := inventory.NewWatcher()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	r := &roster{watcher: w, updates: make(chan inventory.Update, 1), cancel: cancel, done: make(chan struct{})}
	told := make(chan inventory.Update)
	go func() {
		r.err = w.Run(ctx, told)
		close(told)
	}()
	go func() {
		for u := range told {
			select {
			case r.updates <- u:
				wake()
			case <-ctx.Done():
			}
		}
		close(r.done)
		wake()
	}()
	return r, nil
}

func (r *roster) close() error {
	r.cancel()
	<-r.done
	return errors.Join(r.err, r.watcher.Close())
}

// next returns an update if there is one. The error says why there will be no more.
func (r *roster) next() (u inventory.Update, ok bool, err error) {
	if r == nil {
		return inventory.Update{}, false, nil
	}
	select {
	case u := <-r.updates:
		return u, true, nil
	default:
	}
	select {
	case <-r.done:
		return inventory.Update{}, false, r.err
	default:
		return inventory.Update{}, false, nil
	}
}

// findFirst waits for the namespaces that there are. It returns an error if a container is none of them.
func (l *Loader) findFirst(ctx context.Context) error {
	if l.roster == nil {
		return nil
	}
	select {
	case u := <-l.roster.updates:
		var errs []error
		for _, arg := range l.opts.Dynamic.Containers {
			if !slices.ContainsFunc(u.Changes, func(c inventory.Change) bool { return c.Has(arg) }) {
				errs = append(errs, fmt.Errorf("no container %q is running%s", arg, containers(u.Changes)))
			}
		}
		l.apply(u)
		return errors.Join(errs...)
	case <-l.roster.done:
		return l.roster.err
	case <-ctx.Done():
		return nil
	}
}

// containers ends an error with the containers that there are.
func containers(all []inventory.Change) string {
	var names []string
	for _, n := range all {
		for _, c := range append(slices.Clone(n.Guests), n.Container) {
			if c.ID != "" {
				names = append(names, cmp.Or(printable(c.Name), c.ID[:min(12, len(c.ID))]))
			}
		}
	}
	if len(names) == 0 {
		return "; there are none"
	}
	slices.Sort(names)
	return "; there are " + strings.Join(names, ", ")
}

// apply makes the watched namespaces those that there are and are wanted.
func (l *Loader) apply(u inventory.Update) {
	for reason, n := range u.Skipped {
		l.noteSkipped(reason, n)
	}
	l.noteStrays(u.Strays)
	for _, c := range u.Changes {
		netns := NetnsOf(&c.Namespace)
		k := slices.IndexFunc(l.namespaces, func(ns *namespace) bool { return ns.Same(&netns) })
		wanted := c.Kind != inventory.Removed && l.opts.Dynamic.wants(&c.Namespace)
		switch {
		case k < 0 && wanted:
			l.begin(l.addNamespace(netns))
		case k < 0 || l.namespaces[k].fixed && c.Kind != inventory.Removed:
		case wanted:
			l.rename(l.namespaces[k], netns)
		default:
			l.letGo(l.namespaces[k])
		}
	}
}

// begin looks what is in a namespace that is new.
func (l *Loader) begin(ns *namespace) {
	err := l.relist(ns)
	if err == nil {
		l.log.Info("found network namespace", "netns", ns.Name, "path", ns.Path)
		return
	}
	if !errors.Is(err, fs.ErrNotExist) { // else it is gone again
		l.countError(ns, "enter")
		l.log.Error("network namespace not watched", "netns", ns.Name, "err", err)
	}
	l.letGo(ns)
}

// noteSkipped counts what could not be looked at, if it is more than ever before, and logs it the first time.
func (l *Loader) noteSkipped(reason inventory.Skip, n int) {
	l.mu.Lock()
	key := AttachError{unknownNetns, string(reason)}
	first := n > 0 && l.errors[key] == 0
	l.errors[key] = max(l.errors[key], uint64(n))
	l.mu.Unlock()
	switch {
	case !first || !l.opts.Dynamic.All:
	case reason == inventory.SkipHidden:
		l.log.Warn("/proc shows only our own processes: namespaces that have no name may not be watched; give netobs "+
			"CAP_SYS_PTRACE, or mount /proc with hidepid=0", "reason", reason)
	default:
		l.log.Warn("processes could not be looked at: namespaces that have no name may not be watched; give netobs "+
			"CAP_SYS_PTRACE", "reason", reason, "processes", n)
	}
}

// noteStrays counts and logs, once each, files that have the name of a namespace that is wanted and are none.
func (l *Loader) noteStrays(paths []string) {
	for _, path := range paths {
		name := printable(filepath.Base(path))
		if slices.Contains(l.strays, path) || !l.opts.Dynamic.wants(&inventory.Namespace{Label: name}) {
			continue
		}
		l.mu.Lock()
		l.errors[AttachError{name, "no_namespace"}]++
		l.mu.Unlock()
		l.log.Warn("no network namespace, though there is a file: it is plain, its namespace was mounted where netobs does "+
			"not see it, or it links to a process that has ended; if nobody needs it, remove it", "netns", name, "path",
			printable(path))
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, path := range l.strays {
		if !slices.Contains(paths, path) {
			l.depart(printable(filepath.Base(path)))
		}
	}
	l.strays = paths
}

// unknownNetns is where namespaces are counted of which nothing is known.
const unknownNetns = "unknown"

// rename gives a namespace another name. What was counted before stays where it was, as counters only grow.
func (l *Loader) rename(ns *namespace, to Netns) {
	l.mu.Lock()
	defer l.mu.Unlock()
	ns.Path = cmp.Or(to.Path, ns.Path)
	if ns.Name == to.Name {
		return
	}
	l.log.Info("network namespace renamed", "netns", to.Name, "was", ns.Name)
	l.foldListens(ns)
	l.depart(ns.Name)
	ns.Name = to.Name
	for _, i := range ns.links {
		for _, p := range i.points {
			if err := l.fold(p); err != nil {
				l.log.Error("cannot count under a new name", "netns", ns.Name, "err", err)
				continue
			}
			p.labels.netns = ns.Name
			moved := *l.points[p.id]
			moved.Netns = ns.Name
			l.points[p.id] = &moved
		}
		l.relabel(ns, i)
	}
	l.changes.Add(1)
}
