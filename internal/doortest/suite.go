package doortest

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/purser-dev/purser"
	"github.com/purser-dev/purser/internal/form"
	"github.com/purser-dev/purser/internal/office"
)

// Door is one way to an operation.
type Door interface {
	// Call sends members to an operation with a credential and an idempotency
	// key, and returns the result as JSON.
	Call(ctx context.Context, token, op, key string, members map[string]any) ([]byte, error)
}

// Case is one request of the suite.
type Case struct {
	Name    string
	Token   string
	Op      string
	Members map[string]any
	Code    purser.Code // expected; empty: it goes well
}

func step(purpose string) map[string]any {
	return map[string]any{"purpose": purpose, "steps": []any{map[string]any{"service": "a/b", "configuration": map[string]any{"years": 2, "name": "ä/<b>&"}}}}
}

// Cases lists what every door must do alike. The operations in it are tools too.
func Cases() []Case {
	return []Case{
		{"a read without members", Agent, "whoami", map[string]any{}, ""},
		{"a read with words, a page and a cursor", Agent, "search", map[string]any{"words": "b c&d=e", "category": "x", "limit": 7, "cursor": "c1"}, ""},
		{"a change", Agent, "plan", step("a shop"), ""},
		{"a member in the path", Agent, "show_plan", map[string]any{"plan": "pln_9"}, ""},
		{"a name that must be escaped", Agent, "show_run", map[string]any{"run": "a/b ?%#ä"}, ""},
		{"an agent's own run", Agent, "show_run", map[string]any{}, ""},
		{"a change of an agent's own run", Agent, "end_run", map[string]any{}, ""},
		{"empty lists are lists", Person, "status", map[string]any{}, ""},
		{"all budgets that refuse", Agent, "plan", step("too dear"), purser.BudgetExceeded},
		{"a person is needed", Agent, "plan", step("ask"), purser.NeedsApproval},
		{"what the key was refused before", Agent, "plan", step("said before"), purser.BudgetExceeded},
		{"a hold", Agent, "place_hold", map[string]any{"provider": "models", "amount_minor": 5, "currency": "USD"}, ""},
		{"the hold that the key got before", Agent, "place_hold", map[string]any{"provider": "held before", "amount_minor": 5, "currency": "USD"}, ""},
		{"a provider's words", Agent, "plan", step("their fault"), purser.ProviderFailure},
		{"a fault without a code", Agent, "plan", step("fault"), purser.Internal},
		{"a fault whose text nobody vouched for", Agent, "plan", step("coded fault"), purser.Internal},
		{"a panic", Agent, "plan", step("panic"), purser.Internal},
		{"too busy", Agent, "plan", step("busy"), purser.Overloaded},
		{"an unknown member", Agent, "plan", map[string]any{"stepz": []any{}, "steps": []any{}}, purser.InvalidRequest},
		{"a missing member", Agent, "stop", map[string]any{"reason": "r"}, purser.InvalidRequest},
		{"a stop needs no reason", Agent, "stop", map[string]any{"scope": "run"}, ""},
		{"a wrong type", Agent, "search", map[string]any{"words": "x", "limit": "many"}, purser.InvalidRequest},
		{"a provider is no agent", Provider, "plan", step("a shop"), purser.Forbidden},
		{"a stopped token hears so", Halted, "status", map[string]any{}, purser.Stopped},
		{"a stopped token settles", Halted, "capture_hold", map[string]any{"hold": "hld_1", "amount_minor": 4, "final": true}, ""},
	}
}

// Run sends every case through a door and directly, and compares.
func Run(t *testing.T, o *Office, d Door) {
	t.Helper()
	for _, c := range Cases() {
		t.Run(c.Name, func(t *testing.T) {
			want, calls, wantErr := direct(t, o, c)
			got, err := d.Call(t.Context(), c.Token, c.Op, "key_1", clone(t, c.Members))
			if purser.CodeOf(err) != c.Code && (err != nil || c.Code != "") {
				t.Fatalf("the door says %v, not %q", err, c.Code)
			}
			if err != nil {
				sameError(t, wantErr, err)
				return
			}
			if d := cmp.Diff(decoded(t, want), decoded(t, got)); d != "" {
				t.Errorf("result (-Go +door):\n%s", d)
			}
			if d := cmp.Diff(calls, inputs(o.Made())); d != "" {
				t.Errorf("what reached the office (-Go +door):\n%s", d)
			}
		})
	}
}

func clone(t *testing.T, members map[string]any) map[string]any {
	t.Helper()
	text, err := json.Marshal(members)
	if err != nil {
		t.Fatal(err)
	}
	out, err := form.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// direct does a case without a door.
func direct(t *testing.T, o *Office, c Case) (result []byte, calls []any, err error) {
	t.Helper()
	o.Made()
	defer func() {
		calls = inputs(o.Made())
		if r := recover(); r != nil {
			err = errors.New("panic")
		}
	}()
	by, err := o.Authenticate(t.Context(), c.Token, "")
	if err != nil && by.ID == "" {
		return nil, nil, err
	}
	by.Ended = err
	op := find(t, o.Operations(), c.Op)
	in, err := form.Fill(op.In, clone(t, c.Members))
	if err != nil {
		return nil, nil, err
	}
	out, err := op.Do(t.Context(), by, in)
	if err != nil {
		return nil, nil, err
	}
	text, err := json.Marshal(form.Whole(out))
	return text, nil, err
}

func find(t *testing.T, ops []office.Operation, name string) office.Operation {
	t.Helper()
	for _, op := range ops {
		if op.Name == name {
			return op
		}
	}
	t.Fatalf("no operation is called %q", name)
	return office.Operation{}
}

func inputs(calls []Call) []any {
	var in []any
	for _, c := range calls {
		in = append(in, c.In)
	}
	return in
}

func decoded(t *testing.T, text []byte) any {
	t.Helper()
	var v any
	if err := json.Unmarshal(text, &v); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	return v
}

// sameError compares what a caller sees with what the office meant. The text of
// an internal fault is the door's own, and holds nothing of the cause.
func sameError(t *testing.T, want, got error) {
	t.Helper()
	var g, w *purser.Error
	if !errors.As(got, &g) {
		t.Fatalf("%v is not a *purser.Error", got)
	}
	if shown, _ := json.Marshal(g); strings.Contains(string(shown), "hunter2") {
		t.Errorf("a cause is shown: %s", shown)
	}
	if g.Code == purser.Internal {
		if !strings.HasPrefix(g.Reference, "req_") {
			t.Errorf("an internal fault has reference %q", g.Reference)
		}
		return
	}
	if !errors.As(want, &w) {
		t.Fatalf("Go says %v, the door %v", want, got)
	}
	ww, gg := *w, *g
	ww.Cause, gg.Cause = nil, nil
	if d := cmp.Diff(ww, gg); d != "" {
		t.Errorf("error (-Go +door):\n%s", d)
	}
}
