package pcap

import (
	"errors"
	"fmt"
	"io"
)

// ErrNotCapture is returned by [NewReader], within an [Error], for what is neither pcap nor pcapng.
var ErrNotCapture = errors.New("not a capture file (pcap or pcapng)")

// ErrEmpty is returned by [NewReader], within an [Error], for a file without a byte.
var ErrEmpty = errors.New("empty file")

// An Error says where a file could not be read any further.
type Error struct {
	Name   string // as given to NewReader
	Offset int64  // of the record that could not be read; of a compressed file, in its uncompressed content
	Gzip   bool   // the file is compressed
	Err    error  // io.ErrUnexpectedEOF if the file is truncated
}

// Error returns the file's name, the offset and the cause.
func (e *Error) Error() string {
	switch {
	case errors.Is(e.Err, ErrEmpty), errors.Is(e.Err, ErrNotCapture):
		return fmt.Sprintf("%s: %v", e.Name, e.Err)
	case errors.Is(e.Err, io.ErrUnexpectedEOF):
		return fmt.Sprintf("%s: truncated: the file ends inside the record at %s", e.Name, e.place())
	}
	return fmt.Sprintf("%s: damaged at %s: %v", e.Name, e.place(), e.Err)
}

func (e *Error) place() string {
	if e.Gzip {
		return fmt.Sprintf("byte %d of its uncompressed content", e.Offset)
	}
	return fmt.Sprintf("byte %d", e.Offset)
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// whole turns an end of file into an unexpected one.
func whole(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}
