package spend

import (
	"strconv"
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

// stopped finds a stop that came after a hold, in force or lifted: a resume revives
// nothing (SPEND.md K8).
func (s *State) stopped(h *Hold) *purser.Error {
	path := s.path(h)
	for _, stop := range s.Stops {
		if stop.Epoch <= h.Epoch || !path.Covered(stop.Scope, stop.Target) {
			continue
		}
		if stop.LiftedAt != nil {
			return purser.Errorf(purser.Stopped, "hold %s is void: %s %s was stopped after it was placed, and what lifted the stop revives nothing", h.ID, stop.Scope, stop.Target).
				WithHint("place another hold")
		}
		return guard.StoppedBy(stop)
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
	if no := s.stopped(h); no != nil {
		return s.refuse(r, audit.Record{}, no)
	}
	switch {
	case (guard.Clock{Most: purser.MostClockSkew}).Forbids(guard.Spend{Skew: s.Skew}) != nil:
		return s.refuse(r, audit.Record{}, guard.Clock{Most: purser.MostClockSkew}.Forbids(guard.Spend{Skew: s.Skew}))
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

func over(h *Hold) *purser.Error {
	return purser.Errorf(purser.InvalidState, "hold %s is %s", h.ID, h.State)
}

// capture spends of a begun hold, never more than is left of it, unless who captures
// has done it already. A stop after the beginning lets it settle (RULES 21).
func (s *State) capture(r *Request, h *Hold) Outcome {
	rec := s.record(r, h)
	rec.Money = &audit.Amounts{Actual: &audit.Money{Amount: r.Part, Currency: h.Currency}}
	if no := captures(r, h); no != nil {
		return s.refuse(r, rec, no)
	}
	if r.Made {
		return s.made(r, h, rec)
	}
	if h.State == purser.HoldHeld {
		if no := s.stopped(h); no != nil {
			return s.refuse(r, rec, no)
		}
		return s.refuse(r, rec, purser.Errorf(purser.InvalidState, "the effect of hold %s was not begun", h.ID).WithHint("begin it before anything acts on it"))
	}
	switch {
	case h.State != purser.HoldBegun && h.State != purser.HoldUnknown:
		return s.refuse(r, rec, over(h))
	case r.Part == 0 && r.By.Kind == purser.Agent:
		return s.refuse(r, rec, begunNo(h))
	case r.Part > h.Left():
		return s.refuse(r, rec, tooMuch(r, h).WithHint("place another hold for the rest"))
	}
	h.Captured += r.Part
	rec.Budgets = s.settle(r, h, s.move(h, ledger.Capture, r.Part, s.Seq+1, 0))
	s.touch(h)
	seq := s.write(rec)
	return Outcome{Hold: s.show(h, seq), Seq: seq}
}

// captures refuses who did not capture: a capture that was made is told by the platform
// that made it, and never by an agent (RULES 2).
func captures(r *Request, h *Hold) *purser.Error {
	if r.Made && r.By.Kind == purser.Agent {
		return purser.Errorf(purser.Forbidden, "an agent does not tell what was captured already").WithHint("it comes from the platform that captured")
	}
	return owned(r, h)
}

// made books a capture that nobody can refuse any more: the money is gone. What the
// begun hold still covers is captured of it; the rest is an overrun, which lies
// outside of all budgets and stops the run (RULES 5). Of a hold that was not begun, or
// is over, nothing is covered. It raises no use, so a stop does not stand against it.
func (s *State) made(r *Request, h *Hold, rec audit.Record) Outcome {
	within := int64(0)
	if h.State == purser.HoldBegun || h.State == purser.HoldUnknown {
		within = min(r.Part, h.Left())
	}
	above := r.Part - within
	h.Captured += within
	rec.Budgets = s.move(h, ledger.Capture, within, s.Seq+1, 0)
	if above > 0 {
		h.Overrun += above
		rec.Money.Overrun = &audit.Money{Amount: above, Currency: h.Currency}
		s.post(h, ledger.Overrun, above, s.Seq+1)
	}
	if within > 0 {
		rec.Budgets = s.settle(r, h, rec.Budgets)
	}
	s.touch(h)
	seq := s.write(rec)
	out := Outcome{Seq: seq}
	if above > 0 {
		out.Stop = s.exceeded(r.ID, h, above, seq)
	}
	out.Hold = s.show(h, seq)
	return out
}

// exceeded notes an overrun, and stops the run that it came from.
func (s *State) exceeded(id string, h *Hold, above, seq int64) *purser.StopInfo {
	scope := Scope{purser.ScopeRun, h.Run}
	for _, stop := range s.inForce() {
		if stop.Scope == scope.Scope && stop.Target == scope.Target {
			s.Exceeded = append(s.Exceeded, Excess{h, above, seq, nil})
			return nil
		}
	}
	s.Epoch++
	reason := "hold " + h.ID + " was captured for " + purser.Money{Amount: above, Currency: h.Currency}.String() + " more than it covers"
	stop := purser.StopInfo{
		ID: id, Scope: scope.Scope, Target: scope.Target, Reason: reason, By: purser.Actor{Kind: purser.System, ID: "purser", Organization: s.Org},
		Epoch: s.Epoch, At: s.Now,
	}
	stop.Seq = s.write(audit.Record{
		Actor: audit.Actor{Kind: string(purser.System), ID: "purser"}, Action: "stop", Target: scope.Scope + ":" + scope.Target, Outcome: audit.Accepted,
		Detail: map[string]string{"stop": id, "reason": reason, "epoch": strconv.FormatInt(s.Epoch, 10)},
	})
	s.Stops = append(s.Stops, stop)
	s.Exceeded = append(s.Exceeded, Excess{h, above, seq, &stop})
	return &stop
}

// settle ends a hold after a capture, where that was the last or took all.
func (s *State) settle(r *Request, h *Hold, lines []audit.BudgetLine) []audit.BudgetLine {
	rest := h.Left()
	if !r.Final && rest > 0 {
		return lines
	}
	h.Released += rest
	if more := s.move(h, ledger.Release, rest, s.Seq+1, -rest); more != nil {
		lines = more
	}
	h.State = purser.HoldCaptured
	if h.Captured == 0 {
		h.State = purser.HoldReleased
	}
	return lines
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
		return s.refuse(r, rec, begunNo(h))
	case h.State != purser.HoldHeld && person && r.Signed == nil:
		return s.refuse(r, rec, purser.Errorf(purser.NeedsPerson, "the effect of hold %s has begun, so releasing it needs your signature", h.ID))
	case h.State == purser.HoldHeld && r.Part > 0:
		return s.refuse(r, rec, purser.Errorf(purser.InvalidState, "the effect of hold %s was not begun, so it cost nothing", h.ID))
	case r.Part > h.Left():
		return s.refuse(r, rec, tooMuch(r, h))
	}
	if r.Part > 0 { // a person says what it cost: who spent cannot any more
		rec.Money = &audit.Amounts{Captured: &audit.Money{Amount: r.Part, Currency: h.Currency}}
		rec.Budgets = s.move(h, ledger.Capture, r.Part, s.Seq+1, 0)
		h.Captured += r.Part
	}
	return s.giveBack(rec, h, purser.HoldReleased)
}

func tooMuch(r *Request, h *Hold) *purser.Error {
	return purser.Errorf(purser.InvalidState, "of hold %s %s is left, and %s is more", h.ID,
		purser.Money{Amount: h.Left(), Currency: h.Currency}, purser.Money{Amount: r.Part, Currency: h.Currency})
}

// begunNo refuses an agent that gives back a hold whose effect began, by a release or by
// a last capture of nothing. Something outside may spend it still, so whoever spent says
// what it was: an agent by what its use cost, and the rest goes back with that. That it
// cost nothing at all a platform says, or a person (RULES 2).
func begunNo(h *Hold) *purser.Error {
	return purser.Errorf(purser.Forbidden, "the effect of hold %s has begun; what it costs may still come", h.ID).
		WithHint("capture what it cost, with final; or let a person say what became of it")
}

// giveBack ends a hold with what was captured of it.
func (s *State) giveBack(rec audit.Record, h *Hold, state string) Outcome {
	rest := h.Left()
	h.Released += rest
	h.State = state
	if h.Captured > 0 {
		h.State = purser.HoldCaptured
	}
	if rec.Money == nil {
		rec.Money = &audit.Amounts{}
	}
	rec.Money.Actual = &audit.Money{Amount: rest, Currency: h.Currency}
	if lines := s.move(h, ledger.Release, rest, s.Seq+1, -rest); lines != nil {
		rec.Budgets = lines
	}
	s.touch(h)
	seq := s.write(rec)
	return Outcome{Hold: s.show(h, seq), Seq: seq}
}

// WhoRefunds is what to do instead, for whoever may not.
const WhoRefunds = "it comes from the platform that captured; what an agent captured itself stays used, and a person can raise the limits instead: purser budget set"

// refund returns captured money to the windows that it came from; only who
// captured it can know (RULES 2). What was above the hold comes back first, and
// outside of them.
func (s *State) refund(r *Request, h *Hold) Outcome {
	rec := s.record(r, h)
	rec.Money = &audit.Amounts{Actual: &audit.Money{Amount: r.Part, Currency: h.Currency}}
	if r.By.Kind == purser.Agent {
		return s.refuse(r, rec, purser.Errorf(purser.Forbidden, "an agent records no refund").WithHint("%s", WhoRefunds))
	}
	if no := owned(r, h); no != nil {
		return s.refuse(r, rec, no)
	}
	if can := h.Captured - h.Refunded + h.Overrun - h.Returned; r.Part > can {
		return s.refuse(r, rec, purser.Errorf(purser.InvalidState, "of hold %s %s can be refunded", h.ID, purser.Money{Amount: can, Currency: h.Currency}))
	}
	above := min(r.Part, h.Overrun-h.Returned)
	if above > 0 {
		h.Returned += above
		rec.Money.Overrun = &audit.Money{Amount: above, Currency: h.Currency}
		s.post(h, ledger.Return, above, s.Seq+1)
	}
	part := r.Part - above
	h.Refunded += part
	rec.Budgets = s.move(h, ledger.Refund, part, s.Seq+1, -part)
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
	void := r.Op == Void && h.State == purser.HoldHeld && (s.stopped(h) != nil || s.Runs[h.Run].over())
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
