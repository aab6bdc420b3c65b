package console

import (
	"fmt"

	"github.com/purser-dev/purser"
)

// furnish fills the house, with little or with much, and names its screens.
func (h *house) furnish(much bool) map[string]string {
	h.tb.Helper()
	screens := map[string]string{
		"people": "/people", "passkeys": "/settings/passkeys", "device": "/device",
		"now": "/", "approvals": "/approvals", "runs": "/runs", "projects": "/projects", "spend": "/spend", "catalog": "/catalog", "agents": "/agents",
		"providers": "/providers", "audit": "/audit", "settings": "/settings", "lost": "/nowhere",
	}
	if !much {
		return screens
	}
	h.provider("Harbor")
	h.provider("Slate")
	h.provider("Quill")
	limit := purser.SetBudget{Scope: "organization", Limit: purser.Money{Amount: 150000, Currency: "USD"}}
	limit.Act = h.sign("set_budget", limit)
	must[purser.BudgetLine](h, h.owner, "set_budget", limit)
	_, coder := h.run("claude-code", "put the seal shop on superseal.club, at most 20 USD", 4000)
	for _, more := range []purser.SetBudget{
		{Scope: "project", ID: "superseal", Limit: purser.Money{Amount: 120000, Currency: "USD"}},
		{Scope: "category", ID: "database", Period: "week", Limit: purser.Money{Amount: 4000, Currency: "EUR"}},
		{Scope: "label", ID: "team=search", Period: "day", Limit: purser.Money{Amount: 2500, Currency: "JPY"}},
		{Scope: "organization", Period: "hour", Limit: purser.Money{Amount: 30000, Currency: "USD"}},
	} {
		more.Act = h.sign("set_budget", more)
		must[purser.BudgetLine](h, h.owner, "set_budget", more)
	}
	h.buy(coder, domain("harbor", "sealmail.net"))
	_, other := h.run("data-crew", "a database for the analytics of the seal shop", 5000)
	h.buy(other, purser.StepRequest{Service: "slate/postgres:small", Name: "analytics"})
	h.buy(other, purser.StepRequest{Service: "quill/mail:inbox", Name: "reports"})
	h.buy(other, purser.StepRequest{Service: "harbor/hosting:pro", Name: "dashboard"})
	run, third := h.run("release-bot", "the landing page of the winter campaign", 8000)
	for i := range 6 {
		h.buy(third, purser.StepRequest{Service: "harbor/hosting:pro", Name: fmt.Sprintf("campaign-%d", i+1), Meant: i > 0})
	}
	for i, r := range must[purser.List[purser.Resource]](h, h.owner, "list_resources", purser.ListResources{}).Items {
		if i == 0 {
			screens["resource"] = "/resources/" + r.ID
		}
	}
	h.spread()
	first := h.plan(coder, "The shop needs its own name, and this one is free.", domain("harbor", "superseal.club"), purser.StepRequest{Service: "harbor/hosting:pro", Name: "shop"})
	must[purser.Plan](h, h.owner, "deny", purser.Deny{Plan: first.ID, Reason: "the smaller hosting will do"})
	second := h.plan(coder, "The name was taken in between, so I took the nearest one. Static hosting is enough for now.", domain("harbor", "supersea1.club"), purser.StepRequest{Service: "harbor/hosting:static", Name: "shop"})
	ask := h.plan(other, "Somebody should look at the slow queries.", purser.StepRequest{Service: "quill/advice:hours", Name: "review", Ceiling: &purser.Money{Amount: 3000, Currency: "USD"}})
	screens["approval"], screens["denied"], screens["ceiling"] = "/approvals/"+second.ID, "/approvals/"+first.ID, "/approvals/"+ask.ID
	screens["run"], screens["project"], screens["provider"] = "/runs/"+run.ID, "/projects/"+h.project.ID, "/providers/harbor"
	screens["record"] = "/audit/40"
	stop := must[purser.StopInfo](h, h.owner, "stop", purser.Stop{Scope: "run", ID: run.ID, Reason: "the campaign is over"})
	screens["stop"] = "/stops/" + stop.ID
	screens["search"] = "/catalog?words=postgres"
	for _, s := range second.Terms.Steps {
		if s.Account != nil {
			screens["terms"] = "/terms/" + s.Account.TermsHash
		}
	}
	for _, s := range first.Terms.Steps {
		if s.Account != nil {
			screens["terms"] = "/terms/" + s.Account.TermsHash
		}
	}
	return screens
}

// spread moves what was paid today into the days before, as if the office had
// been open for long: each payment is paid again on earlier days.
func (h *house) spread() {
	h.tb.Helper()
	const day = int64(24 * 3600 * 1e6)
	for i := int64(1); i <= 40; i++ {
		h.sql(fmt.Sprintf(`INSERT INTO movements (organization, seq, n, at, kind, currency, amount, hold, charge, order_id, run, project, provider)
			SELECT organization, seq, n - %d, at - %d, kind, currency, (amount * %d) / 7, hold, charge, '', '', project, provider
			FROM movements WHERE kind = 'capture' AND n >= 0 AND (seq + %d) %% 5 < 2`, i*1000, i*day, 3+(i*7)%11, i))
	}
	// And the windows of this month know of it, as they would.
	for scope, of := range map[string]string{"organization": "1 = 1", "provider": "provider = target", "project": "project = target"} {
		h.sql(fmt.Sprintf(`UPDATE windows SET captured = (SELECT SUM(amount) FROM movements WHERE kind = 'capture' AND %s AND at >= strftime('%%s', name || '-01') * 1000000)
			WHERE scope = '%s' AND currency = 'USD' AND name LIKE '____-__'`, of, scope))
	}
}
