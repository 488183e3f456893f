package inventory

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
)

// engineSockets are where Docker and Podman, which speaks the same API, listen.
var engineSockets = []string{"/run/docker.sock", "/run/podman/podman.sock"}

// engine is a Docker Engine, asked over its socket: https://docs.docker.com/reference/api/engine/.
type engine struct{ http http.Client }

func newEngine(socket string) *engine {
	return &engine{http.Client{Transport: &http.Transport{DialContext: dialer(socket), DisableKeepAlives: true}}}
}

// dialer connects to a socket whatever the address is.
func dialer(socket string) func(context.Context, string, string) (net.Conn, error) {
	return func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", socket)
	}
}

// containers lists also those that are being made or have ended: one of the former may begin at any time.
func (e *engine) containers(ctx context.Context) ([]container, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://engine/containers/json?all=1", nil)
	if err != nil {
		return nil, err
	}
	res, err := e.http.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("list containers: %s", res.Status)
	}
	var list []struct {
		ID         string `json:"Id"`
		Names      []string
		Labels     map[string]string
		HostConfig struct{ NetworkMode string }
	}
	if err := json.NewDecoder(io.LimitReader(res.Body, maxAnswer)).Decode(&list); err != nil {
		return nil, fmt.Errorf("list containers: %w", err)
	}
	if list == nil {
		return nil, errors.New("list containers: not a list")
	}
	var all []container
	for _, c := range list {
		owner, _ := strings.CutPrefix(c.HostConfig.NetworkMode, "container:")
		if owner == c.HostConfig.NetworkMode {
			owner = ""
		}
		all = append(all, container{id: c.ID, name: engineName(c.Names, c.Labels), networkOf: owner})
	}
	return all, nil
}

// engineName is the container's own name, /web, not those that links gave it, /other/web. What dockershim and cri-dockerd
// make for Kubernetes carries the pod in labels.
func engineName(names []string, labels map[string]string) string {
	if pod := labels["io.kubernetes.pod.name"]; pod != "" {
		return labels["io.kubernetes.pod.namespace"] + "/" + pod
	}
	for _, name := range names {
		if own := strings.TrimPrefix(name, "/"); !strings.Contains(own, "/") {
			return own
		}
	}
	return ""
}
