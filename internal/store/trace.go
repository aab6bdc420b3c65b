package store

import (
	"context"
	"crypto/rand"
	"database/sql"
	"io"

	"github.com/purser-dev/purser/internal/store/db"
)

// random names the installation; everything else gets its randomness from outside.
var random io.Reader = rand.Reader

// traced lets a test see each statement of a transaction.
func (s *Store) traced(tx *sql.Tx) db.DBTX {
	if s.trace == nil {
		return tx
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.txs++
	return &tracer{tx: tx, n: s.txs, tell: s.trace}
}

type tracer struct {
	tx   *sql.Tx
	n    int64
	tell func(tx int64, statement string)
}

func (t *tracer) ExecContext(ctx context.Context, q string, args ...any) (sql.Result, error) {
	t.tell(t.n, q)
	return t.tx.ExecContext(ctx, q, args...)
}

func (t *tracer) PrepareContext(ctx context.Context, q string) (*sql.Stmt, error) {
	t.tell(t.n, q)
	return t.tx.PrepareContext(ctx, q)
}

func (t *tracer) QueryContext(ctx context.Context, q string, args ...any) (*sql.Rows, error) {
	t.tell(t.n, q)
	return t.tx.QueryContext(ctx, q, args...)
}

func (t *tracer) QueryRowContext(ctx context.Context, q string, args ...any) *sql.Row {
	t.tell(t.n, q)
	return t.tx.QueryRowContext(ctx, q, args...)
}
