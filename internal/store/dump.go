package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/purser-dev/purser"
	"github.com/purser-dev/purser/internal/store/db"
)

// Table is a table as Dump reads it and Load writes it.
type Table struct {
	Name    string
	Columns []string
	kinds   []string // integer, text or bytes, as many as columns
}

// The kinds of columns. The schema uses no others, so that each value is the same
// on both databases.
const (
	integerKind = "integer"
	textKind    = "text"
	bytesKind   = "bytes"
)

// Snapshot is the whole database as it was at one moment.
type Snapshot struct {
	*db.Queries
	Schema int64   // version of the newest migration
	Tables []Table // in an order in which they can be loaded
	tx     *sql.Tx
}

// Row is one row on its way between a Dump and a Load. Values are int64, string
// or []byte.
type Row struct {
	Table   string
	Columns []string
	Values  []any
}

// Dump shows f the database as it is at one moment, beside all that goes on. It
// holds no lock that a turn waits for.
func (s *Store) Dump(ctx context.Context, f func(*Snapshot) error) error {
	options := &sql.TxOptions{ReadOnly: true}
	if s.dialect == Postgres {
		options.Isolation = sql.LevelRepeatableRead
	}
	tx, err := s.reader.BeginTx(ctx, options)
	if err != nil {
		return fmt.Errorf("beginning a snapshot: %w", err)
	}
	defer func() { _ = tx.Rollback() }() // nothing was written
	snap := &Snapshot{Queries: db.New(tx), tx: tx}
	if snap.Schema, err = schemaVersion(ctx, tx); err != nil {
		return err
	}
	if snap.Tables, err = s.tables(ctx, tx); err != nil {
		return err
	}
	return f(snap)
}

// Rows gives each row of a table. The row's values are f's to keep.
func (d *Snapshot) Rows(ctx context.Context, t Table, f func(Row) error) error {
	rows, err := d.tx.QueryContext(ctx, "SELECT "+quoted(t.Columns)+" FROM "+quote(t.Name))
	if err != nil {
		return fmt.Errorf("reading %s: %w", t.Name, err)
	}
	defer rows.Close()
	for rows.Next() {
		values, err := t.scan(rows)
		if err != nil {
			return fmt.Errorf("reading %s: %w", t.Name, err)
		}
		if err := f(Row{Table: t.Name, Columns: t.Columns, Values: values}); err != nil {
			return err
		}
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("reading %s: %w", t.Name, err)
	}
	return nil
}

// scan reads each column as its declared type: SQLite keeps what it was given.
// No column of the schema may be null.
func (t Table) scan(rows *sql.Rows) ([]any, error) {
	into := make([]any, len(t.kinds))
	for i, kind := range t.kinds {
		switch kind {
		case integerKind:
			into[i] = new(int64)
		case textKind:
			into[i] = new(string)
		default:
			into[i] = new([]byte)
		}
	}
	if err := rows.Scan(into...); err != nil {
		return nil, err
	}
	values := make([]any, len(into))
	for i, v := range into {
		switch v := v.(type) {
		case *int64:
			values[i] = *v
		case *string:
			values[i] = *v
		case *[]byte:
			values[i] = append([]byte{}, *v...) // an empty one comes as nil
		}
	}
	return values, nil
}

// Load fills an empty database with the rows that next gives until io.EOF, in one
// transaction. A database is empty when Open has made it and nothing else was
// written; any other is invalid_state. A dump of another schema than this
// program's is newer_database or invalid_state.
//
// It is the one writer of money and audit outside a turn (RULES 19): what it
// writes was decided in turns already, and nobody can have a turn of an
// organization that is not there yet.
func (s *Store) Load(ctx context.Context, schema int64, next func() (Row, error)) error {
	return s.transact(ctx, func(tx db.DBTX) error {
		if err := fits(ctx, tx, schema); err != nil {
			return err
		}
		tables, err := s.tables(ctx, tx)
		if err != nil {
			return err
		}
		if err := vacate(ctx, tx, tables); err != nil {
			return err
		}
		return (&loader{tx: tx, tables: tables}).run(ctx, next)
	})
}

func fits(ctx context.Context, tx db.DBTX, schema int64) error {
	known, err := schemaVersion(ctx, tx)
	switch {
	case err != nil:
		return err
	case schema > known:
		return purser.Errorf(purser.NewerDatabase, "the copy has schema %d, this program knows %d", schema, known).
			WithHint("restore it with the version of the program that made it, or a newer one")
	case schema < known:
		return purser.Errorf(purser.InvalidState, "the copy has schema %d, this program writes %d", schema, known).
			WithHint("restore it with the version of the program that made it; this one then brings the database up to date")
	}
	return nil
}

// vacate refuses a database in use and takes away the two rows that Open wrote.
// Of two loads at once the second waits for the row of the first, and finds it gone.
func vacate(ctx context.Context, tx db.DBTX, tables []Table) error {
	inUse := purser.Errorf(purser.InvalidState, "the database is in use: a copy is restored into an empty one only").
		WithHint("name a new database, or move the old one away")
	for _, t := range tables {
		where := ""
		switch t.Name {
		case "installation":
			where = " WHERE name <> 'id'"
		case "organizations":
			where = " WHERE id <> '" + Installation + "'"
		}
		var n int64
		if err := tx.QueryRowContext(ctx, "SELECT COUNT(*) FROM (SELECT 1 FROM "+quote(t.Name)+where+" LIMIT 1) AS found").Scan(&n); err != nil {
			return fmt.Errorf("looking into %s: %w", t.Name, err)
		}
		if n > 0 {
			return inUse
		}
	}
	gone, err := tx.ExecContext(ctx, "DELETE FROM organizations WHERE id = $1 AND turn = 0 AND seq = 0", Installation)
	if err != nil {
		return fmt.Errorf("clearing the database: %w", err)
	}
	if n, err := gone.RowsAffected(); err != nil || n != 1 {
		return errors.Join(inUse, err)
	}
	if _, err := tx.ExecContext(ctx, "DELETE FROM installation WHERE name = 'id'"); err != nil {
		return fmt.Errorf("clearing the database: %w", err)
	}
	return nil
}

// loader collects rows of one table and writes them with few statements.
type loader struct {
	tx      db.DBTX
	tables  []Table
	pending []Row
}

// loadBatch is how many rows one statement writes, and loadBytes how much is
// collected before it is written although the batch is not full.
const (
	loadBatch = 128
	loadBytes = 1 << 20
)

func (l *loader) run(ctx context.Context, next func() (Row, error)) error {
	size := 0
	for {
		row, err := next()
		if errors.Is(err, io.EOF) {
			return l.flush(ctx)
		}
		if err != nil {
			return err
		}
		if err := l.check(row); err != nil {
			return err
		}
		if len(l.pending) > 0 && !sameShape(l.pending[0], row) || len(l.pending) == loadBatch || size > loadBytes {
			if err := l.flush(ctx); err != nil {
				return err
			}
			size = 0
		}
		l.pending = append(l.pending, row)
		for _, v := range row.Values {
			switch v := v.(type) {
			case string:
				size += len(v)
			case []byte:
				size += len(v)
			}
		}
	}
}

func sameShape(a, b Row) bool { return a.Table == b.Table && slices.Equal(a.Columns, b.Columns) }

// check lets nothing into a statement but names of the schema and values of their types.
func (l *loader) check(row Row) error {
	at := slices.IndexFunc(l.tables, func(t Table) bool { return t.Name == row.Table })
	if at < 0 || len(row.Columns) != len(row.Values) || len(row.Columns) == 0 {
		return fmt.Errorf("loading %.40q: this schema has no such table, or the row is not whole", row.Table)
	}
	t := l.tables[at]
	for i, name := range row.Columns {
		c := slices.Index(t.Columns, name)
		if c < 0 || t.kinds[c] != kindOf(row.Values[i]) {
			return fmt.Errorf("loading %s: this schema has no column %.40q of this type", t.Name, name)
		}
	}
	return nil
}

func kindOf(v any) string {
	switch v.(type) {
	case int64:
		return integerKind
	case string:
		return textKind
	case []byte:
		return bytesKind
	}
	return "unknown"
}

func (l *loader) flush(ctx context.Context) error {
	if len(l.pending) == 0 {
		return nil
	}
	first := l.pending[0]
	var q strings.Builder
	fmt.Fprintf(&q, "INSERT INTO %s (%s) VALUES ", quote(first.Table), quoted(first.Columns))
	args := make([]any, 0, len(l.pending)*len(first.Columns))
	for i, row := range l.pending {
		separator := "("
		if i > 0 {
			separator = ", ("
		}
		for _, v := range row.Values {
			args = append(args, v)
			fmt.Fprintf(&q, "%s$%d", separator, len(args))
			separator = ", "
		}
		q.WriteString(")")
	}
	l.pending = l.pending[:0]
	if _, err := l.tx.ExecContext(ctx, q.String(), args...); err != nil {
		return fmt.Errorf("loading %s: %w", first.Table, err)
	}
	return nil
}

func schemaVersion(ctx context.Context, tx db.DBTX) (v int64, err error) {
	if err := tx.QueryRowContext(ctx, "SELECT MAX(version_id) FROM goose_db_version").Scan(&v); err != nil {
		return 0, fmt.Errorf("reading the schema's version: %w", err)
	}
	return v, nil
}

// columns lists what is there, in the order of declaration.
const (
	sqliteColumns = `SELECT m.name, c.name, c.type, c."notnull" FROM sqlite_master m, pragma_table_info(m.name) c
		WHERE m.type = 'table' AND m.name NOT LIKE 'sqlite\_%' ESCAPE '\' ORDER BY m.name, c.cid`
	postgresColumns = `SELECT c.table_name, c.column_name, c.data_type, CASE c.is_nullable WHEN 'NO' THEN 1 ELSE 0 END
		FROM information_schema.columns c JOIN information_schema.tables t USING (table_schema, table_name)
		WHERE c.table_schema = current_schema() AND t.table_type = 'BASE TABLE' ORDER BY c.table_name, c.ordinal_position`
)

// tables reads the tables of the migrated schema. Every other table refers to
// organizations, so it comes first.
func (s *Store) tables(ctx context.Context, tx db.DBTX) ([]Table, error) {
	list := sqliteColumns
	if s.dialect == Postgres {
		list = postgresColumns
	}
	rows, err := tx.QueryContext(ctx, list)
	if err != nil {
		return nil, fmt.Errorf("listing tables: %w", err)
	}
	defer rows.Close()
	var tables []Table
	for rows.Next() {
		var table, column, declared string
		var notNull int64
		if err := rows.Scan(&table, &column, &declared, &notNull); err != nil {
			return nil, fmt.Errorf("listing tables: %w", err)
		}
		if table == "goose_db_version" {
			continue
		}
		kind := kindOfType(declared)
		if kind == "" || notNull == 0 {
			return nil, fmt.Errorf("listing tables: %s.%s is %s and may be null: a copy could not keep it", table, column, declared)
		}
		if len(tables) == 0 || tables[len(tables)-1].Name != table {
			tables = append(tables, Table{Name: table})
		}
		t := &tables[len(tables)-1]
		t.Columns, t.kinds = append(t.Columns, column), append(t.kinds, kind)
	}
	slices.SortStableFunc(tables, func(a, b Table) int {
		return strings.Compare(rank(a.Name), rank(b.Name))
	})
	return tables, rows.Err()
}

func rank(table string) string {
	if table == "organizations" {
		return "" // before all others
	}
	return table
}

func kindOfType(declared string) string {
	switch strings.ToLower(declared) {
	case "bigint":
		return integerKind
	case "text":
		return textKind
	case "blob", "bytea":
		return bytesKind
	}
	return ""
}

func quote(name string) string { return `"` + strings.ReplaceAll(name, `"`, `""`) + `"` }

func quoted(names []string) string {
	all := make([]string, len(names))
	for i, n := range names {
		all[i] = quote(n)
	}
	return strings.Join(all, ", ")
}
