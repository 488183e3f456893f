package loader

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"netobs/bpf"
	"netobs/loader/nettest"
)

func mustOwner(t *testing.T) (*owner, uint32) {
	t.Helper()
	nettest.NeedPrivileges(t)
	o, err := newOwner()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { o.close() })
	id, err := o.id()
	if err != nil {
		t.Fatal(err)
	}
	return o, id
}

func TestOwner(t *testing.T) {
	t.Parallel()
	o, id := mustOwner(t)
	other, otherID := mustOwner(t)
	defer other.close()
	for _, n := range []uint32{id, otherID} {
		if lives, err := ownerLives(n); err != nil || !lives {
			t.Errorf("an owner that is there: %v, %v", lives, err)
		}
	}
	if err := o.close(); err != nil {
		t.Fatal(err)
	}
	if lives, err := ownerLives(id); err != nil || lives {
		t.Errorf("an owner that is gone: %v, %v", lives, err)
	}
	for _, n := range []uint32{0, 1<<31 - 1} {
		if lives, err := ownerLives(n); err != nil || lives {
			t.Errorf("owner %d, that never was: %v, %v", n, lives, err)
		}
	}
}

// setting is a file that behaves as the one in /sys.
type setting struct {
	t    *testing.T
	path string
}

func newSetting(t *testing.T, value int) setting {
	s := setting{t, filepath.Join(t.TempDir(), "setting")}
	s.write(value)
	return s
}

func (s setting) write(value int) {
	s.t.Helper()
	if err := os.WriteFile(s.path, fmt.Appendln(nil, value), 0o600); err != nil {
		s.t.Fatal(err)
	}
}

func (s setting) want(value int) {
	s.t.Helper()
	if got, err := readSetting(s.path); err != nil || got != value {
		s.t.Errorf("setting is %d, %v, want %d", got, err, value)
	}
}

func (s setting) hurry(id uint32) (restore func()) {
	s.t.Helper()
	done, err := hurry(s.path, id)
	if err != nil {
		s.t.Fatal(err)
	}
	return func() {
		s.t.Helper()
		if err := done(); err != nil {
			s.t.Error(err)
		}
	}
}

// restored checks whether a later netobs puts the setting right.
func (s setting) restored(want bool) {
	s.t.Helper()
	if got, err := restoreSetting(s.path); err != nil || got != want {
		s.t.Errorf("restored: %v, %v, want %v", got, err, want)
	}
}

func TestHurry(t *testing.T) {
	t.Parallel()
	o, id := mustOwner(t)
	_, other := mustOwner(t)
	first, second := int(hurryMark|id), int(hurryMark|other)

	t.Run("alone", func(t *testing.T) {
		s := newSetting(t, 0)
		restore := s.hurry(id)
		s.want(first)
		restore()
		s.want(0)
		s.write(1) // by an administrator
		restore()
		s.want(1)
	})
	t.Run("somebody else's", func(t *testing.T) {
		for _, value := range []int{1, 2, -1} {
			s := newSetting(t, value)
			restore := s.hurry(id)
			s.want(value)
			restore()
			s.want(value)
			s.restored(false)
			s.want(value)
		}
	})
	t.Run("two, the first ends first", func(t *testing.T) {
		s := newSetting(t, 0)
		restoreFirst, restoreSecond := s.hurry(id), s.hurry(other)
		s.want(second)
		restoreFirst()
		s.want(second)
		restoreSecond()
		s.want(0)
	})
	t.Run("two, the second ends first", func(t *testing.T) {
		s := newSetting(t, 0)
		restoreFirst, restoreSecond := s.hurry(id), s.hurry(other)
		restoreSecond()
		s.want(0)
		restoreFirst()
		s.want(0)
	})
	t.Run("no such setting", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "none", "setting")
		if _, err := hurry(path, id); err == nil {
			t.Error("no error where it cannot be written")
		}
		if restored, err := restoreSetting(path); restored || err != nil {
			t.Errorf("restored %v, %v where there is nothing", restored, err)
		}
	})
	t.Run("killed", func(t *testing.T) {
		s := newSetting(t, 0)
		s.hurry(id)
		s.restored(false) // it lives
		s.want(first)
		if err := o.close(); err != nil { // as the end of the process does
			t.Fatal(err)
		}
		restore := s.hurry(other) // another one takes over, and puts it back
		restore()
		s.want(0)
		s.write(first)
		s.restored(true)
		s.want(0)
	})
}

// TestKernelTakesAnyNumber: what is written to the real setting is what is read.
func TestKernelTakesAnyNumber(t *testing.T) {
	_, id := mustOwner(t)
	before, err := readSetting(rcuExpedited)
	if err != nil {
		t.Fatal(err)
	}
	if _, netobs := hurriedBy(before); before != 0 && !netobs {
		t.Fatalf("%s is %d here: set it to 0, or this cannot be tested", rcuExpedited, before)
	}
	restore, err := hurry(rcuExpedited, id)
	if err != nil {
		t.Fatal(err)
	}
	now, err := readSetting(rcuExpedited)
	if got, netobs := hurriedBy(now); err != nil || !netobs || got != id {
		// Another test may have written its own meanwhile.
		if lives, _ := ownerLives(got); !lives {
			t.Errorf("wrote id %d, read %d, %v", id, now, err)
		}
	}
	if err := restore(); err != nil {
		t.Error(err)
	}
	if now, err := readSetting(rcuExpedited); err != nil || now == int(hurryMark|id) {
		t.Errorf("setting after restore: %d, %v", now, err)
	}
}

// TestRestoresToStay: what only tries whether netobs works here, as netobs check does, attaches and leaves the setting alone.
func TestRestoresToStay(t *testing.T) {
	t.Parallel()
	dead, id := mustOwner(t)
	if err := dead.close(); err != nil {
		t.Fatal(err)
	}
	s := newSetting(t, int(hurryMark|id))
	a := nettest.New(t, "a")
	l, err := New(Options{Netns: []Netns{mustFind(t, a.Name)}, BPF: bpf.Options{RingBytes: 64 << 10, Flows: 1 << 10}})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	l.setting = s.path
	if err := l.Attach(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.want(int(hurryMark | id))
	ended, end := context.WithCancel(t.Context())
	end()
	if err := l.Follow(ended); err != nil {
		t.Fatal(err)
	}
	s.want(0)
}
