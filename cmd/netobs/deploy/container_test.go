package deploy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	core "k8s.io/api/core/v1"

	"netobs/loader/nettest"
)

// flags are what the docker command is told to run a container as the Compose project says.
func composeFlags(t *testing.T) (flags, command []string) {
	t.Helper()
	s, err := project(t).GetService("netobs")
	if err != nil {
		t.Fatal(err)
	}
	flags = []string{"--pid", s.Pid, "--network", s.NetworkMode, fmt.Sprintf("--read-only=%v", s.ReadOnly)}
	for _, c := range s.CapDrop {
		flags = append(flags, "--cap-drop", c)
	}
	for _, c := range s.CapAdd {
		flags = append(flags, "--cap-add", c)
	}
	for _, o := range s.SecurityOpt {
		flags = append(flags, "--security-opt", o)
	}
	for _, v := range s.Volumes {
		flags = append(flags, "--mount", fmt.Sprintf("type=%s,src=%s,dst=%s,readonly=%v,bind-propagation=%s", v.Type, v.Source, v.Target,
			v.ReadOnly, v.Bind.Propagation))
	}
	return flags, s.Command
}

// kubernetesFlags are the same for the DaemonSet.
func kubernetesFlags(t *testing.T) (flags, command []string) {
	t.Helper()
	pod := daemonSet(t).Spec.Template.Spec
	c := pod.Containers[0]
	if !pod.HostPID || !pod.HostNetwork || *c.SecurityContext.AllowPrivilegeEscalation || *c.SecurityContext.Privileged {
		t.Errorf("the pod is not what this test makes of it: %+v, %+v", pod, c.SecurityContext)
	}
	flags = []string{"--pid", "host", "--network", "host", "--security-opt", "no-new-privileges", "--security-opt", "apparmor=unconfined",
		fmt.Sprintf("--read-only=%v", *c.SecurityContext.ReadOnlyRootFilesystem), fmt.Sprintf("--user=%d", *c.SecurityContext.RunAsUser)}
	for _, capability := range c.SecurityContext.Capabilities.Drop {
		flags = append(flags, "--cap-drop", string(capability))
	}
	for _, capability := range c.SecurityContext.Capabilities.Add {
		flags = append(flags, "--cap-add", string(capability))
	}
	for _, m := range c.VolumeMounts {
		for _, v := range pod.Volumes {
			if v.Name != m.Name {
				continue
			}
			if err := os.MkdirAll(v.HostPath.Path, 0o755); err != nil { // DirectoryOrCreate
				t.Fatal(err)
			}
			mount := fmt.Sprintf("type=bind,src=%s,dst=%s,readonly=%v", v.HostPath.Path, m.MountPath, m.ReadOnly)
			if m.MountPropagation != nil && *m.MountPropagation == core.MountPropagationHostToContainer {
				mount += ",bind-propagation=rslave"
			}
			flags = append(flags, "--mount", mount)
		}
	}
	for _, arg := range c.Args {
		command = append(command, strings.ReplaceAll(arg, "$(HOST_IP)", "127.0.0.1"))
	}
	return flags, command
}

// allBut are flags that exclude all namespaces whose names do not begin with prefix, which is of letters and digits.
func allBut(prefix string) (args []string) {
	for i := range prefix {
		args = append(args, "--exclude-netns", prefix[:i]+"[^"+prefix[i:i+1]+"]*", "--exclude-netns", prefix[:i])
	}
	return args
}

// TestContainer: the image is built and run by a real Docker Engine as the manifests say, and watches other containers and
// namespaces that come later.
func TestContainer(t *testing.T) {
	d := nettest.StartDockerShared(t)
	dir := write(t, "docker")
	if err := os.Link(mustBuild(t), filepath.Join(dir, "netobs")); err != nil {
		t.Fatal(err)
	}
	d.Run("build", "--tag", "netobs", dir)
	prefix := fmt.Sprintf("boxed%dx", os.Getpid())
	web := prefix + "web"
	d.Serve(web, 0)

	for _, tt := range []struct {
		name  string
		flags func(*testing.T) (flags, command []string)
		named bool // has the sockets of engines
	}{{"compose", composeFlags, true}, {"kubernetes", kubernetesFlags, false}} {
		t.Run(tt.name, func(t *testing.T) {
			flags, command := tt.flags(t)
			command = append(command, allBut(prefix)...)
			if len(command) > 0 && command[0] != "attach" { // Compose leaves it to the image
				command = append([]string{"attach", "--all", "--output", "none", "--listen", "127.0.0.1:9811"}, command...)
			}
			name := prefix + tt.name
			d.Run(append(append(append([]string{"run", "--detach", "--name", name}, flags...), "netobs"), command...)...)
			ask := func(path string) (string, error) { return get(d, "127.0.0.1:9811", path) }
			t.Cleanup(func() {
				if t.Failed() {
					t.Log(d.Run("logs", name))
				}
				d.Run("rm", "--force", name)
			})
			nettest.Eventually(t, 60*time.Second, func() error { _, err := ask("/readyz"); return err })
			later := nettest.New(t, prefix)
			later.Up("lo")
			watched := []string{later.Name}
			if tt.named {
				watched = append(watched, web)
			}
			nettest.Eventually(t, 60*time.Second, func() error {
				if c, err := later.Dial("127.0.0.1:9"); err == nil { // refused, once it is watched
					c.Close()
				}
				if tt.named {
					if c, err := d.NS.Dial(d.Address(web) + ":80"); err == nil {
						c.Close()
					}
				}
				text, err := ask("/metrics")
				if err != nil {
					return err
				}
				for _, netns := range watched {
					seen := regexp.MustCompile(`(?m)^netobs_handshakes_total\{netns="` + netns + `",outcome="(completed|refused)",role="\w+"\} [1-9]`)
					if !seen.MatchString(text) {
						return fmt.Errorf("no handshake in %s among %q", netns, regexp.MustCompile(`(?m)^netobs_handshakes_total.*`).FindAllString(text, -1))
					}
				}
				return nil
			})
			d.Run("stop", "--time", "60", name)
			if code := strings.TrimSpace(d.Run("inspect", "--format", "{{.State.ExitCode}}", name)); code != "0" {
				t.Errorf("netobs ended with %s", code)
			}
		})
	}
}

// get asks from the namespace of the engine.
func get(d *nettest.Docker, addr, path string) (string, error) {
	client := http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{DisableKeepAlives: true,
		DialContext: func(context.Context, string, string) (net.Conn, error) { return d.NS.Dial(addr) }}}
	res, err := client.Get("http://" + addr + path)
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err == nil && res.StatusCode != http.StatusOK {
		err = errors.New(res.Status + ": " + string(text))
	}
	return string(text), err
}
