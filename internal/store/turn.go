package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/purser-dev/purser"
	"github.com/purser-dev/purser/internal/audit"
	"github.com/purser-dev/purser/internal/store/db"
)

// Turn is an organization's turn: the transaction in which everything about it
// is decided, one after the other (DESIGN.md section 5). Nothing that one turn
// loaded is used in the next.
type Turn struct {
	*db.Queries
	Org   string
	Seq   int64     // of the last record
	Epoch int64     // grows with each stop and each resume
	Now   time.Time // never goes back within an organization
	Skew  time.Duration
	// Zone is UTC while the organization's own cannot be read. NoZone says why then:
	// nothing is spent, and what reduces goes on (SPEND.md K5, K6).
	Zone   *time.Location
	NoZone *purser.Error

	send func(context.Context, []Stmt) error
	// columnar says that send takes a list as one value, which PostgreSQL's own driver does.
	columnar bool
	first    int64
	edge     *audit.Edge
	moves    map[int64]int64
	records  []audit.Record
}

// Refused is returned by the function of a turn that decided no: the turn
// commits, so that the refusal's record is kept, and Err goes to the caller.
type Refused struct{ Err error }

func (r *Refused) Error() string { return r.Err.Error() }
func (r *Refused) Unwrap() error { return r.Err }

// ErrNoOrganization is returned by Turn for an organization that is not there.
var ErrNoOrganization = errors.New("no such organization")

// Turn runs f inside the organization's turn. An error of f, but for *Refused,
// undoes all that f wrote, its records included.
func (s *Store) Turn(ctx context.Context, org string, f func(*Turn) error) error {
	leave, err := s.lanes.take(ctx, s.laneOf(org), isUrgent(ctx))
	if err != nil {
		return err
	}
	defer leave()
	var refused *Refused
	err = s.transact(ctx, func(tx db.DBTX) error {
		t, err := s.begin(ctx, tx, org)
		if err != nil {
			return err
		}
		if err := f(t); err != nil && !errors.As(err, &refused) {
			return err
		}
		last, err := last([]*Turn{t})
		if err != nil {
			return err
		}
		return t.send(ctx, last)
	})
	if err == nil && refused != nil {
		return refused.Err
	}
	return err
}

// What every turn begins and ends with (RULES 19).
const takeTurn = `UPDATE organizations SET turn = turn + 1 WHERE id = $1 RETURNING ` + turnColumns

const endTurn = `UPDATE organizations SET seq = $2, epoch = $3, clock = $4, edge = $5 WHERE id = $1`

// takeFreeTurn and takeFreeTurns take the turns that nobody has (PostgreSQL).
const takeFreeTurn = `UPDATE organizations SET turn = turn + 1 WHERE id = (SELECT id FROM organizations WHERE id = $1 FOR UPDATE SKIP LOCKED)
RETURNING ` + turnColumns

const takeFreeTurns = `UPDATE organizations SET turn = turn + 1 WHERE id IN (SELECT id FROM organizations WHERE id = ANY($1::text[]) FOR UPDATE SKIP LOCKED)
RETURNING ` + turnColumns

const turnColumns = `id, seq, epoch, clock, edge, timezone, CAST(CURRENT_TIMESTAMP AS TEXT),
(SELECT version_id FROM goose_db_version ORDER BY id DESC LIMIT 1)`

var (
	insertAudit = insertInto("audit", "organization, seq, n, at, hashes, leaves", "tiiibb", "")
	endTurns    = template{
		before: "UPDATE organizations SET seq = v.column2, epoch = v.column3, clock = v.column4, edge = v.column5 FROM ",
		after:  " WHERE id = v.column1", kinds: "tiiib", lookup: true,
	}
)

// turnRow is what the turn's first statement gives.
type turnRow struct {
	organization       string
	seq, epoch, clock  int64
	edge               []byte
	zone, databaseTime string
	schema             int64 // the newest migration that somebody made
}

func (r *turnRow) scan(scan func(...any) error) error {
	return scan(&r.organization, &r.seq, &r.epoch, &r.clock, &r.edge, &r.zone, &r.databaseTime, &r.schema)
}

func (s *Store) begin(ctx context.Context, tx db.DBTX, org string) (*Turn, error) {
	asked, row := s.now(), turnRow{}
	err := row.scan(tx.QueryRowContext(ctx, takeTurn, org).Scan)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, ErrNoOrganization
	}
	if err != nil {
		return nil, fmt.Errorf("taking the turn of %s: %w", org, err)
	}
	t, err := s.turnOf(ctx, tx, asked, row)
	if err != nil {
		return nil, err
	}
	t.send = func(ctx context.Context, all []Stmt) error {
		if s.dialect == SQLite {
			for i := range all {
				all[i].Text = unnamed(all[i].Text)
			}
		}
		return sendOn(ctx, tx, all)
	}
	return t, nil
}

// sendOn runs statements one after the other inside a transaction.
func sendOn(ctx context.Context, tx db.DBTX, all []Stmt) error {
	for _, stmt := range all {
		if err := runOn(ctx, tx, stmt); err != nil {
			return fmt.Errorf("%.60s: %w", stmt.Text, err)
		}
	}
	return nil
}

func runOn(ctx context.Context, tx db.DBTX, stmt Stmt) error {
	if stmt.Each == nil {
		_, err := tx.ExecContext(ctx, stmt.Text, stmt.Args...)
		return err
	}
	rows, err := tx.QueryContext(ctx, stmt.Text, stmt.Args...)
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

// turnOf makes the turn of what its first statement gave.
func (s *Store) turnOf(ctx context.Context, tx db.DBTX, asked time.Time, row turnRow) (*Turn, error) {
	if row.schema > s.schema && !isUrgent(ctx) { // a stop is tried on whatever is there
		return nil, newer(row.schema, s.schema)
	}
	zone, noZone := s.zone(row.zone)
	queries := db.New(tx)
	edge, err := audit.OpenEdge(row.seq, row.edge, &hashReader{ctx: ctx, q: queries, org: row.organization})
	if err != nil {
		return nil, fmt.Errorf("reading the log of %s: %w", row.organization, err)
	}
	now := s.now().UTC().Truncate(time.Microsecond)
	skew, err := skewOf(asked, now, Time(row.clock), row.databaseTime)
	if err != nil {
		return nil, err
	}
	if last := Time(row.clock); now.Before(last) {
		now = last
	}
	return &Turn{
		Queries: queries, Org: row.organization, Seq: row.seq, first: row.seq, edge: edge, Epoch: row.epoch, Now: now, Skew: skew,
		Zone: zone, NoZone: noZone, moves: map[int64]int64{},
	}, nil
}

// zone is a time zone, read from the machine's files once; or UTC, and why.
func (s *Store) zone(name string) (*time.Location, *purser.Error) {
	if z, ok := s.zones.Load(name); ok {
		return z.(*time.Location), nil
	}
	z, err := time.LoadLocation(name)
	if err != nil {
		return time.UTC, purser.Errorf(purser.ClockUnsafe, "the organization's time zone %q cannot be read, so nothing tells in which month a spend falls", name).
			WithHint("install the system's time zone data (tzdata), then try again").WithCause(err)
	}
	s.zones.Store(name, z)
	return z, nil
}

// ClockSkew is what a turn of an organization would find between the clocks now.
func (s *Store) ClockSkew(ctx context.Context, org string) (time.Duration, error) {
	asked := s.now()
	row, err := s.Read().Clocks(ctx, org)
	if err != nil {
		return 0, fmt.Errorf("reading the clocks: %w", err)
	}
	return skewOf(asked, s.now().UTC().Truncate(time.Microsecond), Time(row.Clock), row.DatabaseTime)
}

// skewOf is how far this machine's clock is from the database's, which has a
// resolution of one second, or behind the clock of the last turn. The database
// read its clock at some time between asked and now, however long the turn had to
// wait in between.
func skewOf(asked, now, last time.Time, database string) (time.Duration, error) {
	const form = "2006-01-02 15:04:05"
	if len(database) < len(form) {
		return 0, fmt.Errorf("reading the database's clock: %q", database)
	}
	at, err := time.Parse(form, database[:len(form)])
	if err != nil {
		return 0, fmt.Errorf("reading the database's clock: %w", err)
	}
	var skew time.Duration
	switch {
	case at.After(now):
		skew = now.Sub(at)
	case at.Add(time.Second).Before(asked):
		skew = asked.Sub(at.Add(time.Second))
	}
	if behind := now.Sub(last); !last.IsZero() && behind < 0 && behind.Abs() > skew.Abs() {
		skew = behind
	}
	return skew, nil
}

// Record appends a record of this turn and returns its sequence number. The
// store fills in seq, time and organization.
func (t *Turn) Record(r audit.Record) int64 {
	t.Seq++
	r.Seq, r.TS, r.Org = t.Seq, Micro(t.Now), t.Org
	t.records = append(t.records, r)
	return t.Seq
}

var insertCheckpoints = insertInto("checkpoints", "organization, size, note, at", "titi", " ON CONFLICT (organization, size) DO NOTHING")

// KeepCheckpoints keeps signed checkpoints of any number of logs. The first one of a
// size stays (RULES 22).
func (s *Store) KeepCheckpoints(ctx context.Context, all []db.Checkpoint) error {
	rows := newRows(insertCheckpoints.kinds, false)
	for _, c := range all {
		rows.text(c.Organization).integer(c.Size).text(c.Note).integer(c.At)
	}
	return s.write(ctx, func(tx db.DBTX) error { return sendOn(ctx, tx, insertCheckpoints.of(rows, nil)) })
}

// NextMove numbers the movements of money that one record explains.
func (t *Turn) NextMove(seq int64) int64 {
	t.moves[seq]++
	return t.moves[seq]
}
