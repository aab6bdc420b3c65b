package store

import (
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/purser-dev/purser"
	"github.com/purser-dev/purser/internal/testpg"
)

// Whoever starts the server typed something wrong, or PostgreSQL is away: no fault of the
// program, and no place to show a password.
func TestADatabaseThatLetsNobodyInIsNoFaultOfTheProgram(t *testing.T) {
	there, err := url.Parse(testpg.Open(t))
	if err != nil {
		t.Fatal(err)
	}
	elsewhere := *there
	elsewhere.Path = "/no_such_database"
	stranger := *there
	stranger.User = url.UserPassword("no_such_role", "hunter2")
	for _, c := range []struct {
		name, database string
		code           purser.Code
		says           string
	}{
		{"nobody listens", "postgres://purser:hunter2@127.0.0.1:1/purser?sslmode=disable", purser.Unavailable, "connection refused"},
		{"an sslmode that there is not", "postgres://purser:hunter2@127.0.0.1/purser?sslmode=maybe", purser.InvalidRequest, "sslmode is invalid"},
		{"no such database", elsewhere.String(), purser.InvalidRequest, `"no_such_database" does not exist`},
		{"no such role", stranger.String(), purser.InvalidRequest, "no_such_role"},
	} {
		s, err := Open(t.Context(), Config{Database: c.database, Now: time.Now})
		if err == nil {
			_ = s.Close()
			t.Errorf("%s: it opened", c.name)
			continue
		}
		if purser.CodeOf(err) != c.code || !strings.Contains(err.Error(), c.says) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}
