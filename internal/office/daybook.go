package office

import (
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/purser-dev/purser"
	"github.com/purser-dev/purser/internal/ledger"
	"github.com/purser-dev/purser/internal/store"
	"github.com/purser-dev/purser/internal/store/db"
)

// daybook adds movements up by day as they come. Movements are written in the
// order of turns and never changed, so what was read once is never read again,
// and a report costs the days that it shows and not the orders of a year.
type daybook struct {
	mu    sync.Mutex
	after int64 // the last record whose movements are in
	days  map[dayKey]daySum
	kinds map[kindKey]sums // all movements, by project and kind
}

type kindKey struct {
	project string
	kind    ledger.Kind
}

type dayKey struct{ day, provider, project, currency string }

type daySum struct{ captured, refunded int64 }

// movementChunk is how many movements are read at once.
const movementChunk = 5000

// daybook brings an organization's daybook up to date and returns its sums from a
// day on, in order.
func (o *Office) daybook(ctx context.Context, org string, zone *time.Location, from string) ([]purser.ReportLine, error) {
	b, err := o.currentDaybook(ctx, org, zone)
	if err != nil {
		return nil, err
	}
	defer b.mu.Unlock()
	return b.since(from), nil
}

// currentDaybook reads what is new. The caller unlocks it.
func (o *Office) currentDaybook(ctx context.Context, org string, zone *time.Location) (*daybook, error) {
	o.mu.Lock()
	b := o.daybooks[org]
	if b == nil {
		b = &daybook{days: map[dayKey]daySum{}, kinds: map[kindKey]sums{}}
		o.daybooks[org] = b
	}
	o.mu.Unlock()
	b.mu.Lock()
	for {
		rows, err := o.Store.Read().MovementsAfter(ctx, db.MovementsAfterParams{Organization: org, After: b.after, RowLimit: movementChunk})
		if err != nil {
			b.mu.Unlock()
			return nil, err
		}
		b.add(rows, zone)
		if len(rows) < movementChunk {
			return b, nil
		}
	}
}

// kindSums adds all movements of a run up by kind, or of a project; without either, of
// the whole organization. An index has a run's, and the daybook the others.
func (o *Office) kindSums(ctx context.Context, q *db.Queries, org, project, run string) ([]db.MovementSumsOfRunRow, error) {
	if run != "" {
		return q.MovementSumsOfRun(ctx, db.MovementSumsOfRunParams{Organization: org, Run: run})
	}
	zone, err := zoneOf(ctx, q, org)
	if err != nil {
		return nil, err
	}
	b, err := o.currentDaybook(ctx, org, zone)
	if err != nil {
		return nil, err
	}
	defer b.mu.Unlock()
	var out []db.MovementSumsOfRunRow
	for key, of := range b.kinds {
		if project != "" && key.project != project {
			continue
		}
		for _, m := range of.list() {
			out = append(out, db.MovementSumsOfRunRow{Kind: string(key.kind), Currency: m.Currency, Amount: m.Amount})
		}
	}
	return out, nil
}

// add takes rows in order. A full chunk may end in the middle of a record's
// movements; that record is left for the next.
func (b *daybook) add(rows []db.Movement, zone *time.Location) {
	if len(rows) == movementChunk {
		last := rows[len(rows)-1].Seq
		if cut := slices.IndexFunc(rows, func(m db.Movement) bool { return m.Seq == last }); cut > 0 {
			rows = rows[:cut]
		}
	}
	for _, m := range rows {
		b.after = m.Seq
		kind := ledger.Kind(m.Kind)
		of := kindKey{m.Project, kind}
		if b.kinds[of] == nil {
			b.kinds[of] = sums{}
		}
		b.kinds[of].add(m.Currency, m.Amount)
		key := dayKey{store.Time(m.At).In(zone).Format(time.DateOnly), m.Provider, m.Project, m.Currency}
		sum := b.days[key]
		switch kind {
		case ledger.Capture, ledger.Charge, ledger.Overrun:
			sum.captured = capped(sum.captured, m.Amount)
		case ledger.Refund, ledger.Return:
			sum.refunded = capped(sum.refunded, m.Amount)
		default:
			continue
		}
		b.days[key] = sum
	}
}

// capped adds; a sum that does not fit stays at the largest.
func capped(a, b int64) int64 {
	if total, ok := purser.Sum(a, b); ok {
		return total
	}
	return 1<<63 - 1
}

func (b *daybook) since(from string) []purser.ReportLine {
	out := []purser.ReportLine{}
	for k, s := range b.days {
		if k.day >= from {
			out = append(out, purser.ReportLine{Day: k.day, Provider: k.provider, Project: k.project, Currency: k.currency, Captured: s.captured, Refunded: s.refunded})
		}
	}
	slices.SortFunc(out, func(a, b purser.ReportLine) int {
		if c := strings.Compare(a.Day, b.Day); c != 0 {
			return c
		}
		return strings.Compare(a.Provider+"\x00"+a.Project+"\x00"+a.Currency, b.Provider+"\x00"+b.Project+"\x00"+b.Currency)
	})
	return out
}

// Report adds up money by day, provider and project, in the organization's time
// zone, and says what this month is expected to come to.
func (o *Office) Report(ctx context.Context, by purser.Actor, in purser.AskReport) (out purser.Report, err error) {
	days := in.Days
	switch {
	case days == 0:
		days = 30
	case days < 0 || days > 366:
		return out, purser.Errorf(purser.InvalidRequest, "days is a number from 1 to 366")
	}
	q := o.Store.Read()
	org, err := q.Organization(ctx, by.Organization)
	if err != nil {
		return out, notFound(err, "organization", by.Organization)
	}
	zone, err := time.LoadLocation(org.Timezone)
	if err != nil {
		return out, err
	}
	now := o.Now().In(zone)
	out = purser.Report{Timezone: org.Timezone, From: now.AddDate(0, 0, 1-days).Format(time.DateOnly), Until: now.Format(time.DateOnly)}
	month := now.Format("2006-01") + "-01"
	lines, err := o.daybook(ctx, by.Organization, zone, min(out.From, month))
	if err != nil {
		return out, err
	}
	if out.Forecast, err = o.forecast(ctx, q, by.Organization, now, lines); err != nil {
		return out, err
	}
	names := map[string]string{}
	out.Lines = []purser.ReportLine{}
	for _, l := range lines {
		if l.Day < out.From {
			continue
		}
		if _, known := names[l.Project]; !known {
			p, err := q.Project(ctx, db.ProjectParams{Organization: by.Organization, ID: l.Project})
			if err != nil && !missing(err) {
				return out, err
			}
			names[l.Project] = p.Name
		}
		l.ProjectName = names[l.Project]
		out.Lines = append(out.Lines, l)
	}
	return out, nil
}

// forecast is what the month of now is expected to come to: what it took, what is
// held, and the renewals that are due until it ends. Nothing is guessed.
func (o *Office) forecast(ctx context.Context, q *db.Queries, org string, now time.Time, lines []purser.ReportLine) ([]purser.ForecastSum, error) {
	spent, held, renewals := sums{}, sums{}, sums{}
	for _, l := range lines {
		if l.Day[:7] == now.Format("2006-01") {
			spent.add(l.Currency, l.Captured-l.Refunded)
		}
	}
	holds, err := q.HeldNow(ctx, org)
	if err != nil {
		return nil, err
	}
	for _, h := range holds {
		held.add(h.Currency, h.Amount)
	}
	subs, err := q.RecurringSubscriptions(ctx, org)
	if err != nil {
		return nil, err
	}
	end := time.Date(now.Year(), now.Month()+1, 1, 0, 0, 0, 0, now.Location())
	for _, s := range subs {
		for s.NextAt > 0 && s.NextAt < store.Micro(end) && !outlives(s, now) {
			renewals.add(s.Currency, s.Amount)
			next, err := dateAfter(s, now, now.Location())
			if err != nil {
				break // an interval that we do not know falls due once
			}
			s.State, s.NextAt = SubscriptionActive, store.Micro(next)
		}
	}
	all := sums{}
	for _, part := range []sums{spent, held, renewals} {
		for currency, amount := range part {
			all.add(currency, amount)
		}
	}
	out := []purser.ForecastSum{}
	for _, total := range all.list() {
		c := total.Currency
		out = append(out, purser.ForecastSum{Currency: c, Spent: spent[c], Held: held[c], Renewals: renewals[c], Total: total.Amount})
	}
	return out, nil
}
