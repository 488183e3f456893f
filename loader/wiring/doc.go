// Package wiring looks at the networks of the host once: the network namespaces, the interfaces in each, which veth is
// the other end of which, which interface is a port of which bridge, and who has attached BPF programs to them.
package wiring
