package test

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/purser-dev/purser"
	"github.com/purser-dev/purser/client"
)

// sent is one answer to an agent during a stop.
type sent struct {
	at       time.Time // when it was sent
	accepted bool
	code     purser.Code
}

// Drill e: a domain is being bought when a person stops, and 64 callers with the
// agent's token keep on spending.
func TestAfterAStopNothingIsAccepted(t *testing.T) {
	whole(t)
	for _, scope := range []string{"organization", "run"} {
		t.Run(scope, func(t *testing.T) {
			t.Parallel()
			h := build(t, "", 9000)
			h.ends(t, h.appliedPlan(t)) // the account is linked: free things need no person from here on
			plan := h.approved(t, purser.StepRequest{Service: "local/registrar:domain", Configuration: map[string]any{"domain": domain}})
			waiting := h.planned(t, purser.StepRequest{Service: "local/registrar:domain", Configuration: map[string]any{"domain": "another.club"}})
			h.switches(t, map[string]int{"create_slow": -1, "delay_ms": 500})
			crowd := h.crowd(t, waiting.ID)
			id := h.run.ID
			if scope == "organization" {
				id = ""
			}
			// Held last: a seller gives a charge up after 25 seconds, and under a stop nothing goes on with it.
			g := h.wire.hold(after, "POST", rail, domain)
			h.applying(t, plan.ID)
			g.wait(t) // the seller has charged, and does not know it yet
			stop, err := h.person.Stop(t.Context(), purser.Stop{Scope: scope, ID: id, Reason: "look first"})
			if err != nil {
				t.Fatalf("stopping: %v", err)
			}
			acknowledged := time.Now()
			g.let(true)
			answers := crowd(20)
			h.nothingAfter(t, stop, acknowledged, answers)
			h.reports(t, stop, plan)
			h.staysStopped(t, stop, waiting.ID)
			landed := h.lands(t, plan.ID)
			if o := landed.Orders[0]; o.State != purser.OrderLive || o.Captured.Amount != plan.Terms.Steps[0].Price.Now {
				t.Errorf("the domain's order is %s with %v captured: %v", o.State, o.Captured, o.Error)
			}
			h.sound(t)
		})
	}
}

// crowd lets 64 callers plan, apply and add with the agent's token; the function
// that it returns waits until each was told no that many times from then on, and ends them.
func (h *house) crowd(t *testing.T, waiting string) func(refusals int64) []sent {
	t.Helper()
	const callers = 64
	var mu sync.Mutex
	var all []sent
	var group sync.WaitGroup
	var enough atomic.Bool
	var bought, called atomic.Int64
	refused := make([]atomic.Int64, callers)
	for i := range callers {
		c := dial(t, h.url, h.run.Token)
		group.Go(func() {
			for n := 0; !enough.Load(); n++ {
				at := time.Now()
				kind := (n + i) % 3
				err := spends(t, c, kind, fmt.Sprintf("box-%d-%d", i, n), waiting)
				if n == 0 {
					called.Add(1)
				}
				if kind == 2 && err == nil {
					bought.Add(1)
				}
				if code := purser.CodeOf(err); code == purser.Stopped {
					refused[i].Add(1)
				}
				mu.Lock()
				all = append(all, sent{at, err == nil, purser.CodeOf(err)})
				mu.Unlock()
			}
		})
	}
	eventually(t, "each caller has called", func() bool { return called.Load() == callers })
	eventually(t, "some were bought something", func() bool { return bought.Load() >= 3 })
	return func(refusals int64) []sent {
		defer group.Wait()
		defer enough.Store(true)
		before := make([]int64, callers) // told while the stop was on its way to be acknowledged
		for i := range refused {
			before[i] = refused[i].Load()
		}
		eventually(t, "each caller is told to stop", func() bool {
			for i := range refused {
				if refused[i].Load() < before[i]+refusals {
					return false
				}
			}
			return true
		})
		enough.Store(true)
		group.Wait()
		return all
	}
}

// spends makes one call that would raise use.
func spends(t *testing.T, c *client.Client, kind int, box, waiting string) (err error) {
	step := purser.StepRequest{Service: "local/mail:inbox", Name: box, Configuration: map[string]any{"username": box}}
	switch kind {
	case 0:
		_, err = c.Plan(t.Context(), purser.MakePlan{Steps: []purser.StepRequest{step}})
	case 1:
		_, err = c.Apply(t.Context(), purser.Apply{Plan: waiting, Wait: 1})
	default:
		_, err = c.Add(t.Context(), purser.Add{StepRequest: step})
	}
	return err
}

// appliedPlan buys one free thing, with the person's yes to the account.
func (h *house) appliedPlan(t *testing.T) string {
	t.Helper()
	plan := h.approved(t, purser.StepRequest{Service: "local/mail:inbox", Configuration: map[string]any{"username": "first"}})
	if _, err := h.agent.Apply(t.Context(), purser.Apply{Plan: plan.ID}); err != nil {
		t.Fatalf("linking the account: %v", err)
	}
	return plan.ID
}

// nothingAfter reads the log and the callers' own clocks: no spend is accepted
// after record K, nor sent after the acknowledgement and accepted.
func (h *house) nothingAfter(t *testing.T, stop purser.StopInfo, acknowledged time.Time, answers []sent) {
	t.Helper()
	later := 0
	for _, s := range answers {
		if !s.at.After(acknowledged) {
			continue
		}
		later++
		if s.accepted || s.code != purser.Stopped {
			t.Errorf("sent %s after the acknowledgement and answered %q, accepted %v", s.at.Sub(acknowledged), s.code, s.accepted)
		}
	}
	if later < 1000 {
		t.Errorf("only %d calls were sent after the acknowledgement", later)
	}
	raises := map[string]bool{"place": true, "begin": true, "apply": true, "charge": true, "approve": true, "subscribe": true}
	for after := stop.Seq; ; {
		page, err := h.person.AuditLog(t.Context(), purser.AskAudit{After: after, Limit: 200})
		if err != nil {
			t.Fatalf("reading the log: %v", err)
		}
		for _, r := range page.Records {
			if raises[r.Action] && r.Outcome == "accepted" {
				t.Errorf("record %d after the stop's %d: %s %s was accepted", r.Seq, stop.Seq, r.Action, r.Target)
			}
		}
		if page.Next == 0 || len(page.Records) == 0 {
			return
		}
		after = page.Next
	}
}

// reports checks that the answer tells what could not be stopped.
func (h *house) reports(t *testing.T, stop purser.StopInfo, plan purser.Plan) {
	t.Helper()
	shown, err := h.person.ShowPlan(t.Context(), purser.PlanRef{Plan: plan.ID})
	if err != nil || len(shown.Orders) == 0 {
		t.Fatalf("showing the plan: %v", err)
	}
	order := shown.Orders[len(shown.Orders)-1]
	for _, o := range stop.Open {
		if o.Order == order.ID && (o.State == purser.OrderBuying || o.State == purser.OrderUnknown) {
			return
		}
	}
	t.Errorf("the stop lists %+v, and not order %s of the domain", stop.Open, order.ID)
}

// staysStopped checks who cannot lift it, and that what waited is void.
func (h *house) staysStopped(t *testing.T, stop purser.StopInfo, waiting string) {
	t.Helper()
	if _, err := h.person.Resume(t.Context(), purser.Resume{Stop: stop.ID}); purser.CodeOf(err) != purser.NeedsPerson {
		t.Errorf("resume without a signature: %v", err)
	}
	if _, err := h.agent.Resume(t.Context(), purser.Resume{Stop: stop.ID}); err == nil {
		t.Error("the agent's token lifted the stop")
	}
	if plan, err := h.person.ShowPlan(t.Context(), purser.PlanRef{Plan: waiting}); err != nil || plan.State != purser.PlanVoid {
		t.Errorf("the plan that waited is %s, want void (%v)", plan.State, err)
	}
}

// lands waits until nothing of a plan is in flight any more, and gives the plan
// as its orders came out.
func (h *house) lands(t *testing.T, id string) (plan purser.Plan) {
	t.Helper()
	eventually(t, "what was in flight lands", func() bool {
		var err error
		plan, err = h.person.ShowPlan(t.Context(), purser.PlanRef{Plan: id})
		for _, o := range plan.Orders {
			if o.State == purser.OrderPlaced || o.State == purser.OrderBuying || o.State == purser.OrderUnknown {
				return false
			}
		}
		return err == nil && plan.State != purser.PlanApplying
	})
	return plan
}
