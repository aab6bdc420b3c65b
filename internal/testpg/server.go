package testpg

import (
	"cmp"
	"context"
	"crypto/rand"
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
	"syscall"
	"time"
)

// Server is a PostgreSQL server in a temporary folder, reached through a Unix
// socket there and by nothing else. It lives until Stop or until this process
// is gone, kill -9 included: a shell holds it and waits for the end of a pipe
// whose other end only this process has, then ends the server by its id and
// removes the folder.
type Server struct {
	// URL opens the database "postgres" as a role that may do everything.
	URL string

	alive io.Closer // the pipe; closing it ends the server
	shell *exec.Cmd
}

// hold runs in the folder of the server, as its user. $1 is the folder of the
// binaries. Durability is off: what dies with the test need not survive a crash.
// All output goes to the log, which is part of the error when it does not start.
const hold = `
"$1/initdb" --pgdata=data --username=purser --pwfile=password --auth=password \
	--encoding=UTF8 --locale=C --no-sync >>log 2>&1 || { echo failed >ended; read -r gone; rm -rf "$PWD"; exit 1; }
"$1/postgres" -D data -k "$PWD" -c listen_addresses= -c max_connections=300 \
	-c fsync=off -c full_page_writes=off -c synchronous_commit=off \
	-c log_min_messages=warning -c timezone=UTC >>log 2>&1 </dev/null &
server=$!
read -r gone
kill -INT "$server"
wait "$server"
rm -rf "$PWD"
`

// Start starts a server and waits until it answers. It takes about a second.
func Start() (*Server, error) {
	bin, err := binaries()
	if err != nil {
		return nil, err
	}
	as, err := serverUser()
	if err != nil {
		return nil, err
	}
	dir, password, err := folder(as)
	if err != nil {
		return nil, fmt.Errorf("making the server's folder: %w", err)
	}
	s, err := launch(bin, dir, as)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("launching the server: %w", err), os.RemoveAll(dir))
	}
	s.URL = (&url.URL{
		Scheme: "postgres", User: url.UserPassword("purser", password), Path: "/postgres",
		RawQuery: url.Values{"host": {dir}}.Encode(),
	}).String()
	if err := s.await(dir, time.Now().Add(5*time.Minute)); err != nil {
		return nil, errors.Join(err, s.Stop())
	}
	return s, nil
}

// Stop ends the server and removes its folder. A second call does nothing.
func (s *Server) Stop() error {
	if s.shell == nil {
		return nil
	}
	s.alive.Close()
	err := s.shell.Wait()
	s.shell = nil
	return err
}

func launch(bin, dir string, as *syscall.Credential) (*Server, error) {
	shell := exec.Command("/bin/sh", "-c", hold, "testpg", bin)
	shell.Dir = dir
	shell.Env = []string{"PATH=/usr/bin:/bin", "LC_ALL=C"}
	// A session of its own: a ctrl-C for the tests must reach us, not the server,
	// or it would be gone before the tests have cleaned up.
	shell.SysProcAttr = &syscall.SysProcAttr{Credential: as, Setsid: true}
	alive, err := shell.StdinPipe()
	if err != nil {
		return nil, err
	}
	return &Server{alive: alive, shell: shell}, shell.Start()
}

// await polls until the server answers, initdb failed, or the deadline passes.
func (s *Server) await(dir string, deadline time.Time) error {
	for {
		ctx, cancel := context.WithDeadline(context.Background(), deadline)
		err := execute(ctx, s.URL, "SELECT 1")
		cancel()
		if err == nil {
			return nil
		}
		_, failed := os.Stat(filepath.Join(dir, "ended"))
		if failed == nil || time.Now().After(deadline) {
			log, _ := os.ReadFile(filepath.Join(dir, "log"))
			return fmt.Errorf("the server does not answer: %w; its log: %s", err, log)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// folder makes the server's folder with the password of its role. It is short
// (a socket's path has at most 107 bytes) and stands where the server's user can
// reach it, which t.TempDir() below a private TMPDIR would not be.
func folder(as *syscall.Credential) (dir, password string, err error) {
	parent := os.TempDir()
	if as != nil || len(parent) > 60 {
		parent = "/tmp"
	}
	dir, err = os.MkdirTemp(parent, "testpg-")
	if err != nil {
		return "", "", err
	}
	password = rand.Text()
	file := filepath.Join(dir, "password")
	err = os.WriteFile(file, []byte(password+"\n"), 0o600)
	if as != nil && err == nil {
		err = errors.Join(os.Chown(file, int(as.Uid), int(as.Gid)), os.Chown(dir, int(as.Uid), int(as.Gid)))
	}
	if err != nil {
		return "", "", errors.Join(err, os.RemoveAll(dir))
	}
	return dir, password, nil
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

// binaries finds the folder with initdb and postgres: where Debian keeps them,
// newest first, then on the PATH (which may hold only the client). What `make
// test` installed from npm is named by PURSER_POSTGRES_BIN, which comes first.
func binaries() (string, error) {
	dirs, err := filepath.Glob("/usr/lib/postgresql/*/bin")
	if err != nil {
		return "", err
	}
	newestFirst(dirs)
	dirs = append(dirs, filepath.SplitList(os.Getenv("PATH"))...)
	if dir := os.Getenv("PURSER_POSTGRES_BIN"); dir != "" {
		dirs = append([]string{dir}, dirs...)
	}
	for _, dir := range dirs {
		if runnable(filepath.Join(dir, "initdb")) && runnable(filepath.Join(dir, "postgres")) {
			return filepath.Abs(dir)
		}
	}
	return "", errors.New("no initdb and postgres found")
}

func runnable(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0
}

// newestFirst orders .../15/bin before .../9.6/bin, which text order does not.
func newestFirst(dirs []string) {
	version := func(dir string) float64 {
		v, _ := strconv.ParseFloat(filepath.Base(filepath.Dir(dir)), 64)
		return v
	}
	slices.SortFunc(dirs, func(a, b string) int { return cmp.Compare(version(b), version(a)) })
}
