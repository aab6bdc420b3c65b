package office_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/purser-dev/purser"
	"github.com/purser-dev/purser/app"
	"github.com/purser-dev/purser/internal/audit"
	"github.com/purser-dev/purser/internal/office"
	"github.com/purser-dev/purser/internal/store"
	"github.com/purser-dev/purser/internal/store/db"
)

func (h *house) resume(stop purser.StopInfo) {
	h.t.Helper()
	in := purser.Resume{Stop: stop.ID}
	in.Act = h.sign("resume", in)
	must[purser.StopInfo](h, h.owner, "resume", in)
}

// Drill e: a purchase is in the middle of its call, 64 others want to spend, and
// somebody stops it all.
func TestNothingIsAcceptedAfterAnAcknowledgedStop(t *testing.T) {
	t.Parallel()
	eachDB(t, func(t *testing.T, database string) {
		h := open(t, database)
		h.seller.pay = h.rail()
		_, agent := h.run(20000)
		h.link(agent)
		inCall, stopped := make(chan string), make(chan struct{})
		goOn := sync.OnceFunc(func() { close(stopped) })
		defer goOn() // a failing test must not leave the call waiting
		first := true
		h.seller.create = func(c create) (app.Resource, error) {
			if c.req.ServiceID != "registrar:domain" || !first {
				return c.work()
			}
			first = false
			inCall <- c.req.OrchestratorResourceID
			select {
			case <-stopped:
			case <-c.ctx.Done(): // the test failed before its stop
				return app.Resource{}, c.ctx.Err()
			}
			return c.work() // charges, after the stop, within its begun hold
		}
		flight := h.planned(agent, domain("flight.club"))
		waits := must[purser.Plan](h, agent, "plan", purser.MakePlan{Steps: []purser.StepRequest{domain("waits.club")}})
		ready := h.planned(agent, domain("ready.club"))

		landed := make(chan error, 1)
		go func() {
			_, err := do[purser.Plan](h, agent, "apply", purser.Apply{Plan: flight.ID})
			landed <- err
		}()
		order := <-inCall

		// Free services pass every guard but the stop, so that they race with it.
		gate := make(chan struct{})
		var wg sync.WaitGroup
		for range 64 {
			wg.Go(func() {
				<-gate
				for {
					name := "s" + purserID(t)
					_, err := do[purser.Plan](h, agent, "add", purser.Add{StepRequest: purser.StepRequest{Service: "local/hosting:static", Name: name}})
					if purser.CodeOf(err) == purser.Stopped {
						return
					}
					if err != nil {
						t.Errorf("before the stop: %s", explain(err))
						return
					}
				}
			})
		}
		close(gate)
		h.eventually("some are accepted", func() bool { return h.counted("place", "accepted") > 5 })
		stop := must[purser.StopInfo](h, h.owner, "stop", purser.Stop{Scope: "project", ID: h.project.ID, Reason: "enough"})
		goOn()
		wg.Wait()
		if err := <-landed; purser.CodeOf(err) != "" && err != nil && purser.CodeOf(err) != purser.Stopped {
			t.Errorf("the purchase in flight: %s", explain(err))
		}

		if len(stop.Open) == 0 || stop.Open[0].Order != order || stop.Open[0].State != purser.OrderBuying || stop.Open[0].Held.Amount != 1200 {
			t.Errorf("the stop's report lists %+v, want the order in flight", stop.Open)
		}
		flown := ""
		for _, r := range h.records() {
			if r.Detail["hold"] != "" && r.Target == order {
				flown = r.Detail["hold"]
			}
		}
		for _, r := range h.records() {
			if r.Seq <= stop.Seq || r.Outcome != "accepted" {
				continue
			}
			switch r.Action {
			case "place", "begin", "apply", "plan", "approve", "retry", "renew":
				t.Errorf("record %d: %s of %s was accepted after the stop at %d", r.Seq, r.Action, r.Target, stop.Seq)
			case "charge":
				if r.Target != flown {
					t.Errorf("record %d: a charge on %s, which was not in flight", r.Seq, r.Target)
				}
			}
		}

		// What waited or was ready is void, and stays so after the resume.
		h.eventually("the revocations", func() bool {
			for _, e := range must[purser.StopInfo](h, h.owner, "show_stop", purser.StopRef{Stop: stop.ID}).Effects {
				if e.State != "done" {
					return false
				}
			}
			return true
		})
		if n := must[purser.StopInfo](h, h.owner, "show_stop", purser.StopRef{Stop: stop.ID}).Voided; n < 2 {
			t.Errorf("%d plans are void, want the waiting and the ready one", n)
		}
		h.resume(stop)
		for _, plan := range []purser.Plan{waits, ready} {
			_, err := do[purser.Plan](h, agent, "apply", purser.Apply{Plan: plan.ID})
			refused(t, err, purser.Stopped)
		}
		h.charged(1, 1200)
	})
}

var ids struct {
	sync.Mutex
	n int
}

// purserID is a text that no other call got.
func purserID(t *testing.T) string {
	ids.Lock()
	defer ids.Unlock()
	ids.n++
	return string(rune('a'+ids.n%26)) + string(rune('a'+ids.n/26%26)) + string(rune('a'+ids.n/676%26)) + string(rune('a'+ids.n/17576%26))
}

// RULES 21: a stopped token answers stopped, not that nobody is signed in; after
// the resume it stays dead.
func TestAStopEndsTokensAndAResumeRevivesNone(t *testing.T) {
	manyHouses(t)
	t.Parallel()
	for scope, id := range map[string]func(*house, purser.Run) string{
		"run": func(_ *house, r purser.Run) string { return r.ID }, "agent": func(_ *house, r purser.Run) string { return r.Agent },
		"project": func(_ *house, r purser.Run) string { return r.Project }, "organization": func(h *house, _ purser.Run) string { return h.owner.Organization },
	} {
		t.Run(scope, func(t *testing.T) {
			h := open(t, aDB(t))
			run, agent := h.run(2000)
			_ = agent
			stop := must[purser.StopInfo](h, h.owner, "stop", purser.Stop{Scope: scope, ID: id(h, run), Reason: "enough"})
			h.eventually("the token is dead", func() bool {
				_, err := h.o.Authenticate(h.ctx, run.Token, "test")
				return purser.CodeOf(err) == purser.Stopped
			})
			h.eventually("and on record", func() bool { return h.counted("stop_effect", "accepted") == 2 }) // and that it was all
			h.resume(stop)
			if _, err := h.o.Authenticate(h.ctx, run.Token, "test"); purser.CodeOf(err) != purser.NotSignedIn {
				t.Errorf("after the resume the token answers %v", err)
			}
			h.nothing()
		})
	}
}

// RULES 21 and 18: what was placed and not begun is void, even if the stop was
// lifted before anybody got to it.
func TestAnOrderPlacedBeforeAStopDoesNotBeginAfterTheResume(t *testing.T) {
	t.Parallel()
	inTurn(t, func(t *testing.T, database string) {
		h := open(t, database)
		h.seller.pay = h.rail()
		_, agent := h.run(2000)
		h.link(agent)
		plan := h.planned(agent, domain("superseal.club"))
		h.die(agent, plan, "INSERT INTO orders")
		h.restart()
		// The process that is to void the order never gets to it.
		h.watch(func(_ int64, statement string) error {
			if strings.Contains(statement, "UPDATE stop_effects") {
				return errDead
			}
			return nil
		})
		stop := must[purser.StopInfo](h, h.owner, "stop", purser.Stop{Scope: "provider", ID: "local", Reason: "look first"})
		h.resume(stop)
		_, err := do[purser.Plan](h, agent, "apply", purser.Apply{Plan: plan.ID})
		refused(t, err, purser.Stopped)
		if creates, _ := h.seller.count(); creates != 1 { // the first is the link's
			t.Errorf("%d calls to create left", creates)
		}
		h.charged(0, 0)
	})
}

// A run whose time was over when the stop came may be extended afterwards: what had its
// tokens before stays out, whether that is signed before the resume or after it.
func TestAnExtensionRevivesNothingOfBeforeAStop(t *testing.T) {
	manyHouses(t)
	t.Parallel()
	try := func(t *testing.T, database, scope string, resumeFirst bool) {
		h := open(t, database)
		c, issued, _ := h.connected() // an agent called editor
		run, _ := h.run(2000, func(in *purser.CreateRun) { in.Agent = "editor" })
		other, _ := h.run(2000, func(in *purser.CreateRun) { in.Agent = "neighbour" })
		h.later(5 * time.Hour)
		var stops []purser.StopInfo
		ids := map[string][]string{"organization": {""}, "project": {h.project.ID}, "agent": {"editor"}, "run": {run.ID, c.granted.Run.ID}}[scope]
		for _, id := range ids {
			stops = append(stops, must[purser.StopInfo](h, h.owner, "stop", purser.Stop{Scope: scope, ID: id, Reason: "it leaked"}))
		}
		steps := []func(){func() {
			for _, stop := range stops {
				h.resume(stop)
			}
		}, func() {
			for _, id := range []string{run.ID, c.granted.Run.ID, other.ID} {
				in := purser.ExtendRun{Run: id, Expires: "3h"}
				in.Act = h.sign("extend_run", in)
				must[purser.Run](h, h.owner, "extend_run", in)
			}
		}}
		if !resumeFirst {
			slices.Reverse(steps)
		}
		for _, step := range steps {
			step()
		}
		h.carriedOut()
		if _, err := h.o.Authenticate(h.ctx, run.Token, "test"); err == nil {
			t.Error("the token of a run is good again")
		}
		if _, err := h.o.RefreshGrant(h.ctx, stranger, office.Refreshment{Presented: c.public(), Refresh: issued.Refresh.Reveal()}); err == nil {
			t.Error("a client gets tokens again")
		}
		_, err := h.o.Authenticate(h.ctx, other.Token, "test")
		if covered := scope == "organization" || scope == "project"; (err != nil) != covered {
			t.Errorf("a neighbour's token answers %v", explainOrNil(err))
		}
		h.verify()
	}
	for _, scope := range []string{"organization", "project", "agent", "run"} {
		t.Run(scope, func(t *testing.T) { try(t, aDB(t), scope, true) })
	}
	t.Run("before the resume", func(t *testing.T) {
		eachDB(t, func(t *testing.T, database string) { try(t, database, "agent", false) })
	})
}

// K8: a token whose revocation fails, or that a crash kept from it, is not revived by the
// resume. It was taken by the stop: what it had begun it may still say the cost of.
func TestAResumeRevivesNoTokenThatWasNotRevokedYet(t *testing.T) {
	t.Parallel()
	inTurn(t, func(t *testing.T, database string) {
		h := open(t, database)
		run, agent := h.run(2000)
		_, other := h.run(2000)
		begun := must[purser.Hold](h, agent, "place_hold", holdOf(300))
		must[purser.Hold](h, agent, "begin_hold", purser.BeginHold{Hold: begun.ID})
		h.watch(func(_ int64, statement string) error {
			if strings.Contains(statement, "name: RevokeToken :") {
				return errDead
			}
			return nil
		})
		stop := must[purser.StopInfo](h, h.owner, "stop", purser.Stop{Scope: "run", ID: run.ID, Reason: "look first"})
		h.resume(stop)
		if n := h.ask("SELECT count(*) FROM stop_effects WHERE state = 'pending' AND kind = 'tokens'"); n != 1 {
			t.Fatalf("%d revocations wait, so nothing is shown here", n)
		}
		by, err := h.o.Authenticate(h.ctx, run.Token, "test")
		by.Ended = refused(t, err, purser.NotSignedIn)
		for _, who := range []purser.Actor{by, agent} { // whom the door looked up, and whom it remembers
			_, err = do[purser.Hold](h, who, "place_hold", holdOf(300))
			refused(t, err, purser.NotSignedIn)
		}
		must[purser.Hold](h, other, "place_hold", holdOf(300)) // not of the stop
		if out := must[purser.Hold](h, by, "capture_hold", purser.CaptureHold{Hold: begun.ID, AmountMinor: 120, Final: true}); out.CapturedMinor != 120 {
			t.Errorf("captured %+v", out)
		}
		h.watch(nil)
		if err := h.o.Recover(h.ctx); err != nil {
			t.Fatal(err)
		}
		h.carriedOut()
		if !slices.ContainsFunc(h.records(), func(r audit.Record) bool { return r.Action == "resume" && r.Detail["tokens"] == "1" }) {
			t.Error("the revocation is not on record")
		}
		h.books()
		h.verify()
	})
}

// The same for the steps that a plan had not come to.
func TestTheRestOfAPlanIsVoidEvenIfTheStopWasLiftedDuringACall(t *testing.T) {
	t.Parallel()
	h := open(t, aDB(t))
	h.seller.pay = h.rail()
	_, agent := h.run(2000)
	h.link(agent)
	plan := h.planned(agent, domain("superseal.club"), purser.StepRequest{Service: "local/hosting:pro"})
	h.seller.create = func(c create) (app.Resource, error) {
		h.resume(must[purser.StopInfo](h, h.owner, "stop", purser.Stop{Scope: "provider", ID: "local", Reason: "look first"}))
		return c.work()
	}
	_, err := do[purser.Plan](h, agent, "apply", purser.Apply{Plan: plan.ID})
	refused(t, err, purser.Stopped)
	h.charged(1, 1200)
}

// A call that was lost and never arrived, and then a stop: it is looked up, found
// to be nothing, and its money goes back. Nothing is called again.
func TestALostCallUnderAStopIsLookedUpAndNotRepeated(t *testing.T) {
	t.Parallel()
	inTurn(t, func(t *testing.T, database string) {
		for _, arrived := range []bool{false, true} {
			h := open(t, fresh(t, database))
			h.seller.pay = h.rail()
			_, agent := h.run(2000)
			h.link(agent)
			plan := h.planned(agent, domain("superseal.club"))
			h.crashIn(agent, plan, arrived)
			must[purser.StopInfo](h, h.owner, "stop", purser.Stop{Scope: "provider", ID: "local", Reason: "look first"})
			h.eventually("the order is settled", func() bool {
				if err := h.o.Recover(h.ctx); err != nil {
					t.Fatal(err)
				}
				show := must[purser.Plan](h, h.owner, "show_plan", purser.PlanRef{Plan: plan.ID})
				return show.State == purser.PlanFailed || show.State == purser.PlanDone
			})
			order := must[purser.Plan](h, h.owner, "show_plan", purser.PlanRef{Plan: plan.ID}).Orders[0]
			creates, _ := h.seller.count()
			if creates != 2 { // the link's and the lost one
				t.Errorf("%d calls to create left, want none after the stop", creates-2)
			}
			if n := len(h.records()); n > 60 {
				t.Errorf("%d records: it ran in circles", n)
			}
			if arrived {
				if order.State != purser.OrderLive {
					t.Errorf("the order is %s: %v", order.State, order.Error)
				}
				h.charged(1, 1200)
				continue
			}
			if order.State != purser.OrderFailed || order.Error.Code != purser.Stopped {
				t.Errorf("the order is %s: %v", order.State, order.Error)
			}
			h.charged(0, 0)
		}
	})
}

// crashIn kills the house during the one call of a plan, before or after its work.
func (h *house) crashIn(agent purser.Actor, plan purser.Plan, works bool) {
	h.t.Helper()
	ctx, cancel := context.WithCancel(h.ctx)
	h.seller.create = func(c create) (app.Resource, error) {
		if works {
			if r, err := c.work(); err != nil {
				return r, err
			}
		}
		h.watch(func(int64, string) error { return errDead })
		cancel()
		return app.Resource{}, errors.New("the connection ended")
	}
	_, _ = h.ops["apply"].Do(ctx, agent, purser.Apply{Plan: plan.ID})
	if ctx.Err() == nil {
		h.t.Fatal("the provider was not called")
	}
	h.o.Close()
	h.watch(nil)
	h.seller.set(func(s *seller) { s.create = nil })
	h.stop()
	h.endLeases()
	h.start()
}

// SPEND.md K10: two offices, each on its timer, and the one that took the stop carry it
// out together, and each revocation is on record once.
func TestWhatFollowsAStopIsRecordedOnce(t *testing.T) {
	t.Parallel()
	h := open(t, postgres.Open(t))
	twin := h.twin()
	for range 8 {
		h.run(100)
	}
	stop := must[purser.StopInfo](h, h.owner, "stop", purser.Stop{Scope: "organization", Reason: "enough"})
	var group errgroup.Group
	for _, o := range []*office.Office{h.o, twin.o, h.o, twin.o} {
		group.Go(func() error { return o.Recover(h.ctx) })
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	h.carriedOut()
	h.stop() // whoever is still at it has ended
	h.start()
	seen := map[string]int{}
	for _, r := range h.records() {
		if r.Action == "stop_effect" && r.Detail["stop"] == stop.ID {
			seen[r.Target]++
		}
	}
	if len(seen) != 8+1 { // and that these were all
		t.Errorf("%d revocations on record, want 8", len(seen)-1)
	}
	for target, n := range seen {
		if n != 1 {
			t.Errorf("%s is on record %d times", target, n)
		}
	}
}

// A stop that is asked for again under its key is the same stop, and lifted if it was
// lifted: nobody is to believe that it is in force.
func TestAStopAskedForAgainIsToldAsItIsNow(t *testing.T) {
	t.Parallel()
	inTurn(t, func(t *testing.T, database string) {
		h := open(t, database)
		run, _ := h.run(1500)
		again := h.owner
		again.Key = "emergency"
		ask := func() purser.StopInfo {
			return must[purser.StopInfo](h, again, "stop", purser.Stop{Scope: "run", ID: run.ID, Reason: "enough"})
		}
		stop := ask()
		if now := ask(); now.LiftedAt != nil || now.ID != stop.ID || now.Seq != stop.Seq || now.Epoch != stop.Epoch {
			t.Errorf("asked again it is %+v, and was %+v", now, stop)
		}
		h.resume(stop)
		if now := ask(); now.LiftedAt == nil || now.ID != stop.ID {
			t.Errorf("after the resume it is %+v", now)
		}
		if n := h.counted("stop", "accepted"); n != 1 {
			t.Errorf("%d stops on record", n)
		}
	})
}

// A stop is the easiest thing there is: whoever gives no reason, or one that says nothing,
// is not asked for words first.
func TestAStopNeedsNoReason(t *testing.T) {
	t.Parallel()
	h := open(t, aDB(t))
	_, agent := h.run(1500)
	for _, c := range []struct {
		by        purser.Actor
		in        purser.Stop
		want, say string
	}{
		{agent, purser.Stop{Scope: "run"}, "no reason was given", "an agent's"},
		{h.owner, purser.Stop{Scope: "provider", ID: "local", Reason: " \n\x07"}, "no reason was given", "one of nothing visible"},
		{h.owner, purser.Stop{Scope: "organization", Reason: "a token leaked"}, "a token leaked", "one with a reason"},
	} {
		stop := must[purser.StopInfo](h, c.by, "stop", c.in)
		if shown := must[purser.StopInfo](h, h.owner, "show_stop", purser.StopRef{Stop: stop.ID}); stop.Reason != c.want || shown.Reason != c.want {
			t.Errorf("%s: the reason is %q, and is shown as %q", c.say, stop.Reason, shown.Reason)
		}
	}
}

// RULES 3: an agent stops its run and itself, nothing wider.
func TestAnAgentStopsNothingWiderThanItself(t *testing.T) {
	t.Parallel()
	h := open(t, aDB(t))
	run, agent := h.run(2000)
	other, _ := h.run(2000, func(in *purser.CreateRun) { in.Agent = "another" })
	for _, in := range []purser.Stop{
		{Scope: "organization"},
		{Scope: "project", ID: h.project.ID},
		{Scope: "provider", ID: "local"},
		{Scope: "run", ID: other.ID},
		{Scope: "agent", ID: other.Agent},
		{Scope: "agent", ID: "another"},
		{Scope: "planet", ID: "earth"},
	} {
		in.Reason = "mine"
		_, err := do[purser.StopInfo](h, agent, "stop", in)
		refused(t, err, purser.Forbidden)
	}
	if n := h.counted("stop", "refused"); n != 7 {
		t.Errorf("%d refusals on record, want 7", n)
	}
	stops, err := h.store.Read().StopsInForce(h.ctx, h.owner.Organization)
	if err != nil || len(stops) != 0 {
		t.Errorf("%d stops in force (%v)", len(stops), err)
	}
	must[purser.StopInfo](h, agent, "stop", purser.Stop{Scope: "run", Reason: "I am confused"})
	must[purser.StopInfo](h, agent, "stop", purser.Stop{Scope: "agent", Reason: "very"})
	if show := must[purser.Run](h, h.owner, "show_run", purser.RunRef{Run: run.ID}); show.State != "stopped" {
		t.Errorf("the run is %s", show.State)
	}
	if show := must[purser.Run](h, h.owner, "show_run", purser.RunRef{Run: other.ID}); show.State != "active" {
		t.Errorf("the other run is %s", show.State)
	}
	// A person has no run of its own.
	for _, scope := range []string{"project", "provider", "agent", "run"} {
		_, err := do[purser.StopInfo](h, h.owner, "stop", purser.Stop{Scope: scope, Reason: "mine"})
		refused(t, err, purser.InvalidRequest)
	}
	h.nothing()
}

// A stop lists what had begun in its scope, however much is open elsewhere.
func TestAStopListsWhatBeganInItsScopeAmongManyOthers(t *testing.T) {
	t.Parallel()
	inTurn(t, func(t *testing.T, database string) {
		h := open(t, database)
		meter := h.platform()
		other, _ := h.run(10_000)
		run, _ := h.run(10_000)
		begin := func(run string) (purser.Hold, error) {
			in := holdOf(1)
			in.Run = run
			held, err := do[purser.Hold](h, meter, "place_hold", in)
			if err == nil {
				held, err = do[purser.Hold](h, meter, "begin_hold", purser.BeginHold{Hold: held.ID})
			}
			return held, err
		}
		var group errgroup.Group
		for range 20 {
			group.Go(func() error {
				for range office.MostOpen / 20 {
					if _, err := begin(other.ID); err != nil {
						return err
					}
				}
				return nil
			})
		}
		if err := group.Wait(); err != nil {
			t.Fatal(explain(err))
		}
		mine, err := begin(run.ID)
		if err != nil {
			t.Fatal(explain(err))
		}
		stop := must[purser.StopInfo](h, h.owner, "stop", purser.Stop{Scope: "run", ID: run.ID, Reason: "enough"})
		if len(stop.Open) != 1 || stop.Open[0].Hold != mine.ID {
			t.Errorf("open: %+v", stop.Open)
		}
	})
}

// K3: a stop gives back what it covers, whatever others call the providers that they pay:
// a provider's name may be a run's identifier.
func TestAStopGivesBackWhatItCoversAmongHoldsOfTheSameName(t *testing.T) {
	t.Parallel()
	inTurn(t, func(t *testing.T, database string) {
		h := open(t, database)
		meter := h.platform()
		_, other := h.run(10_000)
		run, agent := h.run(10_000)
		var group errgroup.Group
		for range 20 {
			group.Go(func() error {
				for range office.OverdueMost/20 + 1 {
					in := holdOf(1)
					in.Run, in.Provider = other.Run, run.ID
					if _, err := do[purser.Hold](h, meter, "place_hold", in); err != nil {
						return err
					}
				}
				return nil
			})
		}
		if err := group.Wait(); err != nil {
			t.Fatal(explain(err))
		}
		mine := must[purser.Hold](h, agent, "place_hold", holdOf(300)) // the last to expire
		must[purser.StopInfo](h, h.owner, "stop", purser.Stop{Scope: "run", ID: run.ID, Reason: "enough"})
		h.carriedOut()
		if n := h.ask("SELECT count(*) FROM holds WHERE id = $1 AND state = 'released'", mine.ID); n != 1 {
			t.Error("the hold of the run that was stopped is not given back")
		}
		if n := h.ask("SELECT count(*) FROM holds WHERE provider = $1 AND state <> 'held'", run.ID); n != 0 {
			t.Errorf("%d holds that the stop does not cover are not held any more", n)
		}
		again, err := h.store.Read().OverdueHolds(h.ctx, db.OverdueHoldsParams{Organization: h.owner.Organization, Now: store.Micro(h.now()), After: -1, RowLimit: 1})
		if err != nil || len(again) != 0 {
			t.Errorf("%d holds are still looked at (%v)", len(again), err)
		}
		h.books()
	})
}

// RULES 21: what an agent began before a stop it may say the cost of, with a token that
// does nothing else any more; what it does not say, a person does.
func TestWhatWasBegunBeforeAStopIsSettled(t *testing.T) {
	t.Parallel()
	for want, end := range map[purser.Code]func(*testing.T, *house, purser.Run){
		purser.Stopped: func(t *testing.T, h *house, run purser.Run) {
			stop := must[purser.StopInfo](h, h.owner, "stop", purser.Stop{Scope: "run", ID: run.ID, Reason: "it loops"})
			if len(stop.Open) != 2 {
				t.Errorf("%d are listed as open, want 2", len(stop.Open))
			}
			h.eventually("the token is revoked", func() bool {
				return h.ask("SELECT COUNT(*) FROM tokens WHERE run = $1 AND revoked_at = 0", run.ID) == 0
			})
		},
		purser.RunEnded: func(_ *testing.T, h *house, run purser.Run) {
			must[purser.Run](h, h.owner, "end_run", purser.RunRef{Run: run.ID})
		},
	} {
		t.Run(string(want), func(t *testing.T) {
			t.Parallel()
			inTurn(t, func(t *testing.T, database string) { settled(t, database, want, end) })
		})
	}
}

func settled(t *testing.T, database string, want purser.Code, end func(*testing.T, *house, purser.Run)) {
	h := open(t, database)
	run, agent := h.run(2000)
	hold := func(begin bool) string {
		id := must[purser.Hold](h, agent, "place_hold", holdOf(300)).ID
		if begin {
			must[purser.Hold](h, agent, "begin_hold", purser.BeginHold{Hold: id})
		}
		return id
	}
	mine, lost, waiting := hold(true), hold(true), hold(false)
	end(t, h, run)
	by, err := h.o.Authenticate(h.ctx, run.Token, "test")
	if refused(t, err, want); by.ID != agent.ID {
		t.Errorf("the token was %q's, want %q", by.ID, agent.ID)
	}
	out := must[purser.Hold](h, agent, "capture_hold", purser.CaptureHold{Hold: mine, AmountMinor: 120, Final: true})
	if out.CapturedMinor != 120 || out.LeftMinor != 0 {
		t.Errorf("captured %+v", out)
	}
	for operation, in := range map[string]any{
		"capture_hold": purser.CaptureHold{Hold: waiting, AmountMinor: 1}, "begin_hold": purser.BeginHold{Hold: waiting}, "place_hold": holdOf(1),
		"charge_usage": usage(1), "release_hold": purser.HoldRef{Hold: lost},
	} {
		_, err := do[purser.Hold](h, agent, operation, in)
		refused(t, err, want)
	}
	_, err = do[purser.Hold](h, agent, "capture_hold", purser.CaptureHold{Hold: lost, Final: true}) // of nothing
	refused(t, err, purser.Forbidden)

	resolve := func(hold string, cents int64, signed bool) (purser.Hold, error) {
		in := purser.ResolveHold{Hold: hold, CapturedMinor: cents}
		if signed {
			in.Act = h.sign("resolve_hold", in)
		}
		return do[purser.Hold](h, h.owner, "resolve_hold", in)
	}
	for operation, in := range map[string]any{ // the amount of another currency is another amount
		"capture_hold": purser.CaptureHold{Hold: lost, AmountMinor: 1, Currency: "JPY"}, "refund_hold": purser.RefundHold{Hold: mine, AmountMinor: 1, Currency: "dollars"},
	} {
		_, err = do[purser.Hold](h, agent, operation, in)
		refused(t, err, purser.InvalidRequest)
	}
	_, err = resolve(lost, 301, true)
	refused(t, err, purser.InvalidState)
	_, err = resolve(waiting, 1, true) // it cost nothing: it never began
	refused(t, err, purser.InvalidState)
	_, err = resolve(lost, 200, false)
	refused(t, err, purser.NeedsPerson)
	if out, err = resolve(lost, 200, true); err != nil || out.State != purser.HoldCaptured || out.CapturedMinor != 200 {
		t.Errorf("resolved %+v, %v", out, err)
	}
	if b := must[purser.Run](h, h.owner, "show_run", purser.RunRef{Run: run.ID}).Budget; b.Captured != 320 {
		t.Errorf("the run has captured %d, want 320", b.Captured)
	}
}

// A token that a stop took settles after the stop was lifted too, and gets its answers of
// before; a token that was revoked for itself does not, whatever ends afterwards (RULES 10, 21).
func TestWhatAnEndedTokenMayStillDo(t *testing.T) {
	t.Parallel()
	begun := func(h *house, agent purser.Actor) string {
		id := must[purser.Hold](h, agent, "place_hold", holdOf(300)).ID
		must[purser.Hold](h, agent, "begin_hold", purser.BeginHold{Hold: id})
		return id
	}
	capture := func(h *house, by purser.Actor, hold string) (purser.Hold, error) {
		return do[purser.Hold](h, by, "capture_hold", purser.CaptureHold{Hold: hold, AmountMinor: 120, Final: true})
	}
	t.Run("after its stop was lifted", func(t *testing.T) {
		t.Parallel()
		inTurn(t, func(t *testing.T, database string) {
			h := open(t, database)
			run, agent := h.run(2000)
			hold, lost := begun(h, agent), agent
			lost.Key = "charge-1"
			first := must[purser.Hold](h, lost, "charge_usage", usage(7))
			stop := must[purser.StopInfo](h, h.owner, "stop", purser.Stop{Scope: "run", ID: run.ID, Reason: "it loops"})
			h.carriedOut()
			h.resume(stop)
			by, err := h.o.Authenticate(h.ctx, run.Token, "test")
			if by.ID != agent.ID {
				t.Fatalf("the token was %q's, want %q", by.ID, agent.ID)
			}
			by.Ended, by.Key = refused(t, err, purser.NotSignedIn), "charge-1" // as the gate does
			if again := must[purser.Hold](h, by, "charge_usage", usage(7)); again.ID != first.ID || !again.Replay {
				t.Errorf("the answer of before is %+v", again)
			}
			records := len(h.records())
			for operation, in := range map[string]any{
				"charge_usage": usage(8), "capture_hold": purser.CaptureHold{Hold: "hld_none", AmountMinor: 1}, "release_hold": purser.HoldRef{Hold: hold},
			} {
				by.Key = "other-" + operation
				_, err := do[purser.Hold](h, by, operation, in)
				refused(t, err, purser.NotSignedIn)
			}
			_, err = do[purser.Hold](h, by, "capture_hold", purser.CaptureHold{Hold: hold, AmountMinor: 301})
			refused(t, err, purser.InvalidState)
			_, err = do[purser.Status](h, by, "status", purser.AskStatus{})
			refused(t, err, purser.NotSignedIn)
			if n := len(h.records()) - records; n != 0 { // who has lost the right to ask fills no log
				t.Errorf("%d refusals have a record each: %+v", n, h.records()[records:])
			}
			by.Key = "settle-1"
			if out, err := capture(h, by, hold); err != nil || out.CapturedMinor != 120 || out.State != purser.HoldCaptured {
				t.Errorf("captured %+v, %v", out, explainOrNil(err))
			}
			h.books()
			h.verify()
		})
	})
	for name, end := range map[string]func(*house, purser.Actor){
		"the run ends": func(h *house, agent purser.Actor) {
			must[purser.Run](h, h.owner, "end_run", purser.RunRef{Run: agent.Run})
		},
		"a stop comes": func(h *house, agent purser.Actor) {
			must[purser.StopInfo](h, h.owner, "stop", purser.Stop{Scope: "run", ID: agent.Run, Reason: "it loops"})
			h.carriedOut()
		},
	} {
		for _, order := range []string{"after it was revoked", "before it is revoked"} {
			t.Run(name+" "+order, func(t *testing.T) {
				t.Parallel()
				h := open(t, aDB(t))
				c, issued, agent := h.connected()
				hold := begun(h, agent)
				if order == "before it is revoked" {
					end(h, agent)
				}
				must[purser.Grant](h, h.owner, "revoke_grant", purser.GrantRef{Grant: c.granted.Grant.ID})
				if order == "after it was revoked" {
					end(h, agent)
				}
				if by, err := h.agentOf(issued.Access); err == nil || by.ID != "" {
					t.Errorf("the door knows %q: %v", by.ID, explainOrNil(err))
				}
				if _, err := capture(h, agent, hold); err == nil {
					t.Error("it captured")
				}
				if n := h.ask("SELECT SUM(captured) FROM holds"); n != 0 {
					t.Errorf("%d was captured", n)
				}
			})
		}
	}
}

// K6: what never began can begin no more when its run was ended, so it is given back.
func TestTheEndOfARunGivesUnbegunHoldsBack(t *testing.T) {
	t.Parallel()
	inTurn(t, func(t *testing.T, database string) {
		h := open(t, database)
		run, agent := h.run(1000)
		waits, begun := must[purser.Hold](h, agent, "place_hold", holdOf(300)), must[purser.Hold](h, agent, "place_hold", holdOf(200))
		must[purser.Hold](h, agent, "begin_hold", purser.BeginHold{Hold: begun.ID})
		must[purser.Run](h, h.owner, "end_run", purser.RunRef{Run: run.ID})
		h.tick()
		if held := h.ask("SELECT held FROM windows WHERE scope = 'run' AND target = $1", run.ID); held != 200 {
			t.Errorf("%d is held, want that of the begun hold alone", held)
		}
		if n := h.ask("SELECT COUNT(*) FROM holds WHERE id = '" + waits.ID + "' AND state = 'released'"); n != 1 {
			t.Error("the hold that never began is still there")
		}
		h.books()
		h.verify()
	})
}

// RULES 22: who holds a dead token neither fills the log nor takes the turns of those who
// spend, whatever it asks for.
func TestADeadTokenTakesNoTurn(t *testing.T) {
	t.Parallel()
	h := open(t, aDB(t))
	_, issued, agent := h.connected()
	must[purser.Run](h, h.owner, "end_run", purser.RunRef{Run: agent.Run})
	turns := func() int64 { return h.ask("SELECT turn FROM organizations WHERE id = $1", h.owner.Organization) }
	by, err := h.agentOf(issued.Access)
	by.Ended = refused(t, err, purser.RunEnded)
	before := turns()
	for operation, in := range map[string]any{
		"charge_usage": usage(1), "place_hold": holdOf(1), "capture_hold": purser.CaptureHold{Hold: "hld_none", AmountMinor: 1},
		"release_hold": purser.HoldRef{Hold: "hld_none"}, "plan": purser.MakePlan{Steps: []purser.StepRequest{domain("superseal.club")}},
	} {
		by.Key = "of " + operation
		_, err := do[any](h, by, operation, in)
		refused(t, err, purser.RunEnded)
	}
	refused(t, h.o.MeantFor(h.ctx, by, "/v1/charges"), purser.NotSignedIn) // it was for /mcp
	if n := turns() - before; n != 0 {
		t.Errorf("it took %d turns", n)
	}
	gone, cancel := context.WithCancel(h.ctx)
	cancel() // as a database that does not answer
	_, err = h.ops["charge_usage"].Do(gone, by, usage(1))
	refused(t, err, purser.Unavailable)
}

// SPEND.md K4: without an answer of the database a stop is taken at the word of whoever was
// known; the turn has one, and who signed out since stops nothing.
func TestWhoSignedOutStopsNothing(t *testing.T) {
	t.Parallel()
	h := open(t, aDB(t))
	known, err := h.o.Authenticate(h.ctx, h.token, "test")
	if err != nil {
		t.Fatal(explain(err))
	}
	known.Remembered = true // as the gate does
	first := must[purser.StopInfo](h, known, "stop", purser.Stop{Scope: "project", ID: h.project.ID, Reason: "enough"})
	h.resume(first)
	_, agent := h.run(1000)
	must[purser.Accepted](h, known, "sign_out", purser.SignOut{})
	_, err = do[purser.StopInfo](h, known, "stop", purser.Stop{Scope: "organization", Reason: "enough"})
	refused(t, err, purser.NotSignedIn)
	must[purser.Hold](h, agent, "charge_usage", usage(1)) // nor is it latched
}
