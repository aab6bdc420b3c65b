package office_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/purser-dev/purser"
	"github.com/purser-dev/purser/app"
	"github.com/purser-dev/purser/internal/store"
)

var errDead = errors.New("this process is dead")

// killer is the moment at which the office dies: from there on nothing that it
// does reaches the database, as after a kill -9.
type killer struct {
	mu    sync.Mutex
	at    int // the end of this transaction, counted from the first of apply
	after bool
	n     int
	dead  bool
	gone  context.CancelFunc // its callers see their connection end
}

func (k *killer) kill() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.die()
}

func (k *killer) die() error {
	k.dead = true
	k.gone()
	return errDead
}

func (k *killer) trace(_ int64, statement string) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.dead {
		return errDead
	}
	if statement == store.Commit {
		k.n++
	}
	if k.n == k.at && (statement == store.Commit && !k.after || statement == store.Committed && k.after) {
		return k.die()
	}
	return nil
}

// The plan that is killed: an account, a paid plan, a domain, and files.
func (h *house) killable() (agent purser.Actor, plan purser.Plan) {
	h.t.Helper()
	h.seller.pay = h.rail()
	_, agent = h.run(2000)
	manifest := h.staged(agent, map[string]string{"index.html": "<h1>hello</h1>"})
	plan = must[purser.Plan](h, agent, "plan", voyage(manifest))
	return agent, h.approve(plan.ID)
}

// recovered restarts the house and fails unless the plan then gets done with each
// thing sold once and paid once.
func (h *house) recovered(agent purser.Actor, plan purser.Plan) {
	h.t.Helper()
	h.watch(nil)
	h.seller.set(func(s *seller) { s.create, s.link = nil, nil })
	h.shop.mu.Lock()
	h.shop.hook = nil
	h.shop.mu.Unlock()
	h.stop()
	if h.store.Dialect() == store.Postgres { // SQLite has one server: its start ends them
		h.endLeases()
	}
	h.start()
	if err := h.o.Recover(h.ctx); err != nil {
		h.t.Fatal(err)
	}
	done, err := do[purser.Plan](h, agent, "apply", purser.Apply{Plan: plan.ID})
	if err != nil {
		h.t.Fatalf("apply after the restart: %s", explain(err))
	}
	if done.State != purser.PlanDone || len(done.Orders) != 5 {
		h.t.Errorf("plan %s with %d orders", done.State, len(done.Orders))
	}
	for _, o := range done.Orders {
		if o.State != purser.OrderLive || o.Held.Amount != 0 {
			h.t.Errorf("order of step %d is %s and holds %s", o.Step, o.State, o.Held)
		}
	}
	if _, sold := h.seller.count(); sold != 3 {
		h.t.Errorf("%d things are sold, want 3", sold)
	}
	if status := must[purser.Status](h, agent, "status", purser.AskStatus{}); len(status.Resources) != 3 || len(status.Unsettled) != 0 || len(status.Subscribed) != 2 {
		h.t.Errorf("%d resources, %d unsettled, %d subscriptions", len(status.Resources), len(status.Unsettled), len(status.Subscribed))
	}
	h.charged(2, 1700)
}

// die applies a plan and is killed at the first commit after a statement.
func (h *house) die(agent purser.Actor, plan purser.Plan, statement string) {
	h.t.Helper()
	ctx, cancel := context.WithCancel(h.ctx)
	k, seen := &killer{gone: cancel, at: -1}, int64(0)
	h.watch(func(tx int64, s string) error {
		if strings.Contains(s, statement) {
			seen = tx
		}
		if err := k.trace(tx, s); err != nil {
			return err
		}
		if s == store.Committed && seen == tx {
			return k.kill()
		}
		return nil
	})
	_, _ = h.ops["apply"].Do(ctx, agent, purser.Apply{Plan: plan.ID})
	if ctx.Err() == nil {
		h.t.Fatalf("it was not killed: nothing said %s", statement)
	}
	h.o.Close()
	h.watch(nil)
}

// Drill f, our side: killed before and after each commit of a plan with every
// kind of step, and each kill is survived.
func TestAKillAtAnyCommitLosesAndRepeatsNothing(t *testing.T) {
	if testing.Short() {
		t.Skip("kills at every commit: run without -short")
	}
	t.Parallel()
	inTurn(t, func(t *testing.T, database string) {
		// The first house counts the commits; nobody dies in it.
		count := &killer{gone: func() {}}
		h := open(t, database)
		agent, plan := h.killable()
		h.watch(count.trace)
		must[purser.Plan](h, agent, "apply", purser.Apply{Plan: plan.ID})
		h.watch(nil)
		h.charged(2, 1700)
		if count.n < 17 {
			t.Fatalf("a plan of 5 steps takes %d commits; place, begin and settle alone are 15", count.n)
		}
		step := 1
		if strings.HasPrefix(database, "postgres") {
			step = 4 // the order of the commits is that of SQLite
		}
		for at := 1; at <= count.n; at += step {
			for _, after := range []bool{false, true} {
				t.Run(fmt.Sprintf("commit %d, after it %v", at, after), func(t *testing.T) {
					t.Parallel()
					h := open(t, fresh(t, database))
					agent, plan := h.killable()
					ctx, cancel := context.WithCancel(h.ctx)
					h.watch((&killer{at: at, after: after, gone: cancel}).trace)
					_, err := h.ops["apply"].Do(ctx, agent, purser.Apply{Plan: plan.ID})
					if ctx.Err() == nil {
						t.Fatalf("it was not killed: %v", err)
					}
					h.recovered(agent, plan)
				})
			}
		}
	})
}

// Drill f, the provider's side: killed in each kind of call, before it did its
// work and after.
func TestAKillDuringACallLosesAndRepeatsNothing(t *testing.T) {
	if testing.Short() {
		t.Skip("kills in every kind of call: run without -short")
	}
	t.Parallel()
	tests := []struct {
		call string
		arm  func(h *house, works bool, die func() error)
	}{
		{"link", func(h *house, works bool, die func() error) {
			h.seller.link = func(context.Context, func() (app.Token, error)) (app.Token, error) { return app.Token{}, die() }
		}},
		{"first create", func(h *house, works bool, die func() error) { h.seller.create = dieAt(1, works, die) }},
		{"second create", func(h *house, works bool, die func() error) { h.seller.create = dieAt(2, works, die) }},
		{"third create", func(h *house, works bool, die func() error) { h.seller.create = dieAt(3, works, die) }},
		{"deployment", func(h *house, works bool, die func() error) {
			h.shop.hook = func(_ context.Context, work func() (string, error)) (string, error) {
				if works {
					if _, err := work(); err != nil {
						return "", err
					}
				}
				return "", die()
			}
		}},
	}
	inTurn(t, func(t *testing.T, database string) {
		for _, tt := range tests {
			for _, works := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s, worked %v", tt.call, works), func(t *testing.T) {
					t.Parallel()
					h := open(t, fresh(t, database))
					agent, plan := h.killable()
					ctx, cancel := context.WithCancel(h.ctx)
					k := &killer{gone: cancel}
					h.watch(k.trace)
					tt.arm(h, works, k.kill)
					_, err := h.ops["apply"].Do(ctx, agent, purser.Apply{Plan: plan.ID})
					if ctx.Err() == nil {
						t.Fatalf("it was not killed: %v", err)
					}
					h.recovered(agent, plan)
				})
			}
		}
	})
}

func dieAt(n int, works bool, die func() error) func(create) (app.Resource, error) {
	return func(c create) (app.Resource, error) {
		if c.n != n {
			return c.work()
		}
		if works {
			if r, err := c.work(); err != nil {
				return r, err
			}
		}
		return app.Resource{}, die()
	}
}

// fresh is another empty database of the same kind.
func fresh(t *testing.T, like string) string {
	if strings.HasPrefix(like, "postgres://") {
		return postgres.Open(t)
	}
	return sqlite(t)
}

// A connection that is cut says nothing about an order: whichever read of begin it
// takes, the next walk asks again, and what a person approved gets done.
func TestAReadThatFailsOnceEndsNoPlan(t *testing.T) {
	t.Parallel()
	inTurn(t, func(t *testing.T, database string) {
		h := open(t, database)
		h.seller.pay = h.rail()
		_, agent := h.run(5000)
		h.link(agent)
		for i, read := range []struct {
			from string
			nth  int
		}{{"FROM runs", 1}, {"FROM stops", 1}, {"FROM stops", 2}, {"FROM connections", 1}} {
			plan := h.planned(agent, domain(fmt.Sprintf("superseal%d.club", i)))
			cut := h.cutAfter("INSERT INTO orders", read.from, read.nth)
			done, err := do[purser.Plan](h, agent, "apply", purser.Apply{Plan: plan.ID})
			h.watch(nil)
			if err != nil || done.State != purser.PlanDone || !cut.Load() {
				t.Errorf("read %d %s: plan %s, %v; cut: %v", read.nth, read.from, done.State, explainOrNil(err), cut.Load())
			}
		}
		h.charged(4, 4800)
		if n := h.ask("SELECT count(*) FROM payment_tokens WHERE connection = ''"); n != 0 {
			t.Errorf("%d payment tokens are bound to no account", n)
		}
	})
}

// Nor does it say that an approval was used.
func TestAnApprovalThatCannotBeConsumedNowIsNotCalledUsed(t *testing.T) {
	t.Parallel()
	h := open(t, aDB(t))
	h.seller.pay = h.rail()
	_, agent := h.run(2000)
	plan := h.planned(agent, domain("superseal.club"))
	h.watch(func(_ int64, statement string) error {
		if strings.Contains(statement, "UPDATE approvals SET consumed_at") {
			return errCut
		}
		return nil
	})
	_, err := do[purser.Plan](h, agent, "apply", purser.Apply{Plan: plan.ID})
	h.watch(nil)
	refused(t, err, purser.Internal)
	must[purser.Plan](h, agent, "apply", purser.Apply{Plan: plan.ID})
}

// Nor does it keep an order unknown that may be sent again.
func TestAReadThatFailsOnceKeepsNoOrderUnknown(t *testing.T) {
	t.Parallel()
	h := open(t, aDB(t), func(h *house) { h.wire = strings.Replace(manifest, `"resources:find",`, "", 1) })
	h.seller.pay = h.rail()
	_, agent := h.run(2000)
	h.link(agent)
	h.sql("UPDATE providers SET conformance = 'passed at some time'")
	plan := h.planned(agent, domain("superseal.club"))
	var cut *atomic.Bool
	h.seller.create = func(c create) (app.Resource, error) {
		r, err := c.work()
		if c.n == 2 { // the first of this plan
			cut = h.cutAfter("INSERT INTO notices", "FROM stops", 1) // which tells that it is unknown
			return app.Resource{}, purser.Errorf(purser.OutcomeUnknown, "the connection ended")
		}
		return r, err
	}
	done, err := do[purser.Plan](h, agent, "apply", purser.Apply{Plan: plan.ID})
	if err != nil || done.State != purser.PlanDone || !cut.Load() {
		t.Errorf("plan %s, %v; cut: %v", done.State, explainOrNil(err), cut.Load())
	}
	h.charged(1, 1200)
}

// cutAfter cuts the connection once, at the nth statement with a word inside one turn
// of after one that said first.
func (h *house) cutAfter(first, word string, nth int) *atomic.Bool {
	var mu sync.Mutex
	placed, turn, n, cut := int64(0), int64(0), 0, &atomic.Bool{}
	h.watch(func(tx int64, statement string) error {
		mu.Lock()
		defer mu.Unlock()
		switch {
		case cut.Load():
		case placed == 0 && strings.Contains(statement, first):
			placed = tx
		case placed != 0 && tx != placed && takesTurn.MatchString(statement):
			turn, n = tx, 0
		case turn != 0 && tx == turn && strings.Contains(statement, word):
			if n++; n == nth {
				cut.Store(true)
				return errCut
			}
		}
		return nil
	})
	return cut
}
