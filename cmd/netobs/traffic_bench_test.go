package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"netobs/loader/nettest"
)

// roundsEnv is how often BenchmarkTraffic goes round.
const roundsEnv = "NETOBS_BENCH_ROUNDS"

const (
	benchRounds = 3
	connections = 8000 // of a run of the load generator
	clients     = 4    // that make them
	bulkSeconds = "1"  // of a run of iperf3
)

// A place is where traffic goes: over a veth pair, a bridge and another pair, or over lo.
type place struct {
	name   string
	client *nettest.NS
	ip     string // of the server
}

// site is the namespaces of BenchmarkTraffic with their servers.
type site struct {
	a, b, h *nettest.NS
	places  []place
}

func newSite(b *testing.B) *site {
	s := new(site)
	s.a, s.b, s.h = topology(b)
	s.a.Up("lo")
	for _, ns := range []*nettest.NS{s.a, s.b} {
		// The ports of closed connections are used again after a second, else they are used up.
		ns.Sysctl("net/ipv4/tcp_tw_reuse", "1")
		ns.Sysctl("net/ipv4/ip_local_port_range", "10000 65000")
	}
	s.places = []place{{"veth+bridge", s.a, "10.9.0.2"}, {"lo", s.a, "127.0.0.1"}}
	for _, server := range []*nettest.NS{s.a, s.b} {
		server.Serve(":"+portBoth, func(c *net.TCPConn) { c.Close() })
	}
	if _, err := exec.LookPath("iperf3"); err != nil {
		b.Log("iperf3 is not installed: bulk traffic is left out")
		return s
	}
	for _, server := range []*nettest.NS{s.a, s.b} {
		startIn(b, server, "iperf3", "-s")
	}
	for _, p := range s.places {
		nettest.Eventually(b, 10*time.Second, func() error {
			c, err := p.client.Dial(net.JoinHostPort(p.ip, "5201"))
			if err == nil {
				c.Close()
			}
			return err
		})
	}
	return s
}

// startIn starts a program in a namespace, and kills it at the end.
func startIn(b *testing.B, ns *nettest.NS, args ...string) (*exec.Cmd, *buffer) {
	b.Helper()
	stderr := new(buffer)
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Stderr = stderr
	ns.Do(cmd.Start)
	b.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	return cmd, stderr
}

// connect makes connections one after the other with some clients at once, and returns how many were made per second.
func (p *place) connect(b *testing.B) float64 {
	start := time.Now()
	var wg sync.WaitGroup
	for range clients {
		wg.Go(func() {
			p.client.Do(func() error {
				for range connections / clients {
					c, err := net.Dial("tcp", net.JoinHostPort(p.ip, portBoth))
					if err != nil {
						return err
					}
					c.Close()
				}
				return nil
			})
		})
	}
	wg.Wait()
	return connections / time.Since(start).Seconds()
}

// bulk returns the bits per second of one connection.
func (p *place) bulk(b *testing.B) float64 {
	var out []byte
	p.client.Do(func() (err error) {
		out, err = exec.Command("iperf3", "-J", "-c", p.ip, "-t", bulkSeconds).Output()
		return err
	})
	var result struct {
		End struct {
			Received struct {
				BPS float64 `json:"bits_per_second"`
			} `json:"sum_received"`
		}
	}
	if err := json.Unmarshal(out, &result); err != nil || result.End.Received.BPS == 0 {
		b.Fatalf("iperf3: %v: %s", err, out)
	}
	return result.End.Received.BPS
}

// An observer is what watches the traffic.
type observer struct {
	name string
	// start returns its processes, and how to end it, which returns the number of events it says it lost, -1 if it says none.
	start func(*testing.B, *site) (pids []int, end func() float64)

	measured map[string][]float64 // by column
}

const filterControl = "tcp[tcpflags] & (tcp-syn|tcp-fin|tcp-rst) != 0"

func observers(b *testing.B) []*observer {
	all := []*observer{
		{name: "off", start: func(*testing.B, *site) ([]int, func() float64) { return nil, func() float64 { return -1 } }},
		{name: "netobs", start: startNetobs},
		{name: "tcpdump", start: startTcpdump},
		{name: "softflowd", start: startSoftflowd},
	}
	return slices.DeleteFunc(all, func(o *observer) bool {
		o.measured = make(map[string][]float64)
		if o.name == "off" || o.name == "netobs" {
			return false
		}
		_, err := exec.LookPath(o.name)
		if err != nil {
			b.Logf("%s is not installed: left out", o.name)
		}
		return err != nil
	})
}

// startNetobs watches all three namespaces.
func startNetobs(b *testing.B, s *site) ([]int, func() float64) {
	cmd, stderr := netobsProcess(b, "attach", "--listen", "", "--output", "none",
		"--netns", s.a.Name, "--netns", s.b.Name, "--netns", s.h.Name)
	return []int{cmd.Process.Pid}, func() float64 {
		interrupt(b, cmd)
		lost := regexp.MustCompile(`(\d+) lost`).FindStringSubmatch(stderr.String())
		if lost == nil {
			b.Fatalf("netobs gives no summary: %s", stderr)
		}
		n, _ := strconv.ParseFloat(lost[1], 64)
		return n
	}
}

// startTcpdump watches all interfaces of all three namespaces.
func startTcpdump(b *testing.B, s *site) (pids []int, end func() float64) {
	var all []*exec.Cmd
	var said []*buffer
	for _, ns := range []*nettest.NS{s.a, s.b, s.h} {
		cmd, stderr := startIn(b, ns, "tcpdump", "-i", "any", "-w", "/dev/null", filterControl)
		nettest.Eventually(b, 10*time.Second, func() error {
			if !strings.Contains(stderr.String(), "listening on") {
				return errors.New("tcpdump does not listen yet")
			}
			return nil
		})
		all, said, pids = append(all, cmd), append(said, stderr), append(pids, cmd.Process.Pid)
	}
	return pids, func() (lost float64) {
		for i, cmd := range all {
			interrupt(b, cmd)
			dropped := regexp.MustCompile(`(\d+) packets? dropped by kernel`).FindStringSubmatch(said[i].String())
			if dropped == nil {
				b.Fatalf("tcpdump says no losses: %s", said[i])
			}
			n, _ := strconv.ParseFloat(dropped[1], 64)
			lost += n
		}
		return lost
	}
}

// startSoftflowd watches an interface of each namespace, as it takes one only.
func startSoftflowd(b *testing.B, s *site) (pids []int, end func() float64) {
	var all []*exec.Cmd
	for _, on := range []struct {
		ns   *nettest.NS
		name string
	}{{s.a, "eth0"}, {s.a, "lo"}, {s.b, "eth0"}, {s.h, "vethA"}} {
		dir := b.TempDir()
		cmd, _ := startIn(b, on.ns, "softflowd", "-d", "-i", on.name, "-p", dir+"/pid", "-c", dir+"/ctl")
		nettest.Eventually(b, 10*time.Second, func() error {
			_, err := os.Stat(dir + "/ctl")
			return err
		})
		all, pids = append(all, cmd), append(pids, cmd.Process.Pid)
	}
	return pids, func() float64 {
		for _, cmd := range all {
			interrupt(b, cmd)
		}
		return -1
	}
}

// interrupt ends a process as Ctrl-C does.
func interrupt(b *testing.B, cmd *exec.Cmd) {
	cmd.Process.Signal(syscall.SIGINT)
	cmd.Wait() // what it returns is its own affair
}

// measure runs all traffic once.
func (o *observer) measure(b *testing.B, s *site, iperf bool) {
	pids, end := o.start(b, s)
	add := func(column string, v float64) { o.measured[column] = append(o.measured[column], v) }
	cpu := func() (sum time.Duration) {
		for _, pid := range pids {
			sum += cpuOf(b, pid)
		}
		return sum
	}
	for _, p := range s.places {
		if iperf {
			add(p.name+" bulk", p.bulk(b))
		}
		before := cpu()
		add(p.name+" rate", p.connect(b))
		if len(pids) > 0 {
			time.Sleep(200 * time.Millisecond) // what waits in its buffers is part of its cost
			add(p.name+" CPU", (cpu()-before).Seconds()*1e3*10_000/connections)
		}
	}
	if lost := end(); lost >= 0 {
		add("lost", lost)
	}
}

// BenchmarkTraffic sends real traffic with nobody looking, with netobs, and with others, in turns. Ratios are to the run with
// nobody looking in the same round; all are medians.
func BenchmarkTraffic(b *testing.B) {
	nettest.NeedPrivileges(b)
	rounds := benchRounds
	if v := os.Getenv(roundsEnv); v != "" {
		var err error
		if rounds, err = strconv.Atoi(v); err != nil || rounds < 1 {
			b.Fatalf("%s: %q is no number of rounds", roundsEnv, v)
		}
	}
	s := newSite(b)
	_, err := exec.LookPath("iperf3")
	all := observers(b)
	b.ResetTimer()
	for i := range rounds {
		for k := range all { // each comes first in some round
			all[(i+k)%len(all)].measure(b, s, err == nil)
		}
	}
	b.StopTimer()
	printTraffic(b, s, all, rounds)
	b.ReportMetric(0, "ns/op")
}

func printTraffic(b *testing.B, s *site, all []*observer, rounds int) {
	off := all[0]
	var table bytes.Buffer
	fmt.Fprintf(&table, "%d rounds, medians; %d connections each, of %d clients\n", rounds, connections, clients)
	for _, p := range s.places {
		fmt.Fprintf(&table, "%-12s %12s %6s %12s %6s %21s %6s\n", p.name, "iperf3", "ratio", "connections", "ratio", "CPU per 10 000", "lost")
		for _, o := range all {
			fmt.Fprintf(&table, "  %-10s", o.name)
			for _, column := range []struct {
				name, unit string
				scale      float64
			}{{p.name + " bulk", "Gbit/s", 1e-9}, {p.name + " rate", "/s", 1}} {
				if v := o.measured[column.name]; len(v) > 0 {
					fmt.Fprintf(&table, " %12s %6.2f", fmt.Sprintf("%.4g%s", middle(v)*column.scale, column.unit), ratio(v, off.measured[column.name]))
				} else {
					fmt.Fprintf(&table, " %12s %6s", "-", "-")
				}
			}
			cpu, lost := "-", "-"
			if v := o.measured[p.name+" CPU"]; len(v) > 0 {
				cpu = fmt.Sprintf("%.1f ms", middle(v))
			}
			if v := o.measured["lost"]; len(v) > 0 {
				lost = fmt.Sprint(slices.Max(v))
			}
			fmt.Fprintf(&table, " %21s %6s\n", cpu, lost)
		}
	}
	fmt.Printf("\n%s", table.String())
	netobs := all[1]
	for i, p := range s.places {
		unit := []string{"veth", "lo"}[i]
		b.ReportMetric(ratio(netobs.measured[p.name+" rate"], off.measured[p.name+" rate"]), unit+"-connection-ratio")
		b.ReportMetric(middle(netobs.measured[p.name+" CPU"]), unit+"-ms/10000-connections")
	}
	if lost := slices.Max(netobs.measured["lost"]); lost > 0 {
		b.Errorf("netobs lost %v events", lost)
	}
}

func middle(v []float64) float64 {
	v = slices.Sorted(slices.Values(v))
	if n := len(v); n%2 == 0 {
		return (v[n/2-1] + v[n/2]) / 2
	}
	return v[len(v)/2]
}

// ratio returns the median of the ratios of each round.
func ratio(v, to []float64) float64 {
	ratios := make([]float64, len(v))
	for i := range v {
		ratios[i] = v[i] / to[i]
	}
	return middle(ratios)
}
