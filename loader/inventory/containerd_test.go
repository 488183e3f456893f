package inventory

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"netobs/loader/nettest"
)

// TestContainerd: a real pod, with a container in it, of a real containerd is called namespace/pod.
func TestContainerd(t *testing.T) {
	nettest.StartContainerd(t)
	c := newCRI(nettest.ContainerdSocket)
	call := func(method string, request []byte) message {
		t.Helper()
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		answer, err := c.call(ctx, method, request)
		if err != nil {
			t.Fatal(err)
		}
		return answer
	}
	text := func(number int, s string) []byte { return field(number, []byte(s)) }

	// PodSandboxConfig: 1 metadata, 3 log_directory. PodSandboxMetadata: 1 name, 2 uid, 3 namespace.
	namespace := fmt.Sprintf("shop%d", os.Getpid())
	config := append(field(1, text(1, "web-0"), text(2, namespace), text(3, namespace)), text(3, t.TempDir())...)
	// RunPodSandboxRequest: 1 config.
	pod := string(call("RunPodSandbox", field(1, config)).last(1))
	t.Cleanup(func() {
		call("StopPodSandbox", text(1, pod))
		call("RemovePodSandbox", text(1, pod))
	})
	// CreateContainerRequest: 1 pod_sandbox_id, 2 config, 3 sandbox_config. ContainerConfig: 1 metadata, 2 image, 3 command.
	sleeper := append(field(1, text(1, "sleeper")), field(2, text(1, nettest.ContainerdImage))...)
	sleeper = append(append(append(sleeper, text(3, "/bin/busybox")...), text(3, "sleep")...), text(3, "1000")...)
	id := string(call("CreateContainer", append(text(1, pod), append(field(2, sleeper), field(3, config)...)...)).last(1))
	call("StartContainer", text(1, id))

	s, err := Scan(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	name := namespace + "/web-0"
	k := slices.IndexFunc(s.Namespaces, func(n Namespace) bool { return n.Label == name })
	if k < 0 {
		t.Fatalf("no namespace %s among %+v", name, s.Namespaces)
	}
	n := s.Namespaces[k]
	if n.Container != (Container{pod, name}) || n.Process != "busybox" || len(n.Paths) != 1 || !madeUp(n.Paths[0]) {
		t.Errorf("the pod is %+v", n)
	}
	if !slices.Equal(n.Guests, []Container{{id, "sleeper"}}) || !n.Has(name) || !n.Has(id[:shortID]) {
		t.Errorf("the containers of the pod are %+v", n.Guests)
	}
	old := newCRI(nettest.ContainerdSocket)
	old.version = "v1alpha2"
	if all, err := old.containers(context.Background()); err != nil || !slices.Contains(all, container{id: pod, name: name}) {
		t.Errorf("by the interface's first version: %v, %v", all, err)
	}
	if dir := filepath.Dir(n.Paths[0]); dir != nameDirs[0] {
		t.Errorf("the pod's namespace is in %s", dir)
	}
}
