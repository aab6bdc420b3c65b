package office

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/purser-dev/purser"
	"github.com/purser-dev/purser/internal/seal"
	"github.com/purser-dev/purser/internal/store"
	"github.com/purser-dev/purser/internal/store/db"
)

const (
	runTTL    = 2 * time.Hour
	longest   = 30 * 24 * time.Hour
	agentName = "agent"
)

// CreateRun makes a run, the budget that bounds it, and a token for its agent.
// It needs the person's signature.
func (o *Office) CreateRun(ctx context.Context, by purser.Actor, in purser.CreateRun) (purser.Run, error) {
	request := in
	life, err := o.checkRun(&in)
	if err != nil {
		return purser.Run{}, err
	}
	var token seal.Secret // shown once: the kept answer of the key does not have it
	out, err := once(ctx, o, by, "create_run", request, func(t *store.Turn) (purser.Run, error) {
		project, err := o.project(ctx, t.Queries, by, in.Project)
		if err != nil {
			return purser.Run{}, err
		}
		signed, err := o.signed(ctx, t, by, "create_run", request, in.Act)
		if err != nil {
			return purser.Run{}, o.refuseAct(t, by, "create_run", in.Project, err)
		}
		run, err := o.makeRun(ctx, t, by, project, in, life)
		if err != nil {
			return purser.Run{}, err
		}
		if token, err = o.issue(ctx, t, run); err != nil {
			return purser.Run{}, err
		}
		r := recordOf(by, "create_run", run.ID)
		r.Attach, r.Project = signed, run.Project
		r.Detail = runDetail(in, run)
		t.Record(r)
		return o.showRun(ctx, t.Queries, t.Org, run.ID, t.Now)
	})
	if err == nil {
		out.Token = token.Reveal()
	}
	return out, err
}

// makeRun stores a run that a person signed, with its agent and budget.
func (o *Office) makeRun(ctx context.Context, t *store.Turn, by purser.Actor, project db.Project, in purser.CreateRun, life time.Duration) (db.InsertRunParams, error) {
	agent, err := o.hire(ctx, t, by, in.Agent)
	if err != nil {
		return db.InsertRunParams{}, err
	}
	run := db.InsertRunParams{
		Organization: t.Org, Project: project.ID, Agent: agent.ID, Person: by.ID, Purpose: in.Purpose, Currency: in.Budget.Currency, Threshold: in.Threshold.Amount,
		Providers: toJSON(orEmpty(in.Providers)), Reveal: toJSON(orEmpty(in.Reveal)), Labels: toJSON(orEmpty(in.Labels)), CreatedAt: store.Micro(t.Now), ExpiresAt: store.Micro(t.Now.Add(life)),
	}
	return run, o.openRun(ctx, t, &run, in.Budget)
}

func runDetail(in purser.CreateRun, run db.InsertRunParams) map[string]string {
	return map[string]string{
		"budget": in.Budget.String(), "threshold": in.Threshold.String(), "agent": run.Agent, "expires": store.Time(run.ExpiresAt).Format(time.RFC3339),
	}
}

func (o *Office) checkRun(in *purser.CreateRun) (time.Duration, error) {
	if in.Threshold == nil {
		in.Threshold = &purser.Money{Amount: o.Defaults.Threshold.Amount, Currency: in.Budget.Currency}
	}
	if in.Agent == "" {
		in.Agent = agentName
	}
	life, err := lifetime(in.Expires)
	switch {
	case err != nil:
		return 0, err
	case !purser.ValidCurrency(in.Budget.Currency) || in.Budget.Amount < 0:
		return 0, purser.Errorf(purser.InvalidRequest, "a run needs a budget, like 20.00 USD").WithHint("purser run create --budget 20")
	case in.Threshold.Currency != in.Budget.Currency || in.Threshold.Amount < 0:
		return 0, purser.Errorf(purser.InvalidRequest, "the threshold must be an amount in %s, as the budget is", in.Budget.Currency)
	case !nameForm.MatchString(in.Agent):
		return 0, purser.Errorf(purser.InvalidRequest, "%q is not an agent's name", in.Agent)
	}
	if err := checkLabels(in.Labels); err != nil {
		return 0, err
	}
	for _, class := range in.Reveal {
		if class != ClassRuntime && class != ClassOperator {
			return 0, purser.Errorf(purser.InvalidRequest, "%q is not a class of credentials: %s or %s", class, ClassRuntime, ClassOperator)
		}
	}
	return life, nil
}

func lifetime(text string) (time.Duration, error) {
	if text == "" {
		return runTTL, nil
	}
	d, err := time.ParseDuration(text)
	if err != nil || d <= 0 || d > longest {
		return 0, purser.Errorf(purser.InvalidRequest, "%q is not a time a run can last: write it like 2h, at most %v", text, longest)
	}
	return d, nil
}

// hire finds the agent of a name, or makes it.
func (o *Office) hire(ctx context.Context, t *store.Turn, by purser.Actor, name string) (db.Agent, error) {
	agent, err := t.LiveAgentByName(ctx, db.LiveAgentByNameParams{Organization: t.Org, Name: name})
	if !missing(err) {
		return agent, err
	}
	id, err := o.newID(purser.PrefixAgent)
	if err != nil {
		return agent, err
	}
	t.Record(recordOf(by, "create_agent", id))
	agent = db.Agent{Organization: t.Org, ID: id, Name: name, Person: by.ID, CreatedAt: store.Micro(t.Now)}
	return agent, t.InsertAgent(ctx, db.InsertAgentParams{Organization: t.Org, ID: id, Name: name, Person: by.ID, CreatedAt: agent.CreatedAt})
}

// openRun stores a run with its budget.
func (o *Office) openRun(ctx context.Context, t *store.Turn, run *db.InsertRunParams, budget purser.Money) (err error) {
	if run.ID, err = o.newID(purser.PrefixRun); err != nil {
		return err
	}
	if err := t.InsertRun(ctx, *run); err != nil {
		return fmt.Errorf("storing the run: %w", err)
	}
	return t.SetBudget(ctx, db.SetBudgetParams{
		Organization: t.Org, Scope: "run", Target: run.ID, Period: purser.PeriodRun, Currency: budget.Currency, LimitMinor: budget.Amount,
	})
}

// issue makes the token of a run's agent. It lives at most as long as the run.
func (o *Office) issue(ctx context.Context, t *store.Turn, run db.InsertRunParams) (seal.Secret, error) {
	token, err := seal.NewToken(seal.AgentToken, o.Random)
	if err != nil {
		return token, err
	}
	id, err := o.newID(purser.PrefixToken)
	if err != nil {
		return token, err
	}
	return token, t.InsertToken(ctx, db.InsertTokenParams{
		Organization: t.Org, ID: id, Hash: hashOf(token), Kind: string(purser.Agent), Principal: run.Agent, Run: run.ID,
		CreatedAt: store.Micro(t.Now), ExpiresAt: run.ExpiresAt,
	})
}

// implicitRun is the run under which a person's own plans are made. A token on
// disk must not loosen, so in this run everything that costs needs a signature:
// its threshold is nothing (RULES 1, 8).
func (o *Office) implicitRun(ctx context.Context, t *store.Turn, by purser.Actor, project string) (db.Run, error) {
	row, err := t.ImplicitRun(ctx, db.ImplicitRunParams{Organization: t.Org, Project: project, Person: by.ID, Now: store.Micro(t.Now)})
	if !missing(err) {
		return row, err
	}
	budget := o.Defaults.RunBudget
	run := db.InsertRunParams{
		Organization: t.Org, Project: project, Person: by.ID, Purpose: "a person's own work", Currency: budget.Currency,
		Providers: "[]", Reveal: "[]", Labels: "[]", CreatedAt: store.Micro(t.Now), ExpiresAt: store.Micro(t.Now.Add(24 * time.Hour)),
	}
	if err := o.openRun(ctx, t, &run, budget); err != nil {
		return row, err
	}
	r := recordOf(by, "open_run", run.ID)
	r.Detail = map[string]string{"budget": budget.String()}
	t.Record(r)
	return t.Run(ctx, db.RunParams{Organization: t.Org, ID: run.ID})
}

// ListRuns lists runs, the newest first; an agent has one.
func (o *Office) ListRuns(ctx context.Context, by purser.Actor, in purser.Page) (purser.List[purser.Run], error) {
	limit, err := page(in, named(purser.PrefixRun))
	if err != nil {
		return purser.List[purser.Run]{}, err
	}
	before, q := in.Cursor, o.Store.Read()
	if before == "" {
		before = "~"
	}
	var rows []db.RunsShownRow
	if by.Kind == purser.Agent {
		var own db.RunShownRow
		own, err = q.RunShown(ctx, db.RunShownParams{Organization: by.Organization, ID: by.Run})
		if own.Run.ID < before {
			rows = []db.RunsShownRow{db.RunsShownRow(own)}
		}
	} else {
		rows, err = q.RunsShown(ctx, db.RunsShownParams{Organization: by.Organization, Before: before, RowLimit: limit + 1})
	}
	if err != nil {
		return purser.List[purser.Run]{}, err
	}
	stops, err := o.stopsInForce(ctx, q, by.Organization)
	if err != nil {
		return purser.List[purser.Run]{}, err
	}
	out := cut(rows, limit, func(r db.RunsShownRow) db.RunsShownRow { return r }, func(r db.RunsShownRow) string { return r.Run.ID })
	list := purser.List[purser.Run]{Items: []purser.Run{}, NextCursor: out.NextCursor}
	for _, row := range out.Items {
		run, err := runInfo(db.RunShownRow(row), stops, o.Now())
		if err != nil {
			return list, err
		}
		list.Items = append(list.Items, run)
	}
	return list, nil
}

// ShowRun shows a run with its orders; an agent's own by default.
func (o *Office) ShowRun(ctx context.Context, by purser.Actor, in purser.RunRef) (purser.Run, error) {
	id, err := runOf(by, in.Run)
	if err != nil {
		return purser.Run{}, err
	}
	q := o.Store.Read()
	run, err := o.showRun(ctx, q, by.Organization, id, o.Now())
	if err != nil {
		return run, err
	}
	rows, err := q.OrdersOfRun(ctx, db.OrdersOfRunParams{Organization: by.Organization, Run: id})
	if err != nil {
		return run, err
	}
	if run.Orders, err = ordersOf(rows, func(r db.OrdersOfRunRow) (db.Order, db.Hold) { return r.Order, r.Hold }); err != nil {
		return run, err
	}
	run.Budgets, err = o.furtherLimits(ctx, q, by.Organization, run)
	return run, err
}

// furtherLimits are a run's limits beside the one that it was made with, each in its window of now.
func (o *Office) furtherLimits(ctx context.Context, q *db.Queries, org string, run purser.Run) (lines []purser.BudgetLine, err error) {
	rows, err := q.BudgetsOf(ctx, db.BudgetsOfParams{Organization: org, Scope: purser.ScopeRun, Target: run.ID})
	if err != nil || len(rows) < 2 {
		return nil, err
	}
	zone, err := zoneOf(ctx, q, org)
	if err != nil {
		return nil, err
	}
	now := o.Now()
	for _, b := range rows {
		if b.Period == purser.PeriodRun && b.Currency == run.Budget.Limit.Currency {
			continue
		}
		name := windowName(b, now, zone)
		w, err := q.Window(ctx, db.WindowParams{Organization: org, Scope: b.Scope, Target: b.Target, Currency: b.Currency, Name: name})
		if err != nil && !missing(err) { // a window that nothing was spent in yet is not there
			return nil, err
		}
		w.Name = name
		lines = append(lines, lineOf(b, w, now, zone))
	}
	slices.SortFunc(lines, func(a, b purser.BudgetLine) int {
		return cmp.Or(cmp.Compare(a.Limit.Currency, b.Limit.Currency), cmp.Compare(a.Period, b.Period))
	})
	return lines, nil
}

// runOf is the run that a request names; agents have their own only.
func runOf(by purser.Actor, named string) (string, error) {
	switch {
	case named == "" && by.Run != "":
		return by.Run, nil
	case named == "":
		return "", purser.Errorf(purser.InvalidRequest, "which run?").WithHint("purser run list")
	case by.Kind == purser.Agent && named != by.Run:
		return "", purser.Errorf(purser.Forbidden, "an agent's token belongs to run %s", by.Run)
	}
	return named, nil
}

func (o *Office) showRun(ctx context.Context, q *db.Queries, org, id string, now time.Time) (purser.Run, error) {
	row, err := q.RunShown(ctx, db.RunShownParams{Organization: org, ID: id})
	if err != nil {
		return purser.Run{}, notFound(err, "run", id)
	}
	stops, err := o.stopsInForce(ctx, q, org)
	if err != nil {
		return purser.Run{}, err
	}
	out, err := runInfo(row, stops, now)
	if err != nil || out.State != "active" {
		return out, err
	}
	recent, err := o.lately(ctx, q, org, row.Run, now)
	if err == nil {
		out.Paused = recent.paused()
	}
	return out, err
}

func runInfo(shown db.RunShownRow, stops []purser.StopInfo, now time.Time) (out purser.Run, err error) {
	row := shown.Run
	out = purser.Run{
		ID: row.ID, Project: row.Project, ProjectName: shown.ProjectName, Agent: row.Agent, AgentName: shown.AgentName, Person: row.Person, Purpose: row.Purpose,
		State: runState(row, stops, now), Threshold: purser.Money{Amount: row.Threshold, Currency: row.Currency}, CreatedAt: store.Time(row.CreatedAt),
		ExpiresAt: store.Time(row.ExpiresAt), EndedAt: store.TimeOrNil(row.EndedAt),
	}
	if out.Providers, err = fromJSON[[]string](row.Providers); err != nil {
		return out, err
	}
	if out.Reveal, err = fromJSON[[]string](row.Reveal); err != nil {
		return out, err
	}
	if out.Labels, err = fromJSON[[]string](row.Labels); err != nil {
		return out, err
	}
	if shown.Period != "" {
		b := db.Budget{Scope: purser.ScopeRun, Target: row.ID, Period: shown.Period, Currency: row.Currency, LimitMinor: shown.LimitMinor, Thresholds: shown.Thresholds}
		out.Budget = lineOf(b, db.Window{Name: row.ID, Held: shown.Held, Captured: shown.Captured, Refunded: shown.Refunded}, now, time.UTC)
	}
	return out, nil
}

func runState(row db.Run, stops []purser.StopInfo, now time.Time) string {
	path := guardPath(row, "")
	switch {
	case row.EndedAt != 0:
		return "ended"
	case slices.ContainsFunc(stops, func(s purser.StopInfo) bool { return s.Scope != "provider" && path.Covered(s.Scope, s.Target) }):
		return "stopped"
	case store.Micro(now) >= row.ExpiresAt:
		return "expired"
	}
	return "active"
}

// ExtendRun gives a run more time or money; it needs the person's signature. What would
// take some of either is refused: whoever extends a run does not mean that.
func (o *Office) ExtendRun(ctx context.Context, by purser.Actor, in purser.ExtendRun) (purser.Run, error) {
	return once(ctx, o, by, "extend_run", in, func(t *store.Turn) (purser.Run, error) {
		row, err := unended(ctx, t.Queries, t.Org, in.Run)
		if err != nil {
			return purser.Run{}, err
		}
		signed, err := o.signed(ctx, t, by, "extend_run", in, in.Act)
		if err != nil {
			return purser.Run{}, o.refuseAct(t, by, "extend_run", in.Run, err)
		}
		r := recordOf(by, "extend_run", row.ID)
		r.Attach, r.Detail = signed, map[string]string{}
		if in.Expires != "" {
			life, err := lifetime(in.Expires)
			if err != nil {
				return purser.Run{}, err
			}
			until := store.Micro(t.Now.Add(life))
			if until < row.ExpiresAt {
				return purser.Run{}, purser.Errorf(purser.InvalidRequest, "run %s lives until %s already, which is later than %s from now", row.ID, store.Time(row.ExpiresAt).Format(time.RFC3339), in.Expires).
					WithHint("name a longer time; purser run end %s ends it now", row.ID)
			}
			if err := t.ExtendRun(ctx, db.ExtendRunParams{Organization: t.Org, ID: row.ID, ExpiresAt: until}); err != nil {
				return purser.Run{}, err
			}
			if _, err := t.ExtendTokensOfRun(ctx, db.ExtendTokensOfRunParams{Organization: t.Org, Run: row.ID, ExpiresAt: until}); err != nil {
				return purser.Run{}, err
			}
			r.Detail["expires"] = store.Time(until).Format(time.RFC3339)
		}
		if in.Budget != nil {
			if in.Budget.Currency != row.Currency || in.Budget.Amount < 0 {
				return purser.Run{}, purser.Errorf(purser.InvalidRequest, "the run's budget is in %s", row.Currency)
			}
			is, err := t.Budget(ctx, db.BudgetParams{Organization: t.Org, Scope: purser.ScopeRun, Target: row.ID, Currency: row.Currency, Period: purser.PeriodRun})
			if err != nil {
				return purser.Run{}, err
			}
			if in.Budget.Amount < is.LimitMinor {
				return purser.Run{}, purser.Errorf(purser.InvalidRequest, "run %s may spend %s already, which is more than %s", row.ID, purser.Money{Amount: is.LimitMinor, Currency: row.Currency}, in.Budget).
					WithHint("purser budget set run %s --limit %q lowers it, without a signature", row.ID, in.Budget.String())
			}
			if err := o.setLimit(ctx, t, purser.ScopeRun, row.ID, purser.PeriodRun, *in.Budget); err != nil {
				return purser.Run{}, err
			}
			r.Detail["budget"] = in.Budget.String()
		}
		t.Record(r)
		return o.showRun(ctx, t.Queries, t.Org, row.ID, t.Now)
	})
}

// unended is a run that nobody ended.
func unended(ctx context.Context, q *db.Queries, org, id string) (db.Run, error) {
	row, err := q.Run(ctx, db.RunParams{Organization: org, ID: id})
	if err == nil && row.EndedAt != 0 {
		err = purser.Errorf(purser.InvalidState, "run %s has ended", row.ID).WithHint("purser run create --budget 20")
	}
	return row, notFound(err, "run", id)
}

// EndRun ends a run and its tokens. An agent may end its own.
func (o *Office) EndRun(ctx context.Context, by purser.Actor, in purser.RunRef) (purser.Run, error) {
	id, err := runOf(by, in.Run)
	if err != nil {
		return purser.Run{}, err
	}
	return once(ctx, o, by, "end_run", in, func(t *store.Turn) (purser.Run, error) {
		if _, err := t.Run(ctx, db.RunParams{Organization: t.Org, ID: id}); err != nil {
			return purser.Run{}, notFound(err, "run", id)
		}
		if _, err := t.EndRun(ctx, db.EndRunParams{Organization: t.Org, ID: id, Now: store.Micro(t.Now)}); err != nil {
			return purser.Run{}, err
		}
		if _, err := t.RevokeTokensOfRun(ctx, db.RevokeTokensOfRunParams{Organization: t.Org, Run: id, Now: store.Micro(t.Now)}); err != nil {
			return purser.Run{}, err
		}
		t.Record(recordOf(by, "end_run", id))
		return o.showRun(ctx, t.Queries, t.Org, id, t.Now)
	})
}

// ListAgents lists agents with the number of their active runs.
func (o *Office) ListAgents(ctx context.Context, by purser.Actor, _ purser.None) (purser.List[purser.AgentInfo], error) {
	q, out := o.Store.Read(), purser.List[purser.AgentInfo]{Items: []purser.AgentInfo{}}
	rows, err := q.Agents(ctx, by.Organization)
	if err != nil {
		return out, err
	}
	for _, a := range rows {
		info, err := o.showAgent(ctx, q, a)
		if err != nil {
			return out, err
		}
		out.Items = append(out.Items, info)
	}
	return out, nil
}

func (o *Office) showAgent(ctx context.Context, q *db.Queries, a db.Agent) (purser.AgentInfo, error) {
	runs, err := q.ActiveRunsOfAgent(ctx, db.ActiveRunsOfAgentParams{Organization: a.Organization, Agent: a.ID, Now: store.Micro(o.Now())})
	return purser.AgentInfo{
		ID: a.ID, Name: a.Name, Person: a.Person, Runs: len(runs), CreatedAt: store.Time(a.CreatedAt), RevokedAt: store.TimeOrNil(a.RevokedAt),
	}, err
}

// RevokeAgent ends an agent, its runs and its tokens.
func (o *Office) RevokeAgent(ctx context.Context, by purser.Actor, in purser.AgentRef) (purser.AgentInfo, error) {
	return once(ctx, o, by, "revoke_agent", in, func(t *store.Turn) (purser.AgentInfo, error) {
		agent, err := t.Agent(ctx, db.AgentParams{Organization: t.Org, ID: in.Agent})
		if missing(err) {
			agent, err = t.LiveAgentByName(ctx, db.LiveAgentByNameParams{Organization: t.Org, Name: in.Agent})
		}
		if err != nil {
			return purser.AgentInfo{}, notFound(err, "agent", in.Agent)
		}
		now := store.Micro(t.Now)
		runs, err := t.ActiveRunsOfAgent(ctx, db.ActiveRunsOfAgentParams{Organization: t.Org, Agent: agent.ID, Now: now})
		if err != nil {
			return purser.AgentInfo{}, err
		}
		for _, run := range runs {
			if _, err := t.EndRun(ctx, db.EndRunParams{Organization: t.Org, ID: run.ID, Now: now}); err != nil {
				return purser.AgentInfo{}, err
			}
		}
		if _, err := t.RevokeTokensOfPrincipal(ctx, db.RevokeTokensOfPrincipalParams{Organization: t.Org, Principal: agent.ID, Now: now}); err != nil {
			return purser.AgentInfo{}, err
		}
		if _, err := t.RevokeAgent(ctx, db.RevokeAgentParams{Organization: t.Org, ID: agent.ID, Now: now}); err != nil {
			return purser.AgentInfo{}, err
		}
		t.Record(recordOf(by, "revoke_agent", agent.ID))
		if agent.RevokedAt == 0 {
			agent.RevokedAt = now
		}
		return o.showAgent(ctx, t.Queries, agent)
	})
}

func orEmpty[T any](s []T) []T {
	if s == nil {
		return []T{}
	}
	return s
}
