package provider

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/purser-dev/purser/app"
)

// TestAResourceIsWrittenAsEncodingJSONWritesIt fills each field by reflection, so that
// one that is new cannot be forgotten.
func TestAResourceIsWrittenAsEncodingJSONWritesIt(t *testing.T) {
	full := func(text string) *resourceRecord {
		var r resourceRecord
		v := reflect.ValueOf(&r).Elem()
		for i := range v.NumField() {
			switch f := v.Field(i); f.Interface().(type) {
			case string:
				f.SetString(text + v.Type().Field(i).Name)
			case bool:
				f.SetBool(true)
			case int, time.Duration:
				f.SetInt(int64(i) + 1)
			case time.Time:
				f.Set(reflect.ValueOf(time.Date(2026, 5, i+1, 1, 2, 3, 400_000*i, time.UTC)))
			case []byte:
				f.SetBytes([]byte(text))
			case map[string]any:
				f.Set(reflect.ValueOf(map[string]any{
					"b" + text: text, "a": json.Number("1.50"), "c": true, "d": []any{"x", nil}, "e": map[string]any{}, "f": nil,
				}))
			case *app.Problem:
				f.Set(reflect.ValueOf(&app.Problem{Code: text, Message: text}))
			case *app.Quote:
				f.Set(reflect.ValueOf(&app.Quote{ID: text, Item: text, AmountMinor: 5}))
			default:
				t.Fatalf("%s is of a type that this test does not fill", v.Type().Field(i).Name)
			}
			if v.Field(i).IsZero() {
				t.Fatalf("%s stayed empty", v.Type().Field(i).Name)
			}
		}
		return &r
	}
	zoned := full("z")
	zoned.CreatedAt = time.Date(2026, 1, 2, 3, 4, 5, 0, time.FixedZone("east", 7200))
	for title, r := range map[string]*resourceRecord{
		"empty": {}, "nothing configured": {Configuration: map[string]any{}}, "plain": full("x"), "with a zone": zoned,
		"what needs escapes": full("<&>\"\\\n\u2028ü\x7f"), "what is not UTF-8": full("\xff"), "long": full(strings.Repeat("long ", 500)),
	} {
		want, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		got, err := r.encode()
		if diff := cmp.Diff(string(want), string(got)); err != nil || diff != "" {
			t.Errorf("%s: %v\n%s", title, err, diff)
		}
	}
	for _, r := range []app.Resource{
		{Status: app.StatusComplete, ID: "res_1", ServiceID: "a", Complete: &app.Complete{AccessConfiguration: map[string]string{"b": "<&>\"\u2028", "a": "x"}}},
		{Status: app.StatusComplete, ID: "res_1", Complete: &app.Complete{}, UserMessage: "ü\n"},
		{Status: app.StatusComplete, Complete: &app.Complete{
			AccessConfiguration: map[string]string{}, ExpiresAt: app.At(time.Date(2026, 1, 1, 0, 0, 0, 5000, time.FixedZone("x", 3600))), PreviousValidUntil: app.At(time.Unix(9, 0)),
		}},
		{Status: app.StatusComplete, ID: "plan"},
	} {
		want, _ := json.Marshal(r)
		if got, err := complete(r); err != nil || strings.TrimSuffix(string(got), "\n") != string(want) {
			t.Errorf("%s, %v; want %s", got, err, want)
		}
	}
	at := time.Date(2026, 5, 6, 7, 8, 9, 10_000, time.UTC)
	for _, r := range []interface{ encode() ([]byte, error) }{
		pointer{}, pointer{"res_<1>"}, idempotencyRecord{}, idempotencyRecord{"body", "res_1", at},
	} {
		want, _ := json.Marshal(r)
		if got, err := r.encode(); err != nil || string(got) != string(want) {
			t.Errorf("%T: %s, %v; want %s", r, got, err, want)
		}
	}
	broken := resourceRecord{Configuration: map[string]any{"a": func() {}}}
	if _, err := broken.encode(); err == nil {
		t.Error("a value that is no JSON was written")
	}
}
