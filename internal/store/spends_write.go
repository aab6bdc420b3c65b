package store

import (
	"slices"

	"github.com/purser-dev/purser"
	"github.com/purser-dev/purser/internal/ledger"
	"github.com/purser-dev/purser/internal/notice"
	"github.com/purser-dev/purser/internal/spend"
)

var (
	insertHolds = insertInto("holds", `organization, id, principal, agent, run, project, provider, category, kind, target, currency, amount,
captured, state, epoch, expires_at, windows, seq, created_at`, "tttttttttttiitiitii", "")
	insertMovements = insertInto("movements", "organization, seq, n, at, kind, currency, amount, hold, run, project, provider, debit, credit", "tiiittitttttt", "")
	openWindows     = insertInto("windows", "organization, scope, target, currency, name, held, captured, refunded, guard_ceiling", "tttttiiii", "")
	// A window that is there keeps its ceiling: only a change of the limit moves it.
	moveWindows = template{
		before: "UPDATE windows AS w SET held = v.column6, captured = v.column7, refunded = v.column8 FROM ",
		after:  ` WHERE w.organization = v.column1 AND w.scope = v.column2 AND w.target = v.column3 AND w.currency = v.column4 AND w.name = v.column5`,
		kinds:  "tttttiii", lookup: true,
	}
	insertKeys = insertInto("keys", "organization, principal, key, request_hash, code, answer, hold, at", "tttttbti", "")
)

const (
	updateHold = `UPDATE holds SET captured = $3, released = $4, refunded = $5, state = $6, epoch = $7, begun_at = $8, overrun = $9, returned = $10 WHERE organization = $1 AND id = $2`
	newBudget  = `INSERT INTO budgets (organization, scope, target, period, currency, limit_minor, thresholds) VALUES ($1, $2, $3, $4, $5, $6, $7)`
	// The newest: it is in force if any is, since each is for as long.
	useRepeat = `UPDATE repeats SET hold = 'used' WHERE organization = $1 AND id = (SELECT id FROM repeats
WHERE organization = $1 AND run = $2 AND provider = $3 AND target = $4 AND currency = $5 AND amount = $6 AND hold = '' ORDER BY id DESC LIMIT 1)`
)

// writing gathers what the parts of a batch store, but for the records.
type writing struct {
	holds, opened, moved, movements, keys *rows
	before, changes                       []Stmt
}

func newWriting(columnar bool) *writing {
	return &writing{
		holds: newRows(insertHolds.kinds, columnar), opened: newRows(openWindows.kinds, columnar), moved: newRows(moveWindows.kinds, columnar),
		movements: newRows(insertMovements.kinds, columnar), keys: newRows(insertKeys.kinds, columnar),
	}
}

// stmts are in the order in which rows refer to each other.
func (w *writing) stmts() []Stmt {
	return slices.Concat(w.before, insertHolds.of(w.holds, nil), w.changes, openWindows.of(w.opened, nil), moveWindows.of(w.moved, nil),
		insertMovements.of(w.movements, nil), insertKeys.of(w.keys, nil))
}

// add adds what was decided in one turn.
func (w *writing) add(s *spend.State, keys []KeyRow) {
	org, now := s.Org, Micro(s.Now)
	for _, scope := range s.Default {
		limit := s.DefaultProvider
		w.before = append(w.before, Stmt{Text: newBudget, Args: []any{org, scope.Scope, scope.Target, purser.PeriodMonth, limit.Currency, limit.Amount, notice.DefaultThresholds}})
	}
	var last []spend.WindowKey
	var own spend.Own
	var windows string
	for _, h := range s.Opened {
		if mine := h.Own(org); windows == "" || mine != own || !slices.Equal(last, h.Windows) { // one run's holds have the same windows
			own, last, windows = mine, h.Windows, spend.WindowsText(mine, h.Windows)
		}
		w.holds.text(org, h.ID, h.Principal, h.Agent, h.Run, h.Project, h.Provider, h.Category, h.Kind, h.Target, h.Currency).
			integer(h.Amount, h.Captured).text(h.State).integer(h.Epoch, Micro(h.ExpiresAt)).text(windows).integer(h.Seq, now)
	}
	for _, h := range s.Changed {
		w.changes = append(w.changes, Stmt{Text: updateHold, Args: []any{org, h.ID, h.Captured, h.Released, h.Refunded, h.State, h.Epoch, Micro(h.BegunAt), h.Overrun, h.Returned}})
	}
	for _, m := range s.Moved {
		into := w.moved
		if m.New {
			into = w.opened
		}
		into.text(org, m.Scope, m.Target, m.Currency, m.Name).integer(m.Held, m.Captured, m.Refunded)
		if m.New {
			into.integer(m.Ceiling)
		}
	}
	for _, m := range s.Movements {
		debit, credit, err := ledger.Accounts(m.Kind, m.Hold.Provider)
		if err != nil { // our own kinds only: a fault of the program
			panic(err)
		}
		w.movements.text(org).integer(m.Seq, m.N, now).text(string(m.Kind), m.Hold.Currency).integer(m.Amount).
			text(m.Hold.ID, m.Hold.Run, m.Hold.Project, m.Hold.Provider, debit, credit)
	}
	for _, r := range s.Used {
		w.changes = append(w.changes, Stmt{Text: useRepeat, Args: []any{org, r.Run, r.Provider, r.Target, r.Currency, r.Amount}})
	}
	for _, k := range keys {
		w.keys.text(org, k.Principal, k.Key.Key, k.Hash, k.Code).bytes(k.Answer).text(k.Hold).integer(now)
	}
}

// KeyRow is what a key keeps, as it is stored: an answer, or the hold that was made,
// of which the first answer is made again.
type KeyRow struct {
	spend.Key
	Hash, Code string
	Answer     []byte
	Hold       string
}
