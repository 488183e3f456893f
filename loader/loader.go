package loader

import (
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"

	"netobs/bpf"
	"netobs/decode"
)

// Options for New. The zero value of each field is usable, but for Netns.
type Options struct {
	// Namespaces to watch. At least one; one that is given twice is watched once.
	Netns []Netns
	// Which of their interfaces.
	Select Selection
	// BPF programs and maps. Optional.
	BPF bpf.Options
	// Receives one line for each change of state. Optional: without, nothing is logged.
	Log *slog.Logger
}

// A Loader holds the BPF programs and what is attached. See the package documentation for who may call what.
type Loader struct {
	opts    Options
	log     *slog.Logger
	progs   *bpf.Programs
	monitor *monitor

	// Owned by the goroutine that calls Attach and Follow.
	lastPoint uint32 // id
	closed    bool

	read atomic.Uint64 // records taken from the ring

	mu         sync.Mutex
	namespaces []*namespace
	points     map[uint32]*decode.Point // by id; a point that is gone stays until its last records were read
	retired    settling                 // ids of points that are gone
	gone       settling                 // ids of namespaces that are gone
	slots      slots
	totals     map[pointLabels]bpf.PointCounters // of points that are gone
	errors     map[AttachError]uint64
}

// New loads the BPF programs. The caller closes the Loader. The error wraps ebpf.ErrNotSupported if the kernel lacks
// what is needed, and unix.EPERM if capabilities are missing.
func New(opts Options) (*Loader, error) {
	if len(opts.Netns) == 0 {
		return nil, errors.New("no network namespace to watch")
	}
	if err := opts.Select.Validate(); err != nil {
		return nil, err
	}
	l := &Loader{
		opts:   opts,
		log:    opts.Log,
		points: make(map[uint32]*decode.Point),
		totals: make(map[pointLabels]bpf.PointCounters),
		errors: make(map[AttachError]uint64),
	}
	if l.log == nil {
		l.log = slog.New(slog.DiscardHandler)
	}
	l.addNamespaces()
	var err error
	if l.progs, err = bpf.Load(opts.BPF); err != nil {
		return nil, err
	}
	if l.monitor, err = newMonitor(); err != nil {
		l.progs.Close()
		return nil, err
	}
	return l, nil
}

// Close detaches what is still attached and releases the programs. It is idempotent. Close the Reader first.
func (l *Loader) Close() error {
	if l.closed {
		return nil
	}
	l.closed = true
	return errors.Join(l.detachAll(), l.monitor.close(), l.progs.Close())
}

// settling holds ids of what is gone until the reader has read the last records of it: those that were added before the
// ring was found empty once are so at the next time.
type settling struct{ added, waiting, settled []uint32 }

func (s *settling) add(id uint32) { s.added = append(s.added, id) }

// drained is to be called each time the ring was found empty.
func (s *settling) drained() {
	s.settled = append(s.settled, s.waiting...)
	s.waiting, s.added = s.added, nil
}

// take returns what is settled, once.
func (s *settling) take() []uint32 {
	ids := s.settled
	s.settled = nil
	return ids
}
