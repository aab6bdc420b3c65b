package office_test

import (
	"errors"
	"testing"

	"github.com/purser-dev/purser"
	"github.com/purser-dev/purser/internal/audit"
)

// RULES 10: what money refused for good stays refused under its key; what a
// person, time or another try can change does not.
func TestAKeyKeepsFinalRefusalsOnly(t *testing.T) {
	manyHouses(t)
	t.Parallel()
	usd := func(n int64) purser.Money { return purser.Money{Amount: n, Currency: "USD"} }
	tests := []struct {
		name  string
		first purser.Code
		heal  func(h *house, run purser.Run) // of the reason for the refusal
		want  purser.Code                    // of the same request under the same key; empty: it goes on
	}{
		{"a budget that was too small", purser.BudgetExceeded, func(h *house, run purser.Run) {
			in := purser.SetBudget{Scope: "run", ID: run.ID, Limit: usd(5000)}
			in.Act = h.sign("set_budget", in)
			must[purser.BudgetLine](h, h.owner, "set_budget", in)
		}, purser.BudgetExceeded},
		{"another name than the one asked", purser.DomainMismatch, func(h *house, _ purser.Run) {
			h.seller.set(func(s *seller) { s.item = func(d string) string { return d } })
		}, purser.DomainMismatch},
		{"a provider that was away", purser.ProviderDown, func(h *house, _ purser.Run) {
			h.seller.set(func(s *seller) { s.quoteErr = nil })
		}, ""},
		{"a stop", purser.Stopped, func(h *house, _ purser.Run) {
			in := purser.Resume{Stop: must[purser.List[purser.StopInfo]](h, h.owner, "list_stops", purser.None{}).Items[0].ID}
			in.Act = h.sign("resume", in)
			must[purser.StopInfo](h, h.owner, "resume", in)
		}, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h := open(t, aDB(t))
			run, agent := h.run(2000)
			switch tt.first {
			case purser.BudgetExceeded:
				h.seller.set(func(s *seller) { s.price = 2001 })
			case purser.DomainMismatch:
				h.seller.set(func(s *seller) { s.item = func(string) string { return "superseal.cc" } })
			case purser.ProviderDown:
				h.seller.set(func(s *seller) { s.quoteErr = purser.Errorf(purser.ProviderDown, "away") })
			case purser.Stopped:
				must[purser.StopInfo](h, h.owner, "stop", purser.Stop{Scope: "provider", ID: "local", Reason: "to see"})
			}
			agent.Key = "k"
			in := purser.MakePlan{Steps: []purser.StepRequest{domain("superseal.club")}}
			_, err := do[purser.Plan](h, agent, "plan", in)
			refused(t, err, tt.first)
			tt.heal(h, run)
			if tt.want == "" {
				must[purser.Plan](h, agent, "plan", in)
			} else {
				_, err = do[purser.Plan](h, agent, "plan", in)
				refused(t, err, tt.want)
				agent.Key = "a new one"
				must[purser.Plan](h, agent, "plan", in)
			}
			h.books()
			h.verify()
		})
	}
}

// RULES 10, and promise 5: a no that is for good is kept under its key and is on the
// record, wherever it was said.
func TestAFinalRefusalIsKeptAndOnTheRecord(t *testing.T) {
	t.Parallel()
	eachDB(t, func(t *testing.T, database string) {
		h := open(t, database)
		run, _ := h.run(1000)
		in := purser.ExtendRun{Run: run.ID, Expires: "3h"}
		in.Act = h.sign("extend_run", in)
		must[purser.Run](h, h.owner, "end_run", purser.RunRef{Run: run.ID})
		before := h.counted("extend_run", "refused")
		by := h.owner
		by.Key = "extend-1"
		for again := range 2 { // a replay decides nothing
			_, err := do[purser.Run](h, by, "extend_run", in)
			refused(t, err, purser.InvalidState)
			if replay := repeated(err); replay != (again > 0) {
				t.Errorf("answer %d is called a replay: %v", again, replay)
			}
		}
		if n := h.counted("extend_run", "refused") - before; n != 1 {
			t.Errorf("%d refusals on record, want 1", n)
		}
		in.Expires = "4h"
		_, err := do[purser.Run](h, by, "extend_run", in)
		refused(t, err, purser.KeyReused)

		_, agent := h.run(5000)
		plan := must[purser.Plan](h, agent, "plan", purser.MakePlan{Steps: []purser.StepRequest{domain("superseal.club")}})
		must[purser.Plan](h, h.owner, "deny", purser.Deny{Plan: plan.ID, Reason: "no"})
		_, err = do[purser.Plan](h, h.owner, "approve", purser.Approve{Plan: plan.ID})
		refused(t, err, purser.InvalidState)
		all := h.records()
		if r := all[len(all)-1]; r.Action != "approve" || r.Outcome != audit.Refused || r.Target != plan.ID {
			t.Errorf("the last record is %s %s of %q", r.Outcome, r.Action, r.Target)
		}
	})
}

// Promise 5: that a key was used for another request is a refusal like all others, on
// the record wherever it was said.
func TestAReusedKeyIsOnTheRecord(t *testing.T) {
	t.Parallel()
	h := open(t, aDB(t))
	run, agent := h.run(5000)
	limit := func(cents int64) any { return purser.SetBudget{Scope: "run", ID: run.ID, Limit: usd(cents)} }
	plan := func(purpose string) any {
		return purser.MakePlan{Steps: []purser.StepRequest{domain("superseal.club")}, Purpose: purpose}
	}
	for _, c := range []struct {
		op           string
		by           purser.Actor
		first, other any
	}{
		{"charge_usage", agent, usage(1), usage(2)}, // decided in a batch
		{"set_budget", h.owner, limit(4000), limit(3000)},
		{"plan", agent, plan("one"), plan("another")}, // looked for before its turn
	} {
		c.by.Key = c.op
		if _, err := h.ops[c.op].Do(h.ctx, c.by, c.first); err != nil {
			t.Fatal(explain(err))
		}
		_, err := h.ops[c.op].Do(h.ctx, c.by, c.other)
		refused(t, err, purser.KeyReused)
		all := h.records()
		r := all[len(all)-1]
		if r.Action != c.op || r.Outcome != audit.Refused || r.IdempotencyKey != c.op || r.Policy == nil || r.Policy.Reasons[0] != string(purser.KeyReused) {
			t.Errorf("%s: the last record is %+v", c.op, r)
		}
	}
	h.verify()
}

// A limit that was raised since does not change what a key was answered, so the answer says
// that it is of then: "0.50 is left" would be a lie of now.
func TestARefusedHoldSaysThatItIsRepeated(t *testing.T) {
	t.Parallel()
	eachDB(t, func(t *testing.T, database string) {
		h := open(t, database)
		_, agent := h.run(50)
		agent.Key = "k"
		in := purser.PlaceHold{Provider: "printer", AmountMinor: 51, Currency: "USD"}
		for again := range 3 {
			_, err := do[purser.Hold](h, agent, "place_hold", in)
			refused(t, err, purser.BudgetExceeded)
			if replay := repeated(err); replay != (again > 0) {
				t.Errorf("answer %d is called a replay: %v", again, replay)
			}
		}
	})
}

func repeated(err error) bool {
	var no *purser.Error
	return errors.As(err, &no) && no.Replay
}

// A limit that was changed since is not what its key's answer says: whoever repeats the
// key is told that the answer is the one of then, and nothing is changed.
func TestARepeatedLimitSaysThatItIsOfThen(t *testing.T) {
	t.Parallel()
	eachDB(t, func(t *testing.T, database string) {
		h := open(t, database)
		run, _ := h.run(2000)
		by := h.owner
		by.Key = "limit-1"
		in := purser.SetBudget{Scope: "run", ID: run.ID, Limit: usd(1500)}
		if line := must[purser.BudgetLine](h, by, "set_budget", in); line.Replay || line.Limit != usd(1500) {
			t.Errorf("the first answer: %+v", line)
		}
		h.limit("run", run.ID, usd(900))
		if line := must[purser.BudgetLine](h, by, "set_budget", in); !line.Replay || line.Limit != usd(1500) {
			t.Errorf("the answer of before: %+v", line)
		}
		if is := must[purser.Run](h, h.owner, "show_run", purser.RunRef{Run: run.ID}).Budget; is.Limit != usd(900) || is.Replay {
			t.Errorf("the limit now: %+v", is)
		}
	})
}
