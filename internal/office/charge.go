package office

import (
	"context"
	"fmt"

	"github.com/purser-dev/purser"
	"github.com/purser-dev/purser/internal/audit"
	"github.com/purser-dev/purser/internal/canonical"
	"github.com/purser-dev/purser/internal/catalog"
	"github.com/purser-dev/purser/internal/guard"
	"github.com/purser-dev/purser/internal/ledger"
	"github.com/purser-dev/purser/internal/rail"
	"github.com/purser-dev/purser/internal/seal"
	"github.com/purser-dev/purser/internal/store"
	"github.com/purser-dev/purser/internal/store/db"
)

// Dropped asks the door to close the connection without an answer: the sandbox
// rail plays a lost answer for amounts that end in 04. The charge is decided.
type Dropped struct{}

func (Dropped) Error() string { return "the sandbox rail drops this answer on purpose" }

// Drop tells the door what to do.
func (Dropped) Drop() bool { return true }

// Charge is a provider's charge on a payment token: a capture against that
// token's hold, and nothing else. It opens no second hold and never exceeds it
// (RULES 7). The provider's key for the charge makes a repeat the same charge.
func (o *Office) Charge(ctx context.Context, by purser.Actor, in purser.Charge) (purser.Charged, error) {
	switch {
	case !purser.ValidKey(in.IdempotencyKey):
		return purser.Charged{}, purser.Errorf(purser.InvalidRequest, "a charge needs an idempotency_key of 1 to 255 visible ASCII characters")
	case in.AmountMinor <= 0 || in.AmountMinor > mostMinor || !purser.ValidCurrency(in.Currency):
		return purser.Charged{}, purser.Errorf(purser.InvalidRequest, "a charge is of an amount_minor from 1 to %d, in a currency of three capital letters", int64(mostMinor))
	}
	token, err := o.Store.Read().PaymentTokenByHash(ctx, hashOf(seal.NewSecret(in.Token)))
	if missing(err) {
		return purser.Charged{}, purser.Errorf(purser.TokenInvalid, "the payment token is not known")
	}
	if err != nil {
		return purser.Charged{}, err
	}
	var out purser.Charged
	var first bool
	err = o.turn(ctx, token.Organization, func(t *store.Turn) error {
		o.unsent.expect(answeringOf(ctx)) // whatever it is: a stop is acknowledged after it (SPEND.md K2)
		out, first, err = o.charge(ctx, t, by, token.Hash, in)
		return err
	})
	if err != nil {
		return purser.Charged{}, err
	}
	if !first {
		return out, nil
	}
	return out, o.play(ctx, in.AmountMinor)
}

// play does to the first answer what the amount asks for. A repeat gets that answer
// at once (RULES 10): so a lost one can be learned.
func (o *Office) play(ctx context.Context, amount int64) error {
	switch rail.MagicOf(amount) {
	case rail.Drops:
		return Dropped{}
	case rail.Dawdles:
		return pause(ctx, rail.Delay)
	}
	return nil
}

// charge decides a charge in the turn; first says that it was not decided before.
func (o *Office) charge(ctx context.Context, t *store.Turn, by purser.Actor, tokenHash string, in purser.Charge) (out purser.Charged, first bool, err error) {
	token, err := t.PaymentTokenByHash(ctx, tokenHash)
	if err != nil {
		return out, false, err
	}
	h, err := t.Hold(ctx, db.HoldParams{Organization: t.Org, ID: token.Hold})
	if err != nil {
		return out, false, err
	}
	hash, err := chargeHash(h.ID, in)
	if err != nil {
		return out, false, err
	}
	by.Organization, by.Key = t.Org, in.IdempotencyKey
	amount := purser.Money{Amount: in.AmountMinor, Currency: in.Currency}
	r := recordOf(by, "charge", h.ID)
	r.Project, r.Run, r.PlanDigest = h.Project, h.Run, token.PlanDigest
	r.Money = &audit.Amounts{Actual: &audit.Money{Amount: amount.Amount, Currency: amount.Currency}}
	if token.Provider != by.ID { // nothing here is its own, and no key either
		no := rail.Token{Provider: token.Provider}.Forbids(by.ID, amount, t.Now)
		return out, false, o.refuse(t, r, no)
	}
	facts := rail.Token{Provider: token.Provider, Currency: token.Currency, Left: left(h), State: token.State, ExpiresAt: store.Time(token.ExpiresAt)}
	if h.Captured > 0 && facts.State == rail.Active {
		facts.State = rail.Consumed // one capture a hold: two halves are two charges
	}
	out, err = onceIn(ctx, o, t, by, hash, func() (purser.Charged, error) {
		if no := facts.Forbids(by.ID, amount, t.Now); no != nil {
			return purser.Charged{}, o.refuse(t, r, no)
		}
		switch no, err := o.chargeStopped(ctx, t, h); {
		case err != nil:
			return purser.Charged{}, err
		case no != nil:
			return purser.Charged{}, o.refuse(t, r, no)
		}
		first = true
		return o.captured(ctx, t, by, r, h, token, hash, in)
	})
	if purser.CodeOf(err) == purser.KeyReused {
		err = o.refuse(t, r, asError(err))
	}
	return out, first, err
}

// chargeHash is of what is charged, not of the token: a retry of one order may
// come with a newer token of the same hold.
func chargeHash(hold string, in purser.Charge) (string, error) {
	return canonical.Digest(map[string]any{"operation": "charge", "hold": hold, "amount": in.AmountMinor, "currency": in.Currency, "resource": in.ResourceID})
}

// chargeStopped lets a charge through a stop only within a hold whose effect
// began before it (RULES 21).
func (o *Office) chargeStopped(ctx context.Context, t *store.Turn, h db.Hold) (*purser.Error, error) {
	stops, err := o.stopsFor(ctx, t.Queries, t.Org)
	if err != nil {
		return nil, err
	}
	run, err := t.Run(ctx, db.RunParams{Organization: t.Org, ID: h.Run})
	if err != nil { // of a run that cannot be read nobody knows whether its agent is stopped
		return nil, fmt.Errorf("reading the run: %w", err)
	}
	path := guard.Path{Organization: t.Org, Project: h.Project, Provider: h.Provider, Agent: run.Agent, Run: h.Run}
	for _, s := range stops {
		if path.Covered(s.Scope, s.Target) && (h.BegunAt == 0 || h.Epoch >= s.Epoch) {
			return guard.StoppedBy(s), nil
		}
	}
	return nil, nil
}

func (o *Office) captured(ctx context.Context, t *store.Turn, by purser.Actor, r audit.Record, h db.Hold, token db.PaymentToken, hash string, in purser.Charge) (purser.Charged, error) {
	id, err := o.newID(purser.PrefixCharge)
	if err != nil {
		return purser.Charged{}, err
	}
	status := "succeeded"
	switch rail.MagicOf(in.AmountMinor) {
	case rail.Declines:
		status = "declined"
	case rail.Asks:
		status = "requires_action"
	}
	r.Provider = &audit.Provider{ChargeID: id, RequestID: catalog.Plain(in.ResourceID, 128)}
	r.Detail = map[string]string{"status": status, "token": token.ID}
	if status != "succeeded" {
		r.Outcome = audit.Refused
	} else if r.Budgets, err = o.changes(ctx, t, h, ledger.Capture, in.AmountMinor); err != nil {
		return purser.Charged{}, err
	}
	seq := t.Record(r)
	if status == "succeeded" {
		if err := o.capture(ctx, t, seq, h, in.AmountMinor, id); err != nil {
			return purser.Charged{}, err
		}
		h.Captured += in.AmountMinor
	}
	err = t.InsertCharge(ctx, db.InsertChargeParams{
		Organization: t.Org, ID: id, Provider: by.ID, ProviderKey: in.IdempotencyKey, RequestHash: hash, Token: token.ID, Hold: h.ID, Currency: in.Currency,
		Amount: in.AmountMinor, Status: status, Resource: catalog.Plain(in.ResourceID, 128), Receipt: receipt(in), Seq: seq, CreatedAt: store.Micro(t.Now),
	})
	if err != nil {
		return purser.Charged{}, fmt.Errorf("storing the charge: %w", err)
	}
	return purser.Charged{ID: id, Status: status, AmountMinor: in.AmountMinor, Currency: in.Currency, Left: left(h)}, nil
}

// receipt keeps a provider's lines, capped: they are its words.
func receipt(in purser.Charge) string {
	lines := []purser.LineItem{}
	for _, l := range in.LineItems[:min(len(in.LineItems), 50)] {
		lines = append(lines, purser.LineItem{Description: catalog.Plain(l.Description, 200), AmountMinor: l.AmountMinor})
	}
	return toJSON(lines)
}

// Refund is recorded from the party that captured, for its own charge only
// (RULES 2). It goes back to the windows that the money came from.
func (o *Office) Refund(ctx context.Context, by purser.Actor, in purser.RefundCharge) (purser.Charged, error) {
	if !purser.ValidKey(in.IdempotencyKey) {
		return purser.Charged{}, purser.Errorf(purser.InvalidRequest, "a refund needs an idempotency_key of 1 to 255 visible ASCII characters")
	}
	c, err := o.Store.Read().Charge(ctx, db.ChargeParams{ID: in.Charge, Provider: by.ID})
	if err != nil {
		return purser.Charged{}, notFound(err, "charge of yours", in.Charge)
	}
	by.Organization, by.Key = c.Organization, in.IdempotencyKey
	return once(ctx, o, by, "refund", in, func(t *store.Turn) (purser.Charged, error) {
		c, err := t.Charge(ctx, db.ChargeParams{ID: in.Charge, Provider: by.ID})
		if err != nil {
			return purser.Charged{}, err
		}
		h, err := t.Hold(ctx, db.HoldParams{Organization: t.Org, ID: c.Hold})
		if err != nil {
			return purser.Charged{}, err
		}
		r := recordOf(by, "refund", c.ID)
		r.Project, r.Run = h.Project, h.Run
		if in.AmountMinor <= 0 || c.Status != "succeeded" || in.AmountMinor > c.Amount-c.Refunded {
			no := purser.Errorf(purser.InvalidState, "of charge %s %s can be refunded", c.ID, purser.Money{Amount: c.Amount - c.Refunded, Currency: c.Currency})
			return purser.Charged{}, o.refuse(t, r, no)
		}
		if r.Budgets, err = o.changes(ctx, t, h, ledger.Refund, in.AmountMinor); err != nil {
			return purser.Charged{}, err
		}
		r.Money = &audit.Amounts{Actual: &audit.Money{Amount: in.AmountMinor, Currency: c.Currency}}
		r.Provider = &audit.Provider{ChargeID: c.ID}
		seq := t.Record(r)
		if err := o.move(ctx, t, seq, h, ledger.Refund, in.AmountMinor, c.ID); err != nil {
			return purser.Charged{}, err
		}
		if err := t.MoveHold(ctx, db.MoveHoldParams{Organization: t.Org, ID: h.ID, RefundedDelta: in.AmountMinor, State: h.State}); err != nil {
			return purser.Charged{}, err
		}
		err = t.RefundCharge(ctx, db.RefundChargeParams{Organization: t.Org, ID: c.ID, Amount: in.AmountMinor})
		return purser.Charged{ID: c.ID, Status: "refunded", AmountMinor: in.AmountMinor, Currency: c.Currency, Left: left(h)}, err
	})
}
