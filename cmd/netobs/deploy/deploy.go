// Package deploy holds the files by which netobs is installed: units of systemd, a Dockerfile, a Compose project with Prometheus
// and Grafana, manifests for Kubernetes. Their tests hold them against what reads them.
package deploy

import (
	"embed"
	"io/fs"
	"path"

	"netobs/metrics/grafana"
	"netobs/metrics/rules"
)

//go:embed systemd docker kubernetes compose
var files embed.FS

// A Kind is a way to install netobs.
type Kind struct {
	Name  string // by which it is asked for
	About string // what it is, in a line
	// Binary says that the files go beside netobs itself.
	Binary bool
}

// Kinds are all there are.
var Kinds = []Kind{
	{"systemd", "a hardened service, and its socket", false},
	{"docker", "a Dockerfile, and how to run the image", true},
	{"compose", "a Compose project: netobs, Prometheus with its rules, Grafana with its dashboards", true},
	{"kubernetes", "a DaemonSet, and a PodMonitor for the Prometheus operator", false},
}

// A File is to be written at Name, a path with slashes.
type File struct {
	Name    string
	Content []byte
}

// Files returns the files of a kind, by name within directories.
func (k Kind) Files() (all []File) {
	all = embedded(k.Name)
	if k.Name == "compose" {
		all = append(all, embedded("docker")...)
		all = append(all, File{"netobs.rules.yaml", rules.File})
		for _, d := range grafana.Dashboards {
			all = append(all, File{"dashboards/" + d.Name + ".json", d.JSON()})
		}
	}
	return all
}

func embedded(dir string) (all []File) {
	sub, err := fs.Sub(files, dir)
	if err != nil {
		panic(err) // dir is ours
	}
	err = fs.WalkDir(sub, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		content, err := fs.ReadFile(sub, name)
		all = append(all, File{path.Clean(name), content})
		return err
	})
	if err != nil {
		panic(err) // embedded
	}
	return all
}
