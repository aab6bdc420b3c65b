package office

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/purser-dev/purser"
	"github.com/purser-dev/purser/internal/audit"
	"github.com/purser-dev/purser/internal/guard"
	"github.com/purser-dev/purser/internal/ledger"
	"github.com/purser-dev/purser/internal/spend"
	"github.com/purser-dev/purser/internal/store"
	"github.com/purser-dev/purser/internal/store/db"
)

// spentBefore is what was spent in a window before its budget had a first limit, which
// holds for all of the window (RULES 5), as it stood at a record of the log.
type spentBefore struct {
	since int64 // when the window began
	db.SpentSoFarRow
}

// spentSoFar adds it up before the turn that sets the limit: it may read very many
// holds, and no stop waits for that. It is a beginning only: what cannot be read, or is
// of another window when the turn has come, is added up there. For what the turn refuses
// nothing is read: an agent may ask for that in a loop.
func (o *Office) spentSoFar(ctx context.Context, by purser.Actor, in purser.SetBudget) (out spentBefore, err error) {
	q, period := o.Store.Read(), periodOf(in)
	scope, target, err := o.budgetTarget(ctx, q, by, in)
	if err != nil || scope == purser.ScopeLabel {
		return out, err
	}
	if no := guard.CheckPeriod(scope, period); no != nil {
		return out, no
	}
	limits, err := q.BudgetsOf(ctx, db.BudgetsOfParams{Organization: by.Organization, Scope: scope, Target: target})
	if err != nil {
		return out, err
	}
	limits = slices.DeleteFunc(limits, func(b db.Budget) bool { return b.Currency != in.Limit.Currency })
	if slices.ContainsFunc(limits, func(b db.Budget) bool { return b.Period == period }) || by.Kind == purser.Agent && len(limits) == 0 {
		return out, nil
	}
	org, err := q.Organization(ctx, by.Organization)
	if err != nil {
		return out, err
	}
	zone, err := time.LoadLocation(org.Timezone)
	if err != nil {
		return out, err
	}
	out.since = store.Micro(guard.Began(period, o.Now(), zone))
	out.SpentSoFarRow, err = q.SpentSoFar(ctx, db.SpentSoFarParams{ID: org.ID, Currency: in.Limit.Currency, Since: out.since, Scope: scope, Target: target})
	return out, err
}

// openWindow opens the window of a budget that got its first limit, and records that
// with what was spent before. What becomes of that later moves this window too
// (spend.OpenedLater). What labels were on is not kept, so their windows begin at nothing.
func (o *Office) openWindow(ctx context.Context, t *store.Turn, b db.Budget, before spentBefore, r audit.Record) (purser.BudgetLine, error) {
	if t.NoZone != nil {
		return purser.BudgetLine{}, t.NoZone
	}
	since := store.Micro(guard.Began(b.Period, t.Now, t.Zone))
	if before.since != since {
		before = spentBefore{since: since}
	}
	if b.Scope != purser.ScopeLabel {
		if err := before.goOn(ctx, t, b); err != nil {
			return purser.BudgetLine{}, fmt.Errorf("adding up what was spent before: %w", err)
		}
	}
	w := db.Window{Name: windowName(b, t.Now, t.Zone), Held: before.Held, Captured: before.Captured, Refunded: before.Refunded}
	line := lineOf(b, w, t.Now, t.Zone)
	if before.Held == 0 && before.Captured == 0 {
		t.Record(r)
		_, err := o.window(ctx, t, b)
		return line, err
	}
	opened := budgetRecord(line, 0)
	opened.Change = opened.Use()
	r.Budgets = []audit.BudgetLine{opened}
	seq := t.Record(r)
	err := t.OpenWindowWith(ctx, db.OpenWindowWithParams{
		Organization: t.Org, Scope: b.Scope, Target: b.Target, Currency: b.Currency, Name: w.Name,
		Held: w.Held, Captured: w.Captured, Refunded: w.Refunded, GuardCeiling: max(b.LimitMinor, opened.Use()),
	})
	if err != nil {
		return line, fmt.Errorf("opening a budget's window: %w", err)
	}
	return line, t.InsertOpening(ctx, db.InsertOpeningParams{
		Organization: t.Org, Scope: b.Scope, Target: b.Target, Currency: b.Currency, Name: w.Name, Since: since, Seq: seq,
	})
}

// goOn adds what became of the same holds after the record, and newer holds.
func (s *spentBefore) goOn(ctx context.Context, t *store.Turn, b db.Budget) error {
	rows, err := t.SpentAfter(ctx, db.SpentAfterParams{
		Organization: t.Org, After: s.Seq, Currency: b.Currency, Since: s.since, Scope: b.Scope, Target: b.Target,
	})
	for _, m := range rows {
		switch ledger.Kind(m.Kind) {
		case ledger.Hold:
			s.Held += m.Amount
		case ledger.Charge:
			s.Captured += m.Amount
		case ledger.Capture:
			s.Held, s.Captured = s.Held-m.Amount, s.Captured+m.Amount
		case ledger.Release:
			s.Held -= m.Amount
		case ledger.Refund:
			s.Refunded += m.Amount
		}
	}
	return err
}

// openingsOf are the windows of an organization that began with what was spent before
// their budgets had a limit: few.
func openingsOf(ctx context.Context, q *db.Queries, org string) ([]spend.Opening, error) {
	rows, err := q.Openings(ctx, org)
	if err != nil {
		return nil, fmt.Errorf("loading what windows were opened with: %w", err)
	}
	out := make([]spend.Opening, len(rows))
	for i, r := range rows {
		out[i] = spend.Opening{
			WindowKey: spend.WindowKey{Scope: r.Scope, Target: r.Target, Currency: r.Currency, Name: r.Name}, Since: store.Time(r.Since), Seq: r.Seq,
		}
	}
	return out, nil
}
