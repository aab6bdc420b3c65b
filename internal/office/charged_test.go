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
