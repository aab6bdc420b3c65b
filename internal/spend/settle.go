package spend

import (
	"time"

	"github.com/purser-dev/purser"
	"github.com/purser-dev/purser/internal/audit"
	"github.com/purser-dev/purser/internal/guard"
	"github.com/purser-dev/purser/internal/ledger"
)

// path names all that a stop can cover of a hold.
func (s *State) path(h *Hold) guard.Path {
	return guard.Path{Organization: s.Org, Project: h.Project, Provider: h.Provider, Agent: h.Agent, Run: h.Run}
}

// stopped finds a stop that came after a point in the order of epochs: of those in
// force, and of those that were lifted, since a resume revives nothing (SPEND.md K8).
func (s *State) stopped(h *Hold, since int64) *purser.Error {
	path := s.path(h)
	for _, stop := range s.Stops {
		if path.Covered(stop.Scope, stop.Target) && (stop.LiftedAt == nil && since < 0 || stop.Epoch > since && since >= 0) {
			return guard.StoppedBy(stop)
		}
	}
	return nil
}

// owned refuses holds of somebody else, and those of orders, which the order's own
// steps and its payment tokens settle (RULES 2, 7).
func owned(r *Request, h *Hold) *purser.Error {
	switch {
	case h.Principal == "":
		return purser.Errorf(purser.Forbidden, "hold %s belongs to an order; the order settles it", h.ID)
	case h.Principal != r.By.ID:
		return purser.Errorf(purser.Forbidden, "hold %s was placed by another credential", h.ID)
	}
	return nil
}

// begin fences an effect: the stops are looked at in this turn, and from here on
// the hold counts as perhaps spent (RULES 15, 21; SPEND.md K3).
func (s *State) begin(r *Request, h *Hold) Outcome {
	if no := owned(r, h); no != nil {
		return s.refuse(r, audit.Record{}, no)
	}
	if no := s.stopped(h, h.Epoch); no != nil {
		return s.refuse(r, audit.Record{}, no)
	}
	switch {
	case (guard.Clock{Most: maxSkew}).Forbids(guard.Spend{Skew: s.Skew}) != nil:
		return s.refuse(r, audit.Record{}, guard.Clock{Most: maxSkew}.Forbids(guard.Spend{Skew: s.Skew}))
	case h.State == purser.HoldBegun:
		return s.refuse(r, audit.Record{}, purser.Errorf(purser.InvalidState, "the effect of hold %s was begun already", h.ID).
			WithHint("one hold, one effect: place another hold"))
	case h.State != purser.HoldHeld:
		return s.refuse(r, audit.Record{}, over(h))
	case !s.Now.Before(h.ExpiresAt):
		return s.refuse(r, audit.Record{}, purser.Errorf(purser.InvalidState, "hold %s expired at %s", h.ID, h.ExpiresAt.Format(time.RFC3339)).WithHint("place another hold"))
	}
	if run := s.Runs[h.Run]; run != nil {
		if no := (guard.OpenRun{}).Forbids(guard.Spend{Now: s.Now, Run: &run.Run}); no != nil {
			return s.refuse(r, audit.Record{}, no)
		}
	}
	h.State, h.BegunAt, h.Epoch = purser.HoldBegun, s.Now, s.Epoch
	s.touch(h)
	seq := s.write(s.record(r, h))
	return Outcome{Hold: s.show(h, seq), Seq: seq}
}

// maxSkew is how far clocks may differ (RULES 19).
const maxSkew = 5 * time.Second

func over(h *Hold) *purser.Error {
	return purser.Errorf(purser.InvalidState, "hold %s is %s", h.ID, h.State)
}

// capture spends of a begun hold, never more than is left of it. A stop after the
// beginning lets it settle (RULES 21).
func (s *State) capture(r *Request, h *Hold) Outcome {
	rec := s.record(r, h)
	rec.Money = &audit.Amounts{Actual: &audit.Money{Amount: r.Part, Currency: h.Currency}}
	if no := owned(r, h); no != nil {
		return s.refuse(r, rec, no)
	}
	if h.State == purser.HoldHeld {
		if no := s.stopped(h, h.Epoch); no != nil {
			return s.refuse(r, rec, no)
		}
		return s.refuse(r, rec, purser.Errorf(purser.InvalidState, "the effect of hold %s was not begun", h.ID).WithHint("begin it before anything acts on it"))
	}
	switch {
	case h.State != purser.HoldBegun && h.State != purser.HoldUnknown:
		return s.refuse(r, rec, over(h))
	case r.Part > h.Left():
		return s.refuse(r, rec, purser.Errorf(purser.InvalidState, "of hold %s %s is left, and %s is more", h.ID,
			purser.Money{Amount: h.Left(), Currency: h.Currency}, purser.Money{Amount: r.Part, Currency: h.Currency}).WithHint("place another hold for the rest"))
	}
	h.Captured += r.Part
	rec.Budgets = s.move(h, ledger.Capture, r.Part, s.Seq+1, 0)
	if rest := h.Left(); r.Final || rest == 0 {
		h.Released += rest
		if lines := s.move(h, ledger.Release, rest, s.Seq+1, -rest); lines != nil {
			rec.Budgets = lines
		}
		h.State = purser.HoldCaptured
		if h.Captured == 0 {
			h.State = purser.HoldReleased
		}
	}
	s.touch(h)
	seq := s.write(rec)
	return Outcome{Hold: s.show(h, seq), Seq: seq}
}

// release gives the rest back, where nothing outside can still spend it (RULES 2).
func (s *State) release(r *Request, h *Hold) Outcome {
	rec := s.record(r, h)
	rec.Attach = r.Signed
	person := r.Op == Resolve && r.By.Kind == purser.Person && h.Principal != ""
	if no := owned(r, h); no != nil && !person {
		return s.refuse(r, rec, no)
	}
	switch {
	case !h.Open():
		return s.refuse(r, rec, over(h))
	case h.State != purser.HoldHeld && r.By.Kind == purser.Agent:
		return s.refuse(r, rec, purser.Errorf(purser.Forbidden, "the effect of hold %s has begun; what it costs may still come", h.ID).
			WithHint("capture what it cost, with final; or let a person say what became of it"))
	case h.State != purser.HoldHeld && person && r.Signed == nil:
		return s.refuse(r, rec, purser.Errorf(purser.NeedsPerson, "the effect of hold %s has begun, so releasing it needs your signature", h.ID))
	}
	return s.giveBack(rec, h, purser.HoldReleased)
}

// giveBack ends a hold with what was captured of it.
func (s *State) giveBack(rec audit.Record, h *Hold, state string) Outcome {
	rest := h.Left()
	h.Released += rest
	h.State = state
	if h.Captured > 0 {
		h.State = purser.HoldCaptured
	}
	rec.Money = &audit.Amounts{Actual: &audit.Money{Amount: rest, Currency: h.Currency}}
	rec.Budgets = s.move(h, ledger.Release, rest, s.Seq+1, -rest)
	s.touch(h)
	seq := s.write(rec)
	return Outcome{Hold: s.show(h, seq), Seq: seq}
}

// refund returns captured money to the windows that it came from; only who
// captured it can know (RULES 2).
func (s *State) refund(r *Request, h *Hold) Outcome {
	rec := s.record(r, h)
	rec.Money = &audit.Amounts{Actual: &audit.Money{Amount: r.Part, Currency: h.Currency}}
	if r.By.Kind == purser.Agent {
		return s.refuse(r, rec, purser.Errorf(purser.Forbidden, "an agent records no refund").WithHint("it comes from the platform that captured"))
	}
	if no := owned(r, h); no != nil {
		return s.refuse(r, rec, no)
	}
	if can := h.Captured - h.Refunded; r.Part > can {
		return s.refuse(r, rec, purser.Errorf(purser.InvalidState, "of hold %s %s can be refunded", h.ID, purser.Money{Amount: can, Currency: h.Currency}))
	}
	h.Refunded += r.Part
	rec.Budgets = s.move(h, ledger.Refund, r.Part, s.Seq+1, -r.Part)
	s.touch(h)
	seq := s.write(rec)
	return Outcome{Hold: s.show(h, seq), Seq: seq}
}

// end is the engine's own: a hold whose time is over, or that a stop made void
// before its effect began. One that began is perhaps spent: it becomes unknown and
// stays held (SPEND.md K3).
func (s *State) end(r *Request, h *Hold) Outcome {
	rec := s.record(r, h)
	due := r.Op == Expire && !s.Now.Before(h.ExpiresAt)
	void := r.Op == Void && h.State == purser.HoldHeld && s.stopped(h, h.Epoch) != nil
	switch {
	case h.Principal == "" || !h.Open() || !due && !void:
		return Outcome{Hold: s.show(h, 0)} // it changed meanwhile: nothing to do
	case h.State == purser.HoldHeld && r.Op == Expire:
		return s.giveBack(rec, h, purser.HoldExpired)
	case h.State == purser.HoldHeld:
		return s.giveBack(rec, h, purser.HoldReleased)
	case h.State == purser.HoldUnknown:
		return Outcome{Hold: s.show(h, 0)}
	}
	h.State = purser.HoldUnknown
	rec.Outcome = audit.Unknown
	s.touch(h)
	seq := s.write(rec)
	return Outcome{Hold: s.show(h, seq), Seq: seq}
}
