package spendtest

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/purser-dev/purser"
	"github.com/purser-dev/purser/internal/audit"
	"github.com/purser-dev/purser/internal/spend"
)

// Answer is what a caller sees of an outcome, without what differs from one engine
// to another.
type Answer struct {
	Code     purser.Code // of the refusal
	Failed   string      // budgets that refused
	Hold     string
	State    string
	Amount   int64
	Captured int64
	Overrun  int64
	Refunded int64
	Left     int64
	Expires  int64 // in seconds; 0: it is over
	Replay   bool
	Epoch    int64
	Nothing  bool // nothing was decided
}

// AnswerOf is the answer of an outcome.
func AnswerOf(o spend.Outcome) Answer {
	a := Answer{Replay: o.Replay}
	if o.Err != nil {
		a.Code, a.Replay = o.Err.Code, o.Err.Replay
		var failed []string
		for _, b := range o.Err.Budgets {
			failed = append(failed, fmt.Sprintf("%s:%s %s %d of %d", b.Scope, b.ID, b.Period, b.Left, b.Limit.Amount))
		}
		a.Failed = listed(failed)
		return a
	}
	h := o.Hold
	a.Hold, a.State, a.Amount, a.Captured, a.Overrun, a.Refunded, a.Left, a.Epoch = h.ID, h.State, h.AmountMinor, h.CapturedMinor, h.OverrunMinor, h.RefundedMinor, h.LeftMinor, h.Epoch
	a.Nothing = o.Seq == 0
	if h.ExpiresAt != nil {
		a.Expires = h.ExpiresAt.Unix()
	}
	return a
}

// listed is a list as one text, in an order that no database changes.
func listed(all []string) string {
	slices.Sort(all)
	return strings.Join(all, "; ")
}

func signed() *audit.Attachment { return &audit.Attachment{} }

// Model decides one request after the other from a few maps and sums.
type Model struct {
	now     time.Time
	skew    time.Duration
	zone    *time.Location
	epoch   int64
	first   int64 // monthly limit of a provider, USD
	runs    map[string]*modelRun
	tokens  map[string]string // its run; absent: revoked
	taken   map[string]bool   // those that were revoked by a stop or with their run
	budgets []spend.Budget
	used    map[string]int64 // by budget and window
	holds   map[string]*modelHold
	placed  []*modelHold // orders, in their order
	stops   []modelStop
	keys    map[string]modelKept
	meant   map[spend.Repeat]int
}

type modelRun struct {
	RunInfo
	labels  []string
	expires time.Time
	ended   bool
}

type modelHold struct {
	id, owner, run, project, agent, provider, target, state, currency string
	amount, captured, refunded, left                                  int64
	above, back                                                       int64 // captured above the amount, and what of it came back
	at, expires                                                       time.Time
	windows                                                           []string
	stopped                                                           bool // a stop came after it was placed, or after it began
}

func (h *modelHold) open() bool {
	return h.state == "held" || h.state == "begun" || h.state == "unknown"
}

type modelStop struct {
	spend.Scope
	lifted bool
}

type modelKept struct {
	hash   string
	answer Answer
}

// NewModel is the world at its start.
func NewModel(now time.Time, zone *time.Location, first int64) *Model {
	m := &Model{
		now: now, zone: zone, first: first, runs: map[string]*modelRun{}, tokens: map[string]string{"tok_plt_0": "", "tok_plt_1": ""}, taken: map[string]bool{}, used: map[string]int64{},
		holds: map[string]*modelHold{}, keys: map[string]modelKept{}, meant: map[spend.Repeat]int{},
	}
	for _, r := range Runs() {
		m.runs[r.ID] = &modelRun{RunInfo: r, labels: append(slices.Clone(Projects()[r.Project]), r.Labels...), expires: now.Add(r.Life)}
		m.tokens[r.Token] = r.ID
		m.budgets = append(m.budgets, spend.Budget{Scope: spend.Scope{Scope: "run", Target: r.ID}, Period: "run", Currency: "USD", Limit: r.Budget})
	}
	m.budgets = append(m.budgets, Budgets()...)
	return m
}

// OrderHold is the hold of an order, which its own steps settle: nobody here may touch it.
const OrderHold = "hld_order"

// WithOrder puts the hold of an order into the world.
func (m *Model) WithOrder() *Model {
	m.holds[OrderHold] = &modelHold{
		id: OrderHold, run: "run_0", project: "prj_0", agent: "agt_0", provider: "alpha", state: "begun", currency: "USD", amount: 100, left: 100,
		at: m.now, expires: m.now.Add(time.Hour),
	}
	return m
}

// Clone is a model that goes its own way.
func (m *Model) Clone() *Model {
	c := *m
	c.taken = maps.Clone(m.taken)
	c.runs, c.tokens, c.used, c.keys, c.meant = map[string]*modelRun{}, maps.Clone(m.tokens), maps.Clone(m.used), maps.Clone(m.keys), maps.Clone(m.meant)
	for id, r := range m.runs {
		r := *r
		c.runs[id] = &r
	}
	c.budgets, c.stops, c.holds, c.placed = slices.Clone(m.budgets), slices.Clone(m.stops), map[string]*modelHold{}, nil
	for id, h := range m.holds {
		h := *h
		c.holds[id] = &h
	}
	for _, h := range m.placed {
		c.placed = append(c.placed, c.holds[h.id])
	}
	return &c
}

// Do takes a step; of a batch it gives the answers.
func (m *Model) Do(s Step) []Answer {
	switch {
	case s.Batch != nil:
		out := make([]Answer, len(s.Batch))
		for i := range s.Batch {
			out[i] = m.Decide(&s.Batch[i])
		}
		return out
	case s.Stop != nil:
		m.stop(*s.Stop)
	case s.Resume:
		for i := range m.stops {
			if !m.stops[i].lifted {
				m.epoch++
				m.stops[i].lifted = true
				break
			}
		}
	case s.Limit != nil:
		m.limit(*s.Limit)
	case s.Allow != nil:
		m.meant[*s.Allow]++
	case s.Revoke != "":
		if _, good := m.tokens[s.Revoke]; good {
			m.taken[s.Revoke] = s.Taken
		}
		delete(m.tokens, s.Revoke)
	case s.End != "":
		m.runs[s.End].ended = true
	case s.Skew != nil:
		m.skew = *s.Skew
	}
	m.now = m.now.Add(s.Advance)
	return nil
}

func (m *Model) stop(s spend.Scope) {
	m.epoch++
	m.stops = append(m.stops, modelStop{Scope: s})
	for _, h := range m.holds {
		if covers(s, h.project, h.provider, h.agent, h.run) {
			h.stopped = true
		}
	}
}

func (m *Model) limit(b spend.Budget) {
	m.firstLimit(b.Scope)
	for i, old := range m.budgets {
		if old.Scope == b.Scope && old.Period == b.Period && old.Currency == b.Currency {
			m.budgets[i].Limit = b.Limit
			return
		}
	}
	m.budgets = append(m.budgets, b)
}

// firstLimit gives a provider its limit of the first spend.
func (m *Model) firstLimit(s spend.Scope) {
	if s.Scope != "provider" || slices.ContainsFunc(m.budgets, func(b spend.Budget) bool { return b.Scope == s }) {
		return
	}
	m.budgets = append(m.budgets, spend.Budget{Scope: s, Period: "month", Currency: "USD", Limit: m.first})
}

func covers(s spend.Scope, project, provider, agent, run string) bool {
	return s == spend.Scope{Scope: "organization", Target: Org} || s == spend.Scope{Scope: "project", Target: project} ||
		s == spend.Scope{Scope: "provider", Target: provider} || s == spend.Scope{Scope: "agent", Target: agent} || s == spend.Scope{Scope: "run", Target: run}
}

// sticky are the refusals that a key keeps, of those that spends give.
var sticky = []purser.Code{purser.BudgetExceeded, purser.CurrencyNotBudgeted, purser.InvalidState, purser.Forbidden}

// Decide decides one request.
func (m *Model) Decide(r *spend.Request) Answer {
	key := r.By.ID + "/" + r.By.Key
	if kept, ok := m.keys[key]; ok && r.By.Key != "" {
		if kept.hash != r.Hash {
			return Answer{Code: purser.KeyReused}
		}
		a := kept.answer
		a.Replay = true
		if a.Code == "" {
			a.Epoch = m.epoch
		}
		return a
	}
	if code := m.signedIn(r); code != "" && !m.books(r, code) {
		return Answer{Code: code}
	}
	a := m.fresh(r)
	if r.By.Key != "" && (a.Code == "" || r.By.Ended == nil && slices.Contains(sticky, a.Code)) {
		m.keys[key] = modelKept{r.Hash, a}
	}
	return a
}

// books lets an agent that was stopped, or whose run is over, say what its begun hold cost,
// unless its token was revoked for itself.
func (m *Model) books(r *spend.Request, code purser.Code) bool {
	h := m.holds[r.Hold]
	mine := h != nil && h.owner == r.By.ID && h.run == r.By.Run
	if _, good := m.tokens[r.By.Token]; !good && !m.taken[r.By.Token] || good && code == purser.NotSignedIn {
		return false
	}
	return mine && r.Op == spend.Capture && (h.state == "begun" || h.state == "unknown")
}

func (m *Model) signedIn(r *spend.Request) purser.Code {
	if r.By.Token == "" {
		return ""
	}
	run, good := m.tokens[r.By.Token]
	if good && (run == "" || m.now.Before(m.runs[run].expires)) {
		return ""
	}
	agent := ""
	if r.By.Kind == purser.Agent {
		agent = r.By.ID
	}
	for _, s := range m.stops {
		if !s.lifted && s.Scope.Scope != "provider" && covers(s.Scope, r.By.Project, "-", agent, r.By.Run) {
			return purser.Stopped
		}
	}
	if over(m.runs[r.By.Run], m.now) {
		return purser.RunEnded
	}
	return purser.NotSignedIn
}

func over(r *modelRun, now time.Time) bool { return r != nil && (r.ended || !now.Before(r.expires)) }

func (m *Model) fresh(r *spend.Request) Answer {
	if r.Op == spend.Place || r.Op == spend.Charge {
		return m.place(r)
	}
	h := m.holds[r.Hold]
	if h == nil || r.By.Kind == purser.Agent && h.run != r.By.Run {
		return Answer{Code: purser.NotFound}
	}
	if c := r.Amount.Currency; c != "" && c != h.currency {
		return Answer{Code: purser.InvalidRequest}
	}
	open := h.open()
	no := purser.Code("")
	switch r.Op {
	case spend.Begin:
		no = m.begin(r, h)
	case spend.Capture:
		switch {
		case h.owner != r.By.ID, r.Made && r.By.Kind == purser.Agent:
			no = purser.Forbidden
		case r.Made:
			return m.made(r, h)
		case h.state == "held" && h.stopped:
			no = purser.Stopped
		case h.state != "begun" && h.state != "unknown", r.Part > h.left:
			no = purser.InvalidState
		case r.By.Kind == purser.Agent && r.Part == 0:
			no = purser.Forbidden
		default:
			h.captured, h.left = h.captured+r.Part, h.left-r.Part
			if r.Final || h.left == 0 {
				m.giveBack(h, "released")
			}
		}
	case spend.Release, spend.Resolve:
		switch {
		case h.owner != r.By.ID && !(r.Op == spend.Resolve && r.By.Kind == purser.Person), h.owner == "":
			no = purser.Forbidden
		case !open:
			no = purser.InvalidState
		case h.state != "held" && r.By.Kind == purser.Agent:
			no = purser.Forbidden
		case h.state != "held" && r.By.Kind == purser.Person && r.Signed == nil:
			no = purser.NeedsPerson
		case r.Part > 0 && h.state == "held", r.Part > h.left:
			no = purser.InvalidState
		default:
			h.captured, h.left = h.captured+r.Part, h.left-r.Part
			m.giveBack(h, "released")
		}
	case spend.Refund:
		switch {
		case r.By.Kind == purser.Agent, h.owner != r.By.ID:
			no = purser.Forbidden
		case r.Part > h.captured-h.refunded+h.above-h.back:
			no = purser.InvalidState
		default:
			outside := min(r.Part, h.above-h.back) // comes back first
			h.back += outside
			h.refunded += r.Part - outside
			m.use(h, outside-r.Part)
		}
	case spend.Expire, spend.Void:
		due := r.Op == spend.Expire && !m.now.Before(h.expires) || r.Op == spend.Void && h.state == "held" && (h.stopped || h.run != "" && m.runs[h.run].ended)
		switch {
		case h.owner == "" || !open || !due || h.state == "unknown":
			a := m.show(h)
			a.Nothing = true
			return a
		case h.state == "begun":
			h.state = "unknown"
		case r.Op == spend.Expire:
			m.giveBack(h, "expired")
		default:
			m.giveBack(h, "released")
		}
	}
	if no != "" {
		return Answer{Code: no}
	}
	return m.show(h)
}

// made is money that is gone already: within the hold as far as leave was given to
// act on it, and else outside of all budgets, which stops the run.
func (m *Model) made(r *spend.Request, h *modelHold) Answer {
	inside := min(r.Part, h.left)
	if h.state == "held" {
		inside = 0
	}
	h.captured, h.left, h.above = h.captured+inside, h.left-inside, h.above+r.Part-inside
	if inside > 0 && (r.Final || h.left == 0) {
		m.giveBack(h, "released")
	}
	from := spend.Scope{Scope: "run", Target: h.run}
	if r.Part > inside && !slices.Contains(m.stops, modelStop{Scope: from}) {
		m.stop(from)
	}
	return m.show(h)
}

func (m *Model) begin(r *spend.Request, h *modelHold) purser.Code {
	switch {
	case h.owner != r.By.ID:
		return purser.Forbidden
	case h.stopped:
		return purser.Stopped
	case m.skew.Abs() > 5*time.Second:
		return purser.ClockUnsafe
	case h.state != "held", !m.now.Before(h.expires):
		return purser.InvalidState
	case over(m.runs[h.run], m.now):
		return purser.RunEnded
	}
	h.state = "begun"
	return ""
}

// giveBack ends a hold.
func (m *Model) giveBack(h *modelHold, state string) {
	m.use(h, -h.left)
	h.left, h.state = 0, state
	if h.captured > 0 {
		h.state = "captured"
	}
}

func (m *Model) use(h *modelHold, change int64) {
	for _, w := range h.windows {
		m.used[w] += change
	}
}

func (m *Model) show(h *modelHold) Answer {
	a := Answer{Hold: h.id, State: h.state, Amount: h.amount, Captured: h.captured, Overrun: h.above, Refunded: h.refunded + h.back, Left: h.left, Epoch: m.epoch}
	if h.open() {
		a.Expires = h.expires.Unix()
	}
	return a
}

// window names the use of a budget in the period of now.
func (m *Model) window(b spend.Budget) string {
	name := b.Period
	switch local := m.now.In(m.zone); b.Period {
	case "hour":
		name = m.now.UTC().Format("2006-01-02 15h")
	case "day":
		name = local.Format("2006-01-02")
	case "week":
		year, week := local.ISOWeek()
		name = fmt.Sprint(year, " week ", week)
	case "month":
		name = local.Format("2006-01")
	}
	return fmt.Sprint(b.Scope, b.Currency, name)
}

func (m *Model) place(r *spend.Request) Answer {
	run := m.runs[r.Run]
	if run == nil || r.By.Kind == purser.Agent && r.By.Run != r.Run {
		return Answer{Code: purser.NotFound}
	}
	m.firstLimit(spend.Scope{Scope: "provider", Target: r.Provider})
	var windows, failed []string
	budgeted := false
	for _, s := range scopesOf(run, r) {
		for _, b := range m.budgets {
			if b.Scope != s || b.Currency != r.Amount.Currency {
				continue
			}
			budgeted = budgeted || s.Scope == "run"
			w := m.window(b)
			windows = append(windows, w)
			if m.used[w]+r.Amount.Amount > b.Limit {
				failed = append(failed, fmt.Sprintf("%s:%s %s %d of %d", s.Scope, s.Target, b.Period, max(0, b.Limit-m.used[w]), b.Limit))
			}
		}
	}
	repeat := spend.Repeat{Run: run.ID, Provider: r.Provider, Target: r.Target, Currency: r.Amount.Currency, Amount: r.Amount.Amount}
	order := r.Kind == purser.KindOrder
	meant := order && m.meant[repeat] > 0
	if code := m.forbidden(r, run, budgeted, len(failed) > 0, order && !meant); code != "" {
		if code != purser.BudgetExceeded {
			failed = nil
		}
		return Answer{Code: code, Failed: listed(failed)}
	}
	h := &modelHold{
		id: r.ID, owner: r.By.ID, run: run.ID, project: run.Project, agent: run.Agent, provider: r.Provider, target: r.Target, currency: r.Amount.Currency,
		amount: r.Amount.Amount, left: r.Amount.Amount, state: "held", at: m.now, expires: m.now.Add(r.Lifetime), windows: windows,
	}
	m.use(h, h.amount)
	if r.Op == spend.Charge {
		h.captured, h.left, h.state = h.amount, 0, "captured"
	}
	m.holds[h.id] = h
	if order {
		m.placed = append(m.placed, h)
		if meant {
			m.meant[repeat]--
		}
	}
	return m.show(h)
}

func scopesOf(run *modelRun, r *spend.Request) []spend.Scope {
	all := []spend.Scope{{Scope: "organization", Target: Org}, {Scope: "project", Target: run.Project}, {Scope: "provider", Target: r.Provider}}
	if r.Category != "" {
		all = append(all, spend.Scope{Scope: "category", Target: r.Category})
	}
	for _, l := range append(slices.Clone(run.labels), r.Labels...) {
		if s := (spend.Scope{Scope: "label", Target: l}); !slices.Contains(all, s) {
			all = append(all, s)
		}
	}
	return append(all, spend.Scope{Scope: "run", Target: run.ID})
}

// forbidden is the first no, in the order of the rules.
func (m *Model) forbidden(r *spend.Request, run *modelRun, budgeted, above, checked bool) purser.Code {
	for _, s := range m.stops {
		if !s.lifted && covers(s.Scope, run.Project, r.Provider, run.Agent, run.ID) {
			return purser.Stopped
		}
	}
	switch {
	case m.skew.Abs() > 5*time.Second:
		return purser.ClockUnsafe
	case over(run, m.now):
		return purser.RunEnded
	case run.Providers != nil && !slices.Contains(run.Providers, r.Provider):
		return purser.Forbidden
	case !budgeted:
		return purser.CurrencyNotBudgeted
	case above:
		return purser.BudgetExceeded
	}
	if checked {
		recent, failures, paused := 0, map[string]int{}, false
		for _, h := range m.placed {
			if h.run != run.ID && (h.agent == "" || h.agent != run.Agent) || m.now.Sub(h.at) >= time.Hour {
				continue
			}
			recent++
			if h.run != run.ID {
				continue
			}
			dead := h.captured == 0 && (h.state == "released" || h.state == "expired")
			if failures[h.target]++; !dead || h.amount == 0 && h.target != r.Target {
				failures[h.target] = 0
			}
			if !dead && h.target == r.Target && h.amount == r.Amount.Amount && m.now.Sub(h.at) < 10*time.Minute {
				return purser.LooksLikeDuplicate
			}
		}
		for _, n := range failures {
			paused = paused || n >= 3
		}
		if paused || m.burst(run, r.Provider) || recent >= OrdersPerHour {
			return purser.TooManyOrders
		}
	}
	if r.Kind == purser.KindOrder && (r.Amount.Currency != "USD" || r.Amount.Amount > run.Threshold) {
		return purser.NeedsApproval
	}
	return ""
}

// burst reports whether a provider would be one more new one, after as many as an agent
// may try within an hour.
func (m *Model) burst(run *modelRun, provider string) bool {
	bought, tried := map[string]bool{}, map[string]bool{}
	for _, h := range m.placed {
		if old := m.now.Sub(h.at) >= time.Hour; old && h.captured > 0 {
			bought[h.provider] = true
		} else if !old && h.agent == run.Agent {
			tried[h.provider] = true
		}
	}
	maps.DeleteFunc(tried, func(p string, _ bool) bool { return bought[p] })
	return !bought[provider] && !tried[provider] && len(tried) >= NewProviders
}

// OrdersPerHour is the pace of the world, NewProviders how many new ones an agent may
// order from within an hour.
const (
	OrdersPerHour = 5
	NewProviders  = 3
)
