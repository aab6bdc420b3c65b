package state

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"time"

	"github.com/purser-dev/purser/internal/cloud/assets"
)

// SessionLife is how long an upload session and its token last.
const SessionLife = time.Hour

// OpenSession remembers the manifest of a coming upload. The same account, app and
// manifest give the same id, so a repeated request leaves one session.
func (s *Store) OpenSession(ctx context.Context, account, app string, m assets.Manifest) (string, error) {
	manifest, err := json.Marshal(m)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(fmt.Appendf(manifest, "\x00%s\x00%s", account, app))
	id := hex.EncodeToString(sum[:16])
	err = s.Write(ctx, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, `INSERT INTO sessions (id, account, app, manifest, created_at) VALUES ($1, $2, $3, $4, $5)
			ON CONFLICT (id) DO UPDATE SET created_at = $5`, id, account, app, string(manifest), s.micros())
		return err
	})
	if err != nil {
		return "", fmt.Errorf("opening an upload session: %w", err)
	}
	return id, nil
}

// Session is the manifest of an open upload session of the account.
func (s *Store) Session(ctx context.Context, account, id string) (assets.Manifest, error) {
	var manifest string
	err := s.reader.QueryRowContext(ctx, `SELECT manifest FROM sessions WHERE id = $1 AND account = $2 AND created_at > $3`,
		id, account, s.now().Add(-SessionLife).UnixMicro()).Scan(&manifest)
	if err != nil {
		return nil, missing(err, "upload session")
	}
	var m assets.Manifest
	if err := json.Unmarshal([]byte(manifest), &m); err != nil {
		return nil, fmt.Errorf("reading an upload session: %w", err)
	}
	return m, nil
}

// RecordUploads notes durable blobs as uploaded by the account: hash to file.
func (s *Store) RecordUploads(ctx context.Context, account string, files map[string]assets.File) error {
	err := s.Write(ctx, func(tx *sql.Tx) error {
		insert, err := tx.PrepareContext(ctx, `INSERT INTO uploads (account, hash, size, type, created_at) VALUES ($1, $2, $3, $4, $5)
			ON CONFLICT (account, hash) DO UPDATE SET type = $4, created_at = $5`)
		if err != nil {
			return err
		}
		defer insert.Close()
		for hash, f := range files {
			if _, err := insert.ExecContext(ctx, account, hash, f.Size, f.Type, s.micros()); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("recording uploads: %w", err)
	}
	return nil
}

// Uploads is what the account itself has uploaded: hash to file. Only these blobs
// may it name, or the shared store would tell what other accounts have.
func (s *Store) Uploads(ctx context.Context, account string) (map[string]assets.File, error) {
	rows, err := s.reader.QueryContext(ctx, `SELECT hash, size, type FROM uploads WHERE account = $1`, account)
	if err != nil {
		return nil, fmt.Errorf("listing uploads: %w", err)
	}
	defer rows.Close()
	files := map[string]assets.File{}
	for rows.Next() {
		var f assets.File
		if err := rows.Scan(&f.Hash, &f.Size, &f.Type); err != nil {
			return nil, fmt.Errorf("listing uploads: %w", err)
		}
		files[f.Hash] = f
	}
	return files, rows.Err()
}

// Sweep forgets sessions that are over and uploads no version uses, and answers the
// hashes that must stay. Run it at start, before requests are taken.
func (s *Store) Sweep(ctx context.Context) (map[string]bool, error) {
	over := s.now().Add(-SessionLife).UnixMicro()
	keep := map[string]bool{}
	err := s.Write(ctx, func(tx *sql.Tx) error {
		if _, err := tx.ExecContext(ctx, `DELETE FROM sessions WHERE created_at <= $1`, over); err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, `DELETE FROM uploads WHERE created_at <= $1 AND (account, hash) NOT IN (
			SELECT v.account, json_extract(f.value, '$.hash') FROM versions v, json_each(v.manifest) f)`, over); err != nil {
			return err
		}
		rows, err := tx.QueryContext(ctx, `SELECT DISTINCT hash FROM uploads`)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var hash string
			if err := rows.Scan(&hash); err != nil {
				return err
			}
			keep[hash] = true
		}
		return rows.Err()
	})
	if err != nil {
		return nil, fmt.Errorf("sweeping uploads: %w", err)
	}
	return keep, nil
}
