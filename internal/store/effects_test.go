package store

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/purser-dev/purser"
	"github.com/purser-dev/purser/internal/store/db"
)

// However many orders wait to begin, a stop notes each, in a few statements.
func TestWhatFollowsAStopIsNotedAtOnce(t *testing.T) {
	t.Parallel()
	eachDB(t, func(t *testing.T, database string) {
		var statements atomic.Int64
		s := open(t, Config{Database: database, Trace: func(_ int64, statement string) error {
			if strings.HasPrefix(statement, "INSERT INTO stop_effects") {
				statements.Add(1)
			}
			return nil
		}})
		organization(t, s, "org_1")
		for _, many := range []int{0, 1, 300} {
			stop, effects := fmt.Sprintf("stp_%d", many), make([]purser.StopEffect, many)
			for i := range effects {
				effects[i] = purser.StopEffect{Kind: "hold", Target: fmt.Sprintf("ord_%d", i), State: "pending"}
			}
			statements.Store(0)
			if err := s.Turn(t.Context(), "org_1", func(turn *Turn) error { return turn.InsertStopEffects(t.Context(), stop, effects) }); err != nil {
				t.Fatal(err)
			}
			if n := statements.Load(); n > 8 || (n == 0) != (many == 0) {
				t.Errorf("%d effects took %d statements", many, n)
			}
			rows, err := s.Read().StopEffects(t.Context(), db.StopEffectsParams{Organization: "org_1", Stop: stop})
			if err != nil || len(rows) != many {
				t.Fatalf("%d of %d effects are noted (%v)", len(rows), many, err)
			}
			for i, row := range rows {
				if row.N != int64(i) || row.Kind != "hold" || row.Target != effects[i].Target || row.State != "pending" || row.Detail != "" {
					t.Errorf("the effect %d is %+v", i, row)
				}
			}
		}
	})
}
