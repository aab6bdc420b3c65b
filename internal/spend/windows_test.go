package spend_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/purser-dev/purser"
	"github.com/purser-dev/purser/internal/spend"
)

func TestTheWindowsOfAHoldAreStoredShort(t *testing.T) {
	own := spend.Own{Organization: "org_1", Project: "prj_1", Provider: "prv_1", Category: "model", Run: "run_1"}
	key := func(scope, target, name string) spend.WindowKey {
		return spend.WindowKey{Scope: scope, Target: target, Currency: "USD", Name: name}
	}
	for _, c := range []struct {
		name string
		keys []spend.WindowKey
		text string
	}{
		{"none", []spend.WindowKey{}, `[]`},
		{"its own", []spend.WindowKey{
			key(purser.ScopeOrganization, "org_1", "2026-11"), key(purser.ScopeProject, "prj_1", "2026-W48"), key(purser.ScopeProvider, "prv_1", "2026-11-29"),
			key(purser.ScopeCategory, "model", "total"), key(purser.ScopeRun, "run_1", "run_1"),
		}, `[["organization","2026-11"],["project","2026-W48"],["provider","2026-11-29"],["category","total"],["run"]]`},
		{"a label", []spend.WindowKey{key(purser.ScopeLabel, `a "b" ü`, "2026-11"), key(purser.ScopeLabel, "x", "x")}, `[["label","a \"b\" ü","2026-11"],["label","x","x"]]`},
		{"somebody else's", []spend.WindowKey{key(purser.ScopeRun, "run_2", "run_2"), key(purser.ScopeProject, "", "")}, `[["run","run_2","run_2"],["project","",""]]`},
	} {
		t.Run(c.name, func(t *testing.T) {
			text := spend.WindowsText(own, c.keys)
			if text != c.text {
				t.Errorf("stored as %s, want %s", text, c.text)
			}
			got, err := spend.ParseWindows(own, "USD", text)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(c.keys, got); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestTheWindowsOfAnOlderVersionAreRead(t *testing.T) {
	got, err := spend.ParseWindows(spend.Own{Run: "run_1"}, "EUR", `[{"scope":"run","target":"run_2","name":"run_2"},{"scope":"label","target":"a","name":"2026-11"}]`)
	if err != nil {
		t.Fatal(err)
	}
	want := []spend.WindowKey{{Scope: "run", Target: "run_2", Currency: "EUR", Name: "run_2"}, {Scope: "label", Target: "a", Currency: "EUR", Name: "2026-11"}}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func TestWindowsThatCannotBeReadAreNone(t *testing.T) {
	for _, text := range []string{``, `{}`, `[[]]`, `[["a","b","c","d"]]`, `[[1]]`, `[{"scope":1}]`, `[null]`} {
		if keys, err := spend.ParseWindows(spend.Own{}, "USD", text); err == nil {
			t.Errorf("%q was read as %v", text, keys)
		}
	}
}
