package state

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"database/sql"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"time"
)

// Account owns everything else. Subdomain is the label under workers.dev where its
// apps answer without a domain.
type Account struct {
	ID, Name, Subdomain string
	Suspended           bool
	Created             time.Time
}

// SubdomainSuffix is the zone below which accounts have their subdomains. It exists
// on this machine's own DNS server only.
const SubdomainSuffix = "workers.dev"

// SubdomainZone is the name of the zone of the account's subdomain.
func (a Account) SubdomainZone() string { return a.Subdomain + "." + SubdomainSuffix }

// CreateAccount makes an account with its subdomain zone. The same non-empty ref
// always gives the same account, so a caller that lost the answer asks again.
func (s *Store) CreateAccount(ctx context.Context, ref, name string) (Account, error) {
	id, err := s.newID()
	if err != nil {
		return Account{}, err
	}
	zone, err := s.newID()
	if err != nil {
		return Account{}, err
	}
	subdomain := "local-" + id[:8]
	err = s.Write(ctx, func(tx *sql.Tx) error {
		if ref != "" {
			err := tx.QueryRowContext(ctx, `SELECT id FROM accounts WHERE ref = $1`, ref).Scan(&id)
			if !errors.Is(err, sql.ErrNoRows) {
				return err
			}
		}
		if _, err := tx.ExecContext(ctx, `INSERT INTO accounts (id, ref, name, subdomain, created_at) VALUES ($1, NULLIF($2, ''), $3, $4, $5)`,
			id, ref, name, subdomain, s.micros()); err != nil {
			return err
		}
		return s.insertZone(ctx, tx, Zone{ID: zone, Name: subdomain + "." + SubdomainSuffix, Account: id, kind: zoneSubdomain}, "*")
	})
	if err != nil {
		return Account{}, fmt.Errorf("creating an account: %w", err)
	}
	return s.Account(ctx, id)
}

const accountColumns = `SELECT id, name, subdomain, suspended_at IS NOT NULL, created_at FROM accounts`

// Account reads one account.
func (s *Store) Account(ctx context.Context, id string) (Account, error) {
	return scanAccount(s.reader.QueryRowContext(ctx, accountColumns+` WHERE id = $1`, id))
}

// AccountByRef reads the account that CreateAccount made for ref.
func (s *Store) AccountByRef(ctx context.Context, ref string) (Account, error) {
	return scanAccount(s.reader.QueryRowContext(ctx, accountColumns+` WHERE ref = $1`, ref))
}

func scanAccount(row *sql.Row) (Account, error) {
	var a Account
	var created int64
	err := row.Scan(&a.ID, &a.Name, &a.Subdomain, &a.Suspended, &created)
	a.Created = fromMicros(created)
	return a, missing(err, "account")
}

// Suspend stops an account: its tokens are refused, its sites answer 503, and no
// certificate, version, domain or zone is made for it. Resume undoes it. Both may
// be repeated.
func (s *Store) Suspend(ctx context.Context, account string) error {
	return s.Write(ctx, func(tx *sql.Tx) error {
		return changesOne(tx.ExecContext(ctx, `UPDATE accounts SET suspended_at = COALESCE(suspended_at, $2) WHERE id = $1`, account, s.micros()))
	})
}

// Resume lifts Suspend. Tokens that were not revoked work again.
func (s *Store) Resume(ctx context.Context, account string) error {
	return s.Write(ctx, func(tx *sql.Tx) error {
		return changesOne(tx.ExecContext(ctx, `UPDATE accounts SET suspended_at = NULL WHERE id = $1`, account))
	})
}

// changesOne is ErrNotFound when a statement met no row.
func changesOne(result sql.Result, err error) error {
	if err != nil {
		return err
	}
	n, err := result.RowsAffected()
	if err == nil && n == 0 {
		return ErrNotFound
	}
	return err
}

// active is ErrSuspended inside a transaction for a stopped account.
func active(ctx context.Context, tx *sql.Tx, account string) error {
	var suspended bool
	err := tx.QueryRowContext(ctx, `SELECT suspended_at IS NOT NULL FROM accounts WHERE id = $1`, account).Scan(&suspended)
	if err != nil {
		return missing(err, "account")
	}
	if suspended {
		return ErrSuspended
	}
	return nil
}

// Scope is what a token may do: everything in Account, or only one Script's or one
// Zone's (by id) part of it when these are set. Expires may be zero: never.
// Replace revokes the account's earlier tokens with the same label.
type Scope struct {
	Account, Label, Script, Zone string
	Expires                      time.Time
	Replace                      bool
}

// Grant is what a presented token allows.
type Grant struct {
	TokenID, Account, Script, Zone string
}

// NewToken makes a token. The secret is shown once and kept as a hash.
func (s *Store) NewToken(ctx context.Context, scope Scope) (secret, id string, err error) {
	raw := make([]byte, 32)
	if _, err := io.ReadFull(s.random, raw); err != nil {
		return "", "", fmt.Errorf("making a token: %w", err)
	}
	if id, err = s.newID(); err != nil {
		return "", "", err
	}
	secret = "pcl_" + base64.RawURLEncoding.EncodeToString(raw)
	hash := sha256.Sum256([]byte(secret))
	var expires any
	if !scope.Expires.IsZero() {
		expires = scope.Expires.UnixMicro()
	}
	err = s.Write(ctx, func(tx *sql.Tx) error {
		if err := active(ctx, tx, scope.Account); err != nil {
			return err
		}
		if scope.Replace {
			if _, err := tx.ExecContext(ctx, `UPDATE tokens SET revoked_at = $1 WHERE account = $2 AND label = $3 AND revoked_at IS NULL`,
				s.micros(), scope.Account, scope.Label); err != nil {
				return err
			}
		}
		_, err := tx.ExecContext(ctx, `INSERT INTO tokens (id, hash, account, label, script, zone, created_at, expires_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)`,
			id, hash[:], scope.Account, scope.Label, scope.Script, scope.Zone, s.micros(), expires)
		return err
	})
	if err != nil {
		return "", "", fmt.Errorf("making a token: %w", err)
	}
	return secret, id, nil
}

// Authorize is asked on every request. It answers ErrUnauthorized for a token that
// is unknown, revoked or expired, and ErrSuspended when its account is stopped.
func (s *Store) Authorize(ctx context.Context, secret string) (Grant, error) {
	hash := sha256.Sum256([]byte(secret))
	var g Grant
	var stored []byte
	var expires sql.NullInt64
	var suspended bool
	err := s.reader.QueryRowContext(ctx, `SELECT t.id, t.hash, t.account, t.script, t.zone, t.expires_at, a.suspended_at IS NOT NULL
		FROM tokens t JOIN accounts a ON a.id = t.account WHERE t.hash = $1 AND t.revoked_at IS NULL`, hash[:]).
		Scan(&g.TokenID, &stored, &g.Account, &g.Script, &g.Zone, &expires, &suspended)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return Grant{}, ErrUnauthorized
	case err != nil:
		return Grant{}, fmt.Errorf("checking a token: %w", err)
	case subtle.ConstantTimeCompare(stored, hash[:]) != 1, expires.Valid && expires.Int64 <= s.micros():
		return Grant{}, ErrUnauthorized
	case suspended:
		return Grant{}, ErrSuspended
	}
	return g, nil
}

// RevokeToken ends one token. Repeating it is fine.
func (s *Store) RevokeToken(ctx context.Context, id string) error {
	return s.revoke(ctx, `UPDATE tokens SET revoked_at = COALESCE(revoked_at, $2) WHERE id = $1`, id)
}

// RevokeTokens ends all tokens of an account.
func (s *Store) RevokeTokens(ctx context.Context, account string) error {
	return s.revoke(ctx, `UPDATE tokens SET revoked_at = COALESCE(revoked_at, $2) WHERE account = $1`, account)
}

// RevokeLabelled ends the tokens of an account that carry a label, such as the
// resource they were made for.
func (s *Store) RevokeLabelled(ctx context.Context, account, label string) error {
	return s.revoke(ctx, `UPDATE tokens SET revoked_at = COALESCE(revoked_at, $2) WHERE account = $1 AND label = $3`, account, label)
}

func (s *Store) revoke(ctx context.Context, statement, key string, more ...any) error {
	return s.Write(ctx, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, statement, append([]any{key, s.micros()}, more...)...)
		return err
	})
}

// Check is ErrUnauthorized or ErrSuspended when a grant that was given earlier no
// longer holds.
func (s *Store) Check(ctx context.Context, g Grant) error {
	tx, err := s.reader.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
	if err != nil {
		return fmt.Errorf("checking a token: %w", err)
	}
	defer tx.Rollback()
	return s.stillValid(ctx, tx, g)
}

// stillValid repeats the token's check inside an activating transaction, because the
// token may have been revoked while the upload ran.
func (s *Store) stillValid(ctx context.Context, tx *sql.Tx, g Grant) error {
	var n int
	err := tx.QueryRowContext(ctx, `SELECT count(*) FROM tokens WHERE id = $1 AND account = $2 AND revoked_at IS NULL
		AND (expires_at IS NULL OR expires_at > $3)`, g.TokenID, g.Account, s.micros()).Scan(&n)
	if err != nil {
		return fmt.Errorf("checking a token: %w", err)
	}
	if n == 0 {
		return ErrUnauthorized
	}
	return active(ctx, tx, g.Account)
}
