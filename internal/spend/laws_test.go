package spend_test

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/purser-dev/purser"
	"github.com/purser-dev/purser/internal/guard"
	"github.com/purser-dev/purser/internal/spend"
	"github.com/purser-dev/purser/internal/spend/spendtest"
)

// size sets how many sequences of how many steps a law is tried on: a few in a
// test run, 10,000 of 200 in the soak (SPEND.md T1).
func size(t *testing.T, sequences, steps int) int {
	t.Helper()
	if os.Getenv("PURSER_TEST_SOAK") != "" {
		sequences, steps = 10_000, 200
	}
	for name, value := range map[string]string{"rapid.checks": fmt.Sprint(sequences), "rapid.nofailfile": "true"} {
		if err := flag.Set(name, value); err != nil {
			t.Fatal(err)
		}
	}
	return steps
}

// dice are drawn by rapid, so that a failing script shrinks. rapid likes small
// numbers and ends; what is added to each makes all as likely.
type dice struct {
	t   *rapid.T
	add *rand.Rand
}

func newDice(t *rapid.T) dice {
	return dice{t, rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), rapid.Uint64().Draw(t, "seed")))}
}

func (d dice) IntN(n int) int { return (rapid.IntRange(0, n-1).Draw(d.t, "die") + d.add.IntN(n)) % n }

var berlin = func() *time.Location {
	zone, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		panic(err)
	}
	return zone
}()

// starts are hours before windows that end strangely: clocks that go forward and
// back, the ends of months and of a year.
func starts() []time.Time {
	return []time.Time{
		time.Date(2026, 3, 28, 22, 30, 0, 0, time.UTC), time.Date(2026, 10, 24, 21, 15, 0, 0, time.UTC),
		time.Date(2028, 2, 28, 22, 0, 0, 0, time.UTC), time.Date(2026, 12, 31, 20, 0, 0, 0, time.UTC), time.Date(2026, 6, 10, 12, 0, 0, 0, time.UTC),
	}
}

const firstLimit = 5800

// world is the same world thrice: decided in batches, one by one, and by the model.
type world struct {
	batches, singles *spendtest.Engine
	model            *spendtest.Model
}

func newWorld(start time.Time) *world {
	return &world{
		spendtest.NewEngine(start, berlin, firstLimit).WithOrder(), spendtest.NewEngine(start, berlin, firstLimit).WithOrder(),
		spendtest.NewModel(start, berlin, firstLimit).WithOrder(),
	}
}

// step takes a step in all three, and fails when they differ or a law is broken.
func (w *world) step(s spendtest.Step) error {
	want := w.model.Do(s)
	got, err := w.batches.Do(s)
	if err != nil {
		return err
	}
	if s.Batch == nil {
		if _, err := w.singles.Do(s); err != nil {
			return err
		}
		return w.laws()
	}
	for i, r := range s.Batch {
		alone, err := w.singles.Do(spendtest.Step{Batch: s.Batch[i : i+1]})
		if err != nil {
			return err
		}
		if alone[0] != got[i] {
			return fmt.Errorf("request %d of %d, %+v:\nin a batch %+v\nalone      %+v", i, len(s.Batch), r, got[i], alone[0])
		}
		if got[i] != want[i] {
			return fmt.Errorf("request %d of %d, %+v:\ncore  %+v\nmodel %+v", i, len(s.Batch), r, got[i], want[i])
		}
		if err := allowed(r, got[i]); err != nil {
			return err
		}
		raised := got[i].Code == "" && !got[i].Replay && (r.Op == spend.Place || r.Op == spend.Charge)
		if raised {
			if err := w.singles.Within(got[i].Hold); err != nil {
				return err
			}
		}
	}
	return w.laws()
}

// laws hold after every step.
func (w *world) laws() error {
	for _, e := range []*spendtest.Engine{w.batches, w.singles} {
		if err := e.Books(); err != nil {
			return err
		}
		if e.Seq != int64(e.Records) {
			return fmt.Errorf("%d records, and the last number is %d", e.Records, e.Seq)
		}
	}
	if w.batches.Seq != w.singles.Seq || w.batches.Epoch != w.singles.Epoch {
		return fmt.Errorf("in batches seq %d, epoch %d; alone %d, %d", w.batches.Seq, w.batches.Epoch, w.singles.Seq, w.singles.Epoch)
	}
	for name, pair := range map[string][2]any{
		"windows": {w.batches.Windows, w.singles.Windows}, "holds": {w.batches.Holds, w.singles.Holds}, "budgets": {w.batches.Budgets, w.singles.Budgets},
	} {
		if !reflect.DeepEqual(pair[0], pair[1]) {
			return fmt.Errorf("%s in batches: %+v\nalone: %+v", name, pair[0], pair[1])
		}
	}
	return nil
}

// allowed is RULES 2: whoever asks, this is never a yes.
func allowed(r spend.Request, a spendtest.Answer) error {
	if a.Code != "" || a.Replay || a.Nothing {
		return nil
	}
	agent := r.By.Kind == purser.Agent
	switch {
	case agent && r.Op == spend.Refund:
		return fmt.Errorf("an agent recorded a refund: %+v", r)
	case agent && r.Op == spend.Capture && r.Part == 0:
		return fmt.Errorf("an agent gave a begun hold back: %+v", r)
	case agent && r.Made:
		return fmt.Errorf("an agent told of a capture above its hold: %+v", r)
	case r.Hold == spendtest.OrderHold:
		return fmt.Errorf("%s touched the hold of an order: %+v", r.By.Kind, r)
	case agent && r.Run != "" && r.Run != r.By.Run:
		return fmt.Errorf("an agent spent for another run: %+v", r)
	}
	return nil
}

// T1: any sequence of decisions, stops, limits and time gives what the model says.
func TestEverySequenceKeepsTheLaws(t *testing.T) {
	steps := size(t, 120, 80)
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(rapid.SampledFrom(starts()).Draw(t, "start"))
		script := spendtest.NewScript(newDice(t))
		for range steps {
			s := script.Next()
			if err := w.step(s); err != nil {
				t.Fatalf("%v", err)
			}
		}
	})
}

// odd is a guard that anyone could add.
type odd struct{ of int64 }

func (g odd) Forbids(sp guard.Spend) *purser.Error {
	if sp.Amount.Amount%g.of == 0 {
		return purser.Errorf(purser.Forbidden, "odd")
	}
	return nil
}

// More guards, labels or budgets never allow more.
func TestMoreNeverAllowsMore(t *testing.T) {
	steps := size(t, 60, 60)
	rapid.Check(t, func(t *rapid.T) {
		d := newDice(t)
		e := spendtest.NewEngine(rapid.SampledFrom(starts()).Draw(t, "start"), berlin, firstLimit)
		script := spendtest.NewScript(d)
		for range steps {
			s := script.Next()
			for _, r := range s.Batch {
				if r.Op != spend.Place && r.Op != spend.Charge {
					continue
				}
				r.By.Key = "" // of another body, another key
				richer, asked := e.Clone(), r
				switch d.IntN(3) {
				case 0:
					richer.Guards = append(richer.Guards[:len(richer.Guards):len(richer.Guards)], odd{int64(1 + d.IntN(7))})
				case 1:
					asked.Labels = append(asked.Labels[:len(asked.Labels):len(asked.Labels)], []string{"team=blue", "team=red", "tier=1", "new=1"}[d.IntN(4)])
				default:
					scope := []spend.Scope{{Scope: "organization", Target: spendtest.Org}, {Scope: "provider", Target: r.Provider}, {Scope: "label", Target: "tier=1"}, {Scope: "run", Target: "run_0"}}[d.IntN(4)]
					period := []string{purser.PeriodHour, purser.PeriodDay, purser.PeriodTotal}[d.IntN(3)]
					b := spend.Budget{Scope: scope, Period: period, Currency: "USD", Limit: int64(d.IntN(2000))}
					if slices.ContainsFunc(e.Budgets[scope], func(o spend.Budget) bool { return o.Period == period && o.Currency == b.Currency }) {
						continue // another limit, not one more
					}
					if _, err := richer.Do(spendtest.Step{Limit: &b}); err != nil {
						t.Fatal(err)
					}
				}
				plain, err := e.Clone().Do(spendtest.Step{Batch: []spend.Request{r}})
				if err != nil {
					t.Fatal(err)
				}
				more, err := richer.Do(spendtest.Step{Batch: []spend.Request{asked}})
				if err != nil {
					t.Fatal(err)
				}
				if plain[0].Code != "" && more[0].Code == "" {
					t.Fatalf("%+v is refused with %s, and allowed with more", r, plain[0].Code)
				}
			}
			if _, err := e.Do(s); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// The laws say nothing of what no script reaches.
func TestTheScriptsReachEveryAnswer(t *testing.T) {
	count := map[string]int{}
	for seed := range uint64(400) {
		m := spendtest.NewModel(starts()[seed%5], berlin, firstLimit).WithOrder()
		script := spendtest.NewScript(rand.New(rand.NewPCG(seed, 1)))
		for range 120 {
			s := script.Next()
			for i, a := range m.Do(s) {
				what := string(s.Batch[i].Op) + " " + string(a.Code)
				switch {
				case a.Replay:
					what += " again"
				case a.Nothing:
					what += " nothing"
				case a.Code == "":
					what += a.State
				}
				count[what]++
				if a.Overrun > 0 && !a.Replay {
					count[string(s.Batch[i].Op)+" overrun "+a.State]++
				}
			}
		}
	}
	for op, answers := range map[spend.Op]string{
		spend.Place: "held,stopped,clock_unsafe,run_ended,forbidden,currency_not_budgeted,budget_exceeded,needs_approval,looks_like_duplicate,too_many_orders," +
			"not_found,not_signed_in,key_reused, again,budget_exceeded again",
		spend.Charge: "captured,stopped,clock_unsafe,run_ended,forbidden,currency_not_budgeted,budget_exceeded,not_found,not_signed_in,key_reused, again",
		spend.Begin:  "begun,stopped,clock_unsafe,run_ended,forbidden,invalid_state,not_found, again",
		spend.Capture: "begun,captured,released,unknown,stopped,forbidden,invalid_state,not_found, again," +
			"overrun held,overrun captured,overrun released,overrun expired",
		spend.Release: "released,captured,forbidden,invalid_state,not_found, again",
		spend.Resolve: "released,captured,forbidden,invalid_state,needs_person,not_found,invalid_request",
		spend.Refund:  "begun,captured,forbidden,invalid_state,not_found,invalid_request, again,overrun captured",
		spend.Expire:  "expired,unknown, nothing", spend.Void: "released, nothing",
	} {
		for answer := range strings.SplitSeq(answers, ",") {
			if count[string(op)+" "+answer] == 0 {
				t.Errorf("no script reached %s: %q", op, answer)
			}
		}
	}
}
