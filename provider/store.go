package provider

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"
)

// Store keeps the SDK's records: small JSON values under ASCII keys of at most
// 200 bytes. providertest.TestStore is the suite that every Store must pass.
type Store interface {
	// View runs f on one consistent snapshot. Puts and deletes inside it fail.
	View(ctx context.Context, f func(tx Tx) error) error

	// Update runs f and commits what it put and deleted, all or nothing, durably
	// before it returns nil. Updates are serialisable: f may be run again after a
	// conflict, and f does no other I/O. When f fails nothing is kept and its error
	// comes back, wrapped or bare.
	Update(ctx context.Context, f func(tx Tx) error) error
}

// Tx is one transaction. It is used by one goroutine and not after f returned.
type Tx interface {
	// Get gives a copy of a value, and the transaction's own writes before it. An
	// absent key is nil, nil.
	Get(key string) ([]byte, error)

	// Put writes a value (never empty). From the time expires on, the store may drop
	// the record at any moment; it need not, and must not before. Zero: never.
	Put(key string, value []byte, expires time.Time) error

	// Delete removes a key; an absent one is no error.
	Delete(key string) error

	// List gives up to limit records whose key begins with prefix and is greater
	// than after, ascending by bytes.
	List(prefix, after string, limit int) ([]Record, error)
}

// Record is one key and its value.
type Record struct {
	Key   string
	Value []byte
}

// memoryStore is a Store for tests and trials; it forgets at the end of the process.
type memoryStore struct {
	mu      sync.Mutex
	records map[string]memoryRecord
}

type memoryRecord struct {
	value   []byte
	expires time.Time
}

// NewMemoryStore makes a Store in memory.
func NewMemoryStore() Store { return &memoryStore{records: map[string]memoryRecord{}} }

func (s *memoryStore) View(ctx context.Context, f func(tx Tx) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return f(&memoryTx{store: s, readOnly: true})
}

func (s *memoryStore) Update(ctx context.Context, f func(tx Tx) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	tx := &memoryTx{store: s, changed: map[string]*memoryRecord{}}
	if err := f(tx); err != nil {
		return err
	}
	for key, r := range tx.changed {
		if r == nil {
			delete(s.records, key)
			continue
		}
		s.records[key] = *r
	}
	return nil
}

type memoryTx struct {
	store    *memoryStore
	changed  map[string]*memoryRecord // nil: deleted
	readOnly bool
}

var errReadOnly = errors.New("writing in a view")

func (tx *memoryTx) Get(key string) ([]byte, error) {
	if r, ok := tx.changed[key]; ok {
		if r == nil {
			return nil, nil
		}
		return bytes.Clone(r.value), nil
	}
	return bytes.Clone(tx.store.records[key].value), nil
}

func (tx *memoryTx) Put(key string, value []byte, expires time.Time) error {
	if tx.readOnly {
		return errReadOnly
	}
	tx.changed[key] = &memoryRecord{bytes.Clone(value), expires}
	return nil
}

func (tx *memoryTx) Delete(key string) error {
	if tx.readOnly {
		return errReadOnly
	}
	tx.changed[key] = nil
	return nil
}

func (tx *memoryTx) List(prefix, after string, limit int) ([]Record, error) {
	found := map[string][]byte{}
	for key, r := range tx.store.records {
		found[key] = r.value
	}
	for key, r := range tx.changed {
		delete(found, key)
		if r != nil {
			found[key] = r.value
		}
	}
	var records []Record
	for key, value := range found {
		if strings.HasPrefix(key, prefix) && key > after {
			records = append(records, Record{key, bytes.Clone(value)})
		}
	}
	slices.SortFunc(records, func(a, b Record) int { return strings.Compare(a.Key, b.Key) })
	return records[:min(limit, len(records))], nil
}
