package store

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/purser-dev/purser/internal/store/db"
	"github.com/purser-dev/purser/internal/testpg"
)

// cable is a way to a PostgreSQL server that can be cut, as a network is.
type cable struct {
	mu    sync.Mutex
	conns []net.Conn
	loses atomic.Bool // the next answer, and is cut there
}

// cabled is a database behind a cable.
func cabled(t *testing.T) (database string, w *cable) {
	at, err := url.Parse(testpg.Open(t))
	if err != nil {
		t.Fatal(err)
	}
	q := at.Query()
	server, dir := filepath.Join(q.Get("host"), ".s.PGSQL.5432"), t.TempDir()
	q.Set("host", dir)
	at.RawQuery = q.Encode()
	listener, err := net.Listen("unix", filepath.Join(dir, ".s.PGSQL.5432"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	w = &cable{}
	go func() {
		for {
			near, err := listener.Accept()
			if err != nil {
				return
			}
			far, err := net.Dial("unix", server)
			if err != nil {
				_ = near.Close()
				continue
			}
			w.mu.Lock()
			w.conns = append(w.conns, near, far)
			w.mu.Unlock()
			go func() { _, _ = io.Copy(far, near); _ = far.Close() }()
			go w.answers(near, far)
		}
	}()
	return at.String(), w
}

func (w *cable) answers(near, far net.Conn) {
	defer near.Close()
	for b := make([]byte, 1<<16); ; {
		n, err := far.Read(b)
		if w.loses.CompareAndSwap(true, false) {
			w.cut()
		}
		if _, late := near.Write(b[:n]); err != nil || late != nil {
			return
		}
	}
}

func (w *cable) cut() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range w.conns {
		_ = c.Close()
	}
	w.conns = nil
}

// A cable that is cut says no word: what was asked can be asked again, and nobody knows of
// a commit.
func TestADatabaseWhoseCableIsCutIsAway(t *testing.T) {
	database, w := cabled(t)
	var when func(statement string) // what happens once
	s := open(t, Config{Database: database, Trace: func(_ int64, statement string) error {
		if when != nil {
			when(statement)
		}
		return nil
	}})
	n := 0
	change := func() error {
		n++
		id := fmt.Sprintf("org_%d", n)
		return s.Write(t.Context(), func(q *db.Queries) error {
			return q.InsertOrganization(t.Context(), db.InsertOrganizationParams{ID: id, Name: id, Timezone: "UTC"})
		})
	}
	on := func(commit bool, do func()) func(string) {
		return func(statement string) {
			if (statement == Commit) == commit {
				when = nil
				do()
			}
		}
	}
	lose := func() { w.loses.Store(true) }
	for name, c := range map[string]struct {
		when func(string)
		now  func()
		lost bool
	}{
		"before a statement":                   {when: on(false, w.cut)},
		"before the answer to a statement":     {when: on(false, lose)},
		"before the commit":                    {when: on(true, w.cut), lost: true},
		"before the answer to the commit":      {when: on(true, lose), lost: true},
		"while nothing is asked":               {now: w.cut},
		"before the answer to the first thing": {now: lose},
	} {
		healed := errors.New("not asked")
		for range 8 { // as many connections as may have been cut
			if healed = change(); healed == nil {
				break
			}
		}
		if healed != nil {
			t.Fatalf("%s: before it %v", name, healed)
		}
		if when = c.when; c.now != nil {
			c.now()
		}
		err := change()
		if c.lost != errors.Is(err, ErrLostCommit) || !c.lost && err != nil && !Away(err) {
			t.Errorf("%s: a change: %v", name, err)
		}
		when = nil
		lose()
		if _, err := s.Read().Organization(t.Context(), Installation); err != nil && !Away(err) {
			t.Errorf("%s: a question: %v", name, err)
		}
		w.loses.Store(false)
	}
}
