// Package inventory knows the network namespaces of the host: which there are, when they come and go, and what people call
// them. It holds no file descriptor and no socket in any of them, and enters none.
//
// # What there is
//
// A namespace is found by the files under /run/netns and /run/docker/netns, and by the processes that are in it
// (/proc/PID/ns/net). It is known by its inode, which is its own for as long as it lives, so that it is one however many
// names and processes it has. A namespace that only a socket, a file descriptor or a thread other than the first of its
// process keeps is not found.
//
// # How it is noticed
//
// The kernel says when a name appears or goes: POLLPRI on /proc/self/mountinfo comes exactly with the mount that makes a
// file a namespace (inotify on the directory comes before it). Of processes the process connector (Documentation/
// driver-api/connector.rst) reports each exec, which is where a container, a service or "unshare -n" begins to run what it
// is there for. What neither reports, a process that calls unshare or setns and goes on, and the end of a namespace without
// name, is found by looking at all processes every 5 s, or every second where there is no connector, which takes the
// initial pid namespace and CAP_NET_ADMIN.
//
// # What it costs
//
// Looking at all processes takes 8 µs for each: 0.16 % of a CPU with 1 000 of them every 5 s, 0.8 % every second (693 processes in
// 5.7 ms, BenchmarkScan). A program starts as fast with a listener to the connector as without (0.8 ms, BenchmarkExec).
//
// # What it is called
//
// In this order: host; its name under /run/netns, unless a runtime made it up; namespace/pod of Kubernetes; the container's
// name, or without it the first 12 digits of its id; the name under /run/docker/netns; the name of its oldest process.
// The container is that of the oldest process, whose cgroup has its id in its path; if it borrows the network of another
// container, it is that one. Names of containers come from where they can be had, the first of these that knows one:
//
//   - Kubernetes: the CRI on the sockets of containerd, k3s, CRI-O and cri-dockerd;
//   - Docker and Podman: the Engine API on /run/docker.sock and /run/podman/podman.sock;
//   - Podman and CRI-O without a socket: containers.json and volatile-containers.json of their storage;
//   - rootless Podman and Docker: sockets below /run/user/UID, storage in the user's home.
//
// Rootless Podman with cgroup v1 puts its containers into no cgroup of their own: they are called like their processes.
//
// They are asked when a container is new, and every 10 s, since people rename containers.
package inventory
