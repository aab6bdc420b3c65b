package office_test

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/purser-dev/purser"
	"github.com/purser-dev/purser/app"
)

// Drill k: whatever the provider does, there is one resource and one charge, or
// none of either, and the state says so.
func TestAProviderThatMisbehavesSellsOnceOrNotAtAll(t *testing.T) {
	manyHouses(t)
	t.Parallel()
	lost := func() error { return purser.Errorf(purser.OutcomeUnknown, "the connection ended") }
	first := func(f func(create) (app.Resource, error)) func(*house) {
		return func(h *house) {
			done := false
			h.seller.create = func(c create) (app.Resource, error) {
				if done {
					return c.work()
				}
				done = true
				return f(c)
			}
		}
	}
	tests := []struct {
		name  string
		arm   func(*house)
		state purser.OrderState
		code  purser.Code // of the order, when it is not live
		sum   int64
	}{
		{"an answer 500 before the work", first(func(create) (app.Resource, error) { return app.Resource{}, lost() }), purser.OrderLive, "", 1200},
		{"an answer 500 after the work", first(func(c create) (app.Resource, error) { _, _ = c.work(); return app.Resource{}, lost() }), purser.OrderLive, "", 1200},
		{"an answer after the lease", first(func(c create) (app.Resource, error) {
			r, _ := c.work()
			<-c.ctx.Done()
			return r, c.ctx.Err()
		}), purser.OrderLive, "", 1200},
		{"work that is done after the lease", first(func(c create) (app.Resource, error) {
			<-c.ctx.Done()
			time.AfterFunc(20*time.Millisecond, func() { _, _ = c.work() })
			return app.Resource{}, c.ctx.Err()
		}), purser.OrderLive, "", 1200},
		{"an answer given twice", func(h *house) {
			h.seller.create = func(c create) (app.Resource, error) { _, _ = c.work(); return c.work() }
		}, purser.OrderLive, "", 1200},
		{"one key charged twice", func(h *house) {
			pay := h.rail()
			h.seller.pay = func(ctx context.Context, token, order string, amount int64) error {
				_ = pay(ctx, token, order, amount)
				return pay(ctx, token, order, amount)
			}
		}, purser.OrderLive, "", 1200},
		{"two keys charged", func(h *house) {
			pay := h.rail()
			h.seller.pay = func(ctx context.Context, token, order string, amount int64) error {
				err := pay(ctx, token, order, amount)
				if again := pay(ctx, token, order+"/again", amount); purser.CodeOf(again) != purser.TokenLimit && purser.CodeOf(again) != purser.TokenInvalid {
					h.t.Errorf("the second charge: %v", again)
				}
				return err
			}
		}, purser.OrderLive, "", 1200},
		{"two keys charged half each", func(h *house) {
			pay := h.rail()
			h.seller.pay = func(ctx context.Context, token, order string, amount int64) error {
				err := pay(ctx, token, order, amount/2)
				if again := pay(ctx, token, order+"/again", amount/2); purser.CodeOf(again) != purser.TokenInvalid {
					h.t.Errorf("the second charge: %v", again)
				}
				return err
			}
		}, purser.OrderLive, "", 600},
		{"pending, then complete", first(func(c create) (app.Resource, error) {
			r, err := c.work()
			return app.Resource{ID: r.ID, Status: app.StatusPending, RetryAfter: time.Millisecond}, err
		}), purser.OrderLive, "", 1200},
		{"pending for longer than the lease", func(h *house) {
			asked := 0
			h.seller.create = func(c create) (app.Resource, error) {
				r, err := c.work()
				return app.Resource{ID: r.ID, Status: app.StatusPending, RetryAfter: time.Hour}, err
			}
			h.seller.get = func(r app.Resource) (app.Resource, error) { asked++; return r, nil }
		}, purser.OrderLive, "", 1200},
		{"complete without credentials", first(func(c create) (app.Resource, error) {
			r, err := c.work()
			r.Complete = &app.Complete{}
			return r, err
		}), purser.OrderLive, "", 1200},
		{"an error under HTTP 200", func(h *house) {
			h.seller.create = func(c create) (app.Resource, error) {
				return app.Resource{ID: "r_x", Status: app.StatusError, Error: &app.Problem{Code: "unavailable", Message: "taken\x1b[2J"}}, nil
			}
		}, purser.OrderFailed, purser.ProviderFailure, 0},
		{"a refusal", func(h *house) {
			h.seller.create = func(create) (app.Resource, error) { return app.Resource{}, purser.Errorf(purser.ProviderFailure, "no") }
		}, purser.OrderFailed, purser.ProviderFailure, 0},
		{"more information wanted, and not said which", func(h *house) {
			h.seller.create = func(create) (app.Resource, error) { return app.Resource{Status: app.StatusNeedsInformation}, nil }
		}, purser.OrderFailed, purser.ProviderFailure, 0},
		{"a look-up that fails", func(h *house) {
			first(func(c create) (app.Resource, error) { _, _ = c.work(); return app.Resource{}, lost() })(h)
			tries := 0
			h.seller.find = func(work func() (app.Resource, bool, error)) (app.Resource, bool, error) {
				if tries++; tries < 3 {
					return app.Resource{}, false, purser.Errorf(purser.ProviderDown, "away")
				}
				return work()
			}
		}, purser.OrderLive, "", 1200},
		{"an answer that is always lost, and nothing there", func(h *house) {
			h.seller.create = func(create) (app.Resource, error) { return app.Resource{}, lost() }
		}, purser.OrderFailed, purser.ProviderDown, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			h := open(t, aDB(t))
			h.seller.pay = h.rail()
			_, agent := h.run(2000)
			h.link(agent)
			h.seller.set(func(s *seller) { clear(s.sold) })
			if strings.HasSuffix(tt.name, "the lease") { // here a call lasts until its lease is over
				h.lease = time.Second
				h.restart()
			}
			tt.arm(h)
			plan := h.planned(agent, domain("superseal.club"))
			_, err := do[purser.Plan](h, agent, "apply", purser.Apply{Plan: plan.ID})
			code := purser.CodeOf(err)
			if err != nil && code != purser.OutcomeUnknown && (tt.state == purser.OrderLive || code != tt.code) {
				t.Errorf("apply answers %s", explain(err))
			}
			order := h.ended(plan)
			if order.State != tt.state || order.Held.Amount != 0 || order.Captured.Amount != tt.sum {
				t.Errorf("the order is %+v, want %s with %d", order, tt.state, tt.sum)
			}
			if tt.code != "" && (order.Error == nil || order.Error.Code != tt.code) {
				t.Errorf("the order failed with %v, want %s", order.Error, tt.code)
			}
			if order.Error != nil && order.Error.Provider != nil && strings.ContainsRune(order.Error.Provider.Message, '\x1b') {
				t.Error("the provider's words can steer a terminal")
			}
			resources := must[purser.Status](h, agent, "status", purser.AskStatus{}).Resources
			want := 1
			if tt.state == purser.OrderLive {
				want = 2
			}
			if len(resources) != want {
				t.Errorf("%d resources, want %d", len(resources), want)
			}
			if tt.state == purser.OrderLive {
				env := h.exec(order.Resource)
				if len(env) == 0 {
					t.Error("it is live and has no credentials")
				}
			}
			if _, sold := h.seller.count(); sold != want-1 {
				t.Errorf("%d sold, want %d", sold, want-1)
			}
			charges := 0
			if tt.sum > 0 {
				charges = 1
			}
			h.charged(charges, tt.sum)
		})
	}
}

// ended recovers until the plan is over, and returns its last order.
func (h *house) ended(plan purser.Plan) purser.Order {
	h.t.Helper()
	var order purser.Order
	h.eventually("the plan is over", func() bool {
		if err := h.o.Recover(h.ctx); err != nil {
			h.t.Fatal(err)
		}
		show := must[purser.Plan](h, h.owner, "show_plan", purser.PlanRef{Plan: plan.ID})
		if len(show.Orders) > 0 {
			order = show.Orders[len(show.Orders)-1]
		}
		// What a plan that ended had placed and not begun, the next Recover gives back.
		return (show.State == purser.PlanDone || show.State == purser.PlanFailed) && order.State != purser.OrderPlaced
	})
	return order
}

// exec reveals what opens a resource, to the owner.
func (h *house) exec(resource string) map[string]string {
	h.t.Helper()
	in := purser.Exec{Resource: resource}
	in.Act = h.sign("exec", in)
	return must[purser.Variables](h, h.owner, "exec", in).Env
}

// APP 17.3: what nobody can tell is asked for often, and hourly once it is old, for as
// long as it takes.
func TestAnOldUnknownOrderIsAskedForHourly(t *testing.T) {
	t.Parallel()
	h := open(t, aDB(t))
	h.seller.pay = h.rail()
	_, agent := h.run(2000)
	h.link(agent)
	var away atomic.Bool
	var asked atomic.Int64
	h.seller.find = func(find func() (app.Resource, bool, error)) (app.Resource, bool, error) {
		asked.Add(1)
		if away.Load() {
			return app.Resource{}, false, purser.Errorf(purser.ProviderDown, "away")
		}
		return find()
	}
	h.seller.create = func(c create) (app.Resource, error) {
		away.Store(true)
		_, _ = c.work()
		return app.Resource{}, purser.Errorf(purser.OutcomeUnknown, "the connection ended")
	}
	plan := h.planned(agent, domain("superseal.club"))
	_, _ = do[purser.Plan](h, agent, "apply", purser.Apply{Plan: plan.ID})
	h.later(2 * time.Hour)
	if order := h.ended(plan); order.State != purser.OrderUnknown {
		t.Fatalf("the order is %s", order.State)
	}
	recovered := func(times int) int64 {
		before := asked.Load()
		for range times {
			if err := h.o.Recover(h.ctx); err != nil {
				t.Fatal(err)
			}
		}
		return asked.Load() - before
	}
	if n := recovered(3); n > 1 {
		t.Errorf("asked %d times within the hour", n)
	}
	h.later(time.Hour)
	if n := recovered(3); n != 1 {
		t.Errorf("asked %d times after an hour", n)
	}
	away.Store(false)
	h.later(time.Hour)
	if n := recovered(1); n != 1 || h.ended(plan).State != purser.OrderLive {
		t.Errorf("asked %d times when it is back; the order is %s", n, h.ended(plan).State)
	}
	h.charged(1, 1200)
}

// RULES 16: without a look-up, an order is sent again under the same keys only to
// a provider that proved that a repeat is safe; else a person decides.
func TestWithoutALookUpAnUnknownOrderWaitsForAPerson(t *testing.T) {
	manyHouses(t)
	t.Parallel()
	blind := func(h *house) {
		h.wire = strings.Replace(manifest, `"resources:find",`, "", 1)
	}
	tests := []struct {
		name        string
		conformance string
		works       bool
		lost        int // answers
		creates     int
		state       purser.OrderState
	}{
		{"never tested", "", true, 1, 1, purser.OrderUnknown},
		{"failed", "failed 2026-11-01", true, 1, 1, purser.OrderUnknown},
		{"passed, and the first did the work", "passed 2026-11-01", true, 1, 2, purser.OrderLive},
		{"passed, and the first did nothing", "passed 2026-11-01", false, 1, 2, purser.OrderLive},
		{"passed, and every answer is lost", "passed 2026-11-01", true, 99, 3, purser.OrderUnknown},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			h := open(t, aDB(t), blind)
			h.seller.pay = h.rail()
			_, agent := h.run(2000)
			h.link(agent)
			h.seller.set(func(s *seller) { clear(s.sold); s.creates = 0 })
			h.sql("UPDATE providers SET conformance = $1", tt.conformance)
			h.seller.find = func(func() (app.Resource, bool, error)) (app.Resource, bool, error) {
				t.Error("it was asked for what it does not offer")
				return app.Resource{}, false, nil
			}
			h.seller.create = func(c create) (app.Resource, error) {
				if c.n > tt.lost {
					return c.work()
				}
				if tt.works {
					_, _ = c.work()
				}
				return app.Resource{}, purser.Errorf(purser.OutcomeUnknown, "the connection ended")
			}
			plan := h.planned(agent, domain("superseal.club"))
			_, err := do[purser.Plan](h, agent, "apply", purser.Apply{Plan: plan.ID})
			for range 3 {
				if err := h.o.Recover(h.ctx); err != nil {
					t.Fatal(err)
				}
			}
			var order purser.Order
			h.eventually("the tries are over", func() bool {
				order = must[purser.Plan](h, agent, "show_plan", purser.PlanRef{Plan: plan.ID}).Orders[0]
				creates, _ := h.seller.count()
				return creates == tt.creates && order.State == tt.state
			})
			if tt.state == purser.OrderLive {
				h.charged(1, 1200)
				return
			}
			refused(t, err, purser.OutcomeUnknown)
			h.books()
			records := len(h.records())
			for range 5 {
				if err := h.o.Recover(h.ctx); err != nil {
					t.Fatal(err)
				}
				time.Sleep(10 * time.Millisecond)
			}
			if n := len(h.records()); n > records+1 {
				t.Errorf("%d records more while nothing happened", n-records)
			}
			if e := h.order(plan).Error; !strings.Contains(e.Detail, "cannot look an order up") || !strings.Contains(e.Hint, "purser resolve "+order.ID) {
				t.Errorf("it says %s, and to type %q", e.Detail, e.Hint)
			}
			in := purser.Resolve{Order: order.ID, Outcome: "failed"}
			_, err = do[purser.Order](h, h.owner, "resolve", in)
			refused(t, err, purser.NeedsPerson)
			in.Act = h.sign("resolve", in)
			if done := must[purser.Order](h, h.owner, "resolve", in); done.State != purser.OrderFailed || done.Held.Amount != 0 {
				t.Errorf("resolved: %+v", done)
			}
			if h.ended(plan).State != purser.OrderFailed {
				t.Error("the plan goes on")
			}
			h.charged(1, 1200)
		})
	}
}

// APP 17.3: the provider says when to ask again. Our own pauses would have taken two
// minutes for these eight.
func TestAPendingResourceIsAskedForWhenItsProviderSays(t *testing.T) {
	t.Parallel()
	h, asked := open(t, aDB(t)), 0
	h.seller.pay = h.rail()
	_, agent := h.run(2000)
	h.link(agent)
	later := func(r app.Resource) app.Resource {
		return app.Resource{ID: r.ID, Status: app.StatusPending, RetryAfter: time.Millisecond}
	}
	h.seller.set(func(s *seller) {
		s.create = func(c create) (app.Resource, error) {
			r, err := c.work()
			return later(r), err
		}
		s.get = func(r app.Resource) (app.Resource, error) {
			if asked++; asked < 8 {
				return later(r), nil
			}
			return r, nil
		}
	})
	plan := h.planned(agent, domain("superseal.club"))
	began := time.Now()
	done := must[purser.Plan](h, agent, "apply", purser.Apply{Plan: plan.ID})
	if took := time.Since(began); done.State != purser.PlanDone || asked != 8 || took > time.Minute {
		t.Errorf("the plan is %s after %v and %d questions, want 8 within a minute", done.State, took, asked)
	}
}
