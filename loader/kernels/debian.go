package main

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// releases are the kernels by name, and the Debian releases that have them.
var releases = []struct{ name, suite string }{
	{"5.10", "bullseye"},
	{"6.1", "bookworm"},
	{"6.12", "trixie"},
	{"newest", "sid"},
}

func suiteOf(name string) (string, error) {
	var names []string
	for _, r := range releases {
		if r.name == name {
			return r.suite, nil
		}
		names = append(names, r.name)
	}
	return "", fmt.Errorf("no kernel is called %q; there are %s", name, strings.Join(names, ", "))
}

// A kernel is unpacked in a directory: boot/vmlinuz-RELEASE and lib/modules/RELEASE, perhaps under usr.
type kernel struct {
	name    string // of releases
	release string // as uname -r says
	dir     string
}

func (k kernel) String() string { return fmt.Sprintf("%s (%s)", k.name, k.release) }

func (k kernel) image() string { return filepath.Join(k.dir, "boot", "vmlinuz-"+k.release) }

// freshFor is how long a kernel is taken from the cache without asking whether there is a newer one.
const freshFor = 7 * 24 * time.Hour

// fetch returns a kernel from the cache or the mirror. May be called concurrently, and by several processes.
func fetch(ctx context.Context, cache string, m machine, name string) (kernel, error) {
	suite, err := suiteOf(name)
	if err != nil {
		return kernel{}, err
	}
	dir := filepath.Join(cache, m.arch, suite)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return kernel{}, err
	}
	lock, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return kernel{}, err
	}
	defer lock.Close() // ends the lock
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX); err != nil {
		return kernel{}, fmt.Errorf("lock %s: %w", lock.Name(), err)
	}
	current := filepath.Join(dir, "current")
	old, haveErr := unpacked(name, current)
	if haveErr == nil && time.Since(modified(current)) < freshFor {
		return old, nil
	}
	fetchErr := download(ctx, filepath.Join(dir, "apt"), m, suite, filepath.Join(dir, "new"))
	switch {
	case fetchErr == nil:
		if _, err := unpacked(name, filepath.Join(dir, "new")); err != nil {
			return kernel{}, err
		}
		if err := replace(filepath.Join(dir, "new"), current); err != nil {
			return kernel{}, err
		}
	case haveErr == nil:
		fmt.Fprintf(os.Stderr, "kernels: cannot look for a newer kernel %s, taking the one from before: %v\n", name, fetchErr)
		return old, nil
	default:
		return kernel{}, fmt.Errorf("get kernel %s, Debian %s, for %s: %w: the machine needs apt and a Debian mirror; "+
			"KERNELS_MIRROR names another mirror, KERNELS_DIR a directory that has the kernels", name, suite, m.arch, fetchErr)
	}
	return unpacked(name, current)
}

func modified(path string) time.Time {
	info, err := os.Stat(path)
	if err != nil {
		return time.Time{}
	}
	return info.ModTime()
}

func replace(from, to string) error {
	if err := os.RemoveAll(to); err != nil {
		return err
	}
	return os.Rename(from, to)
}

// unpacked looks what kernel is in a directory. The error wraps fs.ErrNotExist if there is none.
func unpacked(name, dir string) (kernel, error) {
	images, _ := filepath.Glob(filepath.Join(dir, "boot", "vmlinuz-*")) // the pattern is good
	if len(images) == 0 {
		return kernel{}, fmt.Errorf("no kernel image in %s: %w", dir, fs.ErrNotExist)
	}
	slices.Sort(images)
	release := strings.TrimPrefix(filepath.Base(images[len(images)-1]), "vmlinuz-")
	return kernel{name: name, release: release, dir: dir}, nil
}

// An apt has its own lists and configuration of sources, so that the machine's stay as they are. All else, such as how to
// reach mirrors, is the machine's.
type apt struct{ dir, arch string }

func (a apt) command(ctx context.Context, tool string, args ...string) *exec.Cmd {
	args = append([]string{
		"-q",
		"-o", "Dir::Etc::SourceList=" + filepath.Join(a.dir, "sources.list"),
		"-o", "Dir::Etc::SourceParts=-",
		"-o", "Dir::State::Lists=" + filepath.Join(a.dir, "lists"),
		"-o", "Dir::State::Status=" + filepath.Join(a.dir, "status"),
		"-o", "Dir::Cache=" + filepath.Join(a.dir, "cache"),
		"-o", "APT::Architecture=" + a.arch,
		"-o", "APT::Architectures=" + a.arch,
		"-o", "APT::Sandbox::User=root",
		"-o", "APT::Update::Post-Invoke-Success=",
		"-o", "Acquire::Languages=none",
		"-o", "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false",
		"-o", "Acquire::IndexTargets::deb::Contents-deb::DefaultEnabled=false",
		"-o", "Acquire::Retries=3",
	}, args...)
	cmd := exec.CommandContext(ctx, tool, args...)
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	return cmd
}

// output runs a command and returns what it writes to stdout. The error has what it wrote to stderr.
func output(cmd *exec.Cmd) ([]byte, error) {
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("%s: %w: %s", filepath.Base(cmd.Path), err, bytes.TrimSpace(stderr.Bytes()))
	}
	return out, nil
}

const debianMirror = "http://deb.debian.org/debian"

// mirror returns what this machine uses for Debian itself, and the keys for it.
func mirror(ctx context.Context) (uri, keys string) {
	uri, keys = debianMirror, "/usr/share/keyrings/debian-archive-keyring.gpg"
	if m := os.Getenv("KERNELS_MIRROR"); m != "" {
		return m, keys
	}
	out, err := output(exec.CommandContext(ctx, "apt-get", "indextargets", "--format", "$(LABEL) $(REPO_URI)",
		"Created-By: Packages"))
	if err != nil {
		return uri, keys
	}
	for line := range strings.Lines(string(out)) {
		if label, repo, ok := strings.Cut(strings.TrimSpace(line), " "); ok && label == "Debian" {
			return strings.TrimSuffix(repo, "/"), keys
		}
	}
	return uri, keys
}

// download unpacks the kernel of a Debian release into dir.
func download(ctx context.Context, aptDir string, m machine, suite, dir string) error {
	a := apt{aptDir, m.arch}
	for _, d := range []string{"lists/partial", "cache/archives/partial"} {
		if err := os.MkdirAll(filepath.Join(a.dir, d), 0o755); err != nil {
			return err
		}
	}
	uri, keys := mirror(ctx)
	source := fmt.Sprintf("deb [signed-by=%s arch=%s] %s %s main\n", keys, m.arch, uri, suite)
	if err := errors.Join(
		os.WriteFile(filepath.Join(a.dir, "sources.list"), []byte(source), 0o644),
		os.WriteFile(filepath.Join(a.dir, "status"), nil, 0o644),
		os.RemoveAll(dir),
	); err != nil {
		return err
	}
	if _, err := output(a.command(ctx, "apt-get", "update", "--error-on=any")); err != nil {
		return err
	}
	names, err := a.packages(ctx, m.metaPackage)
	if err != nil {
		return err
	}
	tmp, err := os.MkdirTemp(a.dir, "deb")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	cmd := a.command(ctx, "apt-get", append([]string{"download"}, names...)...)
	cmd.Dir = tmp
	if _, err := output(cmd); err != nil {
		return err
	}
	debs, _ := filepath.Glob(filepath.Join(tmp, "*.deb")) // the pattern is good
	for _, deb := range debs {
		if err := unpack(ctx, deb, dir); err != nil {
			return fmt.Errorf("unpack %s: %w", filepath.Base(deb), err)
		}
	}
	return nil
}

// kernelPackage matches what holds parts of a kernel: image alone, or image, binary and modules.
var kernelPackage = regexp.MustCompile(`\blinux-(?:image|binary|modules)-[^\s,(]+`)

// packages returns what a meta package stands for.
func (a apt) packages(ctx context.Context, meta string) ([]string, error) {
	var names []string
	for todo := []string{meta}; len(todo) > 0; todo = todo[1:] {
		out, err := output(a.command(ctx, "apt-cache", "show", "--no-all-versions", todo[0]))
		if err != nil {
			return nil, err
		}
		for line := range strings.Lines(string(out)) {
			depends, ok := strings.CutPrefix(line, "Depends: ")
			if !ok {
				continue
			}
			for _, name := range kernelPackage.FindAllString(depends, -1) {
				if !slices.Contains(names, name) {
					names = append(names, name)
					todo = append(todo, name)
				}
			}
		}
	}
	if len(names) == 0 {
		return nil, fmt.Errorf("package %s depends on no kernel", meta)
	}
	return names, nil
}

// unpack takes the image and the modules out of a package.
func unpack(ctx context.Context, deb, dir string) error {
	cmd := exec.CommandContext(ctx, "dpkg-deb", "--fsys-tarfile", deb)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	err = untar(tar.NewReader(out), dir)
	if err != nil {
		cmd.Process.Kill() // it may be writing still
	}
	if waitErr := cmd.Wait(); waitErr != nil && err == nil {
		err = fmt.Errorf("dpkg-deb: %w: %s", waitErr, bytes.TrimSpace(stderr.Bytes()))
	}
	return err
}

func untar(r *tar.Reader, dir string) error {
	for {
		h, err := r.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		// From / on; in newer releases lib is under usr.
		name := strings.TrimPrefix(path.Clean("/"+h.Name), "/usr")
		if release, ok := strings.CutSuffix(strings.TrimPrefix(name, "/lib/modules/"), "/vmlinuz"); ok {
			name = "/boot/vmlinuz-" + release // its place in newer releases
		}
		isImage, isModule := strings.HasPrefix(name, "/boot/vmlinuz-"), strings.Contains(path.Base(name), ".ko")
		if h.Typeflag != tar.TypeReg || !isImage && !isModule {
			continue
		}
		to := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			return err
		}
		f, err := os.Create(to)
		if err != nil {
			return err
		}
		_, err = io.Copy(f, r)
		if err := errors.Join(err, f.Close()); err != nil {
			return err
		}
	}
}
