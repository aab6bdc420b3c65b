package office

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"slices"
	"sort"
	"strings"

	"github.com/purser-dev/purser"
	"github.com/purser-dev/purser/internal/audit"
	"github.com/purser-dev/purser/internal/ledger"
	"github.com/purser-dev/purser/internal/spend"
	"github.com/purser-dev/purser/internal/store"
	"github.com/purser-dev/purser/internal/store/db"
)

// CheckBooks walks everything, in a snapshot so that nothing moves meanwhile and
// nobody waits: postings sum to zero, each hold is what its movements say, each
// window is the sum of its holds, each order has its hold and the other way round,
// each hold its record, records are dense, epochs only grow. Beside all that, windows,
// limits and holds are what the records, read from the first to the last, say of them:
// who changes rows that fit each other is found too.
//
// It reads pages and keeps sums, so its memory grows with the windows and limits and not
// with the books. Only when a sum says that something is wrong are the rows compared one by one, and the
// first of them are named.
func (o *Office) CheckBooks(ctx context.Context, by purser.Actor, _ purser.None) (out purser.Books, err error) {
	err = o.Store.Dump(ctx, func(snapshot *store.Snapshot) error {
		org, err := snapshot.Organization(ctx, by.Organization)
		if err != nil {
			return err
		}
		openings, err := openingsOf(ctx, snapshot.Queries, org.ID)
		if err != nil {
			return err
		}
		b := &books{
			Queries: snapshot.Queries, ctx: ctx, org: org, moved: ledger.NewTally(), kept: ledger.NewTally(), ordered: ledger.NewTally(),
			told: ledger.NewTally(), balances: audit.NewBalances(), marks: map[windowsName][]windowMark{}, openings: openings,
		}
		for _, check := range []func() error{b.stopped, b.records, b.movements, b.holds, b.windows, b.limits, b.orders, b.compare} {
			if err := check(); err != nil {
				return err
			}
		}
		sort.Strings(b.faults)
		out = b.out
		out.Faults, out.OK = orEmpty(b.faults), len(b.faults) == 0
		return nil
	})
	return out, err
}

const (
	booksPage   = 1000 // rows in memory at a time
	booksFaults = 20   // rows that one kind of fault names
	booksMarks  = 5000 // lists of windows whose marks are kept
)

type books struct {
	*db.Queries
	ctx     context.Context
	org     db.Organization
	stops   []db.BooksStopsRow
	moved   *ledger.Tally // movements, and what holds say of them
	kept    *ledger.Tally // windows, and what holds say of them
	ordered *ledger.Tally // orders, and what holds say of them
	told    *ledger.Tally // holds, and what records say of them
	// balances are what the records read so far have come to.
	balances *audit.Balances
	marks    map[windowsName][]windowMark
	openings []spend.Opening
	bare     int // holds without a record
	out      purser.Books
	faults   []string
}

// windowMark are the numbers of one window's three amounts.
type windowMark struct{ held, captured, refunded ledger.Mark }

func (b *books) fault(format string, args ...any) {
	b.faults = append(b.faults, fmt.Sprintf(format, args...))
}

// stopped looks at the stops: each made a later epoch.
func (b *books) stopped() (err error) {
	if b.stops, err = b.BooksStops(b.ctx, b.org.ID); err != nil {
		return err
	}
	for i, s := range b.stops {
		if i > 0 && s.Epoch <= b.stops[i-1].Epoch || s.Epoch > b.org.Epoch || s.Seq > b.org.Seq {
			b.fault("the stop of record %d made epoch %d, out of order", s.Seq, s.Epoch)
		}
	}
	return nil
}

// records looks at the log as a row of numbers, dense from 1 to where the organization
// is, and reads what the records say of money. One that cannot be read is audit verify's
// to judge, and named here.
func (b *books) records() error {
	b.balances.Hold = func(id string, m audit.HoldMoves) { b.tell(b.told.Left, id, m) }
	last := int64(0)
	err := b.read(b.balances, func(block store.Block) {
		switch {
		case block.First <= last:
			b.faulty("record %d is there twice", block.First)
		case last == 0 && block.First > 1:
			b.fault("the log begins with record %d", block.First)
		case block.First > last+1:
			b.faulty("record %d is missing", last+1)
		}
		last = block.Last
	})
	if err == nil && last != b.org.Seq {
		b.fault("the log ends with record %d, and the organization is at %d", last, b.org.Seq)
	}
	return err
}

// read reads all records; with see, what cannot be read is named.
func (b *books) read(into *audit.Balances, see func(store.Block)) error {
	for block, err := range store.Blocks(b.ctx, b.Queries, b.org.ID, 0, booksPage) {
		if err != nil {
			return err
		}
		if see != nil {
			see(block)
		}
		records, err := block.Records()
		if err != nil && see != nil {
			b.faulty("%s", asError(err).Detail)
		}
		for _, r := range records {
			if err := into.Read(r.Leaf); err != nil && see != nil {
				b.faulty("record %d cannot be read: %v", r.Seq, err)
			}
		}
	}
	return nil
}

// tell adds the amounts of a hold to one side of what is told of holds.
func (b *books) tell(side func(ledger.Mark, int64), id string, m audit.HoldMoves) {
	for i, amount := range [...]int64{m.Placed, m.Captured, m.Refunded, m.Overrun, m.Returned} {
		if amount != 0 {
			side(b.told.Mark(id, toldNames[i]), amount)
		}
	}
}

var toldNames = [...]string{"amount", "captured", "refunded", "overrun", "returned"}

// toldOf is what records must tell of a hold: all of one that no plan made; an order's
// is told by the order's own.
func toldOf(h db.BooksHoldsRow) audit.HoldMoves {
	m := audit.HoldMoves{Overrun: h.Overrun, Returned: h.Returned}
	if h.Principal != "" {
		m.Placed, m.Captured, m.Refunded = h.Amount, h.Captured, h.Refunded
	}
	return m
}

func (b *books) movements() error {
	var ledgers ledger.Books
	at, n := db.BooksMovementsParams{Organization: b.org.ID, RowLimit: booksPage}, int64(0)
	for {
		rows, err := b.BooksMovements(b.ctx, at)
		if err != nil {
			return err
		}
		for _, m := range rows {
			ledgers.Post(ledger.Posting{
				Seq: m.Seq, N: m.N, Kind: ledger.Kind(m.Kind), Provider: m.Provider, Debit: m.Debit, Credit: m.Credit, Currency: m.Currency, Amount: m.Amount,
			})
			if n++; m.Seq != at.After {
				n = 1
			}
			if m.Seq < 1 || m.Seq > b.org.Seq || m.N != n {
				b.faulty("movement %d.%d has no record, or is out of order", m.Seq, m.N)
			}
			b.tally(m)
			at.After, at.AfterN = m.Seq, m.N
		}
		b.out.Movements += int64(len(rows))
		if len(rows) < booksPage {
			b.faults = append(b.faults, ledgers.Faults()...)
			return nil
		}
	}
}

// shown are amounts as people read them.
func shown(currency string, amounts ...int64) string {
	texts := make([]string, len(amounts))
	for i, amount := range amounts {
		texts[i] = purser.Money{Amount: amount, Currency: currency}.String()
	}
	return strings.Join(texts, ", ")
}

// moves are what is told of a hold, as people read it.
func moves(currency string, m audit.HoldMoves) string {
	return "amount, captured, refunded, overrun, returned " + shown(currency, m.Placed, m.Captured, m.Refunded, m.Overrun, m.Returned)
}

// faulty names a fault of a kind that one mistake may make a million times.
func (b *books) faulty(format string, args ...any) {
	if len(b.faults) < booksFaults*booksFaults {
		b.fault(format, args...)
	}
}

// tally says what a movement makes of its hold.
func (b *books) tally(m db.BooksMovementsRow) {
	switch ledger.Kind(m.Kind) {
	case ledger.Hold:
		b.moved.Left(b.moved.Mark(m.Hold, "amount"), m.Amount)
	case ledger.Capture:
		b.moved.Left(b.moved.Mark(m.Hold, "captured"), m.Amount)
	case ledger.Charge:
		b.moved.Left(b.moved.Mark(m.Hold, "amount"), m.Amount)
		b.moved.Left(b.moved.Mark(m.Hold, "captured"), m.Amount)
	case ledger.Release:
		b.moved.Left(b.moved.Mark(m.Hold, "released"), m.Amount)
	case ledger.Refund:
		b.moved.Left(b.moved.Mark(m.Hold, "refunded"), m.Amount)
	case ledger.Overrun:
		b.moved.Left(b.moved.Mark(m.Hold, "overrun"), m.Amount)
	case ledger.Return:
		b.moved.Left(b.moved.Mark(m.Hold, "returned"), m.Amount)
	}
}

func (b *books) holds() error {
	at := db.BooksHoldsParams{Organization: b.org.ID, RowLimit: booksPage}
	for {
		rows, err := b.BooksHolds(b.ctx, at)
		if err != nil {
			return err
		}
		for _, h := range rows {
			if err := b.hold(h); err != nil {
				return err
			}
			at.After = h.ID
		}
		b.out.Holds += int64(len(rows))
		if err := b.recorded(rows); err != nil {
			return err
		}
		if len(rows) < booksPage {
			return nil
		}
	}
}

// recorded finds the record of each hold. Holds that are near each other by name mostly
// are in the log too, so their records are read in order.
func (b *books) recorded(holds []db.BooksHoldsRow) error {
	slices.SortFunc(holds, func(x, y db.BooksHoldsRow) int { return cmp.Compare(x.Seq, y.Seq) })
	for len(holds) > 0 {
		read := false
		for block, err := range store.Blocks(b.ctx, b.Queries, b.org.ID, holds[0].Seq-1, booksPage) {
			if err != nil {
				return err
			}
			records, bad := block.Records() // a bad one was named already
			for ; len(holds) > 0 && holds[0].Seq <= block.Last; holds, read = holds[1:], true {
				h, i := holds[0], holds[0].Seq-block.First
				if i < 0 || bad == nil && !bytes.Contains(records[i].Leaf, []byte(h.ID)) {
					b.unrecorded(h)
				}
			}
			if len(holds) == 0 || holds[0].Seq > block.Last+booksPage { // the next is far
				break
			}
		}
		if !read { // the log ends before them
			for _, h := range holds {
				b.unrecorded(h)
			}
			return nil
		}
	}
	return nil
}

func (b *books) unrecorded(h db.BooksHoldsRow) {
	if b.bare++; b.bare <= booksFaults {
		b.fault("hold %s has no record: number %d is not of it", h.ID, h.Seq)
	}
}

func (b *books) hold(h db.BooksHoldsRow) error {
	rest := h.Amount - h.Captured - h.Released
	if over := h.State != holdHeld && h.State != holdBegun && h.State != "unknown"; over && rest != 0 {
		b.faulty("hold %s is %s and still holds %s", h.ID, h.State, shown(h.Currency, rest))
	}
	// What was decided after a stop has the stop's epoch, or a later one.
	i := sort.Search(len(b.stops), func(i int) bool { return b.stops[i].Seq >= h.Seq })
	if i > 0 && h.Epoch < b.stops[i-1].Epoch || h.Epoch > b.org.Epoch {
		b.faulty("hold %s of record %d has epoch %d", h.ID, h.Seq, h.Epoch)
	}
	b.moved.Right(b.moved.Mark(h.ID, "amount"), h.Amount)
	b.moved.Right(b.moved.Mark(h.ID, "captured"), h.Captured)
	b.moved.Right(b.moved.Mark(h.ID, "released"), h.Released)
	b.moved.Right(b.moved.Mark(h.ID, "refunded"), h.Refunded)
	if h.Overrun != 0 || h.Returned != 0 { // rare, and the numbers of names cost time
		b.moved.Right(b.moved.Mark(h.ID, "overrun"), h.Overrun)
		b.moved.Right(b.moved.Mark(h.ID, "returned"), h.Returned)
	}
	b.tell(b.told.Right, h.ID, toldOf(h))
	if h.OrderID != "" {
		b.ordered.Right(b.ordered.Mark(h.OrderID, h.ID, settledWord(h.State == holdClosed)), 1)
	}
	marks, err := b.marksOf(h)
	for _, m := range marks {
		b.kept.Left(m.held, rest)
		b.kept.Left(m.captured, h.Captured)
		b.kept.Left(m.refunded, h.Refunded)
	}
	return err
}

func settledWord(settled bool) string {
	if settled {
		return "settled"
	}
	return "open"
}

// marksOf are the numbers of the windows of a hold. Most holds have a list of
// windows that many others have too.
func (b *books) marksOf(h db.BooksHoldsRow) ([]windowMark, error) {
	own := ownOf(b.org.ID, h)
	name := windowsName{own, h.Currency, h.Windows}
	marks, ok := b.marks[name]
	if !ok {
		keys, err := spend.ParseWindows(own, h.Currency, h.Windows)
		if err != nil {
			return nil, err
		}
		marks = b.windowsMarks(keys)
		if len(b.marks) >= booksMarks {
			clear(b.marks)
		}
		b.marks[name] = marks
	}
	return append(marks[:len(marks):len(marks)], b.windowsMarks(b.later(nil, own, h))...), nil
}

// later adds the windows that a hold belongs to without naming them.
func (b *books) later(keys []spend.WindowKey, own spend.Own, h db.BooksHoldsRow) []spend.WindowKey {
	return spend.OpenedLater(keys, b.openings, own, h.Currency, h.Seq, store.Time(h.CreatedAt))
}

func (b *books) windowsMarks(keys []spend.WindowKey) []windowMark {
	marks := make([]windowMark, len(keys))
	for i, k := range keys {
		marks[i] = b.window(k.Scope, k.Target, k.Currency, k.Name)
	}
	return marks
}

// windowsName is all that a hold's windows are read from.
type windowsName struct {
	own            spend.Own
	currency, text string
}

func ownOf(org string, h db.BooksHoldsRow) spend.Own {
	return spend.Own{Organization: org, Project: h.Project, Provider: h.Provider, Category: h.Category, Run: h.Run}
}

func (b *books) window(parts ...string) windowMark {
	mark := func(amount string) ledger.Mark { return b.kept.Mark(append(parts[:len(parts):len(parts)], amount)...) }
	return windowMark{mark("held"), mark("captured"), mark("refunded")}
}

// windows compares each with its holds, by a sum, and with the log.
func (b *books) windows() error {
	told := map[audit.BudgetLine]audit.BudgetLine{}
	for _, w := range b.balances.Windows() {
		told[audit.BudgetLine{Scope: w.Scope, Window: w.Window, Currency: w.Currency}] = w
	}
	at := db.BooksWindowsParams{Organization: b.org.ID, RowLimit: booksPage}
	for {
		rows, err := b.BooksWindows(b.ctx, at)
		if err != nil {
			return err
		}
		for _, w := range rows {
			m := b.window(w.Scope, w.Target, w.Currency, w.Name)
			b.kept.Right(m.held, w.Held)
			b.kept.Right(m.captured, w.Captured)
			b.kept.Right(m.refunded, w.Refunded)
			key := audit.BudgetLine{Scope: w.Scope + ":" + w.Target, Window: w.Name, Currency: w.Currency}
			if of := told[key]; of.Held != w.Held || of.Captured != w.Captured || of.Refunded != w.Refunded {
				b.faulty("budget %s %s has held, captured, refunded %s; the log says %s",
					key.Scope, w.Name, shown(w.Currency, w.Held, w.Captured, w.Refunded), shown(w.Currency, of.Held, of.Captured, of.Refunded))
			}
			delete(told, key)
			at.Scope, at.Target, at.Currency, at.Name = w.Scope, w.Target, w.Currency, w.Name
		}
		b.out.Budgets += int64(len(rows))
		if len(rows) < booksPage {
			break
		}
	}
	for key, of := range told { // a refusal names budgets that nothing was ever spent of
		if of.Held != 0 || of.Captured != 0 || of.Refunded != 0 {
			b.faulty("budget %s %s is not there; the log says held, captured, refunded %s", key.Scope, key.Window, shown(key.Currency, of.Held, of.Captured, of.Refunded))
		}
	}
	return nil
}

// limits compares each with the log, as far as that tells it: a run that an older version
// opened for a person, it does not.
func (b *books) limits() error {
	told, err := b.balances.Limits()
	if err != nil {
		return err
	}
	at := db.BooksLimitsParams{Organization: b.org.ID, RowLimit: booksPage}
	for {
		rows, err := b.BooksLimits(b.ctx, at)
		if err != nil {
			return err
		}
		for _, row := range rows {
			at.Scope, at.Target, at.Currency, at.Period = row.Scope, row.Target, row.Currency, row.Period
			key := audit.Budget{Scope: row.Scope + ":" + row.Target, Currency: row.Currency, Period: row.Period}
			switch limit, ok := told[key]; {
			case ok && limit != row.LimitMinor:
				b.faulty("budget %s %s has a limit of %s; the log says %s", key.Scope, key.Period, shown(key.Currency, row.LimitMinor), shown(key.Currency, limit))
			case !ok && b.balances.AllLimits(key.Scope, key.Currency):
				b.faulty("budget %s %s has a limit of %s; the log says none", key.Scope, key.Period, shown(key.Currency, row.LimitMinor))
			}
			delete(told, key)
		}
		if len(rows) < booksPage {
			break
		}
	}
	for key, limit := range told {
		b.faulty("budget %s %s has no limit; the log says %s", key.Scope, key.Period, shown(key.Currency, limit))
	}
	return nil
}

// orders counts each order as one thing together with its hold and whether it is
// settled: then the hold must be closed.
func (b *books) orders() error {
	at := db.BooksOrdersParams{Organization: b.org.ID, RowLimit: booksPage}
	for {
		rows, err := b.BooksOrders(b.ctx, at)
		if err != nil {
			return err
		}
		for _, o := range rows {
			state := purser.OrderState(o.State)
			settled := state == purser.OrderLive || state == purser.OrderFailed || state == purser.OrderRemoved
			b.ordered.Left(b.ordered.Mark(o.ID, o.Hold, settledWord(settled)), 1)
			at.After = o.ID
		}
		b.out.Orders += int64(len(rows))
		if len(rows) < booksPage {
			return nil
		}
	}
}

// compare finds the rows where sums do not agree.
func (b *books) compare() error {
	if !b.moved.Agree() {
		if err := b.misheld(); err != nil {
			return err
		}
	}
	if !b.kept.Agree() {
		if err := b.mismatched(); err != nil {
			return err
		}
	}
	if !b.told.Agree() {
		if err := b.mistold(); err != nil {
			return err
		}
	}
	if b.ordered.Agree() {
		return nil
	}
	orders, err := b.BooksMisordered(b.ctx, db.BooksMisorderedParams{Organization: b.org.ID, RowLimit: booksFaults})
	for _, o := range orders {
		switch {
		case o.HoldOrder != o.ID:
			b.fault("order %s has no hold", o.ID)
		default:
			b.fault("order %s is %s and its hold is %s", o.ID, o.State, o.HoldState)
		}
	}
	if err != nil {
		return err
	}
	holds, err := b.BooksOrphans(b.ctx, db.BooksOrphansParams{Organization: b.org.ID, RowLimit: booksFaults})
	for _, h := range holds {
		b.fault("hold %s is of order %s, which has another", h.ID, h.OrderID)
	}
	if len(orders)+len(holds) == 0 {
		b.fault("orders and holds do not fit each other")
	}
	return err
}

// mistold finds the holds of which the log says something else. It reads everything
// once more for each part of the holds, so that they need not all be in memory.
func (b *books) mistold() error {
	const parts = 32 // the letters of an identifier
	before := len(b.faults)
	for part := range parts {
		want, currency := map[string]audit.HoldMoves{}, map[string]string{}
		here := func(id string) bool { return id != "" && int(id[len(id)-1])%parts == part }
		told := audit.NewBalances()
		told.Hold = func(id string, m audit.HoldMoves) {
			if here(id) {
				s := want[id]
				currency[id] = m.Currency
				want[id] = audit.HoldMoves{
					Placed: s.Placed + m.Placed, Captured: s.Captured + m.Captured, Refunded: s.Refunded + m.Refunded,
					Overrun: s.Overrun + m.Overrun, Returned: s.Returned + m.Returned,
				}
			}
		}
		if err := b.read(told, nil); err != nil {
			return err
		}
		at := db.BooksHoldsParams{Organization: b.org.ID, RowLimit: booksPage}
		for {
			rows, err := b.BooksHolds(b.ctx, at)
			if err != nil {
				return err
			}
			for _, h := range rows {
				if at.After = h.ID; !here(h.ID) {
					continue
				}
				if is := toldOf(h); is != want[h.ID] {
					b.faulty("hold %s says %s; the log says %s", h.ID, moves(h.Currency, is), moves(h.Currency, want[h.ID]))
				}
				delete(want, h.ID)
			}
			if len(rows) < booksPage {
				break
			}
		}
		for id, m := range want {
			b.faulty("the log says %s of hold %s, which is not there", moves(currency[id], m), id)
		}
		if len(b.faults) >= before+booksFaults {
			return nil
		}
	}
	return nil
}

func (b *books) misheld() error {
	holds, err := b.BooksMisheld(b.ctx, db.BooksMisheldParams{Org: b.org.ID, RowLimit: booksFaults})
	for _, h := range holds {
		whole, err := b.Hold(b.ctx, db.HoldParams{Organization: b.org.ID, ID: h.ID})
		if err != nil {
			return err
		}
		b.fault("hold %s says amount, captured, released, refunded, overrun, returned %s; its movements say %s", h.ID,
			shown(whole.Currency, h.Amount, h.Captured, h.Released, h.Refunded, h.Overrun, h.Returned),
			shown(whole.Currency, h.MovedHeld, h.MovedCaptured, h.MovedReleased, h.MovedRefunded, h.MovedOverrun, h.MovedReturned))
	}
	if err != nil {
		return err
	}
	bare, err := b.BooksUnheld(b.ctx, db.BooksUnheldParams{Organization: b.org.ID, RowLimit: booksFaults})
	for _, m := range bare {
		b.fault("movement %d.%d is of hold %s, which is not there", m.Seq, m.N, m.Hold)
	}
	if len(holds)+len(bare) == 0 {
		b.fault("holds and movements do not fit each other")
	}
	return err
}

// mismatched adds up each window again. Its memory grows with the windows, not
// with the holds.
func (b *books) mismatched() error {
	type amounts struct{ held, captured, refunded int64 }
	want := map[string]amounts{}
	holds := db.BooksHoldsParams{Organization: b.org.ID, RowLimit: booksPage}
	for {
		rows, err := b.BooksHolds(b.ctx, holds)
		if err != nil {
			return err
		}
		for _, h := range rows {
			own := ownOf(b.org.ID, h)
			keys, err := spend.ParseWindows(own, h.Currency, h.Windows)
			if err != nil {
				return err
			}
			for _, k := range b.later(keys, own, h) {
				id := k.Scope + ":" + k.Target + ":" + h.Currency + ":" + k.Name
				s := want[id]
				want[id] = amounts{s.held + h.Amount - h.Captured - h.Released, s.captured + h.Captured, s.refunded + h.Refunded}
			}
			holds.After = h.ID
		}
		if len(rows) < booksPage {
			break
		}
	}
	at := db.BooksWindowsParams{Organization: b.org.ID, RowLimit: booksPage}
	for {
		rows, err := b.BooksWindows(b.ctx, at)
		if err != nil {
			return err
		}
		for _, w := range rows {
			id := w.Scope + ":" + w.Target + ":" + w.Currency + ":" + w.Name
			if got := (amounts{w.Held, w.Captured, w.Refunded}); got != want[id] {
				is := want[id]
				b.faulty("budget %s has held, captured, refunded %s; its holds say %s", id, shown(w.Currency, got.held, got.captured, got.refunded),
					shown(w.Currency, is.held, is.captured, is.refunded))
			}
			delete(want, id)
			at.Scope, at.Target, at.Currency, at.Name = w.Scope, w.Target, w.Currency, w.Name
		}
		if len(rows) < booksPage {
			break
		}
	}
	for id, missing := range want {
		if missing != (amounts{}) {
			b.faulty("budget %s is missing", id)
		}
	}
	return nil
}
