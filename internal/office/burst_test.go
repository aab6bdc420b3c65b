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

// CONTROLS, defaults: an agent that suddenly buys everywhere waits for a person.
func TestABurstToNewProvidersNeedsAPerson(t *testing.T) {
	t.Parallel()
	h := open(t, t.TempDir()+"/purser.db")
	at := ""
	h.seller.pay = func(ctx context.Context, token, order string, amount int64) error {
		_, err := h.charge(purser.Actor{Kind: purser.Provider, ID: at}, purser.Charge{
			Token: token, AmountMinor: amount, Currency: "USD", IdempotencyKey: "charge/" + order, ResourceID: "r_" + order,
		})
		return err
	}
	_, agent := h.run(20_000)
	buy := func(provider, name string, meant bool) error {
		t.Helper()
		at = provider
		plan := h.planned(agent, purser.StepRequest{Service: provider + "/registrar:domain", Configuration: map[string]any{"domain": name}, Meant: meant})
		_, err := do[purser.Plan](h, agent, "apply", purser.Apply{Plan: plan.ID})
		return err
	}
	for n := range 5 {
		wire := strings.Replace(manifest, `"Local"`, fmt.Sprintf(`"Shop%d"`, n), 1)
		name, err := h.o.RegisterProvider(h.ctx, wire, seal.NewSecret("signing"), seal.NewSecret("pur_prv_"+strings.Repeat(string(rune('b'+n)), 52)))
		if err == nil {
			err = h.o.Fetch(h.ctx, name)
		}
		if err != nil {
			t.Fatal(explain(err))
		}
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
