package deploy

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestInstall: make install puts everything where it is looked for, and make uninstall takes it away.
func TestInstall(t *testing.T) {
	dir := t.TempDir()
	made := func(target string) {
		t.Helper()
		cmd := exec.Command("make", "-C", "../../..", target, "DESTDIR="+dir, "PREFIX=/opt/netobs", "NETOBS="+mustBuild(t))
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
	}
	made("install")
	at := filepath.Join(dir, "opt/netobs")
	for _, file := range []string{"bin/netobs", "lib/systemd/system/netobs.service", "lib/systemd/system/netobs.socket",
		"share/man/man1/netobs.1", "share/man/man1/netobs-attach.1", "share/bash-completion/completions/netobs",
		"share/zsh/site-functions/_netobs", "share/fish/vendor_completions.d/netobs.fish"} {
		if info, err := os.Stat(filepath.Join(at, file)); err != nil || info.Size() == 0 {
			t.Errorf("%s: %v, %v", file, info, err)
		}
	}
	unit, err := os.ReadFile(filepath.Join(at, "lib/systemd/system/netobs.service"))
	if err != nil || !strings.Contains(string(unit), "\nExecStart=/opt/netobs/bin/netobs attach ") {
		t.Errorf("%v: the unit does not start what was installed:\n%s", err, unit)
	}
	if out, err := exec.Command(filepath.Join(at, "bin/netobs"), "version").CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	made("uninstall")
	filepath.WalkDir(dir, func(path string, entry os.DirEntry, err error) error {
		if err != nil || !entry.IsDir() {
			t.Errorf("%s is left, %v", path, err)
		}
		return nil
	})
}
