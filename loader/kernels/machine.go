package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"
)

// A machine is how to emulate an architecture.
type machine struct {
	arch        string // Debian's name, which is also Go's
	metaPackage string
	emulator    []string
	console     string
	packages    string // that have the emulator
	timeout     time.Duration
	memory      string // as qemu takes it
}

func machineOf(arch string) (machine, error) {
	switch arch {
	case "amd64":
		return machine{
			arch:        arch,
			metaPackage: "linux-image-cloud-amd64",
			emulator:    []string{"qemu-system-x86_64", "-machine", "q35", "-cpu", "max"},
			console:     "ttyS0",
			packages:    "qemu-system-x86",
		}, nil
	case "arm64":
		return machine{
			arch:        arch,
			metaPackage: "linux-image-cloud-arm64",
			// Newer processors authenticate pointers, which is slow to emulate.
			emulator: []string{"qemu-system-aarch64", "-machine", "virt", "-cpu", "cortex-a72"},
			console:  "ttyAMA0",
			packages: "qemu-system-arm",
		}, nil
	}
	return machine{}, fmt.Errorf("no machine for architecture %q; there are amd64 and arm64", arch)
}

// A job is a test binary to run inside. It is at /jobs/NAME/test and runs in that directory.
type job struct {
	Name string
	Args []string
	Env  []string
}

// A result is how a job ended.
type result struct {
	Job  string
	Code int
}

func (j job) dir() string { return "/jobs/" + j.Name }

// addTo packs the binary of a job, and the testdata of its package.
func (j job) addTo(r *initramfs, binary, packageDir string) error {
	r.put(j.dir()+"/test", source{path: binary})
	return r.putTree(j.dir()+"/testdata", filepath.Join(packageDir, "testdata"))
}

// A machineError is a failure of the emulated machine: it did not come to the end of its jobs.
type machineError struct {
	reason  string
	console string // its last lines
}

func (e *machineError) Error() string {
	return fmt.Sprintf("%s; its console ends with:\n%s", e.reason, e.console)
}

// What guest and host say to each other, on lines of their own that begin so.
const (
	control       = "\x01netobs "
	controlBegin  = control + "begin"  // the guest is up
	controlResult = control + "result" // NAME CODE
	controlEnd    = control + "end"
)

// jobsFile holds the jobs, modulesDir the modules, whose names sort in their order.
const (
	jobsFile   = "/jobs.json"
	modulesDir = "/modules"
)

// boot runs jobs inside a kernel. What they write goes to out as it comes. It returns the results of those that came to
// their end; the error is a *machineError if not all did.
func boot(ctx context.Context, m machine, k kernel, files *initramfs, jobs []job, out io.Writer) ([]result, error) {
	files, err := withInit(ctx, m, k, files, jobs)
	if err != nil {
		return nil, err
	}
	tmp, err := os.CreateTemp("", "netobs-initramfs-")
	if err != nil {
		return nil, err
	}
	defer os.Remove(tmp.Name())
	w := bufio.NewWriterSize(tmp, 1<<20)
	if err := files.write(w); err != nil {
		return nil, err
	}
	if err := w.Flush(); err != nil {
		return nil, err
	}
	if err := tmp.Close(); err != nil {
		return nil, err
	}
	return emulate(ctx, m, k, tmp.Name(), out)
}

// withInit adds to files what the guest needs.
func withInit(ctx context.Context, m machine, k kernel, files *initramfs, jobs []job) (*initramfs, error) {
	files = files.clone()
	self, err := initFor(ctx, m)
	if err != nil {
		return nil, err
	}
	files.put("/init", source{path: self})
	list, err := json.Marshal(jobs)
	if err != nil {
		return nil, err
	}
	files.put(jobsFile, source{bytes: list})
	mods, err := modules(ctx, k)
	if err != nil {
		return nil, err
	}
	for i, mod := range mods {
		files.put(fmt.Sprintf("%s/%03d-%s", modulesDir, i, mod.name), source{bytes: mod.file})
	}
	return files, nil
}

// initFor returns this program, built for the architecture of the machine.
func initFor(ctx context.Context, m machine) (string, error) {
	self, err := os.Executable()
	if err != nil {
		return "", fmt.Errorf("find this program: %w", err)
	}
	if m.arch == runtime.GOARCH {
		return self, nil
	}
	other := self + "-" + m.arch
	if _, err := os.Stat(other); err != nil {
		return "", fmt.Errorf("find this program for %s: %w: build it with \"make build/kernels-%s\"", m.arch, err, m.arch)
	}
	return other, nil
}

// emulate runs the machine until it is switched off.
func emulate(ctx context.Context, m machine, k kernel, initrd string, out io.Writer) ([]result, error) {
	ctx, cancel := context.WithTimeout(ctx, m.timeout)
	defer cancel()
	args := append(m.emulator[1:len(m.emulator):len(m.emulator)],
		"-accel", "tcg,thread=multi", "-smp", "2", "-m", m.memory,
		"-display", "none", "-serial", "stdio", "-monitor", "none", "-nic", "none", "-no-reboot",
		"-kernel", k.image(), "-initrd", initrd,
		// Level 1 is silent but for emergencies; a panic shows all, and ends the machine.
		"-append", "console="+m.console+" loglevel=1 panic=-1 mitigations=off random.trust_cpu=on")
	cmd := exec.CommandContext(ctx, m.emulator[0], args...)
	cmd.WaitDelay = 5 * time.Second
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("emulate %s: %w: install Debian's %s", m.arch, err, m.packages)
	}
	c := conversation{out: out}
	readErr := c.follow(stdout)
	waitErr := cmd.Wait()
	switch {
	case ctx.Err() == context.DeadlineExceeded:
		return c.results, c.broken(fmt.Sprintf("not done within %s", m.timeout))
	case ctx.Err() != nil:
		return c.results, ctx.Err()
	case waitErr != nil:
		return c.results, c.broken(fmt.Sprintf("%s: %v: %s", m.emulator[0], waitErr, bytes.TrimSpace(stderr.Bytes())))
	case readErr != nil:
		return c.results, readErr
	case !c.ended:
		return c.results, c.broken("it stopped before its jobs were done")
	}
	return c.results, nil
}

// A conversation is what the console of a machine says.
type conversation struct {
	out     io.Writer
	begun   bool
	ended   bool
	results []result
	last    []string // lines
}

const lastLines = 40

// follow reads the console until its end. It returns errors of writing alone.
func (c *conversation) follow(console io.Reader) error {
	var err error
	for lines := bufio.NewReader(console); ; {
		line, readErr := lines.ReadString('\n')
		if err == nil && line != "" {
			err = c.line(strings.TrimRight(line, "\r\n"))
		}
		if readErr != nil {
			return err
		}
	}
}

func (c *conversation) line(line string) error {
	if rest, ok := strings.CutPrefix(line, controlResult+" "); ok {
		name, code, _ := strings.Cut(rest, " ")
		n, err := strconv.Atoi(code)
		if err != nil {
			return fmt.Errorf("result of a job: %w", err)
		}
		c.results = append(c.results, result{name, n})
		return nil
	}
	switch line {
	case controlBegin:
		c.begun = true
		return nil
	case controlEnd:
		c.ended = true
		return nil
	}
	c.last = append(c.last, line)
	if len(c.last) > lastLines {
		c.last = c.last[1:]
	}
	if !c.begun || c.ended {
		return nil
	}
	_, err := fmt.Fprintln(c.out, line)
	return err
}

func (c *conversation) broken(reason string) error {
	return &machineError{reason, strings.Join(c.last, "\n")}
}
