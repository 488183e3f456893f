package loader

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/cilium/ebpf"
)

// An owner is what tells this process from a netobs that was killed, in what outlives a process: filters on a clsact
// qdisc, settings of the kernel. It is a BPF map that nothing but this process refers to, so that the kernel removes it
// with the process, and its id stays unused for the next 2^31 maps.
type owner struct{ m *ebpf.Map }

// newOwner: the caller closes the result.
func newOwner() (*owner, error) {
	m, err := ebpf.NewMap(&ebpf.MapSpec{
		Name:       "netobs_owner",
		Type:       ebpf.Array,
		KeySize:    4,
		ValueSize:  4,
		MaxEntries: 1,
	})
	if err != nil {
		return nil, fmt.Errorf("make a BPF map: %w", err)
	}
	return &owner{m}, nil
}

// id is less than 2^31.
func (o *owner) id() (uint32, error) {
	info, err := o.m.Info()
	if err != nil {
		return 0, fmt.Errorf("identify a BPF map: %w", err)
	}
	id, ok := info.ID()
	if !ok {
		return 0, fmt.Errorf("identify a BPF map: %w", ebpf.ErrNotSupported)
	}
	return uint32(id), nil
}

func (o *owner) close() error { return o.m.Close() }

// ownerLives reports whether the owner with this id is there. It takes no reference, which would keep it alive. Needs
// CAP_SYS_ADMIN.
func ownerLives(id uint32) (bool, error) {
	if id == 0 {
		return false, nil
	}
	next, err := ebpf.MapGetNextID(ebpf.MapID(id - 1))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("look for BPF maps: %w", err)
	}
	return uint32(next) == id, nil
}
