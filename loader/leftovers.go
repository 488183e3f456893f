package loader

import (
	"errors"
	"fmt"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Leftovers are the tc filters that netobs has on an interface, as RemoveLeftovers found them.
type Leftovers struct {
	Interface string
	Removed   int // of a netobs that was killed
	InUse     int // of a netobs that is running, or that cannot be told from one: left alone
}

// CountFilters tells people how many there are.
func CountFilters(n int) string {
	if n == 1 {
		return "1 filter"
	}
	return fmt.Sprintf("%d filters", n)
}

// RemoveLeftovers removes from a namespace what a netobs that was killed left there: its filters, and the clsact qdiscs
// that it made if nobody else uses them. Nothing else outlives a netobs, but the setting that RestoreSettings puts right.
// It returns the interfaces that have any. Needs CAP_SYS_ADMIN and CAP_NET_ADMIN.
func RemoveLeftovers(ns *Netns) (all []Leftovers, err error) {
	err = ns.Do(func() error {
		all, err = removeLeftovers()
		return err
	})
	if err != nil {
		return all, fmt.Errorf("remove what was left in %s: %w", ns.Name, err)
	}
	return all, nil
}

// FindLeftovers tells what RemoveLeftovers would remove.
func FindLeftovers(ns *Netns) (all []Leftovers, err error) {
	err = ns.Do(func() error {
		all, err = leftovers(false)
		return err
	})
	if err != nil {
		return all, fmt.Errorf("look for what was left in %s: %w", ns.Name, err)
	}
	return all, nil
}

// removeLeftovers does so in the namespace that the calling thread is in.
func removeLeftovers() ([]Leftovers, error) { return leftovers(true) }

// leftovers finds them in the namespace that the calling thread is in, and removes them if asked to.
func leftovers(remove bool) ([]Leftovers, error) {
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("open rtnetlink socket: %w", err)
	}
	defer h.Close()
	qdiscs, err := listQdiscs(h, nil)
	if err != nil {
		return nil, err
	}
	var all []Leftovers
	var errs []error
	for _, q := range qdiscs {
		if q.Type() != "clsact" {
			continue
		}
		found, err := deadFilters(h, q.Attrs().LinkIndex, remove)
		errs = append(errs, err)
		if found.Removed+found.InUse > 0 {
			found.Interface = nameOf(h, q.Attrs().LinkIndex)
			all = append(all, found)
		}
	}
	return all, errors.Join(errs...)
}

// deadFilters counts the filters of an interface whose owner is gone, and removes them if asked to.
func deadFilters(h *netlink.Handle, index int, remove bool) (found Leftovers, err error) {
	var dead []*netlink.BpfFilter
	for _, parent := range tcParents {
		filters, err := listFilters(h, index, parent)
		if err != nil {
			return found, err
		}
		for _, f := range filters {
			b, ok := f.(*netlink.BpfFilter)
			if !ok || !isOurs(b) {
				continue
			}
			lives, err := ownerLives(b.Handle &^ tcHandleMark)
			if err != nil {
				return found, err
			}
			if lives {
				found.InUse++
				continue
			}
			dead = append(dead, b)
		}
	}
	if remove {
		if err := removeFilters(h, index, dead); err != nil {
			return found, err
		}
	}
	found.Removed = len(dead)
	return found, nil
}

func nameOf(h *netlink.Handle, index int) string {
	if link, err := h.LinkByIndex(index); err == nil {
		return printable(link.Attrs().Name)
	}
	return fmt.Sprintf("interface %d", index)
}
