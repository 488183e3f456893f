package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/cilium/ebpf"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// guest is process 1 of an emulated machine: it runs the jobs and switches the machine off.
func guest() {
	if err := runJobs(); err != nil {
		fmt.Println("kernels:", err)
	}
	unix.Sync()
	unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF)
	select {} // init must not end
}

func runJobs() error {
	if err := prepare(); err != nil {
		return err
	}
	data, err := os.ReadFile(jobsFile)
	if err != nil {
		return err
	}
	var jobs []job
	if err := json.Unmarshal(data, &jobs); err != nil {
		return err
	}
	fmt.Println(controlBegin)
	for _, j := range jobs {
		code, err := j.run()
		if err != nil {
			fmt.Printf("kernels: run %s: %v\n", j.Name, err)
		}
		if err := nothingLeft(); err != nil {
			fmt.Printf("kernels: after %s: %v\n", j.Name, err)
			code = max(code, exitFailed)
		}
		fmt.Println(controlResult, j.Name, code)
	}
	fmt.Println(controlEnd)
	return nil
}

// prepare makes of the bare kernel what tests expect of a machine.
func prepare() error {
	var errs []error
	for _, m := range []struct{ kind, at string }{
		{"proc", "/proc"}, {"sysfs", "/sys"}, {"devtmpfs", "/dev"}, {"tmpfs", "/run"}, {"tmpfs", "/tmp"},
		{"bpf", "/sys/fs/bpf"}, {"tracefs", "/sys/kernel/tracing"},
	} {
		if err := unix.Mount(m.kind, m.at, m.kind, 0, ""); err != nil {
			errs = append(errs, fmt.Errorf("mount %s: %w", m.at, err))
		}
	}
	errs = append(errs, plainConsole(), loopbackUp())
	files, _ := filepath.Glob(modulesDir + "/*") // sorted
	for _, name := range files {
		errs = append(errs, loadModule(name))
	}
	return errors.Join(errs...)
}

// plainConsole makes the terminal pass on bytes as they are.
func plainConsole() error {
	t, err := unix.IoctlGetTermios(1, unix.TCGETS)
	if err == nil {
		t.Oflag &^= unix.OPOST
		err = unix.IoctlSetTermios(1, unix.TCSETS, t)
	}
	if err != nil {
		return fmt.Errorf("set up the console: %w", err)
	}
	return nil
}

func loopbackUp() error {
	lo, err := netlink.LinkByName("lo")
	if err == nil {
		err = netlink.LinkSetUp(lo)
	}
	if err != nil {
		return fmt.Errorf("set up lo: %w", err)
	}
	return nil
}

func loadModule(name string) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := unix.FinitModule(int(f.Fd()), "", 0); err != nil && err != unix.EEXIST {
		return fmt.Errorf("load module %s: %w", filepath.Base(name), err)
	}
	return nil
}

// run runs a job and returns its exit code.
func (j job) run() (int, error) {
	cmd := exec.Command(j.dir()+"/test", j.Args...)
	cmd.Dir = j.dir()
	cmd.Env = append(j.Env, "HOME=/tmp", "TMPDIR=/tmp", "PATH=/bin")
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stdout
	err := cmd.Run()
	if ended := new(exec.ExitError); errors.As(err, &ended) && ended.Exited() {
		return ended.ExitCode(), nil
	}
	if err != nil {
		return exitFailed, fmt.Errorf("%w: is it built with CGO_ENABLED=0, and for this architecture?", err)
	}
	return 0, nil
}

// nothingLeft checks that no BPF program survived the tests: with it went whatever it was attached by. The kernel frees
// programs some time after their last user.
func nothingLeft() error {
	const patience = 10 * time.Second
	for end := time.Now().Add(patience); ; {
		var id ebpf.ProgramID
		id, err := ebpf.ProgramGetNextID(0)
		if errors.Is(err, os.ErrNotExist) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("list BPF programs: %w", err)
		}
		if time.Now().After(end) {
			return fmt.Errorf("BPF program %s (%d) is left behind", programName(id), id)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

func programName(id ebpf.ProgramID) string {
	p, err := ebpf.NewProgramFromID(id)
	if err != nil {
		return "?"
	}
	defer p.Close()
	info, err := p.Info()
	if err != nil {
		return "?"
	}
	return info.Name
}
