package bpf

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"time"
	"unsafe"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/features"
	"github.com/cilium/ebpf/rlimit"
	"golang.org/x/sys/unix"
)

// MaxPoints is how many observation points can be watched at once.
const MaxPoints = 4096

// Names of the data sections that all programs of one Programs share.
const (
	pendingSection = ".data.pending"
	sharedSection  = ".data.shared"
)

// Numbers of the headers that are no types.
const (
	constantMagic = 0x6e65746f62730000 // CONSTANT_MAGIC
	hashNetns     = 1                  // HASH_NETNS
)

// Options for Load.
type Options struct {
	// Size of the ring buffer in bytes: a power of two and a multiple of the page size. 0 means 8 MiB.
	RingBytes uint32
	// Number of connections whose reports are remembered; one takes about 190 bytes. 0 means 300 000, which fits 100 000
	// new ones per second for the 3 s that an unanswered attempt is followed.
	Flows uint32
	// Fill of the ring in bytes at which the reader is woken before its deadline. 0 means an eighth of the ring.
	WakeupBytes uint32
	// SYN and SYN-ACK records per second on each CPU; a tenth of that may come at once. What is above counts as rate_limited.
	// Completing ACKs, FIN and RST have no limit. 0 means 100 000.
	SYNRate uint32
	// Report segments with all that people want to see of them. Optional: without, the programs report what verdicts need.
	Watch *Watch
}

// A Hook is where a program is attached, as far as it makes a difference to the program.
type Hook uint8

// Hooks.
const (
	HookTC  Hook = iota // TCX, and the filters of a clsact qdisc: both take the same program
	HookXDP             // ingress only
)

// Programs are the loaded slow programs and the maps that the fronts of all points share.
type Programs struct {
	Ring   *ebpf.Map // ring buffer of SegmentRecord and SegmentRecordOptions
	opts   Options
	key    [4]uint64 // of the pending filter
	shared map[string]*ebpf.Map
	memory *ebpf.Memory
	waiter waiter
	spec   *ebpf.CollectionSpec // of all programs; never changed
	hooks  [2]hook              // by Hook
}

// hook is what a hook has of its own.
type hook struct {
	front, slow, tails string // names
	frags              bool   // with bpf_xdp_load_bytes, and packets in more than one buffer

	mu        sync.Mutex
	slowProg  *ebpf.Program     // nil until the first front needs it
	frontSpec *ebpf.ProgramSpec // its constants are not set
}

// Load makes the maps and loads the programs of HookTC; those of HookXDP are loaded with its first front. The caller closes
// the result. Needs CAP_BPF and CAP_NET_ADMIN, and before Linux 5.11 CAP_SYS_RESOURCE, as those kernels count BPF memory
// against RLIMIT_MEMLOCK.
func Load(opts Options) (_ *Programs, err error) {
	if err := rlimit.RemoveMemlock(); err != nil { // does nothing where the limit does not count
		if errors.Is(err, unix.EPERM) {
			err = unix.EPERM // of the map that was made to find out, or of raising the limit: nobody can tell
		}
		return nil, fmt.Errorf("load BPF programs, which before Linux 5.11 takes CAP_SYS_RESOURCE, too: %w", err)
	}
	spec, err := loadNetobs()
	if err != nil {
		return nil, fmt.Errorf("read embedded BPF objects: %w", err)
	}
	// 2 MiB of zeros, twice: what the map has without them.
	spec.Maps[pendingSection].Contents = nil
	for name, v := range spec.Variables {
		if v.SectionName == pendingSection {
			delete(spec.Variables, name)
		}
	}
	ring, flows := spec.Maps[netobsMapRing], spec.Maps[netobsMapFlows]
	if opts.RingBytes != 0 {
		ring.MaxEntries = opts.RingBytes
	}
	if opts.Flows != 0 {
		flows.MaxEntries = opts.Flows
	}
	if opts.WakeupBytes == 0 {
		opts.WakeupBytes = ring.MaxEntries / 8
	}
	if opts.SYNRate == 0 {
		opts.SYNRate = 100_000
	}
	if opts.Watch == nil {
		delete(spec.Maps, netobsMapWatchPorts)
		delete(spec.Maps, netobsMapWatchHosts)
	}
	p := &Programs{
		opts: opts,
		spec: spec,
		hooks: [2]hook{
			HookTC:  {front: netobsProgNetobsFront, slow: netobsProgNetobsSlow, tails: netobsMapTails},
			HookXDP: {front: netobsProgNetobsXdp, slow: netobsProgNetobsXdpSlow, tails: netobsMapXdpTails},
		},
	}
	if opts.Watch != nil {
		p.hooks[HookTC].slow, p.hooks[HookXDP].slow = netobsProgNetobsWatch, netobsProgNetobsXdpWatch
	}
	if err := binary.Read(rand.Reader, binary.NativeEndian, &p.key); err != nil {
		return nil, fmt.Errorf("seed the pending filter: %w", err)
	}
	defer func() {
		if err != nil {
			p.Close()
		}
	}()
	maps := spec.Copy()
	clear(maps.Programs)
	clear(maps.Variables)
	for name := range maps.Maps {
		if strings.HasPrefix(name, ".rodata") {
			delete(maps.Maps, name) // each program has its own
		}
	}
	coll, err := ebpf.NewCollection(maps)
	if err != nil {
		return nil, fmt.Errorf("make BPF maps: %w", permission(err))
	}
	p.shared, coll.Maps = coll.Maps, nil
	p.Ring = p.shared[netobsMapRing]
	if p.memory, err = p.shared[sharedSection].Memory(); err != nil {
		return nil, fmt.Errorf("map the shared memory: %w", err)
	}
	if opts.Watch != nil {
		if err := opts.Watch.Filter.put(p.shared); err != nil {
			return nil, err
		}
	}
	if p.waiter, err = newWaiter(); err != nil {
		return nil, err
	}
	return p, p.prepare(HookTC)
}

// permission returns the error without the library's guess at a memory limit.
func permission(err error) error {
	if errors.Is(err, unix.EPERM) {
		return unix.EPERM
	}
	return err
}

// prepare loads the slow program of a hook, the first time it is called for it.
func (p *Programs) prepare(which Hook) error {
	h := &p.hooks[which]
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.slowProg != nil {
		return nil
	}
	if which == HookXDP {
		h.frags = features.HaveProgramHelper(ebpf.XDP, asm.FnXdpLoadBytes) == nil
	}
	front, err := p.bare(h)
	if err != nil {
		return err
	}
	prog, err := p.loadSlow(h)
	if err != nil {
		return fmt.Errorf("load BPF program %s: %w", h.slow, permission(err))
	}
	if err := p.shared[h.tails].Put(uint32(0), prog); err != nil {
		prog.Close()
		return fmt.Errorf("enter slow program into the tail-call table: %w", err)
	}
	h.slowProg, h.frontSpec = prog, front
	return nil
}

// loadSlow loads the slow program of a hook.
func (p *Programs) loadSlow(h *hook) (*ebpf.Program, error) {
	spec := p.spec.Copy()
	for name := range spec.Programs {
		if name != h.slow {
			delete(spec.Programs, name)
		}
	}
	for name := range spec.Variables {
		if name != netobsVarSelf && (name != netobsVarWatching || p.opts.Watch == nil) {
			delete(spec.Variables, name)
		}
	}
	spec.Programs[h.slow].Flags |= h.flags()
	if err := spec.Variables[netobsVarSelf].Set(netobsConstants{
		HashKey:       p.key,
		XdpLoadBytes:  uint32(flag(h.frags)),
		WakeupBytes:   p.opts.WakeupBytes,
		SynIntervalNs: uint64(time.Second) / uint64(p.opts.SYNRate),
		SynBurstNs:    uint64(time.Second) / 10,
	}); err != nil {
		return nil, fmt.Errorf("set BPF constants: %w", err)
	}
	if p.opts.Watch != nil {
		if err := spec.Variables[netobsVarWatching].Set(p.opts.Watch.constants()); err != nil {
			return nil, fmt.Errorf("set BPF constants: %w", err)
		}
	}
	coll, err := ebpf.NewCollectionWithOptions(spec, ebpf.CollectionOptions{MapReplacements: p.shared})
	if err != nil {
		return nil, err
	}
	defer coll.Close()
	return coll.DetachProgram(h.slow), nil
}

func (h *hook) flags() uint32 {
	if h.frags {
		return unix.BPF_F_XDP_HAS_FRAGS
	}
	return 0
}

// bare returns the front of a hook with its maps, and without debugging information, of which the kernel would keep a copy
// for each point.
func (p *Programs) bare(h *hook) (*ebpf.ProgramSpec, error) {
	spec := p.spec.Programs[h.front].Copy()
	spec.Flags |= h.flags()
	for i, ins := range spec.Instructions {
		bare := asm.Instruction{OpCode: ins.OpCode, Dst: ins.Dst, Src: ins.Src, Offset: ins.Offset, Constant: ins.Constant}
		if name := ins.Reference(); name != "" {
			switch m := p.shared[name]; {
			case m != nil:
				if err := bare.AssociateMap(m); err != nil {
					return nil, fmt.Errorf("BPF program %s, map %s: %w", h.front, name, err)
				}
			case ins.OpCode.Class().IsJump():
				bare = bare.WithReference(name)
			default:
				return nil, fmt.Errorf("BPF program %s refers to %s, which it must not", h.front, name)
			}
		}
		if symbol := ins.Symbol(); symbol != "" {
			bare = bare.WithSymbol(symbol)
		}
		spec.Instructions[i] = bare
	}
	return spec, nil
}

// constants sets what stands for enum constant in the instructions of a front.
func constants(instructions asm.Instructions, values [netobsConstantCONSTANT_LEN]uint64) {
	for i := range instructions {
		ins := &instructions[i]
		which := uint64(ins.Constant) - constantMagic
		if ins.OpCode == asm.LoadImmOp(asm.DWord) && !ins.IsLoadFromMap() && which < uint64(len(values)) {
			ins.Constant = int64(values[which])
		}
	}
}

// Point is the identity that a front has baked in.
type Point struct {
	ID     uint32 // in its records; not 0
	Slot   uint32 // index of its counters, below MaxPoints
	Netns  uint32 // namespace, for telling connections apart
	Egress bool
	Hook   Hook
	// The interface has no Ethernet header (ARPHRD_ETHER and ARPHRD_LOOPBACK have one): a packet begins with IP.
	L3 bool
	// The interface's Ethernet address. Optional but for HookXDP, which comes before the kernel has looked for whom a packet
	// is; see SetAddress.
	Address net.HardwareAddr
}

// NewFront loads the front program of one observation point. The caller closes it, after its link. May be called
// concurrently.
func (p *Programs) NewFront(point Point) (*ebpf.Program, error) {
	if point.Slot >= MaxPoints {
		return nil, fmt.Errorf("load BPF program of a point: slot %d, and there are %d", point.Slot, MaxPoints)
	}
	if point.Hook == HookXDP {
		if point.Egress {
			return nil, errors.New("load BPF program of a point: XDP has no egress")
		}
		if err := p.SetAddress(point.Slot, point.Address); err != nil {
			return nil, err
		}
	}
	if err := p.prepare(point.Hook); err != nil {
		return nil, err
	}
	spec := p.hooks[point.Hook].frontSpec.Copy()
	constants(spec.Instructions, p.constantsOf(&point))
	front, err := ebpf.NewProgram(spec)
	if err != nil {
		return nil, fmt.Errorf("load BPF program of a point: %w", err)
	}
	return front, nil
}

// constantsOf returns the constants of a point's front.
func (p *Programs) constantsOf(point *Point) (c [netobsConstantCONSTANT_LEN]uint64) {
	id := netobsIdentity{
		// An odd factor: no two namespaces have the same key.
		NetnsKey: uint64(point.Netns) * (p.key[0] ^ p.key[1] | 1),
		Point:    point.ID,
		Slot:     point.Slot,
		Netns:    point.Netns,
		Egress:   flag(point.Egress),
		L3:       flag(point.L3),
	}
	c[netobsConstantCONSTANT_SLOT] = uint64(point.Slot)
	if p.opts.Watch != nil && p.opts.Watch.All {
		c[netobsConstantCONSTANT_SLOT] = MaxPoints
	}
	c[netobsConstantCONSTANT_EGRESS] = uint64(id.Egress)
	c[netobsConstantCONSTANT_L3] = uint64(id.L3)
	*(*netobsIdentity)(unsafe.Pointer(&c[netobsConstantCONSTANT_IDENTITY])) = id
	copy(c[netobsConstantCONSTANT_HASH:], p.key[:])
	c[netobsConstantCONSTANT_HASH+hashNetns] += id.NetnsKey
	return c
}

func flag(b bool) uint8 {
	if b {
		return 1
	}
	return 0
}

// SetBridgePort tells the front at slot whether its interface is a port of a bridge. May be called while it runs.
func (p *Programs) SetBridgePort(slot uint32, is bool) error {
	b := [1]byte{flag(is)}
	_, err := p.memory.WriteAt(b[:], int64(unsafe.Offsetof(netobsSharedMemory{}.BridgePort))+int64(slot))
	return err
}

// SetAddress tells the front at slot, of HookXDP, that its interface has another Ethernet address. May be called while it
// runs.
func (p *Programs) SetAddress(slot uint32, address net.HardwareAddr) error {
	var b [8]byte
	copy(b[:6], address)
	_, err := p.memory.WriteAt(b[:], int64(unsafe.Offsetof(netobsSharedMemory{}.Address))+int64(slot)*int64(len(b)))
	return err
}

// RecordsLost returns how many records were wanted and did not get into the ring since Load: it was full, or the rate limit
// was reached. It is one read of shared memory.
func (p *Programs) RecordsLost() uint64 {
	var b [8]byte
	p.memory.ReadAt(b[:], int64(unsafe.Offsetof(netobsSharedMemory{}.RecordsLost))) // in bounds by its type
	return binary.NativeEndian.Uint64(b[:])
}

// SetReaderIdle says whether the reader wants to be woken by the next record, whatever the fill of the ring.
func (p *Programs) SetReaderIdle(is bool) error {
	var b [8]byte
	if is {
		b[0] = 1
	}
	_, err := p.memory.WriteAt(b[:], int64(unsafe.Offsetof(netobsSharedMemory{}.ReaderIdle)))
	return err
}

// Counters returns the counters at slot, summed over the CPUs. May be called concurrently.
func (p *Programs) Counters(slot uint32) (PointCounters, error) {
	var perCPU []PointCounters
	if err := p.shared[netobsMapCounters].Lookup(slot, &perCPU); err != nil {
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
	errs := []error{p.waiter.close()}
	for _, m := range p.shared {
		errs = append(errs, m.Close())
	}
	for i := range p.hooks {
		errs = append(errs, p.hooks[i].slowProg.Close())
	}
	return errors.Join(errs...)
}
