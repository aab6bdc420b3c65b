package office_test

import (
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/purser-dev/purser"
	"github.com/purser-dev/purser/app"
)

func (h *house) limit(scope, id string, limit purser.Money) {
	h.t.Helper()
	in := purser.SetBudget{Scope: scope, ID: id, Limit: limit}
	in.Act = h.sign("set_budget", in)
	must[purser.BudgetLine](h, h.owner, "set_budget", in)
}

// Drill c: what a plan lacks is told before any call, for each budget.
func TestAPlanAboveItsBudgetsNamesEachWithWhatIsLeft(t *testing.T) {
	t.Parallel()
	h := open(t, aDB(t))
	run, agent := h.run(1699)
	h.limit("organization", "", usd(1000))
	h.limit("project", h.project.ID, usd(1700))
	h.limit("category", "domains", usd(1199))
	h.limit("category", "compute", usd(500))
	before := h.counted("plan", "refused")
	_, err := do[purser.Plan](h, agent, "plan", purser.MakePlan{Steps: []purser.StepRequest{{Service: "local/hosting:pro"}, domain("superseal.club")}})
	e := refused(t, err, purser.BudgetExceeded)
	got := map[string][2]int64{}
	for _, b := range e.Budgets {
		got[b.Scope] = [2]int64{b.Left, b.Needed}
	}
	want := map[string][2]int64{"run": {1699, 1700}, "organization": {1000, 1700}, "category": {1199, 1200}}
	if len(got) != len(want) || got["run"] != want["run"] || got["organization"] != want["organization"] || got["category"] != want["category"] {
		t.Errorf("the refusal lists %v, want %v", got, want)
	}
	if n := h.counted("plan", "refused"); n != before+1 {
		t.Errorf("%d refusals on record", n-before)
	}
	h.limit("organization", "", usd(1700))
	h.limit("category", "domains", usd(1200))
	h.limit("run", run.ID, usd(1700))
	must[purser.Plan](h, agent, "plan", purser.MakePlan{Steps: []purser.StepRequest{{Service: "local/hosting:pro"}, domain("superseal.club")}})
	h.nothing()
}

// RULES 5: a limit that went below the use refuses what is new and reverses
// nothing; the database itself keeps to the ceiling.
func TestALimitBelowTheUseRefusesAndReversesNothing(t *testing.T) {
	t.Parallel()
	inTurn(t, func(t *testing.T, database string) {
		h := open(t, database)
		h.seller.pay = h.rail()
		run, agent := h.run(2000)
		must[purser.Plan](h, agent, "apply", purser.Apply{Plan: h.planned(agent, domain("superseal.club")).ID})
		ready := h.planned(agent, purser.StepRequest{Service: "local/hosting:pro"})
		must[purser.BudgetLine](h, h.owner, "set_budget", purser.SetBudget{Scope: "run", ID: run.ID, Limit: usd(600)})
		_, err := do[purser.Plan](h, agent, "apply", purser.Apply{Plan: ready.ID})
		e := refused(t, err, purser.BudgetExceeded)
		if len(e.Budgets) != 1 || e.Budgets[0].Left != 0 || e.Budgets[0].Captured != 1200 {
			t.Errorf("the refusal says %+v", e.Budgets)
		}
		if status := must[purser.Status](h, agent, "status", purser.AskStatus{}); len(status.Resources) != 1 {
			t.Errorf("%d resources are left", len(status.Resources))
		}
		for _, change := range []string{"held = held + 1", "captured = captured + 1", "refunded = captured + 1", "held = -1"} {
			err := h.trySQL("UPDATE windows SET "+change+" WHERE organization = $1 AND scope = 'run' AND target = $2", h.owner.Organization, run.ID)
			if err == nil || !strings.Contains(strings.ToLower(err.Error()), "check") {
				t.Errorf("the database lets %s through: %v", change, err)
			}
		}
		h.charged(1, 1200)
	})
}

// A limit raised in the database lets the engine spend more than anybody signed: the log
// does not say who raised it, and so it does not verify, at the spend.
func TestALimitThatNoRecordRaisedIsFound(t *testing.T) {
	t.Parallel()
	inTurn(t, func(t *testing.T, database string) {
		for _, c := range []struct {
			name              string
			organization, run int64
			change            string
		}{
			{"a higher limit", 30000, 5000, "UPDATE budgets SET limit_minor = 20000 WHERE organization = $1 AND scope = 'run'"},
			{"two higher limits", 30000, 5000, "UPDATE budgets SET limit_minor = 20000 WHERE organization = $1 AND scope IN ('run', 'provider')"},
			{"another period", 5000, 9000, "UPDATE budgets SET limit_minor = 20000, period = 'total' WHERE organization = $1 AND scope = 'organization'"},
			{"no limit", 5000, 9000, "DELETE FROM budgets WHERE organization = $1 AND scope = 'organization'"},
		} {
			t.Run(c.name, func(t *testing.T) {
				h := open(t, fresh(t, database))
				h.limit("organization", "", usd(c.organization))
				_, agent := h.run(c.run)
				must[purser.Hold](h, agent, "charge_usage", usage(10))
				h.verify()
				h.sql(c.change, h.owner.Organization)
				h.sql("UPDATE windows SET guard_ceiling = 30000 WHERE organization = $1", h.owner.Organization)
				seq := must[purser.Hold](h, agent, "charge_usage", usage(6000)).Seq
				if report := h.export(); report.Verified || report.Fault == nil || report.Fault.At != "limit" || report.Fault.Seq != seq {
					t.Errorf("verified %v, fault %+v, want it at record %d", report.Verified, report.Fault, seq)
				}
				b, err := do[purser.Books](h, h.owner, "check_books", purser.None{})
				if err != nil || b.OK || !strings.Contains(strings.Join(b.Faults, "\n"), "the log says") {
					t.Errorf("the books: %v, %v", b.Faults, err)
				}
			})
		}
	})
}

// What a person does by himself is in a run that he did not sign for; its limit is the
// installation's, and on the record as all are.
func TestTheLimitOfAPersonsOwnRunIsOnTheRecord(t *testing.T) {
	t.Parallel()
	h := open(t, aDB(t))
	must[purser.Plan](h, h.owner, "plan", purser.MakePlan{Project: h.project.ID, Steps: []purser.StepRequest{domain("superseal.club")}})
	for _, r := range h.records() {
		if r.Action == "open_run" && r.Detail["budget"] == h.o.Defaults.RunBudget.String() {
			return
		}
	}
	t.Error("no record says what the run may spend")
}

// RULES 5: whatever comes at once, what is accepted fits, and what fits is accepted.
func TestOrdersAtOnceNeverPassTheBudgetAndFillIt(t *testing.T) {
	t.Parallel()
	eachDB(t, func(t *testing.T, database string) {
		h := open(t, database)
		h.seller.pay = h.rail()
		h.seller.refundable()
		run, agent := h.run(2000, func(in *purser.CreateRun) { in.Threshold = &purser.Money{Amount: 2000, Currency: "USD"} })
		h.link(agent)
		h.seller.set(func(s *seller) { s.price = 450 })
		var plans []purser.Plan
		for _, name := range strings.Fields("a b c d e f g h i j k l") {
			plans = append(plans, must[purser.Plan](h, agent, "plan", purser.MakePlan{Steps: []purser.StepRequest{domain(name + ".club")}}))
		}
		var live, full atomic.Int64
		var wg sync.WaitGroup
		for _, plan := range plans {
			wg.Go(func() {
				_, err := do[purser.Plan](h, agent, "apply", purser.Apply{Plan: plan.ID})
				switch purser.CodeOf(err) {
				case purser.BudgetExceeded:
					full.Add(1)
				default:
					if err != nil {
						t.Error(explain(err))
					}
					live.Add(1)
				}
			})
		}
		wg.Wait()
		if live.Load() != 4 || full.Load() != 8 {
			t.Errorf("%d bought and %d refused, want 4 and 8 at 4.50 of 20.00", live.Load(), full.Load())
		}
		if b := must[purser.Run](h, agent, "show_run", purser.RunRef{Run: run.ID}).Budget; b.Captured != 1800 || b.Left != 200 {
			t.Errorf("the run's budget: %+v", b)
		}
		h.charged(4, 1800)
	})
}

// RULES 6: no limit in a currency is no permission.
func TestACurrencyWithoutABudgetIsRefused(t *testing.T) {
	t.Parallel()
	h := open(t, aDB(t))
	_, agent := h.run(2000)
	h.seller.set(func(s *seller) { s.currency = "EUR" })
	_, err := do[purser.Plan](h, agent, "plan", purser.MakePlan{Steps: []purser.StepRequest{domain("superseal.club")}})
	refused(t, err, purser.CurrencyNotBudgeted)
	h.nothing()
	h.seller.set(func(s *seller) { s.currency = "" })
	_, euros := h.run(2000, func(in *purser.CreateRun) { in.Budget.Currency = "EUR" })
	_, err = do[purser.Plan](h, euros, "plan", purser.MakePlan{Steps: []purser.StepRequest{domain("superseal.club")}})
	refused(t, err, purser.CurrencyNotBudgeted)
	h.nothing()
}

// The same when the limits went away after the plan: each order is decided anew.
func TestALimitThatIsGoneWhenTheOrderIsPlacedIsNoPermission(t *testing.T) {
	t.Parallel()
	h := open(t, aDB(t))
	_, agent := h.run(2000)
	plan := h.planned(agent, domain("superseal.club"))
	h.limit("provider", "local", purser.Money{Amount: 1, Currency: "EUR"})
	h.sql("UPDATE budgets SET currency = 'GBP' WHERE currency = 'USD'")
	_, err := do[purser.Plan](h, agent, "apply", purser.Apply{Plan: plan.ID})
	refused(t, err, purser.CurrencyNotBudgeted)
	h.sql("UPDATE budgets SET currency = 'USD' WHERE currency = 'GBP'") // the books would miss them
	h.nothing()
}

// RULES 9: the same thing again, and a hurry, need a person; a plan that is marked
// as meant and signed goes on.
func TestARepeatAndAHurryNeedAPersonsWord(t *testing.T) {
	t.Parallel()
	h := open(t, aDB(t))
	h.seller.pay = h.rail()
	_, agent := h.run(9000)
	buy := func(step purser.StepRequest) error {
		_, err := do[purser.Plan](h, agent, "apply", purser.Apply{Plan: h.planned(agent, step).ID})
		return err
	}
	if err := buy(domain("a.club")); err != nil {
		t.Fatal(explain(err))
	}
	again := domain("a.club")
	again.Name = "another"
	refused(t, buy(again), purser.LooksLikeDuplicate)
	again.Meant = true
	if plan := must[purser.Plan](h, agent, "plan", purser.MakePlan{Steps: []purser.StepRequest{again}}); plan.State != purser.PlanWaiting {
		t.Errorf("a repeat on purpose is %s without a person", plan.State)
	}
	if err := buy(again); err != nil {
		t.Fatal(explain(err))
	}
	for _, name := range []string{"c.club", "d.club", "e.club"} {
		if err := buy(domain(name)); err != nil {
			t.Fatal(explain(err))
		}
	}
	refused(t, buy(domain("f.club")), purser.TooManyOrders)
	h.charged(5, 6000)
}

// Drill l: the same failure three times pauses the run, until a person means an order.
func TestAnOrderThatFailsThreeTimesPausesTheRun(t *testing.T) {
	t.Parallel()
	h := open(t, aDB(t))
	_, agent := h.run(9000)
	h.seller.pay = nil
	h.seller.create = func(create) (app.Resource, error) { return app.Resource{}, purser.Errorf(purser.ProviderFailure, "no") }
	for range 3 {
		_, err := do[purser.Plan](h, agent, "apply", purser.Apply{Plan: h.planned(agent, domain("a.club")).ID})
		refused(t, err, purser.ProviderFailure)
	}
	_, err := do[purser.Plan](h, agent, "apply", purser.Apply{Plan: h.planned(agent, domain("a.club")).ID})
	refused(t, err, purser.TooManyOrders)
	_, err = do[purser.Plan](h, agent, "apply", purser.Apply{Plan: h.planned(agent, domain("b.club")).ID})
	refused(t, err, purser.TooManyOrders)
	if creates, _ := h.seller.count(); creates != 3 {
		t.Errorf("%d calls, want 3", creates)
	}
	h.charged(0, 0)
	h.seller.pay, h.seller.create = h.rail(), nil
	_, other := h.run(9000)
	must[purser.Plan](h, other, "apply", purser.Apply{Plan: h.planned(other, domain("c.club")).ID})
	meant := domain("d.club")
	meant.Meant = true
	must[purser.Plan](h, agent, "apply", purser.Apply{Plan: h.planned(agent, meant).ID})
	h.charged(2, 2400)
}

// saysHowMuch fails unless each refusal of an action says what it was of.
func (h *house) saysHowMuch(action string) {
	h.t.Helper()
	n := 0
	for _, r := range h.records() {
		if r.Action != action || r.Outcome != "refused" {
			continue
		}
		if n++; r.Money == nil || r.Money.Expected == nil || r.Money.Expected.Amount == 0 || r.Money.Expected.Currency != "USD" {
			h.t.Errorf("record %d says not how much was refused: %+v", r.Seq, r.Money)
		}
	}
	if n == 0 {
		h.t.Errorf("no refusal of %s is on record", action)
	}
}

// Whoever reads the log learns from a refusal how much was to be spent.
func TestARefusedOrderSaysHowMuch(t *testing.T) {
	t.Parallel()
	for name, forbid := range map[string]func(*house, purser.Run){
		"by a budget": func(h *house, run purser.Run) { h.limit("run", run.ID, usd(100)) },
		"by a stop that was lifted": func(h *house, _ purser.Run) {
			h.resume(must[purser.StopInfo](h, h.owner, "stop", purser.Stop{Scope: "provider", ID: "local", Reason: "look first"}))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := open(t, aDB(t))
			h.seller.pay = h.rail()
			run, agent := h.run(5000)
			h.link(agent)
			plan := h.planned(agent, purser.StepRequest{Service: "local/hosting:static", Name: "site"}, domain("superseal.club"))
			h.seller.create = func(c create) (app.Resource, error) { // the first step
				forbid(h, run)
				return c.work()
			}
			if _, err := do[purser.Plan](h, agent, "apply", purser.Apply{Plan: plan.ID}); err == nil {
				t.Error("it was bought")
			}
			h.saysHowMuch("place")
		})
	}
}

// Each limit of a run decides, so each is shown where the run is.
func TestARunShowsItsLimitsInEachCurrencyAndPeriod(t *testing.T) {
	t.Parallel()
	eachDB(t, func(t *testing.T, database string) {
		h := open(t, database)
		run, agent := h.run(2000)
		if shown := must[purser.Run](h, h.owner, "show_run", purser.RunRef{Run: run.ID}); shown.Budgets != nil {
			t.Errorf("one limit alone: %+v", shown.Budgets)
		}
		h.limit("run", run.ID, purser.Money{Amount: 700, Currency: "EUR"})
		in := purser.SetBudget{Scope: "run", ID: run.ID, Period: purser.PeriodDay, Limit: usd(500)}
		must[purser.BudgetLine](h, h.owner, "set_budget", in)
		must[purser.Hold](h, agent, "charge_usage", usage(10))
		shown := must[purser.Run](h, agent, "show_run", purser.RunRef{})
		if b := shown.Budget; b.Limit != usd(2000) || b.Captured != 10 || b.Period != purser.PeriodRun {
			t.Errorf("the limit that it was made with: %+v", b)
		}
		if len(shown.Budgets) != 2 {
			t.Fatalf("beside it: %+v", shown.Budgets)
		}
		euro, day := shown.Budgets[0], shown.Budgets[1]
		if euro.Limit != (purser.Money{Amount: 700, Currency: "EUR"}) || euro.Left != 700 || euro.Window != run.ID {
			t.Errorf("in euros: %+v", euro)
		}
		if day.Limit != usd(500) || day.Captured != 10 || day.Left != 490 || day.Period != purser.PeriodDay || day.ResetsAt == nil {
			t.Errorf("of the day: %+v", day)
		}
		h.later(24 * time.Hour)
		shown = must[purser.Run](h, h.owner, "show_run", purser.RunRef{Run: run.ID})
		if day := shown.Budgets[1]; day.Captured != 0 || day.Left != 500 {
			t.Errorf("the next day: %+v", day)
		}
	})
}

// To extend a run never takes from it: a time from now may well end before the run does,
// and a limit is easily mistaken for what is added to it.
func TestExtendingARunTakesNothingFromIt(t *testing.T) {
	t.Parallel()
	eachDB(t, func(t *testing.T, database string) {
		h := open(t, database)
		run, _ := h.run(2000, func(in *purser.CreateRun) { in.Expires = "6h" })
		five := usd(500)
		for _, c := range []struct {
			name, says, hint string
			in               purser.ExtendRun
		}{
			{"an earlier end", "which is later than 4h from now", "purser run end " + run.ID, purser.ExtendRun{Expires: "4h"}},
			{"a lower limit", "may spend 20.00 USD already, which is more than 5.00 USD", `purser budget set run ` + run.ID + ` --limit "5.00 USD"`, purser.ExtendRun{Budget: &five}},
			{"a lower limit for longer", "may spend 20.00 USD already", "purser budget set run", purser.ExtendRun{Expires: "9h", Budget: &five}},
		} {
			c.in.Run = run.ID
			c.in.Act = h.sign("extend_run", c.in)
			_, err := do[purser.Run](h, h.owner, "extend_run", c.in)
			if e := refused(t, err, purser.InvalidRequest); !strings.Contains(e.Detail, c.says) || !strings.Contains(e.Hint, c.hint) {
				t.Errorf("%s: %s (%s)", c.name, e.Detail, e.Hint)
			}
			if is := must[purser.Run](h, h.owner, "show_run", purser.RunRef{Run: run.ID}); is.Budget.Limit != usd(2000) || !is.ExpiresAt.Equal(run.ExpiresAt) {
				t.Errorf("%s: the run has %s until %s", c.name, is.Budget.Limit, is.ExpiresAt)
			}
		}
		same, more := usd(2000), usd(2100)
		for _, in := range []purser.ExtendRun{{Run: run.ID, Budget: &same, Expires: "7h"}, {Run: run.ID, Budget: &more}} {
			in.Act = h.sign("extend_run", in)
			if is := must[purser.Run](h, h.owner, "extend_run", in); is.Budget.Limit != *in.Budget || !is.ExpiresAt.After(run.ExpiresAt) {
				t.Errorf("the run has %s until %s", is.Budget.Limit, is.ExpiresAt)
			}
		}
		h.verify()
	})
}

// What is named for a refusal raises the limit that refused, and lowers no other: a run
// whose day is spent is not extended to what the day would need.
func TestAPlanAboveAPeriodOfItsRunNamesThatPeriod(t *testing.T) {
	t.Parallel()
	h := open(t, aDB(t))
	run, agent := h.run(2000)
	must[purser.BudgetLine](h, h.owner, "set_budget", purser.SetBudget{Scope: "run", ID: run.ID, Period: purser.PeriodDay, Limit: usd(500)})
	_, err := do[purser.Plan](h, agent, "plan", purser.MakePlan{Steps: []purser.StepRequest{domain("superseal.club")}})
	e := refused(t, err, purser.BudgetExceeded)
	if len(e.Budgets) != 1 || e.Budgets[0].Period != purser.PeriodDay {
		t.Errorf("the refusal lists %+v", e.Budgets)
	}
	if want := "purser budget set run " + run.ID + " --period day --limit AMOUNT"; !strings.HasSuffix(e.Hint, want) {
		t.Errorf("the hint is %q, want %q", e.Hint, want)
	}
	own, agent := h.run(700)
	_, err = do[purser.Plan](h, agent, "plan", purser.MakePlan{Steps: []purser.StepRequest{domain("superseal.club")}})
	if e, want := refused(t, err, purser.BudgetExceeded), "purser run extend "+own.ID+` --budget "12.00 USD"`; !strings.HasSuffix(e.Hint, want) {
		t.Errorf("the hint is %q, want %q", e.Hint, want)
	}
}

// Who reads a plan, or its review, sees for each budget its period, and sums that add up
// when something came back.
func TestTheBudgetsOfAPlanAddUpAfterARefund(t *testing.T) {
	t.Parallel()
	h := open(t, aDB(t))
	run, agent := h.run(5000)
	meter := h.platform()
	spent := must[purser.Hold](h, meter, "charge_usage", purser.ChargeUsage{Run: run.ID, Provider: "local", AmountMinor: 500, Currency: "USD"})
	must[purser.Hold](h, meter, "refund_hold", purser.RefundHold{Hold: spent.ID, AmountMinor: 200})
	plan := must[purser.Plan](h, agent, "plan", purser.MakePlan{Steps: []purser.StepRequest{domain("superseal.club")}})
	review := must[purser.Review](h, h.owner, "review", purser.PlanRef{Plan: plan.ID})
	for _, lines := range [][]purser.BudgetLine{plan.Budgets, review.Budgets} {
		seen := 0
		for _, b := range lines {
			if b.Period == "" || b.Left != b.Limit.Amount-b.Held-b.Captured+b.Refunded {
				t.Errorf("it does not add up: %+v", b)
			}
			if b.Captured == 500 && b.Refunded == 200 {
				seen++
			}
		}
		if seen < 2 {
			t.Errorf("%d budgets know of the refund: %+v", seen, lines)
		}
	}
	h.limit("run", run.ID, usd(1000))
	_, err := do[purser.Plan](h, agent, "plan", purser.MakePlan{Steps: []purser.StepRequest{domain("superseal.club")}})
	if no := refused(t, err, purser.BudgetExceeded); no.Detail != "the plan needs 12.00 USD and 7.00 USD is left of the run's budget of 10.00 USD" {
		t.Errorf("refused with %q", no.Detail)
	}
}

// A run that is over has its budget: it needs time, and no limit.
func TestAPlanOfARunThatIsOverIsRefusedForThatAlone(t *testing.T) {
	t.Parallel()
	h := open(t, aDB(t))
	_, agent := h.run(5000)
	h.later(3 * time.Hour)
	_, err := do[purser.Plan](h, agent, "plan", purser.MakePlan{Steps: []purser.StepRequest{domain("superseal.club")}})
	if no := refused(t, err, purser.RunEnded); len(no.Blockers) != 1 {
		t.Errorf("blockers: %+v", no.Blockers)
	}
}

// CONTROLS C1: an agent lowers the limits of its own run, and neither raises them nor
// sets any other. Each try is on record.
func TestAnAgentLowersItsOwnRunAlone(t *testing.T) {
	t.Parallel()
	inTurn(t, func(t *testing.T, database string) {
		h := open(t, database)
		run, agent := h.run(5000)
		other, _ := h.run(5000)
		set := func(in purser.SetBudget) error {
			t.Helper()
			line, err := do[purser.BudgetLine](h, agent, "set_budget", in)
			if err == nil && (line.ID != run.ID || line.Limit != in.Limit) {
				t.Errorf("%+v was set by %+v", line, in)
			}
			return err
		}
		own := func(cents int64) purser.SetBudget {
			return purser.SetBudget{Scope: "run", ID: run.ID, Limit: usd(cents)}
		}
		in := func(period string, cents int64) purser.SetBudget {
			in := own(cents)
			in.Period = period
			return in
		}
		for _, tc := range []struct {
			name string
			in   purser.SetBudget
			want purser.Code
			left int64
		}{
			{"a lower limit", own(3000), "", 3000},
			{"the same limit", own(3000), "", 3000},
			{"a cent more", own(3001), purser.SelfApproval, 3000},
			{"what it was at first", own(5000), purser.SelfApproval, 3000},
			{"less, without a name", purser.SetBudget{Scope: "run", Limit: usd(2000)}, "", 2000},
			{"another period", in("hour", 1000), "", 2000},
			{"less of that", in("hour", 900), "", 2000},
			{"more of that", in("hour", 901), purser.SelfApproval, 2000},
			{"another currency", purser.SetBudget{Scope: "run", ID: run.ID, Limit: purser.Money{Amount: 1, Currency: "EUR"}}, purser.SelfApproval, 2000},
			{"nothing in another currency", purser.SetBudget{Scope: "run", ID: run.ID, Limit: purser.Money{Currency: "EUR"}}, purser.SelfApproval, 2000},
			{"a negative limit", own(-1), purser.InvalidRequest, 2000},
			{"another run", purser.SetBudget{Scope: "run", ID: other.ID, Limit: usd(1)}, purser.SelfApproval, 2000},
			{"a run that is not there", purser.SetBudget{Scope: "run", ID: "run_none", Limit: usd(1)}, purser.SelfApproval, 2000},
			{"its project", purser.SetBudget{Scope: "project", ID: h.project.ID, Limit: usd(1)}, purser.SelfApproval, 2000},
			{"a provider", purser.SetBudget{Scope: "provider", ID: "local", Limit: usd(1)}, purser.SelfApproval, 2000},
			{"the organization", purser.SetBudget{Scope: "organization", Limit: usd(1)}, purser.SelfApproval, 2000},
			{"a label", purser.SetBudget{Scope: "label", ID: "team=x", Limit: usd(1)}, purser.SelfApproval, 2000},
			{"what people are told", purser.SetBudget{Scope: "run", ID: run.ID, Limit: usd(1), Thresholds: []int{100}}, purser.SelfApproval, 2000},
			{"nothing", own(0), "", 0},
			{"something again", own(1), purser.SelfApproval, 0},
		} {
			accepted, no := h.counted("set_budget", "accepted"), h.counted("set_budget", "refused")
			if err := set(tc.in); (err == nil) != (tc.want == "") || err != nil && purser.CodeOf(err) != tc.want {
				t.Errorf("%s: %v, want %q", tc.name, explainOrNil(err), tc.want)
			}
			switch tc.want {
			case "":
				accepted++
			case purser.SelfApproval:
				no++
			}
			if a, r := h.counted("set_budget", "accepted"), h.counted("set_budget", "refused"); a != accepted || r != no {
				t.Errorf("%s: %d accepted and %d refused on record, want %d and %d", tc.name, a, r, accepted, no)
			}
			if left := h.line("run", run.ID, "run").Left; left != tc.left {
				t.Errorf("%s: %d is left of the run, want %d", tc.name, left, tc.left)
			}
		}
		_, err := do[purser.Hold](h, agent, "charge_usage", purser.ChargeUsage{Provider: "models", AmountMinor: 1, Currency: "USD"})
		refused(t, err, purser.BudgetExceeded)
		signed := own(9000)
		signed.Act = h.sign("set_budget", signed)
		refused(t, set(signed), purser.SelfApproval)
		if h.left("run", other.ID) != 5000 {
			t.Error("the limit of another run is changed")
		}
		h.books()
		h.verify()
	})
}
