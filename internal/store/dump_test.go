package store

import (
	"errors"
	"fmt"
	"io"
	"math"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/purser-dev/purser"
	"github.com/purser-dev/purser/internal/store/db"
	"github.com/purser-dev/purser/internal/testpg"
)

var databases = map[string]func(*testing.T) string{
	"sqlite":   func(t *testing.T) string { return filepath.Join(t.TempDir(), "purser.db") },
	"postgres": func(t *testing.T) string { return testpg.Open(t) },
}

func TestAnyTableGoesFromAnyDatabaseToAny(t *testing.T) {
	if testing.Short() {
		t.Skip("one statement after the other: run without -short")
	}
	for from, source := range databases {
		for to, target := range databases {
			t.Run(from+" to "+to, func(t *testing.T) {
				a, b := open(t, Config{Database: source(t)}), open(t, Config{Database: target(t)})
				rows := everyTable(t, a, 6)
				if err := a.Load(t.Context(), schemaOf(t, a), given(rows)); err != nil {
					t.Fatal(err)
				}
				copied := dumped(t, a)
				if err := b.Load(t.Context(), schemaOf(t, a), given(copied)); err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(sorted(rows), sorted(dumped(t, b))); diff != "" {
					t.Error(diff)
				}
			})
		}
	}
}

func TestADumpIsOfOneMoment(t *testing.T) {
	eachDB(t, func(t *testing.T, database string) {
		s := open(t, Config{Database: database})
		organization(t, s, "org_1")
		err := s.Dump(t.Context(), func(d *Snapshot) error {
			before, err := d.Organization(t.Context(), "org_1")
			if err != nil {
				return err
			}
			// A turn goes on beside the dump: it neither waits nor shows.
			if err := s.Turn(t.Context(), "org_1", func(turn *Turn) error { turn.Record(record("beside")); return nil }); err != nil {
				return err
			}
			after, err := d.Organization(t.Context(), "org_1")
			if err == nil && !cmp.Equal(after, before) {
				t.Errorf("the snapshot moved: %+v, then %+v", before, after)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	})
}

func TestOnlyAnEmptyDatabaseIsLoaded(t *testing.T) {
	if testing.Short() {
		t.Skip("one statement after the other: run without -short")
	}
	eachDB(t, func(t *testing.T, database string) {
		for i, used := range []struct {
			name string
			use  func(*Store) error
		}{
			{"an organization", func(s *Store) error {
				return s.Write(t.Context(), func(q *db.Queries) error {
					return q.InsertOrganization(t.Context(), db.InsertOrganizationParams{ID: "org_1", Name: "x", Timezone: "UTC"})
				})
			}},
			{"a record of the installation", func(s *Store) error {
				return s.Turn(t.Context(), Installation, func(turn *Turn) error { turn.Record(record("x")); return nil })
			}},
			{"a turn without a record", func(s *Store) error {
				return s.Turn(t.Context(), Installation, func(*Turn) error { return nil })
			}},
			{"a value of the installation", func(s *Store) error {
				return s.Write(t.Context(), func(q *db.Queries) error {
					_, err := q.SetInstallationValue(t.Context(), db.SetInstallationValueParams{Name: "key", Value: "x"})
					return err
				})
			}},
			{"a set-up code", func(s *Store) error {
				return s.Write(t.Context(), func(q *db.Queries) error {
					return q.InsertSetupCode(t.Context(), db.InsertSetupCodeParams{Hash: "x"})
				})
			}},
		} {
			t.Run(used.name, func(t *testing.T) {
				name := database
				if i > 0 {
					name = filepath.Join(t.TempDir(), "purser.db") // half a second less than another on PostgreSQL
				}
				s := open(t, Config{Database: name})
				if err := used.use(s); err != nil {
					t.Fatal(err)
				}
				before := dumped(t, s)
				if err := s.Load(t.Context(), schemaOf(t, s), given(nil)); purser.CodeOf(err) != purser.InvalidState {
					t.Errorf("got %v", err)
				}
				if diff := cmp.Diff(sorted(before), sorted(dumped(t, s))); diff != "" {
					t.Errorf("the refused load wrote: %s", diff)
				}
			})
		}
	})
}

func TestOfTwoLoadsAtOnceOneIsRefused(t *testing.T) {
	eachDB(t, func(t *testing.T, database string) {
		s, other := open(t, Config{Database: database}), open(t, Config{Database: database})
		rows := everyTable(t, s, 3)
		schema := schemaOf(t, s)
		results := make(chan error, 2)
		for _, s := range []*Store{s, other} {
			go func() { results <- s.Load(t.Context(), schema, given(rows)) }()
		}
		var refused int
		for range 2 {
			if err := <-results; err != nil {
				if purser.CodeOf(err) != purser.InvalidState {
					t.Errorf("the second load: %v", err)
				}
				refused++
			}
		}
		if diff := cmp.Diff(sorted(rows), sorted(dumped(t, s))); diff != "" || refused != 1 {
			t.Errorf("%d refused; %s", refused, diff)
		}
	})
}

func TestALoadThatFailsLeavesTheDatabaseEmptyAndUsable(t *testing.T) {
	if testing.Short() {
		t.Skip("one statement after the other: run without -short")
	}
	eachDB(t, func(t *testing.T, database string) {
		s := open(t, Config{Database: database})
		before, schema := dumped(t, s), schemaOf(t, s)
		good := everyTable(t, s, 2)
		gone := errors.New("gone")
		for name, c := range map[string]struct {
			schema int64
			next   func() (Row, error)
			code   purser.Code
		}{
			"a source that breaks":      {schema, then(good, Row{}, gone), purser.Internal},
			"a table that is not ours":  {schema, then(good, Row{"x; DROP TABLE audit", []string{"a"}, []any{"b"}}, nil), purser.Internal},
			"a column that is not ours": {schema, then(good, Row{"terms", []string{`hash") VALUES ('a'); --`}, []any{"b"}}, nil), purser.Internal},
			"a value of another type":   {schema, then(good, Row{"terms", []string{"hash", "at"}, []any{"b", "now"}}, nil), purser.Internal},
			"a row that is not whole":   {schema, then(good, Row{"terms", []string{"hash", "at"}, []any{"b"}}, nil), purser.Internal},
			"a row that is there":       {schema, then(good, good[0], nil), purser.Internal},
			"a newer schema":            {schema + 1, given(good), purser.NewerDatabase},
			"an older schema":           {schema - 1, given(good), purser.InvalidState},
		} {
			if err := s.Load(t.Context(), c.schema, c.next); err == nil || purser.CodeOf(err) != c.code {
				t.Errorf("%s: %v", name, err)
			}
			if diff := cmp.Diff(sorted(before), sorted(dumped(t, s))); diff != "" {
				t.Errorf("%s wrote: %s", name, diff)
			}
		}
		if err := s.Load(t.Context(), schema, given(good)); err != nil {
			t.Errorf("loading after refusals: %v", err)
		}
	})
}

// everyTable makes n rows for each table of the schema, with values at the edges,
// and for one of them more than one statement writes.
func everyTable(t *testing.T, s *Store, n int) []Row {
	t.Helper()
	var rows []Row
	err := s.Dump(t.Context(), func(d *Snapshot) error {
		for _, table := range d.Tables {
			n := n
			if table.Name == "terms" {
				n += loadBatch
			}
			for i := range n {
				row := Row{Table: table.Name, Columns: table.Columns}
				for c, name := range table.Columns {
					row.Values = append(row.Values, example(table.Name, name, table.kinds[c], i))
				}
				rows = append(rows, row)
			}
		}
		return nil
	})
	if err != nil || len(rows) == 0 {
		t.Fatalf("%d rows (%v)", len(rows), err)
	}
	return rows
}

func example(table, column, kind string, i int) any {
	switch {
	case kind == bytesKind && i%3 == 0:
		return []byte{}
	case kind == bytesKind:
		return []byte{0, 0xff, byte(i), '\''}
	case column == "amount" || column == "guard_ceiling":
		return int64(1) << 40 // the sums of the other columns stay below it
	case column == "created_at" && i%2 == 0:
		return int64(math.MaxInt64)
	case column == "created_at":
		return int64(math.MinInt64)
	case kind == integerKind:
		return int64(i)
	case column == "organization" || table == "organizations" && column == "id":
		return fmt.Sprint("org_", i)
	case i%5 == 4:
		return fmt.Sprintf("\"%s'\\ ü 漢 \n%d", column, i)
	}
	return fmt.Sprint(column, i)
}

func given(rows []Row) func() (Row, error) { return then(rows, Row{}, io.EOF) }

// then gives rows, then one more or an error.
func then(rows []Row, last Row, err error) func() (Row, error) {
	i := 0
	return func() (Row, error) {
		i++
		switch {
		case i <= len(rows):
			return rows[i-1], nil
		case i == len(rows)+1:
			return last, err
		}
		return Row{}, io.EOF
	}
}

func dumped(t *testing.T, s *Store) []Row {
	t.Helper()
	var rows []Row
	err := s.Dump(t.Context(), func(d *Snapshot) error {
		for _, table := range d.Tables {
			if err := d.Rows(t.Context(), table, func(r Row) error { rows = append(rows, r); return nil }); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return rows
}

func sorted(rows []Row) []string {
	out := make([]string, len(rows))
	for i, r := range rows {
		out[i] = fmt.Sprintf("%s %q %q", r.Table, r.Columns, r.Values)
	}
	slices.Sort(out)
	return out
}

func schemaOf(t *testing.T, s *Store) (v int64) {
	t.Helper()
	if err := s.Dump(t.Context(), func(d *Snapshot) error { v = d.Schema; return nil }); err != nil {
		t.Fatal(err)
	}
	return v
}
