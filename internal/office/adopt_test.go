package office_test

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"github.com/purser-dev/purser"
	"github.com/purser-dev/purser/app"
	"github.com/purser-dev/purser/internal/office"
)

// linkable is a seller of two regions whose account can be configured, with pages.
func linkable(h *house) {
	h.wire = strings.Replace(manifest, `"Local",`, `"Local","deep_link_purposes":["dashboard"],"region_base_urls":{"EU":"http://127.0.0.1:1/eu/"},
		"account_configuration_schema":{"type":"object","properties":{"region":{"type":"string","enum":["US","EU"]},"seats":{"type":"integer"}}},`, 1)
}

// proposed does what ends in a plan as an agent, and gives the plan that waits for a person.
func (h *house) proposed(agent purser.Actor, operation string, in any) purser.Plan {
	h.t.Helper()
	_, err := do[purser.Plan](h, agent, operation, in)
	var no *purser.Error
	if !errors.As(err, &no) || no.Code != purser.NeedsApproval {
		h.t.Fatalf("%s: %v, want a plan that waits for a person", operation, explain(err))
	}
	return h.shown(no.Plan)
}

func TestAnAgentProposesToAdoptAndAPersonDecides(t *testing.T) {
	t.Parallel()
	inTurn(t, func(t *testing.T, database string) {
		h := open(t, database)
		_, agent := h.run(2000)
		h.link(agent)
		there := app.Resource{
			Status: app.StatusComplete, ID: "r_there", ServiceID: "hosting:static",
			Complete: &app.Complete{AccessConfiguration: map[string]string{"password": "hunter2"}},
		}
		h.seller.set(func(s *seller) { s.sold["there"] = there })
		for title, c := range map[string]struct {
			in   purser.Adopt
			code purser.Code
		}{
			"another service": {purser.Adopt{Provider: "local", Service: "hosting:pro", ProviderID: "r_there"}, purser.NotAvailable},
			"no identifier":   {purser.Adopt{Provider: "local", Service: "hosting:static"}, purser.InvalidRequest},
			"two lines":       {purser.Adopt{Provider: "local", Service: "hosting:static", ProviderID: "a\nb"}, purser.InvalidRequest},
			"nothing there":   {purser.Adopt{Provider: "local", Service: "hosting:static", ProviderID: "r_none"}, purser.NotAvailable},
			"a strange name":  {purser.Adopt{Provider: "local", Service: "hosting:static", ProviderID: "r_there", Name: "A B"}, purser.InvalidRequest},
		} {
			if _, err := do[purser.Plan](h, agent, "adopt", c.in); purser.CodeOf(err) != c.code {
				t.Errorf("%s: %v, want %s", title, explain(err), c.code)
			}
		}
		in := purser.Adopt{Provider: "Local", Service: "hosting:static", ProviderID: "r_there", Name: "inbox"}
		first, second := h.proposed(agent, "adopt", in), h.proposed(agent, "adopt", in)
		if _, err := do[purser.Plan](h, agent, "apply", purser.Apply{Plan: first.ID, Wait: 1}); purser.CodeOf(err) != purser.NeedsApproval {
			t.Errorf("applied without a person: %v", err)
		}
		if step := first.Terms.Steps[0]; step.Kind != purser.AdoptStep || step.ProviderID != "r_there" || len(first.Reasons) != 1 {
			t.Errorf("the plan is %+v, for the reasons %v", step, first.Reasons)
		}
		h.approve(first.ID)
		h.approve(second.ID)
		if plan := must[purser.Plan](h, agent, "apply", purser.Apply{Plan: first.ID}); plan.State != purser.PlanDone {
			t.Errorf("the plan is %s", plan.State)
		}
		// What another plan took in meanwhile is not taken in twice.
		if _, err := do[purser.Plan](h, agent, "apply", purser.Apply{Plan: second.ID}); purser.CodeOf(err) != purser.AlreadyExists {
			t.Errorf("the second: %v", explain(err))
		}
		var adopted purser.Resource
		for _, r := range must[purser.Status](h, h.owner, "status", purser.AskStatus{}).Resources {
			if r.ProviderID == "r_there" {
				if adopted.ID != "" {
					t.Error("it is here twice")
				}
				adopted = r
			}
		}
		if env := h.exec(adopted.ID); env["INBOX_PASSWORD"] != "hunter2" {
			t.Errorf("its environment is %v", env)
		}
		if n, sum := h.moved("capture"); n != 0 {
			t.Errorf("%d charges of %d for what was there", n, sum)
		}
		if h.counted("settle", "accepted") == 0 {
			t.Error("the log says nothing of it")
		}
		if _, err := do[purser.Plan](h, agent, "adopt", in); purser.CodeOf(err) != purser.AlreadyExists {
			t.Errorf("a third plan: %v", explain(err))
		}
		h.books()
	})
}

func TestAnAgentProposesToUnlinkAndAPersonDecides(t *testing.T) {
	t.Parallel()
	inTurn(t, func(t *testing.T, database string) {
		h := open(t, database)
		_, agent := h.run(2000)
		if _, err := do[purser.Plan](h, agent, "unlink", purser.UnlinkProvider{Provider: "local"}); purser.CodeOf(err) != purser.NotFound {
			t.Errorf("without an account: %v", explain(err))
		}
		h.link(agent)
		plan, late := h.proposed(agent, "unlink", purser.UnlinkProvider{Provider: "local"}), h.proposed(agent, "unlink", purser.UnlinkProvider{Provider: "local"})
		h.approve(plan.ID)
		h.approve(late.ID)
		if got := must[purser.Plan](h, agent, "apply", purser.Apply{Plan: plan.ID}); got.State != purser.PlanDone {
			t.Errorf("the plan is %s", got.State)
		}
		info := must[purser.ProviderInfo](h, h.owner, "show_provider", purser.ProviderRef{Provider: "local"})
		if info.Connection != "" && info.Connection != "none" || info.Account != "" {
			t.Errorf("the account is still known: %+v", info)
		}
		// Twice is once; what lives there stays.
		if got := must[purser.Plan](h, agent, "apply", purser.Apply{Plan: late.ID}); got.State != purser.PlanDone {
			t.Errorf("the second plan is %s", got.State)
		}
		if n := len(must[purser.Status](h, h.owner, "status", purser.AskStatus{}).Resources); n != 1 {
			t.Errorf("%d resources are left", n)
		}
		h.books()
	})
}

func TestAnAccountThatIsNeededIsNotForgotten(t *testing.T) {
	t.Parallel()
	h := open(t, filepath.Join(t.TempDir(), "p.db"))
	h.seller.pay = h.rail()
	_, agent := h.run(2000)
	h.link(agent)
	plan := h.proposed(agent, "unlink", purser.UnlinkProvider{Provider: "local"})
	h.approve(plan.ID)
	bought := h.planned(agent, domain("superseal.club"))
	must[purser.Plan](h, agent, "apply", purser.Apply{Plan: bought.ID}) // renews by itself: a charge that must be managed
	if _, err := do[purser.Plan](h, agent, "apply", purser.Apply{Plan: plan.ID}); purser.CodeOf(err) != purser.InvalidState {
		t.Errorf("with a recurring charge: %v", explain(err))
	}
	if _, err := do[purser.Plan](h, agent, "unlink", purser.UnlinkProvider{Provider: "local"}); purser.CodeOf(err) != purser.InvalidState {
		t.Errorf("a plan of it: %v", explain(err))
	}
	if got := must[purser.ProviderInfo](h, h.owner, "show_provider", purser.ProviderRef{Provider: "local"}); got.Account == "" {
		t.Error("the account is forgotten")
	}
}

func TestAnAgentGetsNoPageAndThePeopleAreTold(t *testing.T) {
	t.Parallel()
	h := open(t, filepath.Join(t.TempDir(), "p.db"), linkable)
	_, agent := h.run(2000)
	h.link(agent)
	if _, err := do[purser.Link](h, agent, "open", purser.OpenLink{Provider: "local"}); purser.CodeOf(err) != purser.SelfApproval {
		t.Errorf("an agent opens it: %v", explain(err))
	}
	if _, err := do[purser.Link](h, h.owner, "open", purser.OpenLink{Provider: "local"}); purser.CodeOf(err) != purser.NeedsPerson {
		t.Errorf("a token alone opens it: %v", explain(err))
	}
	for _, in := range []purser.ProposeOpen{
		{Provider: "local", Page: "billing"},
		{Provider: "local", Path: "billing"},
		{Provider: "local", Path: "/a;rm -rf ~"},
		{Provider: "local", Path: "/a\n"},
	} {
		if _, err := do[purser.Accepted](h, agent, "propose_open", in); err == nil {
			t.Errorf("%+v is told to the people", in)
		}
	}
	for range 3 {
		must[purser.Accepted](h, agent, "propose_open", purser.ProposeOpen{Provider: "local", Path: "/billing", Why: "the card\x1b[2J"})
	}
	conn, err := h.dial()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	rows, err := conn.Query("SELECT facts FROM notices WHERE kind = 'page_wanted'")
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	told := []string{}
	for rows.Next() {
		var facts string
		if err := rows.Scan(&facts); err != nil {
			t.Fatal(err)
		}
		told = append(told, facts)
	}
	if len(told) != 1 || !strings.Contains(told[0], "purser open local --path /billing") || strings.Contains(told[0], "login") || strings.Contains(told[0], `\u001b`) {
		t.Errorf("the people are told %q, want the command, once, and no link", told)
	}
	in := purser.OpenLink{Provider: "local", Path: "/billing"}
	in.Act = h.sign("open", in)
	if link := must[purser.Link](h, h.owner, "open", in); !strings.HasSuffix(link.URL, "login/billing") {
		t.Errorf("the person gets %+v", link)
	}
	if _, err := do[purser.Link](h, h.owner, "open", in); purser.CodeOf(err) == "" {
		t.Error("one signature opens two pages")
	}
}

func TestAnAccountIsConfiguredByAPlanThatSaysSo(t *testing.T) {
	t.Parallel()
	h := open(t, filepath.Join(t.TempDir(), "p.db"), linkable)
	var got app.AccountRequest
	h.seller.set(func(s *seller) {
		s.asks = func(req app.AccountRequest, _ string) (office.Linked, error) { got = req; return office.Linked{}, nil }
	})
	_, agent := h.run(2000)
	for _, bad := range []map[string]any{{"region": "MARS"}, {"seats": "many"}, {"colour": "red"}} {
		if _, err := do[purser.Plan](h, agent, "link", purser.LinkProvider{Provider: "local", Configuration: bad}); purser.CodeOf(err) != purser.InvalidRequest {
			t.Errorf("%v: %v", bad, explain(err))
		}
	}
	plan := h.proposed(agent, "link", purser.LinkProvider{Provider: "local", Configuration: map[string]any{"region": "EU", "seats": "3"}})
	step := plan.Terms.Steps[0]
	if step.Configuration["region"] != "EU" || strings.Join(step.Account.Shares, " ") != "email name region seats" {
		t.Errorf("the plan says %v, shares %v", step.Configuration, step.Account.Shares)
	}
	h.approve(plan.ID)
	must[purser.Plan](h, agent, "apply", purser.Apply{Plan: plan.ID})
	if got.Configuration["region"] != "EU" || got.Configuration["seats"] == "3" {
		t.Errorf("the provider was asked for %v", got.Configuration)
	}
}
