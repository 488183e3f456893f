package preflight

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"netobs/bpf"
	"netobs/loader"
)

// checkHooks loads and attaches the real programs with each hook.
func checkHooks(ctx context.Context) (findings []Finding, can bool) {
	path, end, err := privateNetns()
	if err != nil {
		return []Finding{{
			About: "kernel", Name: "network namespace", State: Missing, Detail: oneLine(err),
			Remedy: "run netobs with CAP_SYS_ADMIN, which it takes to enter namespaces",
		}}, false
	}
	defer end()
	for _, hook := range []struct{ name, instead string }{
		{loader.HookTCX, "nothing to do: netobs takes tc instead"},
		{loader.HookTC, "load the kernel modules sch_ingress and cls_bpf, if tcx is missing, too"},
		{loader.HookXDP, "nothing to do: netobs takes it only when asked to"},
	} {
		f := Finding{About: "hook", Name: hook.name, State: OK}
		if err := tryHook(ctx, path, hook.name); err != nil {
			f.State, f.Detail, f.Remedy = Note, oneLine(err), hook.instead
			if errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES) {
				f.Remedy = "run netobs with the capabilities below"
			}
		} else {
			f.Detail = "programs load and attach"
			can = can || hook.name != loader.HookXDP
		}
		findings = append(findings, f)
	}
	if !can {
		for i := range findings {
			if findings[i].State == Note && findings[i].Name != loader.HookXDP {
				findings[i].State = Missing
			}
		}
	}
	return findings, can
}

// tryHook attaches to the loopback interface of a namespace, and detaches.
func tryHook(ctx context.Context, path, hook string) error {
	ns, err := loader.FindNetns(path)
	if err != nil {
		return err
	}
	var complaint lastMessage
	l, err := loader.New(loader.Options{
		Netns: []loader.Netns{ns},
		Hooks: []string{hook},
		BPF:   bpf.Options{RingBytes: 64 << 10, Flows: 1 << 10},
		Log:   slog.New(&complaint),
	})
	if err != nil {
		return err
	}
	defer l.Close()
	if err := l.Attach(ctx); err != nil {
		return err
	}
	for _, i := range l.Interfaces() {
		if i.Watched {
			return l.Close()
		}
	}
	if complaint.err != nil {
		return complaint.err
	}
	return fmt.Errorf("cannot attach: %w", ebpf.ErrNotSupported)
}

// lastMessage keeps the error of the last message that has one.
type lastMessage struct {
	slog.Handler
	err error
}

func (m *lastMessage) Enabled(context.Context, slog.Level) bool { return true }

func (m *lastMessage) Handle(_ context.Context, r slog.Record) error {
	r.Attrs(func(a slog.Attr) bool {
		if err, ok := a.Value.Any().(error); ok && a.Key == "err" {
			m.err = err
		}
		return true
	})
	return nil
}

// privateNetns makes a network namespace that nobody else uses, and returns a path to it. It is gone after end.
func privateNetns() (path string, end func(), err error) {
	made, done := make(chan error), make(chan struct{})
	var tid int
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		tid = unix.Gettid()
		made <- unix.Unshare(unix.CLONE_NEWNET)
		<-done
	}()
	end = func() { close(done) }
	if err := <-made; err != nil {
		end()
		return "", nil, fmt.Errorf("make a network namespace: %w", err)
	}
	return fmt.Sprintf("/proc/self/task/%d/ns/net", tid), end, nil
}
