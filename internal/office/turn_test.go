package office_test

import (
	"fmt"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/purser-dev/purser"
)

var writes = regexp.MustCompile(`(?is)(?:INSERT INTO|UPDATE|DELETE FROM)\s+(windows|openings|budgets|holds|orders|audit|movements|payment_tokens|charges|plans|approvals|stops|stop_effects|subscriptions)\b`)

var takesTurn = regexp.MustCompile(`(?is)UPDATE organizations SET turn = turn \+ 1`)

// RULES 19: what is decided, is decided in a transaction that began with the turn.
func TestEveryDecisionIsWrittenInsideTheTurn(t *testing.T) {
	t.Parallel()
	h := open(t, aDB(t))
	var mu sync.Mutex
	first, seen := map[int64]string{}, map[string]int{}
	var faults []string
	h.watch(func(tx int64, statement string) error {
		mu.Lock()
		defer mu.Unlock()
		if _, ok := first[tx]; !ok {
			first[tx] = statement
		}
		if m := writes.FindStringSubmatch(statement); m != nil {
			seen[m[1]]++
			if !takesTurn.MatchString(first[tx]) {
				faults = append(faults, fmt.Sprintf("%s, in a transaction that began with %s", statement, first[tx]))
			}
		}
		return nil
	})
	s := h.set()
	h.approve(s.plan.ID)
	must[purser.Plan](h, s.agent, "apply", purser.Apply{Plan: s.plan.ID})
	must[purser.Plan](h, h.owner, "deny", purser.Deny{Plan: s.other.ID, Reason: "no"})
	h.limit("organization", "", usd(9000))
	h.limitIn("organization", "", purser.PeriodTotal, usd(9000)) // what was spent before counts
	for _, sub := range h.subscriptions() {
		h.due(sub.ID, -time.Minute)
	}
	h.tick()
	spend := must[purser.Spend](h, h.owner, "spend", purser.AskSpend{})
	for _, e := range spend.Events {
		if e.Kind == "capture" {
			if _, err := h.ops["refund"].Do(h.ctx, atLocal, purser.RefundCharge{Charge: e.Charge, AmountMinor: 1, IdempotencyKey: e.Charge}); err != nil {
				t.Fatal(explain(err))
			}
		}
	}
	h.resume(s.stop)
	h.later(25 * time.Hour)
	h.tick() // requests expire
	if err := h.o.Checkpoint(h.ctx); err != nil {
		t.Fatal(err)
	}
	mu.Lock()
	defer mu.Unlock()
	for _, f := range faults {
		t.Error(f)
	}
	for _, table := range []string{"windows", "openings", "budgets", "holds", "orders", "audit", "movements", "payment_tokens", "charges", "plans", "approvals", "stops", "stop_effects", "subscriptions"} {
		if seen[table] == 0 {
			t.Errorf("nothing was written to %s, so nothing is shown of it", table)
		}
	}
	mu.Unlock()
	h.watch(nil)
	h.books()
	h.verify()
	mu.Lock()
}

// RULES 19: while the clocks disagree nothing is spent, and everything can be stopped.
func TestAWrongClockSpendsNothingAndStops(t *testing.T) {
	t.Parallel()
	inTurn(t, func(t *testing.T, database string) {
		h := open(t, database)
		h.seller.pay = h.rail()
		_, agent := h.run(2000)
		h.link(agent)
		plan := h.planned(agent, domain("superseal.club"))
		skew := func() time.Duration {
			return time.Duration(must[purser.Status](h, h.owner, "status", purser.AskStatus{}).ClockSkew) * time.Microsecond
		}
		if got := skew(); got.Abs() > time.Second {
			t.Errorf("the clocks agree, and the status says %v", got)
		}
		h.later(10 * time.Second)
		if got := skew(); got < 8*time.Second || got > 11*time.Second {
			t.Errorf("ten seconds ahead, the status says %v", got)
		}
		_, err := do[purser.Plan](h, agent, "apply", purser.Apply{Plan: plan.ID})
		refused(t, err, purser.ClockUnsafe)
		must[purser.StopInfo](h, h.owner, "stop", purser.Stop{Scope: "run", ID: agent.Run, Reason: "clocks"})
		h.later(-20 * time.Second) // behind the last turn
		if got := skew(); got > -8*time.Second {
			t.Errorf("behind, the status says %v", got)
		}
		must[purser.StopInfo](h, h.owner, "stop", purser.Stop{Scope: "project", ID: h.project.ID, Reason: "clocks"})
		h.later(-time.Hour)
		stop := must[purser.StopInfo](h, h.owner, "stop", purser.Stop{Scope: "organization", Reason: "clocks"})
		h.resume(stop) // what a person signs by the wrong clock counts
		last := int64(0)
		for _, r := range h.records() {
			if r.TS < last {
				t.Errorf("record %d is older than the one before it", r.Seq)
			}
			last = r.TS
		}
		if creates, _ := h.seller.count(); creates != 1 { // the link's
			t.Errorf("%d calls to create", creates-1)
		}
		h.charged(0, 0)
	})
}

// SPEND.md K5, K6: while nothing tells in which month a spend falls nothing is spent, and
// what reduces goes on. It is taken up where it was once the zone can be read.
func TestAnUnknownTimeZoneSpendsNothingAndStops(t *testing.T) {
	t.Parallel()
	inTurn(t, func(t *testing.T, database string) {
		h := open(t, database)
		h.seller.pay = h.rail()
		run, agent := h.run(2000)
		h.link(agent)
		plan := h.planned(agent, domain("superseal.club"))
		held, begun := must[purser.Hold](h, agent, "place_hold", holdOf(100)), must[purser.Hold](h, agent, "place_hold", holdOf(100))
		must[purser.Hold](h, agent, "begin_hold", purser.BeginHold{Hold: begun.ID})

		h.sql("UPDATE organizations SET timezone = 'Mars/Olympus' WHERE id = $1", h.owner.Organization)
		_, err := do[purser.Plan](h, agent, "apply", purser.Apply{Plan: plan.ID})
		refused(t, err, purser.ClockUnsafe)
		_, err = do[purser.Hold](h, agent, "place_hold", holdOf(100))
		refused(t, err, purser.ClockUnsafe)
		_, err = do[purser.Hold](h, agent, "charge_usage", usage(1))
		refused(t, err, purser.ClockUnsafe)
		first := purser.SetBudget{Scope: "category", ID: "models", Limit: usd(1000)}
		first.Act = h.sign("set_budget", first)
		_, err = do[purser.BudgetLine](h, h.owner, "set_budget", first)
		refused(t, err, purser.ClockUnsafe) // which of its spends are of this month?
		must[purser.BudgetLine](h, h.owner, "set_budget", purser.SetBudget{Scope: "run", ID: run.ID, Limit: usd(1900)})
		must[purser.Hold](h, agent, "release_hold", purser.HoldRef{Hold: held.ID})
		must[purser.Hold](h, agent, "capture_hold", purser.CaptureHold{Hold: begun.ID, AmountMinor: 60, Final: true})
		stop := must[purser.StopInfo](h, h.owner, "stop", purser.Stop{Scope: "organization", Reason: "lost"})

		h.sql("UPDATE organizations SET timezone = 'Europe/Berlin' WHERE id = $1", h.owner.Organization)
		h.resume(stop)
		if left := h.left("run", run.ID); left != 1840 {
			t.Errorf("the run has %d left, want 1840", left)
		}
		_, agent = h.run(500)
		must[purser.Hold](h, agent, "charge_usage", usage(1))
	})
}

// A zone that is each machine's own is no organization's.
func TestAnOrganizationsTimeZoneIsTheSameOnEachMachine(t *testing.T) {
	t.Parallel()
	h := open(t, aDB(t))
	for _, zone := range []string{"Local", "Mars/Olympus", "../Berlin"} {
		in := purser.SetUp{Code: "any", Organization: "Home", Name: "Ada", Email: "ada@example.org", Timezone: zone}
		_, err := do[purser.SignedIn](h, purser.Actor{}, "set_up", in)
		if no := refused(t, err, purser.InvalidRequest); !strings.Contains(no.Detail, zone) {
			t.Errorf("%s: %s", zone, no.Detail)
		}
	}
}
