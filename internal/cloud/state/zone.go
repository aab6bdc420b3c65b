package state

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"
)

// Zone is a DNS zone this cloud answers for. Name is in lower case without the last
// dot. Serial grows with each change of its records.
type Zone struct {
	ID, Name, Account string
	Serial            uint32
	Suspended         bool // its account is
	Created           time.Time

	kind string
}

// Record is one DNS record. Name is absolute, in lower case, without the last dot; a
// leading "*" label is a wildcard. TTL is in seconds. Content is an address, a host
// name, or the text of a TXT. Origin tells who made it: OriginPurser for what this
// cloud made itself, anything else is the owner's.
type Record struct {
	ID, Name, Type, Content, Origin string
	TTL, Priority                   uint32
}

const (
	// OriginPurser marks the records this cloud made and may replace.
	OriginPurser = "purser"

	zoneDomain    = "domain"
	zoneSubdomain = "subdomain"

	edgeAddress = "127.0.0.1"
	defaultTTL  = 300
)

// CreateZone makes a zone whose apex points to the edge. The same account and name
// give the same zone again; a zone of another account is ErrTaken.
func (s *Store) CreateZone(ctx context.Context, account, name string) (Zone, error) {
	name, err := hostname(name)
	if err != nil || strings.HasPrefix(name, "*") || !strings.Contains(name, ".") {
		return Zone{}, fmt.Errorf("zone %q: %w", name, ErrInvalid)
	}
	if name == SubdomainSuffix || strings.HasSuffix(name, "."+SubdomainSuffix) {
		return Zone{}, fmt.Errorf("zone %q: %w", name, ErrTaken)
	}
	id, err := s.newID()
	if err != nil {
		return Zone{}, err
	}
	err = s.Write(ctx, func(tx *sql.Tx) error {
		if err := active(ctx, tx, account); err != nil {
			return err
		}
		var owner string
		err := tx.QueryRowContext(ctx, `SELECT account FROM zones WHERE name = $1`, name).Scan(&owner)
		switch {
		case errors.Is(err, sql.ErrNoRows):
			return s.insertZone(ctx, tx, Zone{ID: id, Name: name, Account: account, kind: zoneDomain}, "")
		case err == nil && owner != account:
			return ErrTaken
		}
		return err
	})
	if err != nil {
		return Zone{}, fmt.Errorf("creating zone %s: %w", name, err)
	}
	return s.ZoneOf(ctx, name)
}

// insertZone writes a zone and the address record under label ("" is the apex).
func (s *Store) insertZone(ctx context.Context, tx *sql.Tx, z Zone, label string) error {
	_, err := tx.ExecContext(ctx, `INSERT INTO zones (id, name, account, kind, serial, created_at) VALUES ($1, $2, $3, $4, 1, $5)`,
		z.ID, z.Name, z.Account, z.kind, s.micros())
	if err != nil {
		return err
	}
	name := strings.TrimPrefix(label+"."+z.Name, ".")
	return s.insertRecord(ctx, tx, z.ID, Record{Name: name, Type: "A", Content: edgeAddress, TTL: defaultTTL, Origin: OriginPurser})
}

const zoneColumns = `SELECT z.id, z.name, z.account, z.kind, z.serial, a.suspended_at IS NOT NULL, z.created_at
	FROM zones z JOIN accounts a ON a.id = z.account`

func scanZone(row interface{ Scan(...any) error }) (Zone, error) {
	var z Zone
	var created int64
	err := row.Scan(&z.ID, &z.Name, &z.Account, &z.kind, &z.Serial, &z.Suspended, &created)
	z.Created = fromMicros(created)
	return z, missing(err, "zone")
}

// ZoneOf is the longest zone, of any account, that a name lies in.
func (s *Store) ZoneOf(ctx context.Context, name string) (Zone, error) {
	name = normal(name)
	var places []string
	var args []any
	for rest := name; rest != ""; _, rest, _ = strings.Cut(rest, ".") {
		args = append(args, rest)
		places = append(places, fmt.Sprintf("$%d", len(args)))
		if len(args) > 127 { // no DNS name has more labels
			return Zone{}, fmt.Errorf("zone of %.60s: %w", name, ErrNotFound)
		}
	}
	if len(args) == 0 {
		return Zone{}, fmt.Errorf("zone: %w", ErrNotFound)
	}
	return scanZone(s.reader.QueryRowContext(ctx,
		zoneColumns+` WHERE z.name IN (`+strings.Join(places, ", ")+`) ORDER BY length(z.name) DESC LIMIT 1`, args...))
}

// Zones lists the domains of an account by name; its own subdomain is not among them.
func (s *Store) Zones(ctx context.Context, account string) ([]Zone, error) {
	rows, err := s.reader.QueryContext(ctx, zoneColumns+` WHERE z.account = $1 AND z.kind = $2 ORDER BY z.name`, account, zoneDomain)
	if err != nil {
		return nil, fmt.Errorf("listing zones: %w", err)
	}
	defer rows.Close()
	var zones []Zone
	for rows.Next() {
		z, err := scanZone(rows)
		if err != nil {
			return nil, err
		}
		zones = append(zones, z)
	}
	return zones, rows.Err()
}

// RemoveZone removes a zone with its records and custom domains.
func (s *Store) RemoveZone(ctx context.Context, account, id string) error {
	return s.Write(ctx, func(tx *sql.Tx) error {
		return changesOne(tx.ExecContext(ctx, `DELETE FROM zones WHERE id = $1 AND account = $2 AND kind = $3`, id, account, zoneDomain))
	})
}

// Records lists a zone's records, oldest first.
func (s *Store) Records(ctx context.Context, zone string) ([]Record, error) {
	rows, err := s.reader.QueryContext(ctx, `SELECT id, name, type, content, origin, ttl, priority FROM records WHERE zone = $1 ORDER BY created_at, id`, zone)
	if err != nil {
		return nil, fmt.Errorf("listing records: %w", err)
	}
	defer rows.Close()
	var list []Record
	for rows.Next() {
		var r Record
		if err := rows.Scan(&r.ID, &r.Name, &r.Type, &r.Content, &r.Origin, &r.TTL, &r.Priority); err != nil {
			return nil, fmt.Errorf("listing records: %w", err)
		}
		list = append(list, r)
	}
	return list, rows.Err()
}

// AddRecord adds a record to a zone of the account. A name that is relative to the
// zone, "" or "@" is completed. The same record again changes nothing. A CNAME
// beside other records, or at the apex, is ErrTaken. The stored record is answered.
func (s *Store) AddRecord(ctx context.Context, account, zone string, r Record) (Record, error) {
	err := s.Write(ctx, func(tx *sql.Tx) error {
		if err := active(ctx, tx, account); err != nil {
			return err
		}
		z, err := scanZone(tx.QueryRowContext(ctx, zoneColumns+` WHERE z.id = $1 AND z.account = $2`, zone, account))
		if err != nil {
			return err
		}
		if r, err = r.within(z.Name); err != nil {
			return err
		}
		if err := beside(ctx, tx, z, r); err != nil {
			return err
		}
		if err := s.insertRecord(ctx, tx, zone, r); err != nil {
			return err
		}
		return tx.QueryRowContext(ctx, `SELECT id, ttl, priority, origin FROM records
			WHERE zone = $1 AND name = $2 AND type = $3 AND content = $4`, zone, r.Name, r.Type, r.Content).
			Scan(&r.ID, &r.TTL, &r.Priority, &r.Origin)
	})
	if err != nil {
		return Record{}, fmt.Errorf("adding a record: %w", err)
	}
	return r, nil
}

// within completes and checks a record for a zone.
func (r Record) within(zone string) (Record, error) {
	name := normal(r.Name)
	switch {
	case name == "" || name == "@":
		name = zone
	case name != zone && !strings.HasSuffix(name, "."+zone):
		name += "." + zone
	}
	r.Name = name
	if _, err := hostname(name); err != nil {
		return r, fmt.Errorf("record name %q: %w", name, ErrInvalid)
	}
	if r.TTL == 0 {
		r.TTL = defaultTTL
	}
	if r.TTL > 86400 || r.Priority > 65535 {
		return r, fmt.Errorf("record %s: ttl or priority: %w", name, ErrInvalid)
	}
	content, err := r.checkContent()
	r.Content = content
	return r, err
}

func (r Record) checkContent() (string, error) {
	bad := fmt.Errorf("%s record %q: %w", r.Type, r.Content, ErrInvalid)
	switch r.Type {
	case "A", "AAAA":
		ip, err := netip.ParseAddr(r.Content)
		if err != nil || ip.Zone() != "" || ip.Is4() != (r.Type == "A") {
			return "", bad
		}
		return ip.String(), nil
	case "CNAME", "MX":
		host, err := hostname(r.Content)
		if err != nil || strings.HasPrefix(host, "*") {
			return "", bad
		}
		return host, nil
	case "TXT":
		if r.Content == "" || len(r.Content) > 4096 {
			return "", bad
		}
		return r.Content, nil
	}
	return "", fmt.Errorf("record type %q: %w (A, AAAA, CNAME, MX and TXT are served)", r.Type, ErrInvalid)
}

// beside refuses a CNAME that would share its name (RFC 1034 section 3.6.2).
func beside(ctx context.Context, tx *sql.Tx, z Zone, r Record) error {
	if r.Type == "CNAME" && r.Name == z.Name {
		return fmt.Errorf("a CNAME at the apex of %s: %w", z.Name, ErrTaken)
	}
	var n int
	err := tx.QueryRowContext(ctx, `SELECT count(*) FROM records WHERE zone = $1 AND name = $2
		AND (type = 'CNAME') <> ($3 = 'CNAME')`, z.ID, r.Name, r.Type).Scan(&n)
	if err == nil && r.Type == "CNAME" && n == 0 {
		err = tx.QueryRowContext(ctx, `SELECT count(*) FROM records WHERE zone = $1 AND name = $2 AND content <> $3`,
			z.ID, r.Name, r.Content).Scan(&n)
	}
	if err != nil {
		return fmt.Errorf("reading records: %w", err)
	}
	if n > 0 {
		return fmt.Errorf("a CNAME beside other records of %s: %w", r.Name, ErrTaken)
	}
	return nil
}

// insertRecord writes a record, unless it is there, and counts the serial up.
func (s *Store) insertRecord(ctx context.Context, tx *sql.Tx, zone string, r Record) error {
	id, err := s.newID()
	if err != nil {
		return err
	}
	result, err := tx.ExecContext(ctx, `INSERT INTO records (id, zone, name, type, content, priority, ttl, origin, created_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT DO NOTHING`,
		id, zone, r.Name, r.Type, r.Content, r.Priority, r.TTL, r.Origin, s.micros())
	return bump(ctx, tx, zone, result, err)
}

// RemoveRecord removes one record by id, never its neighbours of the same name.
func (s *Store) RemoveRecord(ctx context.Context, account, zone, id string) error {
	return s.Write(ctx, func(tx *sql.Tx) error {
		result, err := tx.ExecContext(ctx, `DELETE FROM records WHERE id = $1 AND zone = (SELECT id FROM zones WHERE id = $2 AND account = $3)`, id, zone, account)
		if err := changesOne(result, err); err != nil {
			return err
		}
		return bump(ctx, tx, zone, result, nil)
	})
}

// bump grows the serial when the statement before changed a record.
func bump(ctx context.Context, tx *sql.Tx, zone string, result sql.Result, err error) error {
	if err != nil {
		return fmt.Errorf("changing records: %w", err)
	}
	if n, err := result.RowsAffected(); err != nil || n == 0 {
		return err
	}
	_, err = tx.ExecContext(ctx, `UPDATE zones SET serial = serial + 1 WHERE id = $1`, zone)
	return err
}

func normal(name string) string {
	return strings.ToLower(strings.TrimSuffix(name, "."))
}

// hostname checks a DNS name: lower-case labels of letters, digits, hyphens and, as
// service records need, underscores. The first label may be "*".
func hostname(name string) (string, error) {
	name = normal(name)
	if name == "" || len(name) > 253 {
		return name, ErrInvalid
	}
	for i, label := range strings.Split(name, ".") {
		if i == 0 && label == "*" {
			continue
		}
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' ||
			strings.Trim(label, "abcdefghijklmnopqrstuvwxyz0123456789-_") != "" {
			return name, ErrInvalid
		}
	}
	return name, nil
}
