package office

import (
	"strconv"
	"testing"

	"github.com/purser-dev/purser/internal/spend"
)

func TestOnlyRunsOfLateAreRemembered(t *testing.T) {
	var f facts
	keep := func(id, project string) { f.keep(map[string]*spend.Run{id: {Project: project}}) }
	if _, ok := f.of("busy"); ok {
		t.Error("a run is known that nobody spent in")
	}
	keep("quiet", "prj_1")
	for i := range 10 * factsMost {
		keep("run_"+strconv.Itoa(i), "prj_1")
		keep("busy", "prj_2")
		if known, ok := f.of("busy"); !ok || known.Project != "prj_2" {
			t.Fatalf("after %d others, a run that is spent in is %+v", i, known)
		}
	}
	if n := len(f.now) + len(f.before); n > 2*factsMost {
		t.Errorf("%d runs are remembered", n)
	}
	if _, ok := f.of("quiet"); ok {
		t.Error("a run is known that nobody spends in any more")
	}
}
