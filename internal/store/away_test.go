package store

import (
	"database/sql"
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"github.com/purser-dev/purser/internal/store/db"
	"github.com/purser-dev/purser/internal/testpg"
)

// A database without room says no to a change, and to nothing else.
func TestADatabaseWithoutRoomIsAway(t *testing.T) {
	s := open(t, Config{Database: filepath.Join(t.TempDir(), "purser.db")})
	if _, err := s.writer.ExecContext(t.Context(), "PRAGMA max_page_count = 1"); err != nil { // as many as there are
		t.Fatal(err)
	}
	err := s.Write(t.Context(), func(q *db.Queries) error {
		return q.InsertOrganization(t.Context(), db.InsertOrganizationParams{ID: "org_1", Name: strings.Repeat("long ", 10_000), Timezone: "UTC"})
	})
	if !Away(err) || errors.Is(err, ErrLostCommit) {
		t.Errorf("a change: %v", err)
	}
	if _, err := s.Read().Organization(t.Context(), Installation); err != nil {
		t.Errorf("a question: %v", err)
	}
	if _, err := s.Read().Organization(t.Context(), "org_1"); !errors.Is(err, sql.ErrNoRows) || Away(err) {
		t.Errorf("what is not there: %v", err)
	}
}

// PostgreSQL goes away while a change is made: before its commit nothing was changed,
// and nobody knows of a commit without an answer.
func TestADatabaseThatLeavesIsAway(t *testing.T) {
	var leave func(when string)
	s := open(t, Config{Database: testpg.Open(t), Trace: func(_ int64, statement string) error {
		if leave != nil {
			leave(statement)
		}
		return nil
	}})
	change := func(id string) error {
		return s.Write(t.Context(), func(q *db.Queries) error {
			return q.InsertOrganization(t.Context(), db.InsertOrganizationParams{ID: id, Name: id, Timezone: "UTC"})
		})
	}
	end := func() {
		_, err := s.reader.ExecContext(t.Context(), "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND datname = current_database()")
		if err != nil {
			t.Error(err)
		}
	}
	leave = func(when string) {
		if when != Commit {
			leave = nil
			end()
		}
	}
	if err := change("org_1"); !Away(err) || errors.Is(err, ErrLostCommit) {
		t.Errorf("before a statement: %v", err)
	}
	leave = func(when string) {
		if when == Commit {
			leave = nil
			end()
		}
	}
	if err := change("org_2"); !Away(err) && !errors.Is(err, ErrLostCommit) {
		t.Errorf("before the commit: %v", err)
	}
	if err := change("org_3"); err != nil {
		t.Errorf("when it is there again: %v", err)
	}
}
