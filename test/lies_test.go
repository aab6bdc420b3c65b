package test

import (
	"testing"

	"github.com/purser-dev/purser"
)

// name is the one step of the plans of lies.
func name() purser.StepRequest {
	return purser.StepRequest{Service: "local/registrar:domain", Configuration: map[string]any{"domain": domain}}
}

// Drill k, with the real cloud: whatever becomes of the answer, there is one
// resource, one charge and an honest state.
func TestAProviderThatMisbehavesIsPaidOnceForOneThing(t *testing.T) {
	whole(t)
	for lie, on := range map[string]map[string]int{
		"answers 500 after the work":                {"create_500": 1},
		"drops the connection after the work":       {"create_dropped": 1},
		"drops the connection each time":            {"create_dropped": -1},
		"handles each request twice":                {"create_twice": -1},
		"charges twice under one key":               {"charge_twice": -1},
		"charges twice under two keys":              {"charge_two_keys": -1},
		"answers late":                              {"create_slow": -1, "delay_ms": 1500},
		"drops, charges twice and handles it twice": {"create_dropped": 1, "create_twice": 2, "charge_two_keys": -1},
		"tells the agent to accept and upgrade":     {"tempting_context": -1},
	} {
		t.Run(lie, func(t *testing.T) {
			t.Parallel()
			h := build(t, "", 2000)
			h.switches(t, on)
			plan := h.approved(t, name())
			if len(plan.Terms.Steps) != 2 || len(plan.Reasons) == 0 {
				t.Errorf("the plan has %d steps and %d reasons to ask a person", len(plan.Terms.Steps), len(plan.Reasons))
			}
			h.applying(t, plan.ID)
			h.bought(t, h.ends(t, plan.ID))
			h.settled(t)
		})
	}
}

// A seller who sells another thing than asked, dearer than quoted or to somebody
// else sells nothing (drills b, g and h).
func TestAProviderThatLiesSellsNothing(t *testing.T) {
	whole(t)
	for _, c := range []struct {
		name     string
		planning map[string]int // on from the start
		buying   map[string]int // on once a person has approved
		code     purser.Code
		creates  int // calls that could have bought
	}{
		{"offers another suffix", map[string]int{"registrar_other_suffix": -1}, nil, purser.DomainMismatch, 0},
		{"raises the price after the quote", nil, map[string]int{"registrar_price_raised": -1}, purser.QuoteChanged, 0},
		{"raises the renewal after the quote", nil, map[string]int{"registrar_renewal_raised": -1}, purser.QuoteChanged, 0},
		{"calls the name premium after the quote", nil, map[string]int{"registrar_turned_premium": -1}, purser.NotAvailable, 0},
		{"offers another suffix after the quote", nil, map[string]int{"registrar_other_suffix": -1}, purser.DomainMismatch, 0},
		{"sells the name to somebody else meanwhile", nil, map[string]int{"registrar_taken": -1}, purser.NotAvailable, 1},
		{"charges more than it quoted", nil, map[string]int{"registrar_overcharge": -1}, purser.PaymentDeclined, 1},
		{"freezes the name after payment", nil, map[string]int{"registrar_blocked": -1}, purser.NotAvailable, 1},
		{"answers for another account", map[string]int{"other_account": -1}, nil, purser.AccountMismatch, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			h := build(t, "", 2000)
			h.switches(t, c.planning)
			plan, err := h.agent.Plan(t.Context(), purser.MakePlan{Steps: []purser.StepRequest{name()}})
			if err == nil && plan.State == purser.PlanWaiting {
				h.person.approves(t, plan.ID)
				h.switches(t, c.buying)
				_, err = h.agent.Apply(t.Context(), purser.Apply{Plan: plan.ID})
			} else if err == nil && len(plan.Blockers) > 0 {
				err = &purser.Error{Code: plan.Blockers[0].Code, Hint: plan.Blockers[0].Hint}
			}
			if purser.CodeOf(err) != c.code {
				t.Errorf("it was answered %v, want %s", err, c.code)
			}
			h.soldNothing(t, c.creates)
		})
	}
}

// soldNothing checks that no money stayed with the seller, and nothing with us.
func (h *house) soldNothing(t *testing.T, creates int) {
	t.Helper()
	if n := h.wire.count("POST /app/provisioning/resources "); n != creates {
		t.Errorf("the provider was asked to create %d times, want %d", n, creates)
	}
	if paid := h.receipts(t); len(paid) > 0 {
		t.Errorf("the seller keeps %v", paid)
	}
	run, err := h.person.ShowRun(t.Context(), purser.RunRef{Run: h.run.ID})
	if err != nil || run.Budget.Captured != run.Budget.Refunded || run.Budget.Held != 0 {
		t.Errorf("the run's budget: %+v %v", run.Budget, err)
	}
	status, err := h.person.Status(t.Context(), purser.AskStatus{})
	if err != nil || len(status.Resources) > 0 || len(status.Unsettled) > 0 {
		t.Errorf("there are %d resources and %d unsettled orders, %v", len(status.Resources), len(status.Unsettled), err)
	}
	h.sound(t)
}

// A seller who delivers another name than was bought keeps the charge that it
// made, but its name never counts as the one that was asked for.
func TestAnotherNameThanBoughtIsNeverLive(t *testing.T) {
	whole(t)
	h := build(t, "", 2000)
	h.switches(t, map[string]int{"registrar_other_name": -1})
	plan := h.approved(t, name())
	if _, err := h.agent.Apply(t.Context(), purser.Apply{Plan: plan.ID}); purser.CodeOf(err) != purser.DomainMismatch {
		t.Errorf("it was answered %v", err)
	}
	plan = h.ends(t, plan.ID)
	if o := plan.Orders[1]; o.State != purser.OrderFailed || o.Captured.Amount != plan.Terms.Steps[1].Price.Now {
		t.Errorf("the order is %s with %v captured", o.State, o.Captured)
	}
	status, err := h.person.Status(t.Context(), purser.AskStatus{})
	if err != nil || len(status.Resources) > 0 {
		t.Errorf("resources: %+v %v", status.Resources, err)
	}
	h.settled(t)
}
