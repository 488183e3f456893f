package inventory

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// HostName is what the host's namespace is called: that of process 1, or our own where process 1 may not be looked at.
const HostName = "host"

// ID tells a namespace from all others that exist at the same time: the numbers of its file, as stat(2) gives them.
type ID struct{ Dev, Ino uint64 }

// A Namespace is a network namespace of the host as it was when it was looked at.
type Namespace struct {
	ID
	// Label is what it is called. Two namespaces may have the same one.
	Label string
	// Host: it is the host's own.
	Host bool
	// Paths are where it has a name, the one of people first. None: only processes keep it.
	Paths []string
	// Pid of its oldest process; 0 if it has none, or none that may be looked at. Of the host, any.
	Pid int
	// Process is the name of that process, as the kernel has it. Not set for the host.
	Process string
	// Container that this process is in, or whose network that one uses; zero if it is in none.
	Container Container
	// Guests are other containers that are in it or use the network of Container, by name. Of a pod, all.
	Guests []Container
}

// Has reports whether a container is in the namespace: one of this name, or of an id that begins so.
func (n *Namespace) Has(arg string) bool {
	for _, c := range append(slices.Clone(n.Guests), n.Container) {
		if c.ID != "" && (c.Name == arg || len(arg) >= minID && strings.HasPrefix(c.ID, arg)) {
			return true
		}
	}
	return false
}

// minID is how many digits of an id are no mistake.
const minID = 4

// Open are the places where the namespace can be opened, the lasting ones first.
func (n *Namespace) Open() []string {
	paths := slices.Clone(n.Paths)
	if n.Pid != 0 {
		paths = append(paths, fmt.Sprintf("/proc/%d/ns/net", n.Pid))
	}
	return paths
}

// A Container is a container as its runtime knows it.
type Container struct {
	ID   string // 64 hexadecimal digits
	Name string // empty if not known; of a pod namespace/pod
}

// A Skip says why something was not looked at.
type Skip string

const (
	// SkipPermission: CAP_SYS_PTRACE is missing, here or in the user namespace of a process.
	SkipPermission Skip = "permission"
	// SkipHidden: /proc shows our own processes only: it is mounted with hidepid. Counted once.
	SkipHidden Skip = "hidden"
)

// A Snapshot is what there was at one time.
type Snapshot struct {
	Namespaces []Namespace // by label, the host's last
	Processes  int         // that were looked at
	Skipped    map[Skip]int
}

// Scan looks once. The main thread must be in the namespace it began in, see package loader. The error says why nothing can be found at all.
func Scan(ctx context.Context) (Snapshot, error) {
	s, err := newScanner("")
	if err != nil {
		return Snapshot{}, err
	}
	s.scanNames()
	s.scanProcesses()
	s.nameContainers(ctx)
	return Snapshot{Namespaces: s.namespaces(), Processes: s.looked, Skipped: s.skipped}, nil
}

// scanner is what is known of the namespaces. It is not for concurrent use.
type scanner struct {
	root string // before all paths; empty but in tests
	dev  uint64 // of the file system whose files namespaces are
	host uint64 // inode

	names      map[uint64][]string // paths, by inode
	strays     map[string]stray    // by path
	processes  map[uint64]process  // the oldest, by inode
	members    map[int]member      // by pid
	containers map[uint64][]string // ids of those that have processes there, sorted, by inode; not the host's
	looked     int
	skipped    map[Skip]int
	runtimes   runtimes
}

// newScanner begins with what does not change.
func newScanner(root string) (*scanner, error) {
	s := &scanner{
		root:       root,
		processes:  make(map[uint64]process),
		members:    make(map[int]member),
		containers: make(map[uint64][]string),
		runtimes:   newRuntimes(root),
	}
	var own unix.Stat_t
	if err := unix.Stat(root+"/proc/self/ns/net", &own); err != nil {
		return nil, fmt.Errorf("look at network namespaces: /proc/self/ns/net: %w; is /proc mounted?", err)
	}
	s.dev, s.host = uint64(own.Dev), own.Ino
	if ino, err := s.netnsOf(1); err == nil {
		s.host = ino
	}
	return s, nil
}

// namespaces returns what is known, sorted by label, the host last.
func (s *scanner) namespaces() []Namespace {
	inodes := make(map[uint64]bool)
	for ino := range s.names {
		inodes[ino] = true
	}
	for ino := range s.processes {
		inodes[ino] = true
	}
	var all []Namespace
	for ino := range inodes {
		all = append(all, s.namespace(ino))
	}
	slices.SortFunc(all, compare)
	return all
}

// compare sorts the host last, since the ends of connections are in the others; else by label.
func compare(a, b Namespace) int {
	switch {
	case a.Host:
		return 1
	case b.Host:
		return -1
	}
	return cmp.Or(cmp.Compare(a.Label, b.Label), cmp.Compare(a.Ino, b.Ino))
}

// namespace puts together what is known of one.
func (s *scanner) namespace(ino uint64) Namespace {
	p := s.processes[ino]
	n := Namespace{
		ID:      ID{s.dev, ino},
		Host:    ino == s.host,
		Paths:   s.names[ino],
		Pid:     p.pid,
		Process: p.name,
	}
	if p.container != "" {
		n.Container, n.Guests = s.runtimes.container(p.container)
	}
	for _, id := range s.containers[ino] {
		if !n.Has(id) {
			n.Guests = append(n.Guests, s.runtimes.named(id))
		}
	}
	slices.SortFunc(n.Guests, func(a, b Container) int { return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.ID, b.ID)) })
	n.Label = label(&n)
	return n
}

// nameContainers asks the runtimes for the names of containers if that is due. It reports whether they said something new.
func (s *scanner) nameContainers(ctx context.Context) bool {
	ids := make(map[string]bool)
	for _, in := range s.containers {
		for _, id := range in {
			ids[id] = true
		}
	}
	return s.runtimes.refresh(ctx, ids)
}

// skip counts what could not be looked at. That something ended meanwhile is no reason to count.
func (s *scanner) skip(err error) {
	if errors.Is(err, unix.EACCES) || errors.Is(err, unix.EPERM) {
		s.skipped[SkipPermission]++
	}
}
