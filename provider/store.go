package provider

import (
	"bytes"
	"container/heap"
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
	mu      sync.RWMutex
	records map[string]memoryRecord
	groups  map[string][]string // keys by their first two segments, for List
	due     dueHeap
	locks   locks // of the providers over it
}

type memoryRecord struct {
	value   []byte
	expires time.Time
}

// NewMemoryStore makes a Store in memory.
func NewMemoryStore() Store {
	return &memoryStore{records: map[string]memoryRecord{}, groups: map[string][]string{}}
}

func (s *memoryStore) View(ctx context.Context, f func(tx Tx) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	return f(&memoryTx{store: s, readOnly: true})
}

func (s *memoryStore) Update(ctx context.Context, f func(tx Tx) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	tx := &memoryTx{store: s, changed: make([]change, 0, 4)}
	if err := f(tx); err != nil {
		return err
	}
	for _, c := range tx.changed {
		if c.value == nil {
			s.drop(c.key)
			continue
		}
		s.keep(c.key, c.memoryRecord)
	}
	return nil
}

func (s *memoryStore) keep(key string, r memoryRecord) {
	if _, known := s.records[key]; !known && listed(key) {
		g := group(key)
		s.groups[g] = append(s.groups[g], key)
	}
	s.records[key] = r
	if !r.expires.IsZero() {
		s.due.add(due{key, r.expires})
	}
}

func (s *memoryStore) drop(key string) {
	delete(s.records, key)
	if !listed(key) {
		return
	}
	g := group(key)
	s.groups[g] = slices.DeleteFunc(s.groups[g], func(other string) bool { return other == key })
	if len(s.groups[g]) == 0 {
		delete(s.groups, g)
	}
}

// listed tells whether a key is grouped for List: the SDK lists resources only, and
// all other lists look through everything.
func listed(key string) bool { return strings.HasPrefix(key, "res/") }

// group is the key up to its second slash, "" for a shorter one.
func group(key string) string {
	first := strings.IndexByte(key, '/')
	second := strings.IndexByte(key[first+1:], '/')
	if first < 0 || second < 0 {
		return ""
	}
	return key[:first+second+2]
}

// Sweep drops what has expired. A record written again since has a later entry.
func (s *memoryStore) Sweep(_ context.Context, now time.Time, limit int) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for range limit {
		if len(s.due) == 0 || s.due[0].at.After(now) {
			return nil
		}
		next := heap.Pop(&s.due).(due)
		if r, ok := s.records[next.key]; ok && r.expires.Equal(next.at) {
			s.drop(next.key)
		}
	}
	return nil
}

// due is when a key may be dropped; dueHeap has the earliest first.
type due struct {
	key string
	at  time.Time
}

type dueHeap []due

func (h dueHeap) Len() int           { return len(h) }
func (h dueHeap) Less(i, j int) bool { return h[i].at.Before(h[j].at) }
func (h dueHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *dueHeap) Push(x any)        { *h = append(*h, x.(due)) }

// add is heap.Push without a box for each entry.
func (h *dueHeap) add(d due) {
	*h = append(*h, d)
	heap.Fix(h, len(*h)-1)
}

func (h *dueHeap) Pop() any {
	last := len(*h) - 1
	x := (*h)[last]
	*h = (*h)[:last]
	return x
}

type memoryTx struct {
	store    *memoryStore
	changed  []change // few, so a list is quicker than a map
	readOnly bool
}

// change is a record put, or deleted when it has no value.
type change struct {
	key string
	memoryRecord
}

func (tx *memoryTx) own(key string) *change {
	for i := range tx.changed {
		if tx.changed[i].key == key {
			return &tx.changed[i]
		}
	}
	return nil
}

func (tx *memoryTx) set(key string, r memoryRecord) error {
	if tx.readOnly {
		return errReadOnly
	}
	if c := tx.own(key); c != nil {
		c.memoryRecord = r
		return nil
	}
	tx.changed = append(tx.changed, change{key, r})
	return nil
}

var errReadOnly = errors.New("writing in a view")

func (tx *memoryTx) Get(key string) ([]byte, error) { return bytes.Clone(tx.kept(key)), nil }

// kept is the value itself, nil when there is none.
func (tx *memoryTx) kept(key string) []byte {
	if c := tx.own(key); c != nil {
		return c.value
	}
	return tx.store.records[key].value
}

func (tx *memoryTx) Put(key string, value []byte, expires time.Time) error {
	return tx.set(key, memoryRecord{bytes.Clone(value), expires})
}

func (tx *memoryTx) Delete(key string) error {
	return tx.set(key, memoryRecord{})
}

func (tx *memoryTx) List(prefix, after string, limit int) ([]Record, error) {
	var keys []string
	wanted := func(key string) bool { return strings.HasPrefix(key, prefix) && key > after }
	stored := func(key string) {
		if wanted(key) && tx.own(key) == nil {
			keys = append(keys, key)
		}
	}
	if g := group(prefix); g != "" && listed(prefix) {
		for _, key := range tx.store.groups[g] {
			stored(key)
		}
	} else {
		for key := range tx.store.records {
			stored(key)
		}
	}
	for _, c := range tx.changed {
		if c.value != nil && wanted(c.key) {
			keys = append(keys, c.key)
		}
	}
	slices.Sort(keys)
	keys = keys[:min(limit, len(keys))]
	records := make([]Record, len(keys))
	for i, key := range keys {
		value, err := tx.Get(key)
		if err != nil {
			return nil, err
		}
		records[i] = Record{key, value}
	}
	return records, nil
}
