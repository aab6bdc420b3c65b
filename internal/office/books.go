package office

import (
	"context"
	"fmt"
	"sort"

	"github.com/purser-dev/purser"
	"github.com/purser-dev/purser/internal/ledger"
	"github.com/purser-dev/purser/internal/store"
	"github.com/purser-dev/purser/internal/store/db"
)

// CheckBooks walks everything, in a snapshot so that nothing moves meanwhile and
// nobody waits:
// postings sum to zero, each window is the sum of its holds, each hold is what its
// movements say, each order has its hold, each hold its record.
func (o *Office) CheckBooks(ctx context.Context, by purser.Actor, _ purser.None) (out purser.Books, err error) {
	err = o.Store.Dump(ctx, func(snapshot *store.Snapshot) error {
		org, err := snapshot.Organization(ctx, by.Organization)
		if err != nil {
			return err
		}
		b := &books{Queries: snapshot.Queries, ctx: ctx, org: org.ID, seq: org.Seq}
		if err := b.load(); err != nil {
			return err
		}
		b.checkMovements()
		if err := b.checkWindows(); err != nil {
			return err
		}
		b.checkHolds()
		if err := b.checkOrders(); err != nil {
			return err
		}
		sort.Strings(b.faults)
		out = b.out
		out.Faults, out.OK = orEmpty(b.faults), len(b.faults) == 0
		return nil
	})
	return out, err
}

type books struct {
	*db.Queries
	org       string
	seq       int64
	ctx       context.Context
	out       purser.Books
	faults    []string
	all       []db.Hold
	movements []db.Movement
}

func (b *books) fault(format string, args ...any) {
	b.faults = append(b.faults, fmt.Sprintf(format, args...))
}

func (b *books) load() (err error) {
	if b.all, err = b.Holds(b.ctx, b.org); err != nil {
		return err
	}
	if b.movements, err = b.AllMovements(b.ctx, b.org); err != nil {
		return err
	}
	b.out.Movements, b.out.Holds = int64(len(b.movements)), int64(len(b.all))
	return nil
}

func (b *books) checkMovements() {
	var ledgers ledger.Books
	for _, m := range b.movements {
		ledgers.Post(ledger.Posting{
			Seq: m.Seq, N: m.N, Kind: ledger.Kind(m.Kind), Provider: m.Provider, Debit: m.Debit, Credit: m.Credit, Currency: m.Currency, Amount: m.Amount,
		})
		if m.Seq > b.seq {
			b.fault("movement %d.%d has no record", m.Seq, m.N)
		}
	}
	b.faults = append(b.faults, ledgers.Faults()...)
}

// checkWindows compares each window with the sum of the holds that were decided
// against it.
func (b *books) checkWindows() error {
	type sum struct{ held, captured, refunded int64 }
	want := map[string]sum{}
	for _, h := range b.all {
		keys, err := fromJSON[[]windowKey](h.Windows)
		if err != nil {
			return err
		}
		for _, k := range keys {
			id := k.Scope + ":" + k.Target + ":" + h.Currency + ":" + k.Name
			s := want[id]
			want[id] = sum{s.held + left(h), s.captured + h.Captured, s.refunded + h.Refunded}
		}
	}
	rows, err := b.Windows(b.ctx, b.org)
	if err != nil {
		return err
	}
	b.out.Budgets = int64(len(rows))
	for _, w := range rows {
		id := w.Scope + ":" + w.Target + ":" + w.Currency + ":" + w.Name
		if got := (sum{w.Held, w.Captured, w.Refunded}); got != want[id] {
			b.fault("budget %s has held, captured, refunded %v; its holds say %v", id, got, want[id])
		}
		delete(want, id)
	}
	for id := range want {
		b.fault("budget %s is missing", id)
	}
	return nil
}

// checkHolds compares each hold with its movements and its state.
func (b *books) checkHolds() {
	moved := map[string]map[ledger.Kind]int64{}
	for _, m := range b.movements {
		if moved[m.Hold] == nil {
			moved[m.Hold] = map[ledger.Kind]int64{}
		}
		moved[m.Hold][ledger.Kind(m.Kind)] += m.Amount
	}
	for _, h := range b.all {
		m := moved[h.ID]
		if m[ledger.Hold]+m[ledger.Charge] != h.Amount || m[ledger.Capture]+m[ledger.Charge] != h.Captured || m[ledger.Release] != h.Released || m[ledger.Refund] != h.Refunded {
			b.fault("hold %s says %d, %d, %d, %d; its movements say %v", h.ID, h.Amount, h.Captured, h.Released, h.Refunded, m)
		}
		if h.State == holdClosed && left(h) != 0 {
			b.fault("hold %s is closed and still holds %d", h.ID, left(h))
		}
		if h.Seq < 1 || h.Seq > b.seq {
			b.fault("hold %s has no record", h.ID)
		}
		delete(moved, h.ID)
	}
	for id := range moved {
		b.fault("movements of hold %s, which is not there", id)
	}
}

// checkOrders checks that each order has its hold, open exactly while it is unsettled.
func (b *books) checkOrders() error {
	rows, err := b.Orders(b.ctx, b.org)
	if err != nil {
		return err
	}
	b.out.Orders = int64(len(rows))
	byID := map[string]db.Hold{}
	for _, h := range b.all {
		byID[h.ID] = h
	}
	for _, o := range rows {
		h, ok := byID[o.Hold]
		settled := purser.OrderState(o.State) == purser.OrderLive || purser.OrderState(o.State) == purser.OrderFailed || purser.OrderState(o.State) == purser.OrderRemoved
		switch {
		case !ok:
			b.fault("order %s has no hold", o.ID)
		case settled != (h.State == holdClosed):
			b.fault("order %s is %s and its hold is %s", o.ID, o.State, h.State)
		}
	}
	return nil
}
