package office

import (
	"context"
	"math"
	"strconv"

	"github.com/purser-dev/purser"
	"github.com/purser-dev/purser/internal/ledger"
	"github.com/purser-dev/purser/internal/store"
	"github.com/purser-dev/purser/internal/store/db"
)

// Spend lists the movements of money, the newest first, each with the audit record
// that proves it, and what it all comes to.
func (o *Office) Spend(ctx context.Context, by purser.Actor, in purser.AskSpend) (out purser.Spend, err error) {
	out = purser.Spend{Events: []purser.MoneyEvent{}}
	limit, err := page(in.Page, counted)
	if err != nil {
		return out, err
	}
	q, project := o.Store.Read(), ""
	if in.Project != "" || by.Kind == purser.Agent {
		p, err := o.project(ctx, q, by, in.Project)
		if err != nil {
			return out, err
		}
		project = p.ID
	}
	if by.Kind == purser.Agent {
		in.Run = by.Run
	}
	if in.Run != "" {
		run, err := q.Run(ctx, db.RunParams{Organization: by.Organization, ID: in.Run})
		if err != nil {
			return out, notFound(err, "run", in.Run)
		}
		if project != "" && run.Project != project { // an empty list would say that it spent nothing
			return out, purser.Errorf(purser.NotFound, "run %s belongs to another project", in.Run).WithHint("ask for the run alone")
		}
	}
	before := int64(math.MaxInt64)
	if in.Cursor != "" {
		before, _ = strconv.ParseInt(in.Cursor, 10, 64)
	}
	rows, err := movements(ctx, q, in.Run, db.MovementsParams{Organization: by.Organization, Before: before, Project: project, RowLimit: limit + 1})
	if err != nil {
		return out, err
	}
	events := cut(rows, limit, event, func(m db.Movement) string { return strconv.FormatInt(m.Seq, 10) })
	out.Events, out.NextCursor = events.Items, events.NextCursor
	if err := o.spendSums(ctx, q, by.Organization, project, in.Run, &out); err != nil {
		return out, err
	}
	lines, err := o.lines(ctx, q, by.Organization)
	out.Budgets = visible(by, lines)
	return out, err
}

// knownRun refuses the name of no run: an empty list would say that it spent nothing.
func knownRun(ctx context.Context, q *db.Queries, org, run string) error {
	if run == "" {
		return nil
	}
	_, err := q.Run(ctx, db.RunParams{Organization: org, ID: run})
	return notFound(err, "run", run)
}

// movements are found by run where one is named: the query that takes everything
// walks everything.
func movements(ctx context.Context, q *db.Queries, run string, p db.MovementsParams) ([]db.Movement, error) {
	if run != "" {
		return q.MovementsOfRun(ctx, db.MovementsOfRunParams{Organization: p.Organization, Run: run, Before: p.Before, RowLimit: p.RowLimit})
	}
	return q.Movements(ctx, p)
}

func event(m db.Movement) purser.MoneyEvent {
	return purser.MoneyEvent{
		Seq: m.Seq, At: store.Time(m.At), Kind: m.Kind, Amount: purser.Money{Amount: m.Amount, Currency: m.Currency}, Provider: m.Provider,
		Project: m.Project, Run: m.Run, Order: m.OrderID, Hold: m.Hold, Charge: m.Charge,
	}
}

// spendSums adds up all movements of the project and run, not only those shown.
func (o *Office) spendSums(ctx context.Context, q *db.Queries, org, project, run string, out *purser.Spend) error {
	rows, err := o.kindSums(ctx, q, org, project, run)
	if err != nil {
		return err
	}
	captured, held, refunded := sums{}, sums{}, sums{}
	for _, r := range rows {
		switch ledger.Kind(r.Kind) {
		case ledger.Hold:
			held.add(r.Currency, r.Amount)
		case ledger.Capture:
			held.add(r.Currency, -r.Amount)
			captured.add(r.Currency, r.Amount)
		case ledger.Charge, ledger.Overrun:
			captured.add(r.Currency, r.Amount)
		case ledger.Release:
			held.add(r.Currency, -r.Amount)
		case ledger.Refund, ledger.Return:
			refunded.add(r.Currency, r.Amount)
		}
	}
	out.Captured, out.Held, out.Refunded = captured.list(), held.list(), refunded.list()
	return nil
}
