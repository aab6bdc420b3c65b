package office_test

import (
	"regexp"
	"testing"

	"github.com/purser-dev/purser"
)

// stoodStill waits until an organization was stopped by the program itself.
func (h *house) stoodStill(org string) {
	h.t.Helper()
	h.eventually(org+" is stopped", func() bool {
		return h.ask("SELECT count(*) FROM stops WHERE organization = $1 AND scope = 'organization' AND lifted_at = 0", org) == 1
	})
}

// SPEND.md 6.3: what cannot be kept in the books is not decided, and stops the
// organization; what is not part of it goes on.
func TestALostWindowStopsItsOrganization(t *testing.T) {
	t.Parallel()
	inTurn(t, func(t *testing.T, database string) {
		h := open(t, database)
		_, agent := h.run(1000)
		first, second := must[purser.Hold](h, agent, "place_hold", holdOf(100)), must[purser.Hold](h, agent, "place_hold", holdOf(100))
		must[purser.Hold](h, agent, "begin_hold", purser.BeginHold{Hold: second.ID})
		h.sql("DELETE FROM windows WHERE scope = 'provider'")
		_, err := do[purser.Hold](h, agent, "release_hold", purser.HoldRef{Hold: first.ID})
		refused(t, err, purser.BooksBroken)
		h.stoodStill(h.owner.Organization)
		in := purser.ResolveHold{Hold: second.ID}
		in.Act = h.sign("resolve_hold", in)
		_, err = do[purser.Hold](h, h.owner, "resolve_hold", in)
		refused(t, err, purser.BooksBroken)
		if n := h.counted("release_hold", "accepted") + h.counted("resolve_hold", "accepted"); n != 0 {
			t.Errorf("%d releases on record", n)
		}
		must[purser.Hold](h, h.neighbour(1), "charge_usage", usage(1))
	})
}

// A resolved hold whose window is lost stops the organization too: it is decided in a
// turn of its own.
func TestALostWindowOfAResolvedHoldStopsItsOrganization(t *testing.T) {
	t.Parallel()
	h := open(t, aDB(t))
	_, agent := h.run(1000)
	held := must[purser.Hold](h, agent, "place_hold", holdOf(100))
	must[purser.Hold](h, agent, "begin_hold", purser.BeginHold{Hold: held.ID})
	h.sql("DELETE FROM windows WHERE scope = 'provider'")
	in := purser.ResolveHold{Hold: held.ID}
	in.Act = h.sign("resolve_hold", in)
	_, err := do[purser.Hold](h, h.owner, "resolve_hold", in)
	refused(t, err, purser.BooksBroken)
	h.stoodStill(h.owner.Organization)
}

// A fault of the program, wherever in a batch, is one organization's; the process goes on
// for all, and nothing is left of the batch.
func TestAPanicInABatchStopsItsOrganization(t *testing.T) {
	t.Parallel()
	for name, at := range map[string]*regexp.Regexp{
		"while loading":           regexp.MustCompile(`SELECT v.column1, r.id|JOIN runs`),
		"while writing":           regexp.MustCompile(`INSERT INTO holds`),
		"while the turn is ended": regexp.MustCompile(`INSERT INTO audit`),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inTurn(t, func(t *testing.T, database string) {
				h := open(t, database)
				agent := h.neighbour(1)
				met := false
				h.watch(func(_ int64, statement string) error {
					if !met && at.MatchString(statement) {
						met = true
						panic("a fault")
					}
					return nil
				})
				_, err := do[purser.Hold](h, agent, "charge_usage", usage(1))
				refused(t, err, purser.BooksBroken)
				h.stoodStill(agent.Organization)
				_, err = do[purser.Hold](h, agent, "charge_usage", usage(1))
				refused(t, err, purser.Stopped)
				must[purser.Hold](h, h.neighbour(2), "charge_usage", usage(1))
				if n := h.ask("SELECT count(*) FROM holds WHERE organization = $1", agent.Organization); n != 0 {
					t.Errorf("%d holds of a batch that failed", n)
				}
			})
		})
	}
}
