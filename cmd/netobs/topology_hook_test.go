package main

import (
	"testing"

	"netobs/loader"
)

// The rule does not know at which hook a point is.
func TestTopologyHooks(t *testing.T) {
	t.Parallel()
	// An interface on top of which another one has an XDP program can have none: there, tcx stands in.
	ladders := [][]string{{loader.HookXDP, loader.HookTCX}, {loader.HookTC}}
	if testing.Short() {
		ladders = ladders[:1]
	}
	for _, hooks := range ladders {
		t.Run(hooks[0], func(t *testing.T) {
			t.Parallel()
			for _, c := range []struct {
				name string
				test func(t *testing.T, hooks ...string)
			}{
				{"lo", topologyLoopback},
				{"bridge", topologyBridge},
				{"host stack", topologyHostStack},
				{"bystander", topologyFlood},
				{"VLAN", topologyVLAN},
				{"owner deleted", topologyOwnerDeleted},
				{"veth moved", topologyVethMoved},
				{"macvlan", topologyMacvlanOfContainer},
				{"cut differently", topologyCut},
				{"routed", topologyRouted},
				{"masquerade", topologyMasquerade},
			} {
				t.Run(c.name, func(t *testing.T) { c.test(t, hooks...) })
			}
		})
	}
}
