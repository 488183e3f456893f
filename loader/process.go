package loader

import (
	"cmp"
	"encoding/binary"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"netobs/loader/inventory"
)

// A Process is one that listens on a port.
type Process struct {
	PID  int    // in the pid namespace of netobs
	Name string // as in /proc/PID/comm
}

// Who listens is known from the listening socket's inode, by sock_diag(7), and from who has that open: all of /proc/PID/fd must
// be read. So the reader, for which it is asked, never looks: it gets what is known, and what is not is looked for by a goroutine
// of its own. That looks at most once a second, and pauses after that for 19 times as long as it took: it costs at most 5 % of a
// CPU, however many ports are asked for that nobody listens on. What is known is believed as long as the process has the socket
// open under the same number, which is one call of readlink, at most every 100 ms for each port that is in use.
const (
	processPause  = time.Second
	processShare  = 19
	processRecall = 100 * time.Millisecond
)

// processes tells who listens in the namespaces of a Loader.
type processes struct {
	l    *Loader
	wake chan struct{} // asked has something
	stop chan struct{}
	done chan struct{}

	mu     sync.Mutex
	by     map[uint32][]*listener // by id of namespace
	asked  map[uint32]bool
	runs   bool
	closed bool
}

// listener is a listening socket.
type listener struct {
	at      netip.AddrPort
	inode   uint32
	process Process   // PID 0 if not known
	link    string    // where it has the socket open, as /proc/PID/fd/N
	checked time.Time // that it has
}

func newProcesses(l *Loader) *processes {
	return &processes{l: l, wake: make(chan struct{}, 1), stop: make(chan struct{}), done: make(chan struct{}),
		by: make(map[uint32][]*listener), asked: make(map[uint32]bool)}
}

// Listener returns the process that listens on a socket in a namespace, by the id of that in decode.Point. It never waits: false
// may also mean that it is not known yet. Of several processes it is the one with the lowest pid but 1, which opens sockets for
// others.
func (l *Loader) Listener(netnsID uint32, at netip.AddrPort) (Process, bool) {
	return l.processes.get(netnsID, at)
}

func (p *processes) get(netnsID uint32, at netip.AddrPort) (Process, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	var found *listener
	for _, s := range p.by[netnsID] {
		if s.at == at || found == nil && s.at.Port() == at.Port() && s.at.Addr().IsUnspecified() {
			found = s
		}
	}
	if found != nil && found.process.PID != 0 {
		if now.Sub(found.checked) < processRecall || found.check() {
			found.checked = now
			return found.process, true
		}
		p.by[netnsID] = slices.DeleteFunc(p.by[netnsID], func(s *listener) bool { return s == found })
	}
	p.ask(netnsID)
	return Process{}, false
}

// check reports whether the process still has the socket.
func (s *listener) check() bool {
	to, err := os.Readlink(s.link)
	return err == nil && to == socketLink(s.inode)
}

func socketLink(inode uint32) string { return "socket:[" + strconv.FormatUint(uint64(inode), 10) + "]" }

// ask has it looked who listens in a namespace. The caller holds p.mu.
func (p *processes) ask(netnsID uint32) {
	if p.closed {
		return
	}
	p.asked[netnsID] = true
	if !p.runs {
		p.runs = true
		go p.run()
	}
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// run looks for what is asked, until close.
func (p *processes) run() {
	defer close(p.done)
	for {
		select {
		case <-p.wake:
		case <-p.stop:
			return
		}
		began := time.Now()
		p.look()
		select {
		case <-time.After(max(processPause, processShare*time.Since(began))):
		case <-p.stop:
			return
		}
	}
}

func (p *processes) close() {
	p.mu.Lock()
	was := p.closed
	p.closed = true
	runs := p.runs
	p.mu.Unlock()
	if !was {
		close(p.stop)
	}
	if runs {
		<-p.done
	}
}

// look finds who listens in the namespaces that were asked for.
func (p *processes) look() {
	p.mu.Lock()
	asked := p.asked
	p.asked = make(map[uint32]bool)
	p.mu.Unlock()
	p.l.mu.Lock()
	var namespaces []Netns
	var ids []uint32
	for _, ns := range p.l.namespaces {
		if asked[ns.id] {
			namespaces, ids = append(namespaces, ns.Netns), append(ids, ns.id)
		}
	}
	p.l.mu.Unlock()

	found := make(map[uint32][]*listener)
	wanted := make(map[uint32][]*listener)
	for i := range namespaces {
		var all []*listener
		if namespaces[i].Do(func() (err error) { all, err = listListeners(); return err }) != nil {
			continue // it is gone, or tells nothing
		}
		found[ids[i]] = all
		for _, s := range all {
			wanted[s.inode] = append(wanted[s.inode], s)
		}
	}
	findHolders(wanted)
	now := time.Now()
	p.mu.Lock()
	defer p.mu.Unlock()
	for id := range p.by { // of namespaces that are gone, too
		if asked[id] {
			delete(p.by, id)
		}
	}
	for id, all := range found {
		for _, s := range all {
			s.checked = now
		}
		p.by[id] = all
	}
}

// forget drops what is known of a namespace.
func (p *processes) forget(netnsID uint32) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.by, netnsID)
}

// findHolders finds out which process has sockets open.
func findHolders(wanted map[uint32][]*listener) {
	var pids []int
	entries, _ := os.ReadDir("/proc") // it is there
	for _, e := range entries {
		if pid, err := strconv.Atoi(e.Name()); err == nil {
			pids = append(pids, pid)
		}
	}
	slices.SortFunc(pids, func(a, b int) int { // 1 is the last
		return cmp.Or(cmp.Compare(btoi(a == 1), btoi(b == 1)), cmp.Compare(a, b))
	})
	for _, pid := range pids {
		if len(wanted) == 0 {
			return
		}
		dir := "/proc/" + strconv.Itoa(pid)
		fds, err := os.ReadDir(dir + "/fd")
		if err != nil {
			continue // it ended, or may not be looked at
		}
		for _, fd := range fds {
			link := dir + "/fd/" + fd.Name()
			to, err := os.Readlink(link)
			if err != nil || !strings.HasPrefix(to, "socket:[") {
				continue
			}
			inode, err := strconv.ParseUint(strings.TrimSuffix(to[len("socket:["):], "]"), 10, 32)
			sockets := wanted[uint32(inode)]
			if err != nil || sockets == nil {
				continue
			}
			comm, err := os.ReadFile(dir + "/comm")
			if err != nil {
				break
			}
			for _, s := range sockets {
				s.process, s.link = Process{pid, inventory.Printable(strings.TrimSpace(string(comm)))}, link
			}
			delete(wanted, uint32(inode))
		}
	}
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

// listenRequest is a struct inet_diag_req_v2 (linux/inet_diag.h) that asks for listening TCP sockets alone: package netlink
// only asks for all sockets.
type listenRequest struct{ family uint8 }

func (listenRequest) Len() int { return 56 }

func (r listenRequest) Serialize() []byte {
	b := make([]byte, r.Len())
	b[0], b[1] = r.family, unix.IPPROTO_TCP
	binary.NativeEndian.PutUint32(b[4:], 1<<netlink.TCP_LISTEN)
	return b
}

// listListeners returns the listening sockets of the calling thread's namespace.
func listListeners() (all []*listener, err error) {
	for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
		req := nl.NewNetlinkRequest(nl.SOCK_DIAG_BY_FAMILY, unix.NLM_F_DUMP)
		req.AddData(listenRequest{family})
		msgs, err := req.Execute(unix.NETLINK_INET_DIAG, nl.SOCK_DIAG_BY_FAMILY)
		if err != nil {
			return nil, err
		}
		for _, m := range msgs { // struct inet_diag_msg; ports and addresses in network order
			if len(m) < 72 {
				continue
			}
			addr := netip.AddrFrom4([4]byte(m[8:12]))
			if family == unix.AF_INET6 {
				addr = netip.AddrFrom16([16]byte(m[8:24])).Unmap()
			}
			all = append(all, &listener{
				at:    netip.AddrPortFrom(addr, binary.BigEndian.Uint16(m[4:])),
				inode: binary.NativeEndian.Uint32(m[68:]),
			})
		}
	}
	return all, nil
}
