package loader

import (
	"errors"
	"slices"
	"time"

	"github.com/cilium/ebpf"
)

// Closing a TCX link takes some 10 ms, so closing many hurries: see rcuExpedited.
const hurryAbove = 100 // points

// Freed programs of netobs per time: the kernel frees them in the background, and more than a thousand that wait for it
// while another program is being loaded have been seen to block Linux 6.18 for good.
const (
	freedAtOnce = 50
	freedEvery  = 10 * time.Millisecond
)

// pacer closes programs, not too many at once.
type pacer struct {
	since time.Time
	freed int
}

func (p *pacer) close(front *ebpf.Program) error {
	if now := time.Now(); now.Sub(p.since) > freedEvery {
		p.since, p.freed = now, 0
	}
	if p.freed == freedAtOnce {
		time.Sleep(freedEvery - time.Since(p.since))
		p.since, p.freed = time.Now(), 0
	}
	p.freed++
	return front.Close()
}

// detachAll closes all points, in reverse order.
func (l *Loader) detachAll() error {
	clear(l.pending)
	points := 0
	for _, ns := range l.namespaces {
		for _, i := range ns.links {
			points += len(i.points)
		}
	}
	return l.hurryIf(points > hurryAbove, func() error {
		var errs []error
		for _, ns := range slices.Backward(l.namespaces) {
			for _, i := range slices.Backward(ns.sorted()) {
				errs = append(errs, l.detachIface(ns, i))
			}
		}
		return errors.Join(errs...)
	})
}

// hurryIf calls f while the kernel hurries, if it is to. That it does not is no reason not to call f, and said once.
func (l *Loader) hurryIf(is bool, f func() error) error {
	if !is {
		return f()
	}
	restore, err := l.hurry()
	if err != nil {
		if !l.cannotHurry {
			l.log.Warn("attaching and detaching take 10 ms for each point, as the kernel cannot be told to hurry", "err", err)
		}
		l.cannotHurry = true
		return f()
	}
	defer func() {
		if err := restore(); err != nil {
			l.log.Error("the kernel still hurries; write 0 to "+l.setting, "err", err)
		}
	}()
	return f()
}

func (l *Loader) hurry() (restore func() error, err error) {
	owner, err := l.owner()
	if err != nil {
		return nil, err
	}
	id, err := owner.id()
	if err != nil {
		return nil, err
	}
	return hurry(l.setting, id)
}
