package bpf

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"unsafe"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// MaxPoints is how many observation points can be watched at once.
const MaxPoints = 4096

// Names of the data sections that all programs of one Programs share.
const (
	pendingSection = ".data.pending"
	sharedSection  = ".data.shared"
)

// Options for Load.
type Options struct {
	// Size of the ring buffer in bytes: a power of two and a multiple of the page size. 0 means 8 MiB.
	RingBytes uint32
	// Number of connections whose reports are remembered. 0 means 131 072.
	Flows uint32
	// Fill of the ring in bytes at which the reader is woken before its deadline. 0 means an eighth of the ring.
	WakeupBytes uint32
	// Report every segment, not only control segments, and the TCP options of all: for telling the story of a few
	// connections, not for production.
	ReportAll bool
}

// Programs are the loaded slow program and the maps that the fronts of all points share.
type Programs struct {
	Ring      *ebpf.Map // ring buffer of SegmentRecord and SegmentRecordOptions
	counters  *ebpf.Map
	shared    map[string]*ebpf.Map
	slow      *ebpf.Program
	memory    *ebpf.Memory
	spec      *ebpf.CollectionSpec
	reportAll bool
	hashSeed  [5]uint64 // of the pending filter
}

// Load loads the slow program and makes the maps. The caller closes the result. Needs CAP_BPF and CAP_NET_ADMIN.
func Load(opts Options) (_ *Programs, err error) {
	spec, err := loadNetobs()
	if err != nil {
		return nil, fmt.Errorf("read embedded BPF objects: %w", err)
	}
	if opts.RingBytes != 0 {
		spec.Maps[netobsMapRing].MaxEntries = opts.RingBytes
	}
	if opts.Flows != 0 {
		spec.Maps[netobsMapFlows].MaxEntries = opts.Flows
	}
	if opts.WakeupBytes == 0 {
		opts.WakeupBytes = spec.Maps[netobsMapRing].MaxEntries / 8
	}
	var seed [5]uint64
	if err := binary.Read(rand.Reader, binary.NativeEndian, &seed); err != nil {
		return nil, fmt.Errorf("seed the pending filter: %w", err)
	}
	if err := errors.Join(
		spec.Variables[netobsVarWakeupBytes].Set(opts.WakeupBytes),
	); err != nil {
		return nil, fmt.Errorf("set BPF constants: %w", err)
	}

	first := spec.Copy()
	delete(first.Programs, netobsProgFront)
	coll, err := ebpf.NewCollection(first)
	if errors.Is(err, unix.EPERM) {
		// Without the library's guess at a memory limit.
		return nil, fmt.Errorf("load BPF programs: %w", unix.EPERM)
	}
	if err != nil {
		return nil, fmt.Errorf("load BPF programs: %w", err)
	}
	defer coll.Close()
	p := &Programs{
		shared:    make(map[string]*ebpf.Map),
		spec:      spec,
		hashSeed:  seed,
		reportAll: opts.ReportAll,
	}
	defer func() {
		if err != nil {
			p.Close()
		}
	}()
	if p.slow = coll.DetachProgram(netobsProgSlow); p.slow == nil {
		return nil, errors.New("embedded BPF objects have no slow program")
	}
	for _, name := range []string{netobsMapCounters, netobsMapRing, netobsMapTails, netobsMapHandoff, netobsMapFlows,
		pendingSection, sharedSection} {
		if p.shared[name] = coll.DetachMap(name); p.shared[name] == nil {
			return nil, fmt.Errorf("embedded BPF objects have no map %s", name)
		}
	}
	p.Ring, p.counters = p.shared[netobsMapRing], p.shared[netobsMapCounters]
	if err := p.shared[netobsMapTails].Put(uint32(0), p.slow); err != nil {
		return nil, fmt.Errorf("enter slow program into the tail-call table: %w", err)
	}
	if p.memory, err = p.shared[sharedSection].Memory(); err != nil {
		return nil, fmt.Errorf("map the shared memory: %w", err)
	}
	p.trim()
	return p, nil
}

// trim leaves in the spec what a front needs, so that copying it for each point is cheap.
func (p *Programs) trim() {
	delete(p.spec.Programs, netobsProgSlow)
	delete(p.spec.Variables, netobsVarPending)
	delete(p.spec.Variables, netobsVarShared)
}

// Point is the identity that a front has baked in.
type Point struct {
	ID     uint32 // in its records
	Slot   uint32 // index of its counters, below MaxPoints
	Netns  uint32 // namespace, for telling connections apart
	Egress bool
}

// NewFront loads the front program of one observation point. The caller closes it, after its link.
func (p *Programs) NewFront(point Point) (*ebpf.Program, error) {
	if point.Slot >= MaxPoints {
		return nil, fmt.Errorf("load BPF program of a point: slot %d, and there are %d", point.Slot, MaxPoints)
	}
	spec := p.spec.Copy()
	if err := spec.Variables[netobsVarSelf].Set(netobsIdentity{
		HashSeed: p.hashSeed,
		// An odd factor: no two namespaces have the same key.
		NetnsKey:  uint64(point.Netns) * (p.hashSeed[0] ^ p.hashSeed[1] | 1),
		Point:     point.ID,
		Slot:      point.Slot,
		Netns:     point.Netns,
		Egress:    flag(point.Egress),
		ReportAll: flag(p.reportAll),
	}); err != nil {
		return nil, fmt.Errorf("set identity of a point: %w", err)
	}
	var front struct {
		Program *ebpf.Program `ebpf:"front"`
	}
	if err := spec.LoadAndAssign(&front, &ebpf.CollectionOptions{MapReplacements: p.shared}); err != nil {
		return nil, fmt.Errorf("load BPF program of a point: %w", err)
	}
	return front.Program, nil
}

func flag(b bool) uint16 {
	if b {
		return 1
	}
	return 0
}

// SetBridgePort tells the front at slot whether its interface is a port of a bridge. May be called while it runs.
func (p *Programs) SetBridgePort(slot uint32, is bool) error {
	var b [1]byte
	if is {
		b[0] = 1
	}
	_, err := p.memory.WriteAt(b[:], int64(unsafe.Offsetof(netobsSharedMemory{}.BridgePort))+int64(slot))
	return err
}

// RecordsLost returns how many records did not get into the ring since Load. It is one read of shared memory.
func (p *Programs) RecordsLost() uint64 {
	var b [8]byte
	p.memory.ReadAt(b[:], int64(unsafe.Offsetof(netobsSharedMemory{}.RecordsLost))) // in bounds by its type
	return binary.NativeEndian.Uint64(b[:])
}

// Counters returns the counters at slot, summed over the CPUs. May be called concurrently.
func (p *Programs) Counters(slot uint32) (PointCounters, error) {
	var perCPU []PointCounters
	if err := p.counters.Lookup(slot, &perCPU); err != nil {
		return PointCounters{}, fmt.Errorf("read counters of slot %d: %w", slot, err)
	}
	var sum PointCounters
	for i := range perCPU {
		sum.Add(&perCPU[i])
	}
	return sum, nil
}

// Close releases programs and maps. Fronts that are still attached go on counting, unread.
func (p *Programs) Close() error {
	var errs []error
	for _, m := range p.shared {
		errs = append(errs, m.Close())
	}
	return errors.Join(append(errs, p.slow.Close())...)
}
