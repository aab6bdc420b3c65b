package office

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/purser-dev/purser"
	"github.com/purser-dev/purser/internal/audit"
	"github.com/purser-dev/purser/internal/canonical"
	"github.com/purser-dev/purser/internal/catalog"
	"github.com/purser-dev/purser/internal/guard"
	"github.com/purser-dev/purser/internal/notice"
	"github.com/purser-dev/purser/internal/spend"
	"github.com/purser-dev/purser/internal/store"
	"github.com/purser-dev/purser/internal/store/db"
)

// labelsOf are those of the project and of the run, each once.
func (o *Office) labelsOf(ctx context.Context, q *db.Queries, org, project, run string) ([]string, error) {
	p, err := q.Project(ctx, db.ProjectParams{Organization: org, ID: project})
	if err != nil {
		return nil, notFound(err, "project", project)
	}
	labels, err := fromJSON[[]string](p.Labels)
	if err != nil || run == "" {
		return labels, err
	}
	r, err := q.Run(ctx, db.RunParams{Organization: org, ID: run})
	if err != nil {
		return nil, notFound(err, "run", run)
	}
	own, err := fromJSON[[]string](r.Labels)
	return spend.Together(labels, own), err
}

// covering loads every budget that covers a spend, in the window that this turn
// falls into, and opens windows that are new.
func (o *Office) covering(ctx context.Context, t *store.Turn, project, provider, category, run, currency string) ([]guard.Budget, error) {
	if err := o.ensureProviderBudget(ctx, t, provider); err != nil {
		return nil, err
	}
	labels, err := o.labelsOf(ctx, t.Queries, t.Org, project, run)
	if err != nil {
		return nil, err
	}
	var out []guard.Budget
	for _, s := range spend.Scopes(t.Org, project, provider, category, run, labels) {
		rows, err := t.BudgetsOf(ctx, db.BudgetsOfParams{Organization: t.Org, Scope: s.Scope, Target: s.Target})
		if err != nil {
			return nil, fmt.Errorf("loading budgets: %w", err)
		}
		for _, b := range rows {
			if b.Currency != currency {
				continue
			}
			w, err := o.window(ctx, t, b)
			if err != nil {
				return nil, err
			}
			out = append(out, guard.Budget{BudgetLine: lineOf(b, w, t.Now, t.Zone)})
		}
	}
	return out, nil
}

// ensureProviderBudget gives a provider the default monthly limit the first time
// that something is to be bought there.
func (o *Office) ensureProviderBudget(ctx context.Context, t *store.Turn, provider string) error {
	rows, err := t.BudgetsOf(ctx, db.BudgetsOfParams{Organization: t.Org, Scope: "provider", Target: provider})
	if err != nil || len(rows) > 0 {
		return err
	}
	limit := o.Defaults.ProviderMonth
	r := recordOf(system, "default_budget", "provider:"+provider)
	r.Detail = map[string]string{"limit": limit.String(), "period": purser.PeriodMonth}
	t.Record(r)
	return t.SetBudget(ctx, db.SetBudgetParams{
		Organization: t.Org, Scope: "provider", Target: provider, Period: purser.PeriodMonth, Currency: limit.Currency, LimitMinor: limit.Amount,
	})
}

// window loads the current window of a budget, and opens it when it is new.
func (o *Office) window(ctx context.Context, t *store.Turn, b db.Budget) (db.Window, error) {
	key := db.WindowParams{Organization: t.Org, Scope: b.Scope, Target: b.Target, Currency: b.Currency, Name: windowName(b, t.Now, t.Zone)}
	err := t.OpenWindow(ctx, db.OpenWindowParams{
		Organization: t.Org, Scope: b.Scope, Target: b.Target, Currency: b.Currency, Name: key.Name, GuardCeiling: b.LimitMinor,
	})
	if err != nil {
		return db.Window{}, fmt.Errorf("opening a budget's window: %w", err)
	}
	return t.Window(ctx, key)
}

func windowName(b db.Budget, now time.Time, zone *time.Location) string {
	name, _ := guard.Window(b.Period, b.Target, now, zone)
	return name
}

// lineOf shows a budget in one of its windows, with the time of the next as of now.
func lineOf(b db.Budget, w db.Window, now time.Time, zone *time.Location) purser.BudgetLine {
	line := purser.BudgetLine{
		Scope: b.Scope, ID: b.Target, Period: b.Period, Window: w.Name, Limit: purser.Money{Amount: b.LimitMinor, Currency: b.Currency},
		Held: w.Held, Captured: w.Captured, Refunded: w.Refunded, Left: max(0, b.LimitMinor-w.Held-w.Captured+w.Refunded),
		Thresholds: notice.ParseThresholds(b.Thresholds),
	}
	if _, next := guard.Window(b.Period, b.Target, now, zone); !next.IsZero() {
		line.ResetsAt = &next
	}
	return line
}

// budgetRecord is a budget's line in an audit record. Change is what the decision
// added to its use.
func budgetRecord(b purser.BudgetLine, change int64) audit.BudgetLine {
	return audit.BudgetLine{
		Scope: b.Scope + ":" + b.ID, Window: b.Window, Currency: b.Limit.Currency, Limit: b.Limit.Amount,
		Held: b.Held, Captured: b.Captured, Refunded: b.Refunded, Change: change,
	}
}

// zoneOf is where an organization's days begin, for who reads outside a turn.
func zoneOf(ctx context.Context, q *db.Queries, org string) (*time.Location, error) {
	row, err := q.Organization(ctx, org)
	if err != nil {
		return nil, err
	}
	return time.LoadLocation(row.Timezone)
}

// lines reads all budgets as they stand, outside any turn; of runs those that are
// not over.
func (o *Office) lines(ctx context.Context, q *db.Queries, org string) ([]purser.BudgetLine, error) {
	row, err := q.Organization(ctx, org)
	if err != nil {
		return nil, err
	}
	zone, err := time.LoadLocation(row.Timezone)
	if err != nil {
		return nil, err
	}
	now := o.Now()
	in := func(period string) string {
		name, _ := guard.Window(period, "", now, zone)
		return name
	}
	ask := db.StandingBudgetsParams{Organization: org, Hour: in(purser.PeriodHour), Day: in(purser.PeriodDay), Week: in(purser.PeriodWeek), Month: in(purser.PeriodMonth)}
	budgets, err := q.StandingBudgets(ctx, ask)
	if err != nil {
		return nil, err
	}
	ofRuns, err := q.BudgetsOfActiveRuns(ctx, db.BudgetsOfActiveRunsParams{Organization: org, Hour: ask.Hour, Day: ask.Day, Week: ask.Week, Month: ask.Month, Now: store.Micro(now)})
	if err != nil {
		return nil, err
	}
	for _, b := range ofRuns { // the last scope of all, by name
		budgets = append(budgets, db.StandingBudgetsRow(b))
	}
	out := make([]purser.BudgetLine, 0, len(budgets))
	for _, b := range budgets {
		w := db.Window{Name: windowName(b.Budget, now, zone), Held: b.Held, Captured: b.Captured, Refunded: b.Refunded}
		line := lineOf(b.Budget, w, now, zone)
		switch line.Name = b.Name; {
		case b.Budget.Scope == "organization":
			line.Name = row.Name
		case line.Name == "":
			line.Name = b.Budget.Target
		}
		out = append(out, line)
	}
	return out, nil
}

// targetName is what people call the target of a budget or a stop; empty where its
// identifier is a name, or nobody gave it one.
func (o *Office) targetName(ctx context.Context, q *db.Queries, org, scope, target string) string {
	switch scope {
	case "organization":
		if x, err := q.Organization(ctx, org); err == nil {
			return x.Name
		}
	case "project":
		if x, err := q.Project(ctx, db.ProjectParams{Organization: org, ID: target}); err == nil {
			return x.Name
		}
	case "agent":
		if x, err := q.Agent(ctx, db.AgentParams{Organization: org, ID: target}); err == nil {
			return x.Name
		}
	case purser.ScopeRun:
		if x, err := q.Run(ctx, db.RunParams{Organization: org, ID: target}); err == nil {
			return x.Purpose
		}
	}
	return ""
}

// ListBudgets lists every budget as it stands; an agent sees those that cover it.
func (o *Office) ListBudgets(ctx context.Context, by purser.Actor, _ purser.None) (purser.List[purser.BudgetLine], error) {
	all, err := o.lines(ctx, o.Store.Read(), by.Organization)
	return purser.List[purser.BudgetLine]{Items: visible(by, all)}, err
}

func visible(by purser.Actor, all []purser.BudgetLine) []purser.BudgetLine {
	out := []purser.BudgetLine{}
	for _, b := range all {
		if by.Kind != purser.Agent || b.Scope != "run" && b.Scope != "project" || b.ID == by.Run || b.ID == by.Project {
			out = append(out, b)
		}
	}
	return out
}

// SetBudget sets a limit. Lowering takes effect with its turn and reverses
// nothing; raising, or a limit where there was none to loosen, needs a signature.
// An agent lowers its own run's (CONTROLS C1).
func (o *Office) SetBudget(ctx context.Context, by purser.Actor, in purser.SetBudget) (purser.BudgetLine, error) {
	if by.Kind == purser.Agent && in.Scope == purser.ScopeRun && in.ID == "" {
		in.ID = by.Run
	}
	if no := notOwn(by, in); no != nil {
		return purser.BudgetLine{}, o.turn(ctx, by.Organization, func(t *store.Turn) error {
			return o.refuseAct(t, by, "set_budget", in.Scope+":"+in.ID, no)
		})
	}
	if !purser.ValidCurrency(in.Limit.Currency) || in.Limit.Amount < 0 || in.Limit.Amount > canonical.MaxInteger {
		return purser.BudgetLine{}, purser.Errorf(purser.InvalidRequest, "a limit is an amount like 20.00 USD, from zero to %d of its smallest unit", int64(canonical.MaxInteger))
	}
	thresholds := ""
	if in.Thresholds != nil {
		var err error
		if thresholds, err = notice.FormatThresholds(in.Thresholds); err != nil {
			return purser.BudgetLine{}, purser.Errorf(purser.InvalidRequest, "thresholds: %v", err)
		}
	}
	before, _ := o.spentSoFar(ctx, by, in) // what is wrong here, the turn says
	decided := false
	line, err := once(ctx, o, by, "set_budget", in, func(t *store.Turn) (purser.BudgetLine, error) {
		decided = true
		scope, target, err := o.budgetTarget(ctx, t.Queries, by, in)
		if err != nil {
			return purser.BudgetLine{}, err
		}
		period := periodOf(in)
		if err := guard.CheckPeriod(scope, period); err != nil {
			return purser.BudgetLine{}, err
		}
		first, loosens, err := o.loosens(ctx, t, by, scope, target, period, in.Limit)
		if err != nil {
			return purser.BudgetLine{}, err
		}
		r := recordOf(by, "set_budget", scope+":"+target)
		if loosens || in.Act != nil {
			if r.Attach, err = o.signed(ctx, t, by, "set_budget", in, in.Act); err != nil {
				return purser.BudgetLine{}, o.refuseAct(t, by, "set_budget", scope+":"+target, err)
			}
		}
		if err := o.setLimit(ctx, t, scope, target, period, in.Limit); err != nil {
			return purser.BudgetLine{}, err
		}
		if thresholds != "" {
			_, err := t.SetThresholds(ctx, db.SetThresholdsParams{
				Organization: t.Org, Scope: scope, Target: target, Currency: in.Limit.Currency, Period: period, Thresholds: thresholds,
			})
			if err != nil {
				return purser.BudgetLine{}, err
			}
		}
		r.Detail = map[string]string{"limit": in.Limit.String(), "period": period}
		if thresholds != "" {
			r.Detail["thresholds"] = thresholds
		}
		budget, err := t.Budget(ctx, db.BudgetParams{Organization: t.Org, Scope: scope, Target: target, Currency: in.Limit.Currency, Period: period})
		if err != nil {
			return purser.BudgetLine{}, err
		}
		line, err := o.limited(ctx, t, budget, first, before, r)
		if err != nil {
			return line, err
		}
		return line, o.tellReached(ctx, t, by, line)
	})
	line.Replay = err == nil && !decided
	return line, err
}

// notOwn refuses an agent's limit of anything but its own run, before anything is read
// for it; and its choice of what people are told. That it raises none is decided in the turn.
func notOwn(by purser.Actor, in purser.SetBudget) error {
	if by.Kind != purser.Agent || in.Scope == purser.ScopeRun && in.ID == by.Run && in.Thresholds == nil {
		return nil
	}
	return purser.Errorf(purser.SelfApproval, "an agent lowers the limits of its own run, %s, and sets nothing else", by.Run).WithHint("ask the person behind the run")
}

// limited records a new limit, and shows it in the window of now.
func (o *Office) limited(ctx context.Context, t *store.Turn, b db.Budget, first bool, before spentBefore, r audit.Record) (purser.BudgetLine, error) {
	if first {
		return o.openWindow(ctx, t, b, before, r)
	}
	t.Record(r)
	w, err := o.window(ctx, t, b)
	return lineOf(b, w, t.Now, t.Zone), err
}

func (o *Office) budgetTarget(ctx context.Context, q *db.Queries, by purser.Actor, in purser.SetBudget) (scope, target string, err error) {
	switch in.Scope {
	case "organization":
		if in.ID != "" && in.ID != by.Organization {
			return "", "", purser.Errorf(purser.NotFound, "no organization is called %q here", in.ID)
		}
		return in.Scope, by.Organization, nil
	case "project":
		p, err := o.project(ctx, q, by, in.ID)
		return in.Scope, p.ID, err
	case "provider":
		// Who is paid by a hold needs no registration: a model's seller, an API.
		if !validPayee(in.ID) {
			return "", "", purser.Errorf(purser.InvalidRequest, "%q is no provider's name", in.ID).WithHint("purser provider list")
		}
		return in.Scope, in.ID, nil
	case "run":
		_, err := q.Run(ctx, db.RunParams{Organization: by.Organization, ID: in.ID})
		return in.Scope, in.ID, notFound(err, "run", in.ID)
	case "category":
		if in.ID == "" {
			return "", "", purser.Errorf(purser.InvalidRequest, "which category?").WithHint("purser catalog lists them")
		}
		if !validTarget(in.ID) {
			return "", "", purser.Errorf(purser.InvalidRequest, "%.40q is no category's name", in.ID).WithHint("purser catalog lists them")
		}
		return in.Scope, in.ID, o.spendable(ctx, q, by.Organization, in.ID)
	case purser.ScopeLabel:
		if err := guard.CheckLabel(in.ID); err != nil {
			return "", "", err
		}
		return in.Scope, in.ID, nil
	}
	return "", "", purser.Errorf(purser.InvalidRequest, "a budget's scope is organization, project, provider, category, label or run, not %q", in.Scope)
}

// spendable refuses a category that no spend can have, since its limit would hold
// nothing: no charge can name it, and no service in a catalog, whose words may be any,
// is of it. What has a limit already keeps it, and can be lowered.
func (o *Office) spendable(ctx context.Context, q *db.Queries, org, category string) error {
	if validPayee(category) {
		return nil
	}
	limits, err := q.BudgetsOf(ctx, db.BudgetsOfParams{Organization: org, Scope: "category", Target: category})
	if err != nil || len(limits) > 0 {
		return err
	}
	all, err := o.entries(ctx, q, "")
	if err != nil || slices.ContainsFunc(all, func(e catalog.Entry) bool { return len(e.Categories) > 0 && e.Categories[0] == category }) {
		return err
	}
	return purser.Errorf(purser.InvalidRequest, "nothing can be spent in the category %.40q: a charge's is 1 to 64 letters, digits and . _ - /, and no service here is of it", category).
		WithHint("purser catalog lists them")
}

func periodOf(in purser.SetBudget) string {
	switch {
	case in.Period != "":
		return in.Period
	case in.Scope == purser.ScopeRun:
		return purser.PeriodRun
	}
	return purser.PeriodMonth
}

// loosens reports whether a new limit lets something through that the rows in
// force refuse: a higher one, or the first in a currency for its scope, since
// without any budget a currency is refused (RULES 6). A limit for another period
// beside one that is there only refuses more. An agent's first in a currency counts as one
// that loosens, whatever it is: there is none to lower, and each is a row that everybody's
// lists of budgets read.
//
// first says that there was none for the period.
func (o *Office) loosens(ctx context.Context, t *store.Turn, by purser.Actor, scope, target, period string, limit purser.Money) (first, loosens bool, err error) {
	if scope == "provider" {
		if err := o.ensureProviderBudget(ctx, t, target); err != nil {
			return false, false, err
		}
	}
	rows, err := t.BudgetsOf(ctx, db.BudgetsOfParams{Organization: t.Org, Scope: scope, Target: target})
	if err != nil {
		return false, false, err
	}
	loosens = limit.Amount > 0 || by.Kind == purser.Agent
	for _, b := range rows {
		if b.Currency == limit.Currency {
			loosens = false
			if b.Period == period {
				return false, limit.Amount > b.LimitMinor, nil
			}
		}
	}
	return true, loosens, nil
}

// setLimit stores a limit and moves the ceilings that the database keeps for the
// windows of the budget (RULES 5).
func (o *Office) setLimit(ctx context.Context, t *store.Turn, scope, target, period string, limit purser.Money) error {
	err := t.SetBudget(ctx, db.SetBudgetParams{
		Organization: t.Org, Scope: scope, Target: target, Period: period, Currency: limit.Currency, LimitMinor: limit.Amount,
	})
	if err != nil {
		return fmt.Errorf("setting the limit: %w", err)
	}
	return t.SetCeiling(ctx, db.SetCeilingParams{
		Organization: t.Org, Scope: scope, Target: target, Currency: limit.Currency, LimitMinor: limit.Amount, Names: guard.WindowsLike(period, target),
	})
}
