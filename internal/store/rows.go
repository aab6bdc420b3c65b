package store

import (
	"context"
	"strconv"
	"strings"
	"sync"

	"github.com/purser-dev/purser/internal/store/db"
)

// Rows of one statement come in these numbers, so that few texts exist and each
// is prepared once (RULES 20).
var rowCounts = [...]int{256, 64, 16, 4, 1}

// A list is a statement with a list of rows in it: before, ($1, $2), ($3, $4), after.
// Casts, as many as a row has members, give the first row the types that
// PostgreSQL cannot know where rows stand by themselves; empty: it knows.
type list struct {
	before, after string
	columns       int
	fixed         int // parameters that come before the rows: $1 to $fixed
	casts         []string
}

// texts keeps what was written once.
var texts sync.Map // listKey -> string

type listKey struct {
	before string
	rows   int
}

// text is the statement with so many rows.
func (l list) text(rows int) string {
	key := listKey{l.before, rows}
	if t, ok := texts.Load(key); ok {
		return t.(string)
	}
	var b strings.Builder
	b.WriteString(l.before)
	n := l.fixed
	for r := range rows {
		b.WriteString(map[bool]string{true: "(", false: ", ("}[r == 0])
		for c := range l.columns {
			if c > 0 {
				b.WriteString(", ")
			}
			n++
			if r == 0 && l.casts != nil {
				b.WriteString("CAST($" + strconv.Itoa(n) + " AS " + l.casts[c] + ")")
				continue
			}
			b.WriteString("$" + strconv.Itoa(n))
		}
		b.WriteString(")")
	}
	b.WriteString(l.after)
	t, _ := texts.LoadOrStore(key, b.String())
	return t.(string)
}

// each cuts rows, whose members stand one after the other in args, into as many
// statements as the numbers of rows need.
func (l list) each(args []any, f func(text string, args []any) error) error {
	for rows := len(args) / l.columns; rows > 0; {
		n := 1
		for _, c := range rowCounts {
			if c <= rows {
				n = c
				break
			}
		}
		if err := f(l.text(n), args[:n*l.columns]); err != nil {
			return err
		}
		args, rows = args[n*l.columns:], rows-n
	}
	return nil
}

// exec writes rows inside a transaction.
func (l list) exec(ctx context.Context, tx db.DBTX, args []any) error {
	return l.each(args, func(text string, args []any) error {
		_, err := tx.ExecContext(ctx, text, args...)
		return err
	})
}

var (
	insertAudit = list{before: "INSERT INTO audit (organization, seq, at, leaf) VALUES ", columns: 4}
	insertMoves = list{
		before:  "INSERT INTO movements (organization, seq, n, at, kind, currency, amount, hold, charge, order_id, run, project, provider, debit, credit) VALUES ",
		columns: 15,
	}
)
