package main

import (
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// An initramfs is a set of files to become the root of an emulated machine, written in the cpio format "newc" (kernel
// Documentation/driver-api/early-userspace/buffer-format.rst).
type initramfs struct {
	files map[string]source
}

// source is the content of a file: a path, or bytes.
type source struct {
	path  string
	bytes []byte
}

// clone returns a copy that can be added to without changing the original.
func (r *initramfs) clone() *initramfs {
	c := new(initramfs)
	for name, s := range r.files {
		c.put(name, s)
	}
	return c
}

// put adds a file under an absolute name.
func (r *initramfs) put(name string, s source) {
	if r.files == nil {
		r.files = make(map[string]source)
	}
	r.files[path.Clean(name)] = s
}

// putTree adds the regular files of a directory, if there is one.
func (r *initramfs) putTree(name, dir string) error {
	if _, err := os.Stat(dir); os.IsNotExist(err) {
		return nil
	}
	return filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		below, err := filepath.Rel(dir, p)
		if err == nil {
			r.put(path.Join(name, filepath.ToSlash(below)), source{path: p})
		}
		return err
	})
}

// write writes the archive. Every file is executable, and every directory is there before what is in it.
func (r *initramfs) write(w io.Writer) error {
	a := archive{w: w, dirs: map[string]bool{"/": true}}
	for _, dir := range []string{"/dev", "/proc", "/sys", "/run", "/tmp"} {
		if err := a.dir(dir); err != nil {
			return err
		}
	}
	// The kernel opens it as stdin, stdout and stderr of init.
	if err := a.entry("/dev/console", modeCharDevice|0o600, nil, 0, 5, 1); err != nil {
		return err
	}
	for _, name := range slices.Sorted(func(yield func(string) bool) {
		for name := range r.files {
			if !yield(name) {
				return
			}
		}
	}) {
		if err := a.file(name, r.files[name]); err != nil {
			return fmt.Errorf("pack %s: %w", name, err)
		}
	}
	return a.entry("TRAILER!!!", 0, nil, 0, 0, 0)
}

// Types of files in a mode, stat(2).
const (
	modeDir        = 0o040000
	modeFile       = 0o100000
	modeCharDevice = 0o020000
)

type archive struct {
	w     io.Writer
	dirs  map[string]bool
	inode uint32
}

func (a *archive) dir(name string) error {
	if a.dirs[name] {
		return nil
	}
	if err := a.dir(path.Dir(name)); err != nil {
		return err
	}
	a.dirs[name] = true
	return a.entry(name, modeDir|0o755, nil, 0, 0, 0)
}

func (a *archive) file(name string, s source) error {
	if err := a.dir(path.Dir(name)); err != nil {
		return err
	}
	if s.path == "" {
		return a.entry(name, modeFile|0o755, strings.NewReader(string(s.bytes)), int64(len(s.bytes)), 0, 0)
	}
	f, err := os.Open(s.path)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	return a.entry(name, modeFile|0o755, f, info.Size(), 0, 0)
}

// entry writes one header and content; names are relative to the root.
func (a *archive) entry(name string, mode uint32, content io.Reader, size int64, devMajor, devMinor uint32) error {
	a.inode++
	name = strings.TrimPrefix(name, "/")
	const mtime, links, uid, gid = 0, 1, 0, 0
	header := fmt.Sprintf("070701%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%s\x00", a.inode, mode, uid, gid, links,
		mtime, size, 0, 0, devMajor, devMinor, len(name)+1, 0, name)
	if _, err := io.WriteString(a.w, header+padding(int64(len(header)))); err != nil {
		return err
	}
	if content == nil {
		return nil
	}
	if n, err := io.Copy(a.w, content); err != nil {
		return err
	} else if n != size {
		return fmt.Errorf("size changed from %d to %d bytes", size, n)
	}
	_, err := io.WriteString(a.w, padding(size))
	return err
}

// padding fills up to a multiple of four bytes.
func padding(n int64) string { return "\x00\x00\x00"[:-n&3] }
