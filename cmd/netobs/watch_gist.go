package main

import (
	"bytes"

	"netobs/decode"
)

// httpBegins are what plain HTTP requests and responses begin with: methods of RFC 9110 §9 and RFC 5789, and the version.
var httpBegins = [][]byte{
	[]byte("GET "), []byte("HEAD "), []byte("POST "), []byte("PUT "), []byte("DELETE "), []byte("CONNECT "), []byte("OPTIONS "),
	[]byte("TRACE "), []byte("PATCH "), []byte("HTTP/1."),
}

// appendGist appends the first line of a plain HTTP request or response as tcpdump does, if the payload begins with one. If that
// is longer than what was copied, dots say so.
func appendGist(dst []byte, seg *decode.Segment) []byte {
	for _, begin := range httpBegins {
		if !bytes.HasPrefix(seg.Data, begin) {
			continue
		}
		line, _, whole := bytes.Cut(seg.Data, []byte("\n"))
		line = bytes.TrimSuffix(line, []byte("\r"))
		if i := bytes.IndexFunc(line, func(r rune) bool { return r < ' ' || r > '~' }); i >= 0 {
			line, whole = line[:i], false
		}
		dst = append(append(dst, ": HTTP: "...), line...)
		if !whole {
			dst = append(dst, "..."...)
		}
		return dst
	}
	return dst
}
