package office_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/purser-dev/purser"
	"github.com/purser-dev/purser/app"
)

// blocked lists what a plan says would refuse it now, step by step.
func blocked(plan purser.Plan) (out []string) {
	for _, b := range plan.Blockers {
		out = append(out, fmt.Sprintf("%d %s", b.Step, b.Code))
	}
	return out
}

func says(t *testing.T, plan purser.Plan, want ...string) {
	t.Helper()
	if got := fmt.Sprint(blocked(plan)); got != fmt.Sprint(want) {
		t.Errorf("the plan says %s would refuse it, want %s", got, want)
	}
}

// CONTROLS: all blockers at once. What a guard of pace will refuse stands in the plan
// before anybody signs it in vain, and goes when it would be refused no more.
func TestAPlanSaysWhatItsPaceWillRefuse(t *testing.T) {
	t.Parallel()
	h := open(t, aDB(t))
	h.seller.pay = h.rail()
	_, agent := h.run(20_000)
	plan := func(steps ...purser.StepRequest) purser.Plan {
		t.Helper()
		return must[purser.Plan](h, agent, "plan", purser.MakePlan{Steps: steps})
	}
	show := func(p purser.Plan) purser.Plan {
		t.Helper()
		return must[purser.Plan](h, agent, "show_plan", purser.PlanRef{Plan: p.ID})
	}
	before := plan(domain("a.club"))
	says(t, before)
	must[purser.Plan](h, agent, "apply", purser.Apply{Plan: h.planned(agent, domain("a.club")).ID})

	// The same again, planned before and after it was bought.
	says(t, show(before), "2 looks_like_duplicate")
	again := domain("a.club")
	again.Name = "another"
	if p := plan(again); p.State != purser.PlanWaiting || len(p.Blockers) != 1 || p.Blockers[0].Hint == "" {
		t.Errorf("a repeat is %s with %+v", p.State, p.Blockers)
	}
	twice := domain("b.club")
	twice.Name = "twice"
	says(t, plan(domain("b.club"), twice), "2 looks_like_duplicate")
	again.Meant = true
	says(t, plan(again))

	// Six paid orders in an hour: this one's fifth is the agent's sixth.
	var many []purser.StepRequest
	for n := range 6 {
		many = append(many, domain(fmt.Sprintf("n%d.club", n)))
	}
	says(t, plan(many...), "5 too_many_orders", "6 too_many_orders")
	dry := must[purser.Plan](h, agent, "plan", purser.MakePlan{Steps: many, DryRun: true})
	says(t, dry, "5 too_many_orders", "6 too_many_orders")
	many[5].Meant = true
	says(t, plan(many...), "5 too_many_orders")

	// What is refused anyway lists it too, by the step of the request.
	h.later(time.Minute)
	_, err := do[purser.Plan](h, agent, "plan", purser.MakePlan{Steps: []purser.StepRequest{{Service: "local/nothing"}, twiceOf("a.club")}})
	no := refused(t, err, purser.UnknownService)
	if n := len(no.Blockers); n != 2 || no.Blockers[1].Step != 2 || no.Blockers[1].Code != purser.LooksLikeDuplicate {
		t.Errorf("blockers: %+v", no.Blockers)
	}
	_, err = do[purser.Plan](h, agent, "add", purser.Add{StepRequest: twiceOf("a.club")})
	if no := refused(t, err, purser.NeedsApproval); len(no.Blockers) != 1 {
		t.Errorf("add asks for a yes that would be in vain, and says %+v", no.Blockers)
	}

	h.later(61 * time.Minute)
	says(t, plan(again))
	h.books()
}

func twiceOf(name string) purser.StepRequest {
	step := domain(name)
	step.Name = "once-more"
	return step
}

// Drill l: a paused run may still plan, hears what would be refused and what to do, and
// then does it: all that a plan needs for what is meant goes with it.
func TestAPlanOfAPausedRunSaysSo(t *testing.T) {
	t.Parallel()
	h := open(t, aDB(t))
	_, agent := h.run(9000)
	h.seller.pay = nil
	h.seller.create = func(create) (app.Resource, error) { return app.Resource{}, purser.Errorf(purser.ProviderFailure, "no") }
	for range 3 {
		_, err := do[purser.Plan](h, agent, "apply", purser.Apply{Plan: h.planned(agent, domain("a.club")).ID})
		refused(t, err, purser.ProviderFailure)
	}
	at := "shop0"
	h.seller.pay, h.seller.create = h.railAt(&at), nil
	for _, by := range []purser.Actor{agent, h.owner} {
		run := must[purser.Run](h, by, "show_run", purser.RunRef{Run: agent.Run})
		if run.State != "active" || run.Paused == nil || run.Paused.Detail != "the same order failed 3 times in a row within an hour; the run is paused" {
			t.Errorf("the run is %s, and paused: %v", run.State, run.Paused)
		}
	}
	h.sellsToo(0)
	next := purser.StepRequest{Service: "shop0/registrar:domain", Configuration: map[string]any{"domain": "b.club"}}
	plan := h.planned(agent, next)
	says(t, plan, "1 too_many_orders", "2 too_many_orders")
	_, err := do[purser.Plan](h, agent, "apply", purser.Apply{Plan: plan.ID})
	refused(t, err, purser.TooManyOrders)
	if p := must[purser.Plan](h, agent, "show_plan", purser.PlanRef{Plan: plan.ID}); p.State != purser.PlanFailed || p.Blockers != nil {
		t.Errorf("a plan that is over is %s, and says what would refuse it: %+v", p.State, p.Blockers)
	}
	next.Meant = true
	plan = h.planned(agent, next)
	says(t, plan)
	must[purser.Plan](h, agent, "apply", purser.Apply{Plan: plan.ID})
	h.charged(1, 1200)
	h.sql("UPDATE orders SET created_at = created_at - $1 WHERE organization = $2", int64(time.Hour/time.Microsecond), h.owner.Organization)
	if run := must[purser.Run](h, agent, "show_run", purser.RunRef{}); run.Paused != nil {
		t.Errorf("an hour later it is paused: %v", run.Paused)
	}
	must[purser.Plan](h, agent, "apply", purser.Apply{Plan: h.planned(agent, purser.StepRequest{Service: "local/hosting:static", Name: "site"}).ID})
}

// An agent that says for itself that a step is meant asks a person, whatever the step is.
func TestWhatIsMeantAsksAPerson(t *testing.T) {
	t.Parallel()
	h := open(t, aDB(t))
	h.seller.pay = h.rail()
	_, agent := h.run(9000)
	h.link(agent)
	for _, step := range []purser.StepRequest{domain("a.club"), {Service: "local/hosting:static", Name: "site"}} {
		step.Meant = true
		plan := must[purser.Plan](h, agent, "plan", purser.MakePlan{Steps: []purser.StepRequest{step}})
		if plan.State != purser.PlanWaiting || !plan.Terms.Steps[0].Meant {
			t.Errorf("%s is %s, and meant %v", step.Service, plan.State, plan.Terms.Steps[0].Meant)
		}
	}
}

// What a run and its agent ordered lately is asked for in the turn of each order: among
// those of years it is found by index.
func TestWhatWasOrderedLatelyIsFoundByIndex(t *testing.T) {
	t.Parallel()
	h := open(t, sqlite(t))
	h.seller.pay = h.rail()
	_, agent := h.run(5000)
	plan := h.planned(agent, domain("superseal.club"))
	asked := map[string]bool{}
	h.watch(func(_ int64, statement string) error {
		if strings.HasPrefix(statement, "-- name: RecentOrder") {
			asked[statement] = true // turns of one organization come one after the other
		}
		return nil
	})
	must[purser.Plan](h, agent, "apply", purser.Apply{Plan: plan.ID})
	h.watch(nil)
	if len(asked) != 2 {
		t.Fatalf("%d questions", len(asked))
	}
	for statement := range asked {
		how := h.explained(statement)
		for _, by := range []string{"AND run=? AND created_at>?", "AND agent=? AND created_at>?"} {
			if !strings.Contains(how, by) {
				t.Errorf("%.40s has no %q: %s", statement, by, how)
			}
		}
	}
}
