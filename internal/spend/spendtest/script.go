// Package spendtest holds what breaks the spend engine: scripts of random steps, a simple model that says what each must come to, and an engine in memory.
//
// A script knows nothing of outcomes, so the same seed gives the same steps to the
// pure core, to both databases and to the model. The model was written from
// RULES.md and SPEND.md alone; it shares types with internal/spend, no code.
package spendtest

import (
	"fmt"
	"time"

	"github.com/purser-dev/purser"
	"github.com/purser-dev/purser/internal/spend"
)

// Dice decide a script: *rand.Rand, or a generator that can shrink.
type Dice interface{ IntN(n int) int }

// Step is one thing that happens: the member that is not empty.
type Step struct {
	Batch   []spend.Request // decided in one turn
	Stop    *spend.Scope
	Resume  bool // lifts the oldest stop in force
	Limit   *spend.Budget
	Allow   *spend.Repeat // a person says that an order is meant once more
	Revoke  string        // a token
	Taken   bool          // it was revoked by a stop, or with its run
	End     string        // a run
	Skew    *time.Duration
	Advance time.Duration
}

// The names of the world. Tests with a database map them to its own.
const (
	Org    = "org_1"
	Person = "usr_1"
)

// RunInfo is a run of the world.
type RunInfo struct {
	ID, Project, Agent, Token string
	Life                      time.Duration
	Providers                 []string
	Threshold                 int64    // USD
	Labels                    []string // of its own; those of its project come first
	Budget                    int64    // USD
}

// Projects are the labels of each project.
func Projects() map[string][]string {
	return map[string][]string{"prj_0": {"team=red"}, "prj_1": {}}
}

// Runs are the runs of the world: two agents, one with two runs.
func Runs() []RunInfo {
	return []RunInfo{
		{ID: "run_0", Project: "prj_0", Agent: "agt_0", Token: "tok_0", Life: 700 * time.Hour, Threshold: 300, Labels: []string{"tier=1"}, Budget: 4500},
		{ID: "run_1", Project: "prj_0", Agent: "agt_1", Token: "tok_1", Life: 30 * time.Hour, Threshold: 200, Providers: []string{"alpha", "beta"}, Budget: 2900},
		{ID: "run_2", Project: "prj_1", Agent: "agt_2", Token: "tok_2", Life: 700 * time.Hour, Threshold: 500, Labels: []string{"team=blue", "tier=1"}, Budget: 7500},
		{ID: "run_3", Project: "prj_1", Agent: "agt_0", Token: "tok_3", Life: 300 * time.Hour, Threshold: 1000, Budget: 1700},
	}
}

// Budgets are those that are there at the start, beside the runs' own.
func Budgets() []spend.Budget {
	of := func(scope, target, period, currency string, limit int64) spend.Budget {
		return spend.Budget{Scope: spend.Scope{Scope: scope, Target: target}, Period: period, Currency: currency, Limit: limit}
	}
	return []spend.Budget{
		of(purser.ScopeOrganization, Org, purser.PeriodMonth, "USD", 15000),
		of(purser.ScopeProject, "prj_0", purser.PeriodWeek, "USD", 6200),
		of(purser.ScopeProject, "prj_0", purser.PeriodDay, "USD", 4300),
		of(purser.ScopeCategory, "models", purser.PeriodDay, "USD", 2800),
		of(purser.ScopeLabel, "team=red", purser.PeriodHour, "USD", 2500),
		of(purser.ScopeLabel, "team=blue", purser.PeriodTotal, "USD", 6000),
		of(purser.ScopeRun, "run_2", purser.PeriodRun, "EUR", 500),
		of(purser.ScopeRun, "run_2", purser.PeriodHour, "USD", 3900),
	}
}

var (
	providers  = []string{"alpha", "beta", "gamma", "models/large"}
	categories = []string{"", "models", "api"}
	labels     = [][]string{nil, nil, {"team=red"}, {"team=blue"}, {"team=red", "tier=1"}}
	targets    = []string{"a thing", "another", "a third"}
)

// Script makes steps.
type Script struct {
	dice  Dice
	holds int
	keys  int
	stops int
	sent  []spend.Request // those with a key, to send again
	next  []spend.Request // what is to come of holds, so that many live a whole life
	steps []Step
	skew  bool
	last  spend.Request // order
	// owners are who asked for holds.
	owners map[string]purser.Actor
}

// NewScript begins a script.
func NewScript(d Dice) *Script { return &Script{dice: d, owners: map[string]purser.Actor{}} }

func pick[T any](d Dice, from []T) T { return from[d.IntN(len(from))] }

// chance is true so often in a hundred.
func (s *Script) chance(percent int) bool { return s.dice.IntN(100) < percent }

// Next is the next step.
func (s *Script) Next() Step {
	if len(s.steps) > 0 {
		step := s.steps[0]
		s.steps = s.steps[1:]
		return step
	}
	if s.skew && s.chance(40) {
		s.skew = false
		return Step{Skew: new(time.Duration)}
	}
	switch n := s.dice.IntN(100); {
	case n < 74:
		return Step{Batch: s.batch()}
	case n < 82:
		return Step{Advance: pick(s.dice, []time.Duration{
			time.Second, time.Minute, 4 * time.Minute, 11 * time.Minute, 40 * time.Minute, time.Hour, 2 * time.Hour, 7 * time.Hour, 24 * time.Hour, 70 * time.Hour,
		})}
	case n < 84:
		scope := s.stop()
		return Step{Stop: &scope}
	case n < 90:
		return Step{Resume: true}
	case n < 94:
		b := s.limit()
		return Step{Limit: &b}
	case n < 97:
		return s.allow()
	case n < 98 && s.chance(10):
		return s.revoke()
	case n < 98 && s.chance(60):
		return s.end()
	}
	s.skew = true
	skew := pick(s.dice, []time.Duration{0, 0, 0, 5 * time.Second, 6 * time.Second, -6 * time.Second})
	return Step{Skew: &skew}
}

// allow is a person's word that the last order may come once more; it comes twice, at
// times from somebody else.
func (s *Script) allow() Step {
	for s.last.ID == "" {
		s.order()
	}
	for range 2 {
		again := s.last
		again.ID, again.By.Key = s.newHold(), ""
		if s.chance(20) {
			again.Provider = pick(s.dice, providers)
		}
		s.owners[again.ID] = again.By
		s.steps = append(s.steps, Step{Batch: []spend.Request{s.keyed(again)}})
	}
	if s.chance(30) { // in one turn
		s.steps = []Step{{Batch: []spend.Request{s.steps[0].Batch[0], s.steps[1].Batch[0]}}}
	}
	return Step{Allow: &spend.Repeat{Run: s.last.Run, Provider: s.last.Provider, Target: s.last.Target, Currency: s.last.Amount.Currency, Amount: s.last.Amount.Amount}}
}

// revoke ends a token, whose agent is mostly stopped then and asks once more.
func (s *Script) revoke() Step {
	run := pick(s.dice, Runs())
	if s.chance(70) {
		r := s.place(spend.Charge)
		r.By, r.Run = Agent(run), run.ID
		s.owners[r.ID] = r.By
		s.steps = []Step{{Stop: &spend.Scope{Scope: purser.ScopeAgent, Target: run.Agent}}, {Batch: []spend.Request{s.keyed(r)}}}
	}
	return Step{Revoke: run.Token, Taken: s.keys%2 == 0}
}

// end ends a run between a platform's hold and the beginning of its effect.
func (s *Script) end() Step {
	r := s.place(spend.Place)
	r.By, r.Run = s.platform(), pick(s.dice, Runs()).ID
	s.owners[r.ID] = r.By
	s.steps = []Step{{End: r.Run}, {Batch: []spend.Request{s.keyed(spend.Request{Op: spend.Begin, By: r.By, Hold: r.ID})}}}
	return Step{Batch: []spend.Request{s.keyed(r)}}
}

func (s *Script) stop() spend.Scope {
	run := pick(s.dice, Runs())
	return pick(s.dice, []spend.Scope{
		{Scope: purser.ScopeRun, Target: run.ID},
		{Scope: purser.ScopeRun, Target: run.ID},
		{Scope: purser.ScopeAgent, Target: run.Agent},
		{Scope: purser.ScopeProvider, Target: pick(s.dice, providers)},
		{Scope: purser.ScopeProject, Target: run.Project},
		{Scope: purser.ScopeOrganization, Target: Org},
	})
}

func (s *Script) limit() spend.Budget {
	b := spend.Budget{Currency: "USD", Limit: int64(s.dice.IntN(6000)), Period: purser.PeriodMonth}
	if s.chance(60) {
		b = pick(s.dice, Budgets())
		b.Limit = max(0, b.Limit+int64(s.dice.IntN(2000))-1000)
		return b
	}
	switch s.dice.IntN(4) {
	case 0:
		b.Scope = spend.Scope{Scope: purser.ScopeProvider, Target: pick(s.dice, providers)}
	case 1:
		b.Scope, b.Period = spend.Scope{Scope: purser.ScopeRun, Target: pick(s.dice, Runs()).ID}, purser.PeriodRun
	case 2:
		b.Scope, b.Period = spend.Scope{Scope: purser.ScopeCategory, Target: "api"}, purser.PeriodHour
	case 3:
		b.Scope, b.Period = spend.Scope{Scope: purser.ScopeLabel, Target: "tier=1"}, purser.PeriodDay
	}
	return b
}

// batch is mostly short: what holds for two holds for many, and short ones shrink.
func (s *Script) batch() []spend.Request {
	n := 1
	switch {
	case s.chance(4):
		return s.sweep()
	case s.chance(2):
		return s.undo()
	case s.chance(2):
		return s.spree()
	case s.chance(4):
		n = 20 + s.dice.IntN(40)
	case s.chance(40):
		n = 2 + s.dice.IntN(5)
	}
	out := make([]spend.Request, n)
	for i := range out {
		out[i] = s.request()
	}
	return out
}

// sweep ends what is due of the newest holds, as the engine does by itself.
func (s *Script) sweep() []spend.Request {
	var out []spend.Request
	for n := max(1, s.holds-30); n <= s.holds; n++ {
		r := spend.Request{Op: spend.Expire, By: purser.Actor{Kind: purser.System, ID: "purser", Organization: Org}, Hold: fmt.Sprintf("hld_%06d", n)}
		r.Hash = hash(&r)
		out = append(out, r)
	}
	if len(out) == 0 {
		return []spend.Request{s.request()}
	}
	return out
}

// undo is an order, and in a later turn its release with the same order again.
func (s *Script) undo() []spend.Request {
	r := s.order()
	r.Amount.Amount = min(r.Amount.Amount, 100)
	again := r
	again.ID = s.newHold()
	s.owners[again.ID] = r.By
	release := spend.Request{Op: spend.Release, By: r.By, Hold: r.ID}
	s.steps = []Step{{Batch: []spend.Request{s.keyed(release), s.keyed(again)}}}
	return []spend.Request{s.keyed(r)}
}

// spree is an agent that orders from everybody: from one provider, and hours later from
// the others in one turn and from the first again, which may have been paid by then.
func (s *Script) spree() []spend.Request {
	run := pick(s.dice, []RunInfo{Runs()[0], Runs()[2], Runs()[3]})
	all := make([]spend.Request, len(providers)+1)
	for i := range all {
		r := s.place(spend.Place)
		r.By, r.Run, r.Provider, r.Kind, r.Target, r.Lifetime = Agent(run), run.ID, providers[i%len(providers)], purser.KindOrder, "spree "+r.ID, 30*time.Hour
		r.Amount = purser.Money{Amount: 1, Currency: "USD"}
		s.owners[r.ID] = r.By
		all[i] = s.keyed(r)
	}
	first, again := all[0], all[len(providers)]
	if s.chance(30) {
		return all[:len(providers)]
	}
	then := func(op spend.Op) spend.Request {
		return s.keyed(spend.Request{Op: op, By: first.By, Hold: first.ID, Part: first.Amount.Amount})
	}
	last := []spend.Request{again}
	if s.chance(70) {
		last = []spend.Request{then(spend.Capture), again}
	}
	s.steps = []Step{{Batch: []spend.Request{then(spend.Begin)}}, {Advance: 2 * time.Hour}, {Batch: all[1:len(providers)]}, {Batch: last}}
	return []spend.Request{first}
}

var (
	amounts = []int64{1, 29, 57, 58, 100, 100, 150, 250, 333, 1150}
	parts   = []int64{0, 1, 10, 29, 50, 99, 100, 250, 700}
)

func (s *Script) request() spend.Request {
	if len(s.next) > 0 && s.chance(45) {
		r := s.next[0]
		s.next = s.next[1:]
		return s.keyed(r)
	}
	if len(s.sent) > 0 && s.chance(8) {
		r := pick(s.dice, s.sent)
		switch { // each attempt brings a new one
		case r.Made:
			r.ID = s.newStop()
		case r.ID != "":
			r.ID = s.newHold()
		}
		if s.chance(25) { // another request under the same key
			r.Amount.Amount++
			r.Part++
			r.Hash = hash(&r)
		}
		return r
	}
	var r spend.Request
	switch n := s.dice.IntN(100); {
	case n < 22:
		r = s.place(spend.Place)
	case n < 40:
		r = s.place(spend.Charge)
	case n < 55:
		r = s.order()
	default:
		r = s.onHold()
	}
	if r.Op == spend.Place && s.chance(70) {
		s.life(r)
	}
	return s.keyed(r)
}

// keyed gives most requests a key.
func (s *Script) keyed(r spend.Request) spend.Request {
	if r.By.Kind != purser.System && r.Op != spend.Resolve && s.chance(60) {
		s.keys++
		r.By.Key = fmt.Sprintf("key-%d", s.keys)
		if r.By.Kind == purser.Agent && s.keys%16 == 0 { // its credential had ended at the door
			r.By.Ended = purser.Errorf(purser.Stopped, "its token was taken")
		}
	}
	r.Hash = hash(&r)
	if r.By.Key != "" {
		s.sent = append(s.sent, r)
	}
	return r
}

// life is what its owner does with a hold next: nothing may be refused of it.
func (s *Script) life(r spend.Request) {
	then := func(op spend.Op, part int64, final bool) {
		s.next = append(s.next, spend.Request{Op: op, By: r.By, Hold: r.ID, Part: part, Final: final})
	}
	half := r.Amount.Amount / 2
	switch s.dice.IntN(7) {
	case 0:
		then(spend.Release, 0, false)
		return
	case 6: // and nothing more: it will be unknown
		then(spend.Begin, 0, false)
		then(spend.Capture, half, half == 0)
		return
	case 1:
		then(spend.Begin, 0, false)
		then(spend.Capture, half, half == 0)
		if r.By.Kind == purser.Platform && s.chance(12) { // more than there was leave for
			for range 2 {
				more := spend.Request{Op: spend.Capture, By: r.By, Hold: r.ID, Part: r.Amount.Amount}
				s.made(&more)
				s.next = append(s.next, more)
			}
		}
		then(spend.Capture, 0, true)
	case 2, 3:
		then(spend.Begin, 0, false)
		then(spend.Capture, r.Amount.Amount, false)
	default:
		then(spend.Begin, 0, false)
	}
	if s.chance(60) {
		then(spend.Refund, 1+half/3, false)
	}
}

func (s *Script) newHold() string {
	s.holds++
	return fmt.Sprintf("hld_%06d", s.holds)
}

func (s *Script) newStop() string {
	s.stops++
	return fmt.Sprintf("stp_%06d", s.stops)
}

func (s *Script) place(op spend.Op) spend.Request {
	run := pick(s.dice, Runs())
	r := spend.Request{
		Op: op, By: s.spender(run), ID: s.newHold(), Run: run.ID, Provider: pick(s.dice, providers), Category: pick(s.dice, categories), Labels: pick(s.dice, labels),
		Kind: purser.KindUsage, Amount: purser.Money{Amount: pick(s.dice, amounts), Currency: "USD"},
	}
	s.owners[r.ID] = r.By
	if s.chance(6) {
		r.Amount.Currency = "EUR"
	}
	if s.chance(2) {
		r.Run = "run_unknown"
	}
	if op == spend.Place {
		r.Lifetime = pick(s.dice, []time.Duration{time.Minute, time.Minute, 10 * time.Minute, time.Hour, 3 * time.Hour, 30 * time.Hour, 20 * 24 * time.Hour})
	}
	return r
}

func (s *Script) order() spend.Request {
	r := s.place(spend.Place)
	r.Kind, r.Target = purser.KindOrder, pick(s.dice, targets)
	if s.chance(6) && len(s.next) == 0 { // an agent that does not understand why it fails
		r.Amount.Amount = 1
		for range 4 {
			again := r
			again.ID = s.newHold()
			s.owners[again.ID] = r.By
			s.next = append(s.next, again, spend.Request{Op: spend.Release, By: r.By, Hold: again.ID})
		}
	}
	if r.Run != "run_unknown" {
		s.last = r
	}
	return r
}

// spender is the agent of a run, a platform, or now and then the agent of another run.
func (s *Script) spender(run RunInfo) purser.Actor {
	if s.chance(5) {
		run = pick(s.dice, Runs())
	}
	if s.chance(45) {
		return s.platform()
	}
	return Agent(run)
}

func (s *Script) platform() purser.Actor { return Platform(s.dice.IntN(2)) }

// Agent is the actor of a run's token.
func Agent(run RunInfo) purser.Actor {
	return purser.Actor{Kind: purser.Agent, ID: run.Agent, Organization: Org, Project: run.Project, Run: run.ID, Token: run.Token}
}

// Platform is one of two metering platforms.
func Platform(n int) purser.Actor {
	return purser.Actor{Kind: purser.Platform, ID: fmt.Sprintf("plt_%d", n), Organization: Org, Token: fmt.Sprintf("tok_plt_%d", n)}
}

func (s *Script) onHold() spend.Request {
	r := spend.Request{Hold: "hld_none"}
	if s.holds > 0 {
		back := s.dice.IntN(min(s.holds, 40)) // newer ones are more often open
		r.Hold = fmt.Sprintf("hld_%06d", s.holds-back)
	}
	if s.chance(3) {
		r.Hold = OrderHold
		if s.chance(30) {
			r.Op, r.By, r.Part = spend.Capture, s.platform(), pick(s.dice, parts)
			s.made(&r)
			return r
		}
	}
	r.By = s.spender(pick(s.dice, Runs()))
	if by, ok := s.owners[r.Hold]; ok && s.chance(85) {
		r.By = by
	}
	switch n := s.dice.IntN(100); {
	case n < 26:
		r.Op = spend.Begin
	case n < 54:
		r.Op, r.Part, r.Final = spend.Capture, pick(s.dice, parts), s.chance(30)
		r.Final = r.Final || r.Part == 0
		if s.chance(5) {
			s.made(&r)
		}
	case n < 64:
		r.Op = spend.Release
	case n < 74:
		r.Op, r.Part = spend.Refund, 1+pick(s.dice, parts)
	case n < 80:
		r.Op = spend.Resolve
		if s.chance(60) {
			r.By = purser.Actor{Kind: purser.Person, ID: Person, Organization: Org}
		}
		if s.chance(50) {
			r.Signed = signed()
		}
		if s.chance(50) {
			r.Part = 1 + pick(s.dice, parts)
		}
	case n < 96:
		r.Op, r.By = spend.Expire, purser.Actor{Kind: purser.System, ID: "purser", Organization: Org}
	default:
		r.Op, r.By = spend.Void, purser.Actor{Kind: purser.System, ID: "purser", Organization: Org}
	}
	if r.Part > 0 && s.chance(10) {
		r.Amount.Currency = pick(s.dice, []string{"USD", "EUR"})
	}
	return r
}

// made makes a capture one that is told afterwards: by its platform, or by an agent
// that may not.
func (s *Script) made(r *spend.Request) {
	r.ID, r.Made, r.Part = s.newStop(), true, 1+r.Part
}

// hash tells requests apart as the office's does; the new hold's id is not in it.
func hash(r *spend.Request) string {
	return fmt.Sprint(r.Op, r.By.Run, r.Run, r.Provider, r.Category, r.Labels, r.Kind, r.Target, r.Amount.Amount, r.Amount.Currency, r.Lifetime, r.Hold, r.Part, r.Final, r.Made)
}
