package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

// A test is one line of a list: in which kernels, which package, which tests (-test.run).
type test struct {
	kernels []string // or all
	pkg     string   // ./DIR
	pattern string
}

// readList reads lines of three fields: kernels, separated by commas, or "all"; package; tests. Empty lines and what
// follows # do not count.
func readList(name string) ([]test, error) {
	data, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	var tests []test
	n := 0
	for line := range strings.Lines(string(data)) {
		n++
		line, _, _ = strings.Cut(line, "#")
		fields := strings.Fields(line)
		switch len(fields) {
		case 0:
			continue
		case 3:
		default:
			return nil, fmt.Errorf("%s:%d: want kernels, package and tests", name, n)
		}
		t := test{pkg: fields[1], pattern: fields[2]}
		if fields[0] != "all" {
			t.kernels = strings.Split(fields[0], ",")
		}
		for _, k := range t.kernels {
			if _, err := suiteOf(k); err != nil {
				return nil, fmt.Errorf("%s:%d: %w", name, n, err)
			}
		}
		tests = append(tests, t)
	}
	return tests, nil
}

// runList runs each test of a list in its kernels, two machines at a time.
func runList(ctx context.Context, m machine, cache string, names []string, list string) (int, error) {
	tests, err := readList(list)
	if err != nil {
		return exitFailed, err
	}
	if len(names) == 0 {
		for _, r := range releases {
			names = append(names, r.name)
		}
	}
	var kernels []kernel
	for _, name := range names {
		k, err := fetch(ctx, cache, m, name)
		if err != nil {
			return exitFailed, err
		}
		kernels = append(kernels, k)
	}
	tmp, err := os.MkdirTemp("", "netobs-kernels-")
	if err != nil {
		return exitFailed, err
	}
	defer os.RemoveAll(tmp)
	files, err := buildTests(ctx, m, tests, tmp)
	if err != nil {
		return exitFailed, err
	}

	errs := make([]error, len(kernels))
	var wg sync.WaitGroup
	const atATime = 2
	turns, printing := make(chan struct{}, atATime), new(sync.Mutex)
	for i, k := range kernels {
		wg.Go(func() {
			turns <- struct{}{}
			defer func() { <-turns }()
			var log strings.Builder
			start := time.Now()
			errs[i] = runKernel(ctx, m, k, files, tests, &log)
			printing.Lock()
			defer printing.Unlock()
			report(os.Stdout, k, log.String(), errs[i], time.Since(start))
		})
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		return exitFailed, errors.New("not all kernels pass")
	}
	return 0, nil
}

// report prints one line for a kernel that passed; before it what did not pass, and that it was tried again.
func report(w io.Writer, k kernel, log string, err error, took time.Duration) {
	passed := 0
	for line := range strings.Lines(log) {
		verdict := strings.TrimLeft(line, " ")
		switch {
		case strings.HasPrefix(line, "--- PASS: "):
			passed++
		case strings.HasPrefix(verdict, "=== "), strings.HasPrefix(verdict, "--- PASS: "), verdict == "PASS\n":
		case err != nil || strings.HasPrefix(line, k.String()):
			fmt.Fprint(w, line)
		}
	}
	took = took.Round(time.Second)
	if err != nil {
		fmt.Fprintf(w, "FAIL  linux %-6s  %-26s  %4s  %v\n", k.name, k.release, took, err)
		return
	}
	fmt.Fprintf(w, "ok    linux %-6s  %-26s  %4s  %d tests\n", k.name, k.release, took, passed)
}

// buildTests builds a static binary of the tests of each package.
func buildTests(ctx context.Context, m machine, tests []test, dir string) (*initramfs, error) {
	files := new(initramfs)
	for _, pkg := range packagesOf(tests) {
		j := job{Name: path.Base(pkg)}
		binary := filepath.Join(dir, j.Name+".test")
		cmd := exec.CommandContext(ctx, "go", "test", "-c", "-trimpath", "-ldflags=-s -w", "-o", binary, pkg)
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+m.arch)
		if _, err := output(cmd); err != nil {
			return nil, fmt.Errorf("build the tests of %s: %w", pkg, err)
		}
		if err := j.addTo(files, binary, filepath.FromSlash(pkg)); err != nil {
			return nil, fmt.Errorf("pack the tests of %s: %w", pkg, err)
		}
	}
	return files, nil
}

func packagesOf(tests []test) []string {
	var all []string
	for _, t := range tests {
		if !slices.Contains(all, t.pkg) {
			all = append(all, t.pkg)
		}
	}
	return all
}

// runKernel runs the tests that are for a kernel. It fails also when one of them did not run.
func runKernel(ctx context.Context, m machine, k kernel, files *initramfs, tests []test, log io.Writer) error {
	var jobs []job
	for _, pkg := range packagesOf(tests) {
		var patterns []string
		for _, t := range tests {
			if t.pkg == pkg && (t.kernels == nil || slices.Contains(t.kernels, k.name)) {
				patterns = append(patterns, t.pattern)
			}
		}
		if patterns != nil {
			jobs = append(jobs, job{
				Name: path.Base(pkg),
				Args: []string{"-test.v", "-test.short", "-test.failfast", "-test.run=^(" + strings.Join(patterns, "|") + ")$"},
				Env:  environment(),
			})
		}
	}
	if jobs == nil {
		return errors.New("no test is for this kernel")
	}
	for try := 1; ; try++ {
		results, err := boot(ctx, m, k, files, jobs, log)
		if again(err, try, k, log) {
			continue
		}
		if err != nil {
			return err
		}
		var failed []string
		for _, r := range results {
			if r.Code != 0 {
				failed = append(failed, r.Job)
			}
		}
		if failed != nil {
			return fmt.Errorf("tests of %s failed", strings.Join(failed, ", "))
		}
		return nil
	}
}
