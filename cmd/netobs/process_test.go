package main

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"netobs/loader/nettest"
)

// TestResponderProcess: lines say which process listens, where it is in the namespace.
func TestResponderProcess(t *testing.T) {
	t.Parallel()
	a, b := twoOnVeth(t)
	inB := b.Listen("10.9.0.2:8081")
	s := startAttach(t, "--netns", a.Name, "--netns", b.Name, "--output", "json")
	want := fmt.Sprintf(`"responder_process":{"pid":%d,"name":`, os.Getpid())
	nettest.Eventually(t, 20*time.Second, func() error {
		client, server := a.Connect(inB)
		client.Close()
		server.Close()
		if !strings.Contains(s.stdout.String(), want) {
			return errors.New("no line says which process it was")
		}
		return nil
	})
	s.end()
	checkSchema(t, mustCompileSchema(t, true), s.stdout.String())
	for line := range strings.Lines(s.stdout.String()) {
		if strings.Contains(line, "responder_process") && (!strings.Contains(line, want) || !strings.Contains(line, `"role":"responder"`)) {
			t.Error(line)
		}
	}
}
