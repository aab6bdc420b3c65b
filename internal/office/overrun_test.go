package office_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/purser-dev/purser"
)

// RULES 5: what a platform captured above its hold is booked outside of the budgets,
// told, and stops the run in the same turn.
func TestACaptureThatWasMadeAboveItsHoldStopsTheRun(t *testing.T) {
	t.Parallel()
	inTurn(t, func(t *testing.T, database string) {
		h := open(t, database)
		run, agent := h.run(1000, func(in *purser.CreateRun) { in.Purpose = "a campaign" })
		meter := h.platform()
		placed := holdOf(300)
		placed.Run = run.ID
		waits, begun := must[purser.Hold](h, meter, "place_hold", placed), must[purser.Hold](h, meter, "place_hold", placed)
		own := must[purser.Hold](h, agent, "place_hold", holdOf(100))
		must[purser.Hold](h, agent, "begin_hold", purser.BeginHold{Hold: own.ID})
		must[purser.Hold](h, meter, "begin_hold", purser.BeginHold{Hold: begun.ID})

		// Neither an agent, nor another's platform, nor an ordinary capture.
		made := purser.CaptureHold{Hold: own.ID, AmountMinor: 101, Made: true}
		_, err := do[purser.Hold](h, agent, "capture_hold", made)
		refused(t, err, purser.Forbidden)
		_, err = do[purser.Hold](h, meter, "capture_hold", made)
		refused(t, err, purser.Forbidden)
		_, err = do[purser.Hold](h, h.owner, "capture_hold", made)
		refused(t, err, purser.Forbidden)
		_, err = do[purser.Hold](h, meter, "capture_hold", purser.CaptureHold{Hold: begun.ID, AmountMinor: 301})
		refused(t, err, purser.InvalidState)
		_, err = do[purser.Hold](h, meter, "capture_hold", purser.CaptureHold{Hold: begun.ID, Final: true, Made: true})
		refused(t, err, purser.InvalidRequest)

		meter.Key = "made"
		in := purser.CaptureHold{Hold: begun.ID, AmountMinor: 420, Made: true}
		out := must[purser.Hold](h, meter, "capture_hold", in)
		if out.State != purser.HoldCaptured || out.CapturedMinor != 300 || out.OverrunMinor != 120 || out.LeftMinor != 0 {
			t.Errorf("captured: %+v", out)
		}
		// What waited is void, and may have been given back by now.
		if left := h.left("run", run.ID); left != 1000-300-100-300 && left != 1000-300-100 {
			t.Errorf("the run has %d left: an overrun is in no budget", left)
		}
		if again := must[purser.Hold](h, meter, "capture_hold", in); !again.Replay || again.OverrunMinor != 120 {
			t.Errorf("again: %+v", again)
		}
		in.Made = false
		_, err = do[purser.Hold](h, meter, "capture_hold", in)
		refused(t, err, purser.KeyReused)
		meter.Key = ""

		stops := must[purser.List[purser.StopInfo]](h, h.owner, "list_stops", purser.None{}).Items
		if len(stops) != 1 || stops[0].Scope != "run" || stops[0].Target != run.ID || stops[0].Seq != out.Seq+1 || stops[0].Epoch != out.Epoch {
			t.Fatalf("stops: %+v", stops)
		}
		if open := stops[0].Open; len(open) != 1 || open[0].Hold != own.ID {
			t.Errorf("open at the stop: %+v, want the agent's begun hold alone", open)
		}
		for _, c := range []struct {
			op string
			in any
		}{{"place_hold", placed}, {"begin_hold", purser.BeginHold{Hold: waits.ID}}} {
			_, err = do[purser.Hold](h, meter, c.op, c.in)
			refused(t, err, purser.Stopped)
		}
		_, err = do[purser.Hold](h, agent, "charge_usage", usage(1))
		refused(t, err, purser.Stopped)
		if n := h.ask("SELECT count(*) FROM notices WHERE kind = 'overrun' AND about = '" + begun.ID + "'"); n != 1 {
			t.Errorf("%d notices of the overrun", n)
		}
		if n := h.ask("SELECT count(*) FROM notices WHERE kind = 'stopped' AND subject = 'Stopped: run \"" + run.Purpose + "\"'"); n != 1 {
			t.Errorf("%d notices name the run that was stopped", n)
		}
		h.eventually("what follows the stop is done", func() bool {
			effects := must[purser.StopInfo](h, h.owner, "show_stop", purser.StopRef{Stop: stops[0].ID}).Effects
			return len(effects) > 1 && !slices.ContainsFunc(effects, func(e purser.StopEffect) bool { return e.State != "done" })
		})
		if left := h.left("run", run.ID); left != 1000-300-100 {
			t.Errorf("the run has %d left: the void hold was not given back", left)
		}

		// It is a fact under the stop too, of a hold that is over as well.
		out = must[purser.Hold](h, meter, "capture_hold", purser.CaptureHold{Hold: begun.ID, AmountMinor: 5, Made: true})
		if out.OverrunMinor != 125 || len(must[purser.List[purser.StopInfo]](h, h.owner, "list_stops", purser.None{}).Items) != 1 {
			t.Errorf("one more: %+v", out)
		}
		// What was above comes back first, and to no budget.
		out = must[purser.Hold](h, meter, "refund_hold", purser.RefundHold{Hold: begun.ID, AmountMinor: 135})
		if out.RefundedMinor != 135 || h.left("run", run.ID) != 1000-300-100+10 {
			t.Errorf("refunded: %+v, the run has %d left", out, h.left("run", run.ID))
		}
		_, err = do[purser.Hold](h, meter, "refund_hold", purser.RefundHold{Hold: begun.ID, AmountMinor: 291})
		refused(t, err, purser.InvalidState)
		spent := must[purser.Spend](h, h.owner, "spend", purser.AskSpend{Run: run.ID})
		if len(spent.Captured) != 1 || spent.Captured[0] != usd(425) || spent.Refunded[0] != usd(135) {
			t.Errorf("spent %v, refunded %v", spent.Captured, spent.Refunded)
		}
		h.books()
		h.verify()

		// The books know an overrun by its hold.
		h.sql("UPDATE holds SET overrun = 7, returned = 7 WHERE id = '" + own.ID + "'")
		if faults := strings.Join(must[purser.Books](h, h.owner, "check_books", purser.None{}).Faults, "; "); !strings.Contains(faults, "hold "+own.ID+" says") {
			t.Errorf("faults: %q", faults)
		}
	})
}
