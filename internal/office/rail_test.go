package office_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/purser-dev/purser"
	"github.com/purser-dev/purser/internal/office"
	"github.com/purser-dev/purser/internal/rail"
	"github.com/purser-dev/purser/internal/store"
)

var atLocal = purser.Actor{Kind: purser.Provider, ID: "local"}

func (h *house) charge(by purser.Actor, in purser.Charge) (purser.Charged, error) {
	out, err := h.ops["charge"].Do(h.ctx, by, in)
	if err != nil {
		return purser.Charged{}, err
	}
	return out.(purser.Charged), nil
}

// inCall buys one domain for 12.00 and runs f in the middle of the provider's
// work, with the payment token.
func (h *house) inCall(f func(token, order string)) purser.Order {
	h.t.Helper()
	_, agent := h.run(5000)
	h.seller.pay = func(_ context.Context, token, order string, amount int64) error {
		f(token, order)
		return nil
	}
	plan := h.planned(agent, domain("superseal.club"))
	return must[purser.Plan](h, agent, "apply", purser.Apply{Plan: plan.ID}).Orders[1]
}

// RULES 7: every reason to refuse a charge has its own code, and none of them
// changes what is held.
func TestAChargeIsRefusedForEachReasonWithItsOwnCode(t *testing.T) {
	t.Parallel()
	h := open(t, aDB(t))
	var used purser.Charge
	order := h.inCall(func(token, order string) {
		fine := purser.Charge{Token: token, AmountMinor: 1200, Currency: "USD", IdempotencyKey: "k", ResourceID: "r"}
		used = fine
		change := func(f func(*purser.Charge)) purser.Charge {
			c := fine
			f(&c)
			c.IdempotencyKey += fmt.Sprint(t.Name(), c.Currency, c.AmountMinor)
			return c
		}
		tests := []struct {
			name string
			by   purser.Actor
			in   purser.Charge
			want purser.Code
		}{
			{"another provider", purser.Actor{Kind: purser.Provider, ID: "evil"}, fine, purser.WrongProvider},
			{"one minor unit above the limit", atLocal, change(func(c *purser.Charge) { c.AmountMinor = 1201 }), purser.TokenLimit},
			{"another currency", atLocal, change(func(c *purser.Charge) { c.Currency = "EUR" }), purser.TokenLimit},
			{"no currency", atLocal, change(func(c *purser.Charge) { c.Currency = "dollars-and-cents" }), purser.InvalidRequest},
			{"more than a record can say", atLocal, change(func(c *purser.Charge) { c.AmountMinor = 1 << 60 }), purser.InvalidRequest},
			{"nothing", atLocal, change(func(c *purser.Charge) { c.AmountMinor = 0 }), purser.InvalidRequest},
			{"more than any hold", atLocal, change(func(c *purser.Charge) { c.AmountMinor = 1 << 60 }), purser.InvalidRequest},
			{"no currency", atLocal, change(func(c *purser.Charge) { c.Currency = "us\x00" }), purser.InvalidRequest},
			{"less than nothing", atLocal, change(func(c *purser.Charge) { c.AmountMinor = -1 }), purser.InvalidRequest},
			{"an unknown token", atLocal, change(func(c *purser.Charge) { c.Token = "sbx_x" }), purser.TokenInvalid},
			{"no key", atLocal, purser.Charge{Token: token, AmountMinor: 1200, Currency: "USD"}, purser.InvalidRequest},
			{"a key that no database takes", atLocal, change(func(c *purser.Charge) { c.IdempotencyKey = "k\x00" }), purser.InvalidRequest},
			{"a key of several words", atLocal, change(func(c *purser.Charge) { c.IdempotencyKey = "k k" }), purser.InvalidRequest},
			{"a key without an end", atLocal, change(func(c *purser.Charge) { c.IdempotencyKey = strings.Repeat("k", 256) }), purser.InvalidRequest},
			{"an agent", purser.Actor{Kind: purser.Agent, ID: "agt", Organization: h.owner.Organization}, fine, purser.Forbidden},
			{"the owner", h.owner, fine, purser.Forbidden},
		}
		for _, tt := range tests {
			if _, err := h.charge(tt.by, tt.in); purser.CodeOf(err) != tt.want {
				t.Errorf("%s: got %.300s, want %s", tt.name, explainOrNil(err), tt.want)
			}
		}
		for _, r := range h.records() {
			above := r.Action == "charge" && strings.Contains(r.Detail["reason"], "12.01")
			if above && (r.Money == nil || r.Money.Actual == nil || r.Money.Actual.Amount != 1201) {
				t.Errorf("record %d says not how much was refused: %+v", r.Seq, r.Money)
			}
		}
		h.sql("UPDATE payment_tokens SET expires_at = expires_at - 7200000000") // two hours
		if _, err := h.charge(atLocal, fine); purser.CodeOf(err) != purser.TokenExpired {
			t.Errorf("an expired token: got %v", explainOrNil(err))
		}
		h.sql("UPDATE payment_tokens SET expires_at = expires_at + 7200000000")
		if n, _ := h.moved("capture"); n != 0 {
			t.Errorf("%d captures after refusals only", n)
		}
		got, err := h.charge(atLocal, fine)
		if err != nil || got.Left != 0 {
			t.Errorf("the charge: %+v %v", got, err)
		}
		again, err := h.charge(atLocal, fine)
		if err != nil || again != got {
			t.Errorf("the same charge again: %+v %v, want %+v", again, err, got)
		}
		other := fine
		other.AmountMinor--
		if _, err := h.charge(atLocal, other); purser.CodeOf(err) != purser.KeyReused {
			t.Errorf("the same key for another amount: got %v", explainOrNil(err))
		}
		other.AmountMinor, other.IdempotencyKey = 1, "k2"
		if _, err := h.charge(atLocal, other); purser.CodeOf(err) != purser.TokenInvalid {
			t.Errorf("a second use: got %v", explainOrNil(err))
		}
	})
	if order.State != purser.OrderLive || order.Captured.Amount != 1200 {
		t.Errorf("the order: %+v", order)
	}
	used.IdempotencyKey = "later"
	if _, err := h.charge(atLocal, used); purser.CodeOf(err) != purser.TokenInvalid {
		t.Errorf("after the order is settled: got %v", explainOrNil(err))
	}
	h.charged(1, 1200)
}

// RULES 10: a refused charge keeps its key, unless time, a stop or a newer token of the
// hold can change that; and who charges has one space of keys.
func TestAChargesKeyIsOneOfItsProviders(t *testing.T) {
	t.Parallel()
	eachDB(t, func(t *testing.T, database string) {
		h := open(t, database)
		h.inCall(func(token, order string) {
			in := purser.Charge{Token: token, AmountMinor: 1201, Currency: "USD", IdempotencyKey: "k", ResourceID: "r"}
			records := h.counted("charge", "refused")
			for range 2 { // a replay decides nothing
				_, err := h.charge(atLocal, in)
				refused(t, err, purser.TokenLimit)
			}
			in.AmountMinor = 1200
			_, err := h.charge(atLocal, in)
			refused(t, err, purser.KeyReused)
			if n := h.counted("charge", "refused") - records; n != 2 {
				t.Errorf("%d refusals on record, want that of the amount and that of the key", n)
			}

			in.IdempotencyKey = "k2"
			for code, change := range map[purser.Code][2]string{
				purser.TokenRevoked: {"state = 'revoked'", "state = 'active'"},
				purser.TokenExpired: {"expires_at = expires_at - 7200000000", "expires_at = expires_at + 7200000000"},
			} {
				h.sql("UPDATE payment_tokens SET " + change[0])
				_, err = h.charge(atLocal, in)
				refused(t, err, code)
				h.sql("UPDATE payment_tokens SET " + change[1])
			}
			charged, err := h.charge(atLocal, in)
			if err != nil {
				t.Fatal(explain(err))
			}
			_, err = h.ops["refund"].Do(h.ctx, atLocal, purser.RefundCharge{Charge: charged.ID, AmountMinor: 100, IdempotencyKey: "k2"})
			refused(t, err, purser.KeyReused)
			in.AmountMinor, in.IdempotencyKey = 1, "k3"
			refund := purser.RefundCharge{Charge: charged.ID, AmountMinor: 100, IdempotencyKey: "k3"}
			if _, err = h.ops["refund"].Do(h.ctx, atLocal, refund); err != nil {
				t.Error(explain(err))
			}
			_, err = h.charge(atLocal, in)
			refused(t, err, purser.KeyReused)
		})
		for _, r := range h.records() {
			if r.Action == "charge" && r.Money == nil {
				t.Errorf("record %d does not say how much: %+v", r.Seq, r)
			}
		}
		h.charged(1, 1200)
	})
}

// RULES 2: a token dies before its hold goes back, and outlives it never.
func TestATokenIsDeadOnceItsHoldWentBack(t *testing.T) {
	manyHouses(t)
	t.Parallel()
	inTurn(t, func(t *testing.T, database string) {
		h := open(t, database)
		_, agent := h.run(5000)
		var in purser.Charge
		h.seller.pay = func(_ context.Context, token, order string, amount int64) error {
			in = purser.Charge{Token: token, AmountMinor: amount, Currency: "USD", IdempotencyKey: "k"}
			return purser.Errorf(purser.ProviderFailure, "no")
		}
		plan := h.planned(agent, domain("superseal.club"))
		_, err := do[purser.Plan](h, agent, "apply", purser.Apply{Plan: plan.ID})
		refused(t, err, purser.ProviderFailure)
		if _, err := h.charge(atLocal, in); purser.CodeOf(err) != purser.TokenRevoked {
			t.Errorf("a charge after the release: %v", explainOrNil(err))
		}
		if n := h.ask("SELECT COUNT(*) FROM payment_tokens WHERE state = 'active'"); n != 0 {
			t.Errorf("%d tokens live on", n)
		}
		if n := h.ask("SELECT COUNT(*) FROM payment_tokens t JOIN holds h ON h.id = t.hold WHERE t.expires_at + 60000000 >= h.expires_at"); n != 0 {
			t.Errorf("%d tokens outlive their hold", n)
		}
		h.charged(0, 0)
	})
}

// RULES 2: money goes back on the word of who took it, and of nobody else.
func TestOnlyWhoCapturedRefunds(t *testing.T) {
	t.Parallel()
	eachDB(t, func(t *testing.T, database string) {
		h := open(t, database)
		h.seller.pay = h.rail()
		run, agent := h.run(1300)
		must[purser.Plan](h, agent, "apply", purser.Apply{Plan: h.planned(agent, domain("superseal.club")).ID})
		spend := must[purser.Spend](h, h.owner, "spend", purser.AskSpend{})
		charge := spend.Events[len(spend.Events)-1].Charge
		for _, e := range spend.Events {
			if e.Kind == "capture" {
				charge = e.Charge
			}
		}
		for name, tt := range map[string]struct {
			by   purser.Actor
			n    int64
			want purser.Code
		}{
			"the agent": {agent, 1200, purser.Forbidden}, "a person": {h.owner, 1200, purser.Forbidden},
			"another provider":    {purser.Actor{Kind: purser.Provider, ID: "evil"}, 1200, purser.NotFound},
			"more than was taken": {atLocal, 1201, purser.InvalidState}, "nothing": {atLocal, 0, purser.InvalidState}, "less than nothing": {atLocal, -1, purser.InvalidState},
		} {
			if _, err := h.ops["refund"].Do(h.ctx, tt.by, purser.RefundCharge{Charge: charge, AmountMinor: tt.n, IdempotencyKey: strings.ReplaceAll(name, " ", "-")}); purser.CodeOf(err) != tt.want {
				t.Errorf("%s: got %v, want %s", name, explainOrNil(err), tt.want)
			}
		}
		for _, key := range []string{"", "r\x00", "r r"} {
			if _, err := h.ops["refund"].Do(h.ctx, atLocal, purser.RefundCharge{Charge: charge, AmountMinor: 700, IdempotencyKey: key}); purser.CodeOf(err) != purser.InvalidRequest {
				t.Errorf("the key %q: got %v", key, explainOrNil(err))
			}
		}
		if n, _ := h.moved("refund"); n != 0 {
			t.Fatalf("%d refunds after refusals only", n)
		}
		_, errs := fifty(func(int) (any, error) {
			return h.ops["refund"].Do(h.ctx, atLocal, purser.RefundCharge{Charge: charge, AmountMinor: 700, IdempotencyKey: "r"})
		})
		for _, err := range errs {
			if err != nil {
				t.Fatal(explain(err))
			}
		}
		if _, err := h.ops["refund"].Do(h.ctx, atLocal, purser.RefundCharge{Charge: charge, AmountMinor: 501, IdempotencyKey: "r2"}); purser.CodeOf(err) != purser.InvalidState {
			t.Errorf("one minor unit too many: %v", explainOrNil(err))
		}
		if n, sum := h.moved("refund"); n != 1 || sum != 700 {
			t.Errorf("%d refunds of %d, want one of 700", n, sum)
		}
		if b := must[purser.Run](h, agent, "show_run", purser.RunRef{Run: run.ID}).Budget; b.Left != 800 || b.Refunded != 700 {
			t.Errorf("the run's budget: %+v", b)
		}
		h.charged(1, 1200)
	})
}

// The sandbox plays the failures of a rail by the last two digits of an amount.
func TestMagicAmountsFailAsTheySay(t *testing.T) {
	manyHouses(t)
	t.Parallel()
	for _, tt := range []struct {
		name     string
		amount   int64
		status   string
		captured int64
		answer   func(error) bool
	}{
		{"declined", 1101, "declined", 0, func(err error) bool { return err == nil }},
		{"requires action", 1102, "requires_action", 0, func(err error) bool { return err == nil }},
		{"answers late", 1103, "succeeded", 1103, func(err error) bool { return errors.Is(err, context.Canceled) }},
		{"charges and drops the connection", 1104, "succeeded", 1104, func(err error) bool { return errors.As(err, &office.Dropped{}) }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := open(t, sqlite(t))
			order := h.inCall(func(token, order string) {
				ctx, cancel := context.WithCancel(h.ctx)
				defer cancel()
				in := purser.Charge{Token: token, AmountMinor: tt.amount, Currency: "USD", IdempotencyKey: "k"}
				var out any
				var err error
				answered := make(chan struct{})
				go func() {
					defer close(answered)
					out, err = h.ops["charge"].Do(ctx, atLocal, in)
				}()
				if rail.MagicOf(tt.amount) == rail.Dawdles { // it has charged, and its caller waits no more
					h.eventually("it is charged", func() bool { n, _ := h.moved("capture"); return n == 1 })
					cancel()
				}
				<-answered
				if !tt.answer(err) {
					t.Errorf("answered %v", err)
				}
				if c, ok := out.(purser.Charged); ok && err == nil && c.Status != tt.status {
					t.Errorf("the charge is %s, want %s", c.Status, tt.status)
				}
				// RULES 10: a repeat gets the first answer, and nothing is played again.
				soon, end := context.WithTimeout(h.ctx, rail.Delay/2)
				defer end()
				again, failed := h.ops["charge"].Do(soon, atLocal, in)
				if c, ok := again.(purser.Charged); failed != nil || !ok || c.ID == "" || c.Status != tt.status || err == nil && again != out {
					t.Errorf("the same charge again: %+v %v, want it %s at once; it was %+v", again, explainOrNil(failed), tt.status, out)
				}
			})
			if order.Captured.Amount != tt.captured {
				t.Errorf("captured %s, want %d", order.Captured, tt.captured)
			}
			n := 0
			if tt.captured > 0 {
				n = 1
			}
			h.charged(n, tt.captured)
		})
	}
}

// RULES 2: a hold outlives its token by the time that the last charge may take to
// arrive; one that cannot gets no token, and nobody is called.
func TestAHoldThatEndsTooSoonGetsNoPaymentToken(t *testing.T) {
	t.Parallel()
	h := open(t, aDB(t))
	h.seller.pay = h.rail()
	_, agent := h.run(5000)
	must[purser.Plan](h, agent, "apply", purser.Apply{Plan: h.planned(agent, domain("superseal.club")).ID})
	lag := int64(rail.SettlementLag / time.Microsecond)
	if n := h.ask("SELECT count(*) FROM payment_tokens"); n != 1 {
		t.Fatalf("%d tokens", n)
	}
	if n := h.ask("SELECT count(*) FROM payment_tokens p JOIN holds h ON h.id = p.hold WHERE p.expires_at + $1 >= h.expires_at", lag); n != 0 {
		t.Error("a token outlives its hold")
	}
	conn, err := h.dial()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	soon := store.Micro(time.Now().Add(2 * time.Minute))
	h.watch(func(_ int64, statement string) error {
		if statement == store.Committed { // between its placing and its beginning
			_, err := conn.ExecContext(h.ctx, "UPDATE holds SET expires_at = $1 WHERE state = 'held' AND amount > 0", soon)
			return err
		}
		return nil
	})
	creates, _ := h.seller.count()
	plan := h.planned(agent, domain("another.club"))
	_, _ = do[purser.Plan](h, agent, "apply", purser.Apply{Plan: plan.ID})
	h.watch(nil)
	if n := h.ask("SELECT count(*) FROM payment_tokens"); n != 1 {
		t.Errorf("%d tokens, one for a hold that ends in two minutes", n)
	}
	if again, _ := h.seller.count(); again != creates {
		t.Error("the provider was called")
	}
}
