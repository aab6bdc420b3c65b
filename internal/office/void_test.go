package office_test

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/purser-dev/purser"
	"github.com/purser-dev/purser/internal/office"
	"github.com/purser-dev/purser/internal/store"
	"github.com/purser-dev/purser/internal/store/db"
)

// ready makes a plan of a free service, and as many copies of it as asked: what an agent
// gets that plans in a loop.
func (h *house) ready(agent purser.Actor, copies int) purser.Plan {
	h.t.Helper()
	plan := must[purser.Plan](h, agent, "plan", purser.MakePlan{Steps: []purser.StepRequest{{Service: "local/hosting:static", Name: "again"}}})
	if plan.State != purser.PlanReady {
		h.t.Fatalf("the plan is %s", plan.State)
	}
	h.sql(`WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < $1)
		INSERT INTO plans (organization, id, run, project, env, state, digest, terms, detail, quotes, actor, epoch, error, created_at, expires_at, deadline)
		SELECT organization, id || '_' || i, run, project, env, state, digest, terms, detail, quotes, actor, epoch, error, created_at, expires_at, deadline
		FROM plans, n WHERE id = $2`, copies, plan.ID)
	return plan
}

// statementsOf counts the statements of each transaction that stores a stop, while f runs.
func (h *house) statementsOf(f func()) int {
	h.t.Helper()
	var mu sync.Mutex
	of, stops := map[int64]int{}, map[int64]bool{}
	h.watch(func(tx int64, statement string) error {
		mu.Lock()
		defer mu.Unlock()
		of[tx]++
		if strings.Contains(statement, "INSERT INTO stops") {
			stops[tx] = true
		}
		return nil
	})
	f()
	h.watch(nil)
	mu.Lock()
	defer mu.Unlock()
	if len(stops) != 1 {
		h.t.Fatalf("%d turns stored a stop", len(stops))
	}
	for tx := range stops {
		return of[tx]
	}
	return 0
}

// K1, K10: an agent that makes plans in a loop does not keep a stop from being
// acknowledged. The turn looks at none of them; they are void all the same, and are marked
// afterwards, in turns that let others in between.
func TestAStopIsAcknowledgedHoweverManyPlansThereAre(t *testing.T) {
	t.Parallel()
	inTurn(t, func(t *testing.T, database string) {
		many := 20_000
		if testing.Short() {
			many = 2_000
		}
		h := open(t, database)
		stopOf := func(agent purser.Actor) (stop purser.StopInfo, statements int, took time.Duration) {
			statements = h.statementsOf(func() {
				began := time.Now()
				stop = must[purser.StopInfo](h, h.owner, "stop", purser.Stop{Scope: "run", ID: agent.Run, Reason: "it plans in a loop"})
				took = time.Since(began)
			})
			return stop, statements, took
		}
		_, few := h.run(2000)
		h.link(few)
		h.ready(few, 1)
		_, base, _ := stopOf(few)
		h.carriedOut()

		_, agent := h.run(2000)
		plan := h.ready(agent, many)
		_, neighbour := h.run(2000)
		other := h.planned(neighbour, purser.StepRequest{Service: "local/hosting:static", Name: "other"})
		stop, statements, took := stopOf(agent)
		marking := make(chan string, 1)
		h.watch(func(_ int64, statement string) error {
			if strings.HasPrefix(statement, "UPDATE plans SET state = 'void'") {
				select {
				case marking <- statement:
				default:
				}
			}
			return nil
		})
		if statements != base {
			t.Errorf("with %d plans the stop takes %d statements, with one it takes %d", many, statements, base)
		}
		if took > 5*time.Second { // it is milliseconds; each plan looked at would make it tens of seconds
			t.Errorf("the acknowledgement took %v", took)
		}
		for _, id := range []string{plan.ID, plan.ID + "_17"} {
			_, err := do[purser.Plan](h, agent, "apply", purser.Apply{Plan: id})
			refused(t, err, purser.Stopped)
		}
		h.eventually("all are marked", func() bool {
			if err := h.o.Recover(h.ctx); err != nil { // as the server's timer does, if one try is too short
				t.Fatal(err)
			}
			return h.ask("SELECT count(*) FROM stop_effects WHERE state = 'pending'") == 0
		})
		h.watch(nil)
		if how := h.explained(<-marking); !strings.Contains(how, "plans_pkey") && !strings.Contains(how, "(organization=? AND id=?)") {
			t.Errorf("the plans of a turn are not looked up by their keys, but: %s", how)
		}
		if n := h.ask("SELECT count(*) FROM plans WHERE run = $1 AND state = 'void'", agent.Run); n != int64(many)+1 {
			t.Errorf("%d plans are void, want %d", n, many+1)
		}
		if show := must[purser.StopInfo](h, h.owner, "show_stop", purser.StopRef{Stop: stop.ID}); show.Voided != many+1 {
			t.Errorf("the stop counts %d, want %d", show.Voided, many+1)
		}
		if show := must[purser.Plan](h, h.owner, "show_plan", purser.PlanRef{Plan: other.ID}); show.State != purser.PlanReady {
			t.Errorf("the plan of another run is %s", show.State)
		}
		h.verify()
	})
}

// explained is how the database would carry out a statement.
func (h *house) explained(statement string) string {
	h.t.Helper()
	if strings.HasPrefix(h.db, "postgres://") {
		conn, err := pgx.Connect(h.ctx, h.db)
		if err != nil {
			h.t.Fatal(err)
		}
		defer conn.Close(context.WithoutCancel(h.ctx))
		if _, err := conn.Exec(h.ctx, "SET plan_cache_mode = force_generic_plan"); err != nil {
			h.t.Fatal(err)
		}
		return explained(h.t, conn, "now", 1, statement)
	}
	conn, err := h.dial()
	if err != nil {
		h.t.Fatal(err)
	}
	defer conn.Close()
	rows, err := conn.QueryContext(h.ctx, "EXPLAIN QUERY PLAN "+statement, make([]any, parameters(statement))...)
	if err != nil {
		h.t.Fatal(err)
	}
	defer rows.Close()
	var how []string
	for rows.Next() {
		var id, parent, none int
		var step string
		if err := rows.Scan(&id, &parent, &none, &step); err != nil {
			h.t.Fatal(err)
		}
		how = append(how, step)
	}
	if err := rows.Err(); err != nil {
		h.t.Fatal(err)
	}
	return strings.Join(how, "; ")
}

// A page of plans asks once which stops came after them, and shows each of them as it is
// shown alone: void is what was made before a stop, not what was made after it.
func TestAPageOfPlansAsksForStopsOnce(t *testing.T) {
	t.Parallel()
	inTurn(t, func(t *testing.T, database string) {
		h := open(t, database)
		_, agent := h.run(2000)
		h.link(agent)
		h.ready(agent, 3)
		stop := must[purser.StopInfo](h, h.owner, "stop", purser.Stop{Scope: "provider", ID: "local", Reason: "look first"})
		h.resume(stop)
		h.carriedOut()
		h.sql("UPDATE plans SET state = 'ready' WHERE run = $1", agent.Run) // as if nothing had marked them
		fresh := h.ready(agent, 3)
		asked := func(limit int32) (plans []purser.Plan, stops int) {
			h.t.Helper()
			if err := h.store.Write(h.ctx, func(q *db.Queries) error {
				rows, err := q.PlansInState(h.ctx, db.PlansInStateParams{Organization: h.owner.Organization, State: string(purser.PlanReady), RowLimit: limit})
				if err != nil {
					return err
				}
				h.watch(func(_ int64, statement string) error {
					if strings.Contains(statement, "FROM stops") {
						stops++
					}
					return nil
				})
				plans, err = h.o.ShowPlans(h.ctx, q, rows)
				h.watch(nil)
				return err
			}); err != nil {
				h.t.Fatal(err)
			}
			return plans, stops
		}
		for _, limit := range []int32{1, 8} {
			plans, stops := asked(limit)
			if len(plans) != int(limit) || stops != 1 {
				t.Errorf("%d plans are shown, with %d questions for stops", len(plans), stops)
			}
			for _, p := range plans {
				want := purser.PlanVoid
				if strings.HasPrefix(p.ID, fresh.ID) {
					want = purser.PlanReady
				}
				alone := must[purser.Plan](h, h.owner, "show_plan", purser.PlanRef{Plan: p.ID})
				if p.State != want || alone.State != want {
					t.Errorf("%s is %s in the list and %s alone, want %s", p.ID, p.State, alone.State, want)
				}
			}
		}
		h.sql("DELETE FROM plans WHERE state = 'ready'")
		if _, stops := asked(1); stops != 0 {
			t.Errorf("%d questions for the stops of no plan", stops)
		}
	})
}

// Every scope reaches the plans below it, and no other.
func TestAStopMarksThePlansOfItsScope(t *testing.T) {
	manyHouses(t)
	t.Parallel()
	for _, scope := range []string{"run", "agent", "project", "provider", "organization"} {
		t.Run(scope, func(t *testing.T) {
			t.Parallel()
			eachDB(t, func(t *testing.T, database string) {
				h := open(t, database)
				elsewhere := must[purser.Project](h, h.owner, "create_project", purser.CreateProject{Name: "elsewhere"})
				run, agent := h.run(2000)
				_, other := h.run(2000, func(in *purser.CreateRun) { in.Project, in.Agent = elsewhere.ID, "another" })
				mine := must[purser.Plan](h, agent, "plan", purser.MakePlan{Steps: []purser.StepRequest{domain("waits.club")}})
				theirs := must[purser.Plan](h, other, "plan", purser.MakePlan{Steps: []purser.StepRequest{domain("too.club")}})
				id := map[string]string{"run": run.ID, "agent": run.Agent, "project": run.Project, "provider": "local", "organization": h.owner.Organization}[scope]
				stop := must[purser.StopInfo](h, h.owner, "stop", purser.Stop{Scope: scope, ID: id, Reason: "enough"})
				h.carriedOut()
				for plan, covered := range map[string]bool{mine.ID: true, theirs.ID: scope == "provider" || scope == "organization"} {
					void := h.ask("SELECT count(*) FROM plans WHERE id = $1 AND state = 'void'", plan) == 1
					if void != covered {
						t.Errorf("the plan %s is void: %v, want %v", plan, void, covered)
					}
				}
				want := 1
				if scope == "provider" || scope == "organization" {
					want = 2
				}
				if show := must[purser.StopInfo](h, h.owner, "show_stop", purser.StopRef{Stop: stop.ID}); show.Voided != want {
					t.Errorf("%d are counted, want %d", show.Voided, want)
				}
			})
		})
	}
}

// RULES 13, 21: a plan is void from the stop on, before anything has marked it, and after a
// resume too: nobody sees it wait, approves it or applies it. One that is made after the
// resume is not reached by what the stop still has to mark.
func TestAPlanIsVoidBeforeItIsMarked(t *testing.T) {
	t.Parallel()
	inTurn(t, func(t *testing.T, database string) {
		h := open(t, database)
		_, agent := h.run(2000)
		h.link(agent)
		waits := must[purser.Plan](h, agent, "plan", purser.MakePlan{Steps: []purser.StepRequest{domain("waits.club")}})
		ready := h.planned(agent, purser.StepRequest{Service: "local/hosting:static", Name: "ready"})
		approved := h.planned(agent, domain("approved.club"))
		yes := purser.Approve{Plan: waits.ID}
		yes.Act = h.sign("approve", yes)
		// The process that is to mark them never gets to it.
		h.watch(func(_ int64, statement string) error {
			if strings.Contains(statement, "state = 'void'") {
				return errDead
			}
			return nil
		})
		stop := must[purser.StopInfo](h, h.owner, "stop", purser.Stop{Scope: "provider", ID: "local", Reason: "look first"})
		if stop.Voided != 0 {
			t.Errorf("the acknowledgement counts %d", stop.Voided)
		}
		void := func(when string) {
			t.Helper()
			for _, plan := range []purser.Plan{waits, ready, approved} {
				if show := must[purser.Plan](h, agent, "show_plan", purser.PlanRef{Plan: plan.ID}); show.State != purser.PlanVoid {
					t.Errorf("%s the plan is shown as %s", when, show.State)
				}
				_, err := do[purser.Plan](h, agent, "apply", purser.Apply{Plan: plan.ID})
				refused(t, err, purser.Stopped)
			}
			_, err := do[purser.Plan](h, h.owner, "approve", yes)
			refused(t, err, purser.InvalidState)
			if list := must[purser.List[purser.Plan]](h, h.owner, "list_approvals", purser.Page{}).Items; len(list) != 0 {
				t.Errorf("%s %d wait for a person", when, len(list))
			}
		}
		void("under the stop")
		h.resume(stop)
		void("after the resume")
		if n := h.ask("SELECT count(*) FROM plans WHERE state = 'void'"); n != 0 {
			t.Fatalf("%d plans were marked, so nothing is shown here", n)
		}
		after := must[purser.Plan](h, agent, "plan", purser.MakePlan{Steps: []purser.StepRequest{domain("after.club")}})
		h.watch(nil)
		h.restart()
		if err := h.o.Recover(h.ctx); err != nil {
			t.Fatal(err)
		}
		h.carriedOut()
		if n := h.ask("SELECT count(*) FROM plans WHERE state = 'void'"); n != 3 {
			t.Errorf("%d plans are marked, want 3", n)
		}
		if show := must[purser.Plan](h, agent, "show_plan", purser.PlanRef{Plan: after.ID}); show.State != purser.PlanWaiting {
			t.Errorf("the plan of after the resume is %s", show.State)
		}
		if show := must[purser.StopInfo](h, h.owner, "show_stop", purser.StopRef{Stop: stop.ID}); show.Voided != 3 {
			t.Errorf("the stop counts %d", show.Voided)
		}
		h.charged(0, 0)
	})
}

// The marking dies in the middle, and goes on where it was: each plan is counted once.
func TestPlansAreMarkedOnceThoughTheServerDies(t *testing.T) {
	t.Parallel()
	h := open(t, aDB(t))
	_, agent := h.run(2000)
	h.link(agent)
	h.ready(agent, 300)
	var mu sync.Mutex
	marked := 0
	h.watch(func(_ int64, statement string) error {
		mu.Lock()
		defer mu.Unlock()
		if strings.Contains(statement, "state = 'void'") {
			marked++
		}
		if marked > 2 {
			return errDead
		}
		return nil
	})
	stop := must[purser.StopInfo](h, h.owner, "stop", purser.Stop{Scope: "run", ID: agent.Run, Reason: "it plans in a loop"})
	h.eventually("it is in the middle", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return marked > 2
	})
	h.stop()
	h.watch(nil)
	h.start()
	if n := h.ask("SELECT count(*) FROM plans WHERE state = 'void'"); n == 0 || n > 64 {
		t.Errorf("%d plans were marked before", n)
	}
	if err := h.o.Recover(context.WithoutCancel(h.ctx)); err != nil {
		t.Fatal(err)
	}
	h.carriedOut()
	if show := must[purser.StopInfo](h, h.owner, "show_stop", purser.StopRef{Stop: stop.ID}); show.Voided != 301 {
		t.Errorf("the stop counts %d, want 301", show.Voided)
	}
}

// RULES 12, 20: plans that nobody decided or began end, a few in a turn; until they do,
// nothing looks at them each second.
func TestPlansExpireAFewInATurn(t *testing.T) {
	t.Parallel()
	inTurn(t, func(t *testing.T, database string) {
		h := open(t, database)
		_, agent := h.run(2000)
		h.link(agent)
		plan := h.ready(agent, 99)
		due := func() []string {
			orgs, err := h.store.Read().DueOrganizations(h.ctx, db.DueOrganizationsParams{Now: store.Micro(h.now()), Ending: store.Micro(h.now().Add(2 * time.Hour))})
			if err != nil {
				t.Fatal(err)
			}
			return orgs
		}
		if orgs := due(); len(orgs) != 0 {
			t.Errorf("a day before, %v are looked at", orgs)
		}
		h.tick()
		if n := h.counted("expire_plan", "accepted"); n != 0 {
			t.Errorf("%d ended before their time", n)
		}
		h.sql("UPDATE plans SET expires_at = $1 WHERE run = $2 AND id <> $3 AND state = 'ready'", store.Micro(h.now()), agent.Run, plan.ID)
		if orgs := due(); len(orgs) != 1 {
			t.Errorf("in time, %v are looked at", orgs)
		}
		var mu sync.Mutex
		of := map[int64]int{}
		h.watch(func(tx int64, statement string) error {
			mu.Lock()
			defer mu.Unlock()
			if strings.Contains(statement, "UPDATE plans") {
				of[tx]++
			}
			return nil
		})
		h.tick()
		h.watch(nil)
		mu.Lock()
		defer mu.Unlock()
		for _, n := range of {
			if n > 8 {
				t.Errorf("one turn ended %d plans", n)
			}
		}
		if n := h.counted("expire_plan", "accepted"); n != 99 {
			t.Errorf("%d ended, want 99", n)
		}
		if show := must[purser.Plan](h, agent, "show_plan", purser.PlanRef{Plan: plan.ID}); show.State != purser.PlanReady {
			t.Errorf("the one whose time is not over is %s", show.State)
		}
	})
}

// An agent that plans in a loop is told to do something with its plans first. Who applies
// them goes on, and so do other runs, and a look that keeps nothing.
func TestARunHasSoManyOpenPlans(t *testing.T) {
	t.Parallel()
	inTurn(t, func(t *testing.T, database string) {
		h := open(t, database)
		_, agent := h.run(2000)
		h.link(agent)
		h.ready(agent, office.OpenPlansMost-2)
		again := purser.MakePlan{Steps: []purser.StepRequest{{Service: "local/hosting:static", Name: "more"}}}
		last := must[purser.Plan](h, agent, "plan", again)
		_, err := do[purser.Plan](h, agent, "plan", again)
		if e := refused(t, err, purser.Overloaded); e.RetryAfter <= 0 || e.Hint == "" {
			t.Errorf("it says %+v", e)
		}
		_, err = do[purser.Plan](h, agent, "add", purser.Add{StepRequest: purser.StepRequest{Service: "local/hosting:static", Name: "added"}})
		refused(t, err, purser.Overloaded)
		look := again
		look.DryRun = true
		must[purser.Plan](h, agent, "plan", look)
		_, other := h.run(2000)
		must[purser.Plan](h, other, "plan", purser.MakePlan{Steps: []purser.StepRequest{{Service: "local/hosting:static", Name: "other"}}})
		must[purser.Plan](h, agent, "apply", purser.Apply{Plan: last.ID})
		if got := must[purser.Plan](h, agent, "plan", purser.MakePlan{Steps: []purser.StepRequest{{Service: "local/hosting:static", Name: "after"}}}); got.State != purser.PlanReady {
			t.Errorf("after one was applied, the next is %s", got.State)
		}
	})
}

// K1, K10: a client that asks for access tokens in a loop does not keep a stop from being
// acknowledged, nor do many grants. The turn looks at none; the tokens are dead all the
// same, and are revoked afterwards, a few in a turn.
func TestAStopIsAcknowledgedHoweverManyTokensAndGrantsThereAre(t *testing.T) {
	t.Parallel()
	inTurn(t, func(t *testing.T, database string) {
		const many = 1_000
		h := open(t, database)
		stopOf := func(run string) (stop purser.StopInfo, statements int) {
			return stop, h.statementsOf(func() {
				stop = must[purser.StopInfo](h, h.owner, "stop", purser.Stop{Scope: "run", ID: run, Reason: "it asks in a loop"})
			})
		}
		few, _ := h.run(2000)
		_, base := stopOf(few.ID)
		h.carriedOut()
		run, agent := h.run(2000)
		neighbour, other := h.run(2000)
		const upTo = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < $1) "
		h.sql(upTo+`INSERT INTO tokens (organization, id, hash, kind, principal, run, created_at, expires_at)
			SELECT organization, id || '_' || i, hash || i, kind, principal, run, created_at, expires_at FROM tokens, n WHERE id = $2`, many, agent.Token)
		h.sql(upTo+`INSERT INTO oauth_grants (organization, id, client, client_name, agent, run, person, resource, scope, created_at)
			SELECT organization, 'grt_' || id || i, 'cli_1', 'client', agent, id, person, '', '', created_at FROM runs, n WHERE id IN ($2, $3)`, many, run.ID, neighbour.ID)
		began := time.Now()
		stop, statements := stopOf(run.ID)
		if took := time.Since(began); statements != base || took > 5*time.Second { // it is milliseconds, but for the rows of the grants
			t.Errorf("with %d tokens and grants the stop takes %d statements and %v, with one it takes %d", many, statements, took, base)
		}
		if n := h.ask("SELECT count(*) FROM oauth_grants WHERE run = $1 AND revoked_at = 0", run.ID); n != 0 {
			t.Errorf("%d grants outlive the stop", n)
		}
		if n := h.ask("SELECT count(*) FROM oauth_grants WHERE run = $1 AND revoked_at = 0", neighbour.ID); n != int64(many) {
			t.Errorf("%d grants of another run are left", n)
		}
		_, err := h.o.Authenticate(h.ctx, run.Token, "test")
		refused(t, err, purser.Stopped)
		h.eventually("all are revoked", func() bool {
			if err := h.o.Recover(h.ctx); err != nil { // as the server's timer does, if one try is too short
				t.Fatal(err)
			}
			return h.ask("SELECT count(*) FROM stop_effects WHERE state = 'pending'") == 0
		})
		if n := h.ask("SELECT count(*) FROM tokens WHERE run = $1 AND revoked_by = 'stop'", run.ID); n != int64(many)+1 {
			t.Errorf("%d tokens are revoked, want %d", n, many+1)
		}
		told := 0
		for _, e := range must[purser.StopInfo](h, h.owner, "show_stop", purser.StopRef{Stop: stop.ID}).Effects {
			if e.Kind == "token" && e.State == "done" {
				told++
			}
		}
		if told != many+1 {
			t.Errorf("%d revocations are told of, want %d", told, many+1)
		}
		for _, listed := range must[purser.Overview](h, h.owner, "overview", purser.None{}).Stops {
			if len(listed.Effects) == 0 || len(listed.Effects) > 4 {
				t.Errorf("a stop is listed with %d effects: every page has it", len(listed.Effects))
			}
		}
		must[purser.Hold](h, other, "charge_usage", usage(1))
	})
}

// Each token and grant that a stop and its resume end finds its run by key, however many runs
// there are, and before the database has counted any: as a join of the two tables, 20,000
// grants of as many runs kept PostgreSQL for longer than a stop waits.
func TestWhatAStopEndsFindsItsRunByKey(t *testing.T) {
	t.Parallel()
	inTurn(t, func(t *testing.T, database string) {
		h := open(t, database)
		run, _ := h.run(2000)
		h.sql(`WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < $1)
			INSERT INTO runs (organization, id, project, agent, person, purpose, currency, threshold, providers, reveal, created_at, expires_at)
			SELECT organization, id || '_' || i, project, agent, person, purpose, currency, threshold, providers, reveal, created_at, expires_at FROM runs, n WHERE id = $2`, 2000, run.ID)
		asked := make(chan string, 2)
		h.watch(func(_ int64, statement string) error {
			if strings.Contains(statement, "name: RevokeGrantsAtStop ") || strings.Contains(statement, "name: RevokeTokensOfStop ") {
				asked <- statement
			}
			return nil
		})
		h.resume(must[purser.StopInfo](h, h.owner, "stop", purser.Stop{Scope: purser.ScopeOrganization, Reason: "enough"}))
		h.watch(nil)
		for range 2 {
			statement := <-asked
			if how := h.explained(statement); !strings.Contains(how, "runs_pkey") && !strings.Contains(how, "SEARCH r USING INDEX sqlite_autoindex_runs_1 (organization=? AND id=?)") {
				t.Errorf("%.40s walks runs: %s", statement, how)
			}
		}
	})
}

// K2: what is in flight is listed, however much it is, by one question.
func TestAStopAsksOnceForAllThatIsInFlight(t *testing.T) {
	t.Parallel()
	inTurn(t, func(t *testing.T, database string) {
		h := open(t, database)
		h.seller.pay = h.rail()
		_, agent := h.run(2000)
		h.link(agent)
		plan := h.planned(agent, domain("superseal.club"))
		must[purser.Plan](h, agent, "apply", purser.Apply{Plan: plan.ID})
		order := h.shown(plan.ID).Orders[0].ID
		stopped := func(open int) int {
			return h.statementsOf(func() {
				stop := must[purser.StopInfo](h, h.owner, "stop", purser.Stop{Scope: purser.ScopeProvider, ID: "local", Reason: "enough"})
				if len(stop.Open) != open || open > 0 && stop.Open[0].Held.Amount != 1200 {
					t.Errorf("%d are open, want %d: %+v", len(stop.Open), open, stop.Open)
				}
			})
		}
		base := stopped(0)
		const many = 300
		const upTo = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < $1) "
		h.sql(upTo+`INSERT INTO holds (organization, id, order_id, run, project, provider, category, currency, amount, state, epoch, begun_at, expires_at, windows, seq, created_at)
			SELECT organization, id || '_' || i, order_id || '_' || i, run, project, provider, category, currency, amount, 'begun', epoch, begun_at, expires_at, windows, seq, created_at
			FROM holds, n WHERE order_id = $2`, many, order)
		h.sql(upTo+`INSERT INTO orders (organization, id, plan, step, run, project, env, agent, provider, kind, what, target, currency, amount, state, hold, epoch, created_at, updated_at)
			SELECT organization, id || '_' || i, plan, i + 100, run, project, env, agent, provider, kind, what, target, currency, amount, 'buying', hold || '_' || i, epoch, created_at, updated_at
			FROM orders, n WHERE id = $2`, many, order)
		if n := stopped(many); n != base {
			t.Errorf("with %d orders in flight the stop takes %d statements, with none it takes %d", many, n, base)
		}
		if strings.HasPrefix(database, "postgres") {
			return // which walks a table of a few hundred rows, and rightly
		}
		asks := make(chan string, 1)
		h.watch(func(_ int64, statement string) error {
			if strings.Contains(statement, "-- name: OrdersAtStop") {
				asks <- statement
			}
			return nil
		})
		must[purser.StopInfo](h, h.owner, "stop", purser.Stop{Scope: purser.ScopeOrganization, Reason: "enough"})
		if how := h.explained(<-asks); !strings.Contains(how, "orders_by_state") {
			t.Errorf("the settled orders of years are looked at: %s", how)
		}
	})
}
