package store

import (
	"encoding/json"
	"slices"

	"github.com/purser-dev/purser"
	"github.com/purser-dev/purser/internal/ledger"
	"github.com/purser-dev/purser/internal/notice"
	"github.com/purser-dev/purser/internal/spend"
)

var (
	insertHolds = insert{table: "holds", columns: `organization, id, principal, agent, run, project, provider, category, kind, target, currency, amount,
captured, state, epoch, expires_at, windows, seq, created_at`, kinds: "tttttttttttiitiitii"}
	insertMovements = insert{
		table: "movements", columns: "organization, seq, n, at, kind, currency, amount, hold, run, project, provider, debit, credit", kinds: "tiiittitttttt",
	}
	// A window that is there keeps its ceiling: only a change of the limit moves it.
	moveWindows = insert{table: "windows", columns: "organization, scope, target, currency, name, held, captured, refunded, guard_ceiling", kinds: "tttttiiii", after: `
ON CONFLICT (organization, scope, target, currency, name) DO UPDATE SET held = excluded.held, captured = excluded.captured, refunded = excluded.refunded`}
	insertKeys = insert{table: "keys", columns: "organization, principal, key, request_hash, code, answer, at", kinds: "tttttbi"}
)

const (
	updateHold = `UPDATE holds SET captured = $3, released = $4, refunded = $5, state = $6, epoch = $7, begun_at = $8, overrun = $9, returned = $10 WHERE organization = $1 AND id = $2`
	newBudget  = `INSERT INTO budgets (organization, scope, target, period, currency, limit_minor, thresholds) VALUES ($1, $2, $3, $4, $5, $6, $7)`
	useRepeat  = `UPDATE repeats SET hold = 'used' WHERE organization = $1 AND id = (SELECT id FROM repeats
WHERE organization = $1 AND run = $2 AND target = $3 AND currency = $4 AND amount = $5 AND hold = '' ORDER BY id LIMIT 1)`
)

// writes are the statements that store what was decided, but for the records.
func (l *loading) writes(t *Turn) []Stmt {
	s, org, now := l.state, l.org, Micro(l.state.Now)
	var stmts []Stmt
	for _, scope := range s.Default {
		limit := s.DefaultProvider
		stmts = append(stmts, Stmt{Text: newBudget, Args: []any{org, scope.Scope, scope.Target, purser.PeriodMonth, limit.Currency, limit.Amount, notice.DefaultThresholds}})
	}
	rows := make([]any, 0, len(s.Opened)*len(insertHolds.kinds))
	var last []spend.WindowKey
	var windows string
	for _, h := range s.Opened {
		if windows == "" || !slices.Equal(last, h.Windows) { // one run's holds have the same windows
			last, windows = h.Windows, windowsText(h.Windows)
		}
		rows = append(rows, org, h.ID, h.Principal, h.Agent, h.Run, h.Project, h.Provider, h.Category, h.Kind, h.Target, h.Currency, h.Amount,
			h.Captured, h.State, h.Epoch, Micro(h.ExpiresAt), windows, h.Seq, now)
	}
	stmts = append(stmts, t.insert(insertHolds, rows)...)
	for _, h := range s.Changed {
		stmts = append(stmts, Stmt{Text: updateHold, Args: []any{org, h.ID, h.Captured, h.Released, h.Refunded, h.State, h.Epoch, Micro(h.BegunAt), h.Overrun, h.Returned}})
	}
	rows = make([]any, 0, len(s.Moved)*len(moveWindows.kinds))
	for _, w := range s.Moved {
		rows = append(rows, org, w.Scope, w.Target, w.Currency, w.Name, w.Held, w.Captured, w.Refunded, w.Ceiling)
	}
	stmts = append(stmts, t.insert(moveWindows, rows)...)
	rows = make([]any, 0, len(s.Movements)*len(insertMovements.kinds))
	for _, m := range s.Movements {
		debit, credit, err := ledger.Accounts(m.Kind, m.Hold.Provider)
		if err != nil { // our own kinds only: a fault of the program
			panic(err)
		}
		rows = append(rows, org, m.Seq, m.N, now, string(m.Kind), m.Hold.Currency, m.Amount, m.Hold.ID, m.Hold.Run, m.Hold.Project, m.Hold.Provider, debit, credit)
	}
	stmts = append(stmts, t.insert(insertMovements, rows)...)
	for _, r := range s.Used {
		stmts = append(stmts, Stmt{Text: useRepeat, Args: []any{org, r.Run, r.Target, r.Currency, r.Amount}})
	}
	return stmts
}

// KeyRow is what a key keeps, as it is stored.
type KeyRow struct {
	spend.Key
	Hash, Code string
	Answer     []byte
}

// InsertKeys are the statements that store keys.
func (t *Turn) InsertKeys(keys []KeyRow) []Stmt {
	rows := make([]any, 0, len(keys)*len(insertKeys.kinds))
	for _, k := range keys {
		rows = append(rows, t.Org, k.Principal, k.Key.Key, k.Hash, k.Code, k.Answer, Micro(t.Now))
	}
	return t.insert(insertKeys, rows)
}

// windowsText is the stored form of a hold's windows.
func windowsText(keys []spend.WindowKey) string {
	type row struct {
		Scope  string `json:"scope"`
		Target string `json:"target"`
		Name   string `json:"name"`
	}
	rows := make([]row, len(keys))
	for i, k := range keys {
		rows[i] = row{k.Scope, k.Target, k.Name}
	}
	text, err := json.Marshal(rows)
	if err != nil { // strings only
		panic(err)
	}
	return string(text)
}
