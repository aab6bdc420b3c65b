package spend_test

import (
	"bufio"
	"encoding/json"
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/purser-dev/purser/internal/spend/spendtest"
)

// seeds tries seeds until a world that was changed shows it.
func seeds(most uint64, change func(*world)) error {
	for seed := range most {
		w := newWorld(starts()[seed%5])
		change(w)
		script := spendtest.NewScript(rand.New(rand.NewPCG(seed, 7)))
		for range 150 {
			if err := w.step(script.Next()); err != nil {
				return err
			}
		}
	}
	return nil
}

// both does the same to the two engines of a world.
func (w *world) both(f func(*spendtest.Engine)) {
	f(w.batches)
	f(w.singles)
}

// T14: a guard that is taken away is missed by the model.
func TestEachGuardIsMissed(t *testing.T) {
	t.Parallel()
	for i, g := range spendtest.Guards() {
		t.Run(strings.TrimPrefix(fmt.Sprintf("%T", g), "guard."), func(t *testing.T) {
			t.Parallel()
			err := seeds(300, func(w *world) {
				w.both(func(e *spendtest.Engine) { e.Guards = slices.Delete(slices.Clone(e.Guards), i, i+1) })
			})
			if err == nil {
				t.Errorf("nobody misses %T", g)
			}
		})
	}
	if err := seeds(4, func(*world) {}); err != nil {
		t.Errorf("with all of them: %v", err)
	}
	if n := len(spendtest.Guards()); n != len(guardSet(t)) {
		t.Errorf("%d guards here, %d in the office", n, len(guardSet(t)))
	}
}

// guardSet are the guards that the office is made with, by the text of its source:
// a guard that is added there is one more here.
func guardSet(t *testing.T) (names []string) {
	f, err := os.Open("../office/office.go")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	in := false
	for lines := bufio.NewScanner(f); lines.Scan(); {
		line := strings.TrimSpace(lines.Text())
		switch {
		case strings.HasSuffix(line, "guard.Set{"): // those of pace stand by themselves
			in = true
		case strings.HasPrefix(line, "}"):
			in = false
		case in:
			names = append(names, line)
		}
	}
	if len(names) == 0 {
		t.Fatal("office.go makes no guard.Set")
	}
	return names
}

// T7: faults that other programs have are found by the comparison with the model.
func TestPlantedFaultsAreFound(t *testing.T) {
	t.Parallel()
	for _, fault := range spendtest.Faults() {
		t.Run(string(fault), func(t *testing.T) {
			t.Parallel()
			if err := seeds(100, func(w *world) { w.singles.Fault = fault }); err == nil {
				t.Error("nobody noticed")
			} else {
				t.Log(err)
			}
			// And when the faulty engine is the only one there is.
			if err := seeds(100, func(w *world) { w.both(func(e *spendtest.Engine) { e.Fault = fault }) }); err == nil {
				t.Error("nobody noticed, without another engine beside it")
			}
		})
	}
}

// The laws on seeds that are always the same: what a mutation is judged by.
func TestTheLawsOnSeeds(t *testing.T) {
	t.Parallel()
	if err := seeds(40, func(*world) {}); err != nil {
		t.Error(err)
	}
}

// site is a condition of the core that says no, or that chooses.
type site struct {
	name       string // file, function and the condition
	from, to   int    // bytes of the condition
	file, text string
}

// sites are all conditions of ifs and cases of the core's files.
func sites(t *testing.T) (out []site) {
	seen := map[string]int{}
	for _, file := range []string{"place.go", "settle.go", "spend.go", "state.go"} {
		src, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		set := token.NewFileSet()
		parsed, err := parser.ParseFile(set, file, src, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range parsed.Decls {
			f, ok := d.(*ast.FuncDecl)
			if !ok || f.Name.Name == "Check" { // Check finds what cannot be
				continue
			}
			ast.Inspect(f, func(n ast.Node) bool {
				var conditions []ast.Expr
				switch n := n.(type) {
				case *ast.IfStmt:
					conditions = []ast.Expr{n.Cond}
				case *ast.SwitchStmt:
					for _, c := range n.Body.List {
						if n.Tag == nil {
							conditions = append(conditions, c.(*ast.CaseClause).List...)
						}
					}
				}
				for _, c := range conditions {
					from, to := set.Position(c.Pos()).Offset, set.Position(c.End()).Offset
					name := file + " " + f.Name.Name + ": " + string(src[from:to])
					if seen[name]++; seen[name] > 1 {
						name += fmt.Sprintf(" (%d)", seen[name])
					}
					out = append(out, site{name, from, to, file, string(src)})
				}
				return true
			})
		}
	}
	return out
}

var update = flag.Bool("update", false, "write testdata/mutations.txt again, and judge what is new in it")

const mutations = "testdata/mutations.txt"

// T14: each condition of the core is taken away, one at a time, and the laws miss
// it. testdata/mutations.txt is the table: caught, or why the laws do not say so.
func TestEachConditionIsMissed(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(mutations)
	if err != nil {
		t.Fatal(err)
	}
	table := map[string]string{}
	for line := range strings.Lines(string(text)) {
		if name, verdict, ok := strings.Cut(strings.TrimSpace(line), " | "); ok {
			table[name] = verdict
		}
	}
	var lines strings.Builder
	for _, s := range sites(t) {
		if table[s.name] == "" && !*update {
			t.Errorf("%s has no line for %s", mutations, s.name)
		}
		if *update && table[s.name] == "" || os.Getenv("PURSER_TEST_SOAK") != "" {
			s.judge(t, table)
		}
		fmt.Fprintf(&lines, "%s | %s\n", s.name, table[s.name])
		delete(table, s.name)
	}
	for name := range table {
		t.Errorf("%s has a line for what is not there: %s", mutations, name)
	}
	if *update {
		if err := os.WriteFile(mutations, []byte(lines.String()), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// judge compares what becomes of the laws with the table.
func (s site) judge(t *testing.T, table map[string]string) {
	t.Helper()
	caught := "caught"
	out, passed := s.without(t)
	switch {
	case passed:
		caught = "not caught"
	case !strings.Contains(out, "--- FAIL") && !strings.Contains(out, "panic:"):
		t.Fatalf("%s: %s", s.name, out)
	}
	switch was := table[s.name]; {
	case *update && (was == "" || (was == "caught") != (caught == "caught")):
		table[s.name] = caught
	case was != caught && (was == "caught" || caught == "caught"):
		t.Errorf("%s is %s; the table says %q", s.name, caught, was)
	}
}

// without runs the laws on a core in which a condition is never true.
func (s site) without(t *testing.T) (out string, passed bool) {
	t.Helper()
	dir := t.TempDir()
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	changed := filepath.Join(dir, s.file)
	if err := os.WriteFile(changed, []byte(s.text[:s.from]+"(false && ("+s.text[s.from:s.to]+"))"+s.text[s.to:]), 0o600); err != nil {
		t.Fatal(err)
	}
	overlay, err := json.Marshal(map[string]any{"Replace": map[string]string{filepath.Join(here, s.file): changed}})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "overlay.json"), overlay, 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "go", "test", "-count=1", "-vet=off", "-timeout", "5m", "-overlay", filepath.Join(dir, "overlay.json"), "-run", "TestTheLawsOnSeeds", ".")
	cmd.Env = append(os.Environ(), "PURSER_TEST_SOAK=")
	text, err := cmd.CombinedOutput()
	return string(text), err == nil
}
