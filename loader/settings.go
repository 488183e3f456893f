package loader

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
)

// rcuExpedited makes the kernel hurry when it waits for all CPUs to have seen a change, if it is not 0. Each TCX link waits
// so twice, when it is attached and when it is closed, for some 10 ms; hurried, 0.03 ms, at the price of an interrupt on
// every CPU.
const rcuExpedited = "/sys/kernel/rcu_expedited"

// hurryMark with the id of an owner's map is what netobs writes there: all that the kernel asks is whether it is 0, so the
// value can say who will have to put it back. Ids are given one after another; none has got as far as the mark.
const hurryMark = 1 << 30

// hurry raises the setting at path until the result is called, which may be more than once. Somebody else's value is left
// alone: then there is nothing to do, and nothing to put back.
func hurry(path string, id uint32) (restore func() error, err error) {
	if id >= hurryMark {
		return nil, fmt.Errorf("raise %s: BPF map id %d is too large to note who did it", path, id)
	}
	now, err := readSetting(path)
	if err != nil {
		return nil, err
	}
	if _, netobs := hurriedBy(now); now != 0 && !netobs {
		return func() error { return nil }, nil
	}
	if err := writeSetting(path, int(hurryMark|id)); err != nil {
		return nil, err
	}
	return sync.OnceValue(func() error {
		// Another netobs may have taken over: it will put it back.
		if now, err := readSetting(path); err != nil || now != int(hurryMark|id) {
			return err
		}
		return writeSetting(path, 0)
	}), nil
}

// RestoreSettings puts back what a netobs that was killed while it hurried has left of /sys/kernel/rcu_expedited. It
// returns whether it had to.
func RestoreSettings() (bool, error) { return restoreSetting(rcuExpedited) }

// restoreSettings does so for a loader that is to stay; one that only tries what works leaves things as they are.
func (l *Loader) restoreSettings() {
	restored, err := restoreSetting(l.setting)
	if restored {
		l.log.Warn("a netobs that was killed had left the kernel hurrying: restored", "setting", l.setting)
	}
	if err != nil {
		l.log.Warn("cannot look whether a netobs that was killed left the kernel hurrying", "err", err)
	}
}

func restoreSetting(path string) (bool, error) {
	now, err := readSetting(path)
	if err != nil {
		return false, err
	}
	id, netobs := hurriedBy(now)
	if !netobs {
		return false, nil
	}
	lives, err := ownerLives(id)
	if err != nil || lives {
		return false, err
	}
	return true, writeSetting(path, 0)
}

// SettingLeft returns the value of /sys/kernel/rcu_expedited, and whether it is what a netobs that was killed has left.
func SettingLeft() (left bool, value int, err error) {
	value, err = readSetting(rcuExpedited)
	if err != nil {
		return false, 0, err
	}
	id, netobs := hurriedBy(value)
	if !netobs {
		return false, value, nil
	}
	lives, err := ownerLives(id)
	return !lives && err == nil, value, err
}

// hurriedBy returns the id of the owner that wrote a value of the setting, or false if it was not netobs.
func hurriedBy(value int) (id uint32, netobs bool) {
	return uint32(value) &^ hurryMark, value > 0 && value&hurryMark != 0
}

func writeSetting(path string, value int) error {
	if err := os.WriteFile(path, []byte(strconv.Itoa(value)), 0o644); err != nil {
		return fmt.Errorf("write a setting: %w", err)
	}
	return nil
}

// readSetting returns 0 if the kernel has no such setting.
func readSetting(path string) (int, error) {
	text, err := os.ReadFile(path)
	if os.IsNotExist(err) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("read a setting: %w", err)
	}
	n, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		return 0, fmt.Errorf("read setting %s: %w", path, err)
	}
	return n, nil
}
