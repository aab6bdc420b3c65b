package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"golang.org/x/mod/sumdb/tlog"

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
	Zone  *time.Location

	tx      db.DBTX
	first   int64
	edge    []byte
	moves   map[int64]int64
	records []audit.Record
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
	var refused *Refused
	err := s.transact(ctx, func(tx db.DBTX) error {
		t, err := s.begin(ctx, tx, org)
		if err != nil {
			return err
		}
		if err := f(t); err != nil && !errors.As(err, &refused) {
			return err
		}
		return s.end(ctx, t)
	})
	if err == nil && refused != nil {
		return refused.Err
	}
	return err
}

func (s *Store) begin(ctx context.Context, tx db.DBTX, org string) (*Turn, error) {
	q, asked := db.New(tx), s.now()
	row, err := q.TakeTurn(ctx, org)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, ErrNoOrganization
	}
	if err != nil {
		return nil, fmt.Errorf("taking the turn of %s: %w", org, err)
	}
	zone, err := time.LoadLocation(row.Timezone)
	if err != nil {
		return nil, fmt.Errorf("reading the time zone of %s: %w", org, err)
	}
	now := s.now().UTC().Truncate(time.Microsecond)
	skew, err := skewOf(asked, now, Time(row.Clock), row.DatabaseClock)
	if err != nil {
		return nil, err
	}
	if last := Time(row.Clock); now.Before(last) {
		now = last
	}
	return &Turn{
		Queries: q, Org: org, tx: tx, Seq: row.Seq, first: row.Seq, edge: row.Edge, Epoch: row.Epoch, Now: now, Skew: skew, Zone: zone,
		moves: map[int64]int64{},
	}, nil
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

// NextMove numbers the movements of money that one record explains.
func (t *Turn) NextMove(seq int64) int64 {
	t.moves[seq]++
	return t.moves[seq]
}

// end writes the records, the tree's new hashes and the organization's new
// clock: the last statement of the transaction (RULES 19).
func (s *Store) end(ctx context.Context, t *Turn) error {
	leaves, rows := make([][]byte, len(t.records)), make([]any, 0, 4*len(t.records))
	for i, r := range t.records {
		leaf, err := r.Leaf()
		if err != nil {
			return fmt.Errorf("recording %s: %w", r.Action, err)
		}
		leaves[i] = leaf
		rows = append(rows, t.Org, r.Seq, r.TS, string(leaf))
	}
	if err := insertAudit.exec(ctx, t.tx, rows); err != nil {
		return fmt.Errorf("writing records %d to %d: %w", t.first+1, t.Seq, err)
	}
	edge, err := audit.OpenEdge(t.first, t.edge, &hashReader{ctx: ctx, q: t.Queries, org: t.Org})
	if err != nil {
		return err
	}
	if hashes := edge.Append(leaves); len(hashes) > 0 {
		err := t.InsertAuditHashes(ctx, db.InsertAuditHashesParams{Organization: t.Org, N: audit.FirstHash(t.first), Hashes: hashes})
		if err != nil {
			return fmt.Errorf("writing the tree: %w", err)
		}
	}
	if err := t.EndTurn(ctx, db.EndTurnParams{ID: t.Org, Seq: t.Seq, Epoch: t.Epoch, Clock: Micro(t.Now), Edge: edge.Bytes()}); err != nil {
		return fmt.Errorf("ending the turn: %w", err)
	}
	return nil
}

// hashReader reads stored hashes of one log. It keeps the row that it read last:
// who reads a log in order finds the next hash there.
type hashReader struct {
	ctx   context.Context
	q     *db.Queries
	org   string
	first int64
	row   []byte
}

func (r *hashReader) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	hashes := make([]tlog.Hash, len(indexes))
	for i, n := range indexes {
		if n < r.first || n >= r.first+int64(len(r.row)/tlog.HashSize) {
			row, err := r.q.AuditHashes(r.ctx, db.AuditHashesParams{Organization: r.org, N: n})
			if err != nil {
				return nil, fmt.Errorf("reading tree hash %d: %w", n, err)
			}
			r.first, r.row = row.N, row.Hashes
		}
		at := (n - r.first) * tlog.HashSize
		if at+tlog.HashSize > int64(len(r.row)) {
			return nil, fmt.Errorf("tree hash %d is not stored", n)
		}
		copy(hashes[i][:], r.row[at:])
	}
	return hashes, nil
}

// Hashes reads the stored hashes of an organization's tree, for roots and proofs.
// One reader serves one caller.
func (s *Store) Hashes(ctx context.Context, org string) tlog.HashReader {
	return &hashReader{ctx: ctx, q: s.Read(), org: org}
}
