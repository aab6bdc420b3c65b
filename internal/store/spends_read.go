package store

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/purser-dev/purser"
	"github.com/purser-dev/purser/internal/notice"
	"github.com/purser-dev/purser/internal/spend"
)

// What a batch looks up, of all its organizations at once: the first column is the
// organization.
var (
	selectStops = lookUp("v.column1, s.id, s.scope, s.target, s.reason, s.epoch, s.seq, s.at, s.lifted_at", "t",
		join{table: "stops", as: "s", on: "s.organization = v.column1 AND s.lifted_at = 0"})
	// A token comes with its run: each statement costs as much as the rows that one spend writes.
	selectTokens = lookUp(`v.column1, t.id, t.revoked_at, t.revoked_by, t.expires_at, COALESCE(r.id, ''), COALESCE(r.project, ''), COALESCE(r.agent, ''),
COALESCE(r.threshold, 0), COALESCE(r.currency, ''), COALESCE(r.providers, ''), COALESCE(r.labels, ''), COALESCE(r.expires_at, 0), COALESCE(r.ended_at, 0),
COALESCE(p.labels, '')`, "tt",
		join{table: "tokens", as: "t", on: "t.organization = v.column1 AND t.id = v.column2"},
		join{table: "runs", as: "r", maybe: true, on: "r.organization = v.column1 AND r.id = t.run"},
		join{table: "projects", as: "p", maybe: true, on: "p.organization = v.column1 AND p.id = r.project"})
	selectRuns = lookUp("v.column1, r.id, r.project, r.agent, r.threshold, r.currency, r.providers, r.labels, r.expires_at, r.ended_at, p.labels", "tt",
		join{table: "runs", as: "r", on: "r.organization = v.column1 AND r.id = v.column2"},
		join{table: "projects", as: "p", on: "p.organization = v.column1 AND p.id = r.project"})
	selectHolds = lookUp(`v.column1, h.id, h.principal, h.agent, h.run, h.project, h.provider, h.category, h.kind, h.target, h.currency, h.amount,
h.captured, h.released, h.refunded, h.overrun, h.returned, h.state, h.epoch, h.begun_at, h.expires_at, h.windows, h.seq, h.created_at`, "tt",
		join{table: "holds", as: "h", on: "h.organization = v.column1 AND h.id = v.column2"})
	// An opening comes with its window, which no hold of before names.
	selectOpenings = lookUp(`v.column1, o.scope, o.target, o.currency, o.name, o.since, o.seq, COALESCE(w.name, ''), COALESCE(w.held, 0),
COALESCE(w.captured, 0), COALESCE(w.refunded, 0), COALESCE(w.guard_ceiling, 0)`, "ttt",
		join{table: "openings", as: "o", on: "o.organization = v.column1 AND o.scope = v.column2 AND o.target = v.column3"},
		join{table: "windows", as: "w", maybe: true, on: `w.organization = v.column1 AND w.scope = v.column2 AND w.target = v.column3 AND w.currency = o.currency
AND w.name = o.name`})
	// With the scopes and targets come the names of the windows of now: hour, day, week, month.
	selectBudgets = lookUp(`v.column1, b.scope, b.target, b.period, b.currency, b.limit_minor, b.thresholds, COALESCE(w.name, ''), COALESCE(w.held, 0),
COALESCE(w.captured, 0), COALESCE(w.refunded, 0), COALESCE(w.guard_ceiling, 0)`, "ttt",
		join{table: "budgets", as: "b", on: "b.organization = v.column1 AND b.scope = v.column2 AND b.target = v.column3"},
		join{table: "windows", as: "w", maybe: true, on: `w.organization = v.column1 AND w.scope = v.column2 AND w.target = v.column3 AND w.currency = b.currency
AND w.name = CASE b.period WHEN 'run' THEN b.target WHEN 'hour' THEN @ WHEN 'day' THEN @ WHEN 'week' THEN @ WHEN 'month' THEN @ ELSE b.period END`})
	selectKeys = lookUp("v.column1, k.principal, k.key", "ttt",
		join{table: "keys", as: "k", on: "k.organization = v.column1 AND k.principal = v.column2 AND k.key = v.column3"})
)

// What is rare is looked up one by one.
const (
	selectKey = `SELECT k.request_hash, k.code, k.answer, k.hold, COALESCE(h.run, ''), COALESCE(h.provider, ''), COALESCE(h.currency, ''), COALESCE(h.amount, 0),
COALESCE(h.expires_at, 0), COALESCE(h.seq, 0) FROM keys k LEFT JOIN holds h ON h.organization = k.organization AND h.id = k.hold
WHERE k.organization = $1 AND k.principal = $2 AND k.key = $3`
	selectLifted = "SELECT id, scope, target, reason, epoch, seq, at, lifted_at FROM stops WHERE organization = $1 AND lifted_at <> 0 AND epoch > $2 ORDER BY seq"
	selectWindow = `SELECT held, captured, refunded, guard_ceiling FROM windows
WHERE organization = $1 AND scope = $2 AND target = $3 AND currency = $4 AND name = $5`
	// The orders of a run and of its agent's other runs, by a plan or without one.
	selectRecent = `SELECT id, run, target, amount, captured, state, created_at FROM (
SELECT id, run, target, amount, captured, state, created_at FROM holds WHERE organization = $1 AND run = $2 AND principal <> '' AND kind = 'order' AND created_at > $3
UNION SELECT id, run, target, amount, captured, state, created_at FROM holds WHERE organization = $1 AND agent = ` + agentOfRun + ` AND agent <> '' AND principal <> '' AND kind = 'order' AND created_at > $3
UNION SELECT ` + plannedOrder + ` FROM orders WHERE organization = $1 AND run = $2 AND created_at > $3
UNION SELECT ` + plannedOrder + ` FROM orders WHERE organization = $1 AND agent = ` + agentOfRun + ` AND agent <> '' AND created_at > $3
) AS recent ORDER BY created_at, id`
	// An order of a plan as if it were a hold: one that failed was given back.
	plannedOrder = `id, run, target, amount, CAST(0 AS BIGINT), CASE state WHEN 'failed' THEN 'released' ELSE state END, created_at`
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

	selectRepeats = `SELECT provider, target, currency, amount FROM repeats WHERE organization = $1 AND run = $2 AND hold = '' AND expires_at > $3`
)

// orders asks for what guards want to know before an order of a run.
func (p *part) orders(run string, now time.Time) []Stmt {
	hour := Micro(now.Add(-time.Hour))
	return []Stmt{
		{Text: selectNews, Args: []any{p.Organization, run, hour}, Each: func(scan func(...any) error) error { return p.known(run, scan) }},
		{Text: selectRecent, Args: []any{p.Organization, run, hour}, Each: func(scan func(...any) error) error {
			var r spend.Recent
			var h spend.Hold
			var at int64
			err := scan(&r.Hold, &h.Run, &r.Target, &r.Amount, &h.Captured, &h.State, &at)
			r.At, r.Failed, r.SameRun = Time(at), h.Failed(), h.Run == run
			p.state.Recent[run] = append(p.state.Recent[run], r)
			return err
		}},
		{Text: selectRepeats, Args: []any{p.Organization, run, Micro(now)}, Each: func(scan func(...any) error) error {
			r := spend.Repeat{Run: run}
			err := scan(&r.Provider, &r.Target, &r.Currency, &r.Amount)
			p.state.Repeats[r]++
			return err
		}},
	}
}

// payee asks whether something was bought from a provider before.
func (p *part) payee(provider string, now time.Time) Stmt {
	return Stmt{Text: selectKnown, Args: []any{p.Organization, provider, Micro(now.Add(-time.Hour))}, Each: func(scan func(...any) error) error {
		return p.known("", scan)
	}}
}

// known reads a provider, which a run's agent ordered from where one is named.
func (p *part) known(run string, scan func(...any) error) error {
	var provider string
	var before int64
	err := scan(&provider, &before)
	p.state.Known[provider] = before != 0
	if run != "" {
		p.state.News[run] = append(p.state.News[run], provider)
	}
	return err
}

// past asks for a window of a period that is over.
func (p *part) past(k spend.WindowKey) Stmt {
	return Stmt{Text: selectWindow, Args: []any{p.Organization, k.Scope, k.Target, k.Currency, k.Name}, Each: func(scan func(...any) error) error {
		w := &spend.Window{WindowKey: k}
		err := scan(&w.Held, &w.Captured, &w.Refunded, &w.Ceiling)
		p.state.Windows[k] = w
		return err
	}}
}

// kept asks for what a key keeps.
func (p *part) kept(k spend.Key) Stmt {
	return Stmt{Text: selectKey, Args: []any{p.Organization, k.Principal, k.Key}, Each: func(scan func(...any) error) error {
		var hash, code string
		var answer []byte
		var h spend.Hold
		var expires int64
		if err := scan(&hash, &code, &answer, &h.ID, &h.Run, &h.Provider, &h.Currency, &h.Amount, &expires, &h.Seq); err != nil {
			return err
		}
		if h.ID != "" {
			h.ExpiresAt = Time(expires)
			p.state.Keys[k] = spend.Kept{Hash: hash, Made: &h, Seq: h.Seq}
			return nil
		}
		kept, err := p.Kept(k, hash, code, answer)
		p.state.Keys[k] = kept
		return err
	}}
}

func (l *loading) stop(scan func(...any) error) error {
	var org string
	var s purser.StopInfo
	var at, lifted int64
	err := scan(&org, &s.ID, &s.Scope, &s.Target, &s.Reason, &s.Epoch, &s.Seq, &at, &lifted)
	if err == nil {
		l.of[org].addStop(s, at, lifted)
	}
	return err
}

func (p *part) stop(scan func(...any) error) error {
	var s purser.StopInfo
	var at, lifted int64
	err := scan(&s.ID, &s.Scope, &s.Target, &s.Reason, &s.Epoch, &s.Seq, &at, &lifted)
	p.addStop(s, at, lifted)
	return err
}

// addStop keeps the stops in the order in which they came.
func (p *part) addStop(s purser.StopInfo, at, lifted int64) {
	s.At, s.LiftedAt = Time(at), TimeOrNil(lifted)
	all := p.state.Stops
	i, _ := slices.BinarySearchFunc(all, s.Seq, func(o purser.StopInfo, seq int64) int { return int(o.Seq - seq) })
	p.state.Stops = slices.Insert(all, i, s)
}

func (l *loading) token(scan func(...any) error) error {
	var org, id, by string
	var revoked, expires int64
	var r runRow
	if err := scan(append([]any{&org, &id, &revoked, &by, &expires}, r.columns()...)...); err != nil {
		return err
	}
	l.of[org].state.Tokens[id] = spend.Token{Revoked: revoked != 0, Taken: by != "", ExpiresAt: Time(expires)}
	if r.ID == "" {
		return nil
	}
	return r.into(l.of[org].state)
}

func (l *loading) run(scan func(...any) error) error {
	var org string
	var r runRow
	if err := scan(append([]any{&org}, r.columns()...)...); err != nil {
		return err
	}
	return r.into(l.of[org].state)
}

// runRow is a run as it is stored, with the labels of its project.
type runRow struct {
	spend.Run
	expires, ended             int64
	providers, labels, project string
}

func (r *runRow) columns() []any {
	return []any{&r.ID, &r.Project, &r.Agent, &r.Threshold.Amount, &r.Threshold.Currency, &r.providers, &r.labels, &r.expires, &r.ended, &r.project}
}

func (r *runRow) into(s *spend.State) error {
	r.ExpiresAt, r.Ended = Time(r.expires), r.ended != 0
	var own, above []string
	for _, list := range []struct {
		text string
		into *[]string
	}{{r.providers, &r.Providers}, {r.labels, &own}, {r.project, &above}} {
		if list.text == "[]" {
			continue
		}
		if err := json.Unmarshal([]byte(list.text), list.into); err != nil {
			return fmt.Errorf("reading run %s: %w", r.ID, err)
		}
	}
	r.Labels = spend.Together(above, own)
	s.Runs[r.ID] = &r.Run
	return nil
}

func (l *loading) opening(scan func(...any) error) error {
	var o spend.Opening
	w := &spend.Window{}
	var org string
	var since int64
	err := scan(&org, &o.Scope, &o.Target, &o.Currency, &o.Name, &since, &o.Seq, &w.Name, &w.Held, &w.Captured, &w.Refunded, &w.Ceiling)
	if err != nil {
		return err
	}
	p := l.of[org]
	o.Since = Time(since)
	p.openings = append(p.openings, o)
	if w.Name != "" {
		w.WindowKey = o.WindowKey
		p.state.Windows[w.WindowKey] = w
	}
	return nil
}

func (l *loading) hold(scan func(...any) error) error {
	h := &spend.Hold{}
	var begun, expires, created int64
	var org, windows string
	err := scan(&org, &h.ID, &h.Principal, &h.Agent, &h.Run, &h.Project, &h.Provider, &h.Category, &h.Kind, &h.Target, &h.Currency,
		&h.Amount, &h.Captured, &h.Released, &h.Refunded, &h.Overrun, &h.Returned, &h.State, &h.Epoch, &begun, &expires, &windows, &h.Seq, &created)
	if err != nil {
		return err
	}
	h.BegunAt, h.ExpiresAt, h.CreatedAt = Time(begun), Time(expires), Time(created)
	if h.Windows, err = spend.ParseWindows(h.Own(org), h.Currency, windows); err != nil {
		return fmt.Errorf("hold %s: %w", h.ID, err)
	}
	l.of[org].state.Holds[h.ID] = h
	return nil
}

func (l *loading) budget(scan func(...any) error) error {
	b := &spend.Budget{}
	w := &spend.Window{}
	var org, thresholds string
	err := scan(&org, &b.Scope.Scope, &b.Target, &b.Period, &b.Currency, &b.Limit, &thresholds, &w.Name, &w.Held, &w.Captured, &w.Refunded, &w.Ceiling)
	if err != nil {
		return err
	}
	b.Thresholds = notice.ParseThresholds(thresholds)
	s := l.of[org].state
	s.Budgets[b.Scope] = append(s.Budgets[b.Scope], b)
	if w.Name != "" {
		w.WindowKey = spend.WindowKey{Scope: b.Scope.Scope, Target: b.Target, Currency: b.Currency, Name: w.Name}
		s.Windows[w.WindowKey] = w
	}
	return nil
}

func (l *loading) key(scan func(...any) error) error {
	var org string
	var k spend.Key
	err := scan(&org, &k.Principal, &k.Key)
	if err == nil && !slices.Contains(l.of[org].hits, k) {
		l.of[org].hits = append(l.of[org].hits, k)
	}
	return err
}
