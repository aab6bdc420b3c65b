package office_test

import (
	"strings"
	"testing"

	"github.com/purser-dev/purser"
	"github.com/purser-dev/purser/app"
)

// What a review found, each as a test that can fail.

func lite(t *testing.T) *house { return open(t, aDB(t)) }

func TestATokenThatWasShownOnceIsNotRepeatedUnderItsKey(t *testing.T) {
	t.Parallel()
	h := lite(t)
	in := purser.CreateRun{Project: h.project.ID, Budget: purser.Money{Amount: 500, Currency: "USD"}}
	in.Act = h.sign("create_run", in)
	owner := h.owner
	owner.Key = "once"
	first := must[purser.Run](h, owner, "create_run", in)
	in.Act = nil // whoever replays it has no signature
	again := must[purser.Run](h, owner, "create_run", in)
	if first.Token == "" || again.Token != "" || again.ID != first.ID {
		t.Errorf("first %q, again %q with token %q", first.ID, again.ID, again.Token)
	}
}

func TestWhatRecursNeedsAPersonHoweverCheapItIs(t *testing.T) {
	t.Parallel()
	h := lite(t)
	_, agent := h.run(2000)
	h.seller.set(func(s *seller) {
		s.quote = func(q *app.Quote) { q.AmountMinor, q.RefundableUntil = 0, app.At(h.now().AddDate(0, 1, 0)) }
	})
	h.link(agent)
	plan := must[purser.Plan](h, agent, "plan", purser.MakePlan{Steps: []purser.StepRequest{{Service: "local/hosting:pro"}}})
	if plan.State != purser.PlanWaiting || plan.Reasons[0].Code != "recurring" || plan.Terms.Steps[0].Price.Until == "" {
		t.Errorf("the plan is %s because of %v, until %q", plan.State, plan.Reasons, plan.Terms.Steps[0].Price.Until)
	}
}

func TestTwoPlansOfOneNameBuyOnce(t *testing.T) {
	t.Parallel()
	h := lite(t)
	h.seller.pay = h.rail()
	h.seller.refundable()
	dear := func(in *purser.CreateRun) { in.Threshold = &purser.Money{Amount: 2000, Currency: "USD"} }
	_, one := h.run(2000, dear)
	_, two := h.run(2000, dear, func(in *purser.CreateRun) { in.Agent = "other" })
	h.link(one)
	step := purser.MakePlan{Steps: []purser.StepRequest{{Service: "local/hosting:pro"}}}
	first, second := must[purser.Plan](h, one, "plan", step), must[purser.Plan](h, two, "plan", step)
	must[purser.Plan](h, one, "apply", purser.Apply{Plan: first.ID})
	_, err := do[purser.Plan](h, two, "apply", purser.Apply{Plan: second.ID})
	refused(t, err, purser.AlreadyExists)
	h.charged(1, 500)
}

func TestAProviderInUseIsNotForgotten(t *testing.T) {
	manyHouses(t)
	t.Parallel()
	h := lite(t)
	_, agent := h.run(2000)
	h.link(agent)
	for _, name := range []string{"remove_provider"} {
		_, err := h.ops[name].Do(h.ctx, h.owner, purser.ProviderRef{Provider: "local"})
		refused(t, err, purser.InvalidState)
	}
}

func TestEqualNamesInTwoEnvironmentsAreTwoSites(t *testing.T) {
	manyHouses(t)
	t.Parallel()
	h := lite(t)
	_, agent := h.run(2000)
	names := map[string]bool{}
	h.link(agent)
	manifest := h.staged(agent, map[string]string{"index.html": "x"})
	h.shop.names = names
	for _, env := range []string{"development", "staging"} {
		must[purser.Plan](h, agent, "deploy", purser.Deploy{Manifest: manifest, Name: "shop", Env: env})
	}
	if len(names) != 2 {
		t.Errorf("two environments deployed to %v", names)
	}
	for name := range names {
		if !strings.HasPrefix(name, "shop-") {
			t.Errorf("a site is called %q", name)
		}
	}
	for env, asks := range map[string]bool{"staging": false, "prod": true, "live": true, "production": true} {
		plan, err := do[purser.Plan](h, agent, "deploy", purser.Deploy{Manifest: manifest, Name: "other", Env: env, DryRun: true})
		if err != nil || (len(plan.Reasons) > 0) != asks {
			t.Errorf("a deployment to %s asks a person because of %v (%v)", env, plan.Reasons, err)
		}
	}
}

func TestARunSpendsOnlyInTheCurrencyOfItsBudget(t *testing.T) {
	t.Parallel()
	h := lite(t)
	budget := purser.SetBudget{Scope: "organization", Limit: purser.Money{Amount: 100000, Currency: "EUR"}}
	budget.Act = h.sign("set_budget", budget)
	must[purser.BudgetLine](h, h.owner, "set_budget", budget)
	_, agent := h.run(2000)
	h.seller.set(func(s *seller) {
		s.quote = func(q *app.Quote) { q.Currency, q.Renewal = "EUR", nil }
	})
	_, err := do[purser.Plan](h, agent, "plan", purser.MakePlan{Steps: []purser.StepRequest{domain("superseal.club")}})
	refused(t, err, purser.CurrencyNotBudgeted)
}
