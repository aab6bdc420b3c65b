package store

import (
	"bytes"
	"context"
	"database/sql"
	_ "embed"
	"errors"
	"fmt"
	"iter"
	"slices"
	"sync"

	"github.com/klauspost/compress/s2"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/purser-dev/purser"
	"github.com/purser-dev/purser/internal/audit"
	"github.com/purser-dev/purser/internal/store/db"
)

// A Block is a row of the log: records that one turn made, one after the other. Their
// leaves are kept together and compressed, because those of one organization are much
// alike, and beside them the hashes of the tree that they complete.
type Block struct {
	First, Last int64 // numbers of records
	At          int64
	hashes      []byte
	leaves      []byte
	n           int64 // as stored
}

// A Record is a record of the log as it was hashed.
type Record struct {
	Seq, At int64
	Leaf    []byte
}

func blockOf(row db.AuditBlocksRow) Block {
	b := Block{First: row.Seq - row.N + 1, Last: row.Seq, At: row.At, hashes: row.Hashes, leaves: row.Leaves, n: row.N}
	if row.N < 1 || row.N > row.Seq { // nothing that it says of its beginning holds
		b.First = b.Last
	}
	return b
}

// Records unpacks a block. One that is not as it was packed is books_broken.
func (b Block) Records() ([]Record, error) {
	leaves, err := UnpackLeaves(b.leaves, b.n)
	if err == nil && b.n > b.Last {
		err = fmt.Errorf("%d records before number %d", b.n, b.Last)
	}
	if err != nil {
		return nil, purser.Errorf(purser.BooksBroken, "record %d cannot be read: %v", b.First, err)
	}
	out := make([]Record, len(leaves))
	for i, leaf := range leaves {
		out[i] = Record{Seq: b.First + int64(i), At: b.At, Leaf: leaf}
	}
	return out, nil
}

// Hash is the stored hash of one of the block's leaves.
func (b Block) Hash(seq int64) (h tlog.Hash, err error) {
	at := audit.LeafIndex(seq) - audit.FirstHash(b.First-1)
	if at < 0 || (at+1)*tlog.HashSize > int64(len(b.hashes)) {
		return h, purser.Errorf(purser.BooksBroken, "record %d cannot be read: its hash is not stored", seq)
	}
	copy(h[:], b.hashes[at*tlog.HashSize:])
	return h, nil
}

// Blocks are the blocks of a log in order, from the one that has record after+1 on.
// page is about how many records are in memory at a time.
func Blocks(ctx context.Context, q *db.Queries, org string, after int64, page int) iter.Seq2[Block, error] {
	return blocks(page, func(rows int32) ([]db.AuditBlocksRow, error) {
		all, err := q.AuditBlocks(ctx, db.AuditBlocksParams{Organization: org, After: after, RowLimit: rows})
		if len(all) > 0 {
			after = all[len(all)-1].Seq
		}
		return all, err
	})
}

// BlocksBefore are the blocks of a log from the one that has record before-1 down.
func BlocksBefore(ctx context.Context, q *db.Queries, org string, before int64, page int) iter.Seq2[Block, error] {
	until, known := before-1, false
	return blocks(page, func(rows int32) ([]db.AuditBlocksRow, error) {
		if until < 1 {
			return nil, nil
		}
		if !known {
			end, err := q.AuditBlockOf(ctx, db.AuditBlockOfParams{Organization: org, Seq: until})
			if err != nil && !errors.Is(err, sql.ErrNoRows) {
				return nil, err
			}
			until, known = max(until, end), true
		}
		all, err := q.AuditBlocksDown(ctx, db.AuditBlocksDownParams{Organization: org, Until: until, RowLimit: rows})
		out := make([]db.AuditBlocksRow, len(all))
		for i, row := range all {
			out[i], until = db.AuditBlocksRow(row), row.Seq-1
		}
		return out, err
	})
}

const (
	firstRows = 32   // blocks that are read before it is known how many records one has
	mostRows  = 2000 // blocks in memory at a time
)

func blocks(page int, read func(rows int32) ([]db.AuditBlocksRow, error)) iter.Seq2[Block, error] {
	return func(yield func(Block, error) bool) {
		for ask := min(page, firstRows); ; {
			rows, err := read(int32(ask))
			if err != nil {
				yield(Block{}, fmt.Errorf("reading the log: %w", err))
				return
			}
			records := 0
			for _, row := range rows {
				b := blockOf(row)
				records += int(min(b.Last-b.First+1, blockRecords))
				if !yield(b, nil) {
					return
				}
			}
			if len(rows) < ask {
				return
			}
			ask = max(1, min(page, mostRows)*len(rows)/records)
		}
	}
}

// RecordsAfter are records of a log, at most limit, from number after+1 to until.
// Those before one that cannot be read come with the error.
func RecordsAfter(ctx context.Context, q *db.Queries, org string, after, until int64, limit int) (out []Record, err error) {
	for b, err := range Blocks(ctx, q, org, after, limit) {
		if err != nil {
			return out, err
		}
		records, err := b.Records()
		if err != nil {
			return out, err
		}
		for _, r := range records {
			if r.Seq > until || len(out) == limit {
				return out, nil
			}
			if r.Seq > after {
				out = append(out, r)
			}
		}
		if len(out) == limit {
			return out, nil
		}
	}
	return out, nil
}

// RecordOf is a record of a log; sql.ErrNoRows if it is not there.
func RecordOf(ctx context.Context, q *db.Queries, org string, seq int64) (Record, error) {
	all, err := RecordsAfter(ctx, q, org, seq-1, seq, 1)
	if err == nil && len(all) == 0 {
		err = sql.ErrNoRows
	}
	if err != nil {
		return Record{}, err
	}
	return all[0], nil
}

// What a turn recorded is one block, or several when it is more than this: PostgreSQL
// then keeps each in one piece, and who looks for one record unpacks no more.
const (
	blockRecords = 64
	blockText    = 48 << 10
)

// textMost is how long the text of a block can be: that of one record.
const textMost = max(audit.MaxLeaf, blockText+blockRecords)

// Leaves are packed as the number of a dictionary of typical leaves in one byte, and
// what is left of their text, joined by newlines, beside that dictionary: S2, which
// takes a fourth of the time that Zstandard does for a block of one record. Blocks stay,
// so a dictionary does: a better one is a new file with the next number.
var (
	//go:embed leaves/1.txt
	leaves1 []byte

	dictionaries = []*s2.Dict{nil, s2.MakeDict(leaves1, []byte(`{"action":"c`))}
)

// packer packs leaves and keeps its memory for the next.
type packer struct{ text, packed []byte }

var packers = sync.Pool{New: func() any { return new(packer) }}

// PackLeaves packs the leaves of a block. What it gives is the caller's.
func PackLeaves(leaves [][]byte) []byte {
	p := packers.Get().(*packer)
	defer packers.Put(p)
	p.text = p.text[:0]
	for i, leaf := range leaves {
		if i > 0 {
			p.text = append(p.text, '\n')
		}
		p.text = append(p.text, leaf...)
	}
	number := len(dictionaries) - 1
	p.packed = slices.Grow(p.packed[:0], s2.MaxEncodedLen(len(p.text)))
	p.packed = dictionaries[number].Encode(p.packed[:cap(p.packed)], p.text)
	out := make([]byte, 0, 1+len(p.packed))
	return append(append(out, byte(number)), p.packed...)
}

// UnpackLeaves gives the n leaves of a block.
func UnpackLeaves(packed []byte, n int64) ([][]byte, error) {
	if len(packed) < 2 || packed[0] == 0 || int(packed[0]) >= len(dictionaries) {
		return nil, errors.New("its block is packed in no way that this program knows")
	}
	size, err := s2.DecodedLen(packed[1:])
	if err != nil || size > textMost {
		return nil, errors.New("its block has no end")
	}
	text, err := dictionaries[packed[0]].Decode(nil, packed[1:])
	if err != nil {
		return nil, errors.New("its block cannot be unpacked")
	}
	leaves := bytes.Split(text, []byte{'\n'})
	if int64(len(leaves)) != n {
		return nil, fmt.Errorf("its block has %d records and says %d", len(leaves), n)
	}
	return leaves, nil
}

// addBlocks adds the blocks of records that follow the size records of edge, all of one
// time, and hashes them into it.
func addBlocks(into *rows, org string, edge *audit.Edge, size, at int64, leaves [][]byte) {
	for len(leaves) > 0 {
		n, text := 0, 0
		for n < len(leaves) && n < blockRecords && (n == 0 || text+len(leaves[n]) <= blockText) {
			text += len(leaves[n])
			n++
		}
		size += int64(n)
		into.text(org).integer(size, int64(n), at).bytes(edge.Append(leaves[:n])).bytes(PackLeaves(leaves[:n]))
		leaves = leaves[n:]
	}
}

// hashReader reads stored hashes of one log. It keeps the block that it read last: who
// reads a log in order finds the next hash there.
type hashReader struct {
	ctx   context.Context
	q     *db.Queries
	org   string
	block Block
}

func (r *hashReader) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	hashes := make([]tlog.Hash, len(indexes))
	for i, index := range indexes {
		level, n := tlog.SplitStoredHashIndex(index)
		by := (n + 1) << level // the record that completes it
		if by < r.block.First || by > r.block.Last {
			row, err := r.q.AuditHashes(r.ctx, db.AuditHashesParams{Organization: r.org, Seq: by})
			if err != nil {
				return nil, fmt.Errorf("reading tree hash %d: %w", index, err)
			}
			r.block = blockOf(db.AuditBlocksRow{Seq: row.Seq, N: row.N, Hashes: row.Hashes})
		}
		at := index - audit.FirstHash(r.block.First-1)
		if at < 0 || (at+1)*tlog.HashSize > int64(len(r.block.hashes)) {
			return nil, fmt.Errorf("tree hash %d is not stored", index)
		}
		copy(hashes[i][:], r.block.hashes[at*tlog.HashSize:])
	}
	return hashes, nil
}

// Hashes reads the stored hashes of an organization's tree, for roots and proofs.
// One reader serves one caller.
func (s *Store) Hashes(ctx context.Context, org string) tlog.HashReader {
	return &hashReader{ctx: ctx, q: s.Read(), org: org}
}
