package store

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"testing"

	"github.com/pressly/goose/v3"

	"github.com/purser-dev/purser/internal/audit"
)

// typical is a leaf as a charge makes it, with names that no dictionary has.
func typical(seq int64) []byte {
	leaf := fmt.Sprintf(`{"action":"charge_usage","actor":{"delegated_by":"per_01m8mdpee2e6nsr12wa8bjbrry","id":"agt_01m8mdpev5fk383wggtyyz7019","key":"tok_01m8mdpev5e318zhzvz4c5eaw8","kind":"agent"},"budgets":[%s],`+
		`"detail":{"category":"tokens","provider":"metered"},"idempotency_key":"RLK3NYAXRO-%[2]d","money":{"actual":{"amount":3,"currency":"USD"}},"org":"org_01m8mdpee2fcx9d6snsvq5db61",`+
		`"outcome":"accepted","project":"prj_01m8mdpeebfakbymqm38m497gn","run":"run_01m8mdpev5fpa9kw16wd0zqgc4","seq":%[2]d,"target":"hld_01m8mdpkbce92b%[3]x","ts":%[4]d}`,
		strings.TrimSuffix(strings.Repeat(fmt.Sprintf(`{"captured":%d,"change":3,"currency":"USD","held":0,"limit":1125899906842624,"scope":"organization:org_01m8mdpee2fcx9d6snsvq5db61","window":"2026-11"},`, seq*3), 5), ","),
		seq, uint32(seq*2654435761), 1795981790575832+seq)
	return []byte(leaf)
}

func typicals(n int) (all [][]byte) {
	for i := range n {
		all = append(all, typical(int64(i+1000)))
	}
	return all
}

func TestABlockIsSmallAndComesBackAsItWas(t *testing.T) {
	for n, most := range map[int]int{1: 400, 32: 5000} {
		leaves := typicals(n)
		packed := PackLeaves(leaves)
		if len(packed) > most {
			t.Errorf("%d leaves of %d bytes are %d bytes", n, len(bytes.Join(leaves, nil)), len(packed))
		}
		if got, err := UnpackLeaves(packed, int64(n)); err != nil || !slices.EqualFunc(got, leaves, bytes.Equal) {
			t.Errorf("%d leaves came back as %d: %v", n, len(got), err)
		}
		for cut := range len(packed) {
			if _, err := UnpackLeaves(packed[:cut], int64(n)); err == nil {
				t.Errorf("%d of %d bytes are a block", cut, len(packed))
			}
		}
		for _, other := range []int64{-1, 0, int64(n) + 1, 1 << 62} {
			if _, err := UnpackLeaves(packed, other); err == nil {
				t.Errorf("a block of %d records says it has %d", n, other)
			}
		}
	}
}

// Every block that was ever packed with a dictionary is read with it: it never changes.
func TestADictionaryStaysAsItIs(t *testing.T) {
	if got := audit.LeafHash(leaves1).String(); got != "PYBQCAkVgSjZecaOeEJsnO2OPVny3w9S3zXneAWsQcA=" {
		t.Errorf("leaves/1.txt was changed: a better dictionary is another file (%s)", got)
	}
}

// Nothing that stands in a row makes the program panic.
func FuzzUnpackLeaves(f *testing.F) {
	f.Add(PackLeaves(typicals(1)), int64(1))
	f.Add(PackLeaves(typicals(3)), int64(3))
	f.Fuzz(func(t *testing.T, packed []byte, n int64) {
		leaves, err := UnpackLeaves(packed, n)
		if err == nil && int64(len(leaves)) != n {
			t.Errorf("%d leaves of %d", len(leaves), n)
		}
	})
}

func BenchmarkPackLeaves(b *testing.B) {
	for _, n := range []int{1, 4, 32} {
		leaves := typicals(n)
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			b.ReportAllocs()
			size := 0
			for b.Loop() {
				size = len(PackLeaves(leaves))
			}
			b.ReportMetric(float64(len(bytes.Join(leaves, nil))), "in-B")
			b.ReportMetric(float64(size), "out-B")
		})
		packed := PackLeaves(leaves)
		b.Run(fmt.Sprintf("unpack-%d", n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := UnpackLeaves(packed, int64(n)); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// Turns of every size, read from every place in every way.
func TestRecordsAreFoundWhereverTheyLie(t *testing.T) {
	eachDB(t, func(t *testing.T, database string) {
		s := open(t, Config{Database: database})
		organization(t, s, "org_1")
		size := int64(0)
		for _, n := range []int{1, 3, 1, 70, 0, 2, 200, 1} {
			err := s.Turn(t.Context(), "org_1", func(turn *Turn) error {
				for range n {
					turn.Record(record("some"))
				}
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
			size += int64(n)
		}
		all, err := RecordsAfter(t.Context(), s.Read(), "org_1", 0, size, 1000)
		if err != nil || int64(len(all)) != size {
			t.Fatalf("%d records of %d: %v", len(all), size, err)
		}
		var leaves [][]byte
		for i, r := range all {
			leaves = append(leaves, r.Leaf)
			if p, err := audit.ParseRecord(r.Leaf); err != nil || p.Seq != int64(i+1) || r.Seq != p.Seq || r.At != p.TS {
				t.Fatalf("record %d is %+v: %v", i+1, r, err)
			}
		}
		for _, after := range []int64{0, 1, 2, 4, 5, 40, 74, 75, 76, 200, size - 1, size, size + 5} {
			for _, limit := range []int{1, 2, 7, 100} {
				some, err := RecordsAfter(t.Context(), s.Read(), "org_1", after, size-1, limit)
				want := all[min(after, size-1):min(after+int64(limit), size-1)]
				if err != nil || len(some) != len(want) || len(want) > 0 && (some[0].Seq != want[0].Seq || !bytes.Equal(some[len(some)-1].Leaf, want[len(want)-1].Leaf)) {
					t.Errorf("%d after %d: %d records, want %d: %v", limit, after, len(some), len(want), err)
				}
			}
			one, err := RecordOf(t.Context(), s.Read(), "org_1", after)
			if there := after >= 1 && after <= size; there != (err == nil) || there && one.Seq != after || !there && !errors.Is(err, sql.ErrNoRows) {
				t.Errorf("record %d: %+v, %v", after, one, err)
			}
			next := min(after, size+1)
			for b, err := range BlocksBefore(t.Context(), s.Read(), "org_1", after, 10) {
				if err != nil || b.Last < next-1 || b.First > b.Last || b.First > next-1 {
					t.Fatalf("before %d: block %d to %d, %v", next, b.First, b.Last, err)
				}
				next = b.First
			}
			if after > 0 && next != 1 {
				t.Errorf("before %d it ends at %d", after, next)
			}
		}
		sameTree(t, s, leaves)
	})
}

// sameTree compares the stored tree with that of the leaves: its root at many sizes,
// proofs of many records, and the hash of each.
func sameTree(t *testing.T, s *Store, leaves [][]byte) {
	t.Helper()
	hashes := s.Hashes(t.Context(), "org_1")
	var edge audit.Edge
	for i := range leaves {
		if edge.Append(leaves[i : i+1]); i%13 != 0 && i+1 < len(leaves) {
			continue
		}
		if got, err := audit.Root(int64(i+1), hashes); err != nil || got != edge.Root() {
			t.Fatalf("the root of %d records: %v, want %v (%v)", i+1, got, edge.Root(), err)
		}
	}
	size := int64(len(leaves))
	for i := 0; i < len(leaves); i += 17 {
		proof, err := audit.ProveInclusion(size, int64(i+1), hashes)
		if err == nil {
			err = audit.CheckInclusion(proof, size, edge.Root(), int64(i+1), leaves[i])
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	for b, err := range Blocks(t.Context(), s.Read(), "org_1", 0, 50) {
		for seq := b.First; seq <= b.Last && err == nil; seq++ {
			h, missing := b.Hash(seq)
			if err = missing; h != audit.LeafHash(leaves[seq-1]) {
				t.Errorf("the hash of record %d is of another", seq)
			}
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// A database of the version before has a row for each record, and one for the hashes of
// a turn; its log is the same afterwards, to the hash.
func TestAnOlderLogIsCarriedOverIntoBlocks(t *testing.T) {
	eachDB(t, func(t *testing.T, database string) {
		s := &Store{now: nil, dialect: SQLite}
		open1 := s.openSQLite
		if strings.HasPrefix(database, "postgres") {
			s.dialect, open1 = Postgres, s.openPostgres
		}
		if err := open1(t.Context(), database); err != nil {
			t.Fatal(err)
		}
		oldSchema(t, s)
		must := func(statement string, args ...any) {
			t.Helper()
			if _, err := s.writer.ExecContext(t.Context(), statement, args...); err != nil {
				t.Fatalf("%.100s: %v", statement, err)
			}
		}
		must("INSERT INTO organizations (id, name, timezone, created_at) VALUES ('org_1', 'one', 'UTC', 1)")
		must("INSERT INTO organizations (id, name, timezone, created_at) VALUES ('org_2', 'two', 'UTC', 1)")
		var leaves [][]byte
		var edge audit.Edge
		for turn, n := range []int{1, 2, 1, 150, 3, 700, 1} {
			first := len(leaves)
			for range n {
				r := record("some")
				r.Seq, r.TS, r.Org = int64(len(leaves)+1), int64(turn+1), "org_1"
				leaf, err := r.Leaf()
				if err != nil {
					t.Fatal(err)
				}
				leaves = append(leaves, leaf)
				must("INSERT INTO audit (organization, seq, at, leaf) VALUES ('org_1', $1, $2, $3)", r.Seq, r.TS, string(leaf))
			}
			must("INSERT INTO audit_hashes (organization, n, hashes) VALUES ('org_1', $1, $2)", audit.FirstHash(int64(first)), edge.Append(leaves[first:]))
		}
		must("UPDATE organizations SET seq = $1, edge = $2 WHERE id = 'org_1'", len(leaves), edge.Bytes())
		// Another's log was damaged: a record and some hashes are gone.
		var two audit.Edge
		for seq := int64(1); seq <= 4; seq++ {
			hashes := two.Append(leaves[seq-1 : seq])
			if seq == 3 {
				continue
			}
			must("INSERT INTO audit (organization, seq, at, leaf) VALUES ('org_2', $1, 1, $2)", seq, string(leaves[seq-1]))
			if seq != 2 {
				must("INSERT INTO audit_hashes (organization, n, hashes) VALUES ('org_2', $1, $2)", audit.FirstHash(seq-1), hashes)
			}
		}
		if err := errors.Join(s.writer.Close(), s.reader.Close(), s.batches.Close()); err != nil {
			t.Fatal(err)
		}
		now := open(t, Config{Database: database})
		all, err := RecordsAfter(t.Context(), now.Read(), "org_1", 0, 1<<40, 10000)
		if err != nil || len(all) != len(leaves) {
			t.Fatalf("%d records of %d: %v", len(all), len(leaves), err)
		}
		for i, r := range all {
			if !bytes.Equal(r.Leaf, leaves[i]) {
				t.Fatalf("record %d is another", i+1)
			}
		}
		sameTree(t, now, leaves)
		if err := now.Turn(t.Context(), "org_1", func(turn *Turn) error { turn.Record(record("next")); return nil }); err != nil {
			t.Fatal(err)
		}
		next, err := RecordOf(t.Context(), now.Read(), "org_1", int64(len(leaves)+1))
		if err != nil {
			t.Fatal(err)
		}
		sameTree(t, now, append(leaves, next.Leaf))
		if _, err := RecordOf(t.Context(), now.Read(), "org_2", 3); !errors.Is(err, sql.ErrNoRows) {
			t.Errorf("a record that was gone: %v", err)
		}
		for b, err := range Blocks(t.Context(), now.Read(), "org_2", 0, 9) {
			if err != nil {
				t.Fatal(err)
			}
			for seq := b.First; seq <= b.Last; seq++ {
				if _, err := b.Hash(seq); (err == nil) != (seq != 2) {
					t.Errorf("the hash of record %d: %v", seq, err)
				}
			}
		}
		for _, gone := range []string{"audit_hashes", "audit_blocks"} {
			if _, err := now.writer.ExecContext(context.WithoutCancel(t.Context()), "SELECT 1 FROM "+gone); err == nil {
				t.Errorf("%s is there", gone)
			}
		}
	})
}

// oldSchema makes the schema of the version before blocks.
func oldSchema(t *testing.T, s *Store) {
	t.Helper()
	folder, err := fs.Sub(migrations, "migrations/"+s.dialect)
	if err != nil {
		t.Fatal(err)
	}
	dialect := goose.DialectSQLite3
	if s.dialect == Postgres {
		dialect = goose.DialectPostgres
	}
	p, err := goose.NewProvider(dialect, s.writer, folder, goose.WithLogger(goose.NopLogger()), goose.WithExcludeNames([]string{blocksFile}))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.UpTo(t.Context(), blocksVersion-1); err != nil {
		t.Fatal(err)
	}
}
