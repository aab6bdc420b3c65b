package store

import (
	"bytes"
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/purser-dev/purser/internal/audit"
)

// Stmt is one statement of a batch. Each is called for each row that it gives;
// without it, the statement writes.
type Stmt struct {
	Text string
	Args []any
	Each func(scan func(...any) error) error
}

// ErrLostCommit says that the answer to a commit was lost: what was decided may be
// stored or not, and only looking tells.
var ErrLostCommit = errors.New("the answer to a commit was lost")

// Batch is Turn for many callers at once, and fast: what is to be read is sent
// together with the turn's first statement, what was decided together with its
// last, so that PostgreSQL is asked twice for any number of decisions (RULES 20).
// f gives what is to be written beside the records. An error of f undoes all.
// ErrLostCommit is in the error when nobody knows whether it was stored. Once its
// turn has come, a batch does not end with ctx: it is everybody's.
func (s *Store) Batch(ctx context.Context, org string, load []Stmt, f func(*Turn) ([]Stmt, error)) (err error) {
	leave, err := s.lanes.take(ctx, s.laneOf(org), isUrgent(ctx))
	if err != nil {
		return err
	}
	defer leave()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), batchTimeout)
	defer cancel()
	conn, err := s.batches.Conn(ctx)
	if err != nil {
		return fmt.Errorf("connecting: %w", err)
	}
	defer conn.Close()
	g := &group{conn: conn, tracer: s.traced(nil), run: s.runSQLite}
	if s.dialect == Postgres {
		g.run = s.runPostgres
	}
	defer func() {
		if err != nil {
			g.rollback(ctx)
		}
	}()
	var row turnRow
	asked := s.now()
	first := Stmt{Text: takeTurn, Args: []any{org}, Each: row.scan}
	if err := g.send(ctx, append([]Stmt{{Text: s.beginText()}, first}, load...)); err != nil {
		return err
	}
	t, err := s.turnOf(conn, org, asked, row)
	if err != nil {
		return err
	}
	t.send, t.columnar = g.send, s.dialect == Postgres
	stmts, err := f(t)
	if err != nil {
		return err
	}
	last, err := t.last(ctx)
	if err != nil {
		return err
	}
	return g.commit(ctx, append(stmts, last...))
}

// batchTimeout is how long a batch may wait for the database.
const batchTimeout = 30 * time.Second

func (s *Store) beginText() string {
	if s.dialect == SQLite {
		return "BEGIN IMMEDIATE"
	}
	return "BEGIN"
}

// Load reads more in the middle of a batch.
func (t *Turn) Load(ctx context.Context, stmts []Stmt) error {
	if len(stmts) == 0 {
		return nil
	}
	return t.send(ctx, stmts)
}

// group is a transaction on one connection whose statements go in groups. Both
// drivers get the same statements; they differ in run alone.
type group struct {
	conn   *sql.Conn
	tracer *tracer
	run    func(ctx context.Context, conn any, all []Stmt) (broken bool, err error)
}

func (g *group) send(ctx context.Context, all []Stmt) error {
	_, err := g.do(ctx, all)
	return err
}

func (g *group) do(ctx context.Context, all []Stmt) (broken bool, err error) {
	for _, stmt := range all {
		if strings.HasPrefix(stmt.Text, "BEGIN") {
			continue // the first statement of a transaction is the one after it
		}
		if err := g.tracer.tell(stmt.Text); err != nil {
			return false, err
		}
	}
	err = g.conn.Raw(func(c any) error {
		broken, err = g.run(ctx, c, all)
		return err
	})
	return broken, err
}

// commit sends the last group. When the connection breaks under it, nobody knows.
func (g *group) commit(ctx context.Context, all []Stmt) error {
	broken, err := g.do(ctx, append(all, Stmt{Text: Commit}))
	switch {
	case broken:
		return errors.Join(ErrLostCommit, err)
	case err != nil:
		return err
	}
	if err := g.tracer.tell(Committed); err != nil {
		return errors.Join(ErrLostCommit, err)
	}
	return nil
}

// rollback ends a transaction that failed; a connection that cannot even do that
// must not go back to the pool.
func (g *group) rollback(ctx context.Context) {
	_ = g.conn.Raw(func(c any) error {
		if _, err := g.run(ctx, c, []Stmt{{Text: "ROLLBACK"}}); err != nil {
			return driver.ErrBadConn
		}
		return nil
	})
}

// runPostgres sends a group at once.
func (s *Store) runPostgres(ctx context.Context, conn any, all []Stmt) (broken bool, err error) {
	native := conn.(*stdlib.Conn).Conn()
	var b pgx.Batch
	for _, stmt := range all {
		b.Queue(stmt.Text, stmt.Args...)
	}
	results := native.SendBatch(ctx, &b)
	for _, stmt := range all {
		if err = answered(results, stmt); err != nil {
			err = fmt.Errorf("%.60s: %w", stmt.Text, err)
			break
		}
	}
	err = errors.Join(err, results.Close())
	return err != nil && native.IsClosed(), err
}

func answered(results pgx.BatchResults, stmt Stmt) error {
	if stmt.Each == nil {
		_, err := results.Exec()
		return err
	}
	rows, err := results.Query()
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		if err := stmt.Each(rows.Scan); err != nil {
			return err
		}
	}
	return rows.Err()
}

// runSQLite runs a group, which is in this process anyway, with statements that
// were prepared once: the writer has one connection.
func (s *Store) runSQLite(_ context.Context, conn any, all []Stmt) (broken bool, err error) {
	for _, stmt := range all {
		prepared, err := s.prepared(conn.(driver.Conn), stmt.Text)
		if err == nil {
			err = runPrepared(prepared, stmt)
		}
		if err != nil {
			return false, fmt.Errorf("%.60s: %w", stmt.Text, err)
		}
	}
	return false, nil
}

// prepared finds or makes a statement. The caller has the writer's connection, so
// nobody else is here.
func (s *Store) prepared(conn driver.Conn, text string) (driver.Stmt, error) {
	if s.preparedOn != conn {
		s.preparedOn, s.stmts = conn, map[string]driver.Stmt{}
	}
	if p := s.stmts[text]; p != nil {
		return p, nil
	}
	p, err := conn.Prepare(unnamed(text))
	if err == nil {
		s.stmts[text] = p
	}
	return p, err
}

// unnamed writes the parameters of a statement that uses each once, in their order,
// as ?: SQLite keeps a list of the names of others, and walks it for each value.
func unnamed(text string) string {
	var b strings.Builder
	rest := text
	for n := 1; ; n++ {
		before, after, found := strings.Cut(rest, "$")
		b.WriteString(before)
		if !found {
			return b.String()
		}
		end := 0
		for end < len(after) && after[end] >= '0' && after[end] <= '9' {
			end++
		}
		if after[:end] != strconv.Itoa(n) {
			return text
		}
		b.WriteByte('?')
		rest = after[end:]
	}
}

func runPrepared(prepared driver.Stmt, stmt Stmt) error {
	args := make([]driver.NamedValue, len(stmt.Args))
	for i, a := range stmt.Args {
		args[i] = driver.NamedValue{Ordinal: i + 1, Value: a}
	}
	// A context that never ends costs the driver no watcher.
	if stmt.Each == nil {
		_, err := prepared.(driver.StmtExecContext).ExecContext(context.Background(), args)
		return err
	}
	rows, err := prepared.(driver.StmtQueryContext).QueryContext(context.Background(), args)
	if err != nil {
		return err
	}
	values := make([]driver.Value, len(rows.Columns()))
	for err = rows.Next(values); err == nil; err = rows.Next(values) {
		if err = stmt.Each(func(into ...any) error { return assign(into, values) }); err != nil {
			break
		}
	}
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return errors.Join(err, rows.Close())
}

// assign reads a row into the three types that the schema has.
func assign(into []any, values []driver.Value) error {
	if len(into) != len(values) {
		return fmt.Errorf("a row of %d columns is read into %d", len(values), len(into))
	}
	for i, v := range values {
		ok := true
		switch to := into[i].(type) {
		case *int64:
			*to, ok = v.(int64)
		case *string:
			*to, ok = v.(string)
		case *[]byte:
			switch v := v.(type) {
			case []byte:
				*to = bytes.Clone(v)
			case string: // a column's default is text to SQLite
				*to = []byte(v)
			default:
				ok = false
			}
		default:
			ok = false
		}
		if !ok {
			return fmt.Errorf("column %d is a %T and is read into a %T", i, v, into[i])
		}
	}
	return nil
}

// last are the statements that end a turn: records, hashes, the organization's row.
func (t *Turn) last(ctx context.Context) ([]Stmt, error) {
	leaves, rows := make([][]byte, len(t.records)), make([]any, 0, 4*len(t.records))
	for i := range t.records {
		r := &t.records[i]
		leaf, err := r.Leaf()
		if err != nil {
			return nil, fmt.Errorf("recording %s: %w", r.Action, err)
		}
		leaves[i] = leaf
		rows = append(rows, t.Org, r.Seq, r.TS, string(leaf))
	}
	stmts := t.insert(insertAudit, rows)
	edge, err := audit.OpenEdge(t.first, t.edge, &hashReader{ctx: ctx, q: t.Queries, org: t.Org})
	if err != nil {
		return nil, err
	}
	if hashes := edge.Append(leaves); len(hashes) > 0 {
		stmts = append(stmts, Stmt{Text: insertAuditHashes, Args: []any{t.Org, audit.FirstHash(t.first), hashes}})
	}
	return append(stmts, Stmt{Text: endTurn, Args: []any{t.Org, t.Seq, t.Epoch, Micro(t.Now), edge.Bytes()}}), nil
}
