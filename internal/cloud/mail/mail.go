// Package mail is a post office on loopback: SMTP takes messages in, an HTTP API
// shaped like AgentMail's /v0 lets agents read and send them. Nothing is relayed.
package mail

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/purser-dev/purser/internal/cloud/fault"
)

const (
	// MaxMessage is the largest message in bytes.
	MaxMessage = 10 << 20
	// DefaultDomain is where inboxes live that name no domain.
	DefaultDomain = "mail.purser.test"
)

// The errors of the post office.
var (
	ErrNotFound = errors.New("not found")
	ErrTaken    = errors.New("address taken")
	ErrInvalid  = errors.New("invalid")
	ErrKey      = errors.New("key unknown")
	ErrStopped  = errors.New("account stopped")
)

// Database is the cloud's database (state.Store).
type Database interface {
	Migrate(ctx context.Context, area string, steps []string) error
	Write(ctx context.Context, change func(*sql.Tx) error) error
	Reader() *sql.DB
}

// Config joins an Office to its surroundings.
type Config struct {
	DB     Database
	Dir    string // raw messages, by SHA-256
	Now    func() time.Time
	Random io.Reader // keys and ids

	// Stopped says whether an account takes no mail for now; nil: none is.
	Stopped func(ctx context.Context, account string) (bool, error)
	// Domains says whether an account may have inboxes at a domain besides
	// DefaultDomain; nil: none may.
	Domains func(ctx context.Context, account, domain string) (bool, error)
	Faults  *fault.Set
}

// Office is the post office. It is safe for concurrent use.
type Office struct {
	Config
	linkKey []byte // signs download links; new at each start, links are short-lived
}

// schema is the mail's own area of the database; steps are only ever appended.
// Times are microseconds since 1970.
var schema = []string{`
CREATE TABLE mail_signups (
	email TEXT PRIMARY KEY, organization TEXT NOT NULL UNIQUE, code_hash TEXT NOT NULL, code_expires BIGINT NOT NULL,
	tries BIGINT NOT NULL, verified BIGINT NOT NULL);
CREATE TABLE mail_inboxes (
	address TEXT PRIMARY KEY, account TEXT NOT NULL, client TEXT, name TEXT NOT NULL,
	created BIGINT NOT NULL, updated BIGINT NOT NULL, UNIQUE (account, client));
CREATE TABLE mail_keys (
	id TEXT PRIMARY KEY, hash TEXT NOT NULL UNIQUE, prefix TEXT NOT NULL, account TEXT NOT NULL, inbox TEXT NOT NULL,
	name TEXT NOT NULL, created BIGINT NOT NULL, UNIQUE (account, inbox, name));
CREATE TABLE mail_messages (
	inbox TEXT NOT NULL REFERENCES mail_inboxes(address) ON DELETE CASCADE, id TEXT NOT NULL, thread TEXT NOT NULL,
	labels TEXT NOT NULL, at BIGINT NOT NULL, size BIGINT NOT NULL, raw TEXT NOT NULL, head TEXT NOT NULL,
	PRIMARY KEY (inbox, id));
CREATE INDEX mail_messages_at ON mail_messages(inbox, at, id);
`}

// Open prepares tables and folder and returns an Office.
func Open(ctx context.Context, c Config) (*Office, error) {
	if err := c.DB.Migrate(ctx, "mail", schema); err != nil {
		return nil, fmt.Errorf("preparing mail: %w", err)
	}
	if err := os.MkdirAll(c.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("making the mail folder: %w", err)
	}
	o := &Office{Config: c, linkKey: make([]byte, 32)}
	if _, err := io.ReadFull(c.Random, o.linkKey); err != nil {
		return nil, fmt.Errorf("making a key: %w", err)
	}
	return o, nil
}

// Inbox is one address.
type Inbox struct {
	Address string
	Account string
	Client  string // the maker's own id; empty if none
	Name    string // shown as sender
	Created time.Time
	Updated time.Time
}

// NewInbox names an inbox to make. Empty members are chosen by the office.
type NewInbox struct {
	Account string
	User    string // before the @
	Domain  string // DefaultDomain, or one the account may use
	Name    string
	Client  string // the same Client of the same account always gives the same inbox
}

// CreateInbox makes an inbox. Errors: ErrTaken, ErrInvalid, ErrStopped.
func (o *Office) CreateInbox(ctx context.Context, in NewInbox) (Inbox, error) {
	address, err := o.address(ctx, in)
	if err != nil {
		return Inbox{}, err
	}
	var box Inbox
	err = o.DB.Write(ctx, func(tx *sql.Tx) error {
		if in.Client != "" {
			box, err = scanInbox(tx.QueryRowContext(ctx, inboxes+` WHERE account = $1 AND client = $2`, in.Account, in.Client))
			if !errors.Is(err, ErrNotFound) {
				return err
			}
		}
		now := o.Now().UnixMicro()
		result, err := tx.ExecContext(ctx, `INSERT INTO mail_inboxes (address, account, client, name, created, updated)
			VALUES ($1, $2, NULLIF($3, ''), $4, $5, $5) ON CONFLICT (address) DO NOTHING`, address, in.Account, in.Client, in.Name, now)
		if err != nil {
			return err
		}
		if n, err := result.RowsAffected(); err != nil || n == 0 {
			return errors.Join(fmt.Errorf("%s: %w", address, ErrTaken), err)
		}
		box, err = scanInbox(tx.QueryRowContext(ctx, inboxes+` WHERE address = $1`, address))
		return err
	})
	if err != nil {
		return Inbox{}, fmt.Errorf("making an inbox: %w", err)
	}
	return box, nil
}

// address checks what is asked for and fills in what is not.
func (o *Office) address(ctx context.Context, in NewInbox) (string, error) {
	if stopped, err := o.stopped(ctx, in.Account); err != nil || stopped {
		return "", errors.Join(err, ErrStopped)
	}
	user, domain := strings.ToLower(in.User), strings.ToLower(in.Domain)
	if user == "" {
		id, err := o.newID("agent")
		if err != nil {
			return "", err
		}
		user = id[:17]
	}
	if !localPart(user) {
		return "", fmt.Errorf("user name %q: %w", in.User, ErrInvalid)
	}
	if domain == "" {
		domain = DefaultDomain
	}
	if domain == DefaultDomain {
		return user + "@" + domain, nil
	}
	if o.Domains == nil {
		return "", fmt.Errorf("domain %q: %w", in.Domain, ErrInvalid)
	}
	switch ours, err := o.Domains(ctx, in.Account, domain); {
	case err != nil:
		return "", fmt.Errorf("checking domain %q: %w", in.Domain, err)
	case !ours:
		return "", fmt.Errorf("domain %q: %w", in.Domain, ErrInvalid)
	}
	return user + "@" + domain, nil
}

// localPart accepts the plain addresses that need no quoting (RFC 5321, dot-string).
func localPart(s string) bool {
	return len(s) <= 64 && regexp.MustCompile(`^[a-z0-9_+-]+(\.[a-z0-9_+-]+)*$`).MatchString(s)
}

const inboxes = `SELECT address, account, COALESCE(client, ''), name, created, updated FROM mail_inboxes`

// Inbox reads one inbox, or ErrNotFound.
func (o *Office) Inbox(ctx context.Context, address string) (Inbox, error) {
	return scanInbox(o.DB.Reader().QueryRowContext(ctx, inboxes+` WHERE address = $1`, strings.ToLower(address)))
}

// Inboxes lists an account's inboxes by address.
func (o *Office) Inboxes(ctx context.Context, account string) ([]Inbox, error) {
	rows, err := o.DB.Reader().QueryContext(ctx, inboxes+` WHERE account = $1 ORDER BY address`, account)
	if err != nil {
		return nil, fmt.Errorf("listing inboxes: %w", err)
	}
	defer rows.Close()
	all := []Inbox{}
	for rows.Next() {
		box, err := scanInbox(rows)
		if err != nil {
			return nil, err
		}
		all = append(all, box)
	}
	return all, rows.Err()
}

// RemoveInbox deletes an inbox with its messages and keys. Repeating it is fine.
// Raw messages that no other inbox has go with it.
func (o *Office) RemoveInbox(ctx context.Context, address string) error {
	var orphans []string
	err := o.DB.Write(ctx, func(tx *sql.Tx) error {
		rows, err := tx.QueryContext(ctx, `SELECT DISTINCT raw FROM mail_messages m WHERE inbox = $1
			AND NOT EXISTS (SELECT 1 FROM mail_messages n WHERE n.raw = m.raw AND n.inbox <> m.inbox)`, address)
		if err != nil {
			return err
		}
		if orphans, err = texts(rows); err != nil {
			return err
		}
		for _, text := range []string{
			`DELETE FROM mail_messages WHERE inbox = $1`, `DELETE FROM mail_keys WHERE inbox = $1`, `DELETE FROM mail_inboxes WHERE address = $1`,
		} {
			if _, err := tx.ExecContext(ctx, text, address); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("removing inbox %s: %w", address, err)
	}
	for _, raw := range orphans {
		if err := os.Remove(o.rawPath(raw)); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("removing a message of %s: %w", address, err)
		}
	}
	return nil
}

func scanInbox(row interface{ Scan(...any) error }) (Inbox, error) {
	var b Inbox
	var created, updated int64
	err := row.Scan(&b.Address, &b.Account, &b.Client, &b.Name, &created, &updated)
	if errors.Is(err, sql.ErrNoRows) {
		return Inbox{}, fmt.Errorf("inbox: %w", ErrNotFound)
	}
	if err != nil {
		return Inbox{}, fmt.Errorf("reading an inbox: %w", err)
	}
	b.Created, b.Updated = time.UnixMicro(created).UTC(), time.UnixMicro(updated).UTC()
	return b, nil
}

// Key opens one inbox, or all of an account's when Inbox is empty.
type Key struct {
	ID      string
	Account string
	Inbox   string
	Name    string
	Prefix  string // the first characters, to tell keys apart
	Created time.Time
}

// IssueKey makes a key and shows its secret once. An earlier key of the same
// name is dead from then on, so that a repeated call leaves one alive.
func (o *Office) IssueKey(ctx context.Context, account, inbox, name string) (secret string, k Key, err error) {
	if secret, err = o.newID("am_"); err != nil {
		return "", Key{}, err
	}
	id, err := o.newID("key_")
	if err != nil {
		return "", Key{}, err
	}
	k = Key{ID: id, Account: account, Inbox: inbox, Name: name, Prefix: secret[:9], Created: o.Now().UTC()}
	err = o.DB.Write(ctx, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, `INSERT INTO mail_keys (id, hash, prefix, account, inbox, name, created) VALUES ($1, $2, $3, $4, $5, $6, $7)
			ON CONFLICT (account, inbox, name) DO UPDATE SET id = excluded.id, hash = excluded.hash, prefix = excluded.prefix, created = excluded.created`,
			k.ID, hash(secret), k.Prefix, account, inbox, name, k.Created.UnixMicro())
		return err
	})
	if err != nil {
		return "", Key{}, fmt.Errorf("making a key: %w", err)
	}
	return secret, k, nil
}

// Authorize says what a presented key opens. Errors: ErrKey, ErrStopped.
func (o *Office) Authorize(ctx context.Context, secret string) (Key, error) {
	var k Key
	var created int64
	err := o.DB.Reader().QueryRowContext(ctx, `SELECT id, account, inbox, name, prefix, created FROM mail_keys WHERE hash = $1`, hash(secret)).
		Scan(&k.ID, &k.Account, &k.Inbox, &k.Name, &k.Prefix, &created)
	if errors.Is(err, sql.ErrNoRows) {
		return Key{}, ErrKey
	}
	if err != nil {
		return Key{}, fmt.Errorf("checking a key: %w", err)
	}
	k.Created = time.UnixMicro(created).UTC()
	if stopped, err := o.stopped(ctx, k.Account); err != nil || stopped {
		return Key{}, errors.Join(err, ErrStopped)
	}
	return k, nil
}

func (o *Office) stopped(ctx context.Context, account string) (bool, error) {
	if o.Stopped == nil {
		return false, nil
	}
	return o.Stopped(ctx, account)
}

func (o *Office) newID(prefix string) (string, error) {
	var b [20]byte
	if _, err := io.ReadFull(o.Random, b[:]); err != nil {
		return "", fmt.Errorf("making an id: %w", err)
	}
	return prefix + hex.EncodeToString(b[:]), nil
}

func (o *Office) rawPath(sum string) string { return filepath.Join(o.Dir, sum[:2], sum[2:]) }

func hash(secret string) string {
	sum := sha256.Sum256([]byte(secret))
	return hex.EncodeToString(sum[:])
}

func texts(rows *sql.Rows) ([]string, error) {
	defer rows.Close()
	var all []string
	for rows.Next() {
		var s string
		if err := rows.Scan(&s); err != nil {
			return nil, err
		}
		all = append(all, s)
	}
	return all, rows.Err()
}
