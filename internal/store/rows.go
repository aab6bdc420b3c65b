package store

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"

	"github.com/jackc/pgx/v5/pgconn"
	"modernc.org/sqlite"
)

// Rows of one statement come in these numbers, so that few texts exist and each
// is prepared once (RULES 20). Powers of two, where the rule has those of four:
// what is looked up is padded, but what is inserted cannot be, and 63 rows are
// six statements this way and nine the other.
var rowCounts = [...]int{256, 128, 64, 32, 16, 8, 4, 2, 1}

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

// An insert writes rows of a table. Kinds has a letter for each column: t text, i
// integer, b bytes.
type insert struct {
	table, columns, kinds, after string
}

// insert is what writes rows, whose members stand one after the other. SQLite gets
// them as they stand. PostgreSQL gets a list for each column: one text for any
// number of rows, and half the time of as many parameters as there are values.
func (t *Turn) insert(i insert, rows []any) []Stmt {
	if len(rows) == 0 {
		return nil
	}
	into := "INSERT INTO " + i.table + " (" + i.columns + ") "
	if !t.columnar {
		var out []Stmt
		l := list{before: into + "VALUES ", after: i.after, columns: len(i.kinds)}
		l.cut(rows, func(text string, args []any) { out = append(out, Stmt{Text: text, Args: args}) })
		return out
	}
	args := make([]any, len(i.kinds))
	lists := make([]string, len(i.kinds))
	for c, kind := range i.kinds {
		switch kind {
		case 't':
			args[c], lists[c] = column[string](rows, c, len(i.kinds)), fmt.Sprintf("$%d::text[]", c+1)
		case 'i':
			args[c], lists[c] = column[int64](rows, c, len(i.kinds)), fmt.Sprintf("$%d::bigint[]", c+1)
		default:
			args[c], lists[c] = column[[]byte](rows, c, len(i.kinds)), fmt.Sprintf("$%d::bytea[]", c+1)
		}
	}
	return []Stmt{{Text: into + "SELECT * FROM unnest(" + strings.Join(lists, ", ") + ")" + i.after, Args: args}}
}

// column takes one column out of rows of so many members.
func column[T any](rows []any, c, columns int) []T {
	out := make([]T, 0, len(rows)/columns)
	for ; c < len(rows); c += columns {
		out = append(out, rows[c].(T))
	}
	return out
}

var insertAudit = insert{table: "audit", columns: "organization, seq, at, leaf", kinds: "tiit"}

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
