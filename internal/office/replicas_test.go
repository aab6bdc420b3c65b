package office_test

import (
	"context"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/purser-dev/purser"
	"github.com/purser-dev/purser/app"
)

// twin is a second office, with a store and pools of its own, on the same database.
func (h *house) twin() *house {
	h.t.Helper()
	o := &house{
		t: h.t, ctx: h.ctx, dir: h.dir, db: h.db, seller: h.seller, shop: h.shop, box: h.box, seed: h.seed, lease: h.lease, wire: h.wire, mail: h.mail,
		signer: h.signer, owner: h.owner, token: h.token, project: h.project, keys: 1 << 20,
	}
	o.start()
	h.t.Cleanup(o.stop)
	return o
}

// Two replicas apply one plan: one of them calls, the other waits without a sound.
func TestTwoOfficesOnOneDatabaseBuyOnce(t *testing.T) {
	t.Parallel()
	a := open(t, postgres.Open(t))
	b := a.twin()
	a.seller.pay = a.rail()
	_, agent := a.run(2000)
	plan := a.planned(agent, domain("superseal.club"))
	var turns atomic.Int64
	count := func(_ int64, statement string) error {
		if strings.Contains(statement, "SET turn = turn + 1") {
			turns.Add(1)
		}
		return nil
	}
	a.watch(count)
	b.watch(count)
	a.seller.create = func(c create) (app.Resource, error) {
		turns.Store(0)
		began := time.Now()
		time.Sleep(1500 * time.Millisecond) // of the provider's own
		// Who waits looks each second; and on a busy machine some of the twenty, who
		// found the plan ready, only now have the turn to begin it.
		if n, took := turns.Load(), time.Since(began); n > 20+3*int64(took.Seconds()) {
			t.Errorf("the office that waits took %d turns in %v", n, took)
		}
		return c.work()
	}
	var wg sync.WaitGroup
	for i := range 20 {
		h := a
		if i%2 == 1 {
			h = b
		}
		wg.Go(func() {
			done, err := do[purser.Plan](h, agent, "apply", purser.Apply{Plan: plan.ID})
			if err != nil || done.State != purser.PlanDone {
				t.Errorf("call %d: %s %v", i, done.State, explainOrNil(err))
			}
		})
	}
	wg.Wait()
	a.once(1200)
}

// The lease of the first ends while its call is still out; the second looks it up
// and finishes. What the first learns after its time changes nothing.
func TestALateAnswerOfAnEndedLeaseChangesNothing(t *testing.T) {
	t.Parallel()
	for name, late := range map[string]func(create) (app.Resource, error){
		"it was lost": func(c create) (app.Resource, error) {
			return app.Resource{}, purser.Errorf(purser.OutcomeUnknown, "the connection ended")
		},
		"it was refused": func(c create) (app.Resource, error) {
			return app.Resource{Status: app.StatusError, Error: &app.Problem{Code: "nope"}}, nil
		},
		"it was not there": func(c create) (app.Resource, error) {
			return app.Resource{}, purser.Errorf(purser.ProviderDown, "refused the connection")
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := open(t, postgres.Open(t))
			b := a.twin()
			a.seller.pay = a.rail()
			_, agent := a.run(2000)
			a.link(agent)
			plan := a.planned(agent, domain("superseal.club"))
			second, answered := make(chan struct{}), make(chan struct{})
			var once sync.Once
			a.seller.create = func(c create) (app.Resource, error) {
				if c.n == 2 { // the first call of this plan: it outlives its lease
					<-second
					defer close(answered)
					return late(c)
				}
				once.Do(func() { close(second) })
				select { // the late answer is settled while this call is out
				case <-answered:
					time.Sleep(50 * time.Millisecond) // most likely; later it is as good
				case <-c.ctx.Done():
				}
				return c.work()
			}
			ctx, cancel := context.WithCancel(a.ctx)
			defer cancel()
			go func() { _, _ = a.ops["apply"].Do(ctx, agent, purser.Apply{Plan: plan.ID}) }()
			a.eventually("the first call", func() bool { n, _ := a.seller.count(); return n == 2 })
			a.endLeases()
			b.eventually("the second call settles", func() bool {
				if err := b.o.Recover(b.ctx); err != nil {
					t.Fatal(err)
				}
				show := must[purser.Plan](b, b.owner, "show_plan", purser.PlanRef{Plan: plan.ID})
				return show.State == purser.PlanDone || show.State == purser.PlanFailed
			})
			order := must[purser.Plan](b, b.owner, "show_plan", purser.PlanRef{Plan: plan.ID}).Orders[0]
			if order.State != purser.OrderLive {
				t.Errorf("the order is %s: %v", order.State, order.Error)
			}
			if creates, sold := a.seller.count(); creates != 3 || sold != 2 { // one of them is the link's
				t.Errorf("%d calls, %d sold, want 3 and 2", creates, sold)
			}
			a.charged(1, 1200)
		})
	}
}

// RULES 15: clocks are at odds about when a lease is over. Nobody begins an order again,
// or looks it up, while its call is out; and that ends with the lease, whatever the
// clocks say.
func TestClocksThatDifferLetNoTwoCallsOfAnOrderOut(t *testing.T) {
	t.Parallel()
	for name, ahead := range map[string]time.Duration{
		"as far as they may (RULES 19)": 4 * time.Second,
		"so far that one may not spend": 10 * time.Minute,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			// By a clock that is as far behind as the lease is long, that would be over at once.
			a := open(t, postgres.Open(t), func(h *house) { h.shift, h.lease = -4*time.Second, 4*time.Second })
			b := a.twin()
			b.later(ahead)
			a.seller.pay = a.rail()
			_, agent := a.run(2000)
			a.link(agent)
			plan := a.planned(agent, domain("superseal.club"))
			var inside atomic.Bool
			const first = 2 // of this plan; that of the link was before
			began := make(chan struct{})
			a.seller.set(func(s *seller) {
				s.create = func(c create) (app.Resource, error) {
					if inside.Load() {
						t.Error("a second call while the first is out")
					}
					if c.n != first {
						return c.work()
					}
					inside.Store(true)
					defer inside.Store(false)
					close(began)
					if err := c.ctx.Err(); err != nil {
						t.Errorf("its time is over before it begins: %v", err)
					}
					r, err := c.work()
					<-c.ctx.Done()
					time.Sleep(time.Second) // so that who comes at the very end is seen
					return r, err
				}
				s.find = func(work func() (app.Resource, bool, error)) (app.Resource, bool, error) {
					if inside.Load() {
						t.Error("a look-up while the call is out")
					}
					return work()
				}
			})
			var wg sync.WaitGroup
			wg.Go(func() {
				if _, err := do[purser.Plan](a, agent, "apply", purser.Apply{Plan: plan.ID}); err != nil {
					t.Error(explain(err))
				}
			})
			<-began
			if _, err := do[purser.Plan](b, agent, "apply", purser.Apply{Plan: plan.ID}); err != nil {
				t.Error(explain(err))
			}
			wg.Wait()
			a.charged(1, 1200)
		})
	}
}

// A server that still runs when a newer one has brought the database forward does not know
// what it would decide from. It decides nothing more and says why, but for a stop.
func TestAnOldServerOnANewerDatabaseDecidesNothingButAStop(t *testing.T) {
	t.Parallel()
	eachDB(t, func(t *testing.T, database string) {
		h := open(t, database)
		_, agent := h.run(1500)
		h.link(agent)
		hold := purser.PlaceHold{Provider: "models", AmountMinor: 5, Currency: "USD"}
		held := must[purser.Hold](h, agent, "place_hold", hold)
		if err := h.o.Ready(h.ctx); err != nil {
			t.Fatal(err)
		}
		h.sql("INSERT INTO goose_db_version (version_id, is_applied) VALUES (9999, true)")
		h.later(time.Minute) // what was ready a moment ago is not asked again
		for name, in := range map[string]any{
			"place_hold": hold, "begin_hold": purser.BeginHold{Hold: held.ID}, "release_hold": purser.HoldRef{Hold: held.ID},
			"plan": purser.MakePlan{Steps: []purser.StepRequest{domain("other.club")}},
		} {
			_, err := do[any](h, agent, name, in)
			if no := refused(t, err, purser.NewerDatabase); no != nil && !strings.Contains(no.Hint, "newer program") {
				t.Errorf("%s: %q", name, no.Hint)
			}
		}
		if err := h.o.Ready(h.ctx); purser.CodeOf(err) != purser.NewerDatabase {
			t.Errorf("it calls itself ready: %v", err)
		}
		if stop := must[purser.StopInfo](h, h.owner, "stop", purser.Stop{Scope: "organization"}); stop.Epoch == 0 {
			t.Errorf("%+v", stop)
		}
		h.sql("DELETE FROM goose_db_version WHERE version_id = 9999")
	})
}
