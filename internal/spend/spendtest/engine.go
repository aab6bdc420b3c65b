package spendtest

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/purser-dev/purser"
	"github.com/purser-dev/purser/internal/audit"
	"github.com/purser-dev/purser/internal/guard"
	"github.com/purser-dev/purser/internal/ledger"
	"github.com/purser-dev/purser/internal/spend"
)

// Engine is the decision core over rows in memory. Each batch loads copies and
// writes back only what the core says it changed, as the store does, so what it
// forgets to name is lost here too.
type Engine struct {
	Now     time.Time
	Skew    time.Duration
	Zone    *time.Location
	Guards  guard.Set
	First   int64 // monthly limit of a provider, USD
	Seq     int64
	Epoch   int64
	Stops   []purser.StopInfo
	Tokens  map[string]spend.Token
	Runs    map[string]*spend.Run
	Budgets map[spend.Scope][]spend.Budget
	Windows map[spend.WindowKey]spend.Window
	Holds   map[string]spend.Hold
	Orders  []string // holds of orders, in their order
	Keys    map[spend.Key]spend.Kept
	Meant   map[spend.Repeat]int
	Records int // that were written
	// Fault plants a fault; see Faults.
	Fault Fault

	batches  int
	seenStop []purser.StopInfo // of a faulty engine
}

// Guards are those of the office.
func Guards() guard.Set {
	return guard.Set{
		guard.Stops{},
		guard.Clock{Most: 5 * time.Second},
		guard.OpenRun{},
		guard.AllowedProvider{},
		guard.Budgeted{},
		guard.Budgets{},
		guard.Repeat{Within: 10 * time.Minute},
		guard.Breaker{Most: 3},
		guard.Burst{Most: NewProviders},
		guard.Pace{Most: OrdersPerHour},
	}
}

// NewEngine is the world at its start.
func NewEngine(now time.Time, zone *time.Location, first int64) *Engine {
	e := &Engine{
		Now: now, Zone: zone, First: first, Guards: Guards(), Tokens: map[string]spend.Token{}, Runs: map[string]*spend.Run{}, Budgets: map[spend.Scope][]spend.Budget{},
		Windows: map[spend.WindowKey]spend.Window{}, Holds: map[string]spend.Hold{}, Keys: map[spend.Key]spend.Kept{}, Meant: map[spend.Repeat]int{},
	}
	for n := range 2 {
		e.Tokens[Platform(n).Token] = spend.Token{ExpiresAt: now.AddDate(100, 0, 0)}
	}
	for _, r := range Runs() {
		run := &spend.Run{Project: r.Project, Agent: r.Agent, Threshold: purser.Money{Amount: r.Threshold, Currency: "USD"}, Labels: spend.Together(Projects()[r.Project], r.Labels)}
		run.ID, run.ExpiresAt, run.Providers = r.ID, now.Add(r.Life), r.Providers
		e.Runs[r.ID], e.Tokens[r.Token] = run, spend.Token{ExpiresAt: run.ExpiresAt}
		e.limit(spend.Budget{Scope: spend.Scope{Scope: purser.ScopeRun, Target: r.ID}, Period: purser.PeriodRun, Currency: "USD", Limit: r.Budget})
	}
	for _, b := range Budgets() {
		e.limit(b)
	}
	return e
}

// WithOrder puts the hold of an order into the world.
func (e *Engine) WithOrder() *Engine {
	e.Holds[OrderHold] = spend.Hold{
		ID: OrderHold, Run: "run_0", Project: "prj_0", Agent: "agt_0", Provider: "alpha", Kind: purser.KindOrder, State: purser.HoldBegun, Currency: "USD", Amount: 100,
		CreatedAt: e.Now, ExpiresAt: e.Now.Add(time.Hour),
	}
	return e
}

// Clone is an engine that goes its own way.
func (e *Engine) Clone() *Engine {
	c := *e
	c.Tokens, c.Windows, c.Holds, c.Keys, c.Meant = maps.Clone(e.Tokens), maps.Clone(e.Windows), maps.Clone(e.Holds), maps.Clone(e.Keys), maps.Clone(e.Meant)
	c.Stops, c.Orders, c.Budgets, c.Runs = slices.Clone(e.Stops), slices.Clone(e.Orders), map[spend.Scope][]spend.Budget{}, map[string]*spend.Run{}
	for s, b := range e.Budgets {
		c.Budgets[s] = slices.Clone(b)
	}
	for id, r := range e.Runs {
		r := *r
		c.Runs[id] = &r
	}
	return &c
}

// Do takes a step; of a batch it gives the answers. An error is a state that no
// sequence of decisions may reach.
func (e *Engine) Do(s Step) ([]Answer, error) {
	switch {
	case s.Batch != nil:
		outcomes, err := e.Decide(s.Batch)
		out := make([]Answer, len(outcomes))
		for i, o := range outcomes {
			out[i] = AnswerOf(o)
		}
		return out, err
	case s.Stop != nil:
		e.Stop(*s.Stop)
	case s.Resume:
		e.Resume()
	case s.Limit != nil:
		e.limit(*s.Limit)
	case s.Allow != nil:
		e.Meant[*s.Allow]++
	case s.Revoke != "":
		if t := e.Tokens[s.Revoke]; !t.Revoked {
			t.Revoked, t.Taken = true, s.Taken
			e.Tokens[s.Revoke] = t
		}
	case s.End != "":
		e.Runs[s.End].Ended = true
	case s.Skew != nil:
		e.Skew = *s.Skew
	}
	e.Now = e.Now.Add(s.Advance)
	return nil, nil
}

// Stop is a stop from this turn on.
func (e *Engine) Stop(s spend.Scope) {
	e.Epoch++
	e.Seq++
	e.Records++
	e.Stops = append(e.Stops, purser.StopInfo{ID: fmt.Sprintf("stp_%d", e.Epoch), Scope: s.Scope, Target: s.Target, Epoch: e.Epoch, Seq: e.Seq, At: e.Now})
}

// Resume lifts the oldest stop in force.
func (e *Engine) Resume() {
	for i := range e.Stops {
		if e.Stops[i].LiftedAt == nil {
			e.Epoch++
			e.Seq++
			e.Records++
			at := e.Now
			e.Stops[i].LiftedAt = &at
			return
		}
	}
}

// limit sets a limit and moves the ceilings of its windows, as SetCeiling does.
func (e *Engine) limit(b spend.Budget) {
	if b.Scope.Scope == purser.ScopeProvider && len(e.Budgets[b.Scope]) == 0 {
		e.Budgets[b.Scope] = []spend.Budget{{Scope: b.Scope, Period: purser.PeriodMonth, Currency: "USD", Limit: e.First}}
	}
	rows := e.Budgets[b.Scope]
	at := slices.IndexFunc(rows, func(o spend.Budget) bool { return o.Period == b.Period && o.Currency == b.Currency })
	if at < 0 {
		rows, at = append(rows, b), len(rows)
	}
	rows[at].Limit = b.Limit
	e.Budgets[b.Scope] = rows
	for k, w := range e.Windows {
		if k.Scope == b.Scope.Scope && k.Target == b.Target && k.Currency == b.Currency && periodOf(k.Name, b.Target) == b.Period {
			w.Ceiling = max(b.Limit, w.Use())
			e.Windows[k] = w
		}
	}
}

// periodOf tells a window's period by its name.
func periodOf(name, target string) string {
	switch {
	case name == target:
		return purser.PeriodRun
	case len(name) == len("2026-01-02T15"):
		return purser.PeriodHour
	case len(name) == len("2026-01-02"):
		return purser.PeriodDay
	case len(name) == len("2026-W01"):
		return purser.PeriodWeek
	case len(name) == len("2026-01"):
		return purser.PeriodMonth
	}
	return purser.PeriodTotal
}

// load is what a turn loads for requests.
func (e *Engine) load(requests []spend.Request) *spend.State {
	s := &spend.State{
		Org: Org, Now: e.Now, Skew: e.Skew, Zone: e.Zone, Seq: e.Seq, Epoch: e.Epoch, Stops: slices.Clone(e.Stops), Tokens: e.Tokens, Runs: map[string]*spend.Run{},
		Budgets: map[spend.Scope][]*spend.Budget{}, Windows: map[spend.WindowKey]*spend.Window{}, Holds: map[string]*spend.Hold{}, Keys: map[spend.Key]spend.Kept{},
		Recent: map[string][]spend.Recent{}, News: map[string][]string{}, Known: map[string]bool{}, Repeats: map[spend.Repeat]int{}, DefaultProvider: purser.Money{Amount: e.First, Currency: "USD"}, Guards: e.Guards,
	}
	for id, r := range e.Runs {
		r := *r
		s.Runs[id] = &r
	}
	for scope, rows := range e.Budgets {
		for _, b := range rows {
			s.Budgets[scope] = append(s.Budgets[scope], &b)
		}
	}
	for k, w := range e.Windows {
		s.Windows[k] = &w
	}
	maps.Copy(s.Repeats, e.Meant)
	for i := range requests {
		r := &requests[i]
		if h, ok := e.Holds[r.Hold]; ok && s.Holds[h.ID] == nil {
			s.Holds[h.ID] = &h
		}
		k := spend.Key{Principal: r.By.ID, Key: r.By.Key}
		if kept, ok := e.Keys[k]; ok {
			if kept.Made != nil { // as it is now: its row is all that a database has of it
				h := e.Holds[kept.Made.ID]
				kept.Made = &h
			}
			s.Keys[k] = kept
		}
		if r.Kind == purser.KindOrder && s.Recent[r.Run] == nil {
			s.Recent[r.Run] = e.recent(r.Run)
			e.news(s, r.Run)
		}
		if r.Kind == purser.KindOrder {
			s.Known[r.Provider] = e.known(r.Provider)
		}
	}
	return s
}

// news loads what an agent ordered from in the last hour.
func (e *Engine) news(s *spend.State, run string) {
	for _, id := range e.Orders {
		h := e.Holds[id]
		if r := e.Runs[run]; r != nil && h.Agent == r.Agent && h.CreatedAt.After(e.Now.Add(-time.Hour)) {
			s.News[run] = append(s.News[run], h.Provider)
			s.Known[h.Provider] = e.known(h.Provider)
		}
	}
}

func (e *Engine) known(provider string) bool {
	return slices.ContainsFunc(e.Orders, func(id string) bool {
		h := e.Holds[id]
		return h.Provider == provider && h.Captured > 0 && !h.CreatedAt.After(e.Now.Add(-time.Hour))
	})
}

func (e *Engine) recent(run string) []spend.Recent {
	out := []spend.Recent{}
	for _, id := range e.Orders {
		h := e.Holds[id]
		mine := h.Run == run || h.Agent != "" && e.Runs[run] != nil && h.Agent == e.Runs[run].Agent
		if mine && h.CreatedAt.After(e.Now.Add(-time.Hour)) {
			r := spend.Recent{Hold: id, Recent: guard.Recent{Target: h.Target, Amount: h.Amount, At: h.CreatedAt, SameRun: h.Run == run, Failed: h.Failed()}}
			out = append(out, r)
		}
	}
	return out
}

// Decide decides a batch and writes what it changed.
func (e *Engine) Decide(requests []spend.Request) ([]spend.Outcome, error) {
	e.batches++
	s := e.load(requests)
	requests = e.spoil(s, requests)
	outcomes := s.Decide(requests)
	if e.Fault == "" {
		if err := s.Check(); err != nil {
			return outcomes, err
		}
	}
	if n := s.Seq - e.Seq; n != int64(len(s.Records)) {
		return outcomes, fmt.Errorf("%d numbers for %d records", n, len(s.Records))
	}
	if err := e.entries(s); err != nil {
		return outcomes, err
	}
	if err := e.recorded(s, requests, outcomes); err != nil {
		return outcomes, err
	}
	e.Seq, e.Records, e.Epoch = s.Seq, e.Records+len(s.Records), s.Epoch
	if err := e.exceeded(s, outcomes); err != nil {
		return outcomes, err
	}
	for _, scope := range s.Default {
		if len(e.Budgets[scope]) > 0 {
			return outcomes, fmt.Errorf("%v gets a first limit, and has one", scope)
		}
		e.Budgets[scope] = []spend.Budget{*s.Budgets[scope][0]}
	}
	for _, list := range [][]*spend.Hold{s.Opened, s.Changed} {
		for _, h := range list {
			if _, there := e.Holds[h.ID]; !there && h.Kind == purser.KindOrder {
				e.Orders = append(e.Orders, h.ID)
			}
			e.Holds[h.ID] = h.Stored()
		}
	}
	for _, w := range s.Moved {
		if _, there := e.Windows[w.WindowKey]; there == w.New {
			return outcomes, fmt.Errorf("window %v: new is %v, and it is there: %v", w.WindowKey, w.New, there)
		}
		e.Windows[w.WindowKey] = spend.Window{WindowKey: w.WindowKey, Held: w.Held, Captured: w.Captured, Refunded: w.Refunded, Ceiling: w.Ceiling}
	}
	for _, r := range s.Used {
		if e.Meant[r]--; e.Meant[r] < 0 {
			return outcomes, fmt.Errorf("a repeat was used that nobody allowed: %+v", r)
		}
	}
	for i, o := range outcomes {
		if o.Keep && !o.Replay {
			kept := spend.Kept{Hash: requests[i].Hash, Hold: o.Hold, Err: o.Err, Seq: o.Seq}
			if o.Err == nil && requests[i].Op.Opens() {
				kept = spend.Kept{Hash: kept.Hash, Made: &spend.Hold{ID: o.Hold.ID}, Seq: o.Seq}
			}
			e.Keys[spend.Key{Principal: requests[i].By.ID, Key: requests[i].By.Key}] = kept
		}
	}
	e.forget(s)
	return outcomes, nil
}

// exceeded keeps the stops that overruns made, and checks that each overrun has its
// record, its movement and, in the same turn, a stop in force.
func (e *Engine) exceeded(s *spend.State, outcomes []spend.Outcome) error {
	moved, stops := int64(0), 0
	for _, x := range s.Exceeded {
		scope, target := purser.ScopeRun, x.Hold.Run
		if rec := s.Records[x.Seq-s.Seq+int64(len(s.Records))-1]; rec.Money.Overrun == nil || rec.Money.Overrun.Amount != x.Amount || rec.Actor.Kind != string(purser.Platform) {
			return fmt.Errorf("an overrun of %d is recorded as %+v", x.Amount, rec)
		}
		moved += x.Amount
		if x.Stop != nil {
			stops++
			if rec := s.Records[x.Stop.Seq-s.Seq+int64(len(s.Records))-1]; x.Stop.Seq != x.Seq+1 || rec.Action != "stop" || rec.Target != scope+":"+target {
				return fmt.Errorf("the stop of an overrun is recorded as %+v", rec)
			}
			e.Stops = append(e.Stops, *x.Stop)
		}
		if !slices.ContainsFunc(e.Stops, func(i purser.StopInfo) bool {
			return i.LiftedAt == nil && i.Scope == scope && i.Target == target
		}) {
			return fmt.Errorf("hold %s was captured above its amount, and %s %s is not stopped", x.Hold.ID, scope, target)
		}
	}
	for _, m := range s.Movements {
		if m.Kind == ledger.Overrun {
			moved -= m.Amount
		}
	}
	for _, o := range outcomes {
		if o.Stop != nil {
			stops--
		}
	}
	if moved != 0 || stops != 0 {
		return fmt.Errorf("overruns and their movements differ by %d, their stops by %d", moved, stops)
	}
	return nil
}

// entries checks that what was posted adds up to what the windows changed by: each
// movement is one of each window of its hold.
func (e *Engine) entries(s *spend.State) error {
	change, numbers := map[spend.WindowKey]int64{}, map[[2]int64]bool{}
	for _, m := range s.Movements {
		if n := [2]int64{m.Seq, m.N}; m.Amount <= 0 || numbers[n] {
			return fmt.Errorf("a movement of %d, numbered %v", m.Amount, n)
		}
		numbers[[2]int64{m.Seq, m.N}] = true
		for _, w := range m.Hold.Windows {
			switch m.Kind {
			case ledger.Hold, ledger.Charge:
				change[w] += m.Amount
			case ledger.Release, ledger.Refund:
				change[w] -= m.Amount
			case ledger.Capture, ledger.Overrun, ledger.Return: // outside of the sum, or within it already
			}
		}
	}
	for _, w := range s.Moved {
		old := e.Windows[w.WindowKey]
		if w.Use()-old.Use() != change[w.WindowKey] {
			return fmt.Errorf("window %v moved by %d, its movements are %d", w.WindowKey, w.Use()-old.Use(), change[w.WindowKey])
		}
	}
	for i, r := range s.Records {
		if r.Seq != e.Seq+int64(i)+1 || r.Org != Org || r.TS != s.Now.UnixMicro() || r.Outcome == "" || r.Action == "" || r.Outcome == audit.Refused && r.Policy == nil {
			return fmt.Errorf("record %d of %d is %+v", i, len(s.Records), r)
		}
	}
	return nil
}

// recorded checks that each decision has its record, which says what was decided,
// and that the records alone give the windows (T12).
func (e *Engine) recorded(s *spend.State, requests []spend.Request, outcomes []spend.Outcome) error {
	for i, o := range outcomes {
		if o.Replay || o.Seq == 0 {
			continue
		}
		r, rec := requests[i], s.Records[o.Seq-e.Seq-1]
		ok := rec.Action == string(r.Op) && rec.Actor.ID == r.By.ID && rec.IdempotencyKey == r.By.Key && rec.Target != ""
		h := s.Holds[r.Hold]
		switch {
		case o.Err != nil:
			ok = ok && rec.Outcome == audit.Refused && rec.Policy.Reasons[0] == string(o.Err.Code) && rec.Detail["reason"] == o.Err.Detail
		case h == nil:
			ok = ok && rec.Target == o.Hold.ID && rec.Run == r.Run && rec.Detail["category"] == r.Category && rec.Detail["target"] == r.Target && rec.Detail["provider"] == r.Provider
		default:
			ok = ok && rec.Target == h.ID && rec.Run == h.Run && rec.Project == h.Project
		}
		if !ok {
			return fmt.Errorf("%+v became %+v, recorded as %+v", r, o, rec)
		}
	}
	said := map[spend.WindowKey]audit.BudgetLine{}
	for _, rec := range s.Records {
		for _, b := range rec.Budgets {
			scope, target, _ := strings.Cut(b.Scope, ":")
			said[spend.WindowKey{Scope: scope, Target: target, Currency: b.Currency, Name: b.Window}] = b
		}
	}
	for _, w := range s.Moved {
		b, ok := said[w.WindowKey]
		if !ok || b.Held != w.Held || b.Captured != w.Captured || b.Refunded != w.Refunded || b.Limit != e.limitNow(s, w.WindowKey) {
			return fmt.Errorf("window %+v with a limit of %d is recorded as %+v", w, e.limitNow(s, w.WindowKey), b)
		}
	}
	return nil
}

// limitNow is the limit of the budget that a window is the present one of, or 0.
func (e *Engine) limitNow(s *spend.State, k spend.WindowKey) int64 {
	for _, b := range s.Budgets[spend.Scope{Scope: k.Scope, Target: k.Target}] {
		if name, _ := guard.Window(b.Period, b.Target, e.Now, e.Zone); name == k.Name && b.Currency == k.Currency {
			return b.Limit
		}
	}
	return 0
}

// Books derives every window from the holds and compares (RULES 5).
func (e *Engine) Books() error {
	type sums struct{ held, captured, refunded int64 }
	want := map[spend.WindowKey]sums{}
	for _, h := range e.Holds {
		open := h.State == purser.HoldHeld || h.State == purser.HoldBegun || h.State == purser.HoldUnknown
		left := h.Amount - h.Captured - h.Released
		if left < 0 || h.Captured < 0 || h.Released < 0 || h.Refunded < 0 || h.Refunded > h.Captured || h.Returned < 0 || h.Returned > h.Overrun || !open && left != 0 {
			return fmt.Errorf("hold %+v", h)
		}
		for _, k := range h.Windows {
			s := want[k]
			want[k] = sums{s.held + left, s.captured + h.Captured, s.refunded + h.Refunded}
		}
	}
	for k, w := range e.Windows {
		if got := (sums{w.Held, w.Captured, w.Refunded}); got != want[k] {
			return fmt.Errorf("window %v is %+v, its holds are %+v", k, got, want[k])
		}
		if w.Use() > w.Ceiling {
			return fmt.Errorf("window %v is used with %d of %d", k, w.Use(), w.Ceiling)
		}
	}
	for k := range want {
		if _, ok := e.Windows[k]; !ok {
			return fmt.Errorf("window %v is not there", k)
		}
	}
	return nil
}

// Within fails when a hold that was just accepted left a budget in force above its
// limit (RULES 5).
func (e *Engine) Within(hold string) error {
	for _, k := range e.Holds[hold].Windows {
		for _, b := range e.Budgets[spend.Scope{Scope: k.Scope, Target: k.Target}] {
			if b.Currency == k.Currency && b.Period == periodOf(k.Name, k.Target) {
				if w := e.Windows[k]; w.Use() > b.Limit {
					return fmt.Errorf("%s leaves %s:%s %s with %d of %d", hold, k.Scope, k.Target, k.Name, w.Use(), b.Limit)
				}
			}
		}
	}
	return nil
}
