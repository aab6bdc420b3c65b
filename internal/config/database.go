package config

import (
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
)

const sqlite = "sqlite"

// Database says which database is used: "sqlite:" and an absolute path, or a
// postgres:// URL. It may hold a password, so it prints without it; Reveal gives
// the whole.
type Database string

// Reveal returns the text with its password, for opening it.
func (d Database) Reveal() string { return string(d) }

// Postgres reports whether it is a PostgreSQL server rather than a file.
func (d Database) Postgres() bool {
	return strings.HasPrefix(string(d), "postgres://") || strings.HasPrefix(string(d), "postgresql://")
}

// String leaves the password out, also one given as a parameter.
func (d Database) String() string {
	if _, ok := d.file(); ok {
		return string(d)
	}
	u, err := url.Parse(string(d))
	if err != nil || !d.Postgres() {
		return "[a database URL that cannot be read]"
	}
	if q := u.Query(); q.Has("password") || q.Has("sslpassword") {
		q.Del("password")
		q.Del("sslpassword")
		u.RawQuery = q.Encode()
	}
	return u.Redacted()
}

// GoString and LogValue keep the password out of %#v and of logs.
func (d Database) GoString() string { return fmt.Sprintf("config.Database(%q)", d.String()) }

// LogValue is what slog shows.
func (d Database) LogValue() slog.Value { return slog.StringValue(d.String()) }

// MarshalText is what JSON shows.
func (d Database) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// file is the path of SQLite's file, "" for the default one.
func (d Database) file() (string, bool) {
	if d == sqlite || d == "" {
		return "", true
	}
	return strings.CutPrefix(string(d), sqlite+":")
}

// check names what is wrong without quoting the value, which may be a password
// in the wrong place.
func (d Database) check() error {
	if _, ok := d.file(); ok {
		return nil
	}
	if !d.Postgres() {
		return errors.New("it is not sqlite, sqlite:FILE or a postgres:// URL")
	}
	u, err := url.Parse(string(d))
	if err != nil {
		return errors.New("the URL cannot be read; letters such as / or @ in the password are written %2F and %40")
	}
	if u.Path == "" || u.Path == "/" {
		return errors.New("the URL names no database: postgres://HOST/NAME")
	}
	return nil
}

func (d Database) hasPassword() bool {
	return d.Postgres() && d.String() != d.Reveal()
}
