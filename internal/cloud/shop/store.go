package shop

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/purser-dev/purser/internal/cloud/state"
	"github.com/purser-dev/purser/provider"
)

// records keeps the provider SDK's records in the cloud's own database, so that
// one fsync makes an answer durable and one file is the whole cloud.
type records struct {
	db  *state.Store
	now func() time.Time
}

// newRecords returns the store and drops what has expired.
func newRecords(ctx context.Context, db *state.Store, now func() time.Time) (*records, error) {
	s := &records{db: db, now: now}
	err := db.Write(ctx, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, `DELETE FROM shop_records WHERE expires > 0 AND expires <= $1`, now().UnixMicro())
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("dropping expired records: %w", err)
	}
	return s, nil
}

// View implements provider.Store.
func (s *records) View(ctx context.Context, f func(tx provider.Tx) error) error {
	tx, err := s.db.Reader().BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
	if err != nil {
		return fmt.Errorf("beginning a look: %w", err)
	}
	defer tx.Rollback() // a look has nothing to keep
	return f(&recordTx{ctx: ctx, tx: tx, readOnly: true})
}

// Update implements provider.Store. There is one writer, so f is never run again.
func (s *records) Update(ctx context.Context, f func(tx provider.Tx) error) error {
	return s.db.Write(ctx, func(tx *sql.Tx) error {
		return f(&recordTx{ctx: ctx, tx: tx})
	})
}

type recordTx struct {
	ctx      context.Context // of the one call that the transaction lives in
	tx       *sql.Tx
	readOnly bool
}

var errReadOnly = errors.New("writing in a view")

func (t *recordTx) Get(key string) ([]byte, error) {
	var value []byte
	err := t.tx.QueryRowContext(t.ctx, `SELECT value FROM shop_records WHERE key = $1`, key).Scan(&value)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	return value, err
}

func (t *recordTx) Put(key string, value []byte, expires time.Time) error {
	if t.readOnly {
		return errReadOnly
	}
	var micros int64
	if !expires.IsZero() {
		micros = expires.UnixMicro()
	}
	_, err := t.tx.ExecContext(t.ctx, `INSERT INTO shop_records (key, value, expires) VALUES ($1, $2, $3)
		ON CONFLICT (key) DO UPDATE SET value = excluded.value, expires = excluded.expires`, key, value, micros)
	return err
}

func (t *recordTx) Delete(key string) error {
	if t.readOnly {
		return errReadOnly
	}
	_, err := t.tx.ExecContext(t.ctx, `DELETE FROM shop_records WHERE key = $1`, key)
	return err
}

func (t *recordTx) List(prefix, after string, limit int) ([]provider.Record, error) {
	// Keys are ASCII, so the next key after all with this prefix ends in the highest byte.
	rows, err := t.tx.QueryContext(t.ctx, `SELECT key, value FROM shop_records WHERE key > $1 AND key >= $2 AND key < $3
		ORDER BY key LIMIT $4`, after, prefix, prefix+"\x7f", limit)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var found []provider.Record
	for rows.Next() {
		var r provider.Record
		if err := rows.Scan(&r.Key, &r.Value); err != nil {
			return nil, err
		}
		found = append(found, r)
	}
	return found, rows.Err()
}
