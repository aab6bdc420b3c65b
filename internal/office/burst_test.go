package office_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/purser-dev/purser"
	"github.com/purser-dev/purser/internal/seal"
)

// sellsToo registers another provider with the same catalog: shop0, shop1, and so on.
func (h *house) sellsToo(n int) {
	h.t.Helper()
	wire := strings.Replace(manifest, `"Local"`, fmt.Sprintf(`"Shop%d"`, n), 1)
	name, err := h.o.RegisterProvider(h.ctx, wire, seal.NewSecret("signing"), seal.NewSecret("pur_prv_"+strings.Repeat(string(rune('b'+n)), 52)))
	if err == nil {
		err = h.o.Fetch(h.ctx, name)
	}
	if err != nil {
		h.t.Fatal(explain(err))
	}
}

// railAt is the rail of the provider that is named when it charges.
func (h *house) railAt(at *string) func(ctx context.Context, token, order string, amount int64) error {
	return func(ctx context.Context, token, order string, amount int64) error {
		_, err := h.charge(purser.Actor{Kind: purser.Provider, ID: *at}, purser.Charge{
			Token: token, AmountMinor: amount, Currency: "USD", IdempotencyKey: "charge/" + order, ResourceID: "r_" + order,
		})
		return err
	}
}

// CONTROLS, defaults: an agent that suddenly buys everywhere waits for a person.
func TestABurstToNewProvidersNeedsAPerson(t *testing.T) {
	t.Parallel()
	h := open(t, aDB(t))
	at := ""
	h.seller.pay = h.railAt(&at)
	_, agent := h.run(20_000)
	buy := func(provider, name string, meant bool) error {
		t.Helper()
		at = provider
		plan := h.planned(agent, purser.StepRequest{Service: provider + "/registrar:domain", Configuration: map[string]any{"domain": name}, Meant: meant})
		_, err := do[purser.Plan](h, agent, "apply", purser.Apply{Plan: plan.ID})
		return err
	}
	for n := range 5 {
		h.sellsToo(n)
	}
	for n := range 3 {
		if err := buy(fmt.Sprintf("shop%d", n), fmt.Sprintf("n%d.club", n), false); err != nil {
			t.Fatal(explain(err))
		}
	}
	paid := func() int64 { return h.ask("SELECT count(*) FROM orders WHERE amount > 0") }
	before := paid()
	refused(t, buy("shop3", "n3.club", false), purser.TooManyOrders)
	if n := paid(); n != before {
		t.Errorf("%d paid orders were placed", n-before)
	}
	// Without a plan it is the same agent, and the same burst.
	order := purser.PlaceHold{Provider: "printer", Kind: purser.KindOrder, Target: "leaflets", AmountMinor: 100, Currency: "USD"}
	_, err := do[purser.Hold](h, agent, "place_hold", order)
	refused(t, err, purser.TooManyOrders)
	if err := buy("shop0", "n4.club", false); err != nil {
		t.Errorf("one that is known by now: %s", explain(err))
	}
	if err := buy("shop3", "n5.club", true); err != nil {
		t.Errorf("a person meant it: %s", explain(err))
	}
	// What was bought from an hour ago is not new.
	h.sql("UPDATE orders SET created_at = created_at - $1 WHERE provider <> 'shop0' AND organization = $2", int64(2*time.Hour/time.Microsecond), h.owner.Organization)
	if err := buy("shop4", "n6.club", false); err != nil {
		t.Errorf("an hour later: %s", explain(err))
	}
}

// The same of orders without a plan, in both databases, and seen by plans.
func TestABurstOfHoldsToNewProvidersNeedsAPerson(t *testing.T) {
	t.Parallel()
	inTurn(t, func(t *testing.T, database string) {
		h := open(t, database)
		run, agent := h.run(20_000)
		order := func(provider, target string) error {
			t.Helper()
			held, err := do[purser.Hold](h, agent, "place_hold", purser.PlaceHold{
				Provider: provider, Kind: purser.KindOrder, Target: provider + "/" + target, AmountMinor: 100, Currency: "USD", LifetimeSeconds: 7200,
			})
			if err == nil {
				must[purser.Hold](h, agent, "begin_hold", purser.BeginHold{Hold: held.ID})
				must[purser.Hold](h, agent, "capture_hold", purser.CaptureHold{Hold: held.ID, AmountMinor: 100})
			}
			return err
		}
		for n := range 3 {
			if err := order(fmt.Sprintf("shop-%d", n), "one"); err != nil {
				t.Fatal(explain(err))
			}
		}
		refused(t, order("shop-3", "one"), purser.TooManyOrders)
		h.seller.pay = h.rail()
		plan := h.planned(agent, domain("superseal.club"))
		_, err := do[purser.Plan](h, agent, "apply", purser.Apply{Plan: plan.ID})
		refused(t, err, purser.TooManyOrders)
		if err := order("shop-2", "two"); err != nil {
			t.Errorf("one that is known by now: %s", explain(err))
		}
		if _, err := do[purser.Hold](h, agent, "charge_usage", purser.ChargeUsage{Provider: "shop-4", AmountMinor: 1, Currency: "USD"}); err != nil {
			t.Errorf("use is no order: %s", explain(err))
		}
		allow := purser.AllowRepeat{Run: run.ID, Provider: "shop-3", Target: "shop-3/one", AmountMinor: 100, Currency: "USD"}
		allow.Act = h.sign("allow_repeat", allow)
		must[purser.Accepted](h, h.owner, "allow_repeat", allow)
		if err := order("shop-3", "one"); err != nil {
			t.Errorf("a person meant it: %s", explain(err))
		}
		// An hour later, what was paid is known, and nobody is new in a hurry.
		h.sql("UPDATE holds SET created_at = created_at - $1 WHERE organization = $2", int64(61*time.Minute/time.Microsecond), h.owner.Organization)
		for n := range 3 {
			if err := order(fmt.Sprintf("late-%d", n), "one"); err != nil {
				t.Fatal(explain(err))
			}
		}
		refused(t, order("late-3", "one"), purser.TooManyOrders)
		if err := order("shop-1", "two"); err != nil {
			t.Errorf("one that was paid before the hour: %s", explain(err))
		}
		h.books()
		h.verify()
	})
}

// The pace is the agent's: in whichever of its runs, by a plan or without one.
func TestThePaceIsTheAgents(t *testing.T) {
	t.Parallel()
	inTurn(t, func(t *testing.T, database string) {
		h := open(t, database)
		_, one := h.run(20_000)
		_, two := h.run(20_000)
		if one.ID != two.ID {
			t.Fatalf("two agents, %s and %s", one.ID, two.ID)
		}
		h.seller.pay = h.rail()
		plan := h.planned(one, domain("superseal.club"))
		must[purser.Plan](h, one, "apply", purser.Apply{Plan: plan.ID})
		order := func(by purser.Actor, n int) error {
			_, err := do[purser.Hold](h, by, "place_hold", purser.PlaceHold{
				Provider: "printer", Kind: purser.KindOrder, Target: fmt.Sprintf("%d leaflets", n), AmountMinor: 100, Currency: "USD",
			})
			return err
		}
		for n := range 4 {
			if err := order([]purser.Actor{one, two}[n%2], n); err != nil {
				t.Fatal(explain(err))
			}
		}
		refused(t, order(one, 5), purser.TooManyOrders)
		refused(t, order(two, 5), purser.TooManyOrders)
		next := h.planned(two, domain("other.club"))
		_, err := do[purser.Plan](h, two, "apply", purser.Apply{Plan: next.ID})
		refused(t, err, purser.TooManyOrders)
	})
}
