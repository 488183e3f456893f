package main

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"netobs/loader/nettest"
	"netobs/loader/wiring"
)

// mustReadHost reads what netobs namespaces --output json said of a host with Docker, a bridge and three more namespaces.
func mustReadHost(t *testing.T) (host *wiring.Host, object []byte) {
	t.Helper()
	object, err := os.ReadFile(filepath.Join("testdata", "namespaces-host.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(object, &host); err != nil {
		t.Fatal(err)
	}
	return host, object
}

// TestShowHost: all forms of one host. JSON is what it was made of.
func TestShowHost(t *testing.T) {
	host, object := mustReadHost(t)
	host.Skipped = nil
	for _, tc := range []struct{ form, golden string }{
		{outputText, "namespaces-host.txt"},
		{outputDOT, "namespaces-host.dot"},
		{outputJSON, "namespaces-host.json"},
	} {
		t.Run(tc.form, func(t *testing.T) {
			var got bytes.Buffer
			if err := showHost(t.Context(), &got, host, tc.form); err != nil {
				t.Fatal(err)
			}
			golden := filepath.Join("testdata", tc.golden)
			if *update && tc.form != outputJSON {
				if err := os.WriteFile(golden, got.Bytes(), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if tc.form == outputJSON {
				want = object
			}
			if got.String() != string(want) {
				t.Errorf("got\n%s\nwant\n%s", got.String(), want)
			}
		})
	}
}

// TestSVG: Graphviz takes the graph, with names that mean something to it, and draws all that is there.
func TestSVG(t *testing.T) {
	if _, err := exec.LookPath("dot"); err != nil {
		if os.Getenv("NETOBS_TEST_PRIVILEGED") == "1" {
			t.Fatal("Graphviz is not installed, and NETOBS_TEST_PRIVILEGED=1 says that nothing is missing")
		}
		t.Skip("Graphviz is not installed")
	}
	host, _ := mustReadHost(t)
	const hostile = `<"b&]]>;\`
	host.Namespaces[1].Name = hostile
	host.Namespaces[2].Interfaces = nil
	host.Namespaces[2].Error = "enter: " + hostile
	var got bytes.Buffer
	if err := showHost(t.Context(), &got, host, outputSVG); err != nil {
		t.Fatal(err)
	}
	texts, cables := map[string]bool{}, 0
	for d := xml.NewDecoder(&got); ; {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		switch token := token.(type) {
		case xml.CharData:
			texts[strings.TrimSpace(string(token))] = true
		case xml.StartElement:
			for _, a := range token.Attr {
				if a.Value == "#4a6fa5" && token.Name.Local == "path" && token.Attr[0].Value == "none" {
					cables++
				}
				if a.Name.Local == "href" {
					t.Errorf("%s refers to %s", token.Name.Local, a.Value)
				}
			}
		}
	}
	for _, want := range []string{"host", hostile, "not known: enter: " + hostile, "br0", "10.7.0.1/24", "172.17.0.2/16"} {
		if !texts[want] {
			t.Errorf("%q is not in the picture", want)
		}
	}
	if cables < 4 {
		t.Errorf("%d cables, want one for each veth pair", cables)
	}
}

func TestSVGWithoutGraphviz(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	host, _ := mustReadHost(t)
	err := showHost(t.Context(), io.Discard, host, outputSVG)
	if err == nil || !strings.Contains(err.Error(), "install the package graphviz") {
		t.Errorf("error %v", err)
	}
}

// TestSides: neighbours of the host left and right, what is behind them farther out.
func TestSides(t *testing.T) {
	ns := func(inode uint64, peers ...uint64) *wiring.Namespace {
		n := &wiring.Namespace{Inode: inode, Host: inode == 1}
		for _, p := range peers {
			n.Interfaces = append(n.Interfaces, &wiring.Interface{Peer: &wiring.Peer{Inode: p}})
		}
		return n
	}
	got := sides(&wiring.Host{Namespaces: []*wiring.Namespace{ns(1, 2, 3), ns(2, 1, 4), ns(3, 1), ns(4, 2, 5), ns(5, 4), ns(6)}})
	if want := "map[1:0 2:-1 3:1 4:-2 5:-3 6:-1]"; fmt.Sprint(got) != want {
		t.Errorf("sides %v, want %s", got, want)
	}
}

// TestNamespaces: the command, on the host as it is.
func TestNamespaces(t *testing.T) {
	t.Parallel()
	a, b := nettest.New(t, "left"), nettest.New(t, "right")
	nettest.Veth(a, "eth0", b, "peer0")
	s := startAttach(t, "--netns", a.Name, "--interface", "eth0")
	code, stdout, stderr := runHere(t, "namespaces")
	s.end()
	if code != 0 || stderr != "" {
		t.Fatalf("code %d, stderr %s", code, stderr)
	}
	for _, want := range []string{"host\n", a.Name + "  /run/netns/" + a.Name, "↔ " + b.Name + "/peer0", "● tcx ingress, egress: program netobs_front"} {
		if !strings.Contains(stdout, want) {
			t.Errorf("%q is not in\n%s", want, stdout)
		}
	}
	checkRefused(t, exitUsage, []string{"--output is text, json, dot or svg", `"png"`}, "namespaces", "--output", "png")
}
