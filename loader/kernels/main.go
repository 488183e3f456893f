// Kernels runs the project's tests inside other kernels than the one at hand: Debian's, booted by qemu in software
// emulation. The test binaries are static and lie in an initramfs, whose init is this program itself; nothing else is in
// there, and the machine that runs it needs no virtualisation, no disk image and no network device.
//
//	kernels [--arch ARCH] [--kernels NAMES] LIST        run the tests of a list, one emulated machine for each kernel
//	kernels [--arch ARCH] --exec KERNEL TEST.BINARY …   run one test binary, for "go test -exec"
//
// The names of the kernels are 5.10, 6.1, 6.12 and newest. They come as Debian packages from the mirror that apt uses here
// and stay in KERNELS_DIR, by default netobs/kernels in the user's cache directory. NETOBS_ variables of the environment
// hold inside, too.
//
// What takes long, or much memory, is given them by --timeout and --memory.
//
// Build it with CGO_ENABLED=0, as "make build/kernels" does: there is no C library inside.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

func main() {
	if os.Getpid() == 1 {
		guest()
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, unix.SIGTERM)
	code, err := run(ctx, os.Args[1:])
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "kernels:", err)
	}
	os.Exit(code)
}

// Exit codes beyond those of a test binary.
const exitFailed = 1

type options struct {
	arch    string
	kernels string
	exec    string
	timeout time.Duration
	memory  string
}

func run(ctx context.Context, args []string) (int, error) {
	var o options
	flags := flag.NewFlagSet("kernels", flag.ContinueOnError)
	flags.StringVar(&o.arch, "arch", "amd64", "Debian's name of the architecture: amd64 or arm64")
	flags.StringVar(&o.kernels, "kernels", "", "names of kernels, separated by commas or spaces; all by default")
	flags.StringVar(&o.exec, "exec", "", "run the test binary that follows inside this kernel")
	flags.DurationVar(&o.timeout, "timeout", 5*time.Minute, "the longest that one emulated machine may take")
	flags.StringVar(&o.memory, "memory", "2G", "of the emulated machine, as qemu takes it")
	if err := flags.Parse(args); err != nil {
		return 2, nil // it has said why
	}
	m, err := machineOf(o.arch)
	if err != nil {
		return 2, err
	}
	m.timeout, m.memory = o.timeout, o.memory
	cache, err := cacheDir()
	if err != nil {
		return exitFailed, err
	}
	switch {
	case o.exec != "" && flags.NArg() > 0:
		return runOne(ctx, m, cache, o.exec, flags.Args())
	case o.exec == "" && flags.NArg() == 1:
		return runList(ctx, m, cache, strings.Fields(strings.ReplaceAll(o.kernels, ",", " ")), flags.Arg(0))
	}
	flags.Usage()
	return 2, errors.New("want the name of one list of tests, or --exec, a kernel and a test binary")
}

// cacheDir returns where kernels are kept.
func cacheDir() (string, error) {
	if dir := os.Getenv("KERNELS_DIR"); dir != "" {
		return filepath.Abs(dir)
	}
	dir, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("find a place for kernels: %w: set KERNELS_DIR", err)
	}
	return filepath.Join(dir, "netobs", "kernels"), nil
}

// runOne runs a test binary in the current directory's name inside a kernel. Its output goes to stdout, and its exit code
// is returned.
func runOne(ctx context.Context, m machine, cache, name string, command []string) (int, error) {
	k, err := fetch(ctx, cache, m, name)
	if err != nil {
		return exitFailed, err
	}
	here, err := os.Getwd()
	if err != nil {
		return exitFailed, err
	}
	j := job{Name: filepath.Base(command[0]), Args: command[1:], Env: environment()}
	fs := new(initramfs)
	j.addTo(fs, command[0], here)
	var code int
	for try := 1; ; try++ {
		var res []result
		res, err = boot(ctx, m, k, fs, []job{j}, os.Stdout)
		if len(res) == 1 {
			code = res[0].Code
		}
		if !again(err, try, k, os.Stderr) {
			break
		}
	}
	if err != nil {
		return exitFailed, err
	}
	return code, nil
}

// again reports whether to boot a kernel once more: if the emulated machine failed, not a test. It says so.
func again(err error, try int, k kernel, w io.Writer) bool {
	var broken *machineError
	if try > 1 || !errors.As(err, &broken) {
		return false
	}
	fmt.Fprintf(w, "%s: the emulated machine failed, not a test: trying once more: %v\n", k, err)
	return true
}

// environment returns what holds inside, too.
func environment() []string {
	env := []string{"NETOBS_TEST_PRIVILEGED=1", "NETOBS_TEST_PATIENCE=10"}
	for _, e := range os.Environ() {
		if strings.HasPrefix(e, "NETOBS_") {
			env = append(env, e)
		}
	}
	return env
}
