package browser

import (
	"slices"
	"testing"

	"github.com/purser-dev/purser"
)

// Each form of a page that loosens a control, as a person fills it: a passkey signs
// it, the page tells what came of it, and the record holds the signature.
func TestEachActOfThePagesIsSignedWithAPasskey(t *testing.T) {
	t.Parallel()
	url, link := serve(t)
	b := open(t, url)
	b.setUp(link)
	shop := sell(t, "desk")
	b.visit("/projects")
	b.fill(`form[action="/projects"]`, "name", "shop")
	b.press(`form[action="/projects"]`)
	b.sees("No limit of its own")
	me := b.program()

	// A page is looked for when its turn comes: what it shows was made by those before.
	var run, resource string
	var plan purser.Plan
	for _, act := range []struct {
		operation string
		page      func() string
		fields    []string
		says      string
		then      func()
	}{
		{"add_provider", func() string { return "/providers" }, []string{"manifest", shop.manifest, "signing_secret", signingSecret}, "pur_prv_", nil},
		{"set_budget", func() string { return "/settings" }, []string{"limit", "88.00", "thresholds", "60, 90 %"}, "88.00 USD", func() {
			budgets, err := me.ListBudgets(t.Context(), purser.None{})
			if err != nil || len(budgets.Items) != 1 || !slices.Equal(budgets.Items[0].Thresholds, []int{60, 90}) {
				t.Errorf("the limit: %+v %v", budgets.Items, err)
			}
		}},
		{"create_run", func() string { return "/runs" }, []string{"purpose", "one lamp", "budget", "6.00"}, "pur_agt_", func() {
			token := eval[string](b, `document.querySelector("[data-result=token]").textContent`)
			shop.agent = b.dial(token)
			r, err := shop.agent.ShowRun(t.Context(), purser.RunRef{})
			if err != nil || r.Budget.Limit.Amount != 600 {
				t.Fatalf("the run's token: %+v %v", r, err)
			}
			run = r.ID
		}},
		{"extend_run", func() string { return "/runs/" + run }, []string{"budget", "9.00"}, "9.00 USD", nil},
		{"approve", func() string {
			plan = shop.plans(t, shop.lamp())
			return "/approvals/" + plan.ID
		}, nil, "Approved, and not begun yet", func() {
			done, err := shop.agent.Apply(t.Context(), purser.Apply{Plan: plan.ID})
			if err != nil {
				t.Fatal(err)
			}
			resource = done.Orders[len(done.Orders)-1].Resource
			b.visit("/resources/" + resource)
			b.press(`form[action$="/remove"]`) // retiring reduces: nothing is signed
			b.sees("Restore")
		}},
		{"restore", func() string { return "/resources/" + resource }, nil, "Destroy", nil},
		{"remove", func() string { return "/resources/" + resource }, []string{"confirm", "lamp"}, "shop", nil},
		{"resume", func() string {
			made, err := me.Stop(t.Context(), purser.Stop{Scope: "organization", Reason: "a try"})
			if err != nil {
				t.Fatal(err)
			}
			return "/stops/" + made.ID
		}, nil, "Lifted on", nil},
	} {
		b.visit(act.page())
		form := `form[data-act="` + act.operation + `"]`
		for i := 0; i < len(act.fields); i += 2 {
			b.fill(form, act.fields[i], act.fields[i+1])
		}
		b.press(form)
		b.sees(act.says)
		if act.then != nil {
			act.then()
		}
	}
	if r, err := me.ShowResource(t.Context(), purser.ResourceRef{Resource: resource}); err != nil || r.State != "removed" {
		t.Errorf("the destroyed resource is %q, %v", r.State, err)
	}

	// Each of them is one record with the assertion that allowed it.
	signed := map[string]int{}
	for after := int64(0); ; {
		page, err := me.AuditLog(t.Context(), purser.AskAudit{After: after, Limit: 100})
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range page.Records {
			if r.Record["attach"] != nil {
				signed[r.Action]++
			}
			after = r.Seq
		}
		if len(page.Records) < 100 {
			break
		}
	}
	for _, action := range []string{"add_provider", "set_budget", "create_run", "extend_run", "approve", "restore", "remove", "resume"} {
		if signed[action] != 1 {
			t.Errorf("%d records of %s hold a signature, want 1", signed[action], action)
		}
	}
	verify(t, b)
}
