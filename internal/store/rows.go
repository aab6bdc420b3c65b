package store

import (
	"errors"
	"strconv"
	"strings"
	"sync"

	"github.com/jackc/pgx/v5/pgconn"
	"modernc.org/sqlite"
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

// cut cuts rows, whose members stand one after the other in args, into as many
// statements as the numbers of rows need.
func (l list) cut(args []any, f func(text string, args []any)) {
	for rows := len(args) / l.columns; rows > 0; {
		n := 1
		for _, c := range rowCounts {
			if c <= rows {
				n = c
				break
			}
		}
		f(l.text(n), args[:n*l.columns])
		args, rows = args[n*l.columns:], rows-n
	}
}

// stmts are the statements that write rows.
func (l list) stmts(args []any) []Stmt {
	var out []Stmt
	l.cut(args, func(text string, args []any) { out = append(out, Stmt{Text: text, Args: args}) })
	return out
}

var insertAudit = list{before: "INSERT INTO audit (organization, seq, at, leaf) VALUES ", columns: 4}

// OneRow reports that a batch failed by what one row of it says (a constraint, a
// value of the wrong form), so that the others can be decided without it.
func OneRow(err error) bool {
	var postgres *pgconn.PgError
	if errors.As(err, &postgres) {
		// Classes 22, data, and 23, integrity constraint (PostgreSQL, appendix A).
		return strings.HasPrefix(postgres.Code, "22") || strings.HasPrefix(postgres.Code, "23")
	}
	var lite *sqlite.Error
	return errors.As(err, &lite) && (lite.Code()&0xff == sqliteConstraint || lite.Code()&0xff == sqliteMismatch || lite.Code()&0xff == sqliteTooBig)
}

// Result codes of SQLite.
const (
	sqliteTooBig     = 18
	sqliteConstraint = 19
	sqliteMismatch   = 20
)
