package office_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/purser-dev/purser/internal/store"
	"github.com/purser-dev/purser/internal/testneed"
	"github.com/purser-dev/purser/internal/testpg"
)

// postgres is a database as a first start leaves it: of making its tables, as each test
// would, a copy takes a tenth.
var postgres = testpg.Template{Fill: firstStart}

func TestMain(m *testing.M) {
	code := m.Run()
	if err := postgres.Drop(); err != nil {
		fmt.Fprintln(os.Stderr, "dropping what tests copied:", err)
		code = max(code, 1)
	}
	os.Exit(code)
}

func firstStart(database string) error {
	s, err := store.Open(context.Background(), store.Config{Database: database, Now: time.Now})
	if err != nil {
		return err
	}
	return s.Close()
}

// started is the file of such a database of SQLite.
var started = sync.OnceValues(func() (file []byte, err error) {
	dir, err := os.MkdirTemp("", "purser-office-")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	path := filepath.Join(dir, "purser.db")
	if err := firstStart(path); err != nil {
		return nil, err
	}
	return os.ReadFile(path)
})

// sqlite is a database for this test alone, as a first start leaves it.
func sqlite(t testing.TB) string {
	t.Helper()
	file, err := started()
	if err != nil {
		t.Fatalf("making the database that tests copy: %v", err)
	}
	path := filepath.Join(t.TempDir(), "purser.db")
	if err := os.WriteFile(path, file, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// eachDB runs a test on SQLite and on PostgreSQL.
func eachDB(t *testing.T, f func(t *testing.T, database string)) {
	t.Run("sqlite", func(t *testing.T) { f(t, sqlite(t)) })
	t.Run("postgres", func(t *testing.T) { f(t, postgres.Open(t)) })
}

// inTurn is eachDB for a test in which one thing comes after the other. With -short, as
// under the race detector, it runs on one of them.
func inTurn(t *testing.T, f func(t *testing.T, database string)) {
	if !testing.Short() {
		eachDB(t, f)
		return
	}
	f(t, aDB(t))
}

// manyHouses skips, with -short, a test that makes one house after the other and lets
// nothing in them happen at once.
func manyHouses(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("many houses, and nothing at once in any: run without -short")
	}
}

// aDB is a database for a test that needs only one: SQLite. But where the race detector
// is at work with PostgreSQL at hand, that: SQLite is Go code too, and takes several
// times as long under it, with nothing to find in it for tests of one goroutine.
func aDB(t *testing.T) string {
	if testing.Short() && strings.Contains(os.Getenv(testneed.Require), "postgres") {
		return postgres.Open(t)
	}
	return sqlite(t)
}
