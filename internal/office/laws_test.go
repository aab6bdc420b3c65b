package office_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/purser-dev/purser"
	"github.com/purser-dev/purser/internal/spend"
	"github.com/purser-dev/purser/internal/spend/spendtest"
	"github.com/purser-dev/purser/internal/store"
	"github.com/purser-dev/purser/internal/store/db"
)

// soak chooses the size of a law: what make test can wait for, or all of it.
func soak(short, long int) int {
	if os.Getenv("PURSER_TEST_SOAK") != "" {
		return long
	}
	return short
}

// fewer is soak, and with -short less than what make test can wait for.
func fewer(least, short, long int) int {
	if testing.Short() {
		return least
	}
	return soak(short, long)
}

// lawHouse is a house in which the world of spendtest was set up.
type lawHouse struct {
	*house
	names   map[string]string // of the world, to those of the house
	back    *strings.Replacer
	inForce []purser.StopInfo
	skew    time.Duration
}

// settle makes the world: projects, runs, platforms and budgets as a person does.
func settle(t *testing.T, database string, start time.Time, zone string) *lawHouse {
	t.Helper()
	h := open(t, database, func(h *house) { h.still = start })
	h.sql("UPDATE organizations SET timezone = '" + zone + "' WHERE id = '" + h.owner.Organization + "'")
	l := &lawHouse{house: h, names: map[string]string{spendtest.Org: h.owner.Organization, spendtest.Person: h.owner.ID, "prj_0": h.project.ID}}
	l.names["prj_1"] = must[purser.Project](h, h.owner, "create_project", purser.CreateProject{Name: "other"}).ID
	for name, labels := range spendtest.Projects() {
		must[purser.Labelled](h, h.owner, "set_labels", purser.SetLabels{Scope: purser.ScopeProject, ID: l.names[name], Labels: labels})
	}
	for _, r := range spendtest.Runs() {
		threshold := usd(r.Threshold)
		run, agent := h.run(r.Budget, func(in *purser.CreateRun) {
			in.Project, in.Agent, in.Expires, in.Threshold, in.Labels = l.names[r.Project], strings.ReplaceAll(r.Agent, "_", "-"), r.Life.String(), &threshold, r.Labels
		})
		if r.Providers != nil {
			h.sql(`UPDATE runs SET providers = '["` + strings.Join(r.Providers, `","`) + `"]' WHERE id = '` + run.ID + `'`)
		}
		l.names[r.ID], l.names[r.Agent], l.names[r.Token] = run.ID, agent.ID, agent.Token
	}
	for n := range 2 {
		in := purser.CreatePlatform{Name: fmt.Sprintf("meter-%d", n)}
		in.Act = h.sign("create_platform", in)
		by, err := h.o.Authenticate(h.ctx, must[purser.PlatformInfo](h, h.owner, "create_platform", in).Token, "test")
		if err != nil {
			t.Fatal(err)
		}
		p := spendtest.Platform(n)
		l.names[p.ID], l.names[p.Token] = by.ID, by.Token
	}
	var pairs []string
	for of, here := range l.names {
		pairs = append(pairs, here, of)
	}
	l.back = strings.NewReplacer(pairs...)
	for _, b := range spendtest.Budgets() {
		l.limitTo(b)
	}
	return l
}

func (l *lawHouse) name(of string) string {
	if here, ok := l.names[of]; ok {
		return here
	}
	return of
}

func (l *lawHouse) limitTo(b spend.Budget) {
	l.t.Helper()
	if b.Scope.Scope == purser.ScopeProvider {
		if err := l.o.FirstLimit(l.ctx, l.owner.Organization, b.Target); err != nil {
			l.t.Fatal(err)
		}
	}
	in := purser.SetBudget{Scope: b.Scope.Scope, ID: l.name(b.Target), Period: b.Period, Limit: purser.Money{Amount: b.Limit, Currency: b.Currency}}
	in.Act = l.sign("set_budget", in)
	must[purser.BudgetLine](l.house, l.owner, "set_budget", in)
}

// do takes a step as it is taken here; of a batch it gives the answers.
func (l *lawHouse) do(s spendtest.Step) []spendtest.Answer {
	l.t.Helper()
	org := l.owner.Organization
	turn := func(f func(*store.Turn) error) {
		l.t.Helper()
		if err := l.store.Turn(l.ctx, org, f); err != nil {
			l.t.Fatal(err)
		}
	}
	switch {
	case s.Batch != nil:
		return l.decide(s.Batch)
	case s.Stop != nil:
		stop := must[purser.StopInfo](l.house, l.owner, "stop", purser.Stop{Scope: s.Stop.Scope, ID: l.name(s.Stop.Target), Reason: "a step"})
		l.inForce = append(l.inForce, stop)
		l.eventually("what follows the stop is done", func() bool {
			return !slices.ContainsFunc(must[purser.StopInfo](l.house, l.owner, "show_stop", purser.StopRef{Stop: stop.ID}).Effects, func(e purser.StopEffect) bool { return e.State != "done" })
		})
		if err := l.o.Overdue(l.ctx, org); err != nil {
			l.t.Fatal(explain(err))
		}
	case s.Resume && len(l.inForce) > 0:
		l.resume(l.inForce[0])
		l.inForce = l.inForce[1:]
	case s.Limit != nil:
		l.limitTo(*s.Limit)
	case s.Allow != nil:
		in := purser.AllowRepeat{Run: l.name(s.Allow.Run), Provider: s.Allow.Provider, Target: s.Allow.Target, AmountMinor: s.Allow.Amount, Currency: s.Allow.Currency}
		in.Act = l.sign("allow_repeat", in)
		must[purser.Accepted](l.house, l.owner, "allow_repeat", in)
		l.sql("UPDATE repeats SET expires_at = 9000000000000000") // a day is no part of the model
	case s.Revoke != "":
		turn(func(t *store.Turn) error {
			_, err := t.RevokeToken(l.ctx, db.RevokeTokenParams{Organization: org, ID: l.name(s.Revoke), RevokedBy: map[bool]string{true: "stop"}[s.Taken], Now: store.Micro(t.Now)})
			return err
		})
	case s.End != "":
		must[purser.Run](l.house, l.owner, "end_run", purser.RunRef{Run: l.name(s.End)})
		if err := l.o.Overdue(l.ctx, org); err != nil {
			l.t.Fatal(explain(err))
		}
	case s.Skew != nil:
		l.skew = *s.Skew
	}
	l.later(s.Advance)
	return nil
}

func (l *lawHouse) decide(batch []spend.Request) []spendtest.Answer {
	l.t.Helper()
	requests := slices.Clone(batch)
	for i := range requests {
		r := &requests[i]
		r.Run, r.By.ID, r.By.Project, r.By.Run, r.By.Token, r.By.Organization = l.name(r.Run), l.name(r.By.ID), l.name(r.By.Project), l.name(r.By.Run), l.name(r.By.Token), l.owner.Organization
	}
	outcomes, err := l.o.DecideBatch(l.ctx, l.owner.Organization, requests, l.skew)
	if err != nil {
		l.t.Fatal(explain(err))
	}
	out := make([]spendtest.Answer, len(outcomes))
	for i, o := range outcomes {
		if o.Stop != nil {
			l.inForce = append(l.inForce, *o.Stop)
			l.o.CarryOut(l.ctx, l.owner.Organization, o.Stop.ID)
		}
		out[i] = spendtest.AnswerOf(o)
		failed := strings.Split(l.back.Replace(out[i].Failed), "; ")
		slices.Sort(failed)
		out[i].Failed = strings.Join(failed, "; ")
	}
	return out
}

// after does to the engine in memory what the office does by itself after a step that
// began with so many stops.
func after(e *spendtest.Engine, s spendtest.Step, stops int) error {
	if s.End != "" {
		for _, r := range spendtest.Runs() {
			if r.ID == s.End {
				if _, err := e.Do(spendtest.Step{Revoke: r.Token, Taken: true}); err != nil {
					return err
				}
			}
		}
	}
	if len(e.Stops) == stops && s.End == "" {
		return nil
	}
	for _, stop := range e.Stops[stops:] { // a step's own, or those of its overruns
		for _, r := range spendtest.Runs() {
			if covered := stop.Target; covered == spendtest.Org || covered == r.Project || covered == r.Agent || covered == r.ID {
				if _, err := e.Do(spendtest.Step{Revoke: r.Token, Taken: true}); err != nil {
					return err
				}
			}
		}
	}
	var due []spend.Request
	for id, h := range e.Holds {
		r := spend.Request{Op: spend.Void, By: purser.Actor{Kind: purser.System, ID: "purser", Organization: spendtest.Org}, Hold: id}
		if !h.ExpiresAt.After(e.Now) {
			r.Op = spend.Expire
		}
		due = append(due, r)
	}
	_, err := e.Decide(due)
	return err
}

// T2: what the pure core decides in memory, both databases decide, under batches,
// stops, limits and clocks that go to the ends of hours, days, weeks and months.
func TestCoreAndDatabasesDecideTheSameLaw(t *testing.T) {
	t.Parallel()
	inTurn(t, func(t *testing.T, database string) {
		seeds, steps := fewer(1, 3, 500), soak(70, 300)
		for seed := range uint64(seeds) {
			t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
				if seed > 0 {
					database = fresh(t, database)
				}
				sameLaw(t, database, seed, steps)
			})
		}
	})
}

func sameLaw(t *testing.T, database string, seed uint64, steps int) {
	start := []time.Time{
		time.Date(2026, 10, 24, 21, 15, 0, 0, time.UTC), time.Date(2026, 12, 31, 20, 0, 0, 0, time.UTC), time.Date(2026, 3, 28, 22, 30, 0, 0, time.UTC),
	}[seed%3]
	zone, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	l := settle(t, database, start, zone.String())
	e := spendtest.NewEngine(start, zone, 10000) // the first limit of the house's defaults
	script := spendtest.NewScript(rand.New(rand.NewPCG(seed, 2)))
	decisions := 0
	for n := range steps {
		s := script.Next()
		for i := range s.Batch {
			s.Batch[i].Signed = nil // what is recorded is verified, so it cannot be made up
		}
		stops := len(e.Stops)
		want, err := e.Do(s)
		if err == nil {
			err = after(e, s, stops)
		}
		if err != nil {
			t.Fatal(err)
		}
		for i, got := range l.do(s) {
			decisions++
			if got != want[i] {
				t.Fatalf("step %d, request %d of %d, %+v:\ncore     %+v\ndatabase %+v", n, i, len(s.Batch), s.Batch[i], want[i], got)
			}
		}
	}
	l.uses(e)
	l.books()
	l.verify()
	t.Logf("%d decisions", decisions)
}

// uses compares every window.
func (l *lawHouse) uses(e *spendtest.Engine) {
	l.t.Helper()
	for k, w := range e.Windows {
		row, err := l.store.Read().Window(context.WithoutCancel(l.ctx), db.WindowParams{
			Organization: l.owner.Organization, Scope: k.Scope, Target: l.name(k.Target), Currency: k.Currency, Name: l.name(k.Name),
		})
		if err != nil || row.Held != w.Held || row.Captured != w.Captured || row.Refunded != w.Refunded {
			l.t.Errorf("window %v is %+v in memory, %+v stored: %v", k, w, row, err)
		}
	}
}
