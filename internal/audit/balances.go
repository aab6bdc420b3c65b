package audit

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"

	"github.com/purser-dev/purser/internal/canonical"
)

// Balances are what leaves, read in their order, say that budgets and holds have come
// to: the other side of the rows that the store changes. It keeps an entry for each
// window of a budget, one for each limit and nothing for holds. Whether the leaves are those that were
// signed is for Verify to say.
type Balances struct {
	// Hold, if not nil, is told what a record did to a hold that no plan made.
	Hold func(id string, m HoldMoves)

	windows map[string]*BudgetLine
	limits  limits
	key     []byte
	leaf    spendLeaf
	line    line
	// currency is that of the last record with money.
	currency string
	member   func(key, value []byte) error
	inLine   func(key, value []byte) error
}

// HoldMoves are amounts of one record, in minor units. Overrun lies above the hold,
// and Returned came back of that.
type HoldMoves struct {
	Placed, Captured, Refunded, Overrun, Returned int64

	Currency string
}

// spendLeaf is what of a leaf says where money is, as written.
type spendLeaf struct{ action, actor, outcome, target, budgets, money []byte }

// NewBalances are those of an empty log.
func NewBalances() *Balances {
	b := &Balances{windows: map[string]*BudgetLine{}, limits: limits{of: map[string]limit{}}}
	b.member, b.inLine = b.leaf.member, b.line.member
	return b
}

func (l *spendLeaf) member(key, value []byte) error {
	switch string(key) {
	case "action":
		l.action = value
	case "actor":
		l.actor = value
	case "outcome":
		l.outcome = value
	case "target":
		l.target = value
	case "budgets":
		l.budgets = value
	case "money":
		l.money = value
	}
	return nil
}

// Read reads the next leaf.
func (b *Balances) Read(leaf []byte) error {
	b.leaf = spendLeaf{}
	if err := canonical.Walk(leaf, b.member); err != nil {
		return err
	}
	if b.leaf.budgets != nil {
		if err := canonical.Walk(b.leaf.budgets, b.budget); err != nil {
			return err
		}
	}
	if string(b.leaf.outcome) != `"`+Accepted+`"` {
		return nil
	}
	if setsLimit(b.leaf.action) {
		r, err := ParseRecord(leaf)
		if err != nil {
			return err
		}
		b.limits.set(&r)
	}
	if b.Hold == nil || b.leaf.money == nil {
		return nil
	}
	return b.hold()
}

func (b *Balances) budget(_, written []byte) error {
	b.line = line{}
	if err := canonical.Walk(written, b.inLine); err != nil {
		return err
	}
	l := &b.line
	// Each part is a JSON text as written, so the three cannot run together.
	b.key = append(append(append(b.key[:0], l.scope...), l.window...), l.currency...)
	w := b.windows[string(b.key)]
	if w == nil {
		w = &BudgetLine{}
		for into, text := range map[*string][]byte{&w.Scope: l.scope, &w.Window: l.window, &w.Currency: l.currency} {
			if err := json.Unmarshal(text, into); err != nil {
				return fmt.Errorf("reading a budget: %w", err)
			}
		}
		b.windows[string(b.key)] = w
	}
	w.Held, w.Captured, w.Refunded = l.Held, l.Captured, l.Refunded
	return nil
}

// hold tells what a spend without a plan did. What a rail says of an order's hold is
// captured by the order's own records, but for what lies above it.
func (b *Balances) hold() error {
	var most, actual, told, above int64
	err := canonical.Walk(b.leaf.money, func(name, value []byte) error {
		var into *int64
		switch string(name) {
		case "ceiling":
			into = &most
		case "actual":
			into = &actual
		case "captured":
			into = &told
		case "overrun":
			into = &above
		default:
			return nil
		}
		return canonical.Walk(value, func(member, amount []byte) (err error) {
			switch string(member) {
			case "amount":
				*into, err = strconv.ParseInt(string(amount), 10, 64)
			case "currency":
				if amount = bytes.Trim(amount, `"`); string(amount) != b.currency { // nearly all are in one
					b.currency = string(amount)
				}
			}
			return err
		})
	})
	if err != nil {
		return err
	}
	m := HoldMoves{Currency: b.currency}
	switch string(b.leaf.action) {
	case `"place_hold"`:
		m.Placed = most
	case `"charge_usage"`:
		m.Placed, m.Captured = actual, actual
	case `"capture_hold"`:
		m.Captured, m.Overrun = actual-above, above
	case `"resolve_hold"`:
		m.Captured = told
	case `"refund_hold"`:
		m.Refunded, m.Returned = actual-above, above
	default:
		return nil
	}
	if bytes.Contains(b.leaf.actor, []byte(`"kind":"system"`)) {
		m.Captured = 0
	}
	b.Hold(string(bytes.Trim(b.leaf.target, `"`)), m)
	return nil
}

// Windows are the budgets as the last leaf that names each left it, by scope and window.
func (b *Balances) Windows() []BudgetLine {
	out := make([]BudgetLine, 0, len(b.windows))
	for _, key := range slices.Sorted(maps.Keys(b.windows)) {
		out = append(out, *b.windows[key])
	}
	return out
}
