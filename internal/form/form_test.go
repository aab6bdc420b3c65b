package form

import (
	"encoding/json"
	"maps"
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
		"ceiling":{"amount":9007199254740991,"currency":"USD"}}]}`)
	if err != nil {
		t.Fatal(err)
	}
	want := purser.MakePlan{Purpose: "p", Steps: []purser.StepRequest{{
		Service:       "a/b",
		Configuration: map[string]any{"years": 2.0, "deep": map[string]any{"x": []any{1.0}}},
		Ceiling:       &purser.Money{Amount: 9007199254740991, Currency: "USD"}, // the largest that JSON says exactly (RFC 8785)
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
		{"a name twice", `{"steps":[],"purpose":"a","purpose":"b"}`, []string{"purpose stands twice in one object"}},
		{"a name twice, and an escape", `{"steps":[{"service":"a","n\u0061me":"b","name":"c"}]}`, []string{"name stands twice in one object"}},
		{"an amount that no record can say", `{"steps":[{"service":"a","ceiling":{"amount":9007199254740992,"currency":"USD"}}]}`, []string{"steps[0].ceiling.amount is a number too large to be exact"}},
		{"a text that no database keeps", `{"steps":[],"purpose":"a\u0000b"}`, []string{"purpose must be text without the character U+0000"}},
		{"such a text in a free member", `{"steps":[{"service":"x","configuration":{"a":["b\u0000"]}}]}`, []string{"steps[0].configuration.a[0] must be text without the character U+0000"}},
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

// FuzzTheShortWayIsTheLongWay holds what is read without encoding/json against it:
// the same members, and the same input or the same error.
func FuzzTheShortWayIsTheLongWay(f *testing.F) {
	for _, text := range []string{
		`{"run":"r","provider":"p","category":"","labels":["a","b"],"amount_minor":7,"currency":"USD"}`,
		`{"labels":[],"amount_minor":-0,"provider":"ä\u00e4\ud800","currency":"<\xff>"}`,
		`{"labels":null,"amount_minor":1e3,"provider":"p","provider":"q","currency":"USD"}`,
		` { "labels" : [ "a" , null ] , "amount_minor" : 9223372036854775808 , "provider" : 7 }`,
		`{"purpose":"p","dry_run":true,"steps":[{"service":"a","configuration":{"a":[1,{"b":null}]},"ceiling":{"amount":7,"currency":"USD"}}]}`,
		`{"words":"w","max_monthly":"1","limit":07}`, `{"limit":-}`, `{"limit":1.}`, `{"limit":1,}`, `{"a":[1,]}`, `{"limit":1}x`, `{"limit":1`, `{}`, `{ }`, `[]`, `nul`,
		`{"deep":[[[[[[[[[[[[1]]]]]]]]]]]]}`, "{\"a\":\"\x01\"}", `{"a":tru}`, `{"a":nulll}`, `{"hashing":{"memory_kib":1,"time":256,"parallelism":256}}`,
		`{"wait":7,"project":"p","service":"a/b","configuration":{"n":1.5,"<":"\u2028"}}`,
	} {
		f.Add(text)
	}
	inputs := []reflect.Type{
		reflect.TypeFor[purser.ChargeUsage](), reflect.TypeFor[purser.MakePlan](), reflect.TypeFor[purser.Search](), reflect.TypeFor[purser.SetUp](), reflect.TypeFor[purser.Add](),
	}
	f.Fuzz(func(t *testing.T, text string) {
		want, wantErr := parse([]byte(text))
		got, err := Parse([]byte(text))
		if d := cmp.Diff(want, got); d != "" || !same(err, wantErr) {
			t.Fatalf("%q: %v, not %v\n%s", text, err, wantErr, d)
		}
		for _, in := range inputs {
			again, _ := parse([]byte(text))
			want, wantErr := fillViaJSON(in, again)
			got, err := Fill(in, maps.Clone(got))
			if d := cmp.Diff(want, got); d != "" || !same(err, wantErr) {
				t.Fatalf("%s of %q: %v, not %v\n%s", in, text, err, wantErr, d)
			}
		}
	})
}

func same(a, b error) bool { return (a == nil) == (b == nil) && (a == nil || a.Error() == b.Error()) }

// fillViaJSON is Fill by encoding/json alone.
func fillViaJSON(t reflect.Type, members map[string]any) (any, error) {
	var c checker
	if c.object("", members, t); len(c.faults) > 0 {
		return nil, c.err()
	}
	in := reflect.New(t).Elem()
	if err := viaJSON(in, members); err != nil {
		return nil, err
	}
	return in.Interface(), nil
}

func TestTextThatIsNotUTF8ComesToTheSameAsThroughJSON(t *testing.T) {
	members := func() map[string]any { return map[string]any{"words": "a\xff\xfeb\xe2\x28"} }
	want, _ := fillViaJSON(reflect.TypeFor[purser.Search](), members())
	got, err := Fill(reflect.TypeFor[purser.Search](), members())
	if d := cmp.Diff(want, got); err != nil || d != "" || got.(purser.Search).Words != "a\ufffd\ufffdb\ufffd(" {
		t.Errorf("%v %q\n%s", err, got, d)
	}
}

// odd are members that only encoding/json knows how to place.
type odd struct {
	*behind
	When   tick           `json:"when,omitempty"`
	Counts map[string]int `json:"counts,omitempty"`
	Two    *[]*bool       `json:"two,omitempty"`
	Small  uint8          `json:"small,omitempty"`
	Quoted int            `json:"quoted,string,omitempty"`
}

type behind struct {
	Hidden string `json:"hidden,omitempty"`
}

type tick string

func (k *tick) UnmarshalText(text []byte) error { *k = "tick " + tick(text); return nil }

// plain is odd where each member is a field of its own.
type plain struct {
	When  tick    `json:"when,omitempty"`
	Whens []tick  `json:"whens,omitempty"`
	Two   *[]bool `json:"two,omitempty"`
	Deep  *struct {
		Whens []tick `json:"whens"`
	} `json:"deep,omitempty"`
}

func TestATypeThatReadsJSONByItselfIsAsked(t *testing.T) {
	for _, tt := range []struct {
		in   reflect.Type
		text string
	}{
		{reflect.TypeFor[odd](), `{"when":"a","counts":{"b":1},"two":[true],"small":7}`},
		{reflect.TypeFor[odd](), `{"quoted":7}`},
		{reflect.TypeFor[plain](), `{"when":"a","whens":["b"],"two":[true,false],"deep":{"whens":["c"]}}`},
	} {
		a, _ := parse([]byte(tt.text))
		b, _ := Parse([]byte(tt.text))
		want, wantErr := fillViaJSON(tt.in, a)
		got, err := Fill(tt.in, b)
		if !same(err, wantErr) || !reflect.DeepEqual(want, got) {
			t.Errorf("%s: %+v %v, not %+v %v", tt.text, got, err, want, wantErr)
		}
	}
}

// An agent reads nothing but the schema: what a spend says, and how a list is asked for,
// stands there with each member.
func TestASpendAndAListSayWhatEachMemberIsFor(t *testing.T) {
	for _, of := range []reflect.Type{
		reflect.TypeFor[purser.PlaceHold](), reflect.TypeFor[purser.ChargeUsage](), reflect.TypeFor[purser.BeginHold](), reflect.TypeFor[purser.CaptureHold](),
		reflect.TypeFor[purser.HoldRef](), reflect.TypeFor[purser.ResolveHold](), reflect.TypeFor[purser.RefundHold](), reflect.TypeFor[purser.AllowRepeat](),
		reflect.TypeFor[purser.Page](), reflect.TypeFor[purser.AskHolds](), reflect.TypeFor[purser.AskSpend](), reflect.TypeFor[purser.ListResources](),
	} {
		for name, member := range Inline(of).Properties {
			if member.Description == "" && name != "act" {
				t.Errorf("%s.%s says nothing", of.Name(), name)
			}
		}
	}
}
