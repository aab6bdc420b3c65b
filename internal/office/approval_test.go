package office_test

import (
	"testing"
	"time"

	"github.com/purser-dev/purser"
)

// RULES 12: a request waits a day, a signed approval ten minutes, a plan that has
// begun an hour.
func TestTheThreeClocksOfAPlan(t *testing.T) {
	t.Parallel()
	house := func(t *testing.T) (*house, purser.Actor, purser.Plan) {
		h := open(t, aDB(t))
		h.seller.pay = h.rail()
		_, agent := h.run(2000, func(in *purser.CreateRun) { in.Expires = "48h" })
		h.link(agent)
		return h, agent, must[purser.Plan](h, agent, "plan", purser.MakePlan{Steps: []purser.StepRequest{domain("superseal.club")}})
	}
	t.Run("a request that nobody decided", func(t *testing.T) {
		h, agent, plan := house(t)
		h.later(24*time.Hour - time.Minute)
		if got := must[purser.Plan](h, agent, "show_plan", purser.PlanRef{Plan: plan.ID}); got.State != purser.PlanWaiting {
			t.Errorf("a minute before its time it is %s", got.State)
		}
		h.later(time.Minute + time.Second)
		in := purser.Approve{Plan: plan.ID}
		in.Act = h.sign("approve", in)
		_, err := do[purser.Plan](h, h.owner, "approve", in)
		refused(t, err, purser.PlanExpired)
		_, err = do[purser.Plan](h, agent, "apply", purser.Apply{Plan: plan.ID})
		refused(t, err, purser.PlanExpired)
		h.tick()
		if n := h.counted("expire_plan", "accepted"); n != 1 {
			t.Errorf("%d records of it", n)
		}
		h.charged(0, 0)
	})
	t.Run("an approval that was not used", func(t *testing.T) {
		h, agent, plan := house(t)
		h.approve(plan.ID)
		h.later(10*time.Minute + time.Second)
		_, err := do[purser.Plan](h, agent, "apply", purser.Apply{Plan: plan.ID})
		refused(t, err, purser.ApprovalExpired)
		if got := must[purser.Plan](h, agent, "show_plan", purser.PlanRef{Plan: plan.ID}); got.State != purser.PlanWaiting {
			t.Errorf("it is %s, want that it waits for a person again", got.State)
		}
		h.approve(plan.ID)
		_, err = do[purser.Plan](h, agent, "apply", purser.Apply{Plan: plan.ID})
		refused(t, err, purser.ClockUnsafe) // as far as a moved clock goes: it was begun
		h.charged(0, 0)
	})
	t.Run("a plan that takes too long", func(t *testing.T) {
		h, agent, plan := house(t)
		h.approve(plan.ID)
		h.die(agent, plan, "INSERT INTO orders")
		h.later(time.Hour + time.Second)
		h.restart()
		if order := h.ended(plan); order.State != purser.OrderFailed || order.Error.Code != purser.PlanExpired {
			t.Errorf("the order is %s: %v", order.State, order.Error)
		}
		h.charged(0, 0)
	})
}

// RULES 11: an approval is used once, by the plan of its digest.
func TestAnApprovalIsUsedOnceAndByItsPlan(t *testing.T) {
	t.Parallel()
	h := open(t, aDB(t))
	h.seller.pay = h.rail()
	_, agent := h.run(5000)
	a := must[purser.Plan](h, agent, "plan", purser.MakePlan{Steps: []purser.StepRequest{domain("a.club")}})
	b := must[purser.Plan](h, agent, "plan", purser.MakePlan{Steps: []purser.StepRequest{domain("b.club")}})
	if a.Digest == b.Digest {
		t.Fatal("two plans have one digest")
	}
	h.approve(a.ID)
	_, err := do[purser.Plan](h, agent, "apply", purser.Apply{Plan: b.ID, Wait: 1})
	refused(t, err, purser.NeedsApproval)
	must[purser.Plan](h, agent, "apply", purser.Apply{Plan: a.ID})
	h.sql("UPDATE plans SET state = 'ready' WHERE id = $1", a.ID) // as if it could be begun twice
	_, err = do[purser.Plan](h, agent, "apply", purser.Apply{Plan: a.ID})
	if err == nil || h.counted("apply", "accepted") != 1 {
		t.Errorf("a used approval was used again: %v", explainOrNil(err))
	}
	must[purser.Plan](h, h.owner, "deny", purser.Deny{Plan: b.ID, Reason: "not this name"})
	_, err = do[purser.Plan](h, agent, "apply", purser.Apply{Plan: b.ID})
	refused(t, err, purser.PlanDenied)
	h.once(1200)
}
