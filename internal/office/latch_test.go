package office_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/purser-dev/purser"
)

// SPEND.md K4: a stop that the database does not answer to is latched: this server
// refuses at once, says that it is not acknowledged, and puts it in force when it can.
func TestAStopIsLatchedWhileTheDatabaseIsAway(t *testing.T) {
	t.Parallel()
	inTurn(t, func(t *testing.T, database string) {
		h := open(t, database)
		run, agent := h.run(1000)
		other, neighbour := h.run(1000)
		must[purser.Hold](h, agent, "charge_usage", usage(1))
		away := errors.New("the database is away")
		h.watch(func(_ int64, statement string) error {
			if strings.Contains(statement, "stops") {
				return away
			}
			return nil
		})
		h.owner.Key = "stop"
		_, err := do[purser.StopInfo](h, h.owner, "stop", purser.Stop{Scope: "run", ID: run.ID, Reason: "enough"})
		if e := refused(t, err, purser.Unavailable); e != nil && !strings.Contains(e.Detail, "not acknowledged") {
			t.Errorf("the answer says %q", e.Detail)
		}
		_, err = do[purser.Hold](h, agent, "charge_usage", usage(1))
		refused(t, err, purser.Stopped)
		h.watch(nil)
		must[purser.Hold](h, neighbour, "charge_usage", usage(1)) // of another run
		h.eventually("the stop is in force", func() bool { return h.counted("stop", "accepted") == 1 })
		if out := must[purser.StopInfo](h, h.owner, "stop", purser.Stop{Scope: "run", ID: run.ID, Reason: "enough"}); out.Epoch == 0 {
			t.Errorf("asked again: %+v", out)
		}
		_, err = do[purser.Hold](h, agent, "charge_usage", usage(1))
		refused(t, err, purser.Stopped)
		if h.counted("stop", "accepted") != 1 || h.left("run", other.ID) != 999 {
			t.Errorf("%d stops, the neighbour has %d left", h.counted("stop", "accepted"), h.left("run", other.ID))
		}
		// What an agent may not stop, it does not latch.
		_, err = do[purser.StopInfo](h, agent, "stop", purser.Stop{Scope: "organization", Reason: "mine"})
		refused(t, err, purser.Forbidden)
		must[purser.Hold](h, neighbour, "charge_usage", usage(1))
		h.books()
	})
}
