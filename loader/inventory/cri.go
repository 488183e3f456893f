package inventory

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/http"

	"google.golang.org/protobuf/encoding/protowire"
)

// criSockets are where the runtimes of Kubernetes listen: containerd, k3s, CRI-O, cri-dockerd.
var criSockets = []string{
	"/run/containerd/containerd.sock",
	"/run/k3s/containerd/containerd.sock",
	"/run/crio/crio.sock",
	"/run/cri-dockerd.sock",
}

// cri asks a runtime for its pods over the Container Runtime Interface:
// https://github.com/kubernetes/cri-api/blob/master/pkg/apis/runtime/v1/api.proto.
//
// It is gRPC: a POST over HTTP/2 whose body and answer are each one protobuf message behind five bytes, and two fields of
// each message are wanted. net/http does that; the gRPC library and the generated API would be most of netobs.
type cri struct {
	http    http.Client
	version string // of the interface
}

func newCRI(socket string) *cri {
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	return &cri{version: "v1", http: http.Client{Transport: &http.Transport{
		DialContext:       dialer(socket),
		Protocols:         protocols,
		DisableKeepAlives: true,
	}}}
}

// containers returns the sandboxes of pods, and the containers in them, whose network is that of the sandbox.
func (c *cri) containers(ctx context.Context) ([]container, error) {
	// ListPodSandboxResponse: 1 items. PodSandbox: 1 id, 2 metadata. PodSandboxMetadata: 1 name, 3 namespace.
	answer, err := c.call(ctx, "ListPodSandbox", nil)
	if errors.Is(err, errUnimplemented) && c.version == "v1" {
		c.version = "v1alpha2" // what is wanted is alike; all that containerd before 1.6 and CRI-O before 1.23 have
		answer, err = c.call(ctx, "ListPodSandbox", nil)
	}
	if err != nil {
		return nil, err
	}
	var all []container
	for _, item := range answer[1] {
		sandbox, err := parseMessage(item)
		if err != nil {
			return nil, err
		}
		metadata, err := parseMessage(sandbox.last(2))
		if err != nil {
			return nil, err
		}
		name := string(metadata.last(3)) + "/" + string(metadata.last(1))
		all = append(all, container{id: string(sandbox.last(1)), name: name})
	}
	// ListContainersResponse: 1 containers. Container: 1 id, 2 pod_sandbox_id, 3 metadata. ContainerMetadata: 1 name.
	answer, err = c.call(ctx, "ListContainers", nil)
	if err != nil {
		return nil, err
	}
	for _, item := range answer[1] {
		c, err := parseMessage(item)
		if err != nil {
			return nil, err
		}
		metadata, err := parseMessage(c.last(3))
		if err != nil {
			return nil, err
		}
		all = append(all, container{id: string(c.last(1)), name: string(metadata.last(1)), networkOf: string(c.last(2))})
	}
	return all, nil
}

// maxAnswer is more than 10 000 pods need.
const maxAnswer = 64 << 20

// errUnimplemented is a status of gRPC.
var errUnimplemented = errors.New("not implemented")

// call calls a method with a protobuf message; an empty one lists all, without a filter.
func (c *cri) call(ctx context.Context, method string, request []byte) (message, error) {
	body := binary.BigEndian.AppendUint32([]byte{0}, uint32(len(request))) // not compressed, length
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://cri/runtime."+c.version+".RuntimeService/"+method,
		bytes.NewReader(append(body, request...)))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/grpc")
	req.Header.Set("TE", "trailers")
	res, err := c.http.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	body, err = io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	if err != nil {
		return nil, fmt.Errorf("call %s: %w", method, err)
	}
	status := res.Trailer.Get("Grpc-Status")
	if status == "" {
		status = res.Header.Get("Grpc-Status") // an error without an answer
	}
	if status == "12" {
		return nil, fmt.Errorf("call %s: %w", method, errUnimplemented)
	}
	if res.StatusCode != http.StatusOK || status != "0" {
		return nil, fmt.Errorf("call %s: %s, gRPC status %s %s", method, res.Status, status, res.Trailer.Get("Grpc-Message"))
	}
	if len(body) < 5 || body[0] != 0 || uint64(binary.BigEndian.Uint32(body[1:])) != uint64(len(body)-5) {
		return nil, fmt.Errorf("call %s: not one plain message", method)
	}
	return parseMessage(body[5:])
}

// message holds the length-delimited fields of a protobuf message by number: strings, bytes and messages.
type message map[protowire.Number][][]byte

// last returns the value of a field that is not repeated, nil if it is absent.
func (m message) last(field protowire.Number) []byte {
	if all := m[field]; len(all) > 0 {
		return all[len(all)-1]
	}
	return nil
}

// parseMessage reads the wire format.
func parseMessage(b []byte) (message, error) {
	m := make(message)
	for len(b) > 0 {
		field, form, n := protowire.ConsumeTag(b)
		if n < 0 {
			return nil, protowire.ParseError(n)
		}
		b = b[n:]
		if n = protowire.ConsumeFieldValue(field, form, b); n < 0 {
			return nil, protowire.ParseError(n)
		}
		if form == protowire.BytesType {
			value, _ := protowire.ConsumeBytes(b)
			m[field] = append(m[field], value)
		}
		b = b[n:]
	}
	return m, nil
}
