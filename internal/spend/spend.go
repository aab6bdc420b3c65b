// Package spend decides spends: a pure function from what one turn loaded and the requests that wait to decisions, changed rows and records. It does no I/O.
//
// The office gathers what waits, loads the rows that it touches, lets Decide
// change them, and writes what changed, all in one turn (DESIGN.md section 5).
// Requests are decided in their order; each outcome is the same as if the request
// had come alone. The same State and requests always give the same outcomes.
package spend

import (
	"slices"
	"time"

	"github.com/purser-dev/purser"
	"github.com/purser-dev/purser/internal/audit"
	"github.com/purser-dev/purser/internal/guard"
	"github.com/purser-dev/purser/internal/ledger"
)

// Op is what is asked. Its text is the action of the record.
type Op string

const (
	Place   Op = "place_hold"
	Charge  Op = "charge_usage"
	Begin   Op = "begin_hold"
	Capture Op = "capture_hold"
	Release Op = "release_hold"
	Refund  Op = "refund_hold"
	Resolve Op = "resolve_hold" // a person's Release
	Expire  Op = "expire_hold"  // by the system: its time is over
	Void    Op = "void_hold"    // by the system: a stop, or the end of its run, came before its effect began
)

// Opens reports that it makes a hold: all others change one.
func (o Op) Opens() bool { return o == Place || o == Charge }

// Request is one request as it was admitted: who asks is known, the form is right.
type Request struct {
	Op   Op
	By   purser.Actor
	Hash string // of the request, for the key (RULES 10)

	// Of Place and Charge; of the others, if it is said, the currency of Part.
	ID                 string // the new hold's
	Run                string
	Provider, Category string
	Labels             []string
	Kind, Target       string
	Amount             purser.Money
	Lifetime           time.Duration

	// Of the others.
	Hold  string
	Part  int64 // minor units, of Capture and Refund, and what a Resolve says it cost
	Final bool
	// Made says of a Capture that who captures has done it already: it is booked
	// whatever the hold covers (RULES 5). ID is then that of the stop it may make.
	Made bool
	// Signed is the act of a Resolve that takes one; it was
	// checked and consumed in this turn.
	Signed *audit.Attachment
}

// Outcome is what became of a request. Err is a refusal, and a decision too.
type Outcome struct {
	Hold   purser.Hold
	Err    *purser.Error
	Seq    int64 // of the record; 0 where nothing was decided
	Replay bool
	// Keep says that the key keeps this outcome (RULES 10).
	Keep bool
	// Stop is the stop that this decision made; nil for nearly all.
	Stop *purser.StopInfo
}

// Decide decides requests one after the other. The outcomes have their order.
func (s *State) Decide(requests []Request) []Outcome {
	out := make([]Outcome, len(requests))
	s.Records = slices.Grow(s.Records, len(requests))
	for i := range requests {
		out[i] = s.one(&requests[i])
	}
	return out
}

func (s *State) one(r *Request) Outcome {
	key := Key{r.By.ID, r.By.Key}
	if r.By.Key != "" {
		if kept, ok := s.Keys[key]; ok {
			return s.replay(r, kept)
		}
	}
	if no := s.credential(r); no != nil && !s.settles(r, no.Code) {
		return s.refuse(r, audit.Record{}, no)
	}
	out := s.decide(r)
	if out.Keep = r.By.Key != "" && out.Seq != 0 && (out.Err == nil || Sticky(out.Err.Code)); out.Keep {
		s.Keys[key] = Kept{Hash: r.Hash, Hold: out.Hold, Err: out.Err, Seq: out.Seq}
	}
	return out
}

// Sticky reports that a key keeps a refusal: all that were decided for good.
// Anything that a person, time or another try can change is not stored, and the
// same key goes on (RULES 10). A fault of ours is no decision.
func Sticky(code purser.Code) bool {
	switch code {
	case purser.Internal, purser.BooksBroken, purser.NewerDatabase:
		return false
	case purser.TokenExpired, purser.TokenRevoked: // a new token of the same hold comes with the same key
		return false
	}
	return code.Info().Class == purser.ClassFinal
}

// replay answers as the first time, with the epoch of now: a replay is no
// permission to act (SPEND.md section 2).
func (s *State) replay(r *Request, kept Kept) Outcome {
	if kept.Hash != r.Hash {
		return s.refuse(r, audit.Record{}, purser.Errorf(purser.KeyReused, "the idempotency key %q was used for another request", r.By.Key).
			WithHint("use a new key for a new request"))
	}
	out := Outcome{Hold: kept.Hold, Err: kept.Err, Seq: kept.Seq, Replay: true}
	if kept.Err != nil {
		again := *kept.Err
		again.Replay, out.Err = true, &again
	}
	if kept.Made != nil {
		first := *kept.Made
		first.opened(r.Op) // the hash says that it was the same
		out.Hold = s.show(&first, first.Seq)
	}
	out.Hold.Epoch, out.Hold.Replay = s.Epoch, true
	return out
}

// credential looks at the token as this turn found it: the door may have known it
// from before a stop or a revocation.
func (s *State) credential(r *Request) *purser.Error {
	if r.By.Token == "" {
		return nil
	}
	t, ok := s.Tokens[r.By.Token]
	if ok && !t.Revoked && s.Now.Before(t.ExpiresAt) {
		return nil
	}
	// A stop ends tokens; who shows one of those is told of the stop, not to sign in
	// (RULES 21).
	path := guard.Path{Organization: s.Org, Project: r.By.Project, Run: r.By.Run}
	if r.By.Kind == purser.Agent {
		path.Agent = r.By.ID
	}
	for _, stop := range s.Stops {
		if stop.LiftedAt == nil && stop.Scope != purser.ScopeProvider && path.Covered(stop.Scope, stop.Target) {
			return guard.StoppedBy(stop)
		}
	}
	if run := s.Runs[r.By.Run]; run != nil {
		if no := (guard.OpenRun{}).Forbids(guard.Spend{Now: s.Now, Run: &run.Run}); no != nil {
			return no
		}
	}
	return purser.Errorf(purser.NotSignedIn, "the token was revoked or has ended").WithHint("a person can create another run: purser run create --budget 20")
}

// settles reports a capture within a hold of its own whose effect began, by an agent
// whose token a stop, lifted since or not, or the end of its run took: what was spent is
// booked, and nothing more can be (RULES 21). Who holds a token that was revoked for
// itself says nothing, whatever came afterwards.
func (s *State) settles(r *Request, no purser.Code) bool {
	h, t := s.Holds[r.Hold], s.Tokens[r.By.Token]
	over := t.Taken || !t.Revoked && (no == purser.Stopped || no == purser.RunEnded)
	return r.Op == Capture && over && h != nil && h.Principal == r.By.ID && h.Run == r.By.Run &&
		(h.State == purser.HoldBegun || h.State == purser.HoldUnknown)
}

func (s *State) decide(r *Request) Outcome {
	if r.Op.Opens() {
		return s.place(r)
	}
	h := s.Holds[r.Hold]
	if h == nil || r.By.Kind == purser.Agent && h.Run != r.By.Run {
		return s.refuse(r, audit.Record{}, purser.Errorf(purser.NotFound, "no hold is called %q here", r.Hold))
	}
	if c := r.Amount.Currency; c != "" && c != h.Currency { // who leaves it out takes the hold's
		return s.refuse(r, audit.Record{}, purser.Errorf(purser.InvalidRequest, "hold %s is in %s, not in %s", h.ID, h.Currency, c))
	}
	switch r.Op {
	case Begin:
		return s.begin(r, h)
	case Capture:
		return s.capture(r, h)
	case Release, Resolve:
		return s.release(r, h)
	case Refund:
		return s.refund(r, h)
	}
	return s.end(r, h)
}

// record begins the record of a request, of which a hold is known or not.
func (s *State) record(r *Request, h *Hold) audit.Record {
	out := audit.Record{
		Actor:   audit.Actor{Kind: string(r.By.Kind), ID: r.By.ID, Key: r.By.Token, DelegatedBy: r.By.DelegatedBy},
		Project: r.By.Project, Run: r.By.Run, Action: string(r.Op), Target: r.Hold, IdempotencyKey: r.By.Key, Outcome: audit.Accepted,
	}
	if h != nil {
		out.Project, out.Run, out.Target = h.Project, h.Run, h.ID
	}
	return out
}

// write appends a record and gives it the next number.
func (s *State) write(r audit.Record) int64 {
	s.Seq++
	r.Seq, r.TS, r.Org = s.Seq, s.Now.UnixMicro(), s.Org
	s.Records = append(s.Records, r)
	return s.Seq
}

// refuse records a no. rec is the record as far as it was known, or empty. Whose
// credential has ended could fill the log with them; those are counted elsewhere
// (RULES 22).
func (s *State) refuse(r *Request, rec audit.Record, no *purser.Error) Outcome {
	if r.By.Ended != nil {
		return Outcome{Err: no}
	}
	if rec.Action == "" {
		rec = s.record(r, s.Holds[r.Hold])
	}
	if rec.Target == "" {
		rec.Target = r.Provider
	}
	rec.Outcome = audit.Refused
	rec.Policy = &audit.Policy{Verdict: "refused", Reasons: []string{string(no.Code)}}
	rec.Detail = map[string]string{"reason": no.Detail}
	rec.Budgets = nil
	for _, b := range no.Budgets {
		rec.Budgets = append(rec.Budgets, budgetLine(b, 0))
	}
	return Outcome{Err: no, Seq: s.write(rec)}
}

func budgetLine(b purser.BudgetLine, change int64) audit.BudgetLine {
	return audit.BudgetLine{
		Scope: b.Scope + ":" + b.ID, Window: b.Window, Currency: b.Limit.Currency, Limit: b.Limit.Amount,
		Held: b.Held, Captured: b.Captured, Refunded: b.Refunded, Change: change,
	}
}

// show is a hold as an answer.
func (s *State) show(h *Hold, seq int64) purser.Hold {
	out := purser.Hold{
		ID: h.ID, Seq: seq, Epoch: s.Epoch, State: h.State, Run: h.Run, Provider: h.Provider, AmountMinor: h.Amount, Currency: h.Currency,
		CapturedMinor: h.Captured, OverrunMinor: h.Overrun, RefundedMinor: h.Refunded + h.Returned, LeftMinor: h.Left(),
	}
	if h.Open() {
		at := h.ExpiresAt
		out.ExpiresAt = &at
	}
	return out
}

// move changes the windows of a hold, posts the event, and gives the lines of its
// record. change is what it adds to the use of each window.
func (s *State) move(h *Hold, kind ledger.Kind, amount, seq, change int64) []audit.BudgetLine {
	windows := make([]*Window, len(h.Windows))
	for i, k := range h.Windows {
		windows[i] = s.Windows[k]
	}
	return s.moveIn(windows, h, kind, amount, seq, change)
}

// moveIn is move where the windows are known.
func (s *State) moveIn(windows []*Window, h *Hold, kind ledger.Kind, amount, seq, change int64) []audit.BudgetLine {
	if amount == 0 {
		return nil
	}
	lines := make([]audit.BudgetLine, 0, len(windows))
	for _, w := range windows {
		s.dirty(w)
		switch kind {
		case ledger.Hold:
			w.Held += amount
		case ledger.Charge:
			w.Captured += amount
		case ledger.Capture:
			w.Held, w.Captured = w.Held-amount, w.Captured+amount
		case ledger.Release:
			w.Held -= amount
		case ledger.Refund:
			w.Refunded += amount
		}
		lines = append(lines, audit.BudgetLine{
			Scope: w.scope, Window: w.Name, Currency: w.Currency, Limit: s.limit(w),
			Held: w.Held, Captured: w.Captured, Refunded: w.Refunded, Change: change,
		})
	}
	s.post(h, kind, amount, seq)
	return lines
}

// post notes an event of money.
func (s *State) post(h *Hold, kind ledger.Kind, amount, seq int64) {
	n := int64(1)
	if last := len(s.Movements) - 1; last >= 0 && s.Movements[last].Seq == seq {
		n = s.Movements[last].N + 1
	}
	s.Movements = append(s.Movements, Movement{Seq: seq, N: n, Kind: kind, Amount: amount, Hold: h})
}
