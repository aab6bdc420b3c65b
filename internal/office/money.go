package office

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/purser-dev/purser"
	"github.com/purser-dev/purser/internal/audit"
	"github.com/purser-dev/purser/internal/guard"
	"github.com/purser-dev/purser/internal/ledger"
	"github.com/purser-dev/purser/internal/spend"
	"github.com/purser-dev/purser/internal/store"
	"github.com/purser-dev/purser/internal/store/db"
)

// Hold states.
const (
	holdHeld   = "held"   // reserved; no call has left
	holdBegun  = "begun"  // a call may be under way
	holdClosed = "closed" // nothing of it is held any more
)

// wanted is a spend that passed the guards and is to be held.
type wanted struct {
	order, subscription, run, project, provider, category string
	amount                                                purser.Money
	budgets                                               []guard.Budget
	expires                                               time.Time
}

// hold reserves money in every window that covers the spend. The record of the
// decision has this seq and carries the budgets as they are after it.
func (o *Office) hold(ctx context.Context, t *store.Turn, w wanted, r audit.Record) (string, error) {
	id, err := o.newID(purser.PrefixHold)
	if err != nil {
		return "", err
	}
	keys := []spend.WindowKey{}
	for _, b := range w.budgets {
		if b.Limit.Currency != w.amount.Currency || w.amount.IsZero() {
			continue
		}
		keys = append(keys, spend.WindowKey{Scope: b.Scope, Target: b.ID, Name: b.Window})
		if err := o.tellCrossed(ctx, t, b.BudgetLine, w.amount.Amount); err != nil {
			return "", err
		}
		line := b.BudgetLine
		line.Held += w.amount.Amount
		r.Budgets = append(r.Budgets, budgetRecord(line, w.amount.Amount))
	}
	money := audit.Money{Amount: w.amount.Amount, Currency: w.amount.Currency}
	r.Money = &audit.Amounts{Expected: &money, Ceiling: &money}
	r.Detail = merge(r.Detail, "hold", id)
	seq := t.Record(r)
	err = t.InsertHold(ctx, db.InsertHoldParams{
		Organization: t.Org, ID: id, OrderID: w.order, Subscription: w.subscription, Run: w.run, Project: w.project, Provider: w.provider,
		Category: w.category, Currency: w.amount.Currency, Amount: w.amount.Amount, State: holdHeld, Epoch: t.Epoch,
		ExpiresAt: store.Micro(w.expires), Windows: spend.WindowsText(spend.Own{Organization: t.Org, Project: w.project, Provider: w.provider, Category: w.category, Run: w.run}, keys), Seq: seq, CreatedAt: store.Micro(t.Now),
	})
	if err != nil {
		return "", fmt.Errorf("storing the hold: %w", err)
	}
	h, err := t.Hold(ctx, db.HoldParams{Organization: t.Org, ID: id})
	if err != nil {
		return "", err
	}
	return id, o.move(ctx, t, seq, h, ledger.Hold, w.amount.Amount, "")
}

// windowsOf are the windows that a hold was decided against, and those that were opened
// with it later.
func windowsOf(ctx context.Context, t *store.Turn, h db.Hold) ([]spend.WindowKey, error) {
	own := spend.Own{Organization: h.Organization, Project: h.Project, Provider: h.Provider, Category: h.Category, Run: h.Run}
	keys, err := spend.ParseWindows(own, h.Currency, h.Windows)
	if err != nil {
		return nil, err
	}
	openings, err := openingsOf(ctx, t.Queries, t.Org)
	return spend.OpenedLater(keys, openings, own, h.Currency, h.Seq, store.Time(h.CreatedAt)), err
}

// move changes the windows of a hold and posts the event; the caller changes the
// hold's own row. Amounts are above zero or nothing happens.
func (o *Office) move(ctx context.Context, t *store.Turn, seq int64, h db.Hold, kind ledger.Kind, amount int64, charge string) error {
	if amount == 0 {
		return nil
	}
	keys, err := windowsOf(ctx, t, h)
	if err != nil {
		return err
	}
	held, captured, refunded := int64(0), int64(0), int64(0)
	switch kind {
	case ledger.Hold:
		held = amount
	case ledger.Capture:
		held, captured = -amount, amount
	case ledger.Release:
		held = -amount
	case ledger.Refund:
		refunded = amount
	}
	for _, k := range keys {
		n, err := t.MoveWindow(ctx, db.MoveWindowParams{
			HeldDelta: held, CapturedDelta: captured, RefundedDelta: refunded,
			Organization: t.Org, Scope: k.Scope, Target: k.Target, Currency: h.Currency, Name: k.Name,
		})
		if err == nil && n != 1 {
			err = errors.New("it is not there")
		}
		if err != nil {
			return fmt.Errorf("moving the %s budget: %w", k.Scope, err)
		}
	}
	return o.post(ctx, t, seq, h, kind, amount, charge)
}

// post writes the event with the two accounts that it moves money between.
func (o *Office) post(ctx context.Context, t *store.Turn, seq int64, h db.Hold, kind ledger.Kind, amount int64, charge string) error {
	debit, credit, err := ledger.Accounts(kind, h.Provider)
	if err != nil {
		return err
	}
	err = t.InsertMovement(ctx, db.InsertMovementParams{
		Organization: t.Org, Seq: seq, N: t.NextMove(seq), At: store.Micro(t.Now), Kind: string(kind), Currency: h.Currency, Amount: amount,
		Hold: h.ID, Charge: charge, OrderID: h.OrderID, Run: h.Run, Project: h.Project, Provider: h.Provider,
		Debit: debit, Credit: credit,
	})
	if err != nil {
		return fmt.Errorf("storing the movement: %w", err)
	}
	return nil
}

// left is what a hold still covers.
func left(h db.Hold) int64 { return h.Amount - h.Captured - h.Released }

// capture spends part of a hold.
func (o *Office) capture(ctx context.Context, t *store.Turn, seq int64, h db.Hold, amount int64, charge string) error {
	if amount > left(h) {
		return fmt.Errorf("capturing %d of hold %s, which has %d left", amount, h.ID, left(h))
	}
	if err := o.move(ctx, t, seq, h, ledger.Capture, amount, charge); err != nil {
		return err
	}
	return t.MoveHold(ctx, db.MoveHoldParams{Organization: t.Org, ID: h.ID, CapturedDelta: amount, State: h.State})
}

// close releases what a hold still covers, after its payment tokens are dead:
// the sandbox rail's tokens are rows of this database, so closing them in this
// turn is reading them back as dead (RULES 2).
func (o *Office) close(ctx context.Context, t *store.Turn, seq int64, hold, tokens string) error {
	if _, err := t.ClosePaymentTokens(ctx, db.ClosePaymentTokensParams{Organization: t.Org, Hold: hold, State: tokens}); err != nil {
		return fmt.Errorf("closing payment tokens: %w", err)
	}
	h, err := t.Hold(ctx, db.HoldParams{Organization: t.Org, ID: hold})
	if err != nil {
		return notFound(err, "hold", hold)
	}
	rest := left(h)
	if err := o.move(ctx, t, seq, h, ledger.Release, rest, ""); err != nil {
		return err
	}
	return t.MoveHold(ctx, db.MoveHoldParams{Organization: t.Org, ID: h.ID, ReleasedDelta: rest, State: holdClosed})
}

// changes are the budget lines of a record that moves money of a hold: windows
// as they will be, and what this adds to their use.
func (o *Office) changes(ctx context.Context, t *store.Turn, h db.Hold, kind ledger.Kind, amount int64) ([]audit.BudgetLine, error) {
	keys, err := windowsOf(ctx, t, h)
	if err != nil || amount == 0 {
		return nil, err
	}
	var out []audit.BudgetLine
	for _, k := range keys {
		w, err := t.Window(ctx, db.WindowParams{Organization: t.Org, Scope: k.Scope, Target: k.Target, Currency: h.Currency, Name: k.Name})
		if err != nil {
			return nil, err
		}
		rows, err := t.BudgetsOf(ctx, db.BudgetsOfParams{Organization: t.Org, Scope: k.Scope, Target: k.Target})
		if err != nil {
			return nil, err
		}
		line := audit.BudgetLine{Scope: k.Scope + ":" + k.Target, Window: k.Name, Currency: h.Currency, Held: w.Held, Captured: w.Captured, Refunded: w.Refunded}
		for _, b := range rows {
			if b.Currency == h.Currency && windowName(b, t.Now, t.Zone) == k.Name { // of a window of the past none matters any more
				line.Limit = b.LimitMinor
			}
		}
		switch kind {
		case ledger.Capture:
			line.Held, line.Captured = line.Held-amount, line.Captured+amount
		case ledger.Release:
			line.Held, line.Change = line.Held-amount, -amount
		case ledger.Refund:
			line.Refunded, line.Change = line.Refunded+amount, -amount
		}
		out = append(out, line)
	}
	return out, nil
}

func merge(m map[string]string, key, value string) map[string]string {
	if m == nil {
		m = map[string]string{}
	}
	m[key] = value
	return m
}
