package office_test

import (
	"strings"
	"testing"
	"time"

	"github.com/purser-dev/purser"
	"github.com/purser-dev/purser/internal/store/db"
)

func TestTheOverviewAndTheReportSayWhatTheLedgerSays(t *testing.T) {
	inTurn(t, func(t *testing.T, database string) {
		h := open(t, database)
		h.seller.pay = h.rail()
		_, agent := h.run(3000)
		before := must[purser.Overview](h, h.owner, "overview", purser.None{})
		plan := must[purser.Plan](h, agent, "plan", purser.MakePlan{Steps: []purser.StepRequest{domain("superseal.club")}})
		if o := must[purser.Overview](h, h.owner, "overview", purser.None{}); o.Waiting != 1 || o.ActiveRuns != 1 || before.Waiting != 0 || len(o.Captured) != 0 {
			t.Errorf("with a plan that waits: %+v", o)
		}
		h.approve(plan.ID)
		if done := must[purser.Plan](h, agent, "apply", purser.Apply{Plan: plan.ID}); done.State != purser.PlanDone {
			t.Fatalf("the plan is %s: %+v", done.State, done.Error)
		}
		o := must[purser.Overview](h, h.owner, "overview", purser.None{})
		spend := must[purser.Spend](h, h.owner, "spend", purser.AskSpend{})
		if o.Waiting != 0 || len(o.Captured) != 1 || o.Captured[0] != spend.Captured[0] || o.Captured[0].Amount == 0 {
			t.Errorf("captured %v, the ledger says %v", o.Captured, spend.Captured)
		}
		report := must[purser.Report](h, h.owner, "report", purser.AskReport{Days: 7})
		var sum int64
		for _, l := range report.Lines {
			sum += l.Captured
		}
		if sum != spend.Captured[0].Amount || report.Lines[0].ProjectName != "shop" || report.Lines[0].Provider != "local" || report.Until != time.Now().UTC().Format(time.DateOnly) {
			t.Errorf("the report says %+v, the ledger %v", report, spend.Captured)
		}
		if f := report.Forecast; len(f) != 1 || f[0].Spent != sum || f[0].Total != f[0].Spent+f[0].Held+f[0].Renewals {
			t.Errorf("forecast: %+v", f)
		}
		again := must[purser.Report](h, h.owner, "report", purser.AskReport{Days: 7})
		if len(again.Lines) != len(report.Lines) || again.Lines[0] != report.Lines[0] {
			t.Errorf("asked again, it says %+v", again.Lines)
		}
		if _, err := do[purser.Report](h, h.owner, "report", purser.AskReport{Days: 367}); purser.CodeOf(err) != purser.InvalidRequest {
			t.Errorf("367 days: %v", err)
		}
		all := must[purser.List[purser.Resource]](h, h.owner, "list_resources", purser.ListResources{Page: purser.Page{Limit: 1}})
		if len(all.Items) != 1 || all.Items[0].Class == "" {
			t.Errorf("resources: %+v", all)
		}
		one := must[purser.Resource](h, h.owner, "show_resource", purser.ResourceRef{Resource: all.Items[0].ID})
		if one.ID != all.Items[0].ID || one.Item != all.Items[0].Item {
			t.Errorf("shown: %+v", one)
		}
	})
}

// What a month is said to come to does not change when the charges that are due are made.
func TestTheForecastCountsTheDueChargesThatWillBeMade(t *testing.T) {
	t.Parallel()
	began := time.Now().AddDate(0, 0, -125)
	for _, tt := range []struct {
		name, state string
		ends        time.Time
		paid        int
	}{
		{"months that nobody was there for, each", "active", time.Now().AddDate(1, 0, 0), 4},
		{"months that were refused, once", "payment_required", time.Now().AddDate(1, 0, 0), 1},
		{"months that were refused until their end, never", "payment_required", time.Now().Add(-time.Hour), 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			h, _, s := subscribed(t, aDB(t))
			h.sql("UPDATE subscriptions SET state = $1, started_at = $2, next_at = $3, ends_at = $4 WHERE id = $5",
				tt.state, began.UnixMicro(), began.AddDate(0, 1, 0).UnixMicro(), tt.ends.UnixMicro(), s.ID)
			before := must[purser.Report](h, h.owner, "report", purser.AskReport{}).Forecast
			for range 5 {
				h.tick()
			}
			h.charged(2+tt.paid, 1700+500*int64(tt.paid))
			after := must[purser.Report](h, h.owner, "report", purser.AskReport{}).Forecast
			if before[0].Total != after[0].Total || before[0].Spent != 1700 {
				t.Errorf("forecast: %+v, and after the renewals %+v", before, after)
			}
		})
	}
}

func TestAReviewComparesWithThePurposeThePreviousPlanAndTheBudgetsOfNow(t *testing.T) {
	inTurn(t, func(t *testing.T, database string) {
		h := open(t, database)
		_, agent := h.run(3000, func(in *purser.CreateRun) { in.Purpose = "put the shop on superseal.club, at most 20 USD" })
		first := must[purser.Plan](h, agent, "plan", purser.MakePlan{Steps: []purser.StepRequest{domain("superseal.club")}})
		r := must[purser.Review](h, h.owner, "review", purser.PlanRef{Plan: first.ID})
		if len(r.Differences) != 1 || r.Differences[0].Code != "renews_higher" || r.Previous != "" || r.PersonName != "Ada" || r.ProjectName != "shop" || len(r.Budgets) == 0 {
			t.Errorf("the plan that was asked for: %+v", r)
		}
		for _, b := range r.Budgets {
			if b.Needed == 0 || b.Needed != first.Totals.Now[0].Amount {
				t.Errorf("%s needs %d of a plan that costs %v", b.Scope, b.Needed, first.Totals.Now)
			}
		}
		must[purser.Plan](h, agent, "plan", purser.MakePlan{Steps: []purser.StepRequest{{Service: "local/hosting:pro"}}})
		if r = must[purser.Review](h, h.owner, "review", purser.PlanRef{Plan: first.ID}); r.Newer != "" {
			t.Errorf("a later plan of other things is newer: %+v", r)
		}
		second := must[purser.Plan](h, agent, "plan", purser.MakePlan{Steps: []purser.StepRequest{domain("superseal.cc")}})
		if r = must[purser.Review](h, h.owner, "review", purser.PlanRef{Plan: first.ID}); r.Newer != second.ID {
			t.Errorf("of %s the newer plan is %q, not %s", first.ID, r.Newer, second.ID)
		}
		must[purser.Plan](h, h.owner, "deny", purser.Deny{Plan: first.ID, Reason: "not yet"})
		if r = must[purser.Review](h, h.owner, "review", purser.PlanRef{Plan: first.ID}); r.Newer != "" {
			t.Errorf("what is decided has a newer plan: %+v", r)
		}
		r = must[purser.Review](h, h.owner, "review", purser.PlanRef{Plan: second.ID})
		if r.Previous != first.ID || len(r.Changes) == 0 || r.Changes[0].What != "item" {
			t.Errorf("after %s: %+v", first.ID, r.Changes)
		}
		if len(r.Differences) == 0 || r.Differences[0].Code != "suffix_substituted" {
			t.Errorf("differences: %+v", r.Differences)
		}
		if _, err := do[purser.Review](h, agent, "review", purser.PlanRef{Plan: second.ID}); purser.CodeOf(err) != purser.Forbidden {
			t.Errorf("an agent reviews: %v", err)
		}
	})
}

func TestTheAuditLogIsSearchedFromItsEnd(t *testing.T) {
	inTurn(t, func(t *testing.T, database string) {
		h := open(t, database)
		h.run(1000)
		h.run(2000)
		found := must[purser.FoundRecords](h, h.owner, "search_audit", purser.SearchAudit{Words: "CREATE_RUN"})
		if len(found.Records) != 2 || found.Records[0].Seq < found.Records[1].Seq || found.Next != 0 {
			t.Errorf("found %+v", found)
		}
		var all []int64
		for next := int64(0); ; {
			page := must[purser.FoundRecords](h, h.owner, "search_audit", purser.SearchAudit{Before: next, Limit: 2})
			for _, r := range page.Records {
				all = append(all, r.Seq)
			}
			if next = page.Next; next == 0 {
				break
			}
		}
		if int64(len(all)) != found.Size || all[0] != found.Size || all[len(all)-1] != 1 {
			t.Errorf("of %d records the pages have %v", found.Size, all)
		}
		if none := must[purser.FoundRecords](h, h.owner, "search_audit", purser.SearchAudit{Words: "create_run walrus"}); len(none.Records) != 0 {
			t.Errorf("found %+v", none.Records)
		}
	})
}

// A limit in another currency beside it is not the run's budget.
func TestARunShowsTheBudgetOfItsOwnCurrency(t *testing.T) {
	inTurn(t, func(t *testing.T, database string) {
		h := open(t, database)
		run, _ := h.run(3000)
		euros := purser.Money{Amount: 0, Currency: "EUR"}
		must[purser.BudgetLine](h, h.owner, "set_budget", purser.SetBudget{Scope: "run", ID: run.ID, Limit: euros})
		shown := must[purser.Run](h, h.owner, "show_run", purser.RunRef{Run: run.ID})
		list := must[purser.List[purser.Run]](h, h.owner, "list_runs", purser.Page{})
		for _, b := range []purser.BudgetLine{shown.Budget, list.Items[0].Budget} {
			if b.Limit != usd(3000) || b.Scope != "run" || b.ID != run.ID {
				t.Errorf("the run's budget: %+v", b)
			}
		}
	})
}

// An agent's lists are its run's, however many there are of others, and a page of them is as
// long as it was asked to be: what is not its own takes no place in it.
func TestAnAgentsPagesAreFullOfItsOwn(t *testing.T) {
	inTurn(t, func(t *testing.T, database string) {
		h := open(t, database)
		_, agent := h.run(9000)
		h.link(agent)
		_, other := h.run(9000)
		for _, name := range []string{"a", "b", "c"} {
			h.proposes(other, name+".club")
		}
		mine := []string{h.proposes(agent, "d.club"), h.proposes(agent, "e.club"), h.proposes(agent, "f.club")}
		h.sql("UPDATE plans SET expires_at = 1 WHERE id = $1", mine[0]) // over, and not marked as that yet
		page := must[purser.List[purser.Plan]](h, agent, "list_approvals", purser.Page{Limit: 1})
		if len(page.Items) != 1 || page.Items[0].ID != mine[1] || page.NextCursor != mine[1] {
			t.Errorf("the first page has %d plans, then %q", len(page.Items), page.NextCursor)
		}
		page = must[purser.List[purser.Plan]](h, agent, "list_approvals", purser.Page{Limit: 1, Cursor: mine[1]})
		if len(page.Items) != 1 || page.Items[0].ID != mine[2] || page.NextCursor != "" {
			t.Errorf("the second page has %d plans, then %q", len(page.Items), page.NextCursor)
		}
		if all := must[purser.List[purser.Plan]](h, h.owner, "list_approvals", purser.Page{Limit: 5}); len(all.Items) != 5 || all.NextCursor != "" {
			t.Errorf("a person's page has %d plans, then %q", len(all.Items), all.NextCursor)
		}
		asks := make(chan string, 1)
		h.watch(func(_ int64, statement string) error {
			if strings.Contains(statement, "-- name: WaitingPlansOfRun") {
				asks <- statement
			}
			return nil
		})
		_ = h.store.Write(h.ctx, func(q *db.Queries) error { // what only reads is not traced
			_, err := q.WaitingPlansOfRun(h.ctx, db.WaitingPlansOfRunParams{Organization: agent.Organization, Run: agent.Run, RowLimit: 50})
			return err
		})
		h.watch(nil)
		if how := h.explained(<-asks); !strings.Contains(how, "plans_open") && !strings.Contains(how, "plans_by_run") {
			t.Errorf("the plans of others are looked at: %s", how)
		}
		runs := must[purser.List[purser.Run]](h, agent, "list_runs", purser.Page{Limit: 1})
		if len(runs.Items) != 1 || runs.Items[0].ID != agent.Run || runs.NextCursor != "" {
			t.Errorf("the agent's runs are %d, then %q", len(runs.Items), runs.NextCursor)
		}
		if rest := must[purser.List[purser.Run]](h, agent, "list_runs", purser.Page{Cursor: agent.Run}); len(rest.Items) != 0 {
			t.Errorf("after its run come %d", len(rest.Items))
		}
	})
}

// proposes plans a domain, and is the plan that waits for a person.
func (h *house) proposes(agent purser.Actor, name string) string {
	h.t.Helper()
	plan := must[purser.Plan](h, agent, "plan", purser.MakePlan{Steps: []purser.StepRequest{domain(name)}})
	if plan.State != purser.PlanWaiting {
		h.t.Fatalf("the plan is %s", plan.State)
	}
	return plan.ID
}

// What a project spent is the sum of its runs and of what renews in it, and nothing of others;
// a run's own question says the same, whoever asks.
func TestSpendAddsUpByProjectAndByRun(t *testing.T) {
	inTurn(t, func(t *testing.T, database string) {
		h := open(t, database)
		h.seller.pay = h.rail()
		run, agent := h.run(9000)
		h.link(agent)
		second := must[purser.Project](h, h.owner, "create_project", purser.CreateProject{Name: "second"})
		_, other := h.run(9000, func(in *purser.CreateRun) { in.Project = second.ID })
		for i, who := range []purser.Actor{agent, other, other} {
			plan := h.planned(who, domain([]string{"superseal.club", "superseal.cc", "superseal.com"}[i]))
			must[purser.Plan](h, who, "apply", purser.Apply{Plan: plan.ID})
		}
		for _, c := range []struct {
			name string
			by   purser.Actor
			ask  purser.AskSpend
			want int64 // captured
		}{
			{"all", h.owner, purser.AskSpend{}, 3600},
			{"a project", h.owner, purser.AskSpend{Project: h.project.ID}, 1200},
			{"the other", h.owner, purser.AskSpend{Project: "second"}, 2400},
			{"a run", h.owner, purser.AskSpend{Run: run.ID}, 1200},
			{"a run and its project", h.owner, purser.AskSpend{Run: run.ID, Project: h.project.ID}, 1200},
			{"an agent", agent, purser.AskSpend{}, 1200},
			{"the other agent", other, purser.AskSpend{}, 2400},
		} {
			got := must[purser.Spend](h, c.by, "spend", c.ask)
			listed := int64(0)
			for _, e := range got.Events {
				if e.Kind == "capture" {
					listed += e.Amount.Amount
				}
			}
			if len(got.Captured) != 1 || got.Captured[0] != usd(c.want) || listed != c.want {
				t.Errorf("%s: %v captured, %d listed, want %d", c.name, got.Captured, listed, c.want)
			}
		}
		_, err := do[purser.Spend](h, h.owner, "spend", purser.AskSpend{Run: run.ID, Project: "second"})
		refused(t, err, purser.NotFound)
	})
}

// Neither reads the tokens or the settled orders of years: an organization has many. What
// PostgreSQL would do depends on what is in its tables, and here they are empty.
func TestAGrantsTokensAndAProvidersOrdersAreFoundByIndex(t *testing.T) {
	t.Parallel()
	h := open(t, sqlite(t))
	how := map[string]string{}
	h.watch(func(_ int64, statement string) error {
		for _, name := range []string{"ProviderInUse", "ProviderNeeded", "RevokeTokensOfGrant"} {
			if strings.Contains(statement, "-- name: "+name+" ") {
				how[name] = statement
			}
		}
		return nil
	})
	err := h.store.Write(h.ctx, func(q *db.Queries) error {
		_, err := q.ProviderInUse(h.ctx, db.ProviderInUseParams{Organization: h.owner.Organization, Provider: "local"})
		if err == nil {
			_, err = q.ProviderNeeded(h.ctx, db.ProviderNeededParams{Organization: h.owner.Organization, Provider: "local"})
		}
		if err == nil {
			_, err = q.RevokeTokensOfGrant(h.ctx, db.RevokeTokensOfGrantParams{Organization: h.owner.Organization, GrantID: "none"})
		}
		return err
	})
	h.watch(nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, index := range map[string]string{"ProviderInUse": "orders_by_state", "ProviderNeeded": "orders_by_state", "RevokeTokensOfGrant": "tokens_by_run"} {
		if plan := h.explained(how[name]); !strings.Contains(plan, index) {
			t.Errorf("%s: %s", name, plan)
		}
	}
}
