package spend

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/purser-dev/purser"
	"github.com/purser-dev/purser/internal/audit"
	"github.com/purser-dev/purser/internal/guard"
	"github.com/purser-dev/purser/internal/ledger"
)

// Scopes are what can cover a spend, widest first.
func Scopes(org, project, provider, category, run string, labels []string) []Scope {
	all := make([]Scope, 0, 5+len(labels))
	all = append(all, Scope{purser.ScopeOrganization, org}, Scope{purser.ScopeProject, project}, Scope{purser.ScopeProvider, provider})
	if category != "" {
		all = append(all, Scope{purser.ScopeCategory, category})
	}
	for _, l := range labels {
		all = append(all, Scope{purser.ScopeLabel, l})
	}
	if run != "" {
		all = append(all, Scope{purser.ScopeRun, run})
	}
	return all
}

// Together is two lists of labels as one in which nothing stands twice.
func Together(a, b []string) []string {
	if len(b) == 0 {
		return a
	}
	all := slices.Clone(a)
	for _, l := range b {
		if !slices.Contains(all, l) {
			all = append(all, l)
		}
	}
	return all
}

// place decides a hold, or a hold and its capture at once.
func (s *State) place(r *Request) Outcome {
	rec := s.record(r, nil)
	rec.Target = r.Provider
	run := s.Runs[r.Run]
	switch {
	case run == nil, r.By.Kind == purser.Agent && r.Run != r.By.Run:
		return s.refuse(r, rec, purser.Errorf(purser.NotFound, "no run is called %q here", r.Run).WithHint("purser run list"))
	}
	rec.Run, rec.Project = run.ID, run.Project
	money := &audit.Money{Amount: r.Amount.Amount, Currency: r.Amount.Currency}
	rec.Money = &audit.Amounts{Expected: money, Ceiling: money}
	covered := s.covering(r, run)
	sp := guard.Spend{
		Now: s.Now, Skew: s.Skew, NoZone: s.NoZone, Amount: r.Amount, Provider: r.Provider, Target: r.Target, Order: r.Kind == purser.KindOrder, Run: &run.Run,
		Path:  guard.Path{Organization: s.Org, Project: run.Project, Provider: r.Provider, Agent: run.Agent, Run: run.ID},
		Stops: s.inForce(), Recent: s.recent(run), Budgets: covered.lines,
	}
	repeat := Repeat{run.ID, r.Provider, r.Target, r.Amount.Currency, r.Amount.Amount}
	sp.Meant = sp.Order && s.Repeats[repeat] > 0
	if sp.Order {
		sp.New, sp.NewSince = !s.known(r.Provider), s.news(run)
	}
	if no := s.forbidden(r, run, sp); no != nil {
		return s.refuse(r, rec, no)
	}
	s.keepDefault(r.Provider)
	h := &Hold{
		ID: r.ID, Principal: r.By.ID, Agent: run.Agent, Run: run.ID, Project: run.Project, Provider: r.Provider, Category: r.Category, Kind: r.Kind,
		Target: r.Target, Currency: r.Amount.Currency, Amount: r.Amount.Amount, Epoch: s.Epoch,
		ExpiresAt: s.Now.Add(r.Lifetime), CreatedAt: s.Now, Windows: covered.keys, Seq: s.Seq + 1,
	}
	h.opened(r.Op)
	kind := ledger.Hold
	if r.Op == Charge {
		kind = ledger.Charge
		*rec.Money = audit.Amounts{Actual: money}
	}
	rec.Target = h.ID
	rec.Budgets = s.moveIn(covered.windows, h, kind, h.Amount, s.Seq+1, h.Amount)
	rec.Detail = map[string]string{"provider": r.Provider}
	if r.Category != "" {
		rec.Detail["category"] = r.Category
	}
	if r.Target != "" {
		rec.Detail["target"] = r.Target
	}
	s.Opened = append(s.Opened, h)
	s.Holds[h.ID] = h
	if sp.Order {
		s.Recent[run.ID] = append(s.Recent[run.ID], Recent{guard.Recent{Target: r.Target, Amount: r.Amount.Amount, At: s.Now, SameRun: true}, h.ID})
		if sp.Meant {
			s.Repeats[repeat]--
			s.Used = append(s.Used, repeat)
		}
	}
	seq := s.write(rec)
	return Outcome{Hold: s.show(h, seq), Seq: seq}
}

// recent are the orders of a run and of its agent as they stand now: one of before may
// have been given back a moment ago.
func (s *State) recent(run *Run) []guard.Recent {
	out := make([]guard.Recent, len(s.Recent[run.ID]))
	for i, r := range s.Recent[run.ID] {
		out[i] = r.Recent
		if h := s.Holds[r.Hold]; h != nil {
			out[i].Failed = h.Failed()
		}
	}
	for _, h := range s.Opened { // in this turn, in the agent's other runs
		if h.Kind == purser.KindOrder && h.Run != run.ID && h.Agent != "" && h.Agent == run.Agent {
			out = append(out, guard.Recent{Target: h.Target, Amount: h.Amount, At: h.CreatedAt, Failed: h.Failed()})
		}
	}
	return out
}

// news are the providers that the run's agent ordered from within the hour, and that
// nobody here had bought from before it.
func (s *State) news(run *Run) []string {
	var out []string
	add := func(provider string) {
		if !slices.Contains(out, provider) && !s.known(provider) {
			out = append(out, provider)
		}
	}
	for _, p := range s.News[run.ID] {
		add(p)
	}
	for _, h := range s.Opened { // in this turn
		if h.Kind == purser.KindOrder && (h.Run == run.ID || h.Agent != "" && h.Agent == run.Agent) {
			add(h.Provider)
		}
	}
	slices.Sort(out)
	return out
}

// known reports whether something was bought from a provider before the last hour;
// it may have been captured a moment ago.
func (s *State) known(provider string) bool {
	if s.Known[provider] {
		return true
	}
	for _, h := range s.Holds {
		if h.Provider == provider && h.Kind == purser.KindOrder && h.Principal != "" && h.Captured > 0 && !h.CreatedAt.After(s.Now.Add(-time.Hour)) {
			return true
		}
	}
	return false
}

// forbidden is the first no: the run's, the guards', and a person's who was not
// asked.
func (s *State) forbidden(r *Request, run *Run, sp guard.Spend) *purser.Error {
	if refusals := s.Guards.Refusals(sp); len(refusals) > 0 {
		return refusals[0]
	}
	// Promise 4: what is dear is a plan that a person signs. How dear another currency
	// is, a threshold cannot say.
	if sp.Order && (r.Amount.Currency != run.Threshold.Currency || r.Amount.Amount > run.Threshold.Amount) {
		return purser.Errorf(purser.NeedsApproval, "an order of %s is not within the run's threshold of %s", r.Amount, run.Threshold).
			WithHint("what a catalog sells can be planned, and a person approves it: purser plan PROVIDER/SERVICE; else a person can make a run with a higher threshold: purser run create --budget AMOUNT --threshold %q", r.Amount.String())
	}
	return nil
}

// inForce are the stops that nobody lifted.
func (s *State) inForce() []purser.StopInfo {
	for i := range s.Stops {
		if s.Stops[i].LiftedAt != nil { // rare: a hold is older than a lifted stop
			return slices.DeleteFunc(slices.Clone(s.Stops), func(i purser.StopInfo) bool { return i.LiftedAt != nil })
		}
	}
	return s.Stops
}

// alike is what spends have in common that the same budgets cover. labels are those of
// the request, a line each: none has a line break (guard.CheckLabel).
type alike struct{ run, provider, category, currency, labels string }

// cover is what covers spends that are alike.
type cover struct {
	windows []*Window
	keys    []WindowKey    // of the windows; their holds share it
	lines   []guard.Budget // of the windows as they stand
}

// covering are the budgets in its currency that cover a spend, each with the window
// that now falls into. They are found once for all that are alike, as most of a batch are.
func (s *State) covering(r *Request, run *Run) *cover {
	kind := alike{run.ID, r.Provider, r.Category, r.Amount.Currency, strings.Join(r.Labels, "\n")}
	c := s.covers[kind]
	if c == nil {
		c = s.cover(Scopes(s.Org, run.Project, r.Provider, r.Category, run.ID, Together(run.Labels, r.Labels)), r.Amount.Currency)
		if s.covers == nil {
			s.covers = map[alike]*cover{}
		}
		s.covers[kind] = c
	}
	for i, w := range c.windows {
		w.fill(&c.lines[i].BudgetLine)
	}
	return c
}

// cover finds what covers scopes; a window that is new is opened.
func (s *State) cover(scopes []Scope, currency string) *cover {
	c := &cover{}
	for _, scope := range scopes {
		rows := s.Budgets[scope]
		if len(rows) == 0 && scope.Scope == purser.ScopeProvider {
			rows = s.defaultLimit(scope)
		}
		for _, b := range rows {
			if b.Currency != currency {
				continue
			}
			p := s.period(b)
			w := s.window(WindowKey{b.Scope.Scope, b.Target, b.Currency, p.name}, b)
			c.windows, c.keys = append(c.windows, w), append(c.keys, w.WindowKey)
			c.lines = append(c.lines, guard.Budget{BudgetLine: line(b, w, p.next)})
		}
	}
	return c
}

// defaultLimit is the monthly limit of a first spend at a provider (CONTROLS, defaults).
func (s *State) defaultLimit(scope Scope) []*Budget {
	limit := s.DefaultProvider
	b := &Budget{Scope: scope, Period: purser.PeriodMonth, Currency: limit.Currency, Limit: limit.Amount, Thresholds: []int{50, 80, 100}, unkept: true}
	s.Budgets[scope] = []*Budget{b}
	return s.Budgets[scope]
}

// keepDefault keeps the limit that a provider gets with its first spend. Who is refused
// leaves none: names cost nothing, and there would be no end of them.
func (s *State) keepDefault(provider string) {
	scope := Scope{purser.ScopeProvider, provider}
	for _, b := range s.Budgets[scope] {
		if !b.unkept {
			continue
		}
		b.unkept = false
		s.Default = append(s.Default, scope)
		s.write(audit.Record{
			Actor: audit.Actor{Kind: string(purser.System), ID: "purser"}, Action: "default_budget", Target: "provider:" + provider, Outcome: audit.Accepted,
			Detail: map[string]string{"limit": s.DefaultProvider.String(), "period": b.Period},
		})
	}
}

func (s *State) window(k WindowKey, b *Budget) *Window {
	w := s.Windows[k]
	if w == nil {
		w = &Window{WindowKey: k, Ceiling: b.Limit, New: true}
		s.Windows[k] = w
	}
	w.of = b
	return w
}

// line shows a budget in a window.
func line(b *Budget, w *Window, next time.Time) purser.BudgetLine {
	out := purser.BudgetLine{
		Scope: b.Scope.Scope, ID: b.Target, Period: b.Period, Window: w.Name, Limit: purser.Money{Amount: b.Limit, Currency: b.Currency}, Thresholds: b.Thresholds,
	}
	if !next.IsZero() {
		out.ResetsAt = &next
	}
	w.fill(&out)
	return out
}

// fill says how a window stands. Use beyond what its columns can add up is refused by
// the guard before it can be stored.
func (w *Window) fill(l *purser.BudgetLine) {
	l.Held, l.Captured, l.Refunded, l.Left = w.Held, w.Captured, w.Refunded, max(0, l.Limit.Amount-w.Held-w.Captured+w.Refunded)
}

// Check finds a state that no sequence of decisions can reach, before it is written
// (SPEND.md 6.3). It finds nothing unless the program errs.
func (s *State) Check() error {
	for _, w := range s.Moved {
		switch {
		case w.Held < 0 || w.Captured < 0 || w.Refunded < 0 || w.Refunded > w.Captured:
			return fmt.Errorf("budget %s:%s %s would have held %d, captured %d, refunded %d", w.Scope, w.Target, w.Name, w.Held, w.Captured, w.Refunded)
		case w.Use() > w.Ceiling:
			return fmt.Errorf("budget %s:%s %s would be at %d of %d", w.Scope, w.Target, w.Name, w.Use(), w.Ceiling)
		}
	}
	for _, list := range [][]*Hold{s.Opened, s.Changed} {
		for _, h := range list {
			if h.Left() < 0 || h.Captured < 0 || h.Released < 0 || h.Refunded > h.Captured || h.Returned < 0 || h.Returned > h.Overrun || !h.Open() && h.Left() != 0 {
				return fmt.Errorf("hold %s would be %s with %d captured, %d released and %d refunded of %d", h.ID, h.State, h.Captured, h.Released, h.Refunded, h.Amount)
			}
		}
	}
	for i, r := range s.Records {
		if r.Seq != s.Seq-int64(len(s.Records))+1+int64(i) {
			return fmt.Errorf("record %d of the turn would have the number %d", i, r.Seq)
		}
	}
	return nil
}
