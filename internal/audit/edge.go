package audit

import (
	"fmt"
	"math/bits"
	"slices"

	"golang.org/x/mod/sumdb/tlog"
)

// An Edge is the right side of a tree: the roots of its complete subtrees, the
// largest first. It is all that appending and computing the root need, so who
// keeps its bytes beside the size reads no hashes.
type Edge struct {
	size  int64
	nodes []tlog.Hash
}

// OpenEdge reads the edge of a tree of size records from its bytes. Where there
// are none, it asks read once for the hashes, at most one per bit of size.
func OpenEdge(size int64, raw []byte, read tlog.HashReader) (*Edge, error) {
	if size < 0 {
		return nil, fmt.Errorf("appending to a tree of %d records", size)
	}
	if want := bits.OnesCount64(uint64(size)); len(raw) == want*tlog.HashSize {
		e := &Edge{size, make([]tlog.Hash, want, want+1)}
		for i := range e.nodes {
			copy(e.nodes[i][:], raw[i*tlog.HashSize:])
		}
		return e, nil
	}
	if len(raw) > 0 {
		return nil, fmt.Errorf("the edge of %d records has %d bytes", size, len(raw))
	}
	return loadEdge(size, read)
}

// Bytes is what OpenEdge reads.
func (e *Edge) Bytes() []byte {
	raw := make([]byte, 0, len(e.nodes)*tlog.HashSize)
	for _, n := range e.nodes {
		raw = append(raw, n[:]...)
	}
	return raw
}

// Root is the root of the tree.
func (e *Edge) Root() tlog.Hash { return e.root() }

// Append adds leaves and returns the hashes to store, 32 bytes each, at the
// indices that begin at FirstHash of the size before.
func (e *Edge) Append(leaves [][]byte) []byte {
	hashes := make([]tlog.Hash, 0, 2*len(leaves)+bits.Len64(uint64(e.size)))
	for _, leaf := range leaves {
		hashes = e.push(tlog.RecordHash(leaf), hashes)
	}
	raw := make([]byte, 0, len(hashes)*tlog.HashSize)
	for _, h := range hashes {
		raw = append(raw, h[:]...)
	}
	return raw
}

func loadEdge(size int64, read tlog.HashReader) (*Edge, error) {
	var indices []int64
	for at := int64(0); at < size; {
		level := bits.Len64(uint64(size-at)) - 1
		indices = append(indices, tlog.StoredHashIndex(level, at>>level))
		at += 1 << level
	}
	if len(indices) == 0 {
		return &Edge{}, nil
	}
	nodes, err := read.ReadHashes(indices)
	if err != nil {
		return nil, fmt.Errorf("reading the edge of %d records: %w", size, err)
	}
	if len(nodes) != len(indices) {
		return nil, fmt.Errorf("reading the edge of %d records: got %d hashes for %d indices", size, len(nodes), len(indices))
	}
	// The reader may keep its slice, and push writes into ours.
	return &Edge{size, slices.Clone(nodes)}, nil
}

// push adds a leaf hash and appends the hashes that it stores to out, in the order of tlog.StoredHashes.
func (e *Edge) push(h tlog.Hash, out []tlog.Hash) []tlog.Hash {
	out = append(out, h)
	for full := e.size; full&1 == 1; full >>= 1 {
		last := len(e.nodes) - 1
		h = tlog.NodeHash(e.nodes[last], h)
		e.nodes = e.nodes[:last]
		out = append(out, h)
	}
	e.nodes = append(e.nodes, h)
	e.size++
	return out
}

// root is the tree's root (RFC 6962 section 2.1).
func (e *Edge) root() tlog.Hash {
	if e.size == 0 {
		empty, _ := tlog.TreeHash(0, nil) // reads nothing
		return empty
	}
	h := e.nodes[len(e.nodes)-1]
	for i := len(e.nodes) - 2; i >= 0; i-- {
		h = tlog.NodeHash(e.nodes[i], h)
	}
	return h
}
