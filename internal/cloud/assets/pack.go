package assets

import (
	"bufio"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
)

// ErrMissing is the error of a hash that is not in the store.
var ErrMissing = errors.New("no such blob")

// Store keeps blobs by hash. The blobs of one upload lie in one pack file with its
// index at the end, so thousands of small files cost one file and one fsync. A pack
// appears under its name only when it is whole and on disk.
type Store struct {
	dir string

	mu    sync.RWMutex
	index map[string]place

	gzip gzipCache
}

type place struct {
	pack         string
	offset, size int64
}

type entry struct {
	Hash   string `json:"h"`
	Offset int64  `json:"o"`
	Size   int64  `json:"s"`
}

const (
	packMagic  = "PURSERPK"
	packSuffix = ".pack"
	temporary  = "tmp-"
	footerSize = int64(8 + len(packMagic))
)

// OpenStore opens or makes the store in dir. What an earlier process left half
// written is removed; a damaged pack is an error.
func OpenStore(dir string) (*Store, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("making the blob folder: %w", err)
	}
	s := &Store{dir: dir, index: map[string]place{}, gzip: gzipCache{dir: filepath.Join(dir, "gzip")}}
	// Compressed copies are written without fsync, so one from before a crash may be torn.
	if err := s.gzip.reset(); err != nil {
		return nil, fmt.Errorf("clearing compressed copies: %w", err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("listing blobs: %w", err)
	}
	for _, e := range entries {
		switch name := e.Name(); {
		case strings.HasPrefix(name, temporary):
			if err := os.Remove(filepath.Join(dir, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return nil, fmt.Errorf("removing an unfinished pack: %w", err)
			}
		case strings.HasSuffix(name, packSuffix):
			if err := s.load(name); err != nil {
				return nil, fmt.Errorf("reading pack %s: %w", name, err)
			}
		}
	}
	return s, nil
}

// load reads the index at the end of a pack and checks it against the file's size.
func (s *Store) load(name string) error {
	f, err := os.Open(filepath.Join(s.dir, name))
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	footer := make([]byte, footerSize)
	if info.Size() < footerSize {
		return errors.New("too short")
	}
	if _, err := f.ReadAt(footer, info.Size()-footerSize); err != nil {
		return err
	}
	data := binary.BigEndian.Uint64(footer)
	if string(footer[8:]) != packMagic || data > uint64(info.Size()-footerSize) {
		return errors.New("damaged end")
	}
	var entries []entry
	tail := io.NewSectionReader(f, int64(data), info.Size()-footerSize-int64(data))
	if err := json.NewDecoder(bufio.NewReader(tail)).Decode(&entries); err != nil {
		return fmt.Errorf("decoding its index: %w", err)
	}
	for _, e := range entries {
		if !IsHash(e.Hash) || e.Offset < 0 || e.Size < 0 || e.Offset+e.Size > int64(data) {
			return errors.New("damaged index")
		}
	}
	s.adopt(name, entries)
	return nil
}

func (s *Store) adopt(pack string, entries []entry) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range entries {
		s.index[e.Hash] = place{pack, e.Offset, e.Size}
	}
}

// Size is the size of a blob in bytes, and whether the store has it.
func (s *Store) Size(hash string) (int64, bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	p, ok := s.index[hash]
	return p.size, ok
}

// Blob is an open blob: read it, seek in it, close it.
type Blob struct {
	*io.SectionReader
	file *os.File
}

// Close closes the file below.
func (b *Blob) Close() error { return b.file.Close() }

// Open opens a blob, or answers ErrMissing.
func (s *Store) Open(hash string) (*Blob, error) {
	s.mu.RLock()
	p, ok := s.index[hash]
	s.mu.RUnlock()
	if !ok {
		return nil, ErrMissing
	}
	f, err := os.Open(filepath.Join(s.dir, p.pack))
	if err != nil {
		return nil, fmt.Errorf("opening blob %s: %w", hash, err)
	}
	return &Blob{io.NewSectionReader(f, p.offset, p.size), f}, nil
}

// Batch collects the blobs of one upload. End it with Commit or Discard; one
// goroutine uses it.
type Batch struct {
	store   *Store
	file    *os.File
	buffer  *bufio.Writer
	offset  int64
	entries []entry
	seen    map[string]bool
}

// NewBatch begins an upload; random names its pack.
func (s *Store) NewBatch(random io.Reader) (*Batch, error) {
	id := make([]byte, 16)
	if _, err := io.ReadFull(random, id); err != nil {
		return nil, fmt.Errorf("naming a pack: %w", err)
	}
	name := filepath.Join(s.dir, temporary+hex.EncodeToString(id))
	f, err := os.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("making a pack: %w", err)
	}
	return &Batch{store: s, file: f, buffer: bufio.NewWriterSize(f, 256<<10), seen: map[string]bool{}}, nil
}

// Add puts bytes under a hash the caller has verified. A blob the store or this
// batch already has is not written again.
func (b *Batch) Add(hash string, data []byte) error {
	if !IsHash(hash) {
		return fmt.Errorf("%q is not a hash", hash)
	}
	if _, have := b.store.Size(hash); have || b.seen[hash] {
		return nil
	}
	if _, err := b.buffer.Write(data); err != nil {
		return fmt.Errorf("writing blob %s: %w", hash, err)
	}
	b.seen[hash] = true
	b.entries = append(b.entries, entry{hash, b.offset, int64(len(data))})
	b.offset += int64(len(data))
	return nil
}

// Commit makes the batch durable and then visible: index, fsync, rename, fsync of
// the folder. After an error nothing of it is visible.
func (b *Batch) Commit() error {
	if len(b.entries) == 0 {
		return b.Discard()
	}
	if err := b.finish(); err != nil {
		return errors.Join(err, b.Discard())
	}
	pack := strings.TrimPrefix(filepath.Base(b.file.Name()), temporary) + packSuffix
	if err := os.Rename(b.file.Name(), filepath.Join(b.store.dir, pack)); err != nil {
		return errors.Join(fmt.Errorf("naming a pack: %w", err), b.Discard())
	}
	if err := syncDir(b.store.dir); err != nil {
		return fmt.Errorf("syncing the blob folder: %w", err)
	}
	b.store.adopt(pack, b.entries)
	return nil
}

func (b *Batch) finish() error {
	index, err := json.Marshal(b.entries)
	if err != nil {
		return err
	}
	index = binary.BigEndian.AppendUint64(index, uint64(b.offset))
	if _, err := b.buffer.Write(append(index, packMagic...)); err != nil {
		return fmt.Errorf("writing a pack's index: %w", err)
	}
	if err := b.buffer.Flush(); err != nil {
		return fmt.Errorf("writing a pack: %w", err)
	}
	if err := b.file.Sync(); err != nil {
		return fmt.Errorf("syncing a pack: %w", err)
	}
	return b.file.Close()
}

// Discard forgets the batch. After Commit it does nothing.
func (b *Batch) Discard() error {
	b.file.Close() // closed already after finish
	if err := os.Remove(b.file.Name()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("removing an unfinished pack: %w", err)
	}
	return nil
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
