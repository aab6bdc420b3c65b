package form

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/purser-dev/purser"
)

func fill[T any](t *testing.T, text string) (T, error) {
	t.Helper()
	var none T
	members, err := Parse([]byte(text))
	if err != nil {
		return none, err
	}
	in, err := Fill(reflect.TypeFor[T](), members)
	if err != nil {
		return none, err
	}
	return in.(T), nil
}

func TestMembersBecomeTheInput(t *testing.T) {
	got, err := fill[purser.MakePlan](t, `{"purpose":"p","run":null,"steps":[{"service":"a/b","configuration":{"years":2,"deep":{"x":[1]}},
		"ceiling":{"amount":9007199254740993,"currency":"USD"}}]}`)
	if err != nil {
		t.Fatal(err)
	}
	want := purser.MakePlan{Purpose: "p", Steps: []purser.StepRequest{{
		Service:       "a/b",
		Configuration: map[string]any{"years": 2.0, "deep": map[string]any{"x": []any{1.0}}},
		Ceiling:       &purser.Money{Amount: 9007199254740993, Currency: "USD"}, // exact above 2^53
	}}}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func TestEveryFaultIsNamedAtOnceAndNoValueIsRepeated(t *testing.T) {
	tests := []struct {
		name, text string
		want       []string
	}{
		{"several at once", `{"stepz":[],"purpose":7,"dry_run":"hunter2"}`, []string{
			"stepz is not known (did you mean steps?)", "purpose must be text", "dry_run must be true or false", "steps is missing",
		}},
		{"deep in a list", `{"steps":[{"service":"a"},{"name":"n","ceiling":{"amount":1.5,"currency":"USD"}}]}`, []string{
			"steps[1].service is missing", "steps[1].ceiling.amount must be a whole number",
		}},
		{"the case of a name counts", `{"Steps":[]}`, []string{"Steps is not known (did you mean steps?)"}},
		{"a number that no float holds", `{"steps":[{"service":"a","configuration":{"n":9007199254740993}}]}`, []string{"configuration.n is a number too large"}},
		{"an amount above 64 bits", `{"steps":[{"service":"a","ceiling":{"amount":99999999999999999999,"currency":"USD"}}]}`, []string{"must be a whole number"}},
		{"a list where an object belongs", `{"steps":[[]]}`, []string{"steps[0] must be an object"}},
		{"null where something is needed", `{"steps":null}`, []string{"steps is missing"}},
		{"not an object", `["hunter2"]`, []string{"not one whole JSON object"}},
		{"null", `null`, []string{"not one whole JSON object"}},
		{"broken off", `{"steps":[`, []string{"not one whole JSON object"}},
		{"not JSON", `{hunter2}`, []string{"at byte 2"}},
		{"two objects", `{"steps":[]} {"hunter2":1}`, []string{"something follows"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := fill[purser.MakePlan](t, tt.text)
			if purser.CodeOf(err) != purser.InvalidRequest {
				t.Fatalf("got %v", err)
			}
			for _, w := range tt.want {
				if !strings.Contains(err.Error(), w) {
					t.Errorf("%q does not say %q", err, w)
				}
			}
			if strings.Contains(err.Error(), "hunter2") {
				t.Errorf("a value came back: %q", err)
			}
		})
	}
}

func TestAHostileRequestGetsAShortAnswer(t *testing.T) {
	var b strings.Builder
	b.WriteString(`{"steps":[`)
	for range 5000 {
		b.WriteString(`{"x":1},`)
	}
	b.WriteString(`{}],"` + strings.Repeat("\\u001b", 3000) + `":1}`)
	_, err := fill[purser.MakePlan](t, b.String())
	if n := len(err.Error()); n > 3000 || strings.ContainsRune(err.Error(), 0x1b) {
		t.Errorf("%d bytes: %.200q", n, err)
	}
}

func TestTextOfAQueryBecomesTheMembersType(t *testing.T) {
	members := map[string]any{
		"limit": Text(reflect.TypeFor[purser.Search](), "limit", "7"),
		"words": Text(reflect.TypeFor[purser.Search](), "words", "8"),
	}
	got, err := Fill(reflect.TypeFor[purser.Search](), members)
	want := purser.Search{Words: "8", Page: purser.Page{Limit: 7}}
	if d := cmp.Diff(want, got); err != nil || d != "" {
		t.Error(err, d)
	}
	bad := map[string]any{"limit": Text(reflect.TypeFor[purser.Page](), "limit", "many")}
	if _, err := Fill(reflect.TypeFor[purser.Page](), bad); purser.CodeOf(err) != purser.InvalidRequest {
		t.Errorf("limit=many gives %v", err)
	}
}

func TestOnlyANumberAsJSONWritesItIsOne(t *testing.T) {
	for text, ok := range map[string]bool{"7": true, "0": true, "-0": true, "-7": true, "+7": false, "07": false, "-07": false, "00": false, "--7": false, "-+7": false, "": false, "-": false, "7 ": false} {
		_, err := Fill(reflect.TypeFor[purser.Page](), map[string]any{"limit": Text(reflect.TypeFor[purser.Page](), "limit", text)})
		if ok && err != nil || !ok && purser.CodeOf(err) != purser.InvalidRequest {
			t.Errorf("limit=%s: %v", text, err)
		}
	}
}

func TestWholeWritesEmptyListsAndTouchesNothingElse(t *testing.T) {
	shared := purser.StopInfo{ID: "stp_1"}
	in := purser.Status{Stops: []purser.StopInfo{shared}}
	got, _ := json.Marshal(Whole(in))
	if strings.Contains(string(got), ":null") || !strings.Contains(string(got), `"effects":[]`) || !strings.Contains(string(got), "stp_1") {
		t.Errorf("got %s", got)
	}
	if in.Waiting != nil || in.Stops[0].Effects != nil {
		t.Error("the caller's value was changed")
	}
}

func FuzzFillNeverPanicsAndNeverAcceptsWhatItCannotKeep(f *testing.F) {
	f.Add(`{"steps":[{"service":"a","configuration":{"a":[1,{"b":null}]}}]}`)
	f.Add(`{"steps":[{"service":"a","ceiling":{"amount":1e3,"currency":"USD"}}]}`)
	f.Fuzz(func(t *testing.T, text string) {
		members, err := Parse([]byte(text))
		if err != nil {
			return
		}
		if _, err := Fill(reflect.TypeFor[purser.MakePlan](), members); err != nil && purser.CodeOf(err) != purser.InvalidRequest {
			t.Errorf("%q: %v", text, err)
		}
	})
}
