package bench

import (
	"context"
	"os"
	"testing"
	"time"

	"github.com/purser-dev/purser/internal/testneed"
)

func startPostgres(t *testing.T) *Postgres {
	t.Helper()
	if !HasPostgres() {
		testneed.Absent(t, "postgres", "needs PostgreSQL with pgbench: run make test")
	}
	pg, err := StartPostgres(t.Context(), "/tmp")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := pg.Close(); err != nil {
			t.Errorf("closing PostgreSQL: %v", err)
		}
	})
	return pg
}

// What is measured must be durable, so the baseline's server is; and what was
// committed before a kill is there after it.
func TestTheServerIsDurableAndComesBackAfterAKill(t *testing.T) {
	pg := startPostgres(t)
	settings, err := pg.durable(t.Context(), "postgres")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"fsync", "full_page_writes", "synchronous_commit"} {
		if settings[name] != "on" {
			t.Errorf("%s is %q", name, settings[name])
		}
	}
	if err := pg.Do(t.Context(), "postgres", "CREATE TABLE kept (n int)"); err != nil {
		t.Fatal(err)
	}
	if err := pg.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := pg.Await(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := pg.Down(); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(2 * time.Minute); ; time.Sleep(10 * time.Millisecond) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		err := pg.Do(ctx, "postgres", "SELECT 1")
		cancel()
		if err != nil {
			break
		}
		if time.Now().After(end) {
			t.Fatal("a server that is down answers")
		}
	}
	if err := pg.Up(); err != nil {
		t.Fatal(err)
	}
	if err := pg.Await(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := pg.Do(t.Context(), "postgres", "INSERT INTO kept VALUES (1)"); err != nil {
		t.Error(err)
	}
	dir := pg.Dir
	if err := pg.Close(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("the server's folder is still there (%v)", err)
	}
}

func TestTheDiskHasACommitRate(t *testing.T) {
	rate, err := commitRate(t.TempDir(), time.Millisecond)
	if err != nil || rate <= 0 {
		t.Errorf("%v per second, %v", rate, err)
	}
}
