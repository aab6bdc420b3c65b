package testneed

import (
	"fmt"
	"testing"
)

// ending records how a test would have ended, without ending the one that asks.
type ending struct {
	testing.TB
	skipped, failed string
}

func (e *ending) Helper()                        {}
func (e *ending) Skip(args ...any)               { e.skipped = fmt.Sprint(args...); panic(e) }
func (e *ending) Fatalf(format string, a ...any) { e.failed = fmt.Sprintf(format, a...); panic(e) }

func end(f func(testing.TB)) (e *ending) {
	e = &ending{}
	defer func() { _ = recover() }()
	f(e)
	return e
}

func TestAnAbsentProgramSkipsUnlessItIsRequired(t *testing.T) {
	for _, c := range []struct {
		name, require string
		fails         bool
	}{
		{"nothing is required", "", false},
		{"something else is required", "postgres,curl", false},
		{"a name that only begins alike is required", "no-such-program-at-all", false},
		{"it is required", "postgres, no-such-program", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Setenv(Require, c.require)
			e := end(func(tb testing.TB) { Program(tb, "no-such-program") })
			if (e.failed != "") != c.fails || (e.skipped != "") == c.fails {
				t.Errorf("failed with %q, skipped with %q; want failed: %v", e.failed, e.skipped, c.fails)
			}
		})
	}
}

func TestAProgramThatIsThereIsFound(t *testing.T) {
	if path := Program(t, "go"); path == "" {
		t.Error("the path is empty")
	}
}
