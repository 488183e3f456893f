package inventory

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// How often all processes are looked at.
const (
	scanEvery        = 5 * time.Second // with the connector
	scanEveryWithout = time.Second
	scanAtMostEvery  = 100 * time.Millisecond // when something is known to have changed
)

// A Kind of change.
type Kind uint8

const (
	// Added: it was not there before.
	Added Kind = iota
	// Removed: neither a name nor a process leads to it any more. The kernel may end it a little earlier or later.
	Removed
	// Changed: its label or something else is different now.
	Changed
)

func (k Kind) String() string { return [...]string{"added", "removed", "changed"}[k] }

// A Change is a namespace that came, went or changed, as it is now; one that went, as it was.
type Change struct {
	Kind Kind
	Namespace
}

// An Update is what a Watcher has to tell.
type Update struct {
	Changes []Change // of each kind the host last
	// Skipped is what could not be looked at the last time.
	Skipped map[Skip]int
	// Strays are files that have the name of a namespace and are none: somebody made them by hand, mounted the namespace where
	// we do not see it, or linked to a process that has ended. Sorted.
	Strays []string
}

// A Watcher follows the namespaces of the host.
type Watcher struct {
	scanner   *scanner
	connector *connector // nil: there is none for us
	mounts    int        // fd of /proc/self/mountinfo
	wake      int        // eventfd

	// Owned by Run.
	told    map[ID]Namespace // what was delivered
	skipped map[Skip]int     // likewise
	strays  []string         // likewise
	scanned time.Time
	due     time.Time // of the next scan
	dirty   bool      // something was found out that was not delivered

	mu     sync.Mutex
	forget []ID
}

// NewWatcher prepares to watch: what happens from now on is not missed. The caller closes the Watcher, after Run.
func NewWatcher() (*Watcher, error) {
	s, err := newScanner("")
	if err != nil {
		return nil, err
	}
	w := &Watcher{scanner: s, told: make(map[ID]Namespace), mounts: -1, wake: -1}
	if w.mounts, err = unix.Open("/proc/self/mountinfo", unix.O_RDONLY|unix.O_CLOEXEC, 0); err != nil {
		return nil, fmt.Errorf("watch mounts: /proc/self/mountinfo: %w", err)
	}
	if w.wake, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK); err != nil {
		return nil, errors.Join(fmt.Errorf("watch network namespaces: eventfd: %w", err), w.Close())
	}
	w.connector, _ = newConnector() // without, all processes are looked at more often
	return w, nil
}

// Close releases what the Watcher holds.
func (w *Watcher) Close() error {
	var errs []error
	for _, fd := range []int{w.mounts, w.wake} {
		if fd >= 0 {
			errs = append(errs, unix.Close(fd))
		}
	}
	if w.connector != nil {
		errs = append(errs, w.connector.close())
	}
	return errors.Join(errs...)
}

// Forget says that a namespace ended, as only the kernel knows at once: it gives a new namespace the number of one that
// ended, often the very next one. If there still is a namespace of this ID, it is reported as Added. It may be called from
// any goroutine while Run runs.
func (w *Watcher) Forget(id ID) {
	w.mu.Lock()
	w.forget = append(w.forget, id)
	w.mu.Unlock()
	w.rouse()
}

func (w *Watcher) rouse() { unix.Write(w.wake, []byte{1, 0, 0, 0, 0, 0, 0, 0}) }

// Run delivers what there is, then what changes, until ctx is done; then it returns nil. Whoever receives may take its time:
// what happens meanwhile is put together into the next update. The first update comes with the names of containers; later
// a new namespace is told at once, and the name when the runtime said it.
func (w *Watcher) Run(ctx context.Context, updates chan<- Update) error {
	roused := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		w.rouse()
		close(roused)
	})
	defer func() {
		if !stop() {
			<-roused // Close may follow, and the number of the eventfd be another file's
		}
	}()
	w.scanner.scanNames()
	w.scan()
	w.scanner.nameContainers(ctx)
	w.dirty = true
	for ctx.Err() == nil {
		for w.dirty {
			if !w.deliver(ctx, updates) {
				return nil
			}
			if w.dirty = w.scanner.nameContainers(ctx); w.scanner.runtimes.waiting() {
				w.scanBy(time.Now().Add(askAgain))
			}
		}
		if err := w.wait(); err != nil {
			return err
		}
	}
	return nil
}

// deliver returns false if ctx is done.
func (w *Watcher) deliver(ctx context.Context, updates chan<- Update) bool {
	w.dirty = false
	changes, strays := w.changes(), w.scanner.strayNames()
	if len(changes) == 0 && maps.Equal(w.skipped, w.scanner.skipped) && slices.Equal(w.strays, strays) {
		return true
	}
	w.skipped, w.strays = maps.Clone(w.scanner.skipped), strays
	select {
	case updates <- Update{changes, maps.Clone(w.skipped), slices.Clone(strays)}:
		return true
	case <-ctx.Done():
		return false
	}
}

// changes compares what is known to what was told.
func (w *Watcher) changes() []Change {
	var changes []Change
	now := make(map[ID]Namespace)
	for _, n := range w.scanner.namespaces() {
		now[n.ID] = n
		old, ok := w.told[n.ID]
		if !ok {
			changes = append(changes, Change{Added, n})
		} else if !reflect.DeepEqual(old, n) {
			changes = append(changes, Change{Changed, n})
		}
	}
	gone := slices.Collect(maps.Values(w.told))
	slices.SortFunc(gone, compare)
	var removed []Change
	for _, n := range gone {
		if _, ok := now[n.ID]; !ok {
			removed = append(removed, Change{Removed, n})
		}
	}
	w.told = now
	return append(removed, changes...)
}

// wait waits until something may have changed, and finds out what.
func (w *Watcher) wait() error {
	fds := []unix.PollFd{
		{Fd: int32(w.wake), Events: unix.POLLIN},
		{Fd: int32(w.mounts), Events: unix.POLLPRI},
	}
	if w.connector != nil {
		fds = append(fds, unix.PollFd{Fd: int32(w.connector.fd), Events: unix.POLLIN})
	}
	timeout := max(0, time.Until(w.due))
	_, err := unix.Poll(fds, int((timeout+time.Millisecond-1)/time.Millisecond))
	if err != nil && err != unix.EINTR {
		return fmt.Errorf("watch network namespaces: poll: %w", err)
	}
	if fds[0].Revents != 0 {
		w.roused()
	}
	if fds[1].Revents != 0 {
		w.mounted()
	}
	if len(fds) > 2 && fds[2].Revents != 0 {
		w.executed()
	}
	if !time.Now().Before(w.due) {
		w.scan()
	}
	return nil
}

func (w *Watcher) roused() {
	var buf [8]byte
	unix.Read(w.wake, buf[:])
	w.mu.Lock()
	ids := w.forget
	w.forget = nil
	w.mu.Unlock()
	if len(ids) == 0 {
		return
	}
	for _, id := range ids {
		delete(w.told, id)
		delete(w.scanner.processes, id.Ino)
		delete(w.scanner.containers, id.Ino)
	}
	w.scanner.scanNames()
	w.scanBy(w.scanned.Add(scanAtMostEvery))
	w.dirty = true
}

// mounted looks at the names: something was mounted or unmounted. Whose the processes in a new namespace are, and whether
// some keep one whose name is gone, is found out soon.
func (w *Watcher) mounted() {
	if w.scanner.scanNames() {
		w.dirty = true
		w.scanBy(w.scanned.Add(scanAtMostEvery))
	}
}

func (w *Watcher) executed() {
	pids, err := w.connector.receive()
	for _, pid := range pids {
		if w.scanner.executed(pid) {
			w.dirty = true
		}
	}
	if err != nil {
		w.scanBy(w.scanned.Add(scanAtMostEvery))
	}
}

func (w *Watcher) scanBy(t time.Time) {
	if t.Before(w.due) {
		w.due = t
	}
}

func (w *Watcher) scan() {
	names, processes := w.scanner.scanNames(), w.scanner.scanProcesses()
	if names || processes || !maps.Equal(w.skipped, w.scanner.skipped) || !slices.Equal(w.strays, w.scanner.strayNames()) {
		w.dirty = true
	}
	// Names of containers are asked for again after delivery, which is due even if nothing is new.
	w.dirty = w.dirty || w.scanner.runtimes.stale()
	w.scanned = time.Now()
	every := scanEvery
	if w.connector == nil {
		every = scanEveryWithout
	}
	w.due = w.scanned.Add(every)
}
