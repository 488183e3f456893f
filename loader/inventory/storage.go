package inventory

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// storageDirs is where Podman and CRI-O keep the containers of root: the lasting ones, and those until the next boot.
var storageDirs = []string{"/var/lib/containers/storage", "/run/containers/storage"}

// storage reads names where no daemon listens: containers/storage lists what it holds in a file for each of its drivers, and
// in another what goes with the container (podman run --rm).
type storage struct{ dirs []string }

func (s *storage) containers(context.Context) ([]container, error) {
	var all []container
	var errs []error
	for _, dir := range s.dirs {
		files, _ := filepath.Glob(filepath.Join(dir, "*-containers", "*containers.json")) // the pattern is good
		for _, file := range files {
			stored, err := readStored(file)
			all, errs = append(all, stored...), append(errs, err)
		}
	}
	if all == nil {
		return nil, errors.Join(errs...)
	}
	return all, nil
}

// readStored reads a list. Others may own it: it need not be a file, nor end.
func readStored(file string) ([]container, error) {
	f, err := os.OpenFile(file, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s: not a regular file: %w", file, err)
	}
	var list []struct {
		ID    string
		Names []string
	}
	if err := json.NewDecoder(io.LimitReader(f, maxAnswer)).Decode(&list); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	var all []container
	for _, c := range list {
		if len(c.Names) > 0 {
			all = append(all, container{id: c.ID, name: c.Names[0]})
		}
	}
	return all, nil
}
