package test

import (
	"context"
	"database/sql"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/purser-dev/purser"
	"github.com/purser-dev/purser/internal/bench"
	"github.com/purser-dev/purser/internal/config"
	"github.com/purser-dev/purser/internal/server"
)

// inside starts a server in this process, on SQLite in a folder, with a clock that
// can be turned.
func inside(t *testing.T, dir string, now func() time.Time) (l *ledger, stop func()) {
	t.Helper()
	cfg, err := config.Load(config.Sources{Flags: map[string]any{
		"dir": dir, "listen": "127.0.0.1:0", "cloud.enabled": false, "database": "sqlite:" + filepath.Join(dir, "purser.db"),
	}})
	if err != nil {
		t.Fatal(err)
	}
	said := &bench.Said{}
	s, err := server.New(t.Context(), cfg, server.Options{Version: "test", Now: now, Log: slog.New(slog.NewTextHandler(said, &slog.HandlerOptions{Level: slog.LevelWarn}))})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("the server ended with %v", err)
		}
	})
	t.Cleanup(func() {
		stop()
		if t.Failed() {
			t.Logf("what the server said last:\n%s", last(said.String()))
		}
	})
	l = &ledger{House: &bench.House{Dir: dir, URL: s.URL(), Said: said}}
	code, _, err := s.SetupCode(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := l.SetUp(t.Context(), code, unlimited); err != nil {
		t.Fatal(err)
	}
	l.lane = l.newRun(t, unlimited)
	return l, stop
}

// T9: the power fails at each sync of a trace of 2,000 charges. What was
// acknowledged by then is there, and the database is whole. With synchronous=OFF
// the same test must see the loss, or it would prove nothing.
func TestAPowerCutLosesNothingThatWasAcknowledged(t *testing.T) {
	whole(t)
	for _, c := range []struct {
		folder string
		torn   *rand.Rand
		lost   bool
	}{
		{"synchronous-full", nil, false},
		{"synchronous-full", seed(t), false},
		{careless, nil, true},
	} {
		name := c.folder
		if c.torn != nil {
			name += ", torn"
		}
		t.Run(name, func(t *testing.T) {
			d := watchDisk(t)
			l, stop := inside(t, filepath.Join(d.dir, c.folder), nil)
			crowd := gather(t, l.Address(), l.lane, 16, func(s spent) { d.acknowledge(s.seq) })
			charges := int64(rounds(2000, 10_000))
			eventually(t, "all is charged", func() bool { return crowd.accepted.Load() >= charges })
			l.proves(t, crowd.callOff())
			stop()
			cuts, lost := 0, 0
			d.cuts(c.torn, func(left map[string][]byte, acked int64) {
				cuts++
				if c.torn != nil && rounds(cuts%4, 0) != 0 {
					return // a quarter of the torn ones in `make test`
				}
				if !survives(t, l.Org, left, acked, cuts%8 == 0) {
					lost++
				}
			})
			switch {
			case c.lost && lost == 0:
				t.Errorf("nothing was lost in %d cuts: this test cannot see a loss", cuts)
			case !c.lost && lost > 0:
				t.Errorf("%d of %d cuts lost what was acknowledged", lost, cuts)
			case !c.lost && cuts < 50:
				t.Errorf("only %d syncs", cuts)
			}
			t.Logf("%d cuts, %d with a loss", cuts, lost)
		})
	}
}

// survives reports whether a database that a power cut left has decided as far as
// somebody was told and, when it is looked at closely, is whole.
func survives(t *testing.T, org string, left map[string][]byte, acked int64, closely bool) bool {
	t.Helper()
	if acked == 0 {
		return true
	}
	dir, err := os.MkdirTemp(t.TempDir(), "cut-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	pour(t, left, dir)
	db, err := sql.Open("sqlite", "file:"+filepath.Join(dir, "purser.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	var seq int64
	var whole string
	// A database of which too little is left has no such table, or is none.
	if err := db.QueryRowContext(t.Context(), "SELECT seq FROM organizations WHERE id = $1", org).Scan(&seq); err != nil || seq < acked {
		return false
	}
	return !closely || db.QueryRowContext(t.Context(), "PRAGMA quick_check").Scan(&whole) == nil && whole == "ok"
}

// A full disk refuses: nothing is acknowledged that is not written, and when there
// is room again all goes on.
func TestAFullDiskAcceptsNothing(t *testing.T) {
	whole(t)
	d := watchDisk(t)
	l, _ := inside(t, filepath.Join(d.dir, "full"), nil)
	crowd := gather(t, l.Address(), l.lane, 8)
	for range rounds(2, 20) {
		from := crowd.accepted.Load()
		eventually(t, "spends are accepted", func() bool { return crowd.accepted.Load() > from+50 })
		d.full.Store(true)
		lost := crowd.lost.Load()
		eventually(t, "spends are not accepted", func() bool { return crowd.lost.Load() > lost+160 })
		// All eight callers are among those, many times over: none is still to hear of what
		// was accepted before.
		settled := crowd.accepted.Load()
		lost = crowd.lost.Load()
		eventually(t, "callers are told so", func() bool { return crowd.lost.Load() > lost+32 })
		if now := crowd.accepted.Load(); now != settled {
			t.Errorf("%d were accepted on a full disk", now-settled)
		}
		eventually(t, "it is not ready", func() bool { return l.ready(t) == http.StatusServiceUnavailable })
		d.full.Store(false)
	}
	eventually(t, "it is ready again", func() bool { return l.ready(t) == http.StatusOK })
	from := crowd.accepted.Load()
	eventually(t, "spends are accepted again", func() bool { return crowd.accepted.Load() > from })
	if _, err := l.Person.Stop(t.Context(), purser.Stop{Scope: "run", ID: l.lane.Run, Reason: "it was full"}); err != nil {
		t.Errorf("stopping: %v", err)
	}
	l.proves(t, crowd.callOff())
}

// ready asks as a load balancer does.
func (l *ledger) ready(t *testing.T) int {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, l.URL+"/readyz", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	return resp.StatusCode
}

// RULES 19: a clock that goes back an hour spends nothing, and stops all the same.
func TestAClockThatGoesBackSpendsNothingAndStillStops(t *testing.T) {
	whole(t)
	var back atomic.Int64
	l, _ := inside(t, t.TempDir(), func() time.Time { return time.Now().Add(-time.Duration(back.Load())) })
	stopped := l.newRun(t, unlimited)
	crowd := gather(t, l.Address(), l.lane, 4)
	eventually(t, "spends are accepted", func() bool { return crowd.accepted.Load() > 50 })
	told := crowd.callOff()
	back.Store(int64(time.Hour))
	c := bench.Dial(l.Address(), patience)
	defer c.Close()
	a, err := c.Post("/v1/charges", l.lane.Token, "early", bench.ChargeBody(nil, 5))
	if err != nil || a.Code() != string(purser.ClockUnsafe) {
		t.Errorf("with the clock an hour back: %d %s %v", a.Status, a.Body, err)
	}
	stop, err := l.Person.Stop(t.Context(), purser.Stop{Scope: "run", ID: stopped.Run, Reason: "the clock is wrong"})
	if err != nil || stop.Seq == 0 {
		t.Fatalf("stopping with the clock an hour back: %v", err)
	}
	back.Store(0)
	if a, err := c.Post("/v1/charges", stopped.Token, "late", bench.ChargeBody(nil, 5)); err != nil || a.Code() != string(purser.Stopped) {
		t.Errorf("after the stop: %d %s %v", a.Status, a.Body, err)
	}
	crowd = gather(t, l.Address(), l.lane, 4)
	eventually(t, "spends are accepted again", func() bool { return crowd.accepted.Load() > 50 })
	proof := l.proves(t, append(told, crowd.callOff()...))
	if _, there := proof.Accepted["early"]; there {
		t.Error("the charge of the wrong hour is on the log as accepted")
	}
}
