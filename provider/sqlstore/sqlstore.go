// Package sqlstore keeps a provider's records in one table of SQLite or PostgreSQL.
//
// The caller opens the database with a driver of its choice; this package imports
// none. Several processes may share one table: an update that read what another one
// changed meanwhile is run again.
package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/purser-dev/purser/provider"
)

// Dialect is the database's kind.
type Dialect int

// The databases that are known.
const (
	SQLite Dialect = iota
	PostgreSQL
)

// Store is a provider.Store and a provider.Sweeper. It does not own the database.
type Store struct {
	db      *sql.DB
	dialect Dialect
	writing sync.Mutex // SQLite has one writer; waiting here is fairer than there
}

// How often an update is run again after a conflict, and the longest pause before it.
const (
	attempts = 100
	pause    = 50 * time.Millisecond
)

// Keys are compared byte by byte on both: SQLite's TEXT does so by itself, and
// PostgreSQL's does under the collation "C".
var schema = map[Dialect][]string{
	SQLite: {
		`CREATE TABLE IF NOT EXISTS provider_records (key TEXT PRIMARY KEY, value BLOB NOT NULL, expires BIGINT NOT NULL) WITHOUT ROWID`,
		`CREATE INDEX IF NOT EXISTS provider_records_expires ON provider_records (expires) WHERE expires > 0`,
	},
	PostgreSQL: {
		`CREATE TABLE IF NOT EXISTS provider_records (key TEXT COLLATE "C" PRIMARY KEY, value BYTEA NOT NULL, expires BIGINT NOT NULL)`,
		`CREATE INDEX IF NOT EXISTS provider_records_expires ON provider_records (expires) WHERE expires > 0`,
	},
}

// Open makes the table provider_records if it is not there. With SQLite, open the
// database with a busy timeout and immediate transactions (for modernc.org/sqlite:
// ?_pragma=busy_timeout(5000)&_pragma=journal_mode(WAL)&_txlock=immediate).
func Open(ctx context.Context, db *sql.DB, d Dialect) (*Store, error) {
	statements, ok := schema[d]
	if !ok {
		return nil, fmt.Errorf("opening store: unknown dialect %d", d)
	}
	s := &Store{db: db, dialect: d}
	// Two processes may come at once, and IF NOT EXISTS alone does not keep them apart.
	err := s.again(ctx, func() error {
		for _, statement := range statements {
			if _, err := db.ExecContext(ctx, statement); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("opening store: %w", err)
	}
	return s, nil
}

// View runs f on one snapshot.
func (s *Store) View(ctx context.Context, f func(tx provider.Tx) error) error {
	level := sql.LevelDefault
	if s.dialect == PostgreSQL {
		level = sql.LevelRepeatableRead
	}
	t, err := s.db.BeginTx(ctx, &sql.TxOptions{Isolation: level, ReadOnly: s.dialect == PostgreSQL})
	if err != nil {
		return fmt.Errorf("beginning view: %w", err)
	}
	defer func() { _ = t.Rollback() }()
	return f(&tx{ctx: ctx, t: t, readOnly: true})
}

// Update runs f and commits. The database says whether two updates could have
// happened one after the other; if not, f runs again.
func (s *Store) Update(ctx context.Context, f func(tx provider.Tx) error) error {
	if s.dialect == SQLite {
		s.writing.Lock()
		defer s.writing.Unlock()
	}
	return s.again(ctx, func() error { return s.update(ctx, f) })
}

func (s *Store) update(ctx context.Context, f func(tx provider.Tx) error) error {
	level := sql.LevelDefault
	if s.dialect == PostgreSQL {
		level = sql.LevelSerializable
	}
	t, err := s.db.BeginTx(ctx, &sql.TxOptions{Isolation: level})
	if err != nil {
		return fmt.Errorf("beginning update: %w", err)
	}
	defer func() { _ = t.Rollback() }()
	if s.dialect == SQLite {
		// The write lock is taken before the first read, whatever the driver's default:
		// a snapshot that is read first could not be written to any more.
		if _, err := t.ExecContext(ctx, `DELETE FROM provider_records WHERE key = ''`); err != nil {
			return fmt.Errorf("locking: %w", err)
		}
	}
	if err := f(&tx{ctx: ctx, t: t}); err != nil {
		return err
	}
	if err := t.Commit(); err != nil {
		return fmt.Errorf("committing: %w", err)
	}
	return nil
}

// again runs f until it does not conflict.
func (s *Store) again(ctx context.Context, f func() error) error {
	for attempt := 1; ; attempt++ {
		err := f()
		if err == nil || attempt == attempts || !conflict(err) {
			return err
		}
		timer := time.NewTimer(rand.N(min(time.Duration(attempt)*time.Millisecond, pause)))
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		}
	}
}

// conflict tells that a transaction lost against another and left nothing behind:
// SQLSTATE 40001 and 40P01, a table that two made at once (23505, 42P07), and
// SQLite's busy (5) and locked (6). Drivers tell it by a method, so none is imported.
func conflict(err error) bool {
	var postgres interface{ SQLState() string }
	if errors.As(err, &postgres) {
		switch postgres.SQLState() {
		case "40001", "40P01", "23505", "42P07":
			return true
		}
		return false
	}
	var sqlite interface{ Code() int }
	if errors.As(err, &sqlite) {
		code := sqlite.Code() & 0xff
		return code == 5 || code == 6
	}
	return false
}

// Sweep drops up to limit records whose time is not after now.
func (s *Store) Sweep(ctx context.Context, now time.Time, limit int) error {
	if s.dialect == SQLite {
		s.writing.Lock()
		defer s.writing.Unlock()
	}
	return s.again(ctx, func() error {
		_, err := s.db.ExecContext(ctx, `DELETE FROM provider_records WHERE key IN
			(SELECT key FROM provider_records WHERE expires > 0 AND expires <= $1 ORDER BY expires LIMIT $2)
			AND expires > 0 AND expires <= $1`, now.UnixMicro(), limit)
		if err != nil {
			return fmt.Errorf("sweeping: %w", err)
		}
		return nil
	})
}

// tx is one transaction.
type tx struct {
	ctx      context.Context
	t        *sql.Tx
	readOnly bool
}

var errReadOnly = errors.New("writing in a view")

// Get reads a value; absent is nil.
func (x *tx) Get(key string) ([]byte, error) {
	var value []byte
	err := x.t.QueryRowContext(x.ctx, `SELECT value FROM provider_records WHERE key = $1`, key).Scan(&value)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("getting %s: %w", key, err)
	}
	return value, nil
}

// Put writes a value.
func (x *tx) Put(key string, value []byte, expires time.Time) error {
	if x.readOnly {
		return errReadOnly
	}
	at := int64(0)
	if !expires.IsZero() {
		at = expires.UnixMicro()
	}
	_, err := x.t.ExecContext(x.ctx, `INSERT INTO provider_records (key, value, expires) VALUES ($1, $2, $3)
		ON CONFLICT (key) DO UPDATE SET value = excluded.value, expires = excluded.expires`, key, value, at)
	if err != nil {
		return fmt.Errorf("putting %s: %w", key, err)
	}
	return nil
}

// Delete removes a key.
func (x *tx) Delete(key string) error {
	if x.readOnly {
		return errReadOnly
	}
	if _, err := x.t.ExecContext(x.ctx, `DELETE FROM provider_records WHERE key = $1`, key); err != nil {
		return fmt.Errorf("deleting %s: %w", key, err)
	}
	return nil
}

// List gives records below a prefix, ascending.
func (x *tx) List(prefix, after string, limit int) ([]provider.Record, error) {
	rows, err := x.t.QueryContext(x.ctx, `SELECT key, value FROM provider_records
		WHERE key >= $1 AND key > $2 AND key < $3 ORDER BY key LIMIT $4`, prefix, after, prefix+"\x7f", limit)
	if err != nil {
		return nil, fmt.Errorf("listing %s: %w", prefix, err)
	}
	defer func() { _ = rows.Close() }()
	var records []provider.Record
	for rows.Next() {
		var r provider.Record
		if err := rows.Scan(&r.Key, &r.Value); err != nil {
			return nil, fmt.Errorf("listing %s: %w", prefix, err)
		}
		records = append(records, r)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("listing %s: %w", prefix, err)
	}
	return records, nil
}
