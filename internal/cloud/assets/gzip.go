package assets

import (
	"bufio"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sync/singleflight"
)

// gzipCache keeps one compressed copy of each blob that was asked for compressed.
// An empty file records that compression is not worth it.
type gzipCache struct {
	dir   string
	group singleflight.Group
}

func (c *gzipCache) reset() error {
	if err := os.RemoveAll(c.dir); err != nil {
		return err
	}
	return os.Mkdir(c.dir, 0o700)
}

// OpenGzip opens the compressed copy of a blob and makes it the first time. It
// answers ErrMissing when compression would not shrink the blob by a tenth.
func (s *Store) OpenGzip(hash string) (*Blob, error) {
	if !IsHash(hash) {
		return nil, ErrMissing
	}
	name := filepath.Join(s.gzip.dir, hash)
	f, err := os.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		if _, err, _ = s.gzip.group.Do(hash, func() (any, error) { return nil, s.compress(hash, name) }); err != nil {
			return nil, fmt.Errorf("compressing blob %s: %w", hash, err)
		}
		f, err = os.Open(name)
	}
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err != nil || info.Size() == 0 {
		f.Close()
		return nil, errors.Join(err, ErrMissing)
	}
	return &Blob{io.NewSectionReader(f, 0, info.Size()), f}, nil
}

func (s *Store) compress(hash, name string) error {
	in, err := s.Open(hash)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.CreateTemp(s.gzip.dir, temporary)
	if err != nil {
		return err
	}
	defer os.Remove(out.Name()) // gone after the rename
	defer out.Close()
	buffer := bufio.NewWriter(out)
	zip := gzip.NewWriter(buffer)
	if _, err := io.Copy(zip, in); err != nil {
		return err
	}
	if err := errors.Join(zip.Close(), buffer.Flush()); err != nil {
		return err
	}
	info, err := out.Stat()
	if err != nil {
		return err
	}
	if info.Size() > in.Size()*9/10 {
		if err := out.Truncate(0); err != nil {
			return err
		}
	}
	return os.Rename(out.Name(), name)
}
