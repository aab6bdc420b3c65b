package store

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/purser-dev/purser"
	"github.com/purser-dev/purser/internal/guard"
	"github.com/purser-dev/purser/internal/notice"
	"github.com/purser-dev/purser/internal/spend"
)

// Spends decides requests in one turn: it loads the rows that they touch, lets
// decide look at them and change them, and writes what was changed. What the hints
// name is loaded with the turn's first statement; what else is needed, in a second
// question.
type Spends struct {
	Requests []spend.Request
	// Facts are where a run's spends were before; they say what to load, and decide nothing.
	Facts func(run string) (RunFacts, bool)
	// Kept reads what a key keeps.
	Kept func(k spend.Key, hash, code string, answer []byte) (spend.Kept, error)
	// Decide is given the loaded state.
	Decide func(t *Turn, s *spend.State) ([]Stmt, error)
}

// RunFacts is what of a run says which budgets cover its spends.
type RunFacts struct {
	Project string
	Labels  []string
}

// Spend runs one batch.
func (s *Store) Spend(ctx context.Context, org string, b Spends) error {
	zone, guess := s.lastZone(org), s.now().UTC()
	l := newLoading(org, b, namesOf(guess, zone))
	return s.Batch(ctx, org, l.first(guess), func(t *Turn) ([]Stmt, error) {
		s.lastZones.Store(org, t.Zone)
		return l.run(ctx, t)
	})
}

// SpendIn is Spend inside a turn that was taken already, for what a person signed.
func (s *Store) SpendIn(ctx context.Context, t *Turn, b Spends) error {
	l := newLoading(t.Org, b, namesOf(t.Now, t.Zone))
	if err := t.send(ctx, l.first(t.Now)); err != nil {
		return err
	}
	stmts, err := l.run(ctx, t)
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
	b     Spends
	org   string
	names names
	state *spend.State
	// asked are the scopes whose budgets were loaded.
	asked map[spend.Scope]bool
	hits  []spend.Key // keys that are there
}

func newLoading(org string, b Spends, n names) *loading {
	return &loading{b: b, org: org, names: n, state: &spend.State{
		Org: org, Tokens: map[string]spend.Token{}, Runs: map[string]*spend.Run{}, Budgets: map[spend.Scope][]*spend.Budget{},
		Windows: map[spend.WindowKey]*spend.Window{}, Holds: map[string]*spend.Hold{}, Keys: map[spend.Key]spend.Kept{},
		Recent: map[string][]spend.Recent{}, Repeats: map[spend.Repeat]int{}, News: map[string][]string{}, Known: map[string]bool{},
	}}
}

// Statements with as many parameters as there are things to look up. Each is found
// by its whole key, so that no statistics lead a plan astray.
var (
	selectTokens = in{"SELECT id, revoked_at, expires_at FROM tokens WHERE organization = $1 AND id IN (", ")", 1}
	selectRuns   = in{`SELECT r.id, r.project, r.agent, r.threshold, r.providers, r.labels, r.expires_at, r.ended_at, p.labels
FROM runs r JOIN projects p ON p.organization = r.organization AND p.id = r.project WHERE r.organization = $1 AND r.id IN (`, ")", 1}
	selectHolds = in{`SELECT id, principal, agent, run, project, provider, category, kind, target, currency, amount, captured, released, refunded,
overrun, returned, state, epoch, begun_at, expires_at, windows, seq, created_at FROM holds WHERE organization = $1 AND id IN (`, ")", 1}
	// The left side of a left join comes first, whatever the statistics say: each
	// budget and window is found by its whole key.
	selectBudgets = list{
		before: `SELECT v.column1, b.target, b.period, b.currency, b.limit_minor, b.thresholds, COALESCE(w.name, ''), COALESCE(w.held, 0),
COALESCE(w.captured, 0), COALESCE(w.refunded, 0), COALESCE(w.guard_ceiling, 0) FROM (VALUES `,
		after: `) AS v LEFT JOIN budgets b ON b.organization = $1 AND b.scope = v.column1 AND b.target = v.column2
LEFT JOIN windows w ON w.organization = b.organization AND w.scope = b.scope AND w.target = b.target AND w.currency = b.currency
AND w.name = CASE b.period WHEN 'run' THEN b.target WHEN 'hour' THEN CAST($2 AS TEXT) WHEN 'day' THEN CAST($3 AS TEXT)
WHEN 'week' THEN CAST($4 AS TEXT) WHEN 'month' THEN CAST($5 AS TEXT) ELSE b.period END WHERE b.target IS NOT NULL`,
		columns: 2, fixed: 5, casts: []string{"TEXT", "TEXT"},
	}
	// The look-up is a subquery for each row, so it cannot become a scan.
	selectKeys = list{
		before: `SELECT v.column1, v.column2, COALESCE((SELECT k.request_hash FROM keys k WHERE k.organization = $1 AND k.principal = v.column1 AND k.key = v.column2), '')
FROM (VALUES `, after: ") AS v", columns: 2, fixed: 1, casts: []string{"TEXT", "TEXT"},
	}
)

const (
	selectKey    = "SELECT request_hash, code, answer FROM keys WHERE organization = $1 AND principal = $2 AND key = $3"
	selectStops  = "SELECT id, scope, target, reason, epoch, seq, at, lifted_at FROM stops WHERE organization = $1 AND lifted_at = 0 ORDER BY seq"
	selectLifted = "SELECT id, scope, target, reason, epoch, seq, at, lifted_at FROM stops WHERE organization = $1 AND lifted_at <> 0 AND epoch > $2 ORDER BY seq"
	selectWindow = `SELECT held, captured, refunded, guard_ceiling FROM windows
WHERE organization = $1 AND scope = $2 AND target = $3 AND currency = $4 AND name = $5`
	selectRecent = `SELECT id, target, amount, captured, state, created_at FROM holds
WHERE organization = $1 AND run = $2 AND principal <> '' AND kind = 'order' AND created_at > $3 ORDER BY created_at, seq`
	// Whom a run's agent ordered from, by a plan or without one, and whether something
	// was bought there before; and the same of a provider.
	selectNews = `SELECT provider, CAST((CASE WHEN ` + boughtBefore + ` THEN 1 ELSE 0 END) AS BIGINT) FROM (
SELECT provider FROM holds WHERE organization = $1 AND run = $2 AND principal <> '' AND kind = 'order' AND created_at > $3
UNION SELECT provider FROM orders WHERE organization = $1 AND run = $2 AND amount > 0 AND created_at > $3
UNION SELECT provider FROM holds WHERE organization = $1 AND agent = ` + agentOfRun + ` AND agent <> '' AND principal <> '' AND kind = 'order' AND created_at > $3
UNION SELECT provider FROM orders WHERE organization = $1 AND agent = ` + agentOfRun + ` AND agent <> '' AND amount > 0 AND created_at > $3
) AS news ORDER BY provider`
	selectKnown  = `SELECT provider, CAST((CASE WHEN ` + boughtBefore + ` THEN 1 ELSE 0 END) AS BIGINT) FROM (SELECT CAST($2 AS TEXT) AS provider) AS news`
	boughtBefore = `EXISTS (SELECT 1 FROM orders b WHERE b.organization = $1 AND b.provider = news.provider AND b.created_at <= $3 AND b.amount > 0 AND b.state <> 'failed')
OR EXISTS (SELECT 1 FROM holds b WHERE b.organization = $1 AND b.provider = news.provider AND b.created_at <= $3 AND b.principal <> '' AND b.kind = 'order' AND b.captured > 0)`
	agentOfRun = `(SELECT agent FROM runs WHERE organization = $1 AND id = $2)`

	selectRepeats = `SELECT target, currency, amount FROM repeats WHERE organization = $1 AND run = $2 AND hold = '' AND expires_at > $3`
)

// in is a statement with a list of values at its end.
type in struct {
	before, after string
	fixed         int
}

func (i in) stmt(fixed []any, values []string, each func(scan func(...any) error) error) Stmt {
	n := padded(len(values))
	args := make([]any, 0, i.fixed+n)
	args = append(args, fixed...)
	for _, v := range values {
		args = append(args, v)
	}
	for range n - len(values) {
		args = append(args, values[0])
	}
	key := listKey{i.before, n}
	text, ok := texts.Load(key)
	if !ok {
		t := i.before
		for p := range n {
			if p > 0 {
				t += ", "
			}
			t += "$" + strconv.Itoa(i.fixed+p+1)
		}
		text, _ = texts.LoadOrStore(key, t+i.after)
	}
	return Stmt{Text: text.(string), Args: args, Each: each}
}

// padded is the next number of rows that a statement is made for.
func padded(n int) int {
	for i := len(rowCounts) - 1; i >= 0; i-- {
		if rowCounts[i] >= n {
			return rowCounts[i]
		}
	}
	return n
}

// first is what can be asked before anything is known.
func (l *loading) first(now time.Time) []Stmt {
	var tokens, runs, holds, orders, payees []string
	var keys []any
	l.asked = map[spend.Scope]bool{}
	add := func(list *[]string, v string) {
		if v != "" && !slices.Contains(*list, v) {
			*list = append(*list, v)
		}
	}
	var scopes []spend.Scope
	for i := range l.b.Requests {
		r := &l.b.Requests[i]
		add(&tokens, r.By.Token)
		if r.By.Key != "" {
			keys = append(keys, r.By.ID, r.By.Key)
		}
		if r.Hold != "" {
			add(&holds, r.Hold)
		}
		add(&runs, r.By.Run)
		if r.Run == "" {
			continue
		}
		add(&runs, r.Run)
		if r.Kind == purser.KindOrder {
			add(&orders, r.Run)
			add(&payees, r.Provider)
		}
		facts, ok := l.b.Facts(r.Run)
		if !ok {
			continue
		}
		scopes = l.need(scopes, spend.Scopes(l.org, facts.Project, r.Provider, r.Category, r.Run, spend.Together(facts.Labels, r.Labels)))
	}
	stmts := []Stmt{{Text: selectStops, Args: []any{l.org}, Each: l.stop}}
	stmts = append(stmts, l.many(selectTokens, tokens, l.token)...)
	stmts = append(stmts, l.many(selectRuns, runs, l.runRow)...)
	stmts = append(stmts, l.many(selectHolds, holds, l.hold)...)
	stmts = append(stmts, l.budgets(scopes)...)
	for n := len(keys) / 2; n > 0 && n < padded(n); n++ {
		keys = append(keys, "", "")
	}
	selectKeys.cut(keys, func(text string, args []any) {
		stmts = append(stmts, Stmt{Text: text, Args: append([]any{l.org}, args...), Each: l.key})
	})
	hour := Micro(now.Add(-time.Hour))
	for _, provider := range payees {
		stmts = append(stmts, Stmt{Text: selectKnown, Args: []any{l.org, provider, hour}, Each: func(scan func(...any) error) error { return l.known("", scan) }})
	}
	for _, run := range orders {
		stmts = append(stmts,
			Stmt{Text: selectNews, Args: []any{l.org, run, hour}, Each: func(scan func(...any) error) error { return l.known(run, scan) }},
			Stmt{Text: selectRecent, Args: []any{l.org, run, hour}, Each: func(scan func(...any) error) error { return l.recent(run, scan) }},
			Stmt{Text: selectRepeats, Args: []any{l.org, run, Micro(now)}, Each: func(scan func(...any) error) error { return l.repeat(run, scan) }})
	}
	return stmts
}

func (l *loading) many(of in, values []string, each func(scan func(...any) error) error) []Stmt {
	var out []Stmt
	for chunk := range slices.Chunk(values, rowCounts[0]) {
		out = append(out, of.stmt([]any{l.org}, chunk, each))
	}
	return out
}

// need adds scopes that were not asked yet.
func (l *loading) need(list, scopes []spend.Scope) []spend.Scope {
	for _, s := range scopes {
		if !l.asked[s] {
			l.asked[s] = true
			list = append(list, s)
		}
	}
	return list
}

// budgets asks for the budgets of scopes, each with the window of now.
func (l *loading) budgets(scopes []spend.Scope) []Stmt {
	args := make([]any, 0, 2*len(scopes))
	for _, s := range scopes {
		args = append(args, s.Scope, s.Target)
	}
	// One statement with the next larger number of rows costs less than several.
	for n := len(scopes); n > 0 && n < padded(n) && n <= rowCounts[0]; n++ {
		args = append(args, "", "")
	}
	var out []Stmt
	selectBudgets.cut(args, func(text string, args []any) {
		out = append(out, Stmt{Text: text, Args: append([]any{l.org, l.names.hour, l.names.day, l.names.week, l.names.month}, args...), Each: l.budget})
	})
	return out
}

// run asks for what is still missing, lets the state be decided and writes it.
func (l *loading) run(ctx context.Context, t *Turn) ([]Stmt, error) {
	s := l.state
	s.Now, s.Skew, s.Zone, s.Seq, s.Epoch = t.Now, t.Skew, t.Zone, t.Seq, t.Epoch
	if now := namesOf(t.Now, t.Zone); now != l.names {
		// Midnight came while the turn was waited for, or the zone was not known yet.
		l.names, l.asked = now, map[spend.Scope]bool{}
		clear(s.Budgets)
		clear(s.Windows)
	}
	if err := t.Load(ctx, l.second()); err != nil {
		return nil, err
	}
	more, err := l.b.Decide(t, s)
	if err != nil {
		return nil, err
	}
	if err := s.Check(); err != nil {
		return nil, purser.Errorf(purser.BooksBroken, "the books would not add up; nothing was decided").WithCause(err)
	}
	t.Seq, t.Epoch = s.Seq, s.Epoch
	t.records = append(t.records, s.Records...)
	return append(l.writes(t), more...), nil
}

func (l *loading) second() []Stmt {
	var stmts []Stmt
	var scopes []spend.Scope
	oldest := int64(-1)
	for i := range l.b.Requests {
		r := &l.b.Requests[i]
		if run := l.state.Runs[r.Run]; run != nil {
			scopes = l.need(scopes, spend.Scopes(l.org, run.Project, r.Provider, r.Category, r.Run, spend.Together(run.Labels, r.Labels)))
		}
	}
	var runs []string
	for _, h := range l.sortedHolds() {
		if oldest < 0 || h.Epoch < oldest {
			oldest = h.Epoch
		}
		if l.state.Runs[h.Run] == nil && !slices.Contains(runs, h.Run) {
			runs = append(runs, h.Run)
		}
		for _, k := range h.Windows {
			if s := (spend.Scope{Scope: k.Scope, Target: k.Target}); !l.asked[s] {
				scopes = l.need(scopes, []spend.Scope{s})
			}
		}
	}
	stmts = append(stmts, l.many(selectRuns, runs, l.runRow)...)
	stmts = append(stmts, l.budgets(scopes)...)
	if oldest >= 0 && oldest < l.state.Epoch {
		stmts = append(stmts, Stmt{Text: selectLifted, Args: []any{l.org, oldest}, Each: l.stop})
	}
	// Windows of the past come after the budgets, which load those of now.
	seen := map[spend.WindowKey]bool{}
	for _, h := range l.sortedHolds() {
		for _, k := range h.Windows {
			if l.state.Windows[k] == nil && !seen[k] {
				seen[k] = true
				stmts = append(stmts, Stmt{Text: selectWindow, Args: []any{l.org, k.Scope, k.Target, k.Currency, k.Name}, Each: func(scan func(...any) error) error {
					w := &spend.Window{WindowKey: k}
					if err := scan(&w.Held, &w.Captured, &w.Refunded, &w.Ceiling); err != nil {
						return err
					}
					l.state.Windows[k] = w
					return nil
				}})
			}
		}
	}
	for _, k := range l.hits {
		stmts = append(stmts, Stmt{Text: selectKey, Args: []any{l.org, k.Principal, k.Key}, Each: func(scan func(...any) error) error {
			var hash, code string
			var answer []byte
			if err := scan(&hash, &code, &answer); err != nil {
				return err
			}
			kept, err := l.b.Kept(k, hash, code, answer)
			l.state.Keys[k] = kept
			return err
		}})
	}
	return stmts
}

// sortedHolds are the loaded holds in the order of their requests.
func (l *loading) sortedHolds() []*spend.Hold {
	var out []*spend.Hold
	for i := range l.b.Requests {
		if h := l.state.Holds[l.b.Requests[i].Hold]; h != nil && !slices.Contains(out, h) {
			out = append(out, h)
		}
	}
	return out
}

func (l *loading) stop(scan func(...any) error) error {
	var s purser.StopInfo
	var at, lifted int64
	if err := scan(&s.ID, &s.Scope, &s.Target, &s.Reason, &s.Epoch, &s.Seq, &at, &lifted); err != nil {
		return err
	}
	s.At, s.LiftedAt = Time(at), TimeOrNil(lifted)
	l.state.Stops = append(l.state.Stops, s)
	return nil
}

func (l *loading) token(scan func(...any) error) error {
	var id string
	var revoked, expires int64
	err := scan(&id, &revoked, &expires)
	l.state.Tokens[id] = spend.Token{Revoked: revoked != 0, ExpiresAt: Time(expires)}
	return err
}

func (l *loading) runRow(scan func(...any) error) error {
	var r spend.Run
	var expires, ended int64
	var providers, labels, project string
	if err := scan(&r.ID, &r.Project, &r.Agent, &r.Threshold, &providers, &labels, &expires, &ended, &project); err != nil {
		return err
	}
	r.ExpiresAt, r.Ended = Time(expires), ended != 0
	var own, above []string
	for text, into := range map[string]*[]string{providers: &r.Providers, labels: &own, project: &above} {
		if text == "[]" {
			continue
		}
		if err := json.Unmarshal([]byte(text), into); err != nil {
			return fmt.Errorf("reading run %s: %w", r.ID, err)
		}
	}
	r.Labels = spend.Together(above, own)
	l.state.Runs[r.ID] = &r
	return nil
}

func (l *loading) hold(scan func(...any) error) error {
	h := &spend.Hold{}
	var begun, expires, created int64
	var windows string
	err := scan(&h.ID, &h.Principal, &h.Agent, &h.Run, &h.Project, &h.Provider, &h.Category, &h.Kind, &h.Target, &h.Currency,
		&h.Amount, &h.Captured, &h.Released, &h.Refunded, &h.Overrun, &h.Returned, &h.State, &h.Epoch, &begun, &expires, &windows, &h.Seq, &created)
	if err != nil {
		return err
	}
	h.BegunAt, h.ExpiresAt, h.CreatedAt = Time(begun), Time(expires), Time(created)
	if err := json.Unmarshal([]byte(windows), &h.Windows); err != nil {
		return fmt.Errorf("reading hold %s: %w", h.ID, err)
	}
	for i := range h.Windows {
		h.Windows[i].Currency = h.Currency
	}
	l.state.Holds[h.ID] = h
	return nil
}

func (l *loading) budget(scan func(...any) error) error {
	b := &spend.Budget{}
	w := &spend.Window{}
	var thresholds string
	err := scan(&b.Scope.Scope, &b.Target, &b.Period, &b.Currency, &b.Limit, &thresholds, &w.Name, &w.Held, &w.Captured, &w.Refunded, &w.Ceiling)
	if err != nil {
		return err
	}
	b.Thresholds = notice.ParseThresholds(thresholds)
	l.state.Budgets[b.Scope] = append(l.state.Budgets[b.Scope], b)
	if w.Name != "" {
		w.WindowKey = spend.WindowKey{Scope: b.Scope.Scope, Target: b.Target, Currency: b.Currency, Name: w.Name}
		l.state.Windows[w.WindowKey] = w
	}
	return nil
}

func (l *loading) key(scan func(...any) error) error {
	var k spend.Key
	var hash string
	err := scan(&k.Principal, &k.Key, &hash)
	if hash != "" && !slices.Contains(l.hits, k) {
		l.hits = append(l.hits, k)
	}
	return err
}

func (l *loading) recent(run string, scan func(...any) error) error {
	r := spend.Recent{Recent: guard.Recent{SameRun: true}}
	var h spend.Hold
	var at int64
	err := scan(&r.Hold, &r.Target, &r.Amount, &h.Captured, &h.State, &at)
	r.At, r.Failed = Time(at), h.Failed()
	l.state.Recent[run] = append(l.state.Recent[run], r)
	return err
}

// known reads a provider, which a run's agent ordered from where one is named.
func (l *loading) known(run string, scan func(...any) error) error {
	var provider string
	var before int64
	err := scan(&provider, &before)
	l.state.Known[provider] = before != 0
	if run != "" {
		l.state.News[run] = append(l.state.News[run], provider)
	}
	return err
}

func (l *loading) repeat(run string, scan func(...any) error) error {
	r := spend.Repeat{Run: run}
	err := scan(&r.Target, &r.Currency, &r.Amount)
	l.state.Repeats[r]++
	return err
}
