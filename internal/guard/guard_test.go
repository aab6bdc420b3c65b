package guard

import (
	"math"
	"strings"
	"testing"
	"time"

	"github.com/purser-dev/purser"
)

var now = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

func usd(n int64) purser.Money { return purser.Money{Amount: n, Currency: "USD"} }

func budget(scope string, limit, held, captured, refunded int64) Budget {
	return Budget{purser.BudgetLine{
		Scope: scope, Limit: usd(limit), Held: held, Captured: captured, Refunded: refunded,
		Left: limit - held - captured + refunded,
	}}
}

func all() Set {
	return Set{Stops{}, Clock{5 * time.Second}, OpenRun{}, AllowedProvider{}, Budgeted{}, Budgets{}, Pace{5}, Repeat{10 * time.Minute}, Breaker{3}, Burst{3}}
}

func fine() Spend {
	return Spend{
		Now: now, Amount: usd(500), Provider: "local", Target: "local/hosting:pro", Order: true,
		Run:  &Run{ID: "run_1", ExpiresAt: now.Add(time.Hour)},
		Path: Path{Organization: "org_1", Project: "prj_1", Provider: "local", Agent: "agt_1", Run: "run_1"}, Budgets: []Budget{budget("run", 2000, 0, 0, 0)},
	}
}

func TestGuardsSayNo(t *testing.T) {
	stop := func(scope, target string) func(*Spend) {
		return func(s *Spend) { s.Stops = []purser.StopInfo{{ID: "stp_1", Scope: scope, Target: target}} }
	}
	for _, tc := range []struct {
		name   string
		change func(*Spend)
		want   purser.Code
	}{
		{"a spend within everything is allowed", func(*Spend) {}, ""},
		{"the last cent is still allowed", func(s *Spend) { s.Amount = usd(2000) }, ""},
		{"one cent too many is refused", func(s *Spend) { s.Amount = usd(2001) }, purser.BudgetExceeded},
		{"what is held counts", func(s *Spend) { s.Budgets = []Budget{budget("run", 2000, 1501, 0, 0)} }, purser.BudgetExceeded},
		{"what was captured counts", func(s *Spend) { s.Budgets = []Budget{budget("run", 2000, 0, 1501, 0)} }, purser.BudgetExceeded},
		{"what was refunded counts back", func(s *Spend) { s.Budgets = []Budget{budget("run", 2000, 0, 1501, 1)} }, ""},
		{"the lowest of several budgets wins", func(s *Spend) { s.Budgets = append(s.Budgets, budget("provider", 499, 0, 0, 0)) }, purser.BudgetExceeded},
		{"a sum beyond 64 bits is refused", func(s *Spend) {
			s.Amount = usd(math.MaxInt64)
			s.Budgets = []Budget{budget("run", math.MaxInt64, 1, 0, 0)}
		}, purser.BudgetExceeded},
		{"a negative amount is refused", func(s *Spend) { s.Amount = usd(-1) }, purser.InvalidRequest},
		{"a currency without a budget is refused", func(s *Spend) { s.Amount.Currency = "EUR" }, purser.CurrencyNotBudgeted},
		{"no budget at all is refused", func(s *Spend) { s.Budgets = nil }, purser.CurrencyNotBudgeted},
		{"a limit of zero is a limit", func(s *Spend) { s.Budgets = []Budget{budget("run", 0, 0, 0, 0)} }, purser.BudgetExceeded},
		{"nothing costs nothing", func(s *Spend) { s.Amount, s.Budgets = purser.Money{}, nil }, ""},
		{"a stop of the organization stops", stop("organization", "org_1"), purser.Stopped},
		{"a stop of the project stops", stop("project", "prj_1"), purser.Stopped},
		{"a stop of the provider stops", stop("provider", "local"), purser.Stopped},
		{"a stop of the agent stops", stop("agent", "agt_1"), purser.Stopped},
		{"a stop of the run stops", stop("run", "run_1"), purser.Stopped},
		{"a stop of another run does not", stop("run", "run_2"), ""},
		{"a stop of an unknown scope stops", stop("galaxy", ""), purser.Stopped},
		{"a stop stops an order without money", func(s *Spend) { s.Amount = purser.Money{}; stop("run", "run_1")(s) }, purser.Stopped},
		{"a clock 5 s off is allowed", func(s *Spend) { s.Skew = -5 * time.Second }, ""},
		{"a time zone that cannot be read is refused", func(s *Spend) { s.NoZone = purser.Errorf(purser.ClockUnsafe, "no") }, purser.ClockUnsafe},
		{"a clock 6 s off is refused", func(s *Spend) { s.Skew = -6 * time.Second }, purser.ClockUnsafe},
		{"an ended run is refused", func(s *Spend) { s.Run.Ended = true }, purser.RunEnded},
		{"a run is over at its last instant", func(s *Spend) { s.Run.ExpiresAt = now }, purser.RunEnded},
		{"a renewal has no run", func(s *Spend) { s.Run = nil }, ""},
		{"a provider that the run does not name is refused", func(s *Spend) { s.Run.Providers = []string{"neon"} }, purser.Forbidden},
		{"the sixth order in an hour is refused", func(s *Spend) { s.Recent = make5("other") }, purser.TooManyOrders},
		{"the sixth is allowed when a person meant it", func(s *Spend) { s.Recent, s.Meant = make5("other"), true }, ""},
		{"free orders do not count as pace", func(s *Spend) { s.Amount, s.Recent = purser.Money{}, make5("other") }, ""},
		{"the same thing at once is refused", func(s *Spend) { s.Recent = []Recent{{s.Target, 500, now.Add(-time.Minute), false, true}} }, purser.LooksLikeDuplicate},
		{"the same thing after the window is allowed", func(s *Spend) { s.Recent = []Recent{{s.Target, 500, now.Add(-11 * time.Minute), false, true}} }, ""},
		{"the same thing after a failure is allowed", func(s *Spend) { s.Recent = []Recent{{s.Target, 500, now.Add(-time.Minute), true, true}} }, ""},
		{"three equal failures open the breaker", func(s *Spend) { s.Recent = fail3(s.Target, 500) }, purser.TooManyOrders},
		{"three of another order pause the run", func(s *Spend) { s.Recent = fail3("other", 500) }, purser.TooManyOrders},
		{"a paused run goes on where a person meant it", func(s *Spend) { s.Recent, s.Meant = fail3("other", 500), true }, ""},
		{"three of another run pause nothing", func(s *Spend) {
			for _, r := range fail3(s.Target, 500) {
				r.SameRun = false
				s.Recent = append(s.Recent, r)
			}
		}, ""},
		{"three of different orders pause nothing", func(s *Spend) {
			s.Recent = append(fail3("one", 500)[:2], fail3("two", 500)[:2]...)
		}, ""},
		{"one that went well between them closes the breaker", func(s *Spend) {
			s.Recent = append(fail3("other", 500)[:2], Recent{"other", 500, now.Add(-40 * time.Minute), false, true})
			s.Recent = append(s.Recent, fail3("other", 500)[:1]...)
		}, ""},
		{"three of an order without money hold it back", func(s *Spend) { s.Amount, s.Recent = purser.Money{}, fail3(s.Target, 0) }, purser.TooManyOrders},
		{"and hold back nothing else", func(s *Spend) { s.Recent = fail3("other", 0) }, ""},
		{"a third new provider within an hour is allowed", func(s *Spend) { s.New, s.NewSince = true, []string{"a", "b"} }, ""},
		{"a fourth is refused", func(s *Spend) { s.New, s.NewSince = true, []string{"a", "b", "c"} }, purser.TooManyOrders},
		{"a fourth that is not new is allowed", func(s *Spend) { s.NewSince = []string{"a", "b", "c"} }, ""},
		{"more from one of them is allowed", func(s *Spend) { s.New, s.NewSince = true, []string{"a", "b", "local"} }, ""},
		{"a fourth is allowed when a person meant it", func(s *Spend) { s.New, s.NewSince, s.Meant = true, []string{"a", "b", "c"}, true }, ""},
		{"a fourth is allowed when it costs nothing", func(s *Spend) { s.New, s.NewSince, s.Amount = true, []string{"a", "b", "c"}, purser.Money{} }, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			sp := fine()
			tc.change(&sp)
			got := purser.Code("")
			if no := all().Refusals(sp); len(no) > 0 {
				got = no[0].Code
			}
			if got != tc.want {
				t.Errorf("refused with %q, want %q", got, tc.want)
			}
		})
	}
}

// fail3 are three failures of an order.
func fail3(target string, amount int64) []Recent {
	var out []Recent
	for i := range 3 {
		out = append(out, Recent{target, amount, now.Add(time.Duration(i-30) * time.Minute), true, true})
	}
	return out
}

func make5(target string) []Recent {
	var out []Recent
	for i := range 5 {
		out = append(out, Recent{target, 100, now.Add(-time.Duration(i+20) * time.Minute), false, true})
	}
	return out
}

func TestARefusalListsEveryBudgetThatFailed(t *testing.T) {
	sp := fine()
	sp.Budgets = []Budget{budget("organization", 100000, 0, 0, 0), budget("provider", 300, 0, 0, 0), budget("run", 200, 0, 0, 0)}
	err := Budgets{}.Forbids(sp)
	if err == nil || len(err.Budgets) != 2 || err.Budgets[1].Left != 200 || err.Budgets[0].Needed != 500 {
		t.Fatalf("refusal = %+v", err)
	}
	// One of the two raised alone would be signed for nothing.
	if want := "a person can raise all 2: " + Raise(err.Budgets[0]) + "; " + Raise(err.Budgets[1]); err.Hint != want {
		t.Errorf("it says to type %q, want %q", err.Hint, want)
	}
}

// Who is refused types what the hint says: a whole command that works, and a word of an
// agent's choice is one word to a shell.
func TestARefusalSaysWhatToType(t *testing.T) {
	again := []Recent{{"it's $(5) leaflets", 500, now.Add(-time.Minute), false, true}}
	allow := `purser hold allow-repeat run_1 --provider local --order 'it'\''s $(5) leaflets' --amount "5.00 USD"`
	label := func(id string) func(*Spend) {
		return func(s *Spend) {
			tight := budget("label", 1, 0, 0, 0)
			tight.ID, tight.Period = id, "day"
			s.Budgets = append(s.Budgets, tight)
		}
	}
	for _, tc := range []struct {
		name   string
		change func(*Spend)
		says   string
	}{
		{"an order that looks like the last", func(s *Spend) { s.Target, s.Recent = again[0].Target, again }, "if it is meant, have a person sign for it: " + allow},
		{"an order too many", func(s *Spend) { s.Target, s.Recent = again[0].Target, make5("other") }, "wait, or have a person sign for it: " + allow},
		{"a plan's order too many", func(s *Spend) { s.Target, s.Recent = "sha256:00", make5("other") }, "purser add SERVICE --again, or meant: true"},
		{"an order in a run that is paused", func(s *Spend) { s.Target, s.Recent = "sha256:00", fail3("other", 500) }, "then wait, or have a person approve a plan that is marked as meant"},
		{"a fourth new provider", func(s *Spend) { s.New, s.NewSince = true, []string{"a", "b", "c"} }, "purser hold allow-repeat run_1 --provider local --order 'local/hosting:pro'"},
		{"a currency that the run has not", func(s *Spend) { s.Amount.Currency = "EUR" }, `purser budget set run run_1 --limit "20 EUR"`},
		{"a label that a shell would run", label("team=$(id);x 'y'"), `purser budget set label 'team=$(id);x '\''y'\''' --period day --limit AMOUNT`},
		{"a label that is one word", label("team=search"), "purser budget set label team=search --period day --limit AMOUNT"},
		{"a limit in another currency", func(s *Spend) {
			s.Amount.Currency = "EUR"
			s.Budgets = []Budget{{purser.BudgetLine{Scope: "run", ID: "run_1", Period: "run", Limit: purser.Money{Amount: 1, Currency: "EUR"}}}}
		}, `purser budget set run run_1 --limit "AMOUNT EUR"`},
		{"a renewal in a currency that nothing has", func(s *Spend) { s.Amount.Currency, s.Run = "EUR", nil }, `purser budget set provider local --limit "20 EUR"`},
	} {
		sp := fine()
		tc.change(&sp)
		no := all().Refusals(sp)
		if len(no) == 0 || !strings.Contains(no[0].Hint, tc.says) {
			t.Errorf("%s: %+v, want %q", tc.name, no, tc.says)
		}
	}
	sp := fine()
	sp.Amount.Currency = "EUR"
	sp.Budgets = append(sp.Budgets, Budget{purser.BudgetLine{Scope: "organization", Limit: purser.Money{Amount: 500, Currency: "EUR"}}})
	if no := (Budgeted{}).Forbids(sp); no == nil || no.Detail != "run run_1 has no budget in EUR, whatever else has one" {
		t.Errorf("an organization's budget in euros, and a run's in dollars: %v", no)
	}
}

func TestALabelIsALowerCaseNameAndAValue(t *testing.T) {
	for _, good := range []string{"team=search", "team=x,y", "a.b-c_1=A/B:C"} {
		if err := CheckLabel(good); err != nil {
			t.Errorf("%q: %v", good, err)
		}
	}
	for _, bad := range []string{"", "team", "team=", "=x", "a=b=c", "team=x y", "Team=x", "team=ü"} {
		if err := CheckLabel(bad); err == nil || !strings.Contains(err.Detail, "the name in lower case") {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

// More guards never allow more: the law that lets anyone add one.
func FuzzMoreGuardsNeverAllowMore(f *testing.F) {
	f.Add(int64(500), int64(2000), int64(0), uint8(3), false, int64(0))
	f.Add(int64(-1), int64(0), int64(9), uint8(255), true, int64(9e9))
	f.Fuzz(func(t *testing.T, amount, limit, held int64, mask uint8, meant bool, skew int64) {
		sp := fine()
		sp.Amount, sp.Meant, sp.Skew, sp.Recent = usd(amount), meant, time.Duration(skew), make5(sp.Target)
		sp.Budgets = []Budget{budget("run", limit, held, 0, 0)}
		var some Set
		for i, g := range all() {
			if mask&(1<<(i%8)) != 0 {
				some = append(some, g)
			}
		}
		if len(some.Refusals(sp)) > 0 && len(all().Refusals(sp)) == 0 {
			t.Errorf("%d guards refuse what all allow", len(some))
		}
	})
}

// Only what costs something pauses the run, and who reads the refusal learns which it was.
func TestABreakerSaysWhatItHoldsBack(t *testing.T) {
	for _, tc := range []struct {
		recent []Recent
		says   string
	}{
		{fail3("mine", 500), "the same order failed 3 times in a row within an hour; the run is paused"},
		{fail3("other", 500), "the same order failed 3 times in a row within an hour; the run is paused"},
		{fail3("mine", 0), "the same order failed 3 times in a row within an hour; it is held back"},
		{append(fail3("mine", 0), fail3("other", 500)...), "the same order failed 3 times in a row within an hour; the run is paused"},
	} {
		if no := (Breaker{3}).Forbids(Spend{Order: true, Target: "mine", Recent: tc.recent}); no == nil || no.Detail != tc.says {
			t.Errorf("%v, want %q", no, tc.says)
		}
	}
}
