package main

import (
	"fmt"
	"slices"

	"golang.org/x/sys/unix"
	"kernel.org/pub/linux/libs/security/libcap/cap"

	"netobs/loader"
)

// restrict gives up the privileges that only attaching took. Where netobs runs beside other things in one process, it gives up
// nothing.
func (t *target) restrict(l *loader.Loader) error {
	keep := l.Privileges()
	if t.unprivileged {
		if err := l.Freeze(); err != nil {
			return fmt.Errorf("%w: leave --drop-privileges out, or choose --hook tcx or xdp if the kernel has them", err)
		}
		keep = nil
	}
	if !ownsProcess {
		return nil
	}
	if err := keepOnly(keep); err != nil {
		return fmt.Errorf("give up privileges: %w", err)
	}
	if !t.unprivileged {
		return nil
	}
	if _, err := l.Stats(); err != nil {
		return fmt.Errorf("without privileges this kernel (%s) does not let netobs read what it counts: leave --drop-privileges out: %v",
			kernelRelease(), err)
	}
	return nil
}

// keepOnly leaves all threads of the process, and whatever it may start, no other capabilities than those of keep that it has.
func keepOnly(keep []uintptr) error {
	has := cap.GetProc()
	may, err := has.GetFlag(cap.Effective, cap.SETPCAP)
	if err != nil {
		return err
	}
	set := cap.NewSet()
	for c := range cap.MaxBits() {
		if slices.Contains(keep, uintptr(c)) {
			permitted, err := has.GetFlag(cap.Permitted, c)
			if err != nil {
				return err
			}
			if err := set.SetFlag(cap.Permitted, permitted, c); err != nil {
				return err
			}
			if err := set.SetFlag(cap.Effective, permitted, c); err != nil {
				return err
			}
			continue
		}
		// Who may not lower the bounding set is kept from using it by no_new_privs.
		if bound, err := cap.GetBound(c); may && err == nil && bound {
			if err := cap.DropBound(c); err != nil {
				return err
			}
		}
	}
	if _, err := cap.Prctlw(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return err
	}
	return set.SetProc()
}
