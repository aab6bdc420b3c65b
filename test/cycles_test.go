package test

import (
	"testing"

	"github.com/purser-dev/purser"
	"github.com/purser-dev/purser/internal/bench"
)

// T5: a stop under 256 callers, in each scope, again and again.
func TestNoCycleOfStopsAcceptsAnythingAfterOne(t *testing.T) {
	whole(t)
	for _, database := range []string{"sqlite", "postgres"} {
		t.Run(database, func(t *testing.T) {
			t.Parallel()
			var pg *bench.Postgres
			if database == "postgres" {
				pg = postgres(t)
			}
			l := openLedger(t, pg)
			me := l.agentOf(t)
			scopes := []struct{ scope, id string }{
				{"organization", l.Org}, {"project", l.Project}, {"provider", bench.Provider}, {"run", ""}, {"agent", me},
			}
			var worst float64
			var cycles int
			for i := range rounds(25, 500) {
				s := scopes[i%len(scopes)]
				lane := l.newRun(t, unlimited)
				found, err := l.Load(t.Context(), bench.Order{
					Callers: 256, Stops: true, Person: l.Token, Scope: s.scope, ID: s.id, Lanes: []bench.Lane{lane},
					Calls: int64(rounds(300, bench.CycleCalls)), // many short ones, or as many as a figure needs
				})
				if err != nil {
					t.Fatalf("a stop of the %s: %v", s.scope, err)
				}
				for _, c := range found.Cycles {
					cycles++
					worst = max(worst, c.StopMS)
					if c.AcceptedAfter > 0 {
						t.Errorf("a stop of the %s, record %d: %d of %d sent after it were accepted", s.scope, c.K, c.AcceptedAfter, c.SentAfter)
					}
					if err := l.Resume(t.Context(), c.Stop); err != nil {
						t.Fatalf("lifting the stop of the %s: %v", s.scope, err)
					}
				}
			}
			proof, err := bench.Prove(t.Context(), l.Person, t.TempDir())
			if err != nil {
				t.Fatal(err)
			}
			if proof.AcceptedAfter > 0 || len(proof.Twice) > 0 || len(proof.Stops) != cycles {
				t.Errorf("the log has %d stops of %d, %d spends under one, %d keys twice", len(proof.Stops), cycles, proof.AcceptedAfter, len(proof.Twice))
			}
			t.Logf("%d stops, the slowest acknowledged after %.1f ms", cycles, worst)
		})
	}
}

// agentOf is the id of the agent of the ledger's runs.
func (l *ledger) agentOf(t *testing.T) string {
	t.Helper()
	me, err := dial(t, l.URL, l.lane.Token).Whoami(t.Context(), purser.None{})
	if err != nil {
		t.Fatal(err)
	}
	return me.Actor.ID
}
