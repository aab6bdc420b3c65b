package store

import (
	"database/sql"
	"fmt"
	"strings"
	"testing"

	"github.com/purser-dev/purser/internal/store/db"
)

// What proves cannot be changed by a statement, whoever sends it: not even by one
// that replaces a row (issue 4, "append-only enforced in the database too").
func TestWhatProvesIsAppendOnlyInTheDatabase(t *testing.T) {
	if testing.Short() {
		t.Skip("one statement after the other: run without -short")
	}
	eachDB(t, func(t *testing.T, database string) {
		s := open(t, Config{Database: database})
		organization(t, s, "org_1")
		err := s.Turn(t.Context(), "org_1", func(turn *Turn) error { turn.Record(record("kept")); return nil })
		if err != nil {
			t.Fatal(err)
		}
		row := map[string]string{"audit": "seq", "checkpoints": "size", "movements": "seq", "openings": "seq"}
		insert := map[string]string{
			"checkpoints": "INSERT INTO checkpoints (organization, size, note, at) VALUES ('org_1', 1, 'note', 1)",
			"openings":    "INSERT INTO openings (organization, scope, target, currency, name, since, seq) VALUES ('org_1', 'provider', 'mail', 'USD', 'total', 0, 1)",
			"movements":   "INSERT INTO movements (organization, seq, n, at, kind, currency, amount, hold) VALUES ('org_1', 1, 1, 1, 'hold', 'USD', 1, 'hld_1')",
		}
		for table, column := range row {
			if insert[table] != "" {
				if _, err := s.writer.Exec(insert[table]); err != nil {
					t.Fatal(err)
				}
			}
			before := rowsOf(t, s.writer, table)
			statements := []string{
				fmt.Sprintf("UPDATE %s SET %s = 99 WHERE organization = 'org_1'", table, column),
				fmt.Sprintf("UPDATE %s SET organization = 'org_1'", table),
				fmt.Sprintf("DELETE FROM %s WHERE organization = 'org_1'", table),
				fmt.Sprintf("DELETE FROM %s", table),
			}
			if s.dialect == SQLite {
				statements = append(statements, fmt.Sprintf("REPLACE INTO %s SELECT * FROM %s", table, table))
			} else {
				statements = append(statements, "TRUNCATE "+table, fmt.Sprintf("TRUNCATE organizations, %s CASCADE", table))
			}
			for _, statement := range statements {
				_, err := s.writer.Exec(statement)
				quiet := table == "checkpoints" && strings.HasPrefix(statement, "REPLACE") // the first of a size stays
				if err == nil && !quiet || err != nil && !strings.Contains(err.Error(), "append-only") {
					t.Errorf("%s: %v", statement, err)
				}
			}
			if s.dialect == SQLite {
				replaced(t, s, table)
			}
			if after := rowsOf(t, s.writer, table); after != before || before == 0 {
				t.Errorf("%s had %d rows and has %d", table, before, after)
			}
		}
		// The writers of the program are not in the way: a checkpoint of a size that is
		// there already stays what it is.
		err = s.KeepCheckpoints(t.Context(), []db.Checkpoint{{Organization: "org_1", Size: 1, Note: "another", At: 2}})
		if err != nil {
			t.Errorf("a second checkpoint of one size: %v", err)
		}
		if kept, err := s.Read().LastCheckpoint(t.Context(), "org_1"); err != nil || kept.Note == "another" {
			t.Errorf("a second checkpoint of one size took the place of the first: %+v, %v", kept, err)
		}
	})
}

// replaced tries what only a connection of another program does: to replace rows without
// asking for the triggers of what goes.
func replaced(t *testing.T, s *Store, table string) {
	t.Helper()
	column := map[string]string{"openings": "since"}[table]
	if column == "" {
		column = "at"
	}
	run := func(statement string) {
		if _, err := s.writer.Exec(statement); err != nil && !strings.Contains(err.Error(), "append-only") {
			t.Fatalf("%s: %v", statement, err)
		}
	}
	run("PRAGMA recursive_triggers = 0")
	run("CREATE TEMP TABLE other AS SELECT * FROM " + table)
	run("UPDATE other SET " + column + " = 99")
	run("INSERT OR REPLACE INTO " + table + " SELECT * FROM other")
	run("DROP TABLE other")
	run("PRAGMA recursive_triggers = 1")
	var changed int
	if err := s.writer.QueryRow("SELECT COUNT(*) FROM " + table + " WHERE " + column + " = 99").Scan(&changed); err != nil || changed > 0 {
		t.Errorf("%s: %d rows were replaced, %v", table, changed, err)
	}
}

func rowsOf(t *testing.T, conn *sql.DB, table string) (n int) {
	t.Helper()
	if err := conn.QueryRow("SELECT COUNT(*) FROM " + table).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}
