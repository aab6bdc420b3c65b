package testpg

import (
	"context"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"github.com/purser-dev/purser/internal/testneed"
)

func ask(t *testing.T, dsn, question string) string {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), dsn)
	if err != nil {
		t.Fatalf("connecting: %v", err)
	}
	defer conn.Close(context.Background())
	var answer string
	if err := conn.QueryRow(t.Context(), question).Scan(&answer); err != nil {
		t.Fatalf("asking %q: %v", question, err)
	}
	return answer
}

func TestEachTestHasADatabaseOfItsOwn(t *testing.T) {
	a, b := Open(t), Open(t)
	run(t, a, "CREATE TABLE boats (name text)")
	if got := ask(t, b, "SELECT count(*)::text FROM pg_tables WHERE tablename = 'boats'"); got != "0" {
		t.Errorf("the other database sees %s such tables, want 0", got)
	}
}

func TestTheDatabaseIsGoneWhenTheTestHasEnded(t *testing.T) {
	var dsn string
	t.Run("inner", func(t *testing.T) {
		dsn = Open(t)
		// Left open on purpose: a connection somebody forgot must not keep the database.
		conn, err := pgx.Connect(context.Background(), dsn)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { go conn.Close(context.Background()) })
	})
	if conn, err := pgx.Connect(t.Context(), dsn); err == nil {
		conn.Close(t.Context())
		t.Error("the database still answers")
	} else if !strings.Contains(err.Error(), "does not exist") {
		t.Errorf("connecting says %v, want that it does not exist", err)
	}
}

func TestTestsCopyWhatWasFilledOnce(t *testing.T) {
	filled := 0
	x := &Template{Fill: func(url string) error {
		filled++
		return execute(t.Context(), url, "CREATE TABLE boats AS SELECT 'Ada' AS name")
	}}
	a, b := x.Open(t), x.Open(t)
	run(t, a, "DELETE FROM boats")
	if got := ask(t, b, "SELECT string_agg(name, ',') FROM boats"); got != "Ada" || filled != 1 {
		t.Errorf("filled %d times, and the other copy has %q", filled, got)
	}
	if err := x.Drop(); err != nil {
		t.Fatal(err)
	}
	if got := ask(t, b, "SELECT count(*)::text FROM pg_database WHERE datname = '"+x.name+"'"); got != "0" {
		t.Error("what they are copied of is still there")
	}
}

func TestAStoppedServerLeavesNoFolder(t *testing.T) {
	t.Parallel()
	s := start(t)
	dir := socketFolder(t, s)
	if _, err := os.Stat(dir); err != nil {
		t.Fatalf("the folder of a running server: %v", err)
	}
	for range 2 {
		if err := s.Stop(); err != nil {
			t.Errorf("stopping: %v", err)
		}
	}
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("the folder is still there (%v)", err)
	}
}

// A process that dies closes its end of the pipe without a word; closing the
// pipe alone is that death as the shell sees it.
func TestAServerEndsWithoutItsStarter(t *testing.T) {
	t.Parallel()
	s := start(t)
	dir := socketFolder(t, s)
	s.alive.Close()
	for deadline := time.Now().Add(2 * time.Minute); ; time.Sleep(10 * time.Millisecond) {
		if _, err := os.Stat(dir); os.IsNotExist(err) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("the server's folder is still there")
		}
	}
}

func TestAServerListensOnNoPort(t *testing.T) {
	t.Parallel()
	s := start(t)
	if got := ask(t, s.URL, "SHOW listen_addresses"); got != "" {
		t.Errorf("it listens on %q, want no address", got)
	}
}

func TestTheNewestServerIsTakenByNumber(t *testing.T) {
	dirs := []string{"/usr/lib/postgresql/9.6/bin", "/usr/lib/postgresql/15/bin", "/usr/lib/postgresql/18/bin"}
	newestFirst(dirs)
	want := []string{"/usr/lib/postgresql/18/bin", "/usr/lib/postgresql/15/bin", "/usr/lib/postgresql/9.6/bin"}
	if d := cmp.Diff(want, dirs); d != "" {
		t.Error(d)
	}
}

func start(t *testing.T) *Server {
	t.Helper()
	if _, err := binaries(); err != nil {
		testneed.Absent(t, "postgres", "needs PostgreSQL: run make test")
	}
	s, err := Start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Stop() })
	return s
}

func socketFolder(t *testing.T, s *Server) string {
	t.Helper()
	u, err := url.Parse(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	return u.Query().Get("host")
}
