package assets

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// Sweep drops every blob that keep refuses. A pack that is less than half in use is
// written anew with what is left. Run it at start, before uploads are taken.
func (s *Store) Sweep(random io.Reader, keep func(hash string) bool) error {
	stale, live := s.stale(keep)
	if len(stale) == 0 {
		return nil
	}
	if err := s.move(random, live); err != nil {
		return fmt.Errorf("repacking blobs: %w", err)
	}
	for pack := range stale {
		if err := os.Remove(filepath.Join(s.dir, pack)); err != nil {
			return fmt.Errorf("removing pack %s: %w", pack, err)
		}
	}
	return nil
}

// stale forgets dropped blobs and picks the packs to remove, with the blobs in them
// that must be moved first.
func (s *Store) stale(keep func(hash string) bool) (stale map[string]bool, live map[string]place) {
	s.mu.Lock()
	defer s.mu.Unlock()
	used, total := map[string]int64{}, map[string]int64{}
	for hash, p := range s.index {
		total[p.pack] += p.size + 1 // the 1 counts empty files too
		if keep(hash) {
			used[p.pack] += p.size + 1
		} else {
			delete(s.index, hash)
		}
	}
	stale, live = map[string]bool{}, map[string]place{}
	for pack, n := range total {
		if used[pack]*2 < n {
			stale[pack] = true
		}
	}
	for hash, p := range s.index {
		if stale[p.pack] {
			live[hash] = p
			delete(s.index, hash)
		}
	}
	return stale, live
}

func (s *Store) move(random io.Reader, live map[string]place) error {
	if len(live) == 0 {
		return nil
	}
	batch, err := s.NewBatch(random)
	if err != nil {
		return err
	}
	for hash, p := range live {
		data := make([]byte, p.size)
		if err := s.readAt(p, data); err != nil {
			return err
		}
		if err := batch.Add(hash, data); err != nil {
			return err
		}
	}
	return batch.Commit()
}

func (s *Store) readAt(p place, data []byte) error {
	f, err := os.Open(filepath.Join(s.dir, p.pack))
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = f.ReadAt(data, p.offset)
	return err
}
