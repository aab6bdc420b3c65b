package audit

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"strconv"

	"github.com/purser-dev/purser"
	"github.com/purser-dev/purser/internal/act"
	"github.com/purser-dev/purser/internal/canonical"
)

// brief holds what is checked of every record, as written in the leaf. Decoding
// the whole record is ten times slower, and only a few need it.
type brief struct {
	seq, ts                  int64
	actor, org, project, run []byte
	action, outcome          []byte
	budgets, attach, money   []byte
	raises                   bool             // the use of a budget
	payee                    string           // as a budget's scope names it, where that is stopped
	currency                 []byte           // of a use that it raises
	lines                    [len(places)]int // budgets of each of them that it was held to
}

func (b *brief) member(key, value []byte) (err error) {
	switch string(key) {
	case "seq":
		b.seq, err = strconv.ParseInt(string(value), 10, 64)
	case "ts":
		b.ts, err = strconv.ParseInt(string(value), 10, 64)
	case "actor":
		b.actor = value
	case "org":
		b.org = value
	case "project":
		b.project = value
	case "run":
		b.run = value
	case "action":
		b.action = value
	case "outcome":
		b.outcome = value
	case "budgets":
		b.budgets = value
	case "attach":
		b.attach = value
	case "money":
		b.money = value
	}
	return err
}

// checkLeaf checks the next record by itself and against the one before.
func (v *verifier) checkLeaf(leaf []byte) error {
	v.brief = brief{}
	b := &v.brief
	err := canonical.Walk(leaf, v.briefMember)
	due := v.tree.size + 1
	switch {
	case err != nil:
		return v.fault("record", err.Error())
	case b.seq < 1:
		return v.fault("record", "it has no seq")
	case b.seq < due:
		f := v.fault("record", fmt.Sprintf("record %d is there a second time, where %d is due", b.seq, due))
		f.Seq, f.Through = b.seq, b.seq
		return f
	case b.seq > due:
		return v.fault("record", fmt.Sprintf("missing or moved: record %d stands in its place", b.seq))
	case !bytes.Equal(b.org, v.orgText):
		return v.fault("record", "it belongs to another organization")
	case b.ts < v.lastTS || b.ts < 1:
		return v.fault("record", "its time is before that of the record before")
	case len(b.action) <= len(`""`) || len(b.outcome) <= len(`""`):
		return v.fault("record", "it has no action or no outcome")
	}
	v.lastTS = b.ts
	if err := v.checkDue(leaf); err != nil {
		return err
	}
	accepted := string(b.outcome) == `"`+Accepted+`"`
	if err := v.checkBudgets(b.budgets, accepted); err != nil {
		return err
	}
	if !accepted {
		if b.attach == nil && v.opt.Each == nil {
			return nil
		}
		return v.checkWhole(leaf)
	}
	if err := v.checkWho(b); err != nil {
		return err
	}
	if begins := string(b.action) == `"begin"` || string(b.action) == `"begin_hold"`; b.raises || begins {
		if by := v.stops.over(b); by != "" {
			return v.fault("stop", fmt.Sprintf("%s was accepted, and %s was stopped", b.action, by))
		}
	}
	// What is above a hold, what stops and resumes, and what sets a limit, is rare.
	weighs := string(b.action) == `"stop"` || string(b.action) == `"resume"` || setsLimit(b.action) || bytes.Contains(b.money, []byte(`"overrun":`))
	if b.attach == nil && v.opt.Each == nil && !weighs {
		return nil
	}
	return v.checkWhole(leaf)
}

// checkWho holds an accepted record to who may do that: what loosens is signed by a
// person, and a refund is told by the party that captured (RULES 1, 2). Labels and a removal
// are signed where they loosen only, which one record does not say; limits, checkLimit
// looks at.
func (v *verifier) checkWho(b *brief) error {
	by := ""
	switch string(b.action) {
	case `"approve"`:
		if b.attach == nil {
			return v.fault("approval", "a plan is approved without a person's signed act")
		}
	case `"create_run"`, `"extend_run"`, `"grant"`, `"allow_repeat"`, `"resume"`, `"create_platform"`, `"invite"`, `"set_role"`, `"set_two_people"`,
		`"first_passkey"`, `"recovery"`, `"open"`, `"inform"`, `"resolve"`, `"record_conformance"`:
		if b.attach == nil {
			return v.fault("approval", fmt.Sprintf("%s was accepted without a person's signed act", b.action))
		}
	case `"resolve_hold"`: // of one that never began nobody signs
		if b.attach == nil && bytes.Contains(b.money, []byte(`"captured":`)) {
			return v.fault("approval", "a hold is resolved with a cost that no person signed")
		}
	case `"refund"`:
		by = "provider"
	case `"refund_hold"`:
		by = "platform"
	}
	if by != "" && !bytes.Contains(b.actor, []byte(`"kind":"`+by+`"`)) {
		return v.fault("refund", fmt.Sprintf("%s comes from the %s that captured, and from nobody else", b.action, by))
	}
	return nil
}

// stops follows those in force.
type stops struct {
	inForce map[string]string // by id: what it stops
	covers  map[string]int    // how many stop it
	key     []byte
}

func (s *stops) see(r Record) {
	switch {
	case r.Action == "stop":
		s.inForce[r.Detail["stop"]] = r.Target
		s.covers[r.Target]++
	case r.Action == "resume":
		if target, ok := s.inForce[r.Target]; ok {
			delete(s.inForce, r.Target)
			if s.covers[target]--; s.covers[target] == 0 {
				delete(s.covers, target)
			}
		}
	}
}

// over finds a stop that a record was written under, by what it says of its place:
// organization, project and run, of the agent who acted, and of who is paid, whom its
// budgets name (RULES 21).
func (s *stops) over(b *brief) string {
	if len(s.inForce) == 0 || b.payee != "" {
		return b.payee
	}
	for _, place := range [...]struct {
		scope string
		id    []byte
	}{{"organization:", b.org}, {"project:", b.project}, {"run:", b.run}, {"agent:", b.agent()}} {
		if len(place.id) <= len(`""`) {
			continue
		}
		s.key = append(append(s.key[:0], place.scope...), place.id[1:len(place.id)-1]...)
		if s.covers[string(s.key)] > 0 {
			return string(s.key)
		}
	}
	return ""
}

// agent is the id of the agent who acted, in its quotes, or nil.
func (b *brief) agent() []byte {
	_, id, found := bytes.Cut(b.actor, []byte(`"id":`))
	if !found || !bytes.Contains(b.actor, []byte(`"kind":"agent"`)) {
		return nil
	}
	return id[:1+bytes.IndexByte(id[1:], '"')+1]
}

// checkWhole does what needs the decoded record.
func (v *verifier) checkWhole(leaf []byte) error {
	r, err := ParseRecord(leaf)
	if err != nil {
		return v.fault("record", err.Error())
	}
	if r.Attach != nil {
		if err := v.checkAct(r); err != nil {
			return v.fault("approval", err.Error())
		}
	}
	if r.Outcome == Accepted {
		v.stops.see(r)
		if setsLimit(v.brief.action) {
			if err := v.checkLimit(&r); err != nil {
				return err
			}
		}
		if err := v.overruns.see(r, v.stops.covers); err != nil {
			return v.fault("books", err.Error())
		}
	}
	if v.opt.Each != nil {
		if err := v.opt.Each(r); err != nil {
			return v.fault("record", err.Error())
		}
	}
	return nil
}

// overruns follows what was captured above holds: it comes from who captured, comes
// back at most once, and stops what it came from in the record after it, unless that is
// stopped already (RULES 2, 5).
type overruns struct {
	above map[string]int64 // by hold: captured above it, and not given back
	due   string           // what the next record must stop
}

func (o *overruns) see(r Record, stopped map[string]int) error {
	if r.Money == nil || r.Money.Overrun == nil {
		return nil
	}
	amount := r.Money.Overrun.Amount
	switch {
	case r.Actor.Kind != "platform":
		return fmt.Errorf("%s: the %s told what was captured above the hold, and captured nothing", r.Target, r.Actor.Kind)
	case amount <= 0 || r.Money.Actual == nil || amount > r.Money.Actual.Amount || r.Money.Overrun.Currency != r.Money.Actual.Currency:
		return fmt.Errorf("%s: %s of it is said to be above the hold", r.Target, purser.Money{Amount: amount, Currency: r.Money.Overrun.Currency})
	case r.Action == "refund_hold":
		if o.above[r.Target] -= amount; o.above[r.Target] < 0 {
			return fmt.Errorf("%s: more came back than was captured above the hold", r.Target)
		}
		return nil
	}
	o.above[r.Target] += amount
	if from := "run:" + r.Run; stopped[from] == 0 {
		o.due = from
	}
	return nil
}

// checkDue holds the record after an overrun to be the stop that it asks for.
func (v *verifier) checkDue(leaf []byte) error {
	due := v.overruns.due
	if due == "" {
		return nil
	}
	v.overruns.due = ""
	if r, err := ParseRecord(leaf); err != nil || r.Action != "stop" || r.Outcome != Accepted || r.Target != due {
		return v.fault("books", fmt.Sprintf("the record before captured above a hold, and %s is not stopped", due))
	}
	return nil
}

// A line is a budget line as the verifier reads it: amounts, and which budget, as written.
type line struct {
	BudgetLine
	scope, window, currency []byte
}

// money is an amount of this line as people read it.
func (l *line) money(amount int64) purser.Money {
	return purser.Money{Amount: amount, Currency: string(bytes.Trim(l.currency, `"`))}
}

func (l *line) member(key, value []byte) (err error) {
	switch string(key) {
	case "scope":
		l.scope = value
	case "window":
		l.window = value
	case "currency":
		l.currency = value
	case "limit":
		l.Limit, err = strconv.ParseInt(string(value), 10, 64)
	case "held":
		l.Held, err = strconv.ParseInt(string(value), 10, 64)
	case "captured":
		l.Captured, err = strconv.ParseInt(string(value), 10, 64)
	case "refunded":
		l.Refunded, err = strconv.ParseInt(string(value), 10, 64)
	case "change":
		l.Change, err = strconv.ParseInt(string(value), 10, 64)
	}
	return err
}

// checkBudgets holds each line that an accepted decision raised to its limit
// (RULES 5), and that to the one in force; it finds limits that are not among the lines,
// and re-derives each use if the books are asked for.
func (v *verifier) checkBudgets(budgets []byte, accepted bool) error {
	if budgets == nil || (!accepted && !v.opt.Books) {
		return nil
	}
	err := canonical.Walk(budgets, func(_, written []byte) error {
		v.budget = line{}
		if err := canonical.Walk(written, v.budgetMember); err != nil {
			return err
		}
		l := &v.budget
		opens := accepted && string(v.brief.action) == `"set_budget"`
		raises := accepted && !opens && l.Change > 0
		v.brief.raises = v.brief.raises || raises
		if payee := bytes.Trim(l.scope, `"`); raises && bytes.HasPrefix(payee, []byte("provider:")) && v.stops.covers[string(payee)] > 0 {
			v.brief.payee = string(payee)
		}
		if raises {
			if l.Use() > l.Limit {
				return fmt.Errorf("%s: accepted with %s used of a limit of %s", l.scope, l.money(l.Use()), l.money(l.Limit))
			}
			if err := v.limits.hold(l); err != nil {
				return v.fault("limit", err.Error())
			}
			v.brief.count(l)
		}
		if v.opt.Books {
			return v.books.add(v.brief.seq, l, accepted, opens)
		}
		return nil
	})
	switch {
	case err == nil && !v.brief.raises:
		return nil
	case err == nil:
		if err := v.limits.missing(&v.brief); err != nil {
			return v.fault("limit", err.Error())
		}
		return nil
	case errors.As(err, new(*Fault)):
		return err
	}
	return v.fault("books", err.Error())
}

// checkAct checks a person's signed act and that it is the act of this record.
func (v *verifier) checkAct(r Record) error {
	d, err := act.Parse(r.Attach.Document)
	if err != nil {
		return err
	}
	if err := act.Verify(d, r.Attach.Signature); err != nil {
		return err
	}
	if err := belongs(d, r); err != nil {
		return err
	}
	mark := sha256.Sum256(fmt.Appendf(nil, "%q %q", d.Approver, d.Nonce))
	if _, used := v.acts[[16]byte(mark[:])]; used {
		return fmt.Errorf("the act of %s was used before", d.Approver)
	}
	v.acts[[16]byte(mark[:])] = struct{}{}
	v.report.countAct(d.Approver, r.Attach.Signature)
	return nil
}

// belongs compares what the person signed with what the record says.
func belongs(d act.Document, r Record) error {
	action := d.Operation
	switch d.Decision {
	case act.Approve:
		action = ActionApprove
	case act.Deny:
		action = ActionDeny
	}
	switch {
	case d.Organization != r.Org:
		return fmt.Errorf("the act is for organization %q", d.Organization)
	case action != r.Action:
		return fmt.Errorf("the act allows %q, not %q", action, r.Action)
	case d.PlanDigest != "" && d.PlanDigest != r.PlanDigest:
		return fmt.Errorf("the act is for plan %s", d.PlanDigest)
	case r.Actor.Kind != "person" || d.Approver != r.Actor.ID:
		return fmt.Errorf("the act is of %q, the record of %s %q", d.Approver, r.Actor.Kind, r.Actor.ID)
	case d.NotAfter < r.TS:
		return fmt.Errorf("the act had expired")
	}
	return nil
}

// books holds each budget window as the records before left it.
type books struct {
	windows map[string]*moved
	key     []byte
	seq     int64 // of the record at hand
	first   moved // what the first line of that record moved
	text    []byte
}

// moved are the amounts of a window, or what a decision added to each.
type moved struct{ held, captured, refunded int64 }

// add re-derives one line from what was there before. A window begins at nothing, or with
// what its budget's first limit found spent: what that was, the walk of the books adds up.
// A hold adds to held, a capture takes from it what it adds to captured, a release
// or an expiry takes from it, a refund adds to refunded, a charge adds to captured
// at once; a change of a limit moves nothing, and an overrun is outside of all
// windows. So nothing else than held ever goes down, the change told is the sum of
// what moved, and what one decision moves it moves alike in all windows of its
// currency.
func (b *books) add(seq int64, l *line, accepted, opens bool) error {
	// Each part is a JSON text as written, so the three cannot run together.
	b.key = append(append(append(b.key[:0], l.scope...), l.window...), l.currency...)
	w, ok := b.windows[string(b.key)]
	if !ok {
		w = new(moved)
		b.windows[string(b.key)] = w
	}
	by := moved{l.Held - w.held, l.Captured - w.captured, l.Refunded - w.refunded}
	before := w.held + w.captured - w.refunded
	switch {
	case !accepted && l.Change > 0:
		return fmt.Errorf("%s: a decision that was not accepted raised the use by %s", l.scope, l.money(l.Change))
	case l.Held < 0 || l.Captured < 0 || l.Refunded < 0:
		return fmt.Errorf("%s: a negative amount", l.scope)
	case l.Use() != before+l.Change:
		return fmt.Errorf("%s: %s used, but the records before and this one make %s", l.scope, l.money(l.Use()), l.money(before+l.Change))
	case by.captured < 0 || by.refunded < 0:
		return fmt.Errorf("%s: %s captured and %s refunded after %s and %s: neither ever goes down", l.scope,
			l.money(l.Captured), l.money(l.Refunded), l.money(w.captured), l.money(w.refunded))
	case l.Refunded > l.Captured:
		return fmt.Errorf("%s: more refunded than captured", l.scope)
	case opens && *w != moved{}: // a refusal may have told of it before, at nothing
		return fmt.Errorf("%s: a limit was set with what was spent before it, and the window was there already", l.scope)
	case !opens && by.held > 0 && (by.captured != 0 || by.refunded != 0):
		return fmt.Errorf("%s: one decision held and captured or refunded", l.scope)
	case b.seq == seq && bytes.Equal(b.text, l.currency) && by != b.first:
		return fmt.Errorf("%s: the decision moved %s, %s, %s here and %s, %s, %s in another budget", l.scope,
			l.money(by.held), l.money(by.captured), l.money(by.refunded), l.money(b.first.held), l.money(b.first.captured), l.money(b.first.refunded))
	}
	b.seq, b.first, b.text = seq, by, append(b.text[:0], l.currency...)
	*w = moved{l.Held, l.Captured, l.Refunded}
	return nil
}
