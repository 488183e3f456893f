package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"netobs/decode"
)

// mustCompileSchema returns the schema that netobs prints. A strict one allows no field that it does not describe.
func mustCompileSchema(tb testing.TB, strict bool) *jsonschema.Schema {
	tb.Helper()
	doc, err := jsonschema.UnmarshalJSON(strings.NewReader(schema))
	if err != nil {
		tb.Fatal(err)
	}
	if strict {
		for _, def := range doc.(map[string]any)["$defs"].(map[string]any) {
			eachObject(def, func(o map[string]any) { o["additionalProperties"] = false })
		}
	}
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	if err := c.AddResource("schema.json", doc); err != nil {
		tb.Fatal(err)
	}
	s, err := c.Compile("schema.json")
	if err != nil {
		tb.Fatal(err)
	}
	return s
}

// eachObject calls f for each part of a schema that lists properties.
func eachObject(part any, f func(map[string]any)) {
	switch part := part.(type) {
	case map[string]any:
		if _, ok := part["properties"].(map[string]any); ok {
			f(part)
		}
		for _, v := range part {
			eachObject(v, f)
		}
	case []any:
		for _, v := range part {
			eachObject(v, f)
		}
	}
}

// checkSchema checks objects, one after another, and returns their types.
func checkSchema(tb testing.TB, s *jsonschema.Schema, objects string) (types []string) {
	tb.Helper()
	for dec := json.NewDecoder(strings.NewReader(objects)); dec.More(); {
		var raw json.RawMessage
		if err := dec.Decode(&raw); err != nil {
			tb.Fatal(err)
		}
		object, err := jsonschema.UnmarshalJSON(bytes.NewReader(raw))
		if err != nil {
			tb.Fatal(err)
		}
		if err := s.Validate(object); err != nil {
			tb.Errorf("%v\nin %s", err, raw)
		}
		typ, _ := object.(map[string]any)["type"].(string)
		types = append(types, typ)
	}
	return types
}

// TestSchema holds what the commands print against the schema that netobs prints.
func TestSchema(t *testing.T) {
	if code, stdout, stderr := runHere(t, "schema"); code != 0 || stdout != schema || stderr != "" {
		t.Fatalf("code %d, stderr %q", code, stderr)
	}
	strict, open := mustCompileSchema(t, true), mustCompileSchema(t, false)
	inDir(t, map[string][]byte{"all.pcap": mustPcap(t, storyOfAll(t)), "other.pcap": mustPcap(t, storyOfAll(t))})
	for _, tc := range []struct {
		args  []string
		types []string
	}{
		{[]string{"read", "--output", "json", "all.pcap"}, []string{"connection", "handshake"}},
		{[]string{"read", "--output", "json", "all.pcap", "other.pcap"}, []string{"connection", "handshake"}},
		{[]string{"read", "--output", "json", "--segments", "all.pcap", "other.pcap"}, []string{"segment"}},
		{[]string{"read", "--output", "json", "--summary", "all.pcap"}, []string{"summary"}},
		{[]string{"namespaces", "--output", "json"}, []string{"namespaces"}},
		{[]string{"check", "--output", "json"}, []string{"check"}},
		{[]string{"metrics", "--output", "json"}, []string{"metrics"}},
	} {
		t.Run(strings.Join(tc.args, " "), func(t *testing.T) {
			code, stdout, stderr := runHere(t, tc.args...)
			if code != 0 {
				t.Fatalf("code %d, stderr %q", code, stderr)
			}
			types := checkSchema(t, strict, stdout)
			checkSchema(t, open, stdout)
			slices.Sort(types)
			if got := slices.Compact(types); !slices.Equal(got, tc.types) {
				t.Errorf("objects of the types %v, want %v", got, tc.types)
			}
		})
	}
	t.Run("live", func(t *testing.T) {
		var b bytes.Buffer
		if err := outputSamples(newJSON(&b)); err != nil {
			t.Fatal(err)
		}
		checkSchema(t, strict, b.String())
	})
}

// TestSchemaRefuses checks that the schema says something: it refuses what is not so, and takes fields to come.
func TestSchemaRefuses(t *testing.T) {
	s := mustCompileSchema(t, false)
	good := `{"type":"handshake","schema":1,"time":"2026-01-02T15:03:42.000000001Z","originator":"127.0.0.1:1","responder":"[::1]:2",` +
		`"community_id":"1:LQU9qZlK+B5F3KDmev6m5PMibrg=","role":"local","outcome":"refused","start":"2026-01-02T15:03:42Z",` +
		`"syn_retransmissions":0,"syn_ack_retransmissions":0}`
	for _, tc := range []struct{ from, to string }{
		{`"schema":1`, `"schema":2`},
		{`"type":"handshake"`, `"type":"connection"`},
		{`"refused"`, `"Refused"`},
		{`"local"`, `""`},
		{`.000000001Z`, `.000000001+01:00`},
		{`2026-01-02T15:03:42Z`, `yesterdayZ`},
		{`127.0.0.1:1`, `localhost:1`},
		{`1:LQU9`, `2:LQU9`},
		{`"syn_retransmissions":0`, `"syn_retransmissions":-1`},
		{`"start"`, `"begin"`},
	} {
		object, err := jsonschema.UnmarshalJSON(strings.NewReader(strings.Replace(good, tc.from, tc.to, 1)))
		if err != nil {
			t.Fatal(err)
		}
		if s.Validate(object) == nil {
			t.Errorf("%s instead of %s is taken", tc.to, tc.from)
		}
	}
	checkSchema(t, s, good+strings.Replace(good, `"schema"`, `"more":1,"schema"`, 1))
}

// TestSchemaWords checks that the schema has the words that there are, and says of each field what it means.
func TestSchemaWords(t *testing.T) {
	var doc struct {
		Defs map[string]map[string]any `json:"$defs"`
	}
	if err := json.Unmarshal([]byte(schema), &doc); err != nil {
		t.Fatal(err)
	}
	enum := func(def string, property ...string) string {
		part := doc.Defs[def]
		for _, p := range property {
			part = part["properties"].(map[string]any)[p].(map[string]any)
		}
		return fmt.Sprint(part["enum"])
	}
	parsed := make([]string, decode.NumParsed)
	for i := range parsed {
		parsed[i] = decode.Parsed(i).String()
	}
	var places []string
	for _, p := range decode.Places() {
		places = append(places, p.Label())
	}
	kinds := doc.Defs["summary"]["properties"].(map[string]any)["packets_by_kind"].(map[string]any)["propertyNames"].(map[string]any)
	for _, tc := range []struct{ name, got, want string }{
		{"role", enum("role"), fmt.Sprint(decode.Roles())},
		{"outcome", enum("outcome"), fmt.Sprint(decode.Outcomes())},
		{"teardown", enum("connection", "teardown"), fmt.Sprint(decode.Teardowns())},
		{"closer", enum("connection", "closer"), fmt.Sprint(decode.Sides())},
		{"place", enum("segment", "place"), fmt.Sprint(places)},
		{"packets_by_kind", fmt.Sprint(kinds["enum"]), fmt.Sprint(parsed)},
	} {
		if tc.got != tc.want {
			t.Errorf("%s is %s, want %s", tc.name, tc.got, tc.want)
		}
	}
	described := func(part map[string]any) bool {
		if part["description"] != nil || part["const"] != nil {
			return true
		}
		ref, _ := part["$ref"].(string)
		return doc.Defs[filepath.Base(ref)]["description"] != nil
	}
	for name, def := range doc.Defs {
		eachObject(def, func(o map[string]any) {
			for field, part := range o["properties"].(map[string]any) {
				if !described(part.(map[string]any)) {
					t.Errorf("%s: %s is not described", name, field)
				}
			}
		})
	}
}

// TestCommunityIDOfTshark compares the Community ID of segments with tshark's.
func TestCommunityIDOfTshark(t *testing.T) {
	inDir(t, map[string][]byte{"all.pcap": mustPcap(t, storyOfAll(t))})
	want, err := exec.Command("tshark", "--enable-protocol", "communityid", "-r", "all.pcap", "-T", "fields", "-e", "communityid").Output()
	if err != nil {
		t.Fatalf("tshark: %v", err)
	}
	code, stdout, stderr := runHere(t, "read", "--segments", "--output", "json", "all.pcap")
	if code != 0 {
		t.Fatal(stderr)
	}
	var got strings.Builder
	for dec := json.NewDecoder(strings.NewReader(stdout)); dec.More(); {
		var s struct {
			ID string `json:"community_id"`
		}
		if err := dec.Decode(&s); err != nil {
			t.Fatal(err)
		}
		fmt.Fprintln(&got, s.ID)
	}
	if got.String() != string(want) || got.Len() == 0 {
		t.Errorf("got\n%swant\n%s", got.String(), want)
	}
}
