package store

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"

	"github.com/pressly/goose/v3"

	"github.com/purser-dev/purser"
)

//go:embed migrations
var migrations embed.FS

// migrate brings the schema forward under a lock: an advisory one on PostgreSQL;
// on SQLite Open holds a lock file.
func (s *Store) migrate(ctx context.Context) error {
	folder, err := fs.Sub(migrations, "migrations/"+s.dialect)
	if err != nil {
		return err
	}
	dialect := goose.DialectSQLite3
	if s.dialect == Postgres {
		dialect = goose.DialectPostgres
		unlock, err := s.lockAdvisory(ctx)
		if err != nil {
			return err
		}
		defer unlock()
	}
	blocks, err := blocksMigration(folder)
	if err != nil {
		return err
	}
	p, err := goose.NewProvider(dialect, s.writer, folder, goose.WithLogger(goose.NopLogger()), goose.WithDisableGlobalRegistry(true),
		goose.WithExcludeNames([]string{blocksFile}), goose.WithGoMigrations(blocks))
	if err != nil {
		return fmt.Errorf("reading migrations: %w", err)
	}
	if err := s.refuseNewer(ctx, p); err != nil {
		return err
	}
	if _, err := p.Up(ctx); err != nil {
		return fmt.Errorf("migrating the database: %w", err)
	}
	return nil
}

// refuseNewer notes which schema this program knows, and refuses one that it does not. A
// newer server may bring the database forward while this one runs: each turn looks again.
func (s *Store) refuseNewer(ctx context.Context, p *goose.Provider) error {
	current, err := p.GetDBVersion(ctx)
	if err != nil {
		return fmt.Errorf("reading the database's version: %w", err)
	}
	sources := p.ListSources()
	if s.schema = sources[len(sources)-1].Version; current > s.schema {
		return newer(current, s.schema)
	}
	return nil
}

func newer(is, known int64) *purser.Error {
	return purser.Errorf(purser.NewerDatabase, "the database has version %d, this program knows %d", is, known).
		WithHint("use the newer program, or restore a backup made before it: purser backup restore FILE")
}

// lockAdvisory waits for the lock on a connection of its own. goose's locker
// polls, so that two first starts at once would take seconds.
func (s *Store) lockAdvisory(ctx context.Context) (unlock func(), err error) {
	const key = 0x707572736572 // "purser"
	c, err := s.writer.Conn(ctx)
	if err != nil {
		return nil, fmt.Errorf("connecting for the migration lock: %w", err)
	}
	if _, err := c.ExecContext(ctx, "SELECT pg_advisory_lock($1)", key); err != nil {
		return nil, errors.Join(fmt.Errorf("taking the migration lock: %w", err), c.Close())
	}
	return func() {
		_, _ = c.ExecContext(context.WithoutCancel(ctx), "SELECT pg_advisory_unlock($1)", key)
		_ = c.Close()
	}, nil
}

// lockFile takes an exclusive lock that ends with the process.
func lockFile(path string) (unlock func(), err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("opening the migration lock: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
		return nil, errors.Join(fmt.Errorf("taking the migration lock: %w", err), f.Close())
	}
	return func() { _ = f.Close() }, nil
}
