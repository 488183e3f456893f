package inventory

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/http"
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
type cri struct{ http http.Client }

func newCRI(socket string) *cri {
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	return &cri{http.Client{Transport: &http.Transport{
		DialContext:       dialer(socket),
		Protocols:         protocols,
		DisableKeepAlives: true,
	}}}
}

// containers returns the sandboxes of pods, and the containers in them, whose network is that of the sandbox.
func (c *cri) containers(ctx context.Context) ([]container, error) {
	// ListPodSandboxResponse: 1 items. PodSandbox: 1 id, 2 metadata. PodSandboxMetadata: 1 name, 3 namespace.
	answer, err := c.list(ctx, "ListPodSandbox")
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
	answer, err = c.list(ctx, "ListContainers")
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

// list calls a method whose request may be empty: without a filter, all is listed.
func (c *cri) list(ctx context.Context, method string) (message, error) {
	empty := make([]byte, 5) // not compressed, length 0
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://cri/runtime.v1.RuntimeService/"+method,
		bytes.NewReader(empty))
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
	body, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	if err != nil {
		return nil, fmt.Errorf("call %s: %w", method, err)
	}
	status := res.Trailer.Get("Grpc-Status")
	if status == "" {
		status = res.Header.Get("Grpc-Status") // an error without an answer
	}
	if res.StatusCode != http.StatusOK || status != "0" {
		return nil, fmt.Errorf("call %s: %s, gRPC status %s", method, res.Status, status)
	}
	if len(body) < 5 || body[0] != 0 || uint64(binary.BigEndian.Uint32(body[1:])) != uint64(len(body)-5) {
		return nil, fmt.Errorf("call %s: not one plain message", method)
	}
	return parseMessage(body[5:])
}

// message holds the length-delimited fields of a protobuf message by number: strings, bytes and messages.
type message map[int][][]byte

// last returns the value of a field that is not repeated, nil if it is absent.
func (m message) last(field int) []byte {
	if all := m[field]; len(all) > 0 {
		return all[len(all)-1]
	}
	return nil
}

var errMessage = errors.New("protobuf message is cut off or of an unknown form")

// parseMessage reads the wire format: https://protobuf.dev/programming-guides/encoding/.
func parseMessage(b []byte) (message, error) {
	m := make(message)
	for len(b) > 0 {
		tag, n := binary.Uvarint(b)
		if n <= 0 {
			return nil, errMessage
		}
		b = b[n:]
		field, size := int(tag>>3), uint64(0)
		switch tag & 7 {
		case 0: // varint
			_, n := binary.Uvarint(b)
			if n <= 0 {
				return nil, errMessage
			}
			size = uint64(n)
		case 1:
			size = 8
		case 2:
			length, n := binary.Uvarint(b)
			if n <= 0 || length > uint64(len(b)-n) {
				return nil, errMessage
			}
			m[field] = append(m[field], b[n:][:length])
			size = uint64(n) + length
		case 5:
			size = 4
		default:
			return nil, errMessage
		}
		if size > uint64(len(b)) {
			return nil, errMessage
		}
		b = b[size:]
	}
	return m, nil
}
