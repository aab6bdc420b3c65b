package state

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"time"

	"github.com/purser-dev/purser/internal/cloud/assets"
)

// App is one deployed site ("script" in the API). Active is the id of the version
// that is served, Subdomain whether it answers under the account's workers.dev name.
type App struct {
	Account, Name, Tag, Active string
	Subdomain                  bool
	Created, Modified          time.Time
}

// Version is one uploaded state of an app: the unit to approve. Digest is over
// manifest and config, so equal versions have equal digests. Tag and Message are the
// client's annotations.
type Version struct {
	ID, Account, App, Digest, Tag, Message string
	Number                                 int
	Created                                time.Time
}

// Deployment is one switch of an app to a version: the unit to undo.
type Deployment struct {
	ID, Version, Message string
	Created              time.Time
}

// Upload describes a version to be made. Activate also switches the app to it.
type Upload struct {
	App, Tag, Message string
	Manifest          assets.Manifest
	Config            assets.Config
	Activate          bool
}

var appName = regexp.MustCompile(`^[a-z0-9_][a-z0-9_-]{0,62}$`)

// PutVersion stores a version and, with Activate, switches to it, in one
// transaction in which the token is checked again. The blobs must be durable before.
// Uploading with Activate what is active already answers that version: repeating a
// request whose answer was lost makes no second one.
func (s *Store) PutVersion(ctx context.Context, g Grant, u Upload) (Version, error) {
	if !appName.MatchString(u.App) {
		return Version{}, fmt.Errorf("app name %q: %w", u.App, ErrInvalid)
	}
	v := Version{Account: g.Account, App: u.App, Tag: u.Tag, Message: u.Message, Created: fromMicros(s.micros())}
	manifest, err := json.Marshal(u.Manifest)
	if err != nil {
		return Version{}, err
	}
	config, err := json.Marshal(u.Config)
	if err != nil {
		return Version{}, err
	}
	digest := sha256.Sum256(append(append(manifest, 0), config...))
	v.Digest = hex.EncodeToString(digest[:])
	if v.ID, err = s.newUUID(); err != nil {
		return Version{}, err
	}
	err = s.Write(ctx, func(tx *sql.Tx) error {
		if err := s.stillValid(ctx, tx, g); err != nil {
			return err
		}
		app, err := s.ensureApp(ctx, tx, g.Account, u.App)
		if err != nil {
			return err
		}
		if current, err := version(ctx, tx, g.Account, u.App, app.Active); err == nil && u.Activate && current.Digest == v.Digest && current.Tag == v.Tag {
			v = current
			return nil
		} else if err != nil && !errors.Is(err, ErrNotFound) {
			return err
		}
		if err := s.insertVersion(ctx, tx, &v, manifest, config); err != nil || !u.Activate {
			return err
		}
		_, err = s.activate(ctx, tx, v, v.Message)
		return err
	})
	if err != nil {
		return Version{}, fmt.Errorf("storing a version of %s: %w", u.App, err)
	}
	return v, nil
}

func (s *Store) insertVersion(ctx context.Context, tx *sql.Tx, v *Version, manifest, config []byte) error {
	const last = `SELECT COALESCE(max(number), 0) + 1 FROM versions WHERE account = $1 AND app = $2`
	if err := tx.QueryRowContext(ctx, last, v.Account, v.App).Scan(&v.Number); err != nil {
		return err
	}
	_, err := tx.ExecContext(ctx, `INSERT INTO versions (id, account, app, number, digest, manifest, config, tag, message, created_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)`,
		v.ID, v.Account, v.App, v.Number, v.Digest, string(manifest), string(config), v.Tag, v.Message, v.Created.UnixMicro())
	return err
}

func (s *Store) ensureApp(ctx context.Context, tx *sql.Tx, account, name string) (App, error) {
	tag, err := s.newID()
	if err != nil {
		return App{}, err
	}
	_, err = tx.ExecContext(ctx, `INSERT INTO apps (account, name, tag, active, subdomain, created_at, modified_at)
		VALUES ($1, $2, $3, '', 0, $4, $4) ON CONFLICT DO NOTHING`, account, name, tag, s.micros())
	if err != nil {
		return App{}, err
	}
	return scanApp(tx.QueryRowContext(ctx, appColumns+` WHERE account = $1 AND name = $2`, account, name))
}

// activate is the switch: one row names the version that is served.
func (s *Store) activate(ctx context.Context, tx *sql.Tx, v Version, message string) (string, error) {
	id, err := s.newUUID()
	if err != nil {
		return "", err
	}
	if _, err := tx.ExecContext(ctx, `UPDATE apps SET active = $1, modified_at = $2 WHERE account = $3 AND name = $4`,
		v.ID, s.micros(), v.Account, v.App); err != nil {
		return "", err
	}
	_, err = tx.ExecContext(ctx, `INSERT INTO deployments (id, account, app, number, version, message, created_at)
		SELECT $1, $2, $3, COALESCE(max(number), 0) + 1, $4, $5, $6 FROM deployments WHERE account = $2 AND app = $3`,
		id, v.Account, v.App, v.ID, message, s.micros())
	return id, err
}

// Activate switches an app to a version that was uploaded earlier, and answers the
// deployment's id.
func (s *Store) Activate(ctx context.Context, g Grant, app, versionID, message string) (id string, err error) {
	err = s.Write(ctx, func(tx *sql.Tx) error {
		if err := s.stillValid(ctx, tx, g); err != nil {
			return err
		}
		v, err := version(ctx, tx, g.Account, app, versionID)
		if err != nil {
			return err
		}
		id, err = s.activate(ctx, tx, v, message)
		return err
	})
	if err != nil {
		return "", fmt.Errorf("activating a version of %s: %w", app, err)
	}
	return id, nil
}

const appColumns = `SELECT account, name, tag, active, subdomain <> 0, created_at, modified_at FROM apps`

func scanApp(row interface{ Scan(...any) error }) (App, error) {
	var a App
	var created, modified int64
	err := row.Scan(&a.Account, &a.Name, &a.Tag, &a.Active, &a.Subdomain, &created, &modified)
	a.Created, a.Modified = fromMicros(created), fromMicros(modified)
	return a, missing(err, "app")
}

// App reads one app.
func (s *Store) App(ctx context.Context, account, name string) (App, error) {
	return scanApp(s.reader.QueryRowContext(ctx, appColumns+` WHERE account = $1 AND name = $2`, account, name))
}

// RemoveApp removes an app with versions, custom domains and the records made for them.
func (s *Store) RemoveApp(ctx context.Context, account, name string) error {
	return s.Write(ctx, func(tx *sql.Tx) error {
		rows, err := tx.QueryContext(ctx, `SELECT hostname, zone FROM domains WHERE account = $1 AND app = $2`, account, name)
		if err != nil {
			return err
		}
		domains, err := scanPairs(rows)
		if err != nil {
			return err
		}
		for _, d := range domains {
			if err := dropHostRecord(ctx, tx, d[1], d[0]); err != nil {
				return err
			}
		}
		return changesOne(tx.ExecContext(ctx, `DELETE FROM apps WHERE account = $1 AND name = $2`, account, name))
	})
}

func scanPairs(rows *sql.Rows) ([][2]string, error) {
	defer rows.Close()
	var list [][2]string
	for rows.Next() {
		var pair [2]string
		if err := rows.Scan(&pair[0], &pair[1]); err != nil {
			return nil, err
		}
		list = append(list, pair)
	}
	return list, rows.Err()
}

// SetSubdomain switches an app's workers.dev name on or off.
func (s *Store) SetSubdomain(ctx context.Context, account, name string, on bool) error {
	return s.Write(ctx, func(tx *sql.Tx) error {
		return changesOne(tx.ExecContext(ctx, `UPDATE apps SET subdomain = $1 WHERE account = $2 AND name = $3`, on, account, name))
	})
}

type querier interface {
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

const versionColumns = `SELECT id, account, app, number, digest, tag, message, created_at FROM versions`

func version(ctx context.Context, q querier, account, app, id string) (Version, error) {
	return scanVersion(q.QueryRowContext(ctx, versionColumns+` WHERE id = $1 AND account = $2 AND app = $3`, id, account, app))
}

func scanVersion(row interface{ Scan(...any) error }) (Version, error) {
	var v Version
	var created int64
	err := row.Scan(&v.ID, &v.Account, &v.App, &v.Number, &v.Digest, &v.Tag, &v.Message, &created)
	v.Created = fromMicros(created)
	return v, missing(err, "version")
}

// Version reads one version of an app.
func (s *Store) Version(ctx context.Context, account, app, id string) (Version, error) {
	return version(ctx, s.reader, account, app, id)
}

// Versions lists an app's versions, newest first, at most 100.
func (s *Store) Versions(ctx context.Context, account, app string) ([]Version, error) {
	rows, err := s.reader.QueryContext(ctx, versionColumns+` WHERE account = $1 AND app = $2 ORDER BY number DESC LIMIT 100`, account, app)
	if err != nil {
		return nil, fmt.Errorf("listing versions: %w", err)
	}
	defer rows.Close()
	var list []Version
	for rows.Next() {
		v, err := scanVersion(rows)
		if err != nil {
			return nil, err
		}
		list = append(list, v)
	}
	return list, rows.Err()
}

// Deployments lists an app's deployments, newest first, at most 100.
func (s *Store) Deployments(ctx context.Context, account, app string) ([]Deployment, error) {
	rows, err := s.reader.QueryContext(ctx, `SELECT id, version, message, created_at FROM deployments
		WHERE account = $1 AND app = $2 ORDER BY number DESC LIMIT 100`, account, app)
	if err != nil {
		return nil, fmt.Errorf("listing deployments: %w", err)
	}
	defer rows.Close()
	var list []Deployment
	for rows.Next() {
		var d Deployment
		var created int64
		if err := rows.Scan(&d.ID, &d.Version, &d.Message, &created); err != nil {
			return nil, fmt.Errorf("listing deployments: %w", err)
		}
		d.Created = fromMicros(created)
		list = append(list, d)
	}
	return list, rows.Err()
}

// Content is what a version serves.
func (s *Store) Content(ctx context.Context, versionID string) (assets.Manifest, assets.Config, error) {
	var manifest, config string
	err := s.reader.QueryRowContext(ctx, `SELECT manifest, config FROM versions WHERE id = $1`, versionID).Scan(&manifest, &config)
	if err != nil {
		return nil, assets.Config{}, missing(err, "version")
	}
	var m assets.Manifest
	var c assets.Config
	if err := errors.Join(json.Unmarshal([]byte(manifest), &m), json.Unmarshal([]byte(config), &c)); err != nil {
		return nil, c, fmt.Errorf("reading version %s: %w", versionID, err)
	}
	return m, c, nil
}
