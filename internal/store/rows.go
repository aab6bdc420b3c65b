package store

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/jackc/pgx/v5/pgconn"
	"modernc.org/sqlite"

	"github.com/purser-dev/purser/internal/audit"
)

// rows are the rows that a statement writes, or the keys of those that it looks
// up. PostgreSQL's own driver gets a list for each column: one text for any number
// of rows, and half the time of as many parameters as there are values. Elsewhere
// they go one after the other.
type rows struct {
	kinds string   // a letter for each column: t text, i integer, b bytes
	lists []*array // by column, or nil
	flat  []any    // row after row
	n     int      // values so far
}

func newRows(kinds string, columnar bool) *rows {
	r := &rows{kinds: kinds}
	if columnar {
		r.lists = make([]*array, len(kinds))
		for i, kind := range kinds {
			switch kind {
			case 't':
				r.lists[i] = newArray(oidText)
			case 'i':
				r.lists[i] = newArray(oidInt8)
			case 'b':
				r.lists[i] = newArray(oidBytea)
			}
		}
	}
	return r
}

func (r *rows) len() int { return r.n / len(r.kinds) }

// next is the list that the next value goes to, or nil where there are none.
func (r *rows) next() *array {
	r.n++
	if r.lists == nil {
		return nil
	}
	return r.lists[(r.n-1)%len(r.kinds)]
}

// text adds the next values of a row, all of them texts.
func (r *rows) text(values ...string) *rows {
	for _, v := range values {
		if list := r.next(); list != nil {
			list.text(v)
		} else {
			r.flat = append(r.flat, v)
		}
	}
	return r
}

// integer adds the next values of a row, all of them integers.
func (r *rows) integer(values ...int64) *rows {
	for _, v := range values {
		if list := r.next(); list != nil {
			list.integer(v)
		} else {
			r.flat = append(r.flat, v)
		}
	}
	return r
}

// bytes adds the next value of a row.
func (r *rows) bytes(v []byte) *rows {
	if list := r.next(); list != nil {
		list.bytes(v)
	} else {
		r.flat = append(r.flat, v)
	}
	return r
}

// Rows that stand one after the other come in these numbers, so that few texts
// exist and each is prepared once (RULES 20). Powers of two, where the rule has
// those of four: what is looked up is padded, but what is inserted cannot be, and
// 63 rows are six statements this way and nine the other.
var rowCounts = [...]int{256, 128, 64, 32, 16, 8, 4, 2, 1}

// A template is a statement with rows in it.
type template struct {
	before, after string
	kinds         string
	lookup        bool // the rows are called v, and more than there are do no harm
	joins         []join
}

// insertInto writes rows.
func insertInto(table, columns, kinds, after string) template {
	return template{before: "INSERT INTO " + table + " (" + columns + ") ", after: after, kinds: kinds}
}

// lookUp reads columns of what is found by rows, which are called v(column1, ...).
func lookUp(columns, kinds string, joins ...join) template {
	return template{before: "SELECT " + columns + " FROM ", kinds: kinds, lookup: true, joins: joins}
}

// A join finds a row of a table by its key.
type join struct {
	table, as, on string
	maybe         bool // without it the others are found all the same
}

// text is the join; each row is looked up by itself on PostgreSQL, whatever its
// statistics say: OFFSET is a fence for its planner. @ in it are values that all rows
// share, in their order.
func (j join) text(fenced bool) string {
	kind := map[bool]string{true: " LEFT JOIN ", false: " JOIN "}[j.maybe]
	if fenced {
		return kind + "LATERAL (SELECT * FROM " + j.table + " " + j.as + " WHERE " + j.on + " OFFSET 0) AS " + j.as + " ON TRUE"
	}
	return kind + j.table + " " + j.as + " ON " + j.on
}

// of gives the statements for rows; none for none. shared are the values of each @.
func (t *template) of(r *rows, each func(scan func(...any) error) error, shared ...any) []Stmt {
	switch {
	case r == nil || r.n == 0:
		return nil
	case r.lists != nil:
		n, args := 0, make([]any, len(r.lists), len(r.lists)+len(shared))
		for i, list := range r.lists {
			args[i] = list
			if r.len() == 1 { // walking a list costs more than a value does
				n, args[i] = 1, list.only()
			}
		}
		return []Stmt{{Text: t.text(n, true), Args: append(args, shared...), Each: each}}
	}
	width, args := len(t.kinds), r.flat
	var out []Stmt
	for left := r.len(); left > 0; {
		n := t.next(left)
		for ; left < n; left++ { // of a lookup: rows that find nothing
			args = append(args, blank(t.kinds)...)
		}
		out = append(out, Stmt{Text: t.text(n, false), Args: slices.Concat(args[:n*width], shared), Each: each})
		args, left = args[n*width:], left-n
	}
	return out
}

// next is how many of the rows that are left the next statement takes: what is
// looked up fits into one, as far as there is one so large.
func (t *template) next(left int) int {
	n := rowCounts[0]
	for _, c := range rowCounts {
		switch {
		case t.lookup && c >= left:
			n = c
		case !t.lookup && c <= left:
			return c
		}
	}
	return n
}

func blank(kinds string) []any {
	row := make([]any, len(kinds))
	for i, kind := range kinds {
		row[i] = map[bool]any{true: int64(0), false: ""}[kind == 'i']
	}
	return row
}

// texts keeps what was written once.
var texts sync.Map // textKey -> string

type textKey struct {
	before string
	rows   int
	fenced bool
}

// text is the statement with so many rows, or with lists for 0.
func (t *template) text(n int, fenced bool) string {
	key := textKey{t.before, n, fenced}
	if text, ok := texts.Load(key); ok {
		return text.(string)
	}
	joins := ""
	for _, j := range t.joins {
		joins += j.text(fenced)
	}
	for at := max(n, 1) * len(t.kinds); strings.Contains(joins, "@"); {
		at++
		joins = strings.Replace(joins, "@", "$"+strconv.Itoa(at), 1)
	}
	text, _ := texts.LoadOrStore(key, t.before+t.source(n)+joins+t.after)
	return text.(string)
}

var typeNames = map[rune]string{'t': "text", 'i': "bigint", 'b': "bytea"}

func (t *template) source(n int) string {
	var b strings.Builder
	if n == 0 {
		// Lists in the list of a SELECT are walked side by side; as a table, PostgreSQL
		// first writes each of them down, which takes twice as long.
		var lists []string
		for i, kind := range t.kinds {
			lists = append(lists, fmt.Sprintf("unnest($%d::%s[]) AS column%d", i+1, typeNames[kind], i+1))
		}
		source := "SELECT " + strings.Join(lists, ", ")
		if t.lookup {
			return "(" + source + ") AS v"
		}
		return source
	}
	for row := range n {
		b.WriteString(map[bool]string{true: "(", false: ", ("}[row == 0])
		for c, kind := range t.kinds {
			if c > 0 {
				b.WriteString(", ")
			}
			value := "$" + strconv.Itoa(row*len(t.kinds)+c+1)
			if t.lookup && row == 0 { // where rows stand by themselves, PostgreSQL cannot know their types
				value = "CAST(" + value + " AS " + strings.ToUpper(typeNames[kind]) + ")"
			}
			b.WriteString(value)
		}
		b.WriteString(")")
	}
	if t.lookup {
		return "(VALUES " + b.String() + ") AS v"
	}
	return "VALUES " + b.String()
}

// OneRow reports that a batch failed by what one row of it says (a constraint, a
// value of the wrong form, something that no record can say), so that the others can
// be decided without it.
func OneRow(err error) bool {
	if errors.Is(err, audit.ErrRecord) {
		return true
	}
	var postgres *pgconn.PgError
	if errors.As(err, &postgres) {
		// Classes 22, data, and 23, integrity constraint (PostgreSQL, appendix A).
		return strings.HasPrefix(postgres.Code, "22") || strings.HasPrefix(postgres.Code, "23")
	}
	var lite *sqlite.Error
	return errors.As(err, &lite) && (lite.Code()&0xff == sqliteConstraint || lite.Code()&0xff == sqliteMismatch || lite.Code()&0xff == sqliteTooBig)
}

// decidedBefore reports that a request's key was to be stored which is there, or,
// when it is decided again because the answer to a commit was lost, its hold.
func decidedBefore(err error) bool {
	var postgres *pgconn.PgError
	if errors.As(err, &postgres) {
		return postgres.Code == "23505" && (postgres.TableName == "keys" || postgres.TableName == "holds") // unique_violation
	}
	var lite *sqlite.Error
	return errors.As(err, &lite) && lite.Code()&0xff == sqliteConstraint && (strings.Contains(lite.Error(), "keys.key") || strings.Contains(lite.Error(), "holds.id"))
}

// Result codes of SQLite.
const (
	sqliteTooBig     = 18
	sqliteConstraint = 19
	sqliteMismatch   = 20
)
