package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"

	"netobs/decode/pcap"
)

// input is a file being read. A Read that waits for a pipe ends when ctx is done.
type input struct {
	name   string
	ctx    context.Context
	r      io.Reader
	file   *os.File      // r, if it is a file
	before func(n int64) // called before each read, with the number of bytes that the last one got
	last   int64
	opened []io.Closer
	done   *os.File // can be read when ctx is done; nil if file never waits
}

// openInput opens what an argument names.
func openInput(ctx context.Context, name string, stdin io.Reader) (*input, error) {
	in := &input{name: name, ctx: ctx, r: stdin}
	if name == stdinName {
		in.name = "standard input"
		in.file, _ = stdin.(*os.File)
	} else {
		f, err := os.Open(name)
		if err != nil {
			return nil, in.explain(err)
		}
		in.r, in.file = f, f
		in.opened = append(in.opened, f)
	}
	if in.file == nil {
		return in, nil
	}
	if err := in.prepare(); err != nil {
		in.Close()
		return nil, in.explain(err)
	}
	return in, nil
}

// prepare finds out what kind of file there is.
func (in *input) prepare() error {
	info, err := in.file.Stat()
	switch {
	case err != nil:
		return err
	case info.IsDir():
		return unix.EISDIR
	case isTTY(in.file):
		return errors.New("a terminal has no capture; pipe one in: tcpdump -U -w - | netobs read -")
	case info.Mode().IsRegular():
		return nil
	}
	done, wake, err := os.Pipe()
	if err != nil {
		return err
	}
	stop := context.AfterFunc(in.ctx, func() { wake.Close() })
	in.opened = append(in.opened, done, closerFunc(func() error {
		if stop() {
			return wake.Close()
		}
		return nil
	}))
	in.done = done
	return nil
}

// Read implements [io.Reader].
func (in *input) Read(b []byte) (int, error) {
	in.before(in.last)
	if in.done != nil {
		if err := in.wait(); err != nil {
			return 0, err
		}
	}
	if in.ctx.Err() != nil {
		return 0, in.ctx.Err()
	}
	n, err := in.r.Read(b)
	in.last = int64(n)
	return n, err
}

// wait returns when there is something to read, or ctx is done.
func (in *input) wait() error {
	fds := []unix.PollFd{
		{Fd: int32(in.file.Fd()), Events: unix.POLLIN},
		{Fd: int32(in.done.Fd()), Events: unix.POLLIN},
	}
	for {
		if _, err := unix.Poll(fds, -1); err != unix.EINTR {
			return err
		}
	}
}

// Close closes what openInput opened.
func (in *input) Close() error {
	var err error
	for _, c := range in.opened {
		err = errors.Join(err, c.Close())
	}
	return err
}

// closerFunc is a function that is an [io.Closer].
type closerFunc func() error

func (f closerFunc) Close() error { return f() }

// explain makes a line of an error that begins with the name of the input.
func (in *input) explain(err error) error {
	var at *pcap.Error
	isAt := errors.As(err, &at)
	var path *fs.PathError
	switch {
	case err == nil:
		return nil
	case isAt && errors.Is(err, context.Canceled):
		return fmt.Errorf("%s: interrupted at byte %d", in.name, at.Offset)
	case errors.Is(err, pcap.ErrEmpty), errors.Is(err, pcap.ErrNotCapture):
		return fmt.Errorf("%s: %w", in.name, at.Err)
	case errors.As(err, &path) && isAt:
		return fmt.Errorf("%s: byte %d: %w", in.name, at.Offset, path.Err)
	case errors.As(err, &path):
		return fmt.Errorf("%s: %w", in.name, path.Err)
	case isAt:
		return err
	}
	return fmt.Errorf("%s: %w", in.name, err)
}
