package test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/purser-dev/purser/internal/bench"
	"github.com/purser-dev/purser/internal/testneed"
)

// rounds is how often something random is done: a few times in `make test`, often
// in `make soak`.
func rounds(few, many int) int {
	if os.Getenv("PURSER_TEST_SOAK") != "" {
		return many
	}
	return few
}

// seed makes random choices that can be made again: PURSER_TEST_SEED repeats a run.
func seed(t *testing.T) *rand.Rand {
	t.Helper()
	n := rand.Uint64()
	if text := os.Getenv("PURSER_TEST_SEED"); text != "" {
		var err error
		if n, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatalf("PURSER_TEST_SEED: %v", err)
		}
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the choices were those of PURSER_TEST_SEED=%d", n)
		}
	})
	return rand.New(rand.NewPCG(n, 1))
}

// ledger is a server process under a load of charges, without a cloud.
type ledger struct {
	*bench.House
	pg   *bench.Postgres // nil on SQLite
	lane bench.Lane

	before []spent // what earlier rounds were told
}

// unlimited is more than any of these tests spends, in US cents.
const unlimited = 1 << 50

// postgres starts a server of its own, that syncs, and may be killed.
func postgres(t *testing.T) *bench.Postgres {
	t.Helper()
	if !bench.HasPostgres() {
		testneed.Absent(t, "postgres", "needs PostgreSQL with pgbench: run make test")
	}
	pg, err := bench.StartPostgres(t.Context(), "/tmp")
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

// openLedger starts a server on a database: "sqlite", or one of a PostgreSQL server.
func openLedger(t *testing.T, pg *bench.Postgres) *ledger {
	t.Helper()
	dir := t.TempDir()
	l := &ledger{House: &bench.House{Program: program, Dir: dir, Database: "sqlite:" + filepath.Join(dir, "purser.db")}, pg: pg}
	if pg != nil {
		if err := pg.Do(t.Context(), "postgres", "CREATE DATABASE purser"); err != nil {
			t.Fatal(err)
		}
		l.Database = pg.URL("purser")
	}
	l.begin(t)
	return l
}

// begin starts the server for the first time.
func (l *ledger) begin(t *testing.T) {
	t.Helper()
	t.Cleanup(func() {
		_ = l.Stop() // some tests end it themselves
		if t.Failed() {
			t.Logf("what the server said last:\n%s", last(l.Said.String()))
		}
	})
	l.Listen = kept(t)
	code, err := l.Start(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := l.SetUp(t.Context(), code, unlimited); err != nil {
		t.Fatal(err)
	}
	l.lane = l.newRun(t, unlimited)
}

// last is the end of what was said: a server that has no database says so often.
func last(text string) string {
	return text[max(0, len(text)-4<<10):]
}

func (l *ledger) newRun(t *testing.T, budget int64) bench.Lane {
	t.Helper()
	lane, err := l.NewRun(t.Context(), budget)
	if err != nil {
		t.Fatal(err)
	}
	return lane
}

// restart brings a killed server back at its address.
func (l *ledger) restart(t *testing.T) {
	t.Helper()
	if _, err := l.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// proves walks the books, verifies the log, and compares it with what the callers
// were told: each acknowledged spend is there once, under the number it was told,
// and nothing else was spent.
func (l *ledger) proves(t *testing.T, told []spent) bench.Proof {
	t.Helper()
	proof, err := bench.Prove(t.Context(), l.Person, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	var sum int64
	for _, s := range told {
		seq, there := proof.Accepted[s.key]
		switch {
		case s.accepted && !there:
			t.Errorf("the charge %s was acknowledged as record %d, and the log does not have it", s.key, s.seq)
		case s.accepted && seq != s.seq:
			t.Errorf("the charge %s was acknowledged as record %d, and is %d", s.key, s.seq, seq)
		case !s.accepted && there:
			t.Errorf("the charge %s was answered %q, and is record %d", s.key, s.code, seq)
		}
		if s.accepted {
			sum += s.amount
		}
	}
	if proof.Raised != sum {
		t.Errorf("the log spends %d cents, and the callers were told of %d", proof.Raised, sum)
	}
	if len(proof.Twice) > 0 {
		t.Errorf("decided twice: %v", proof.Twice)
	}
	if proof.AcceptedAfter > 0 {
		t.Errorf("%d spends were accepted under a stop", proof.AcceptedAfter)
	}
	return proof
}

// spent is one charge as its caller knows it, when its answer has come.
type spent struct {
	key      string
	amount   int64
	sent     time.Time // the first time
	accepted bool
	code     string
	seq      int64
}

// crowd is callers that charge until they are called off. Each asks again under
// its key until it has an answer, so that of each charge it is known what became.
type crowd struct {
	accepted atomic.Int64
	refused  atomic.Int64
	lost     atomic.Int64 // calls without a decision, of which some were decided
	heard    []func(spent)
	off      chan struct{}
	ended    sync.WaitGroup
	mu       sync.Mutex
	told     []spent
}

// gather starts callers at an address. Their amounts are 1 to 9 cents. heard, if
// any, is called with each decision, as soon as it is known.
func gather(t *testing.T, address string, lane bench.Lane, callers int, heard ...func(spent)) *crowd {
	t.Helper()
	c := &crowd{off: make(chan struct{}), heard: heard}
	name := fmt.Sprintf("crowd-%d-", crowds.Add(1))
	for i := range callers {
		c.ended.Go(func() {
			c.charge(t.Context(), address, lane, fmt.Sprintf("%s%d-", name, i), rand.New(rand.NewPCG(uint64(i), 7)))
		})
	}
	t.Cleanup(func() { c.callOff() })
	return c
}

var crowds atomic.Int64

// callOff ends the crowd and returns what it was told. A second call is the same.
func (c *crowd) callOff() []spent {
	c.mu.Lock()
	select {
	case <-c.off:
	default:
		close(c.off)
	}
	c.mu.Unlock()
	c.ended.Wait()
	return c.told
}

func (c *crowd) charge(ctx context.Context, address string, lane bench.Lane, name string, rnd *rand.Rand) {
	conn := bench.Dial(address, 20*time.Second)
	defer conn.Close()
	var told []spent
	defer func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.told = append(c.told, told...)
	}()
	for n := 0; ; n++ {
		select {
		case <-c.off:
			return
		default:
		}
		s := spent{key: name + strconv.Itoa(n), amount: 1 + rnd.Int64N(9), sent: time.Now()}
		if !c.insist(ctx, conn, lane, &s) {
			return
		}
		told = append(told, s)
		for _, heard := range c.heard {
			heard(s)
		}
		if s.accepted {
			c.accepted.Add(1)
		} else {
			c.refused.Add(1)
		}
	}
}

// insist asks until there is a decision; false when the test is over before.
func (c *crowd) insist(ctx context.Context, conn *bench.Conn, lane bench.Lane, s *spent) bool {
	body := bench.ChargeBody(nil, s.amount)
	for ctx.Err() == nil {
		a, err := conn.Post("/v1/charges", lane.Token, s.key, body)
		if err == nil && (a.Accepted() || a.Status/100 == 4 && a.Status != 429) {
			s.accepted, s.code, s.seq = a.Accepted(), a.Code(), a.Number("seq")
			return true
		}
		c.lost.Add(1)
		time.Sleep(5 * time.Millisecond) // the server is gone, or has no database: it is not to be hammered
	}
	return false
}
