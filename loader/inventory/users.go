package inventory

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
)

// users reads the names that people who are not root gave to their containers: rootless Podman and Docker keep sockets and
// lists where only that user looks. What they say counts only for containers that nobody else knows, since it may be anything.
type users struct{ root string }

func (u *users) containers(ctx context.Context) ([]container, error) {
	dirs, _ := filepath.Glob(u.root + "/run/user/[1-9]*") // the pattern is good
	if len(dirs) == 0 {
		return nil, nil
	}
	passwd, err := os.ReadFile(u.root + "/etc/passwd")
	var all []container
	errs := []error{err}
	for _, dir := range dirs {
		lists := &storage{dirs: []string{dir + "/containers"}}
		if home := homeOf(string(passwd), filepath.Base(dir)); home != "" {
			lists.dirs = append(lists.dirs, u.root+home+"/.local/share/containers/storage")
		}
		for _, s := range []source{newEngine(dir + "/docker.sock"), newEngine(dir + "/podman/podman.sock"), lists} {
			some, err := s.containers(ctx)
			all, errs = append(all, some...), append(errs, err)
		}
	}
	if all == nil {
		return nil, errors.Join(errs...)
	}
	return all, nil
}

// homeOf finds the home of a user by the number, passwd(5).
func homeOf(passwd, uid string) string {
	for line := range strings.Lines(passwd) {
		if f := strings.Split(line, ":"); len(f) > 5 && f[2] == uid {
			return f[5]
		}
	}
	return ""
}
