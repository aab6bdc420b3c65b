package audit

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"reflect"
	"testing"

	"github.com/purser-dev/purser/internal/act"
	"github.com/purser-dev/purser/internal/canonical"
)

// fill gives every member of a value something, or nothing, by chance.
func fill(r *rand.Rand, v reflect.Value) {
	texts := []string{"", "a", "é\u2028", "\"\\\b\x01", "\ue000", "😀", "<&>", "2026-11"}
	switch v.Kind() {
	case reflect.String:
		v.SetString(texts[r.IntN(len(texts))])
	case reflect.Int64:
		v.SetInt([]int64{0, 1, -7, canonical.MaxInteger, -canonical.MaxInteger}[r.IntN(5)])
	case reflect.Struct:
		for i := range v.NumField() {
			fill(r, v.Field(i))
		}
	case reflect.Pointer:
		if v.Type() != reflect.TypeFor[*Attachment]() && r.IntN(3) > 0 {
			v.Set(reflect.New(v.Type().Elem()))
			fill(r, v.Elem())
		}
	case reflect.Slice:
		for range r.IntN(3) {
			e := reflect.New(v.Type().Elem()).Elem()
			fill(r, e)
			v.Set(reflect.Append(v, e))
		}
	case reflect.Map:
		if r.IntN(2) == 0 {
			m := map[string]string{}
			for range r.IntN(4) {
				m[texts[r.IntN(len(texts))]+fmt.Sprint(r.IntN(3))] = texts[r.IntN(len(texts))]
			}
			v.Set(reflect.ValueOf(m))
		}
	}
}

// The hand-made writer must be RFC 8785 to the byte, for every member there is:
// one that is added to Record and forgotten here is found by this.
func TestALeafIsTheCanonicalFormOfItsRecord(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for i := range 5000 {
		var r Record
		fill(random, reflect.ValueOf(&r).Elem())
		r.Seq, r.TS, r.Org, r.Action, r.Outcome, r.Actor.Kind, r.Actor.ID = 1, 1, "o", "a", "x", "k", "i"
		if i%7 == 0 {
			r.Attach = &Attachment{Document: json.RawMessage(`{"a":1}`), Signature: act.Signature{Method: "passphrase"}}
		}
		got, err := r.Leaf()
		want, wantErr := canonical.JSON(r)
		if err != nil || wantErr != nil || string(got) != string(want) {
			t.Fatalf("%+v:\n got %s (%v)\nwant %s (%v)", r, got, err, want, wantErr)
		}
	}
}

func TestALeafThatCannotBeReadBackIsRefused(t *testing.T) {
	whole := Record{Seq: 1, TS: 1, Org: "o", Action: "a", Outcome: "x", Actor: Actor{Kind: "k", ID: "i"}}
	text, number, key := whole, whole, whole
	text.Target = "\xff"
	number.Budgets = []BudgetLine{{Held: canonical.MaxInteger + 1}}
	key.Detail = map[string]string{"\xff": ""}
	for name, r := range map[string]Record{"a text that is not UTF-8": text, "a number too large to be exact": number, "a name that is not UTF-8": key} {
		if leaf, err := r.Leaf(); err == nil {
			t.Errorf("%s: %s", name, leaf)
		}
	}
}

// The record of a charge as the engine makes it, in five budgets.
func BenchmarkLeaf(b *testing.B) {
	const org, run, hold = "org_01kb0000000000000000000000", "run_01kb0000000000000000000000", "hld_01kb0000000000000000000000"
	r := Record{
		Seq: 123456, TS: 1790000000000000, Org: org, Project: "prj_01kb0000000000000000000000", Run: run, Action: "charge_usage", Target: hold,
		Actor:          Actor{Kind: "agent", ID: "agt_01kb0000000000000000000000", Key: "tok_01kb0000000000000000000000", DelegatedBy: "per_01kb0000000000000000000000"},
		IdempotencyKey: "3f9e3c1c-6d0a-4e6c-9d5e-0f5d2b8f1a77", Outcome: Accepted, Money: &Amounts{Actual: &Money{Amount: 7, Currency: "USD"}},
		Detail: map[string]string{"provider": "models/large", "category": "models"},
	}
	for _, scope := range []string{"organization:" + org, "project:" + r.Project, "provider:models/large", "category:models", "run:" + run} {
		r.Budgets = append(r.Budgets, BudgetLine{Scope: scope, Window: "2026-11", Currency: "USD", Limit: 100_000_000, Captured: 1_234_567, Change: 7})
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := r.Leaf(); err != nil {
			b.Fatal(err)
		}
	}
}
