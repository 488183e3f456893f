package inventory

import (
	"cmp"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
)

// shortID is how many digits of a container's id are shown, as Docker does.
const shortID = 12

// label is what a namespace is called; see the package documentation.
func label(n *Namespace) string {
	var given, docker, generated string
	for _, path := range n.Paths {
		switch {
		case !madeUp(path):
			given = cmp.Or(given, filepath.Base(path))
		case strings.HasPrefix(path, nameDirs[1]):
			docker = cmp.Or(docker, filepath.Base(path))
		default:
			generated = cmp.Or(generated, filepath.Base(path))
		}
	}
	if n.Host {
		return HostName
	}
	id := n.Container.ID
	return Printable(cmp.Or(given, n.Container.Name, id[:min(len(id), shortID)], generated, docker, n.Process, "unnamed"))
}

// Printable returns a name as it may be shown on a terminal: whoever made it may not be trusted.
func Printable(name string) string {
	quoted := strconv.Quote(name)
	return strings.ReplaceAll(quoted[1:len(quoted)-1], `\"`, `"`)
}

// A name of a runtime's making: a UUID, with cni- of containerd, netns- of Podman, nothing of CRI-O.
var uuidName = regexp.MustCompile(`^(cni-|netns-)?[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`)

// madeUp reports whether nobody thought of the name: it does not say what runs in the namespace.
func madeUp(path string) bool {
	return strings.HasPrefix(path, nameDirs[1]+"/") || uuidName.MatchString(filepath.Base(path))
}

// Runtimes put a container's id of 64 digits into the last directories of its cgroup:
//
//	/docker/ID                                                   Docker, cgroupfs
//	/system.slice/docker-ID.scope                                Docker, systemd
//	/machine.slice/libpod-ID.scope/container                     Podman
//	/kubepods/burstable/podUID/ID                                Kubernetes, cgroupfs
//	/kubepods.slice/…/cri-containerd-ID.scope, …/crio-ID.scope   Kubernetes, systemd
//	/kubepods-besteffort-podUID.slice:cri-containerd:ID          containerd told of the wrong driver
var containerDir = regexp.MustCompile(`(?:^|[-:])([0-9a-f]{64})(?:\.scope)?$`)

// containerOf returns the id in a /proc/PID/cgroup file, empty if there is none. In a container in a container it is that
// of the inner one. Each line is HIERARCHY:CONTROLLERS:PATH; version 2 has one line, version 1 many.
func containerOf(cgroup string) string {
	for line := range strings.Lines(cgroup) {
		_, rest, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ":")
		_, path, _ := strings.Cut(rest, ":")
		dirs := strings.Split(path, "/")
		for i := len(dirs) - 1; i >= 0; i-- {
			if m := containerDir.FindStringSubmatch(dirs[i]); m != nil && !strings.HasPrefix(dirs[i], "libpod-conmon-") {
				return m[1]
			}
		}
	}
	return ""
}
