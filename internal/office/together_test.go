package office_test

import (
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/purser-dev/purser"
)

// fifty calls f at once and returns what each got.
func fifty[Out any](f func(i int) (Out, error)) (outs []Out, errs []error) {
	outs, errs = make([]Out, 50), make([]error, 50)
	gate := make(chan struct{})
	var wg sync.WaitGroup
	for i := range outs {
		wg.Go(func() {
			<-gate
			outs[i], errs[i] = f(i)
		})
	}
	close(gate)
	wg.Wait()
	return outs, errs
}

// Drill a: fifty at once buy once.
func TestFiftyAppliesAtOnceBuyOnce(t *testing.T) {
	t.Parallel()
	eachDB(t, func(t *testing.T, database string) {
		h := open(t, database)
		h.seller.pay = h.rail()
		_, agent := h.run(2000)
		plan := h.planned(agent, domain("superseal.club"))
		plans, errs := fifty(func(int) (purser.Plan, error) {
			return do[purser.Plan](h, agent, "apply", purser.Apply{Plan: plan.ID})
		})
		for i := range plans {
			if errs[i] != nil {
				t.Fatalf("call %d: %s", i, explain(errs[i]))
			}
			if d := cmp.Diff(plans[0], plans[i]); d != "" {
				t.Fatalf("call %d got another answer: %s", i, d)
			}
		}
		h.once(1200)
	})
}

// once fails unless exactly one thing was bought, for so much.
func (h *house) once(price int64) {
	h.t.Helper()
	if creates, sold := h.seller.count(); creates != 1 || sold != 1 {
		h.t.Errorf("%d calls to create, %d sold, want 1 and 1", creates, sold)
	}
	h.charged(1, price)
}

// charged fails unless so many charges came to so much, nothing is held, and the
// books and the log are whole.
func (h *house) charged(charges int, sum int64) {
	h.t.Helper()
	if n, got := h.moved("capture"); n != charges || got != sum {
		h.t.Errorf("%d charges of %d in all, want %d of %d", n, got, charges, sum)
	}
	spend := must[purser.Spend](h, h.owner, "spend", purser.AskSpend{})
	for _, held := range spend.Held {
		if held.Amount != 0 {
			h.t.Errorf("%s is still held", held)
		}
	}
	h.books()
	h.verify()
}

func TestFiftyAddsUnderOneKeyBuyOnce(t *testing.T) {
	t.Parallel()
	eachDB(t, func(t *testing.T, database string) {
		h := open(t, database)
		h.seller.pay = h.rail()
		_, agent := h.run(2000, func(in *purser.CreateRun) { in.Threshold = &purser.Money{Amount: 2000, Currency: "USD"} })
		h.link(agent)
		agent.Key = "one key"
		add := purser.Add{StepRequest: purser.StepRequest{Service: "local/hosting:pro"}}
		h.seller.refundable()
		plans, errs := fifty(func(int) (purser.Plan, error) { return do[purser.Plan](h, agent, "add", add) })
		for i := range plans {
			if errs[i] != nil {
				t.Fatalf("call %d: %s", i, explain(errs[i]))
			}
			if plans[i].ID != plans[0].ID || plans[i].State != purser.PlanDone {
				t.Fatalf("call %d got plan %s, %s; call 0 got %s", i, plans[i].ID, plans[i].State, plans[0].ID)
			}
		}
		if n, sum := h.moved("capture"); n != 1 || sum != 500 {
			t.Errorf("%d charges of %d in all, want one of 500", n, sum)
		}

		// The same key with another body, or for another operation, is refused, and
		// a stranger's use of the same key is another key.
		add.Name = "other"
		_, err := do[purser.Plan](h, agent, "add", add)
		refused(t, err, purser.KeyReused)
		add.Name = ""
		_, err = do[purser.Plan](h, agent, "plan", purser.MakePlan{Steps: []purser.StepRequest{add.StepRequest}})
		refused(t, err, purser.KeyReused)
		_, err = do[purser.Stop](h, agent, "stop", purser.Stop{Scope: "run", Reason: "another operation"})
		refused(t, err, purser.KeyReused)
		owner := h.owner
		owner.Key = "one key"
		_, err = do[purser.Plan](h, owner, "add", purser.Add{Project: h.project.ID, StepRequest: domain("mine.club")})
		refused(t, err, purser.NeedsApproval)
		h.charged(1, 500)
	})
}
