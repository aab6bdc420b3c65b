package store

import (
	"context"
	"database/sql"
	"sync"
)

// prepared is a pool that compiles each statement once on each of its connections.
// On SQLite that takes longer than most questions; PostgreSQL's driver does it by
// itself. The texts are those of the program, so there are not many.
type prepared struct {
	pool  *sql.DB
	stmts sync.Map // *sql.Stmt by text
}

func (p *prepared) PrepareContext(ctx context.Context, q string) (*sql.Stmt, error) {
	return p.pool.PrepareContext(ctx, q)
}

func (p *prepared) ExecContext(ctx context.Context, q string, args ...any) (sql.Result, error) {
	return p.pool.ExecContext(ctx, q, args...)
}

func (p *prepared) QueryContext(ctx context.Context, q string, args ...any) (*sql.Rows, error) {
	stmt, err := p.stmt(ctx, q)
	if err != nil {
		return nil, err
	}
	return stmt.QueryContext(ctx, args...)
}

func (p *prepared) QueryRowContext(ctx context.Context, q string, args ...any) *sql.Row {
	stmt, err := p.stmt(ctx, q)
	if err != nil { // the pool says the same, in a row
		return p.pool.QueryRowContext(ctx, q, args...)
	}
	return stmt.QueryRowContext(ctx, args...)
}

func (p *prepared) stmt(ctx context.Context, q string) (*sql.Stmt, error) {
	if stmt, ok := p.stmts.Load(q); ok {
		return stmt.(*sql.Stmt), nil
	}
	stmt, err := p.pool.PrepareContext(ctx, q)
	if err != nil {
		return nil, err
	}
	if first, there := p.stmts.LoadOrStore(q, stmt); there {
		return first.(*sql.Stmt), stmt.Close()
	}
	return stmt, nil
}
