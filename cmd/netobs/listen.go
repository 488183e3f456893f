package main

import (
	"errors"
	"fmt"
	"net"
	"strconv"

	"golang.org/x/sys/unix"
)

// defaultListen is where metrics are served, and how many ports from there on are tried when it is taken.
const (
	defaultListen = "127.0.0.1:9811"
	portsTried    = 100
)

// checkListen returns what is wrong with an address to listen on, as far as can be told without opening it.
func checkListen(addr string) error {
	if addr == "" {
		return nil
	}
	_, port, err := net.SplitHostPort(addr)
	if err == nil {
		_, err = strconv.ParseUint(port, 10, 16)
	}
	if err != nil {
		return fmt.Errorf("--listen %s is no address with port, such as %s", addr, defaultListen)
	}
	return nil
}

// listen opens addr. A port in use is an error if the user chose it; else the next free one is taken. An empty address
// means no listener.
func listen(addr string, chosen bool) (net.Listener, error) {
	if addr == "" {
		return nil, nil
	}
	l, err := net.Listen("tcp", addr)
	if err == nil {
		return l, nil
	}
	if !errors.Is(err, unix.EADDRINUSE) || chosen {
		// Not wrapped: what is not permitted here needs another port, not more privileges.
		return nil, fmt.Errorf("serve metrics on --listen %s: %v: choose another address, or none with --listen ''", addr,
			errors.Unwrap(err))
	}
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, err
	}
	first, err := strconv.Atoi(port)
	if err != nil {
		return nil, err
	}
	for port := first + 1; port < first+portsTried; port++ {
		l, err = net.Listen("tcp", net.JoinHostPort(host, strconv.Itoa(port)))
		if err == nil {
			return l, nil
		}
	}
	return nil, fmt.Errorf("serve metrics: all ports from %s to %d are in use: choose one with --listen", addr,
		first+portsTried-1)
}
