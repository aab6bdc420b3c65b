package store

import (
	"context"
	"crypto/rand"
	"database/sql"
	"io"
)

// random names the installation; everything else gets its randomness from outside.
var random io.Reader = rand.Reader

// traced lets a test see each statement of a transaction, and break it there.
func (s *Store) traced(tx *sql.Tx) *tracer {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.txs++
	return &tracer{tx: tx, n: s.txs, trace: s.trace}
}

type tracer struct {
	tx    *sql.Tx
	n     int64
	trace func(tx int64, statement string) error
}

func (t *tracer) tell(statement string) error {
	if t.trace == nil {
		return nil
	}
	return t.trace(t.n, statement)
}

func (t *tracer) ExecContext(ctx context.Context, q string, args ...any) (sql.Result, error) {
	if err := t.tell(q); err != nil {
		return nil, err
	}
	return t.tx.ExecContext(ctx, q, args...)
}

func (t *tracer) PrepareContext(ctx context.Context, q string) (*sql.Stmt, error) {
	if err := t.tell(q); err != nil {
		return nil, err
	}
	return t.tx.PrepareContext(ctx, q)
}

func (t *tracer) QueryContext(ctx context.Context, q string, args ...any) (*sql.Rows, error) {
	if err := t.tell(q); err != nil {
		return nil, err
	}
	return t.tx.QueryContext(ctx, q, args...)
}

func (t *tracer) QueryRowContext(ctx context.Context, q string, args ...any) *sql.Row {
	if err := t.tell(q); err != nil {
		// A row carries no error of ours; a context that has ended gives it one.
		ended, cancel := context.WithCancel(ctx)
		cancel()
		ctx = ended
	}
	return t.tx.QueryRowContext(ctx, q, args...)
}
