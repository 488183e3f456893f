package loader

import (
	"errors"
	"io"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cilium/ebpf/link"

	"netobs/bpf"
	"netobs/decode"
)

// Options for New. The zero value of each field is usable, but that something must be watched.
type Options struct {
	// Namespaces to watch. At least one, or Dynamic; one that is given twice is watched once.
	Netns []Netns
	// Namespaces to watch that need not be there yet. Optional.
	Dynamic Dynamic
	// Which of their interfaces.
	Select Selection
	// Where to attach, in order of preference, of Hooks(): the next one is taken where the kernel or the interface does
	// not offer one, or where it is XDP and another program is there. Optional: without, HookAuto.
	Hooks []string
	// Let the kernel hurry while points are attached. It interrupts every CPU, some times for each point. Optional.
	FastAttach bool
	// How long what was counted in a namespace of Dynamic, and at an interface, is told after its end. Optional: 0 means 5 min.
	Keep time.Duration
	// Find out who listens in a namespace when it is ready, and not only when Listener is asked. Optional.
	Listeners bool
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
	lastPoint    uint32                      // id
	lastNetns    uint32                      // id
	pending      map[*namespace]map[int]bool // interfaces to attach to, by index
	roster       *roster                     // nil without Options.Dynamic
	strays       []string                    // see inventory.Update
	pacer        pacer
	companyEvery time.Duration
	closed       bool
	attachTCX    func(link.TCXOptions) (io.Closer, error)
	waitForRuns  func() error // see closePoints
	setting      string       // path of rcuExpedited
	cannotHurry  bool         // which was said
	frozen       bool         // see Freeze
	own          *owner       // see Loader.owner

	learners sync.WaitGroup
	learning chan struct{} // full while one learns
	polled   atomic.Bool   // there is something in censuses

	processes *processes

	read    atomic.Uint64 // records taken from the ring
	changes atomic.Uint64 // of a name or address that the reader may remember; see known

	mu         sync.Mutex
	namespaces []*namespace             // the host's last; replaced, not changed
	departed   map[string]time.Time     // names of namespaces that ended
	forgotten  []string                 // those that nothing is told of any more, until the reader takes them
	points     map[uint32]*decode.Point // by id; a point that is gone stays until its last records were read
	carriers   map[uint32]bool          // ids of points at a carrier
	retired    settling                 // ids of points that are gone
	gone       settling                 // ids of namespaces that are gone
	censuses   []census                 // what the reader did not take yet
	wakeReader func()                   // nil without reader
	slots      slots
	totals     map[pointLabels]bpf.PointCounters // of points that are gone
	unused     map[interfaceLabel]time.Time      // those of totals that no interface has, in namespaces that are there
	dropped    bpf.PointCounters                 // what was in totals
	errors     map[AttachError]uint64
	ran        map[string]BPFRuns // of points that are gone, by hook

	listenTotals map[string]ListenCounts // of namespaces that are gone, by name

	listenMu sync.Mutex // taken before mu
	listened time.Time  // when countListens last read
}

// New loads the BPF programs. The caller closes the Loader. The error wraps ebpf.ErrNotSupported if the kernel lacks
// what is needed, and unix.EPERM if capabilities are missing.
func New(opts Options) (*Loader, error) {
	if len(opts.Netns) == 0 && !opts.Dynamic.any() {
		return nil, errors.New("no network namespace to watch")
	}
	if err := errors.Join(opts.Select.Validate(), opts.Dynamic.Validate(), validateHooks(opts.Hooks)); err != nil {
		return nil, err
	}
	l := &Loader{
		opts:         opts,
		log:          opts.Log,
		pending:      make(map[*namespace]map[int]bool),
		departed:     make(map[string]time.Time),
		points:       make(map[uint32]*decode.Point),
		carriers:     make(map[uint32]bool),
		totals:       make(map[pointLabels]bpf.PointCounters),
		unused:       make(map[interfaceLabel]time.Time),
		errors:       make(map[AttachError]uint64),
		ran:          make(map[string]BPFRuns),
		listenTotals: make(map[string]ListenCounts),
		companyEvery: companyEvery,
		setting:      rcuExpedited,
		learning:     make(chan struct{}, 1),
		attachTCX:    func(opts link.TCXOptions) (io.Closer, error) { return link.AttachTCX(opts) },
	}
	l.processes = newProcesses(l)
	if l.log == nil {
		l.log = slog.New(slog.DiscardHandler)
	}
	for _, ns := range opts.Netns {
		if !slices.ContainsFunc(l.namespaces, func(o *namespace) bool { return o.Same(&ns) }) {
			l.addNamespace(ns).fixed = true
		}
	}
	var err error
	if l.progs, err = bpf.Load(opts.BPF); err != nil {
		return nil, err
	}
	l.waitForRuns = l.progs.WaitForRuns
	if l.monitor, err = newMonitor(); err != nil {
		l.progs.Close()
		return nil, err
	}
	if opts.Dynamic.any() {
		if l.roster, err = newRoster(func() { l.monitor.stop() }); err != nil {
			return nil, errors.Join(err, l.Close())
		}
	}
	return l, nil
}

// Close detaches what is still attached and releases the programs. It is idempotent. Close the Reader first.
func (l *Loader) Close() error {
	if l.closed {
		return nil
	}
	l.closed = true
	l.learners.Wait()
	l.processes.close()
	var err error
	if l.roster != nil {
		err = l.roster.close() // before the monitor, which it wakes
	}
	err = errors.Join(err, l.detachAll(), l.monitor.close(), l.progs.Close())
	if l.own != nil {
		err = errors.Join(err, l.own.close()) // last: until here, what is left is not left over
	}
	return err
}

// owner returns the mark on what outlives the process. Most loaders need none.
func (l *Loader) owner() (_ *owner, err error) {
	if l.own == nil {
		l.own, err = newOwner()
	}
	return l.own, err
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
