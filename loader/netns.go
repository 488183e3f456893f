package loader

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"netobs/loader/inventory"
)

const (
	netnsDir  = "/run/netns"
	initNetns = "/proc/1/ns/net"
	ownNetns  = "/proc/self/ns/net" // of the main thread, which never leaves it

	// HostName is the name of the host's namespace: that of process 1, or netobs' own where process 1 may not be
	// looked at.
	HostName = inventory.HostName
)

// init keeps the main goroutine on the main thread, so that enter never gets that one: it does not end with its goroutine,
// and would keep the namespace alive. It also keeps ownNetns true.
func init() { runtime.LockOSThread() }

// A Netns is a network namespace that the user asked for. It holds no reference: the namespace may go at any time.
type Netns struct {
	Name string // for people and metrics
	Path string // where it can be opened

	dev, ino uint64 // identity; a path may come to mean another namespace
}

// NetnsOf is a namespace as the inventory found it.
func NetnsOf(n *inventory.Namespace) Netns {
	ns := Netns{Name: n.Label, dev: n.Dev, ino: n.Ino}
	if paths := n.Open(); len(paths) > 0 {
		ns.Path = paths[0]
	}
	return ns
}

// FindNetns finds a namespace by its name under /run/netns, by a path such as /proc/1234/ns/net, or by the word host.
// The error says what to do.
func FindNetns(arg string) (Netns, error) {
	switch {
	case arg == HostName:
		return findHost()
	case arg == "":
		return Netns{}, errors.New("the name of a network namespace is empty")
	case strings.Contains(arg, "/"):
		return findPath(arg, "")
	}
	ns, err := findPath(filepath.Join(netnsDir, arg), arg)
	if errors.Is(err, fs.ErrNotExist) {
		return Netns{}, fmt.Errorf("no network namespace %q under %s%s", arg, netnsDir, suggest(arg))
	}
	return ns, err
}

// FindPid finds the network namespace of a process.
func FindPid(pid int) (Netns, error) {
	ns, err := findPath(fmt.Sprintf("/proc/%d/ns/net", pid), "")
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ESRCH) {
		return Netns{}, fmt.Errorf("no process with pid %d: it has ended, or lives in another pid namespace", pid)
	}
	return ns, err
}

func findHost() (Netns, error) {
	ns, err := findPath(initNetns, HostName)
	if errors.Is(err, fs.ErrPermission) {
		return findPath(ownNetns, HostName)
	}
	return ns, err
}

// findPath opens path to see what it is. Without a name, the one that the namespace has elsewhere is taken.
func findPath(path, name string) (Netns, error) {
	ns := Netns{Name: name, Path: path}
	f, err := ns.open()
	if err != nil {
		return Netns{}, err
	}
	defer f.Close()
	if ns.dev, ns.ino, err = identity(f); err != nil {
		return Netns{}, err
	}
	if ns.Name == "" {
		ns.takeKnownName()
	}
	ns.Name = printable(ns.Name)
	return ns, nil
}

// open opens the namespace, by another path if its own is gone. The caller closes it soon: while it is open, the
// namespace cannot end. The error wraps fs.ErrNotExist if no path leads to it any more.
func (ns *Netns) open() (*os.File, error) {
	f, err := ns.openPath()
	if !errors.Is(err, fs.ErrNotExist) || ns.ino == 0 {
		return f, err
	}
	other := *ns
	for _, pattern := range []string{netnsDir + "/*", "/proc/[0-9]*/ns/net"} {
		paths, _ := filepath.Glob(pattern) // the pattern is good
		for _, other.Path = range paths {
			var st unix.Stat_t
			if unix.Stat(other.Path, &st) != nil || uint64(st.Dev) != ns.dev || st.Ino != ns.ino {
				continue
			}
			if f, err := other.openPath(); err == nil {
				ns.Path = other.Path
				return f, nil
			}
		}
	}
	return nil, err
}

func (ns *Netns) openPath() (*os.File, error) {
	// Not blocking: the path may be a pipe.
	f, err := os.OpenFile(ns.Path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("open network namespace: %w", err)
	}
	kind, err := unix.IoctlRetInt(int(f.Fd()), unix.NS_GET_NSTYPE)
	isNetns := err == nil && kind == unix.CLONE_NEWNET
	if ns.ino == 0 {
		if isNetns {
			return f, nil
		}
		f.Close()
		return nil, fmt.Errorf("%s is no network namespace: give a name under %s, or a path such as /proc/PID/ns/net",
			ns.Path, netnsDir)
	}
	dev, ino, err := identity(f)
	if err == nil && !isNetns && dev == ns.dev && ino == ns.ino {
		err = fmt.Errorf("%s is a namespace of another kind, not a network namespace; remove it, or mount the right one there",
			ns.Path)
	} else if err == nil && (dev != ns.dev || ino != ns.ino) {
		err = fmt.Errorf("%s means another namespace now: %w", ns.Path, fs.ErrNotExist)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// identity returns what tells a namespace from all others that exist now.
func identity(f *os.File) (dev, ino uint64, err error) {
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return 0, 0, fmt.Errorf("stat %s: %w", f.Name(), err)
	}
	return uint64(st.Dev), st.Ino, nil
}

// Same reports whether both are one namespace.
func (ns *Netns) Same(o *Netns) bool { return ns.dev == o.dev && ns.ino == o.ino }

// takeKnownName takes the name host, or that under /run/netns with its path, which lasts longer than a process, or else
// makes one of the path.
func (ns *Netns) takeKnownName() {
	if host, err := findHost(); err == nil && ns.Same(&host) {
		*ns = host
		return
	}
	for _, name := range netnsNames() {
		if named, err := findPath(filepath.Join(netnsDir, name), name); err == nil && ns.Same(&named) {
			*ns = named
			return
		}
	}
	ns.Name = ns.Path
	var pid int
	if n, _ := fmt.Sscanf(ns.Path, "/proc/%d/ns/net", &pid); n == 1 {
		ns.Name = fmt.Sprintf("pid-%d", pid)
	}
}

// IsAssumedHost reports whether this is called the host's namespace only because process 1 may not be looked at, which
// takes CAP_SYS_PTRACE: it is the one that netobs runs in.
func (ns *Netns) IsAssumedHost() bool { return ns.Name == HostName && ns.Path == ownNetns }

// printable returns a name as it may be shown on a terminal: whoever made it may not be trusted.
func printable(name string) string { return inventory.Printable(name) }

func netnsNames() []string {
	entries, _ := os.ReadDir(netnsDir) // none if the directory is missing
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// suggest ends an error about an unknown name: with the names that are near, or with all, or with how to make one.
func suggest(name string) string {
	names := netnsNames()
	if len(names) == 0 {
		return "; there are none: make one with \"ip netns add " + name + "\""
	}
	near := slices.DeleteFunc(slices.Clone(names), func(n string) bool { return distance(n, name) > 1+len(name)/4 })
	if len(near) > 0 {
		return "; did you mean " + strings.Join(near, " or ") + "?"
	}
	const most = 8
	if len(names) > most {
		names = append(names[:most], "…")
	}
	return "; there are " + strings.Join(names, ", ")
}

// distance is the Levenshtein distance in bytes.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			substitute := diagonal
			if a[i] != b[j] {
				substitute++
			}
			diagonal = row[j+1]
			row[j+1] = min(substitute, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}

// Do calls f on a thread inside the namespace. The error is that of f, or says why the namespace could not be entered; it
// wraps fs.ErrNotExist if the namespace is gone or its path means another one.
func (ns *Netns) Do(f func() error) error {
	file, err := ns.open()
	if err != nil {
		return err
	}
	defer file.Close()
	return enter(file, f)
}

// enter calls f on a thread inside an open namespace.
func enter(file *os.File, f func() error) error {
	done := make(chan error)
	go func() {
		// Never unlocked: the thread ends with the goroutine, so that no other one runs in the wrong namespace.
		runtime.LockOSThread()
		if err := setns(file); err != nil {
			done <- err
			return
		}
		done <- f()
	}()
	return <-done
}

// setns takes the calling thread into an open namespace.
func setns(file *os.File) error {
	err := unix.Setns(int(file.Fd()), unix.CLONE_NEWNET)
	if errors.Is(err, unix.EPERM) {
		err = fmt.Errorf("%w: it takes CAP_SYS_ADMIN, here and in the user namespace that it belongs to", err)
	}
	if err != nil {
		return fmt.Errorf("enter network namespace %s: %w", file.Name(), err)
	}
	return nil
}

// AllNetns returns the namespaces that exist now, as far as they have a name or a process.
func AllNetns(ctx context.Context) ([]Netns, error) {
	there, err := inventory.Scan(ctx)
	if err != nil {
		return nil, err
	}
	var all []Netns
	for i := range there.Namespaces {
		all = append(all, NetnsOf(&there.Namespaces[i]))
	}
	return all, nil
}
