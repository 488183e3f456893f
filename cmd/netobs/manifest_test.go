package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"netobs/cmd/netobs/deploy"
)

func TestManifest(t *testing.T) {
	for _, k := range deploy.Kinds {
		code, stdout, stderr := runHere(t, "manifest", k.Name)
		if code != 0 || stderr != "" {
			t.Errorf("%s: code %d, %s", k.Name, code, stderr)
		}
		dir := filepath.Join(t.TempDir(), "new", k.Name)
		for range 2 { // what is there is replaced
			if code, _, stderr := runHere(t, "manifest", k.Name, "--to", dir); code != 0 || stderr != "" {
				t.Errorf("%s: code %d, %s", k.Name, code, stderr)
			}
		}
		files := k.Files()
		if len(files) == 0 {
			t.Errorf("%s: no files", k.Name)
		}
		for _, f := range files {
			written, err := os.ReadFile(filepath.Join(dir, f.Name))
			if err != nil || string(written) != string(f.Content) {
				t.Errorf("%s: %v", f.Name, err)
			}
			if !strings.Contains(stdout, "# "+f.Name+"\n"+string(f.Content)) {
				t.Errorf("%s is not printed", f.Name)
			}
		}
		self, err := os.Stat(filepath.Join(dir, "netobs"))
		if k.Binary != (err == nil && self.Mode() == 0o755) {
			t.Errorf("%s: netobs is there: %v, %v", k.Name, self, err)
		}
	}
	checkRefused(t, exitUsage, []string{"systemd, docker, compose, kubernetes"}, "manifest")
	checkRefused(t, exitUsage, []string{`no manifest "helm"`, "systemd, docker"}, "manifest", "helm")
	checkRefused(t, exitFailed, []string{"write manifest", "/proc/none"}, "manifest", "systemd", "--to", "/proc/none")
}
