package state

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"time"
)

// Domain is a hostname that an app answers. Zone is the id of the zone it lies in.
type Domain struct {
	ID, Hostname, Account, App, Zone, ZoneName string
	Created                                    time.Time
}

// TakenError is ErrTaken for a hostname that already belongs to something.
type TakenError struct {
	Hostname, Holder, Wanted string
}

func (e *TakenError) Error() string {
	return fmt.Sprintf("%s is held by %s and is not given to %s", e.Hostname, e.Holder, e.Wanted)
}

// Unwrap makes it ErrTaken.
func (e *TakenError) Unwrap() error { return ErrTaken }

// AttachDomain lets an app answer a hostname, in one transaction with the address
// record that leads there. The zone must be of the same account (ErrNotFound). A
// hostname of another app, or one with records this cloud did not make, is a
// TakenError: a deploy token alone takes no hostname from anything
// (local-cloud.md section 4.7). Repeating it changes nothing.
func (s *Store) AttachDomain(ctx context.Context, g Grant, app, host string) (Domain, error) {
	host, err := hostname(host)
	if err != nil || strings.HasPrefix(host, "*") {
		return Domain{}, fmt.Errorf("hostname %q: %w", host, ErrInvalid)
	}
	zone, err := s.ZoneOf(ctx, host)
	if err != nil {
		return Domain{}, err
	}
	if zone.Account != g.Account || zone.kind != zoneDomain || (g.Zone != "" && g.Zone != zone.ID) {
		return Domain{}, fmt.Errorf("zone of %s: %w", host, ErrNotFound)
	}
	id, err := s.newID()
	if err != nil {
		return Domain{}, err
	}
	err = s.Write(ctx, func(tx *sql.Tx) error {
		if err := s.stillValid(ctx, tx, g); err != nil {
			return err
		}
		if _, err := scanApp(tx.QueryRowContext(ctx, appColumns+` WHERE account = $1 AND name = $2`, g.Account, app)); err != nil {
			return err
		}
		if err := free(ctx, tx, g.Account, app, host, zone.ID); err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, `INSERT INTO domains (id, hostname, account, app, zone, created_at) VALUES ($1, $2, $3, $4, $5, $6)
			ON CONFLICT (hostname) DO NOTHING`, id, host, g.Account, app, zone.ID, s.micros()); err != nil {
			return err
		}
		return s.insertRecord(ctx, tx, zone.ID, Record{Name: host, Type: "A", Content: edgeAddress, TTL: defaultTTL, Origin: OriginPurser})
	})
	if err != nil {
		return Domain{}, fmt.Errorf("attaching %s: %w", host, err)
	}
	return s.DomainByHost(ctx, g.Account, host)
}

// free is a TakenError when the hostname is another app's or has foreign records.
func free(ctx context.Context, tx *sql.Tx, account, app, host, zone string) error {
	var holder, holderAccount string
	err := tx.QueryRowContext(ctx, `SELECT app, account FROM domains WHERE hostname = $1`, host).Scan(&holder, &holderAccount)
	switch {
	case err == nil && (holder != app || holderAccount != account):
		return &TakenError{host, "app " + holder, "app " + app}
	case err != nil && !errors.Is(err, sql.ErrNoRows):
		return err
	}
	var kind string
	err = tx.QueryRowContext(ctx, `SELECT type FROM records WHERE zone = $1 AND name = $2 AND origin <> $3
		AND type IN ('A', 'AAAA', 'CNAME') LIMIT 1`, zone, host, OriginPurser).Scan(&kind)
	if err == nil {
		return &TakenError{host, "its own " + kind + " record", "app " + app}
	}
	if errors.Is(err, sql.ErrNoRows) {
		return nil
	}
	return err
}

// Claim says without changing anything whether AttachDomain would work: nil, or its error.
func (s *Store) Claim(ctx context.Context, g Grant, app, host string) error {
	host, err := hostname(host)
	if err != nil || strings.HasPrefix(host, "*") {
		return fmt.Errorf("hostname %q: %w", host, ErrInvalid)
	}
	zone, err := s.ZoneOf(ctx, host)
	if err != nil {
		return err
	}
	if zone.Account != g.Account || zone.kind != zoneDomain || (g.Zone != "" && g.Zone != zone.ID) {
		return fmt.Errorf("zone of %s: %w", host, ErrNotFound)
	}
	tx, err := s.reader.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
	if err != nil {
		return err
	}
	defer tx.Rollback()
	return free(ctx, tx, g.Account, app, host, zone.ID)
}

// DetachDomain ends a hostname's service and removes the record made for it. The
// apex record stays: the zone leads to the edge as it did when it was made.
func (s *Store) DetachDomain(ctx context.Context, account, id string) error {
	return s.Write(ctx, func(tx *sql.Tx) error {
		var host, zone string
		err := tx.QueryRowContext(ctx, `DELETE FROM domains WHERE id = $1 AND account = $2 RETURNING hostname, zone`, id, account).Scan(&host, &zone)
		if err != nil {
			return missing(err, "domain")
		}
		return dropHostRecord(ctx, tx, zone, host)
	})
}

func dropHostRecord(ctx context.Context, tx *sql.Tx, zone, host string) error {
	result, err := tx.ExecContext(ctx, `DELETE FROM records WHERE zone = $1 AND name = $2 AND type = 'A' AND origin = $3
		AND name <> (SELECT name FROM zones WHERE id = $1)`, zone, host, OriginPurser)
	return bump(ctx, tx, zone, result, err)
}

const domainColumns = `SELECT d.id, d.hostname, d.account, d.app, d.zone, z.name, d.created_at FROM domains d JOIN zones z ON z.id = d.zone`

func scanDomain(row interface{ Scan(...any) error }) (Domain, error) {
	var d Domain
	var created int64
	err := row.Scan(&d.ID, &d.Hostname, &d.Account, &d.App, &d.Zone, &d.ZoneName, &created)
	d.Created = fromMicros(created)
	return d, missing(err, "domain")
}

// DomainByHost reads the domain of a hostname in an account.
func (s *Store) DomainByHost(ctx context.Context, account, host string) (Domain, error) {
	return scanDomain(s.reader.QueryRowContext(ctx, domainColumns+` WHERE d.account = $1 AND d.hostname = $2`, account, normal(host)))
}

// Domains lists an account's hostnames; app may be "" for all.
func (s *Store) Domains(ctx context.Context, account, app string) ([]Domain, error) {
	rows, err := s.reader.QueryContext(ctx, domainColumns+` WHERE d.account = $1 AND ($2 = '' OR d.app = $2) ORDER BY d.hostname`, account, app)
	if err != nil {
		return nil, fmt.Errorf("listing domains: %w", err)
	}
	defer rows.Close()
	var list []Domain
	for rows.Next() {
		d, err := scanDomain(rows)
		if err != nil {
			return nil, err
		}
		list = append(list, d)
	}
	return list, rows.Err()
}

// Route is where a request for a host goes.
type Route struct {
	Account, App, Version string
	Suspended             bool
}

// Route finds the app of a host: a custom domain, else NAME.SUBDOMAIN.workers.dev
// of an app with its subdomain on. An app without a version is ErrNotFound.
func (s *Store) Route(ctx context.Context, host string) (Route, error) {
	host = normal(host)
	var r Route
	err := s.reader.QueryRowContext(ctx, `SELECT p.account, p.name, p.active, a.suspended_at IS NOT NULL
		FROM domains d JOIN apps p ON p.account = d.account AND p.name = d.app JOIN accounts a ON a.id = p.account
		WHERE d.hostname = $1 AND p.active <> ''`, host).Scan(&r.Account, &r.App, &r.Version, &r.Suspended)
	if name, subdomain, ok := splitSubdomain(host); ok && errors.Is(err, sql.ErrNoRows) {
		err = s.reader.QueryRowContext(ctx, `SELECT p.account, p.name, p.active, a.suspended_at IS NOT NULL
			FROM accounts a JOIN apps p ON p.account = a.id
			WHERE a.subdomain = $1 AND p.name = $2 AND p.subdomain <> 0 AND p.active <> ''`, subdomain, name).
			Scan(&r.Account, &r.App, &r.Version, &r.Suspended)
	}
	return r, missing(err, "app of "+host)
}

func splitSubdomain(host string) (name, subdomain string, ok bool) {
	rest, ok := strings.CutSuffix(host, "."+SubdomainSuffix)
	if !ok {
		return "", "", false
	}
	name, subdomain, ok = strings.Cut(rest, ".")
	return name, subdomain, ok
}

// MayCertify is the rule for certificates (local-cloud.md section 8): the zone of the
// name must be here and its account not stopped. It answers the zone's name. A name
// deeper than one label below its zone must be in use, so that guessed names cost nothing.
func (s *Store) MayCertify(ctx context.Context, name string) (string, error) {
	name, err := hostname(name)
	if err != nil {
		return "", fmt.Errorf("certificate name %q: %w", name, ErrInvalid)
	}
	zone, err := s.ZoneOf(ctx, strings.TrimPrefix(name, "*."))
	if err != nil {
		return "", err
	}
	if zone.Suspended {
		return "", ErrSuspended
	}
	below := strings.TrimSuffix(strings.TrimSuffix(name, zone.Name), ".")
	if !strings.Contains(below, ".") {
		return zone.Name, nil
	}
	var n int
	err = s.reader.QueryRowContext(ctx, `SELECT count(*) FROM records WHERE zone = $1 AND name = $2`, zone.ID, name).Scan(&n)
	if err != nil {
		return "", fmt.Errorf("reading records: %w", err)
	}
	if n == 0 {
		return "", fmt.Errorf("record of %s: %w", name, ErrNotFound)
	}
	return zone.Name, nil
}
