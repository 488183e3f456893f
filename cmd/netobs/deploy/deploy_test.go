package deploy

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/cli"
	"github.com/compose-spec/compose-go/v2/types"
	monitoring "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	apps "k8s.io/api/apps/v1"
	core "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/yaml"

	"netobs/loader/nettest"
)

// worst is the score of systemd-analyze security, times ten, that the unit may have: 0 is best, 100 is none. Most of it is for
// being root, with these capabilities, in the host's network.
const worst = 28

// capabilities are those that netobs takes with --all and without lines, as the README says.
var capabilities = []string{"NET_ADMIN", "NET_BROADCAST", "SYS_ADMIN", "SYS_PTRACE"}

// write writes the files of a kind to a directory.
func write(t *testing.T, kind string) (dir string) {
	t.Helper()
	k := slices.IndexFunc(Kinds, func(k Kind) bool { return k.Name == kind })
	dir = t.TempDir()
	for _, f := range Kinds[k].Files() {
		name := filepath.Join(dir, f.Name)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, f.Content, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func mustRun(t *testing.T, name string, args ...string) {
	t.Helper()
	nettest.NeedProgram(t, name)
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil || strings.Contains(string(out), "Unknown") {
		t.Errorf("%s %q: %v\n%s", name, args, err, out)
	}
}

func TestUnits(t *testing.T) {
	dir := write(t, "systemd")
	service, socket := filepath.Join(dir, "netobs.service"), filepath.Join(dir, "netobs.socket")
	content, err := os.ReadFile(service)
	if err != nil {
		t.Fatal(err)
	}
	const installed = "=/usr/local/bin/netobs "
	if !bytes.Contains(content, []byte(installed)) {
		t.Errorf("the service does not start%s, which make install replaces", installed)
	}
	// Not installed here.
	content = bytes.ReplaceAll(content, []byte(installed), []byte("=/bin/true "))
	if err := os.WriteFile(service, content, 0o644); err != nil {
		t.Fatal(err)
	}
	mustRun(t, "systemd-analyze", "verify", "--man=no", service, socket)
	mustRun(t, "systemd-analyze", "security", "--offline=true", fmt.Sprintf("--threshold=%d", worst), service)
	bounding := "CapabilityBoundingSet="
	for line := range strings.Lines(string(content)) {
		if set, ok := strings.CutPrefix(strings.TrimSpace(line), bounding); ok {
			got := strings.Fields(strings.ReplaceAll(set, "CAP_", ""))
			if slices.Sort(got); !slices.Equal(got, capabilities) {
				t.Errorf("the service may have %v, want %v", got, capabilities)
			}
		}
	}
}

// documents splits a stream of YAML.
func documents(t *testing.T, file string) (all [][]byte) {
	t.Helper()
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	r := utilyaml.NewDocumentDecoder(io.NopCloser(bytes.NewReader(content)))
	defer r.Close()
	buf := make([]byte, len(content)+1)
	for {
		n, err := r.Read(buf)
		if err == io.EOF {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, bytes.Clone(buf[:n]))
	}
}

// daemonSet returns the one of the manifests. All of them have no field that their types do not have.
func daemonSet(t *testing.T) *apps.DaemonSet {
	t.Helper()
	dir := write(t, "kubernetes")
	var set apps.DaemonSet
	for _, file := range []string{"netobs.yaml", "podmonitor.yaml"} {
		for _, doc := range documents(t, filepath.Join(dir, file)) {
			var kind struct{ Kind string }
			if err := yaml.Unmarshal(doc, &kind); err != nil {
				t.Fatal(err)
			}
			into, known := map[string]any{
				"Namespace": new(core.Namespace), "ServiceAccount": new(core.ServiceAccount), "DaemonSet": &set,
				"PodMonitor": new(monitoring.PodMonitor),
			}[kind.Kind]
			if !known {
				t.Fatalf("%s: what is a %q?", file, kind.Kind)
			}
			if err := yaml.UnmarshalStrict(doc, into); err != nil {
				t.Errorf("%s: %v", kind.Kind, err)
			}
		}
	}
	return &set
}

func TestKubernetes(t *testing.T) {
	pod := daemonSet(t).Spec.Template
	labels := daemonSet(t).Spec.Selector.MatchLabels
	for name, value := range labels {
		if pod.Labels[name] != value {
			t.Errorf("the pods lack the label %s: %s, by which they are found", name, value)
		}
	}
	if len(labels) == 0 || len(pod.Spec.Containers) != 1 {
		t.Fatalf("labels %v, %d containers", labels, len(pod.Spec.Containers))
	}
	c := pod.Spec.Containers[0]
	var added []string
	for _, capability := range c.SecurityContext.Capabilities.Add {
		// With the prefix the API refuses allowPrivilegeEscalation: false, and some runtimes the capability.
		added = append(added, string(capability))
	}
	if slices.Sort(added); !slices.Equal(added, capabilities) || !slices.Equal(c.SecurityContext.Capabilities.Drop, []core.Capability{"ALL"}) {
		t.Errorf("the container has %v, dropped %v, want %v alone", added, c.SecurityContext.Capabilities.Drop, capabilities)
	}
	volumes := make(map[string]bool)
	for _, v := range pod.Spec.Volumes {
		volumes[v.Name] = true
	}
	for _, m := range c.VolumeMounts {
		if !volumes[m.Name] {
			t.Errorf("there is no volume %s", m.Name)
		}
	}
	for _, probe := range []*core.Probe{c.LivenessProbe, c.ReadinessProbe} {
		if probe.HTTPGet.Port != intstr.FromString(c.Ports[0].Name) {
			t.Errorf("%+v asks no port of the container", probe.HTTPGet)
		}
	}
}

// project returns the Compose project, as the schema of Compose and its loader take it.
func project(t *testing.T) *types.Project {
	t.Helper()
	dir := write(t, "compose")
	options, err := cli.NewProjectOptions([]string{filepath.Join(dir, "compose.yaml")}, cli.WithWorkingDirectory(dir))
	if err != nil {
		t.Fatal(err)
	}
	p, err := options.LoadProject(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, service := range p.Services {
		for _, v := range service.Volumes {
			if v.Type == "bind" {
				if _, err := os.Stat(v.Source); err != nil {
					t.Errorf("%s: %v", service.Name, err)
				}
			}
		}
	}
	return p
}

func TestCompose(t *testing.T) {
	p := project(t)
	netobs, err := p.GetService("netobs")
	if err != nil {
		t.Fatal(err)
	}
	if slices.Sort(netobs.CapAdd); !slices.Equal(netobs.CapAdd, capabilities) || !slices.Equal(netobs.CapDrop, []string{"ALL"}) || netobs.Privileged {
		t.Errorf("netobs has %v, dropped %v, want %v alone", netobs.CapAdd, netobs.CapDrop, capabilities)
	}
	if _, err := os.Stat(filepath.Join(netobs.Build.Context, "Dockerfile")); err != nil {
		t.Error(err)
	}
	mustRun(t, "promtool", "check", "config", filepath.Join(p.WorkingDir, "prometheus.yml"))
}
