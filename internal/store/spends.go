package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/purser-dev/purser"
	"github.com/purser-dev/purser/internal/guard"
	"github.com/purser-dev/purser/internal/spend"
)

// Spends are requests of one organization that are decided in one turn: the store
// loads the rows that they touch, lets Decide look at them and change them, and
// writes what was changed. What the hints name is loaded with the turn's first
// statement; what else is needed, in a second question.
type Spends struct {
	Organization string
	Requests     []spend.Request
	// Facts are where a run's spends were before; they say what to load, and decide nothing.
	Facts func(run string) (RunFacts, bool)
	// Kept reads what a key keeps.
	Kept func(k spend.Key, hash, code string, answer []byte) (spend.Kept, error)
	// Decide is given the loaded state. It gives what keys keep.
	Decide func(t *Turn, s *spend.State) ([]KeyRow, error)
}

// RunFacts is what of a run says which budgets cover its spends.
type RunFacts struct {
	Project string
	Agent   string // no budget's; a stop's that is not stored yet
	Labels  []string
}

// Spend decides what waits in several organizations in one transaction, each in its
// own turn. left are the organizations whose turn somebody had, or that are not there:
// nothing of theirs was decided. With wait there are none: each turn is waited for.
//
// The keys of new spends are nearly always new too, and looking for each costs as much
// as a row. So they are not looked for: if one is there, storing it again fails, the
// transaction is undone, and all is decided anew with the keys looked up.
func (s *Store) Spend(ctx context.Context, wait bool, all ...Spends) (left []string, err error) {
	fresh := !slices.ContainsFunc(all, func(b Spends) bool { return !b.opens() }) && s.replays.Add(-1) < 0
	left, err = s.spend(ctx, wait, fresh, all)
	if fresh && (errors.Is(err, errLook) || decidedBefore(err)) {
		s.replays.Store(replaysFollow)
		left, err = s.spend(ctx, wait, false, all)
	}
	return left, err
}

// replaysFollow is how many batches look for their keys after a replay: one seldom
// comes alone.
const replaysFollow = 32

// errLook says that a decision whose outcome no key keeps needs to know whether one
// was kept before.
var errLook = errors.New("a key has to be looked up")

// opens reports that all of them are new holds and charges.
func (b *Spends) opens() bool {
	return !slices.ContainsFunc(b.Requests, func(r spend.Request) bool { return !r.Op.Opens() })
}

func (s *Store) spend(ctx context.Context, wait, fresh bool, all []Spends) (left []string, err error) {
	guess := s.now().UTC()
	l := s.load(all, s.dialect == Postgres, func(org string) names { return namesOf(guess, s.lastZone(org)) })
	l.fresh = fresh
	orgs := make([]string, len(all))
	for i := range all {
		orgs[i] = all[i].Organization
	}
	err = s.batch(ctx, wait, orgs, l.first(guess), func(turns []*Turn) ([]Stmt, error) {
		for _, t := range turns {
			s.lastZones.Store(t.Org, t.Zone)
		}
		return l.decide(ctx, turns)
	})
	if err == nil {
		left = l.untouched()
	}
	return left, err
}

// SpendIn is Spend inside a turn that was taken already, for what a person signed.
func (s *Store) SpendIn(ctx context.Context, t *Turn, b Spends) error {
	l := s.load([]Spends{b}, false, func(string) names { return namesOf(t.Now, t.Zone) })
	if err := t.send(ctx, l.first(t.Now)); err != nil {
		return err
	}
	stmts, err := l.decide(ctx, []*Turn{t})
	if err != nil {
		return err
	}
	return t.send(ctx, stmts)
}

func (s *Store) lastZone(org string) *time.Location {
	if z, ok := s.lastZones.Load(org); ok {
		return z.(*time.Location)
	}
	return time.UTC
}

// names are those of the windows that a time falls into.
type names struct{ hour, day, week, month string }

func namesOf(now time.Time, zone *time.Location) (n names) {
	n.hour, _ = guard.Window(purser.PeriodHour, "", now, zone)
	n.day, _ = guard.Window(purser.PeriodDay, "", now, zone)
	n.week, _ = guard.Window(purser.PeriodWeek, "", now, zone)
	n.month, _ = guard.Window(purser.PeriodMonth, "", now, zone)
	return n
}

// loading is one batch on its way.
type loading struct {
	columnar bool
	fresh    bool // keys are not looked for
	parts    []*part
	of       map[string]*part // by organization
}

// part is what one organization has in a batch.
type part struct {
	Spends
	names names
	state *spend.State
	// asked are the scopes whose budgets were loaded.
	asked    map[spend.Scope]bool
	openings []spend.Opening // of those scopes, where holds are changed
	changes  bool            // holds of before
	hits     []spend.Key     // keys that are there
	done     bool
}

func (s *Store) load(all []Spends, columnar bool, at func(org string) names) *loading {
	l := &loading{columnar: columnar, of: make(map[string]*part, len(all))}
	for _, b := range all {
		p := &part{Spends: b, changes: !b.opens(), names: at(b.Organization), asked: map[spend.Scope]bool{}, state: &spend.State{
			Org: b.Organization, Tokens: map[string]spend.Token{}, Runs: map[string]*spend.Run{}, Budgets: map[spend.Scope][]*spend.Budget{},
			Windows: map[spend.WindowKey]*spend.Window{}, Holds: map[string]*spend.Hold{}, Keys: map[spend.Key]spend.Kept{},
			Recent: map[string][]spend.Recent{}, Repeats: map[spend.Repeat]int{}, News: map[string][]string{}, Known: map[string]bool{},
		}}
		l.parts = append(l.parts, p)
		l.of[b.Organization] = p
	}
	return l
}

func (l *loading) untouched() (left []string) {
	for _, p := range l.parts {
		if !p.done {
			left = append(left, p.Organization)
		}
	}
	return left
}

// decide asks for what is still missing, lets the states be decided and gives what is
// to be written.
func (l *loading) decide(ctx context.Context, turns []*Turn) ([]Stmt, error) {
	var missing []Stmt
	budgets, runs := newScopes(l), newRows(selectRuns.kinds, l.columnar)
	for _, t := range turns {
		p := l.of[t.Org]
		s := p.state
		s.Now, s.Skew, s.Zone, s.NoZone, s.Seq, s.Epoch = t.Now, t.Skew, t.Zone, t.NoZone, t.Seq, t.Epoch
		if now := namesOf(t.Now, t.Zone); now != p.names {
			// Midnight came while the turn was waited for, or the zone was not known yet.
			p.names, p.asked = now, map[spend.Scope]bool{}
			clear(s.Budgets)
			clear(s.Windows)
			p.openings = nil
		}
		missing = append(missing, p.second(budgets, runs)...)
	}
	// Windows of the past come after the budgets, which load those of now.
	missing = slices.Concat(selectRuns.of(runs, l.run), budgets.stmts(), missing)
	if len(missing) > 0 {
		if err := turns[0].Load(ctx, missing); err != nil {
			return nil, err
		}
	}
	w := newWriting(l.columnar)
	for _, t := range turns {
		p := l.of[t.Org]
		s := p.state
		p.openedLater()
		if err := p.whole(); err != nil {
			return nil, broken(err)
		}
		keys, err := p.Decide(t, s)
		if err != nil {
			return nil, err
		}
		if l.fresh && len(keys) < p.keyed() {
			return nil, errLook
		}
		if err := s.Check(); err != nil {
			return nil, broken(err)
		}
		t.Seq, t.Epoch = s.Seq, s.Epoch
		t.records = append(t.records, s.Records...)
		w.add(s, keys)
		p.done = true
	}
	return w.stmts(), nil
}

func broken(err error) error {
	return purser.Errorf(purser.BooksBroken, "the books would not add up; nothing was decided").WithCause(err)
}

// openedLater gives loaded holds the windows that they belong to without naming them.
func (p *part) openedLater() {
	if len(p.openings) == 0 {
		return
	}
	for _, h := range p.state.Holds {
		h.Windows = spend.OpenedLater(h.Windows, p.openings, h.Own(p.Organization), h.Currency, h.Seq, h.CreatedAt)
	}
}

// whole finds a hold with a window that is in no row: what becomes of it could not be
// kept.
func (p *part) whole() error {
	for _, h := range p.sortedHolds() {
		for _, k := range h.Windows {
			if p.state.Windows[k] == nil {
				return fmt.Errorf("hold %s is in budget %s:%s %s %s, of which there is no row", h.ID, k.Scope, k.Target, k.Name, k.Currency)
			}
		}
	}
	return nil
}

// keyed is how many keys the requests have.
func (p *part) keyed() int {
	seen := make(map[spend.Key]bool, len(p.Requests))
	for i := range p.Requests {
		if by := &p.Requests[i].By; by.Key != "" {
			seen[spend.Key{Principal: by.ID, Key: by.Key}] = true
		}
	}
	return len(seen)
}

// first is what can be asked before anything is known.
func (l *loading) first(now time.Time) []Stmt {
	stops, tokens, runs := newRows(selectStops.kinds, l.columnar), newRows(selectTokens.kinds, l.columnar), newRows(selectRuns.kinds, l.columnar)
	holds, keys, budgets := newRows(selectHolds.kinds, l.columnar), newRows(selectKeys.kinds, l.columnar), newScopes(l)
	if l.fresh {
		keys = nil
	}
	var orders []Stmt
	for _, p := range l.parts {
		stops.text(p.Organization)
		orders = append(orders, p.first(now, tokens, runs, holds, budgets, keys)...)
	}
	return slices.Concat(selectStops.of(stops, l.stop), selectTokens.of(tokens, l.token), selectRuns.of(runs, l.run),
		selectHolds.of(holds, l.hold), budgets.stmts(), selectKeys.of(keys, l.key), orders)
}

// first names what a part needs, each once.
func (p *part) first(now time.Time, tokens, runs, holds *rows, budgets *scopes, keys *rows) (orders []Stmt) {
	seen := map[[2]string]bool{}
	add := func(to *rows, kind, id string) bool {
		if id == "" || seen[[2]string{kind, id}] {
			return false
		}
		seen[[2]string{kind, id}] = true
		if to != nil {
			to.text(p.Organization, id)
		}
		return true
	}
	for i := range p.Requests {
		r := &p.Requests[i]
		add(tokens, "token", r.By.Token)
		if r.By.Token == "" {
			add(runs, "run", r.By.Run)
		}
		add(holds, "hold", r.Hold)
		if r.By.Key != "" && keys != nil {
			keys.text(p.Organization, r.By.ID, r.By.Key)
		}
		if r.Run == "" {
			continue
		}
		if r.By.Token == "" || r.Run != r.By.Run {
			add(runs, "run", r.Run)
		}
		if r.Kind == purser.KindOrder && add(nil, "order", r.Run) {
			orders = append(orders, p.orders(r.Run, now)...)
		}
		if r.Kind == purser.KindOrder && add(nil, "payee", r.Provider) {
			orders = append(orders, p.payee(r.Provider, now))
		}
		if facts, ok := p.Facts(r.Run); ok {
			p.need(budgets, spend.Scopes(p.Organization, facts.Project, r.Provider, r.Category, r.Run, spend.Together(facts.Labels, r.Labels))...)
		}
	}
	return orders
}

// need asks for the budgets of scopes that were not asked for yet, each with the
// window of now; and for their openings, where holds are loaded that may be of those.
func (p *part) need(budgets *scopes, all ...spend.Scope) {
	for _, s := range all {
		if !p.asked[s] {
			p.asked[s] = true
			budgets.at(p.names).text(p.Organization, s.Scope, s.Target)
			if p.changes {
				budgets.openings.text(p.Organization, s.Scope, s.Target)
			}
		}
	}
}

// scopes are those whose budgets are asked for, by the windows of their now: most
// batches have one time zone.
type scopes struct {
	l        *loading
	names    []names
	rows     []*rows
	openings *rows
}

func newScopes(l *loading) *scopes {
	return &scopes{l: l, openings: newRows(selectOpenings.kinds, l.columnar)}
}

func (s *scopes) at(n names) *rows {
	i := slices.Index(s.names, n)
	if i < 0 {
		i = len(s.rows)
		s.names, s.rows = append(s.names, n), append(s.rows, newRows(selectBudgets.kinds, s.l.columnar))
	}
	return s.rows[i]
}

func (s *scopes) stmts() (all []Stmt) {
	for i, n := range s.names {
		all = append(all, selectBudgets.of(s.rows[i], s.l.budget, n.hour, n.day, n.week, n.month)...)
	}
	return append(all, selectOpenings.of(s.openings, s.l.opening)...)
}

// second names what the first answers have shown to be needed.
func (p *part) second(budgets *scopes, runs *rows) (stmts []Stmt) {
	oldest := int64(-1)
	for i := range p.Requests {
		r := &p.Requests[i]
		if run := p.state.Runs[r.Run]; run != nil {
			p.need(budgets, spend.Scopes(p.Organization, run.Project, r.Provider, r.Category, r.Run, spend.Together(run.Labels, r.Labels))...)
		}
	}
	holds := p.sortedHolds()
	var more []string
	for _, h := range holds {
		if oldest < 0 || h.Epoch < oldest {
			oldest = h.Epoch
		}
		if p.state.Runs[h.Run] == nil && !slices.Contains(more, h.Run) {
			more = append(more, h.Run)
			runs.text(p.Organization, h.Run)
		}
		for _, k := range h.Windows {
			p.need(budgets, spend.Scope{Scope: k.Scope, Target: k.Target})
		}
		p.need(budgets, spend.Scopes(p.Organization, h.Project, h.Provider, h.Category, h.Run, nil)...)
	}
	if oldest >= 0 && oldest < p.state.Epoch {
		stmts = append(stmts, Stmt{Text: selectLifted, Args: []any{p.Organization, oldest}, Each: p.stop})
	}
	seen := map[spend.WindowKey]bool{}
	for _, h := range holds {
		for _, k := range h.Windows {
			if p.state.Windows[k] == nil && !seen[k] {
				seen[k] = true
				stmts = append(stmts, p.past(k))
			}
		}
	}
	for _, k := range p.hits {
		stmts = append(stmts, p.kept(k))
	}
	return stmts
}

// sortedHolds are the loaded holds in the order of their requests.
func (p *part) sortedHolds() []*spend.Hold {
	var out []*spend.Hold
	for i := range p.Requests {
		if h := p.state.Holds[p.Requests[i].Hold]; h != nil && !slices.Contains(out, h) {
			out = append(out, h)
		}
	}
	return out
}
