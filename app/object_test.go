package app

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// reference is what Object does, by way of encoding/json.
func reference(raw []byte) (map[string]json.RawMessage, bool) {
	var members map[string]json.RawMessage
	if json.Unmarshal(raw, &members) != nil || members == nil {
		return nil, false
	}
	for name, value := range members {
		if string(value) == "null" {
			delete(members, name)
		}
	}
	return members, true
}

var objects = []string{
	`{}`, ` { } `, `{"a":1}`, `{"a":null}`, `{"a":1,"a":null}`, `{"a":null,"a":2}`, `{"a":1,"A":2}`,
	"{\n\t\"a\" : [1, {\"b\":\"]\"}, \"\\\"\"] ,\r\n \"c\":{\"d\":{}} , \"e\" : -1.5e3 , \"f\":true}",
	`{"a\u0062":"\\","ü":"ü","":""}`, "{\"\xff\":\"\xff\"}", `{"a":"}"}`, `{"a":"\\\""}`,
	``, ` `, `null`, `[]`, `"x"`, `1`, `{`, `{"a"}`, `{"a":}`, `{"a":1,}`, `{} {}`, `{"a":01}`,
}

func TestObjectReadsWhatEncodingJSONReads(t *testing.T) {
	for _, raw := range objects {
		sameAsReference(t, []byte(raw))
	}
}

func FuzzObject(f *testing.F) {
	for _, raw := range objects {
		f.Add([]byte(raw))
	}
	f.Fuzz(sameAsReference)
}

func sameAsReference(t *testing.T, raw []byte) {
	t.Helper()
	want, ok := reference(raw)
	got, err := Object(raw)
	if (err == nil) != ok {
		t.Fatalf("%q: %v, want an object: %v", raw, err, ok)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%q: %s", raw, diff)
	}
}
