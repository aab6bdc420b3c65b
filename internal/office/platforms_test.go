package office_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/purser-dev/purser"
)

// A platform that forgot what it had begun finds it: its own holds that are not over, of all
// runs or of one, and nobody else's.
func TestAPlatformFindsItsOwnHolds(t *testing.T) {
	t.Parallel()
	inTurn(t, func(t *testing.T, database string) {
		h := open(t, database)
		first, agent := h.run(5000)
		second, _ := h.run(5000)
		meter := h.platform()
		place := func(by purser.Actor, run string) purser.Hold {
			return must[purser.Hold](h, by, "place_hold", purser.PlaceHold{Run: run, Provider: "models", AmountMinor: 10, Currency: "USD", Kind: purser.KindUsage})
		}
		one, other := place(meter, first.ID), place(meter, second.ID)
		place(agent, "")
		must[purser.Hold](h, meter, "begin_hold", purser.BeginHold{Hold: one.ID})
		for run, want := range map[string][]string{"": {one.ID, other.ID}, first.ID: {one.ID}} {
			items := must[purser.List[purser.Hold]](h, meter, "list_holds", purser.AskHolds{Run: run}).Items
			var got []string
			for _, hold := range items {
				got = append(got, hold.ID)
			}
			if d := cmp.Diff(want, got); d != "" {
				t.Error(d)
			}
		}
		if who := must[purser.WhoAmI](h, meter, "whoami", purser.None{}); who.Kind != purser.Platform || who.ID != meter.ID {
			t.Errorf("it is told to be %s %s", who.Kind, who.ID)
		}
		_, err := do[purser.List[purser.Run]](h, meter, "list_runs", purser.Page{})
		refused(t, err, purser.Forbidden)
	})
}
