package office_test

import (
	"errors"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/purser-dev/purser"
	"github.com/purser-dev/purser/app"
	"github.com/purser-dev/purser/internal/oauth"
	"github.com/purser-dev/purser/internal/office"
)

// SPEND.md K4: a stop that the database does not answer to is latched: this server
// refuses at once, says that it is not acknowledged, and puts it in force when it can.
func TestAStopIsLatchedWhileTheDatabaseIsAway(t *testing.T) {
	t.Parallel()
	inTurn(t, func(t *testing.T, database string) {
		h := open(t, database)
		run, agent := h.run(1000)
		other, neighbour := h.run(1000)
		must[purser.Hold](h, agent, "charge_usage", usage(1))
		meter, placed := h.platform(), holdOf(1)
		placed.Run = run.ID
		held := must[purser.Hold](h, meter, "place_hold", placed)
		away := errors.New("the database is away")
		h.watch(func(_ int64, statement string) error {
			if strings.Contains(statement, "stops") {
				return away
			}
			return nil
		})
		h.owner.Key = "stop"
		_, err := do[purser.StopInfo](h, h.owner, "stop", purser.Stop{Scope: "run", ID: run.ID, Reason: "enough"})
		if e := refused(t, err, purser.Unavailable); e != nil && !strings.Contains(e.Detail, "not acknowledged") {
			t.Errorf("the answer says %q", e.Detail)
		}
		_, err = do[purser.Hold](h, agent, "charge_usage", usage(1))
		refused(t, err, purser.Stopped)
		_, err = do[purser.Hold](h, meter, "begin_hold", purser.BeginHold{Hold: held.ID}) // which does not name the run
		refused(t, err, purser.Stopped)
		h.watch(nil)
		must[purser.Hold](h, neighbour, "charge_usage", usage(1)) // of another run
		h.eventually("the stop is in force", func() bool { return h.counted("stop", "accepted") == 1 })
		if out := must[purser.StopInfo](h, h.owner, "stop", purser.Stop{Scope: "run", ID: run.ID, Reason: "enough"}); out.Epoch == 0 {
			t.Errorf("asked again: %+v", out)
		}
		_, err = do[purser.Hold](h, agent, "charge_usage", usage(1))
		refused(t, err, purser.Stopped)
		if h.counted("stop", "accepted") != 1 || h.left("run", other.ID) != 999 {
			t.Errorf("%d stops, the neighbour has %d left", h.counted("stop", "accepted"), h.left("run", other.ID))
		}
		// What an agent may not stop, it does not latch.
		_, err = do[purser.StopInfo](h, agent, "stop", purser.Stop{Scope: "organization", Reason: "mine"})
		refused(t, err, purser.Forbidden)
		must[purser.Hold](h, neighbour, "charge_usage", usage(1))
		h.books()
	})
}

// latch stops a scope while the database takes no stop.
func (h *house) latch(in purser.Stop) {
	h.t.Helper()
	away := errors.New("the database is away")
	h.watch(func(_ int64, statement string) error {
		if strings.Contains(statement, "INSERT INTO stops") {
			return away
		}
		return nil
	})
	in.Reason = "enough"
	if _, err := do[purser.StopInfo](h, h.owner, "stop", in); purser.CodeOf(err) != purser.Unavailable {
		h.t.Errorf("the stop is answered %v", explainOrNil(err))
	}
}

// SPEND.md K4: what raises use or begins an effect is refused at once by whichever door,
// and not by spends without a plan alone.
func TestALatchedStopHoldsOrdersBack(t *testing.T) {
	t.Parallel()
	local := purser.Stop{Scope: "provider", ID: "local"}
	ready := func(t *testing.T, steps ...purser.StepRequest) (*house, purser.Actor, purser.Plan) {
		h := open(t, aDB(t))
		h.seller.pay = h.rail()
		_, agent := h.run(5000)
		h.link(agent)
		return h, agent, must[purser.Plan](h, agent, "plan", purser.MakePlan{Steps: append(steps, domain("superseal.club"))})
	}
	// stands fails unless a plan is refused and nothing more is bought.
	stands := func(h *house, agent purser.Actor, plan purser.Plan, bought int) {
		before, _ := h.seller.count()
		_, err := do[purser.Plan](h, agent, "apply", purser.Apply{Plan: plan.ID})
		refused(h.t, err, purser.Stopped)
		if after, _ := h.seller.count(); after != before+bought {
			h.t.Errorf("%d calls to create left, want %d", after-before, bought)
		}
	}
	t.Run("a plan that waits for a yes", func(t *testing.T) {
		t.Parallel()
		h, _, plan := ready(t)
		in := purser.Approve{Plan: plan.ID}
		in.Act = h.sign("approve", in)
		h.latch(local)
		_, err := do[purser.Plan](h, h.owner, "approve", in)
		refused(t, err, purser.Stopped)
	})
	t.Run("a plan that is to start", func(t *testing.T) {
		t.Parallel()
		h, agent, plan := ready(t)
		h.approve(plan.ID)
		h.latch(local)
		stands(h, agent, plan, 0)
		if h.counted("apply", "refused") != 1 {
			t.Error("no record of it")
		}
	})
	t.Run("an order that is to be placed", func(t *testing.T) {
		t.Parallel()
		h, agent, plan := ready(t, purser.StepRequest{Service: "local/hosting:static", Name: "site"})
		h.approve(plan.ID)
		h.seller.create = func(c create) (app.Resource, error) {
			h.latch(local)
			return c.work()
		}
		stands(h, agent, plan, 1)
		if h.counted("place", "refused") != 1 {
			t.Error("no record of it")
		}
	})
	t.Run("an order that is to begin", func(t *testing.T) {
		t.Parallel()
		h, agent, plan := ready(t)
		h.approve(plan.ID)
		h.die(agent, plan, "INSERT INTO orders")
		h.restart()
		h.latch(local)
		stands(h, agent, plan, 0)
		h.charged(0, 0)
	})
	t.Run("a plan that is made", func(t *testing.T) {
		t.Parallel()
		h, agent, _ := ready(t)
		h.latch(local)
		_, err := do[purser.Plan](h, agent, "plan", purser.MakePlan{Steps: []purser.StepRequest{domain("superseal.club")}})
		refused(t, err, purser.Stopped)
	})
	t.Run("a plan in a project that is stopped by its name", func(t *testing.T) {
		t.Parallel()
		h, agent, _ := ready(t)
		h.latch(purser.Stop{Scope: "project", ID: "shop"})
		_, err := do[purser.Plan](h, agent, "plan", purser.MakePlan{Steps: []purser.StepRequest{domain("superseal.club")}})
		refused(t, err, purser.Stopped)
	})
	t.Run("credentials", func(t *testing.T) {
		t.Parallel()
		h, _, _ := ready(t)
		_, agent := h.run(100, func(in *purser.CreateRun) { in.Reveal = []string{"runtime", "operator"} })
		id := must[purser.Status](h, agent, "status", purser.AskStatus{}).Resources[0].ID
		must[purser.Variables](h, agent, "exec", purser.Exec{Resource: id})
		h.latch(local)
		_, err := do[purser.Variables](h, agent, "exec", purser.Exec{Resource: id})
		refused(t, err, purser.Stopped)
		_, err = do[purser.Rotation](h, agent, "rotate", purser.ResourceRef{Resource: id})
		refused(t, err, purser.Stopped)
		if h.counted("exec", "refused") != 1 || h.counted("rotate", "refused") != 1 {
			t.Error("no record of it")
		}
		if h.exec(id) == nil { // the person's own are not withheld
			t.Error("the owner sees nothing")
		}
	})
	t.Run("an access token", func(t *testing.T) {
		t.Parallel()
		h, _, _ := ready(t)
		c := h.connect()
		first := h.redeem(c)
		h.latch(purser.Stop{Scope: "run", ID: c.granted.Run.ID})
		_, err := h.o.RefreshGrant(h.ctx, stranger, office.Refreshment{Presented: c.public(), Refresh: first.Refresh.Reveal()})
		inOAuth(t, err, oauth.InvalidGrant)
		refused(t, err, purser.Stopped)
	})
	t.Run("a renewal", func(t *testing.T) {
		t.Parallel()
		h, _, s := subscribed(t, aDB(t))
		h.latch(local)
		h.due(s.ID, -time.Minute)
		h.tick()
		if got := h.subscription(s.ID); got.State != "payment_required" {
			t.Errorf("the subscription is %s", got.State)
		}
		h.charged(2, 1700)
	})
	t.Run("a charge on what did not begin", func(t *testing.T) {
		t.Parallel()
		h := open(t, aDB(t))
		h.inCall(func(token, _ string) {
			in := purser.Charge{Token: token, AmountMinor: 1200, Currency: "USD", IdempotencyKey: "k"}
			h.latch(local)
			h.sql("UPDATE holds SET begun_at = 0 WHERE amount = 1200")
			_, err := h.charge(atLocal, in)
			refused(t, err, purser.Stopped)
			h.sql("UPDATE holds SET begun_at = 1 WHERE amount = 1200") // a stop lets it go on to its end
			if _, err := h.charge(atLocal, in); err != nil {
				t.Error(explain(err))
			}
		})
	})
}

// SPEND.md K4, RULES 21: what a request does not say of its path, the run and the hold
// that its turn has loaded do.
func TestALatchedStopHoldsBackWhatOnlyTheTurnCanTell(t *testing.T) {
	t.Parallel()
	inTurn(t, func(t *testing.T, database string) {
		h := open(t, database)
		run, agent := h.run(1000)
		_, neighbour := h.run(1000, func(in *purser.CreateRun) { in.Agent = "neighbour" })
		meter, ofRun, placed := h.platform(), usage(5), holdOf(300)
		ofRun.Run, placed.Run = run.ID, run.ID
		named := must[purser.List[purser.AgentInfo]](h, h.owner, "list_agents", purser.None{}).Items
		name := named[slices.IndexFunc(named, func(a purser.AgentInfo) bool { return a.ID == agent.ID })].Name
		held := must[purser.Hold](h, agent, "place_hold", holdOf(300))
		elsewhere := must[purser.Hold](h, agent, "place_hold", purser.PlaceHold{Provider: "other", Category: "models", AmountMinor: 1, Currency: "USD"})
		for _, c := range []struct {
			name string
			stop purser.Stop
			by   purser.Actor
			op   string
			in   any
		}{
			{"a beginning does not say at which provider", purser.Stop{Scope: "provider", ID: "models/large"}, agent, "begin_hold", purser.BeginHold{Hold: held.ID}},
			{"a platform's charge does not say of which agent", purser.Stop{Scope: "agent", ID: agent.ID}, meter, "charge_usage", ofRun},
			{"nor does its hold", purser.Stop{Scope: "agent", ID: agent.ID}, meter, "place_hold", placed},
			{"nor of which project", purser.Stop{Scope: "project", ID: h.project.ID}, meter, "charge_usage", ofRun},
			{"an agent that is stopped by its name", purser.Stop{Scope: "agent", ID: name}, agent, "charge_usage", usage(1)},
			{"and a platform's charge for it", purser.Stop{Scope: "agent", ID: name}, meter, "charge_usage", ofRun},
			{"a project that is stopped by its name", purser.Stop{Scope: "project", ID: "shop"}, agent, "charge_usage", usage(1)},
		} {
			t.Run(c.name, func(t *testing.T) {
				h.t = t
				before := h.counted(c.op, "refused")
				h.latch(c.stop)
				_, err := do[purser.Hold](h, c.by, c.op, c.in)
				refused(t, err, purser.Stopped)
				if n := h.counted(c.op, "refused") - before; n != 1 {
					t.Errorf("%d records of it", n)
				}
				switch c.stop.Scope { // it covers nothing else
				case "provider":
					must[purser.Hold](h, agent, "begin_hold", purser.BeginHold{Hold: elsewhere.ID})
				case "agent":
					must[purser.Hold](h, neighbour, "charge_usage", usage(1))
				}
				h.restart() // it forgets the latch, and what it knew of runs
				h.watch(nil)
			})
		}
		h.t = t
		// No stop was stored, so nothing is void.
		must[purser.Hold](h, agent, "begin_hold", purser.BeginHold{Hold: held.ID})
		h.books()
		h.verify()
	})
}

// SPEND.md K4: what memory knows to be covered is refused without the database.
func TestALatchedStopNeedsNoDatabaseForWhatIsKnown(t *testing.T) {
	t.Parallel()
	for _, scope := range []string{"agent", "project"} {
		t.Run(scope, func(t *testing.T) {
			t.Parallel()
			h := open(t, aDB(t))
			run, agent := h.run(1000)
			meter, in := h.platform(), usage(5)
			in.Run = run.ID
			must[purser.Hold](h, meter, "charge_usage", in)
			stop := purser.Stop{Scope: scope, ID: map[string]string{"agent": agent.ID, "project": h.project.ID}[scope], Reason: "enough"}
			h.watch(func(int64, string) error { return errors.New("the database is away") })
			_, err := do[purser.StopInfo](h, h.owner, "stop", stop)
			refused(t, err, purser.Unavailable)
			_, err = do[purser.Hold](h, meter, "charge_usage", in)
			refused(t, err, purser.Stopped)
		})
	}
}

// A latch holds back what raises use, and nothing else sees it: an overrun stops its run
// on the record, as without it (RULES 5).
func TestAnOverrunStopsItsRunUnderALatchedStop(t *testing.T) {
	t.Parallel()
	h := open(t, aDB(t))
	run, _ := h.run(1000)
	meter, placed := h.platform(), holdOf(300)
	placed.Run = run.ID
	held := must[purser.Hold](h, meter, "place_hold", placed)
	must[purser.Hold](h, meter, "begin_hold", purser.BeginHold{Hold: held.ID})
	h.latch(purser.Stop{Scope: "run", ID: run.ID})
	h.watch(nil)
	out := must[purser.Hold](h, meter, "capture_hold", purser.CaptureHold{Hold: held.ID, AmountMinor: 310, Made: true})
	if out.OverrunMinor != 10 {
		t.Errorf("captured: %+v", out)
	}
	h.books()
	h.verify() // which asks for a stop behind it
}

// A stop that is going to be refused stops nobody until then.
func TestAStopThatNobodyMayMakeIsNotLatched(t *testing.T) {
	t.Parallel()
	for _, in := range []purser.Stop{{Scope: "organization", ID: "org_other"}, {Scope: "everything", ID: "here"}} {
		t.Run(in.Scope, func(t *testing.T) {
			t.Parallel()
			h := open(t, aDB(t))
			_, agent := h.run(1000)
			must[purser.Hold](h, agent, "charge_usage", usage(1))
			var gone atomic.Bool
			h.watch(func(_ int64, statement string) error {
				if strings.Contains(statement, "SET turn = turn + 1") && gone.CompareAndSwap(false, true) {
					return errors.New("the database is away")
				}
				return nil
			})
			in.Reason = "enough"
			_, err := do[purser.StopInfo](h, h.owner, "stop", in)
			if e := refused(t, err, purser.Unavailable); !strings.Contains(e.Detail, "nothing is latched") {
				t.Errorf("the answer says %q", e.Detail)
			}
			must[purser.Hold](h, agent, "charge_usage", usage(1))
		})
	}
}

// Whoever asks again and again while the database is away makes one stop of it.
func TestOneStopComesOfManyCallsForIt(t *testing.T) {
	t.Parallel()
	h := open(t, aDB(t))
	run, agent := h.run(1000)
	for range 5 {
		h.latch(purser.Stop{Scope: "run", ID: run.ID})
	}
	h.watch(nil)
	h.eventually("it is in force", func() bool { return h.ask("SELECT COUNT(*) FROM stops") > 0 })
	h.eventually("no latch is left", func() bool {
		_, err := do[purser.Hold](h, agent, "charge_usage", usage(1))
		return purser.CodeOf(err) == purser.Stopped && !strings.Contains(err.Error(), "being stopped")
	})
	h.stop() // whoever is still at it has ended
	h.start()
	if n := h.ask("SELECT COUNT(*) FROM stops"); n != 1 {
		t.Errorf("%d stops", n)
	}
}
