// Package testpg gives a test its own database on a throw-away PostgreSQL server.
package testpg

import (
	"context"
	"crypto/rand"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/purser-dev/purser/internal/testneed"
)

// Env is the environment variable that names a running server to use instead of
// starting one: a postgres:// URL of a role that may create databases.
const Env = "PURSER_TEST_POSTGRES"

// shared is the one server of this test process: starting one takes about a
// second, too long for each test. It ends when the process ends, however that
// happens (see Server), so nobody has to stop it.
var shared = sync.OnceValues(Start)

// Open makes an empty database for this test alone and returns its postgres://
// URL; the database is dropped, with whatever is still connected, when the test
// ends. Without PostgreSQL on this machine the test is skipped, or fails where
// PURSER_REQUIRE lists "postgres".
func Open(t testing.TB) string {
	t.Helper()
	return copyOf(t, serverURL(t), "template1")
}

// Template is a database that is filled once in a test process, for tests to get copies
// of: where filling one takes longer than copying one.
type Template struct {
	Fill func(url string) error

	once   sync.Once
	server string
	name   string // empty: not made
	err    error
}

// Open makes a copy for this test alone, as the function Open does an empty one.
func (x *Template) Open(t testing.TB) string {
	t.Helper()
	server := serverURL(t)
	x.once.Do(func() {
		name := newName()
		if x.err = execute(context.Background(), server, "CREATE DATABASE "+name); x.err == nil {
			x.server, x.name = server, name
			x.err = x.Fill(within(t, server, name))
		}
	})
	if x.err != nil {
		t.Fatalf("filling the database that tests copy: %v", x.err)
	}
	return copyOf(t, server, x.name)
}

// Drop removes what copies are made of, after the last test.
func (x *Template) Drop() error {
	if x.name == "" {
		return nil
	}
	return execute(context.Background(), x.server, "DROP DATABASE "+x.name+" WITH (FORCE)")
}

func copyOf(t testing.TB, server, template string) string {
	t.Helper()
	name := newName()
	run(t, server, "CREATE DATABASE "+name+" TEMPLATE "+template)
	t.Cleanup(func() { run(t, server, "DROP DATABASE "+name+" WITH (FORCE)") })
	return within(t, server, name)
}

func newName() string { return "test_" + strings.ToLower(rand.Text()) }

// within is the URL of a database of a server.
func within(t testing.TB, server, name string) string {
	t.Helper()
	u, err := url.Parse(server)
	if err != nil {
		t.Fatalf("reading the URL of the test server: %v", err)
	}
	u.Path = "/" + name
	return u.String()
}

func serverURL(t testing.TB) string {
	t.Helper()
	if u := os.Getenv(Env); u != "" {
		return u
	}
	if _, err := binaries(); err != nil {
		testneed.Absent(t, "postgres", "needs PostgreSQL: set "+Env+" or run make test")
	}
	s, err := shared()
	if err != nil {
		t.Fatalf("starting PostgreSQL: %v", err)
	}
	return s.URL
}

// run executes one statement on a connection of its own. It does not use the
// test's context, which has already ended when clean-up runs.
func run(t testing.TB, server, statement string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute) // it only ends what hangs
	defer cancel()
	if err := execute(ctx, server, statement); err != nil {
		t.Errorf("running %q: %v", statement, err)
		t.FailNow()
	}
}

func execute(ctx context.Context, server, statement string) error {
	conn, err := pgx.Connect(ctx, server)
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	_, err = conn.Exec(ctx, statement)
	return err
}
