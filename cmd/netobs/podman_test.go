package main

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"netobs/loader/nettest"
	"netobs/loader/wiring"
)

// TestPodman: a real container on a real bridge is watched by its name, through a restart, and by the name of another one that
// uses its network; also where there is cgroup version 2 alone. Nobody listens on Podman's socket: the names are those of its files.
func TestPodman(t *testing.T) {
	p := nettest.NewPodman(t)
	name := func(s string) string { return fmt.Sprintf("%s-%d", s, os.Getpid()) }
	web, guest, modern := name("web"), name("guest"), name("modern")
	id := p.Run(web, 80)

	s := startAttach(t, "--container", web)
	answers := func() {
		t.Helper()
		s.waitFor(3, "observation_points", label("netns", web)) // lo, and both ways of eth0
		s.waitForHandshake(web, get(t, p.NS, p.Address(web)+":80"))
	}
	answers()
	p.Restart(web)
	answers()

	p.Run(guest, 81, "--network", "container:"+web)
	g := startAttach(t, "--container", guest)
	g.waitFor(3, "observation_points", label("netns", web))

	v2 := *p
	v2.CgroupV2 = true
	v2.Run(modern, 80)
	m := startAttach(t, "--container", modern)
	m.waitFor(3, "observation_points", label("netns", modern))

	_, stdout, _ := runHere(t, "namespaces", "--output", "json")
	var host wiring.Host
	if err := json.Unmarshal([]byte(stdout), &host); err != nil {
		t.Fatal(err)
	}
	if !slices.ContainsFunc(host.Namespaces, func(n *wiring.Namespace) bool {
		return n.Name == web && n.Container != nil && n.Container.ID == id && n.Process == "busybox" &&
			len(n.Guests) == 1 && n.Guests[0].Name == guest
	}) {
		t.Errorf("no namespace of %s, %s, in\n%s", web, id, stdout)
	}
	for _, log := range []string{s.end(), g.end(), m.end()} {
		if strings.Contains(log, "level=ERROR") {
			t.Errorf("netobs logged\n%s", log)
		}
	}
}
