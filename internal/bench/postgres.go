package bench

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
)

// Postgres is a PostgreSQL server of its own in a folder of its own, as durable
// as one in production, reached through a Unix socket in that folder. It ends with
// this process, kill -9 included: a shell holds it and waits for the end of a pipe.
type Postgres struct {
	Bin string // folder of initdb, postgres and pgbench
	Dir string // with the data, the socket and the log

	life  io.Closer // the pipe
	shell *exec.Cmd
}

// hold runs in the server's folder, as its user. $1 is the folder of the binaries.
// It starts the server anew whenever it ends, unless the file "down" is there, until
// the pipe ends. A start right after a kill fails while the killed one's children
// are still there, and is tried again.
const hold = `
"$1/initdb" --pgdata=data --username=purser --auth=trust --encoding=UTF8 --locale=C >>log 2>&1 || { echo failed >ended; read -r gone; exit 1; }
(
	while [ ! -e ended ]; do
		if [ ! -e down ]; then
			"$1/postgres" -D data -k "$PWD" -c listen_addresses= -c max_connections=200 -c shared_buffers=256MB -c max_wal_size=4GB \
				-c log_min_messages=warning -c timezone=UTC >>log 2>&1 </dev/null &
			echo "$!" >pid
			wait "$!"
		fi
		sleep 0.1
	done
) &
loop=$!
read -r gone
: >ended
kill -INT "$(cat pid)"
wait "$loop"
rm -rf "$PWD"
`

// StartPostgres makes a server in an empty folder below parent and waits until
// it answers. Close ends it and removes the folder.
func StartPostgres(ctx context.Context, parent string) (_ *Postgres, err error) {
	p := &Postgres{}
	if p.Bin, err = postgresBin(); err != nil {
		return nil, err
	}
	as, err := serverUser()
	if err != nil {
		return nil, err
	}
	// A socket's path has at most 107 bytes.
	if p.Dir, err = os.MkdirTemp(parent, "purser-pg-"); err != nil || len(p.Dir) > 80 {
		return nil, errors.Join(err, fmt.Errorf("making the server's folder: is %q too long?", p.Dir))
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, p.Close())
		}
	}()
	if as != nil {
		if err := os.Chown(p.Dir, int(as.Uid), int(as.Gid)); err != nil {
			return nil, fmt.Errorf("giving the server its folder: %w", err)
		}
	}
	p.shell = exec.Command("/bin/sh", "-c", hold, "purser-bench", p.Bin)
	p.shell.Dir, p.shell.Env = p.Dir, []string{"PATH=/usr/bin:/bin", "LC_ALL=C"}
	// A session of its own: a ctrl-C must reach us first, which clean up.
	p.shell.SysProcAttr = &syscall.SysProcAttr{Credential: as, Setsid: true}
	if p.life, err = p.shell.StdinPipe(); err != nil {
		return nil, fmt.Errorf("starting PostgreSQL: %w", err)
	}
	if err := p.shell.Start(); err != nil {
		p.shell = nil
		return nil, fmt.Errorf("starting PostgreSQL: %w", err)
	}
	return p, p.Await(ctx)
}

// URL opens a database of the server as a role that may do everything.
func (p *Postgres) URL(database string) string {
	u := url.URL{Scheme: "postgres", User: url.User("purser"), Path: "/" + database, RawQuery: url.Values{"host": {p.Dir}, "sslmode": {"disable"}}.Encode()}
	return u.String()
}

// Socket is the path of the server's socket.
func (p *Postgres) Socket() string { return filepath.Join(p.Dir, ".s.PGSQL.5432") }

// Await returns when the server answers, within five minutes.
func (p *Postgres) Await(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	for {
		err := p.Do(ctx, "postgres", "SELECT 1")
		if err == nil {
			return nil
		}
		if _, failed := os.Stat(filepath.Join(p.Dir, "ended")); failed == nil || ctx.Err() != nil {
			log, _ := os.ReadFile(filepath.Join(p.Dir, "log"))
			return fmt.Errorf("PostgreSQL does not answer: %w; its log: %s", err, log)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// Do runs one statement on a connection of its own.
func (p *Postgres) Do(ctx context.Context, database, statement string) error {
	conn, err := pgx.Connect(ctx, p.URL(database))
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	_, err = conn.Exec(ctx, statement)
	return err
}

// Kill kills the postmaster without a clean end, as the kernel does when memory is
// short. It is started anew at once.
func (p *Postgres) Kill() error {
	text, err := os.ReadFile(filepath.Join(p.Dir, "pid"))
	if err != nil {
		return fmt.Errorf("finding the postmaster: %w", err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		return fmt.Errorf("finding the postmaster: %w", err)
	}
	return syscall.Kill(pid, syscall.SIGKILL)
}

// Down kills the postmaster and keeps it down until Up.
func (p *Postgres) Down() error {
	if err := os.WriteFile(filepath.Join(p.Dir, "down"), nil, 0o644); err != nil {
		return fmt.Errorf("keeping PostgreSQL down: %w", err)
	}
	return p.Kill()
}

// Up ends Down; Await tells when the server answers.
func (p *Postgres) Up() error { return os.Remove(filepath.Join(p.Dir, "down")) }

// Close ends the server and removes its folder. A second call does nothing.
func (p *Postgres) Close() error {
	if p.Dir == "" {
		return nil
	}
	var err error
	if p.shell != nil {
		_ = p.life.Close()
		err = p.shell.Wait()
	}
	err = errors.Join(err, os.RemoveAll(p.Dir))
	p.Dir = ""
	return err
}

// durable reads the three settings without which a ratio would say nothing.
func (p *Postgres) durable(ctx context.Context, database string) (map[string]string, error) {
	conn, err := pgx.Connect(ctx, p.URL(database))
	if err != nil {
		return nil, fmt.Errorf("asking PostgreSQL for its settings: %w", err)
	}
	defer conn.Close(context.WithoutCancel(ctx))
	found := map[string]string{}
	for _, name := range []string{"fsync", "full_page_writes", "synchronous_commit", "server_version"} {
		var value string
		if err := conn.QueryRow(ctx, "SHOW "+name).Scan(&value); err != nil {
			return nil, fmt.Errorf("asking PostgreSQL for %s: %w", name, err)
		}
		found[name] = value
	}
	return found, nil
}

// HasPostgres reports whether StartPostgres would find the programs it needs.
func HasPostgres() bool {
	_, err := postgresBin()
	return err == nil
}

// postgresBin finds the folder with initdb, postgres and pgbench: named by
// PURSER_POSTGRES_BIN, where Debian keeps them (newest first), or on the PATH.
func postgresBin() (string, error) {
	dirs, err := filepath.Glob("/usr/lib/postgresql/*/bin")
	if err != nil {
		return "", err
	}
	slices.SortFunc(dirs, func(a, b string) int { return cmp.Compare(versionOf(b), versionOf(a)) })
	dirs = slices.Concat(filepath.SplitList(os.Getenv("PURSER_POSTGRES_BIN")), dirs, filepath.SplitList(os.Getenv("PATH")))
	for _, dir := range dirs {
		whole := true
		for _, name := range []string{"initdb", "postgres", "pgbench"} {
			info, err := os.Stat(filepath.Join(dir, name))
			whole = whole && err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0
		}
		if whole {
			return filepath.Abs(dir)
		}
	}
	return "", errors.New("no initdb, postgres and pgbench found; on Debian they are in the package postgresql")
}

// versionOf orders .../15/bin after .../9.6/bin, which text order does not.
func versionOf(dir string) float64 {
	v, err := strconv.ParseFloat(filepath.Base(filepath.Dir(dir)), 64)
	if err != nil {
		return 0
	}
	return v
}

// serverUser is nil for an ordinary user. PostgreSQL refuses to run as root, so
// root starts it as somebody who owns nothing else.
func serverUser() (*syscall.Credential, error) {
	if os.Geteuid() != 0 {
		return nil, nil
	}
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, err1 := strconv.ParseUint(u.Uid, 10, 32)
		gid, err2 := strconv.ParseUint(u.Gid, 10, 32)
		if err := errors.Join(err1, err2); err != nil {
			return nil, fmt.Errorf("reading the ids of user %s: %w", name, err)
		}
		return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid), Groups: []uint32{uint32(gid)}}, nil
	}
	return nil, errors.New("PostgreSQL does not run as root, and there is no user postgres or nobody")
}
