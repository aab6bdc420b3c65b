package office

import (
	"context"

	"github.com/purser-dev/purser"
	"github.com/purser-dev/purser/internal/notice"
	"github.com/purser-dev/purser/internal/spend"
	"github.com/purser-dev/purser/internal/store"
	"github.com/purser-dev/purser/internal/store/db"
)

// carryOut carries out the stops that decisions made. What a crash leaves of it, Recover
// does.
func (o *Office) carryOut(org string, outcomes []spend.Outcome) {
	for i := range outcomes {
		if stop := outcomes[i].Stop; stop != nil {
			o.background(func(ctx context.Context) { o.revoke(ctx, org, stop.ID) })
		}
	}
}

// exceeded stores the stops that overruns made, in the turn that decided them, and
// tells of each overrun.
func (o *Office) exceeded(t *store.Turn, s *spend.State) error {
	ctx := context.Background() // the turn's own: it does not end with a caller
	for _, x := range s.Exceeded {
		h := x.Hold
		err := o.tell(ctx, t, notice.Exceeded(notice.Excess{
			Hold: h.ID, Provider: h.Provider, Project: h.Project, Run: h.Run, Seq: x.Seq,
			Held: purser.Money{Amount: h.Amount, Currency: h.Currency}, Above: purser.Money{Amount: x.Amount, Currency: h.Currency},
		}))
		if err != nil {
			return err
		}
		if x.Stop == nil {
			continue
		}
		stop := *x.Stop
		stop.Name = o.targetName(ctx, t.Queries, t.Org, stop.Scope, stop.Target)
		stop.Open = []purser.OpenItem{}
		// Holds that this turn opens are void too, and not stored yet.
		stop.Effects = []purser.StopEffect{{Kind: effectHolds, Target: stop.Scope + ":" + stop.Target, State: effectPending}}
		if err := o.inForce(ctx, t, &stop, freshOf(s)); err != nil {
			return err
		}
	}
	return nil
}

// freshOf gives a hold as the state has it: nothing of it is stored before the turn ends.
func freshOf(s *spend.State) func(db.Hold) db.Hold {
	return func(h db.Hold) db.Hold {
		if now := s.Holds[h.ID]; now != nil {
			h.Captured, h.Released, h.State = now.Captured, now.Released, now.State
		}
		return h
	}
}
