package inventory

import (
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

var (
	idA = strings.Repeat("a1", 32)
	idB = strings.Repeat("b2", 32)
	idC = strings.Repeat("c3", 32)
)

// TestScan: each namespace is found once, however many names and processes it has, and what is none is not.
func TestScan(t *testing.T) {
	h := newHost(t)
	hostIno := h.inode("/proc/self/ns/net")
	h.process(2, hostIno, "kthreadd", "0::/", 2)
	test := h.netns("/run/netns/test")
	h.process(10, test, "server", "0::/", 50)
	h.process(11, test, "curl", "0::/", 40) // older: the numbers were used up
	h.process(12, 77, "a) b (c", "0::/", 30)
	h.process(13, 77, "younger", "0::/", 31)
	h.process(14, 78, "ended", "0::/", 31)
	h.remove("/proc/14/ns") // ended while we looked
	h.write("/proc/uptime", "1 1")

	s := h.scanner()
	all := s.namespaces()
	if got := labels(s); got != "a) b (c test host" {
		t.Fatalf("labels %q", got)
	}
	want := []string{"[/proc/12/ns/net]", "[/run/netns/test /proc/11/ns/net]", "[/proc/1/ns/net]"}
	for i, n := range all {
		if got := fmt.Sprint(n.Open()); got != want[i] {
			t.Errorf("%s can be opened at %s, want %s", n.Label, got, want[i])
		}
		if n.Host != (n.Ino == hostIno) {
			t.Errorf("%s: host %t", n.Label, n.Host)
		}
	}
	if s.looked != 6 || len(s.skipped) != 0 {
		t.Errorf("%d processes looked at, skipped %v, want 6 and none", s.looked, s.skipped)
	}

	// The oldest ends, the other name of its program comes with exec, a name goes.
	h.remove("/proc/12")
	h.write("/proc/13/comm", "other\n")
	h.remove("/run/netns/test")
	h.rescan(s)
	if got := labels(s); got != "curl other host" {
		t.Errorf("labels %q after changes", got)
	}
	h.remove("/proc/13")
	h.rescan(s)
	if got := labels(s); got != "curl host" {
		t.Errorf("labels %q after the last process ended", got)
	}
}

func TestHiddenProcesses(t *testing.T) {
	h := newHost(t)
	h.process(40, 77, "mine", "0::/", 30)
	h.remove("/proc/1")
	s := h.scanner()
	if got := labels(s); got != "mine" || s.skipped[SkipHidden] != 1 {
		t.Errorf("labels %q, skipped %v, want mine and hidden", got, s.skipped)
	}
}

func TestLabel(t *testing.T) {
	const uuid = "01234567-89ab-cdef-0123-456789abcdef"
	for _, tc := range []struct {
		name string
		n    Namespace
		want string
	}{
		{name: "name", n: Namespace{Paths: []string{"/run/netns/test"}, Process: "sleep"}, want: "test"},
		{name: "name before container", n: Namespace{Paths: []string{"/run/netns/test"}, Container: Container{idA, "web"}}, want: "test"},
		{name: "container before made-up name", n: Namespace{Paths: []string{"/run/netns/cni-" + uuid}, Container: Container{idA, "shop/web"}}, want: "shop/web"},
		{name: "CRI-O", n: Namespace{Paths: []string{"/run/netns/" + uuid}, Container: Container{idA, "shop/web"}}, want: "shop/web"},
		{name: "short id", n: Namespace{Paths: []string{"/run/docker/netns/cb5e0df0b1ad"}, Container: Container{ID: idA}}, want: "a1a1a1a1a1a1"},
		{name: "made-up name", n: Namespace{Paths: []string{"/run/netns/netns-" + uuid}, Process: "pause"}, want: "netns-" + uuid},
		{name: "Docker's name", n: Namespace{Paths: []string{"/run/docker/netns/ingress_sbox"}}, want: "ingress_sbox"},
		{name: "process", n: Namespace{Process: "firefox"}, want: "firefox"},
		{name: "host", n: Namespace{Host: true, Paths: []string{"/run/docker/netns/default", "/run/netns/root"}}, want: "host"},
		{name: "nothing", want: "unnamed"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := label(&tc.n); got != tc.want {
				t.Errorf("label %q, want %q", got, tc.want)
			}
		})
	}
}

func TestContainerOf(t *testing.T) {
	for _, tc := range []struct {
		name, cgroup, want string
	}{
		{name: "Docker, v1", cgroup: "12:pids:/docker/" + idA + "\n1:name=systemd:/docker/" + idA, want: idA},
		{name: "Docker, v1, not in all", cgroup: "12:pids:/\n11:cpu,cpuacct:/docker/" + idA, want: idA},
		{name: "Docker, v2, systemd", cgroup: "0::/system.slice/docker-" + idA + ".scope", want: idA},
		{name: "systemd in a container", cgroup: "0::/docker/" + idA + "/init.scope", want: idA},
		{name: "container in a container", cgroup: "0::/docker/" + idA + "/docker/" + idB, want: idB},
		{name: "seen from another cgroup namespace", cgroup: "0::/../" + idA, want: idA},
		{name: "Podman", cgroup: "0::/machine.slice/libpod-" + idA + ".scope/container", want: idA},
		{name: "rootless Podman", cgroup: "0::/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-" + idA + ".scope", want: idA},
		{name: "Podman's monitor", cgroup: "0::/machine.slice/libpod-conmon-" + idA + ".scope"},
		{name: "containerd, systemd", cgroup: "0::/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod8a_1.slice/cri-containerd-" + idA + ".scope", want: idA},
		{name: "containerd, cgroupfs", cgroup: "3:cpu:/kubepods/burstable/pod8a3c/" + idA, want: idA},
		{name: "containerd, wrong driver", cgroup: "0::/system.slice/kubepods-pod8a.slice:cri-containerd:" + idA, want: idA},
		{name: "CRI-O", cgroup: "0::/kubepods.slice/kubepods-pod8a.slice/crio-" + idA + ".scope", want: idA},
		{name: "service", cgroup: "0::/system.slice/ssh.service"},
		{name: "digits too few", cgroup: "0::/docker/" + idA[1:]},
		{name: "digits too many", cgroup: "0::/docker/0" + idA},
		{name: "empty"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := containerOf(tc.cgroup); got != tc.want {
				t.Errorf("container %q, want %q", got, tc.want)
			}
		})
	}
}

// TestEngine: names come from the Engine, also later ones; one that uses another's network is not what that is called.
func TestEngine(t *testing.T) {
	h := newHost(t)
	h.process(20, 100, "nginx", "0::/docker/"+idA, 10)
	h.process(30, 200, "sh", "0::/docker/"+idB, 5) // the oldest, but a guest of idC
	h.process(31, 200, "redis", "0::/docker/"+idC, 6)
	list := []fakeContainer{
		{ID: idA, Name: "web", NetworkMode: "default"},
		{ID: idB, Name: "debug", NetworkMode: "container:" + idC},
		{ID: idC, Name: "db", NetworkMode: "bridge"},
	}
	asked := 0
	h.engine("/run/docker.sock", func() []fakeContainer { asked++; return list })
	s := h.scanner()
	if got := labels(s); got != "db web host" {
		t.Errorf("labels %q", got)
	}
	db := s.namespaces()[0]
	for arg, want := range map[string]bool{"db": true, "debug": true, idB[:4]: true, idC: true, "web": false, "": false, idB[:3]: false} {
		if db.Has(arg) != want {
			t.Errorf("db has %q: %t, want %t", arg, !want, want)
		}
	}
	// Nothing is asked in between.
	h.rescan(s)
	if asked != 1 {
		t.Errorf("asked %d times, want once", asked)
	}
	list[0].Name = "shop"
	list[2].Labels = map[string]string{"io.kubernetes.pod.name": "db-0", "io.kubernetes.pod.namespace": "prod"}
	s.runtimes.asked = time.Now().Add(-askEvery)
	h.rescan(s)
	if got := labels(s); got != "prod/db-0 shop host" {
		t.Errorf("labels %q after renaming", got)
	}
	// A container that the Engine does not know yet is asked for again, not at once.
	h.process(40, 300, "sh", "0::/docker/"+strings.Repeat("d4", 32), 50)
	h.rescan(s)
	h.rescan(s)
	if got := labels(s); got != "d4d4d4d4d4d4 prod/db-0 shop host" || asked != 3 {
		t.Errorf("labels %q, asked %d times, want 3", got, asked)
	}
	list = append(list, fakeContainer{ID: strings.Repeat("d4", 32), Name: "late"})
	s.runtimes.asked = time.Now().Add(-askAgain)
	h.rescan(s)
	if got := labels(s); got != "late prod/db-0 shop host" {
		t.Errorf("labels %q after the Engine got to know it", got)
	}
}

// TestEngineThatHangs is given up soon, and not asked again for a while.
func TestEngineThatHangs(t *testing.T) {
	h := newHost(t)
	h.process(20, 100, "nginx", "0::/docker/"+idA, 10)
	l := h.listen("/run/docker.sock")
	accepted := make(chan net.Conn, 10)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			accepted <- c
		}
	}()
	t.Cleanup(func() { l.Close() })
	s := h.scanner()
	if got := labels(s); got != "a1a1a1a1a1a1 host" {
		t.Errorf("labels %q", got)
	}
	(<-accepted).Close()
	s.runtimes.asked = time.Time{}
	h.rescan(s)
	if len(accepted) != 0 {
		t.Error("asked again at once")
	}
}

// TestCRI: a pod's namespace and name, for all its containers.
func TestCRI(t *testing.T) {
	h := newHost(t)
	h.process(20, 100, "nginx", "0::/kubepods.slice/cri-containerd-"+idB+".scope", 10)
	h.process(30, 200, "pause", "0::/kubepods.slice/cri-containerd-"+idC+".scope", 10)
	h.cri("v1", "/run/containerd/containerd.sock", idA, "shop", "web-5d9c", idB)
	h.cri("v1alpha2", "/run/crio/crio.sock", idC, "prod", "db-0", strings.Repeat("e", 64))
	s := h.scanner()
	if got := labels(s); got != "prod/db-0 shop/web-5d9c host" {
		t.Errorf("labels %q", got)
	}
}

// stored is a list of containers/storage.
func stored(id, name string) string {
	return `[{"id":"` + id + `","names":["` + name + `"],"image":"x","layer":"y","metadata":"{}","created":"2026-01-01T00:00:00Z"},{"id":"x"}]`
}

// TestStorage: names of all drivers, also of containers that go when they end.
func TestStorage(t *testing.T) {
	h := newHost(t)
	h.process(20, 100, "httpd", "0::/machine.slice/libpod-"+idA+".scope/container", 10)
	h.process(21, 101, "httpd", "0::/machine.slice/libpod-"+idB+".scope/container", 10)
	h.process(22, 102, "httpd", "0::/machine.slice/libpod-"+idC+".scope/container", 10)
	h.write("/var/lib/containers/storage/overlay-containers/containers.json", stored(idA, "web"))
	h.write("/var/lib/containers/storage/btrfs-containers/volatile-containers.json", stored(idB, "once"))
	h.write("/run/containers/storage/vfs-containers/volatile-containers.json", stored(idC, "until-boot"))
	h.write("/run/containers/storage/overlay-containers/containers.json", "[{")
	if got := labels(h.scanner()); got != "once until-boot web host" {
		t.Errorf("labels %q", got)
	}
}

// TestUsers: names that users gave, by their sockets and lists; what a user makes of these does not stop us.
func TestUsers(t *testing.T) {
	h := newHost(t)
	const scope = "0::/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-"
	h.process(20, 100, "httpd", scope+idA+".scope/container", 10)
	h.process(21, 101, "httpd", scope+idB+".scope/container", 10)
	h.process(22, 102, "httpd", "0::/machine.slice/libpod-"+idC+".scope/container", 10)
	h.write("/etc/passwd", "root:x:0:0::/root:/bin/sh\nann:x:1000:1000::/home/ann:/bin/sh\nbob:x:1001:1001::/home/bob:/bin/sh\n")
	h.engine("/run/user/1000/podman/podman.sock", func() []fakeContainer { return []fakeContainer{{ID: idA, Name: "hers"}, {ID: idC, Name: "lie"}} })
	h.write("/run/user/1001/x", "")
	h.write("/home/bob/.local/share/containers/storage/vfs-containers/containers.json", stored(idB, "his"))
	h.write("/var/lib/containers/storage/overlay-containers/containers.json", stored(idC, "roots"))
	if err := unix.Mkfifo(h.root+"/home/bob/.local/share/containers/storage/vfs-containers/a-containers.json", 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/dev/zero", h.root+"/home/bob/.local/share/containers/storage/vfs-containers/b-containers.json"); err != nil {
		t.Fatal(err)
	}
	if got := labels(h.scanner()); got != "hers his roots host" {
		t.Errorf("labels %q", got)
	}
}

// TestGuests: a container is in the namespace where its processes are, also if no runtime says so.
func TestGuests(t *testing.T) {
	h := newHost(t)
	h.process(20, 100, "nginx", "0::/machine.slice/libpod-"+idA+".scope", 10)
	h.process(21, 100, "sh", "0::/machine.slice/libpod-"+idB+".scope", 11)
	h.write("/var/lib/containers/storage/overlay-containers/containers.json", stored(idA, "web"))
	h.write("/var/lib/containers/storage/vfs-containers/containers.json", stored(idB, "debug"))
	s := h.scanner()
	if n := s.namespaces()[0]; n.Label != "web" || !n.Has("debug") || !n.Has(idB) || len(n.Guests) != 1 {
		t.Errorf("%s has guests %v", n.Label, n.Guests)
	}
	h.remove("/proc/21")
	h.rescan(s)
	if n := s.namespaces()[0]; n.Has("debug") {
		t.Errorf("it has guests %v after they ended", n.Guests)
	}
	h.process(22, 100, "sh", "0::/machine.slice/libpod-"+idB+".scope", 12)
	if !s.executed(22) || !slices.ContainsFunc(s.namespaces(), func(n Namespace) bool { return n.Has("debug") }) {
		t.Error("the guest that has begun is not there")
	}
}

// TestParseMessage: what is cut off anywhere is refused or shorter, never wrong.
func TestParseMessage(t *testing.T) {
	whole := field(1, []byte("id"))
	whole = append(whole, 2<<3, 0x96, 1)                  // varint
	whole = append(whole, 3<<3|5, 1, 2, 3, 4)             // 32 bits
	whole = append(whole, 4<<3|1, 1, 2, 3, 4, 5, 6, 7, 8) // 64 bits
	whole = append(whole, field(5, []byte("end"))...)
	m, err := parseMessage(whole)
	if err != nil || string(m.last(1)) != "id" || string(m.last(5)) != "end" || m.last(2) != nil {
		t.Errorf("%v, %v", m, err)
	}
	bounds := []int{0, 4, 7, 12, 21, len(whole)}
	for n := range whole {
		if _, err := parseMessage(whole[:n]); (err == nil) != slices.Contains(bounds, n) {
			t.Errorf("first %d bytes: %v", n, err)
		}
	}
	if _, err := parseMessage([]byte{1<<3 | 6}); err == nil {
		t.Error("a field of an unknown form was accepted")
	}
}

// TestStrays: a file that is no namespace for long is told; one of the same name that was just made is not.
func TestStrays(t *testing.T) {
	h := newHost(t)
	h.netns("/run/netns/other")
	link := func() { // on the file system of the fake host, what is a file is a namespace
		if err := os.Symlink("nowhere", h.root+"/run/netns/test"); err != nil {
			t.Fatal(err)
		}
	}
	link()
	s := h.scanner()
	if got := s.strayNames(); len(got) != 0 {
		t.Errorf("%q at once", got)
	}
	for path, one := range s.strays {
		one.since = one.since.Add(-strayAfter)
		s.strays[path] = one
	}
	h.rescan(s)
	if got := s.strayNames(); !slices.Equal(got, []string{"/run/netns/test"}) {
		t.Errorf("%q after long", got)
	}
	h.remove("/run/netns/test")
	link()
	h.rescan(s)
	if got := s.strayNames(); len(got) != 0 {
		t.Errorf("%q of one that was just made", got)
	}
}
