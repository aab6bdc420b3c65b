package question_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/purser-dev/purser"
	"github.com/purser-dev/purser/internal/question"
)

const schema = `{"type":"object","required":["team","size","unknown"],"properties":{
	"team":{"type":"string","title":"Team","description":"which\u001b[2J one","enum":["red","blue"],"default":"red"},
	"size":{"type":"integer","minimum":1,"maximum":9},
	"since":{"type":"string","format":"date"},
	"mail":{"type":"string","format":"email","minLength":3,"maxLength":40},
	"page":{"type":"string","format":"uri"},
	"at":{"type":"string","format":"date-time"},
	"shade":{"type":"string","format":"colour","pattern":"^#"},
	"share":{"type":"number"},
	"open":{"type":"boolean","default":false},
	"tags":{"type":"array","items":{"type":"string"}}}}`

func form(t *testing.T) map[string]purser.Question {
	t.Helper()
	all, err := question.Of([]byte(schema))
	if err != nil {
		t.Fatal(err)
	}
	byName := map[string]purser.Question{}
	for _, q := range all {
		byName[q.Name] = q
	}
	return byName
}

func TestASchemaBecomesQuestionsInItsOrder(t *testing.T) {
	all, err := question.Of([]byte(schema))
	if err != nil {
		t.Fatal(err)
	}
	want := []purser.Question{
		{Name: "team", Title: "Team", Description: "which [2J one", Type: "string", Required: true, Choices: []string{"red", "blue"}, Default: "red"},
		{Name: "size", Type: "integer", Required: true, Minimum: "1", Maximum: "9"},
		{Name: "since", Type: "string", Format: "date"},
		{Name: "mail", Type: "string", Format: "email", MinLength: 3, MaxLength: 40},
		{Name: "page", Type: "string", Format: "uri"},
		{Name: "at", Type: "string", Format: "date-time"},
		{Name: "shade", Type: "string", Format: "colour", Pattern: "^#"},
		{Name: "share", Type: "number"},
		{Name: "open", Type: "boolean", Default: "false"},
		{Name: "tags", Type: "json"},
		{Name: "unknown", Type: "json", Required: true},
	}
	if diff := cmp.Diff(want, all); diff != "" {
		t.Error(diff)
	}
}

func TestWhatIsNoSchemaOrTooMuchIsRefused(t *testing.T) {
	many := map[string]any{}
	for i := range 51 {
		many[fmt.Sprint(i)] = map[string]any{"type": "string"}
	}
	large, _ := json.Marshal(map[string]any{"properties": many})
	for _, raw := range []string{"", "null", "[]", `{"properties":[]}`, `{"properties":{"a":1}}`, string(large)} {
		if all, err := question.Of([]byte(raw)); err == nil {
			t.Errorf("%.40q gives %v", raw, all)
		}
	}
}

func TestWhatAPersonTypesBecomesTheValueThatIsWanted(t *testing.T) {
	questions := form(t)
	for _, test := range []struct {
		name, text string
		want       any
		given      bool
		fault      string // a part of the sentence
	}{
		{"team", "blue", "blue", true, ""},
		{"team", "", "red", true, ""},
		{"team", "green", nil, false, "one of red, blue"},
		{"size", "3", json.Number("3"), true, ""},
		{"size", "+3", json.Number("3"), true, ""},
		{"size", "3.5", nil, false, "whole number"},
		{"size", "", nil, false, "must be answered"},
		{"size", "10", nil, false, "at most 9"},
		{"mail", "a@", nil, false, "ann@example.org"},
		{"mail", strings.Repeat("a", 40) + "@b.c", nil, false, "at most 40"},
		{"shade", "red", nil, false, "must match"},
		{"since", "2026-02-30", nil, false, "2026-05-31"},
		{"since", "2026-02-28", "2026-02-28", true, ""},
		{"since", "", nil, false, ""},
		{"mail", "ann@example.org", "ann@example.org", true, ""},
		{"mail", "Ann <ann@example.org>", nil, false, "ann@example.org"},
		{"page", "example.org", nil, false, "https"},
		{"page", "https://example.org", "https://example.org", true, ""},
		{"at", "2026-05-31", nil, false, "T12"},
		{"shade", "#any", "#any", true, ""},
		{"share", "1.50", json.Number("1.50"), true, ""},
		{"share", "NaN", nil, false, "a number"},
		{"share", "0x10", nil, false, "a number"},
		{"open", "yes", true, true, ""},
		{"open", "", false, true, ""},
		{"open", "perhaps", nil, false, "yes or no"},
		{"tags", `["a",1]`, []any{"a", json.Number("1")}, true, ""},
		{"tags", "plain words", "plain words", true, ""},
	} {
		got, given, err := question.Read(questions[test.name], test.text)
		if diff := cmp.Diff(test.want, got); diff != "" || given != test.given {
			t.Errorf("%s %q: given %v\n%s", test.name, test.text, given, diff)
		}
		if (err == nil) != (test.fault == "") || err != nil && !strings.Contains(err.Error(), test.fault) {
			t.Errorf("%s %q: %v, want %q", test.name, test.text, err, test.fault)
		}
	}
}

func TestAllFaultsAreToldAtOnce(t *testing.T) {
	faults, err := question.Faults([]byte(schema), map[string]any{"size": 12, "since": "soon", "team": "red", "mail": "a@b.c"})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"since must be of the form 2026-05-31", "size must be at most 9", "unknown is required"}
	if diff := cmp.Diff(want, faults); diff != "" {
		t.Error(diff)
	}
}
