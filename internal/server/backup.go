package server

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/purser-dev/purser/internal/backup"
	"github.com/purser-dev/purser/internal/blob"
	"github.com/purser-dev/purser/internal/config"
	"github.com/purser-dev/purser/internal/store"
)

// Backup writes a consistent, sealed copy of everything to a new file. It works
// beside a running server. The key file is not in it and is needed to restore.
func Backup(ctx context.Context, cfg config.Config, version, path string) (backup.Header, error) {
	house, closeHouse, err := openHouse(ctx, cfg, version)
	if err != nil {
		return backup.Header{}, err
	}
	header, err := backup.CreateFile(ctx, house, path)
	return header, errors.Join(err, closeHouse())
}

// Restore fills an empty house from a copy. The next start freezes spending in
// it, until a person resumes (RULES 25).
func Restore(ctx context.Context, cfg config.Config, version string, from io.ReadSeeker) (backup.Restored, error) {
	house, closeHouse, err := openHouse(ctx, cfg, version)
	if err != nil {
		return backup.Restored{}, err
	}
	restored, err := backup.Restore(ctx, house, from)
	return restored, errors.Join(err, closeHouse())
}

func openHouse(ctx context.Context, cfg config.Config, version string) (backup.House, func() error, error) {
	none := backup.House{}
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return none, nil, fmt.Errorf("making the data folder: %w", err)
	}
	box, err := loadKeys(cfg.KeyFile, rand.Reader)
	if err != nil {
		return none, nil, err
	}
	s, err := store.Open(ctx, store.Config{Database: strings.TrimPrefix(cfg.Database.Reveal(), "sqlite:"), Now: time.Now})
	if err != nil {
		return none, nil, err
	}
	files, err := blob.Open(filepath.Join(cfg.Dir, "blobs"), rand.Reader)
	if err != nil {
		return none, nil, errors.Join(err, s.Close())
	}
	house := backup.House{Store: s, Files: files, Box: box, Now: time.Now, Random: rand.Reader, Version: version}
	return house, func() error { return errors.Join(files.Close(), s.Close()) }, nil
}
