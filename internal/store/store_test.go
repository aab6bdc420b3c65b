package store

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/purser-dev/purser"
	"github.com/purser-dev/purser/internal/audit"
	"github.com/purser-dev/purser/internal/spend"
	"github.com/purser-dev/purser/internal/store/db"
	"github.com/purser-dev/purser/internal/testpg"
)

// eachDB runs one suite on SQLite and on PostgreSQL.
func eachDB(t *testing.T, f func(t *testing.T, database string)) {
	t.Run("sqlite", func(t *testing.T) { f(t, filepath.Join(t.TempDir(), "purser.db")) })
	t.Run("postgres", func(t *testing.T) { f(t, testpg.Open(t)) })
}

func open(t *testing.T, cfg Config) *Store {
	t.Helper()
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	s, err := Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func organization(t *testing.T, s *Store, id string) {
	t.Helper()
	err := s.Write(t.Context(), func(q *db.Queries) error {
		return q.InsertOrganization(t.Context(), db.InsertOrganizationParams{ID: id, Name: id, Timezone: "UTC"})
	})
	if err != nil {
		t.Fatal(err)
	}
}

func record(action string) audit.Record {
	return audit.Record{Actor: audit.Actor{Kind: "system", ID: "test"}, Action: action, Outcome: audit.Accepted}
}

func TestSixtyFourTurnsAtOnceMakeOneOrder(t *testing.T) {
	eachDB(t, func(t *testing.T, database string) {
		s := open(t, Config{Database: database})
		organization(t, s, "org_1")
		const callers, each = 64, 4
		var wg sync.WaitGroup
		for i := range callers {
			wg.Go(func() {
				for n := range each {
					err := s.Turn(t.Context(), "org_1", func(turn *Turn) error {
						turn.Record(record(fmt.Sprintf("caller.%d.%d", i, n)))
						return nil
					})
					if err != nil {
						t.Error(err)
					}
				}
			})
		}
		wg.Wait()
		rows, err := RecordsAfter(t.Context(), s.Read(), "org_1", 0, 1<<40, 1000)
		if err != nil || len(rows) != callers*each {
			t.Fatalf("%d records, want %d (%v)", len(rows), callers*each, err)
		}
		var leaves [][]byte
		for i, r := range rows {
			if r.Seq != int64(i+1) {
				t.Fatalf("record %d has seq %d", i+1, r.Seq)
			}
			leaves = append(leaves, r.Leaf)
		}
		_, want, err := audit.Append(0, nil, leaves)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := audit.Root(int64(len(rows)), s.Hashes(t.Context(), "org_1")); err != nil || got != want {
			t.Errorf("root from the stored hashes = %v, from the leaves %v (%v)", got, want, err)
		}
	})
}

// Without the turn this test sells more than there is on PostgreSQL: that is
// what it is for.
func TestAGuardInTheTurnNeverSellsMoreThanThereIs(t *testing.T) {
	eachDB(t, func(t *testing.T, database string) {
		s := open(t, Config{Database: database})
		organization(t, s, "org_1")
		key := db.WindowParams{Organization: "org_1", Scope: "run", Target: "run_1", Currency: "USD", Name: "run_1"}
		err := s.Turn(t.Context(), "org_1", func(turn *Turn) error {
			return turn.OpenWindow(t.Context(), db.OpenWindowParams{Organization: key.Organization, Scope: key.Scope, Target: key.Target, Currency: key.Currency, Name: key.Name, GuardCeiling: 1400})
		})
		if err != nil {
			t.Fatal(err)
		}
		var mu sync.Mutex
		var wg sync.WaitGroup
		sold := 0
		for range 64 {
			wg.Go(func() {
				err := s.Turn(t.Context(), "org_1", func(turn *Turn) error {
					w, err := turn.Window(t.Context(), key)
					if err != nil {
						return err
					}
					if w.Held+100 > 1400 {
						return &Refused{purser.Errorf(purser.BudgetExceeded, "sold out")}
					}
					_, err = turn.MoveWindow(t.Context(), db.MoveWindowParams{HeldDelta: 100, Organization: key.Organization, Scope: key.Scope, Target: key.Target, Currency: key.Currency, Name: key.Name})
					return err
				})
				switch {
				case err == nil:
					mu.Lock()
					sold++
					mu.Unlock()
				case purser.CodeOf(err) != purser.BudgetExceeded:
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if sold != 14 {
			t.Errorf("sold %d of 14", sold)
		}
	})
}

func TestTheDatabaseItselfRefusesAnOverdraft(t *testing.T) {
	eachDB(t, func(t *testing.T, database string) {
		s := open(t, Config{Database: database})
		organization(t, s, "org_1")
		err := s.Turn(t.Context(), "org_1", func(turn *Turn) error {
			w := db.OpenWindowParams{Organization: "org_1", Scope: "run", Target: "r", Currency: "USD", Name: "r", GuardCeiling: 100}
			if err := turn.OpenWindow(t.Context(), w); err != nil {
				return err
			}
			_, err := turn.MoveWindow(t.Context(), db.MoveWindowParams{HeldDelta: 101, Organization: "org_1", Scope: "run", Target: "r", Currency: "USD", Name: "r"})
			return err
		})
		if err == nil {
			t.Error("a window went above its ceiling")
		}
	})
}

func TestARefusalIsKeptAndAFaultLeavesNothing(t *testing.T) {
	eachDB(t, func(t *testing.T, database string) {
		s := open(t, Config{Database: database})
		organization(t, s, "org_1")
		boom := errors.New("boom")
		if err := s.Turn(t.Context(), "org_1", func(turn *Turn) error { turn.Record(record("lost")); return boom }); !errors.Is(err, boom) {
			t.Fatalf("err = %v", err)
		}
		no := purser.Errorf(purser.Stopped, "no")
		err := s.Turn(t.Context(), "org_1", func(turn *Turn) error { turn.Record(record("kept")); return &Refused{no} })
		if purser.CodeOf(err) != purser.Stopped {
			t.Fatalf("err = %v", err)
		}
		rows, err := RecordsAfter(t.Context(), s.Read(), "org_1", 0, 99, 99)
		if err != nil || len(rows) != 1 || !strings.Contains(string(rows[0].Leaf), `"kept"`) {
			t.Errorf("rows = %v (%v)", rows, err)
		}
	})
}

func TestAClockThatGoesBackIsSeenAndNeverStored(t *testing.T) {
	eachDB(t, func(t *testing.T, database string) {
		shift := time.Duration(0)
		s := open(t, Config{Database: database, Now: func() time.Time { return time.Now().Add(shift) }})
		organization(t, s, "org_1")
		var first, second time.Time
		var skew time.Duration
		turn := func(at *time.Time) {
			err := s.Turn(t.Context(), "org_1", func(turn *Turn) error {
				*at, skew = turn.Now, turn.Skew
				turn.Record(record("tick"))
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		turn(&first)
		if skew.Abs() > 3*time.Second {
			t.Errorf("skew of a good clock = %v", skew)
		}
		shift = -time.Hour
		turn(&second)
		if second.Before(first) || skew.Abs() < 59*time.Minute {
			t.Errorf("after an hour back: %v, before %v, skew %v", second, first, skew)
		}
	})
}

func TestSeveralProcessesMayOpenANewDatabaseAtOnce(t *testing.T) {
	eachDB(t, func(t *testing.T, database string) {
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				s, err := Open(context.WithoutCancel(t.Context()), Config{Database: database, Now: time.Now})
				if err != nil {
					t.Error(err)
					return
				}
				_ = s.Close()
			})
		}
		wg.Wait()
	})
}

func TestANewerDatabaseIsRefused(t *testing.T) {
	eachDB(t, func(t *testing.T, database string) {
		s := open(t, Config{Database: database})
		if _, err := s.writer.ExecContext(t.Context(), "INSERT INTO goose_db_version (version_id, is_applied) VALUES (9999, $1)", true); err != nil {
			t.Fatal(err)
		}
		_, err := Open(t.Context(), Config{Database: database, Now: time.Now})
		if purser.CodeOf(err) != purser.NewerDatabase {
			t.Errorf("err = %v", err)
		}
	})
}

func TestTheTwoSchemasDifferOnlyInTheWordForBytes(t *testing.T) {
	entries, err := migrations.ReadDir("migrations/postgres")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		pg, err1 := migrations.ReadFile("migrations/postgres/" + e.Name())
		lite, err2 := migrations.ReadFile("migrations/sqlite/" + e.Name())
		if err := errors.Join(err1, err2); err != nil {
			t.Fatal(err)
		}
		if strings.ReplaceAll(shared(t, string(pg)), "BYTEA", "BLOB") != shared(t, string(lite)) {
			t.Errorf("%s differs between the databases", e.Name())
		}
	}
}

// shared leaves out what a migration says in one database's own words: triggers,
// references, and how rows lie on the disk, of which there is no common form. Tables and
// columns never are among it.
func shared(t *testing.T, migration string) string {
	before, own, found := strings.Cut(migration, "-- In this database's own words, to the end of them:\n")
	if !found {
		return migration
	}
	own, after, _ := strings.Cut(own, "-- The end of them.\n")
	if strings.Contains(own, "CREATE TABLE") || strings.Contains(own, "ADD") || strings.Contains(own, "DROP COLUMN") {
		t.Error("a table is made or gets columns in one database's own words")
	}
	return before + after
}

// One who waits for another server's turn asks for many organizations at once.
func TestTurnsAreReadForAnyNumberOfOrganizations(t *testing.T) {
	eachDB(t, func(t *testing.T, database string) {
		s := open(t, Config{Database: database})
		var orgs []string
		for i := range turnsAtOnce + 3 {
			id := fmt.Sprintf("org_%d", i)
			organization(t, s, id)
			orgs = append(orgs, id)
		}
		before, err := s.Turns(t.Context(), append(orgs, "org_nobody"))
		if err != nil || len(before) != len(orgs) {
			t.Fatalf("%d of %d, %v", len(before), len(orgs), err)
		}
		last := orgs[len(orgs)-1]
		if err := s.Turn(t.Context(), last, func(*Turn) error { return nil }); err != nil {
			t.Fatal(err)
		}
		after, err := s.Turns(t.Context(), orgs)
		if err != nil || after[last] != before[last]+1 || after[orgs[0]] != before[orgs[0]] {
			t.Errorf("%d, then %d; %v", before[last], after[last], err)
		}
		if none, err := s.Turns(t.Context(), nil); err != nil || len(none) != 0 {
			t.Errorf("of none: %v %v", none, err)
		}
	})
}

// A panic inside a turn, after which its goroutine goes on, leaves nothing that a stop
// would wait for: on SQLite there is one connection that writes.
func TestAPanicInATurnLeavesNoTransactionOpen(t *testing.T) {
	eachDB(t, func(t *testing.T, database string) {
		s := open(t, Config{Database: database})
		organization(t, s, "org_1")
		for name, panics := range map[string]func(){
			"a turn": func() {
				_ = s.Turn(t.Context(), "org_1", func(*Turn) error { panic("a fault") })
			},
			"a batch": func() {
				b := recording("org_1", nil)
				b.Decide = func(*Turn, *spend.State) ([]KeyRow, error) { panic("a fault") }
				_, _ = s.Spend(t.Context(), true, b)
			},
		} {
			func() {
				defer func() { _ = recover() }()
				panics()
				t.Errorf("%s did not panic", name)
			}()
			ctx, cancel := context.WithTimeout(Urgent(t.Context()), 5*time.Second)
			if err := s.Turn(ctx, "org_1", func(*Turn) error { return nil }); err != nil {
				t.Errorf("a stop after %s: %v", name, err)
			}
			if _, err := s.Spend(ctx, true, recording("org_1", nil)); err != nil {
				t.Errorf("a spend after %s: %v", name, err)
			}
			cancel()
		}
	})
}

// A database that answers questions and takes no write decides nothing, so it is not
// ready. Whoever asks, and however often, it is tried seldom.
func TestWhatCannotWriteIsNotReady(t *testing.T) {
	t.Parallel()
	eachDB(t, func(t *testing.T, database string) {
		var turns, later atomic.Int64
		var full atomic.Bool
		began := time.Now() // the clock stands still, but for later
		s := open(t, Config{
			Database: database, Now: func() time.Time { return began.Add(time.Duration(later.Load())) },
			Trace: func(_ int64, statement string) error {
				if strings.HasPrefix(statement, "UPDATE organizations SET turn") {
					turns.Add(1)
				}
				if full.Load() && statement == Commit {
					return errors.New("database or disk is full")
				}
				return nil
			},
		})
		before := turns.Load()
		for range 20 {
			if err := s.Ready(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		if n := turns.Load() - before; n != 1 {
			t.Errorf("%d turns were taken for 20 questions", n)
		}
		full.Store(true)
		later.Add(int64(readyFor))
		if err := s.Ready(t.Context()); err == nil {
			t.Error("it is ready with a full disk")
		}
		full.Store(false)
		if err := s.Ready(t.Context()); err == nil {
			t.Error("it was not looked at anew, and is said to be ready")
		}
		later.Add(int64(readyFor))
		if err := s.Ready(t.Context()); err != nil {
			t.Errorf("with room again: %v", err)
		}
	})
}

// Whoever asks whether something can be written waits for another's try no longer than its
// own deadline.
func TestWhoAsksWhetherItIsReadyWaitsForNoOther(t *testing.T) {
	t.Parallel()
	eachDB(t, func(t *testing.T, database string) {
		var slow atomic.Bool
		begun, goOn := make(chan struct{}), make(chan struct{})
		s := open(t, Config{Database: database, Trace: func(_ int64, statement string) error {
			if statement == Commit && slow.CompareAndSwap(true, false) {
				close(begun)
				<-goOn
			}
			return nil
		}})
		slow.Store(true)
		asked, first := time.Now(), make(chan error, 1)
		go func() { first <- s.Ready(t.Context()) }()
		<-begun
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		second := make(chan error, 1)
		go func() { second <- s.Ready(ctx) }()
		select {
		case err := <-second:
			if !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("the second is told %v", err)
			}
		case <-time.After(time.Minute):
			t.Error("the second waits on after its deadline")
		}
		close(goOn)
		switch err := <-first; {
		case err == nil:
			if err := s.Ready(t.Context()); err != nil {
				t.Errorf("afterwards: %v", err)
			}
		case time.Since(asked) < readyMost: // after which it gives up
			t.Errorf("the first is told %v", err)
		}
	})
}
