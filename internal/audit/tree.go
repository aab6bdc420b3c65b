package audit

import (
	"fmt"
	"math/bits"

	"golang.org/x/mod/sumdb/tlog"
)

// Append adds leaves to a tree of size records. It returns the hashes to store,
// in order, at the indices that begin at FirstHash(size), and the root of the
// larger tree (RFC 6962 section 2.1). It asks read once, for at most one hash
// per bit of size; a reader over SQL answers with one query.
func Append(size int64, read tlog.HashReader, leaves [][]byte) (hashes []tlog.Hash, root tlog.Hash, err error) {
	edge, err := OpenEdge(size, nil, read)
	if err != nil {
		return nil, tlog.Hash{}, err
	}
	hashes = make([]tlog.Hash, 0, 2*len(leaves)+bits.Len64(uint64(size)))
	for _, leaf := range leaves {
		hashes = edge.push(tlog.RecordHash(leaf), hashes)
	}
	return hashes, edge.root(), nil
}

// FirstHash returns the index of the first hash that a record appended to a
// tree of size records stores, which is the number of hashes stored so far.
func FirstHash(size int64) int64 { return tlog.StoredHashCount(size) }

// LeafHash returns the hash of a leaf, and LeafIndex the index at which it is stored.
func LeafHash(leaf []byte) tlog.Hash { return tlog.RecordHash(leaf) }

// LeafIndex returns the index of the stored hash of record seq.
func LeafIndex(seq int64) int64 { return tlog.StoredHashIndex(0, seq-1) }

// Root returns the root of the tree of the first size records.
func Root(size int64, read tlog.HashReader) (tlog.Hash, error) {
	root, err := tlog.TreeHash(size, read)
	if err != nil {
		return tlog.Hash{}, fmt.Errorf("reading the root of %d records: %w", size, err)
	}
	return root, nil
}

// ProveInclusion proves that record seq is in the tree of size records.
func ProveInclusion(size, seq int64, read tlog.HashReader) ([]tlog.Hash, error) {
	proof, err := tlog.ProveRecord(size, seq-1, read)
	if err != nil {
		return nil, fmt.Errorf("proving that %d is among %d records: %w", seq, size, err)
	}
	return proof, nil
}

// CheckInclusion checks a proof of ProveInclusion for a leaf against a root.
func CheckInclusion(proof []tlog.Hash, size int64, root tlog.Hash, seq int64, leaf []byte) error {
	return tlog.CheckRecord(proof, size, root, seq-1, tlog.RecordHash(leaf))
}

// ProveConsistency proves that the tree of size records begins with the tree of older records.
func ProveConsistency(size, older int64, read tlog.HashReader) ([]tlog.Hash, error) {
	proof, err := tlog.ProveTree(size, older, read)
	if err != nil {
		return nil, fmt.Errorf("proving that %d records begin with %d: %w", size, older, err)
	}
	return proof, nil
}

// CheckConsistency checks a proof of ProveConsistency against both roots.
func CheckConsistency(proof []tlog.Hash, size int64, root tlog.Hash, older int64, olderRoot tlog.Hash) error {
	return tlog.CheckTree(proof, size, root, older, olderRoot)
}

// growsInForm checks a proof of ProveConsistency without the older root: it is as long
// as it must be, and leads to root. With it one can say no more of an older size that is a
// power of two, since the older root is where such a proof begins and no part of it.
func growsInForm(proof []tlog.Hash, size int64, root tlog.Hash, older int64) bool {
	blank := tlog.HashReaderFunc(func(indexes []int64) ([]tlog.Hash, error) { return make([]tlog.Hash, len(indexes)), nil })
	form, err := ProveConsistency(size, older, blank)
	switch {
	case err != nil || len(proof) != len(form):
		return false
	case older == size || older&(older-1) == 0:
		return true
	}
	return CheckConsistency(proof, size, root, older, olderRoot(proof, 0, size, older)) == nil
}

// olderRoot is the root of the older tree that a proof of the right length leads to, or
// its part from record lo on; hi is where the newer one ends.
func olderRoot(proof []tlog.Hash, lo, hi, older int64) tlog.Hash {
	if older == hi {
		return proof[0]
	}
	top := len(proof) - 1
	middle := lo + 1<<(bits.Len64(uint64(hi-lo-1))-1)
	if older <= middle {
		return olderRoot(proof[:top], lo, middle, older)
	}
	return tlog.NodeHash(proof[top], olderRoot(proof[:top], middle, hi, older))
}
