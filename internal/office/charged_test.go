package office_test

import (
	"context"
	"strings"
	"testing"

	"github.com/purser-dev/purser"
	"github.com/purser-dev/purser/app"
)

var errLost = purser.Errorf(purser.OutcomeUnknown, "the connection ended")

// chargedAndLost is a house whose provider charges for a domain, loses its answer and finds
// nothing of it: its index lags behind. then answers each call after the first.
func chargedAndLost(t *testing.T, database string, then error) (h *house, agent purser.Actor, plan purser.Plan) {
	h = open(t, database)
	h.seller.pay = h.rail()
	_, agent = h.run(5000)
	h.link(agent)
	plan = h.planned(agent, domain("superseal.club"))
	first := true
	h.seller.create = func(c create) (app.Resource, error) {
		if !first {
			return app.Resource{}, then
		}
		first = false
		_, _ = c.work()
		return app.Resource{}, errLost
	}
	h.seller.find = func(func() (app.Resource, bool, error)) (app.Resource, bool, error) {
		return app.Resource{}, false, nil
	}
	return h, agent, plan
}

// inDoubt fails unless the last order of a plan stays unknown with what it was charged,
// and looking on and on leaves no more records.
func (h *house) inDoubt(plan purser.Plan) {
	h.t.Helper()
	look := func(times int) {
		for range times {
			if err := h.o.Recover(h.ctx); err != nil {
				h.t.Fatal(err)
			}
			h.o.Walked(plan.ID)
		}
	}
	look(4)
	before := len(h.records())
	look(3)
	order := h.order(plan)
	if order.State != purser.OrderUnknown || order.Error == nil || order.Error.Code != purser.OutcomeUnknown || order.Captured.Amount != 1200 {
		h.t.Errorf("the order is %s with %s captured: %v", order.State, order.Captured, order.Error)
	}
	if after := len(h.records()); after != before {
		h.t.Errorf("%d records more of nothing new", after-before)
	}
	if n := h.ask("SELECT count(*) FROM notices WHERE kind = 'order_unknown' AND about = $1", order.ID); n != 1 {
		h.t.Errorf("it is told %d times", n)
	}
	h.charged(1, 1200)
}

// A charge tells of a call that had its effect: whatever is looked up or answered
// afterwards, the order is never called failed before a person has said so.
func TestAnOrderThatWasChargedIsNotCalledFailed(t *testing.T) {
	t.Parallel()
	for name, then := range map[string]error{
		"nothing of it is found":        errLost,
		"the next call is refused":      purser.Errorf(purser.NotAvailable, "somebody has it"),
		"the next call finds no server": purser.Errorf(purser.ProviderDown, "away"),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h, agent, plan := chargedAndLost(t, aDB(t), then)
			_, err := do[purser.Plan](h, agent, "apply", purser.Apply{Plan: plan.ID})
			refused(t, err, purser.OutcomeUnknown)
			h.inDoubt(plan)
		})
	}
	for name, answer := range map[string]func(app.Resource) (app.Resource, error){
		"its first call is refused": func(app.Resource) (app.Resource, error) {
			return app.Resource{}, purser.Errorf(purser.PaymentDeclined, "no")
		},
		"its first call ends in an error": func(r app.Resource) (app.Resource, error) {
			r.Status = app.StatusError
			return r, nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h, agent, plan := chargedAndLost(t, aDB(t), nil)
			h.seller.create = func(c create) (app.Resource, error) {
				r, _ := c.work()
				return answer(r)
			}
			_, err := do[purser.Plan](h, agent, "apply", purser.Apply{Plan: plan.ID})
			refused(t, err, purser.OutcomeUnknown)
			h.inDoubt(plan)
		})
	}
	t.Run("but its provider gave all of it back", func(t *testing.T) {
		t.Parallel()
		h, agent, plan := chargedAndLost(t, aDB(t), nil)
		h.seller.create = func(c create) (app.Resource, error) {
			in := purser.Charge{Token: c.req.Payment.Token, AmountMinor: 1200, Currency: "USD", IdempotencyKey: "k"}
			charge, err := h.charge(atLocal, in)
			if err == nil {
				_, err = h.ops["refund"].Do(h.ctx, atLocal, purser.RefundCharge{Charge: charge.ID, AmountMinor: 1200, IdempotencyKey: "r"})
			}
			if err != nil {
				t.Error(explain(err))
			}
			return app.Resource{}, purser.Errorf(purser.NotAvailable, "somebody has it")
		}
		_, err := do[purser.Plan](h, agent, "apply", purser.Apply{Plan: plan.ID})
		refused(t, err, purser.NotAvailable)
		if order := h.order(plan); order.State != purser.OrderFailed {
			t.Errorf("the order is %s", order.State)
		}
	})
	t.Run("a person says so", func(t *testing.T) {
		t.Parallel()
		h, agent, plan := chargedAndLost(t, aDB(t), errLost)
		_, _ = do[purser.Plan](h, agent, "apply", purser.Apply{Plan: plan.ID})
		h.inDoubt(plan)
		in := purser.Resolve{Order: h.order(plan).ID, Outcome: "failed"}
		in.Act = h.sign("resolve", in)
		if order := must[purser.Order](h, h.owner, "resolve", in); order.State != purser.OrderFailed || order.Captured.Amount != 1200 {
			t.Errorf("the order is %s with %s captured", order.State, order.Captured)
		}
	})
}

// placedAnew is a house that died before an order that was charged could begin again.
func placedAnew(t *testing.T, database string) (h *house, plan purser.Plan) {
	h, agent, plan := chargedAndLost(t, database, errLost)
	ctx, gone := context.WithCancel(h.ctx)
	h.seller.find = func(func() (app.Resource, bool, error)) (app.Resource, bool, error) {
		h.watch(func(_ int64, statement string) error {
			if strings.Contains(statement, "INSERT INTO payment_tokens") {
				gone()
				return errDead
			}
			return nil
		})
		return app.Resource{}, false, nil
	}
	_, _ = h.ops["apply"].Do(ctx, agent, purser.Apply{Plan: plan.ID})
	h.o.Close()
	h.watch(nil)
	h.seller.set(func(s *seller) {
		s.find = func(func() (app.Resource, bool, error)) (app.Resource, bool, error) {
			return app.Resource{}, false, nil
		}
	})
	h.stop()
	h.start()
	if order := h.order(plan); order.State != purser.OrderPlaced || order.Captured.Amount != 1200 {
		t.Fatalf("the order is %s with %s captured", order.State, order.Captured)
	}
	return h, plan
}

// A stop voids what never began, and a charge says that something did.
func TestAStopDoesNotCallAChargedOrderFailed(t *testing.T) {
	t.Parallel()
	inTurn(t, func(t *testing.T, database string) {
		h, plan := placedAnew(t, database)
		stop := must[purser.StopInfo](h, h.owner, "stop", purser.Stop{Scope: "provider", ID: "local", Reason: "look first"})
		if len(stop.Open) != 1 || stop.Open[0].Order != h.order(plan).ID {
			t.Errorf("the stop lists %+v as open", stop.Open)
		}
		h.inDoubt(plan)
	})
}

// The charge may come between the stop and what the stop does to the order.
func TestAnOrderThatIsChargedAfterAStopIsNotCalledFailed(t *testing.T) {
	t.Parallel()
	h, plan := placedAnew(t, aDB(t))
	h.sqlInTurn("UPDATE holds SET captured = 0 WHERE captured = 1200") // as if it were still on its way
	h.watch(func(_ int64, statement string) error {
		if strings.Contains(statement, "UPDATE stop_effects") {
			return errDead
		}
		return nil
	})
	stop := must[purser.StopInfo](h, h.owner, "stop", purser.Stop{Scope: "provider", ID: "local", Reason: "look first"})
	h.sqlInTurn("UPDATE holds SET captured = 1200 WHERE amount = 1200")
	h.watch(nil)
	h.inDoubt(plan)
	effects := must[purser.StopInfo](h, h.owner, "show_stop", purser.StopRef{Stop: stop.ID}).Effects
	if len(effects) != 1 || effects[0].State != "unknown" {
		t.Errorf("what followed: %+v", effects)
	}
}

// What an ended plan leaves behind is given up, but not what was charged.
func TestAPlanThatEndsDoesNotCallAChargedOrderFailed(t *testing.T) {
	t.Parallel()
	h, plan := placedAnew(t, aDB(t))
	h.sql("UPDATE plans SET state = 'failed' WHERE id = $1", plan.ID)
	h.inDoubt(plan)
}

// What was charged and may not be sent again, because a stop came, is for a person to end:
// each place says so, under the stop and after it, and each of their words is taken.
func TestAStopLeavesWhatWasChargedToAPerson(t *testing.T) {
	manyHouses(t)
	t.Parallel()
	complete := func(r app.Resource) app.Resource {
		r.ID = "" // whoever is asked for it by its identifier need not repeat it (APP 17.3)
		return r
	}
	interrupted := func(r app.Resource) app.Resource {
		return app.Resource{ID: r.ID, ServiceID: r.ServiceID, Status: app.StatusError, Error: &app.Problem{Code: app.CodeInterrupted, Message: "begun"}}
	}
	for _, tt := range []struct {
		name    string
		blind   bool
		has     func(app.Resource) app.Resource // nil: nothing
		says    string
		resolve purser.Resolve
		code    purser.Code
		state   purser.OrderState
	}{
		{"nothing is there", false, nil, "", purser.Resolve{Outcome: "failed"}, "", purser.OrderFailed},
		{"nothing is there, and a person is wrong", false, nil, "", purser.Resolve{Outcome: "live", Found: "r_none"}, purser.ProviderFailure, purser.OrderUnknown},
		{"it is interrupted", false, interrupted, "began it and has not finished it (its id: r_", purser.Resolve{Outcome: "failed"}, "", purser.OrderFailed},
		{"it is interrupted, and its provider gives the money back", false, interrupted, "began it", purser.Resolve{}, "", purser.OrderFailed},
		{"it is interrupted, and a person is wrong", false, interrupted, "began it and has not finished it (its id: r_", purser.Resolve{Outcome: "live", Found: "r_"}, purser.ProviderFailure, purser.OrderUnknown},
		{"it cannot be looked up, and is there", true, complete, "", purser.Resolve{Outcome: "live", Found: "r_"}, "", purser.OrderLive},
		{"it cannot be looked up, and a person names another of ours", true, complete, "", purser.Resolve{Outcome: "live", Found: "ours"}, purser.AlreadyExists, purser.OrderUnknown},
		{"it cannot be looked up, and is not there", true, nil, "", purser.Resolve{Outcome: "failed"}, "", purser.OrderFailed},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			h := open(t, aDB(t), func(h *house) {
				if tt.blind {
					h.wire = strings.Replace(manifest, `"resources:find",`, "", 1)
				}
			})
			var charge string
			h.seller.pay = func(_ context.Context, token, order string, amount int64) error {
				out, err := h.charge(atLocal, purser.Charge{Token: token, AmountMinor: amount, Currency: "USD", IdempotencyKey: order})
				charge = out.ID
				return err
			}
			_, agent := h.run(5000)
			h.link(agent)
			h.sql("UPDATE providers SET conformance = 'passed 2026-11-01'")
			plan := h.planned(agent, domain("superseal.club"))
			var stop purser.StopInfo
			answer := app.Resource{Status: app.StatusError}
			h.seller.create = func(c create) (app.Resource, error) {
				r, _ := c.work()
				if tt.has != nil {
					answer = tt.has(r)
				}
				stop = must[purser.StopInfo](h, h.owner, "stop", purser.Stop{Scope: "provider", ID: "local", Reason: "look first"})
				return app.Resource{}, errLost
			}
			h.seller.find = func(func() (app.Resource, bool, error)) (app.Resource, bool, error) {
				return answer, answer.ID != "", nil
			}
			h.seller.get = func(app.Resource) (app.Resource, error) { return answer, nil }
			_, _ = do[purser.Plan](h, agent, "apply", purser.Apply{Plan: plan.ID})
			told := func(when string) purser.Order {
				t.Helper()
				h.inDoubt(plan)
				order := h.order(plan)
				for _, word := range []string{"charged 12.00 USD", "stop", tt.says} {
					if !strings.Contains(order.Error.Detail, word) {
						t.Errorf("%s the order says %q, not %q", when, order.Error.Detail, word)
					}
				}
				if !strings.Contains(order.Error.Hint, "purser resolve "+order.ID+" --outcome ") {
					t.Errorf("%s its hint is %q", when, order.Error.Hint)
				}
				if said := h.shown(plan.ID).Error; said == nil || said.Detail != order.Error.Detail {
					t.Errorf("%s the plan says %v", when, said)
				}
				return order
			}
			if order := told("under the stop"); len(stop.Open) != 1 || stop.Open[0].Order != order.ID {
				t.Errorf("the stop lists %+v as open", stop.Open)
			}
			h.resume(stop)
			order := told("after it")
			if !strings.Contains(order.Error.Detail, "lifted since") {
				t.Errorf("after it the order says %q", order.Error.Detail)
			}
			if tt.resolve.Outcome == "" {
				h.refund(charge)
				if order = h.ended(plan); order.State != tt.state || order.Captured.Amount != 0 || order.Held.Amount != 0 {
					t.Errorf("the order is %s with %s held and %s captured", order.State, order.Held, order.Captured)
				}
				return
			}
			in := tt.resolve
			in.Order = order.ID
			switch in.Found {
			case "r_":
				in.Found += order.ID
			case "ours":
				in.Found = must[purser.List[purser.Resource]](h, h.owner, "list_resources", purser.ListResources{}).Items[0].ProviderID
			}
			in.Act = h.sign("resolve", in)
			_, err := do[purser.Order](h, h.owner, "resolve", in)
			if err != nil || tt.code != "" {
				if no := refused(t, err, tt.code); tt.code == purser.ProviderFailure && !strings.Contains(no.Hint, "purser resolve "+order.ID+" --outcome failed") {
					t.Errorf("who is wrong is told %q", no.Hint)
				}
			}
			if order = h.order(plan); order.State != tt.state || order.Captured.Amount != 1200 || order.State != purser.OrderUnknown && order.Held.Amount != 0 {
				t.Errorf("the order is %s with %s held and %s captured", order.State, order.Held, order.Captured)
			}
			if tt.state == purser.OrderUnknown {
				return
			}
			if last := h.ended(plan); last.State != tt.state {
				t.Errorf("the plan's order is %s", last.State)
			}
			if tt.state == purser.OrderLive {
				kept := must[purser.Resource](h, h.owner, "show_resource", purser.ResourceRef{Resource: order.Resource})
				if kept.ProviderID != in.Found {
					t.Errorf("it is kept as %q", kept.ProviderID)
				}
				return
			}
			// What nothing came of is the provider's to give back, also after the person's word.
			h.refund(charge)
			if order = h.order(plan); order.State != purser.OrderFailed || order.Captured.Amount != 0 {
				t.Errorf("given back, the order is %s with %s captured", order.State, order.Captured)
			}
		})
	}
}

// refund gives a charge of 12.00 back, as its provider does.
func (h *house) refund(charge string) {
	h.t.Helper()
	if _, err := h.ops["refund"].Do(h.ctx, atLocal, purser.RefundCharge{Charge: charge, AmountMinor: 1200, IdempotencyKey: "back"}); err != nil {
		h.t.Fatal(explain(err))
	}
}

// order is the last order of a plan.
func (h *house) order(plan purser.Plan) purser.Order {
	h.t.Helper()
	orders := must[purser.Plan](h, h.owner, "show_plan", purser.PlanRef{Plan: plan.ID}).Orders
	return orders[len(orders)-1]
}

// sqlInTurn is sql between turns, as all that changes money is: what follows a stop looks at
// it meanwhile.
func (h *house) sqlInTurn(statement string) {
	h.t.Helper()
	h.touched = true
	conn, err := h.dial()
	if err != nil {
		h.t.Fatal(err)
	}
	defer conn.Close()
	tx, err := conn.BeginTx(h.ctx, nil)
	if err != nil {
		h.t.Fatal(err)
	}
	defer func() { _ = tx.Rollback() }()
	for _, s := range []string{"UPDATE organizations SET turn = turn + 1 WHERE id = '" + h.owner.Organization + "'", statement} {
		if _, err := tx.ExecContext(h.ctx, s); err != nil {
			h.t.Fatalf("%s: %v", s, err)
		}
	}
	if err := tx.Commit(); err != nil {
		h.t.Fatal(err)
	}
}
