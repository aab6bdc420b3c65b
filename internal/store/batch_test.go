package store

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/purser-dev/purser"
	"github.com/purser-dev/purser/internal/audit"
	"github.com/purser-dev/purser/internal/spend"
	"github.com/purser-dev/purser/internal/store/db"
	"github.com/purser-dev/purser/internal/testpg"
)

// recording is a batch of one organization that decides one thing.
func recording(org string, fail error) Spends {
	return Spends{
		Organization: org, Facts: func(string) (RunFacts, bool) { return RunFacts{}, false },
		Decide: func(t *Turn, s *spend.State) ([]KeyRow, error) {
			t.Record(record("test"))
			s.Seq = t.Seq
			return nil, fail
		},
	}
}

func seqs(t *testing.T, s *Store, orgs ...string) (all []int64) {
	t.Helper()
	for _, id := range orgs {
		org, err := s.Read().Organization(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, org.Seq)
	}
	return all
}

// Several organizations are decided in one transaction, each in its own turn, and
// an error of one undoes all of it.
func TestABatchDecidesSeveralOrganizationsAtOnce(t *testing.T) {
	eachDB(t, func(t *testing.T, database string) {
		commits := 0
		s := open(t, Config{Database: database, Trace: func(_ int64, statement string) error {
			if statement == Committed {
				commits++
			}
			return nil
		}})
		orgs := []string{"org_1", "org_2", "org_3"}
		for _, org := range orgs {
			organization(t, s, org)
		}
		commits = 0
		left, err := s.Spend(t.Context(), false, recording("org_1", nil), recording("org_2", nil), recording("org_3", nil))
		if err != nil || len(left) != 0 || commits != 1 {
			t.Errorf("left %v, %v; %d commits", left, err, commits)
		}
		if got := seqs(t, s, orgs...); !slices.Equal(got, []int64{1, 1, 1}) {
			t.Errorf("the logs end at %v", got)
		}
		broken := errors.New("broken")
		if _, err := s.Spend(t.Context(), false, recording("org_1", nil), recording("org_2", broken)); !errors.Is(err, broken) {
			t.Errorf("err = %v", err)
		}
		if got := seqs(t, s, orgs...); !slices.Equal(got, []int64{1, 1, 1}) {
			t.Errorf("the logs end at %v after a batch that failed", got)
		}
		if left, err := s.Spend(t.Context(), false, recording("org_1", nil), recording("org_9", nil)); err != nil || !slices.Equal(left, []string{"org_9"}) {
			t.Errorf("with one that is not there: left %v, %v", left, err)
		}
		if _, err := s.Spend(t.Context(), true, recording("org_9", nil)); !errors.Is(err, ErrNoOrganization) {
			t.Errorf("err = %v", err)
		}
		for _, org := range orgs {
			rows, err := RecordsAfter(t.Context(), s.Read(), org, 0, 1<<40, 9)
			if err != nil || len(rows) != int(seqs(t, s, org)[0]) {
				t.Errorf("%s has %d records: %v", org, len(rows), err)
			}
		}
	})
}

// No organization waits for another: one whose turn is taken, by this process or
// by another, is left.
func TestABatchWaitsForNoOtherOrganization(t *testing.T) {
	database := testpg.Open(t)
	s := open(t, Config{Database: database})
	for _, org := range []string{"org_1", "org_2", "org_3"} {
		organization(t, s, org)
	}
	other := open(t, Config{Database: database})
	tx, err := other.writer.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.ExecContext(t.Context(), "UPDATE organizations SET turn = turn + 1 WHERE id = 'org_2'"); err != nil {
		t.Fatal(err)
	}
	inTurn, goOn, ended := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	go func() {
		ended <- s.Turn(context.WithoutCancel(t.Context()), "org_3", func(*Turn) error {
			close(inTurn)
			<-goOn
			return nil
		})
	}()
	<-inTurn
	left, err := s.Spend(t.Context(), false, recording("org_1", nil), recording("org_2", nil), recording("org_3", nil))
	close(goOn)
	if err := errors.Join(<-ended, tx.Rollback()); err != nil && !errors.Is(err, sql.ErrTxDone) {
		t.Error(err)
	}
	if err != nil || !slices.Equal(left, []string{"org_2", "org_3"}) {
		t.Errorf("left %v, %v", left, err)
	}
	if got := seqs(t, s, "org_1", "org_2", "org_3"); !slices.Equal(got, []int64{1, 0, 0}) {
		t.Errorf("the logs end at %v", got)
	}
	for _, org := range left { // with patience, each is decided
		if _, err := s.Spend(t.Context(), true, recording(org, nil)); err != nil {
			t.Error(err)
		}
	}
	if got := seqs(t, s, "org_1", "org_2", "org_3"); !slices.Equal(got, []int64{1, 1, 1}) {
		t.Errorf("the logs end at %v", got)
	}
}

// A connection whose statements somebody dropped describes them again.
func TestABatchOutlivesTheLossOfItsStatements(t *testing.T) {
	s := open(t, Config{Database: testpg.Open(t)})
	organization(t, s, "org_1")
	s.batches.SetMaxOpenConns(1)
	for range 2 {
		if _, err := s.Spend(t.Context(), false, recording("org_1", nil)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.batches.ExecContext(t.Context(), "DEALLOCATE ALL"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Spend(t.Context(), false, recording("org_1", nil)); err == nil {
		t.Error("it did not notice, so this tests nothing")
	}
	if _, err := s.Spend(t.Context(), false, recording("org_1", nil)); err != nil {
		t.Error(err)
	}
	if got := seqs(t, s, "org_1"); got[0] != 3 {
		t.Errorf("%d decisions, want 3", got[0])
	}
}

// A log from before its edge was kept has none, and a batch can be the first to write
// to it. The edge is then made of stored hashes, over the connection that the batch has.
func TestABatchAppendsToALogThatHasNoEdge(t *testing.T) {
	eachDB(t, func(t *testing.T, database string) {
		s := open(t, Config{Database: database})
		organization(t, s, "org_1")
		for range 5 {
			if _, err := s.Spend(t.Context(), false, recording("org_1", nil)); err != nil {
				t.Fatal(err)
			}
		}
		want := edgeOf(t, s, "org_1")
		if _, err := s.writer.Exec("UPDATE organizations SET edge = '' WHERE id = 'org_1'"); err != nil {
			t.Fatal(err)
		}
		ended := make(chan error, 1)
		go func() {
			_, err := s.Spend(t.Context(), false, recording("org_1", nil))
			ended <- err
		}()
		select {
		case err := <-ended:
			if err != nil {
				t.Fatal(err)
			}
		case <-time.After(20 * time.Second):
			t.Fatal("the batch waits for its own connection")
		}
		leaf, err := RecordOf(t.Context(), s.Read(), "org_1", 6)
		if err != nil {
			t.Fatal(err)
		}
		edge, err := audit.OpenEdge(5, want, nil)
		if err != nil {
			t.Fatal(err)
		}
		edge.Append([][]byte{leaf.Leaf})
		if got := edgeOf(t, s, "org_1"); !bytes.Equal(got, edge.Bytes()) {
			t.Errorf("the edge is %x, not %x", got, edge.Bytes())
		}
	})
}

func edgeOf(t *testing.T, s *Store, org string) (edge []byte) {
	t.Helper()
	if err := s.writer.QueryRow("SELECT edge FROM organizations WHERE id = $1", org).Scan(&edge); err != nil {
		t.Fatal(err)
	}
	return edge
}

// What PostgreSQL's lists say, rows that stand one after the other say too.
func TestRowsAreTheSameInBothForms(t *testing.T) {
	eachDB(t, func(t *testing.T, database string) {
		s := open(t, Config{Database: database})
		for n := range 600 {
			if n > 5 && n%97 != 0 {
				continue
			}
			r := newRows("ti", s.dialect == Postgres)
			want := map[string]int64{}
			look := template{before: "SELECT column1, column2 FROM ", kinds: "ti", lookup: true}
			for i := range n {
				text := string(rune('a'+i%26)) + []string{"", "é'\"{},\\ NULL", "$1"}[i%3]
				r.text(text).integer(int64(i) - 3)
				want[text]++
			}
			got := map[string]int64{}
			g := func() *group {
				conn, err := s.batches.Conn(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { _ = conn.Close() })
				out := &group{conn: conn, tracer: s.traced(nil), run: s.runSQLite}
				if s.dialect == Postgres {
					out.run = s.runPostgres
				}
				return out
			}()
			err := g.send(t.Context(), look.of(r, func(scan func(...any) error) error {
				var text string
				var number int64
				err := scan(&text, &number)
				if text != "" { // a blank one
					got[text]++
				}
				return err
			}))
			_ = g.conn.Close()
			if err != nil || len(got) != len(want) {
				t.Fatalf("%d rows: %v and %v: %v", n, got, want, err)
			}
			for text, count := range want {
				if got[text] != count {
					t.Errorf("%d rows: %q came %d times, not %d", n, text, got[text], count)
				}
			}
		}
	})
}

// What a batch loads does not grow with the limits that others got: of the windows that
// holds belong to without naming them, it reads those in the holds' own scopes.
func TestABatchLoadsTheOpeningsOfItsHoldsScopes(t *testing.T) {
	eachDB(t, func(t *testing.T, database string) {
		s := open(t, Config{Database: database})
		organization(t, s, "org_1")
		ctx := t.Context()
		err := s.Turn(ctx, "org_1", func(turn *Turn) error {
			hold := db.InsertHoldParams{
				Organization: "org_1", ID: "hld_1", Run: "run_1", Project: "prj_1", Provider: "mail", Currency: "USD", Amount: 5, State: purser.HoldHeld,
				Windows: `[]`, Seq: 1, CreatedAt: Micro(turn.Now),
			}
			err := turn.InsertHold(ctx, hold)
			for _, target := range []string{"mail", "a", "b", "c"} {
				err = errors.Join(err, turn.OpenWindowWith(ctx, db.OpenWindowWithParams{
					Organization: "org_1", Scope: purser.ScopeProvider, Target: target, Currency: "USD", Name: "total", Held: 5, GuardCeiling: 9,
				}), turn.InsertOpening(ctx, db.InsertOpeningParams{
					Organization: "org_1", Scope: purser.ScopeProvider, Target: target, Currency: "USD", Name: "total", Seq: 2,
				}))
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		err = s.Turn(ctx, "org_1", func(turn *Turn) error {
			b := recording("org_1", nil)
			b.Requests = []spend.Request{{Op: spend.Release, Hold: "hld_1"}}
			l := s.load([]Spends{b}, false, func(string) names { return namesOf(turn.Now, turn.Zone) })
			if err := turn.send(ctx, l.first(turn.Now)); err != nil {
				return err
			}
			if _, err := l.decide(ctx, []*Turn{turn}); err != nil {
				return err
			}
			p := l.parts[0]
			mine := spend.WindowKey{Scope: purser.ScopeProvider, Target: "mail", Currency: "USD", Name: "total"}
			if h := p.state.Holds["hld_1"]; h == nil || !slices.Equal(h.Windows, []spend.WindowKey{mine}) {
				t.Errorf("the hold is %+v", h)
			}
			if w := p.state.Windows[mine]; len(p.openings) != 1 || len(p.state.Windows) != 1 || w == nil || w.Held != 5 || w.Ceiling != 9 {
				t.Errorf("loaded: openings %v, windows %v", p.openings, p.state.Windows)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	})
}
