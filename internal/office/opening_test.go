package office_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/purser-dev/purser"
	"github.com/purser-dev/purser/internal/guard"
)

// limitIn sets a limit for a period, as a person does.
func (h *house) limitIn(scope, id, period string, limit purser.Money) purser.BudgetLine {
	h.t.Helper()
	in := purser.SetBudget{Scope: scope, ID: id, Period: period, Limit: limit}
	in.Act = h.sign("set_budget", in)
	return must[purser.BudgetLine](h, h.owner, "set_budget", in)
}

// line is a budget as it stands.
func (h *house) line(scope, id, period string) purser.BudgetLine {
	h.t.Helper()
	for _, b := range must[purser.List[purser.BudgetLine]](h, h.owner, "list_budgets", purser.None{}).Items {
		if b.Scope == scope && b.ID == id && b.Period == period {
			return b
		}
	}
	h.t.Fatalf("no budget of %s %s for %s", scope, id, period)
	return purser.BudgetLine{}
}

// RULES 5: a first limit holds for all of its window, and not for what is spent from
// then on: below what was used it refuses what is new, and says so.
func TestAFirstLimitCountsWhatWasSpentBeforeIt(t *testing.T) {
	t.Parallel()
	inTurn(t, func(t *testing.T, database string) {
		h := open(t, database)
		_, agent := h.run(5000)
		held := must[purser.Hold](h, agent, "place_hold", holdOf(300))
		must[purser.Hold](h, agent, "begin_hold", purser.BeginHold{Hold: held.ID})
		must[purser.Hold](h, agent, "charge_usage", usage(450))
		line := h.limitIn("organization", "", purser.PeriodDay, usd(700))
		if line.Held != 300 || line.Captured != 450 || line.Left != 0 {
			t.Errorf("the answer says %+v", line)
		}
		_, err := do[purser.Hold](h, agent, "charge_usage", usage(1))
		if e := refused(t, err, purser.BudgetExceeded); len(e.Budgets) != 1 || e.Budgets[0].Period != purser.PeriodDay || e.Budgets[0].Captured != 450 {
			t.Errorf("the refusal says %+v", e.Budgets)
		}
		// What becomes of the hold of before moves the window too.
		must[purser.Hold](h, agent, "capture_hold", purser.CaptureHold{Hold: held.ID, AmountMinor: 100, Final: true})
		if line = h.line("organization", h.owner.Organization, purser.PeriodDay); line.Held != 0 || line.Captured != 550 || line.Left != 150 {
			t.Errorf("then it says %+v", line)
		}
		must[purser.Hold](h, agent, "charge_usage", usage(150))
		_, err = do[purser.Hold](h, agent, "charge_usage", usage(1))
		refused(t, err, purser.BudgetExceeded)
		// The next change of the limit finds the window there.
		if line = h.limitIn("organization", "", purser.PeriodDay, usd(701)); line.Captured != 700 || line.Left != 1 {
			t.Errorf("the second limit says %+v", line)
		}
		if err := h.trySQL("UPDATE openings SET seq = 0 WHERE organization = $1", h.owner.Organization); err == nil || !strings.Contains(err.Error(), "append-only") {
			t.Errorf("an opening can be changed: %v", err)
		}
		h.touched = false // it could not
	})
}

// An order's hold is of the window too, until it is settled and refunded.
func TestAFirstLimitCountsOrdersThatAreUnderWay(t *testing.T) {
	t.Parallel()
	eachDB(t, func(t *testing.T, database string) {
		h := open(t, database)
		pay := h.rail()
		_, agent := h.run(5000)
		h.link(agent)
		h.seller.pay = func(ctx context.Context, token, order string, amount int64) error {
			if line := h.limitIn("category", "domains", purser.PeriodWeek, usd(1000)); line.Held != 1200 || line.Captured != 0 || line.Left != 0 {
				t.Errorf("while the order is under way: %+v", line)
			}
			return pay(ctx, token, order, amount)
		}
		must[purser.Plan](h, agent, "apply", purser.Apply{Plan: h.planned(agent, domain("superseal.club")).ID})
		if line := h.line("category", "domains", purser.PeriodWeek); line.Held != 0 || line.Captured != 1200 {
			t.Errorf("bought: %+v", line)
		}
	})
}

// What is spent while a first limit is on its way counts once.
func TestAFirstLimitCountsWhatIsSpentMeanwhile(t *testing.T) {
	t.Parallel()
	inTurn(t, func(t *testing.T, database string) {
		h := open(t, database)
		_, agent := h.run(90_00)
		var set atomic.Bool
		var charged atomic.Int64
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				for !set.Load() {
					_, err := do[purser.Hold](h, agent, "charge_usage", usage(1))
					if purser.CodeOf(err) == purser.BudgetExceeded { // a slow machine has time to spend it all
						return
					}
					if err != nil {
						t.Error(explain(err))
						return
					}
					charged.Add(1)
				}
			})
		}
		h.eventually("something is spent", func() bool { return charged.Load() > 8 })
		periods := []string{purser.PeriodDay, purser.PeriodWeek, purser.PeriodTotal}
		for _, period := range periods {
			h.limitIn("category", "models", period, usd(95_00))
		}
		set.Store(true)
		wg.Wait()
		for _, period := range periods {
			if line := h.line("category", "models", period); line.Captured != charged.Load() || line.Held != 0 {
				t.Errorf("%s: %d held and %d captured, want %d", period, line.Held, line.Captured, charged.Load())
			}
		}
	})
}

// Whenever first limits are set, each window is the sum of all that was spent in it.
func TestEachWindowIsTheSumOfWhatWasSpentInItWheneverItsLimitCame(t *testing.T) {
	t.Parallel()
	for seed := range uint64(fewer(1, 3, 100)) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			inTurn(t, func(t *testing.T, database string) { openings(t, database, seed) })
		})
	}
}

func openings(t *testing.T, database string, seed uint64) {
	h := open(t, database)
	r := rand.New(rand.NewPCG(seed, 0))
	type spent struct {
		purser.Hold
		run, provider, category string
		at                      time.Time
	}
	runs, agents := make([]purser.Run, 2), make([]purser.Actor, 2)
	for i := range runs {
		runs[i], agents[i] = h.run(200_00)
	}
	meter := h.platform()
	providers, categories := []string{"models/large", "mail"}, []string{"models", ""}
	var all []*spent
	type budget struct{ scope, id, period string }
	var unset []budget
	for _, period := range []string{purser.PeriodHour, purser.PeriodDay, purser.PeriodWeek, purser.PeriodMonth, purser.PeriodTotal} {
		for _, s := range []budget{
			{"organization", h.owner.Organization, ""}, {"project", h.project.ID, ""}, {"run", runs[0].ID, ""}, {"provider", "mail", ""}, {"category", "models", ""},
		} {
			s.period = period
			unset = append(unset, s)
		}
	}
	r.Shuffle(len(unset), func(i, j int) { unset[i], unset[j] = unset[j], unset[i] })
	set := []budget{}
	skewed := false
	for step := range 120 {
		by, i := meter, r.IntN(2)
		pick := func() *spent { return all[r.IntN(len(all))] }
		change := func(s *spent, operation string, in any) {
			// Much of it is refused: what is over is over.
			if out, err := do[purser.Hold](h, by, operation, in); err == nil {
				s.Hold = out
			}
		}
		switch op := r.IntN(10); {
		case step == 100:
			// The hour is over. What is new is refused with a clock that differs from the
			// database's; what was begun settles, in the windows that it began in.
			h.later(time.Hour)
			skewed = true
		case op < 4 && !skewed || len(all) == 0:
			s := &spent{run: runs[i].ID, provider: providers[r.IntN(2)], category: categories[r.IntN(2)]}
			in := purser.PlaceHold{Run: s.run, Provider: s.provider, Category: s.category, AmountMinor: 1 + r.Int64N(500), Currency: "USD"}
			var err error
			if r.IntN(3) == 0 {
				s.Hold, err = do[purser.Hold](h, by, "charge_usage", purser.ChargeUsage{Run: s.run, Provider: s.provider, Category: s.category, AmountMinor: in.AmountMinor, Currency: "USD"})
			} else {
				s.Hold, err = do[purser.Hold](h, by, "place_hold", in)
			}
			if err != nil {
				t.Fatal(explain(err))
			}
			s.at = time.UnixMicro(h.ask("SELECT created_at FROM holds WHERE id = $1", s.ID))
			all = append(all, s)
		case op < 5:
			s := pick()
			change(s, "begin_hold", purser.BeginHold{Hold: s.ID})
		case op < 7:
			s := pick()
			change(s, "capture_hold", purser.CaptureHold{Hold: s.ID, AmountMinor: 1 + r.Int64N(200), Final: r.IntN(2) == 0})
		case op < 8:
			s := pick()
			change(s, "release_hold", purser.HoldRef{Hold: s.ID})
		case op < 9:
			s := pick()
			change(s, "refund_hold", purser.RefundHold{Hold: s.ID, AmountMinor: 1 + r.Int64N(100)})
		case len(unset) > 0:
			b := unset[0]
			unset, set = unset[1:], append(set, b)
			id := b.id
			if b.scope == "organization" {
				id = ""
			}
			h.limitIn(b.scope, id, b.period, usd(1000_00))
		}
		for _, b := range set {
			want := purser.BudgetLine{Scope: b.scope, ID: b.id, Period: b.period}
			got := h.line(b.scope, b.id, b.period)
			now := got.Window
			for _, s := range all {
				then, _ := guard.Window(b.period, b.id, s.at, time.UTC)
				of := map[string]string{"organization": h.owner.Organization, "project": h.project.ID, "run": s.run, "provider": s.provider, "category": s.category}
				if then != now || of[b.scope] != b.id {
					continue
				}
				if s.State == purser.HoldHeld || s.State == purser.HoldBegun {
					want.Held += s.LeftMinor
				}
				want.Captured, want.Refunded = want.Captured+s.CapturedMinor, want.Refunded+s.RefundedMinor
			}
			got = purser.BudgetLine{Scope: got.Scope, ID: got.ID, Period: got.Period, Held: got.Held, Captured: got.Captured, Refunded: got.Refunded}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Fatalf("seed %d, step %d, of %d holds: %s", seed, step, len(all), diff)
			}
		}
	}
	h.books()
	h.verify()
}

// A refusal tells of a provider's default limit that nothing keeps. Where the default has
// another currency later, a person's first limit is still the first.
func TestAFirstLimitAfterARefusedDefaultVerifies(t *testing.T) {
	t.Parallel()
	h := open(t, aDB(t))
	_, agent := h.run(5000)
	_, err := do[purser.Hold](h, agent, "charge_usage", usage(20000))
	refused(t, err, purser.BudgetExceeded)
	h.o.Defaults.ProviderMonth = purser.Money{Amount: 10000, Currency: "EUR"} // the settings were changed
	must[purser.Hold](h, agent, "charge_usage", usage(100))
	if line := h.limitIn("provider", "models/large", purser.PeriodMonth, usd(700)); line.Captured != 100 {
		t.Errorf("the limit begins with %d captured, want 100", line.Captured)
	}
	h.books()
	h.verify()
}

// What was spent is added up among all holds of the organization, and an agent may ask for
// limits in a loop: for one that is refused nothing is added up.
func TestNothingIsAddedUpForALimitThatIsRefused(t *testing.T) {
	t.Parallel()
	h := open(t, aDB(t))
	run, agent := h.run(2000)
	of := func(period, currency string) purser.SetBudget {
		return purser.SetBudget{Scope: "run", ID: run.ID, Period: period, Limit: purser.Money{Amount: 0, Currency: currency}}
	}
	for _, tc := range []struct {
		name string
		by   purser.Actor
		in   purser.SetBudget
		want bool
	}{
		{"an agent's limit for a first day", agent, of("day", "USD"), true},
		{"a limit that is there", agent, of("run", "USD"), false},
		{"an agent's in a currency that its run has none in", agent, of("day", "EUR"), false},
		{"a person's there", h.owner, of("day", "EUR"), true},
		{"a period that is none", agent, of("fortnight", "USD"), false},
	} {
		if is, _ := h.o.AddsUp(h.ctx, tc.by, tc.in); is != tc.want { // an error is the turn's to tell
			t.Errorf("%s: added up %v, want %v", tc.name, is, tc.want)
		}
	}
}
