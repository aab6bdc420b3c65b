// Package state remembers the local cloud's accounts, tokens, zones, apps, versions and domains in one SQLite file.
package state

import (
	"context"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"time"

	_ "modernc.org/sqlite" // the driver
)

var (
	// ErrNotFound is answered for what does not exist or belongs to another account.
	ErrNotFound = errors.New("not found")
	// ErrTaken is answered when a name, hostname or record is held by something else.
	ErrTaken = errors.New("taken")
	// ErrInvalid is answered for a value that breaks a rule of its kind.
	ErrInvalid = errors.New("invalid")
	// ErrUnauthorized is answered for a token that is unknown, expired, revoked or out of scope.
	ErrUnauthorized = errors.New("unauthorized")
	// ErrSuspended is answered for anything new in a suspended account.
	ErrSuspended = errors.New("account suspended")
)

// Store is the open file. Its methods may be called at the same time.
type Store struct {
	writer, reader *sql.DB
	now            func() time.Time
	random         io.Reader
}

// Options are what Open needs from outside. Random gives ids and secrets.
type Options struct {
	Dir    string
	Now    func() time.Time
	Random io.Reader
}

// Open opens dir/cloud.db, making folder (0700) and file, and brings its tables up
// to date. One process at a time may have it open; the caller holds the lock.
func Open(ctx context.Context, o Options) (*Store, error) {
	if err := os.MkdirAll(o.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("making the state folder: %w", err)
	}
	file := filepath.Join(o.Dir, "cloud.db")
	writer, err := connect(file, 1)
	if err != nil {
		return nil, err
	}
	reader, err := connect(file, 4)
	if err != nil {
		return nil, errors.Join(err, writer.Close())
	}
	s := &Store{writer: writer, reader: reader, now: o.Now, random: o.Random}
	if err := s.Migrate(ctx, "cloud", schema); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	if err := os.Chmod(file, 0o600); err != nil {
		return nil, errors.Join(fmt.Errorf("closing %s to others: %w", file, err), s.Close())
	}
	return s, nil
}

func connect(file string, connections int) (*sql.DB, error) {
	abs, err := filepath.Abs(file)
	if err != nil {
		return nil, fmt.Errorf("finding %s: %w", file, err)
	}
	dsn := url.URL{Scheme: "file", Path: abs, RawQuery: "_txlock=immediate&_pragma=busy_timeout(5000)" +
		"&_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)&_pragma=foreign_keys(1)"}
	db, err := sql.Open("sqlite", dsn.String())
	if err != nil {
		return nil, fmt.Errorf("opening %s: %w", file, err)
	}
	db.SetMaxOpenConns(connections)
	db.SetMaxIdleConns(connections)
	return db, nil
}

// Close closes the file.
func (s *Store) Close() error {
	return errors.Join(s.reader.Close(), s.writer.Close())
}

// Reader is the pool for questions. Change nothing through it.
func (s *Store) Reader() *sql.DB { return s.reader }

// Write runs change in one durable transaction of the only writer. Do not call the
// Store's own changing methods inside: they would wait for this one.
func (s *Store) Write(ctx context.Context, change func(*sql.Tx) error) error {
	tx, err := s.writer.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("beginning a change: %w", err)
	}
	defer tx.Rollback() // does nothing after Commit
	if err := change(tx); err != nil {
		return err
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("committing a change: %w", err)
	}
	return nil
}

// Migrate brings one area's tables up to date: step i runs once, in order, each in
// its own transaction. Parts of the cloud with tables of their own (registrar, mail)
// call it at start with a list to which they only ever append.
func (s *Store) Migrate(ctx context.Context, area string, steps []string) error {
	const table = `CREATE TABLE IF NOT EXISTS schema_steps (area TEXT NOT NULL, step BIGINT NOT NULL, PRIMARY KEY (area, step))`
	if _, err := s.writer.ExecContext(ctx, table); err != nil {
		return fmt.Errorf("preparing migrations: %w", err)
	}
	var done int
	if err := s.writer.QueryRowContext(ctx, `SELECT count(*) FROM schema_steps WHERE area = $1`, area).Scan(&done); err != nil {
		return fmt.Errorf("reading migrations of %s: %w", area, err)
	}
	if done > len(steps) {
		return fmt.Errorf("the tables of %s are of a newer program (step %d, this program knows %d)", area, done, len(steps))
	}
	for i := done; i < len(steps); i++ {
		err := s.Write(ctx, func(tx *sql.Tx) error {
			if _, err := tx.ExecContext(ctx, steps[i]); err != nil {
				return err
			}
			_, err := tx.ExecContext(ctx, `INSERT INTO schema_steps (area, step) VALUES ($1, $2)`, area, i)
			return err
		})
		if err != nil {
			return fmt.Errorf("migrating %s to step %d: %w", area, i+1, err)
		}
	}
	return nil
}

// Setting is the value under key; create makes it the first time, and it stays.
func (s *Store) Setting(ctx context.Context, key string, create func() ([]byte, error)) ([]byte, error) {
	var value []byte
	err := s.Write(ctx, func(tx *sql.Tx) error {
		err := tx.QueryRowContext(ctx, `SELECT value FROM settings WHERE key = $1`, key).Scan(&value)
		if !errors.Is(err, sql.ErrNoRows) {
			return err
		}
		if value, err = create(); err != nil {
			return err
		}
		_, err = tx.ExecContext(ctx, `INSERT INTO settings (key, value) VALUES ($1, $2)`, key, value)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("reading setting %s: %w", key, err)
	}
	return value, nil
}

// newID is 32 hex digits, the form of the API's account, zone and tag ids.
func (s *Store) newID() (string, error) {
	b := make([]byte, 16)
	if _, err := io.ReadFull(s.random, b); err != nil {
		return "", fmt.Errorf("making an id: %w", err)
	}
	return hex.EncodeToString(b), nil
}

// newUUID is the form of version and deployment ids: RFC 9562 version 4.
func (s *Store) newUUID() (string, error) {
	b := make([]byte, 16)
	if _, err := io.ReadFull(s.random, b); err != nil {
		return "", fmt.Errorf("making an id: %w", err)
	}
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	h := hex.EncodeToString(b)
	return h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:], nil
}

func (s *Store) micros() int64 { return s.now().UnixMicro() }

func fromMicros(us int64) time.Time { return time.UnixMicro(us).UTC() }

// missing turns "no rows" into ErrNotFound with the thing's name.
func missing(err error, what string) error {
	if errors.Is(err, sql.ErrNoRows) {
		return fmt.Errorf("%s: %w", what, ErrNotFound)
	}
	if err != nil {
		return fmt.Errorf("reading %s: %w", what, err)
	}
	return nil
}
