package store

import (
	"bytes"
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"time"
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

// batch is Turn for many callers at once, and fast: what is to be read is sent
// together with the turn's first statement, what was decided together with its
// last, so that PostgreSQL is asked twice for any number of decisions (RULES 20).
// f gives what is to be written beside the records. An error of f undoes all.
// ErrLostCommit is in the error when nobody knows whether it was stored. Once its
// turn has come, a batch does not end with ctx: it is everybody's.
//
// Several organizations are decided in one transaction, each in its own turn,
// because a commit costs more than all else that one decision does. None waits for
// another: without wait, those whose turn somebody has are left, and f gets no turn
// of theirs. Who waits, waits for one.
func (s *Store) batch(ctx context.Context, wait bool, orgs []string, load []Stmt, f func([]*Turn) ([]Stmt, error)) (err error) {
	orgs, leave, err := s.takeLanes(ctx, wait, orgs)
	if err != nil || len(orgs) == 0 {
		return err
	}
	defer leave()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.batchTime)
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
	committed := false
	defer func() {
		if !committed { // after a panic too, which leaves no error
			g.rollback(ctx)
		}
	}()
	var found []turnRow
	asked := s.now()
	first := append([]Stmt{{Text: s.beginText()}}, s.takeTurns(wait, orgs, &found)...)
	if err := g.send(ctx, append(first, load...)); err != nil {
		return err
	}
	turns := make([]*Turn, len(found))
	for i, row := range found {
		t, err := s.turnOf(ctx, conn, asked, row)
		if err != nil {
			return err
		}
		t.send, t.columnar = g.send, s.dialect == Postgres
		turns[i] = t
	}
	if wait && len(turns) < len(orgs) {
		return ErrNoOrganization
	}
	stmts, err := f(turns)
	if err != nil {
		return err
	}
	err = g.commit(ctx, stmts, func() ([]Stmt, error) { return last(turns) })
	committed = err == nil
	return err
}

// takeLanes takes the lanes that are free, or waits for that of one organization.
// SQLite has one for all.
func (s *Store) takeLanes(ctx context.Context, wait bool, orgs []string) (mine []string, leave func(), err error) {
	if wait || s.dialect == SQLite {
		leave, err := s.lanes.take(ctx, s.laneOf(orgs[0]), isUrgent(ctx))
		return orgs, leave, err
	}
	var all []func()
	for _, org := range orgs {
		if leave, ok := s.lanes.try(org); ok {
			mine, all = append(mine, org), append(all, leave)
		}
	}
	return mine, func() {
		for _, leave := range all {
			leave()
		}
	}, nil
}

// takeTurns takes the turns of organizations: those that no other process has, or
// each in its time.
func (s *Store) takeTurns(wait bool, orgs []string, found *[]turnRow) (all []Stmt) {
	each := func(scan func(...any) error) error {
		var row turnRow
		err := row.scan(scan)
		*found = append(*found, row)
		return err
	}
	switch free := s.dialect == Postgres && !wait; {
	case free && len(orgs) == 1:
		return []Stmt{{Text: takeFreeTurn, Args: []any{orgs[0]}, Each: each}}
	case free:
		names := newArray(oidText)
		for _, org := range orgs {
			names.text(org)
		}
		return []Stmt{{Text: takeFreeTurns, Args: []any{names}, Each: each}}
	}
	for _, org := range orgs {
		all = append(all, Stmt{Text: takeTurn, Args: []any{org}, Each: each})
	}
	return all
}

// batchTime is how long a batch may wait for the database.
const batchTime = 30 * time.Second

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
// drivers get the same statements; they differ in run alone. last, which may be nil,
// gives what comes after the first and needs no answer to it.
type group struct {
	conn   *sql.Conn
	tracer *tracer
	run    func(ctx context.Context, conn any, first []Stmt, last func() ([]Stmt, error)) (broken bool, err error)
}

func (g *group) send(ctx context.Context, all []Stmt) error {
	_, err := g.do(ctx, all, nil)
	return err
}

func (g *group) do(ctx context.Context, first []Stmt, last func() ([]Stmt, error)) (broken bool, err error) {
	if err := g.tell(first); err != nil {
		return false, err
	}
	told := last
	if last != nil {
		told = func() ([]Stmt, error) {
			all, err := last()
			if err == nil {
				err = g.tell(all)
			}
			return all, err
		}
	}
	var fault error
	err = g.conn.Raw(func(c any) error {
		defer caught(&fault)
		broken, err = g.run(ctx, c, first, told)
		return err
	})
	if fault != nil {
		panic(fault)
	}
	return broken, err
}

// caught keeps a panic for whom it belongs to. One that leaves Raw takes the connection
// along, and SQLite keeps that in its transaction while statements are prepared on it;
// one in a goroutine takes the process.
func caught(fault *error) {
	if f := recover(); f != nil {
		*fault = fmt.Errorf("%v\n%s", f, debug.Stack())
	}
}

func (g *group) tell(all []Stmt) error {
	for _, stmt := range all {
		if strings.HasPrefix(stmt.Text, "BEGIN") {
			continue // the first statement of a transaction is the one after it
		}
		if err := g.tracer.tell(stmt.Text); err != nil {
			return err
		}
	}
	return nil
}

// commit sends the last group. When the connection breaks under it, nobody knows.
func (g *group) commit(ctx context.Context, first []Stmt, last func() ([]Stmt, error)) error {
	broken, err := g.do(ctx, first, func() ([]Stmt, error) {
		all, err := last()
		return append(all, Stmt{Text: Commit}), err
	})
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
		if _, err := g.run(ctx, c, []Stmt{{Text: "ROLLBACK"}}, nil); err != nil {
			return driver.ErrBadConn
		}
		return nil
	})
}

// runSQLite runs a group, which is in this process anyway, with statements that
// were prepared once: the writer has one connection.
func (s *Store) runSQLite(_ context.Context, conn any, first []Stmt, last func() ([]Stmt, error)) (broken bool, err error) {
	if last == nil {
		return false, s.runEach(conn.(driver.Conn), first)
	}
	var more []Stmt
	var made, fault error
	done := make(chan struct{})
	go func() { // it looks at nothing that the first change
		defer close(done)
		defer caught(&fault)
		more, made = last()
	}()
	err = s.runEach(conn.(driver.Conn), first)
	<-done
	if fault != nil {
		panic(fault)
	}
	if err == nil {
		err = made
	}
	if err == nil {
		err = s.runEach(conn.(driver.Conn), more)
	}
	return false, err
}

func (s *Store) runEach(conn driver.Conn, all []Stmt) error {
	for _, stmt := range all {
		prepared, err := s.prepared(conn, stmt.Text)
		if err == nil {
			err = runPrepared(prepared, stmt)
		}
		if err != nil {
			return fmt.Errorf("%.60s: %w", stmt.Text, err)
		}
	}
	return nil
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

// last are the statements that end turns of one batch: blocks of records, the
// organizations' rows.
func last(turns []*Turn) ([]Stmt, error) {
	if len(turns) == 0 {
		return nil, nil
	}
	columnar := turns[0].columnar
	blocks, ends := newRows(insertAudit.kinds, columnar), newRows(endTurns.kinds, columnar)
	var plain []Stmt
	for _, t := range turns {
		leaves := make([][]byte, len(t.records))
		for i := range t.records {
			r := &t.records[i]
			leaf, err := r.Leaf()
			if err != nil {
				return nil, fmt.Errorf("recording %s: %w", r.Action, err)
			}
			leaves[i] = leaf
		}
		addBlocks(blocks, t.Org, t.edge, t.first, Micro(t.Now), leaves)
		if !columnar || len(turns) == 1 {
			plain = append(plain, Stmt{Text: endTurn, Args: []any{t.Org, t.Seq, t.Epoch, Micro(t.Now), t.edge.Bytes()}})
			continue
		}
		ends.text(t.Org).integer(t.Seq, t.Epoch, Micro(t.Now)).bytes(t.edge.Bytes())
	}
	return slices.Concat(insertAudit.of(blocks, nil), endTurns.of(ends, nil), plain), nil
}
