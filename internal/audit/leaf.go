package audit

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/purser-dev/purser/internal/canonical"
)

// writer writes the canonical form (RFC 8785) of the few shapes that a record is
// made of, members in their order. It is what canonical.JSON gives for a Record,
// at a twentieth of the cost: each decision pays it. Empty members are left out.
type writer struct {
	to  []byte
	err error
}

// name begins a member, with a comma unless it is the first of its object. It is
// given as it is written: "name":
func (w *writer) name(name string) {
	if w.to[len(w.to)-1] != '{' {
		w.to = append(w.to, ',')
	}
	w.to = append(w.to, name...)
}

func (w *writer) text(name, s string) {
	if s != "" {
		w.name(name)
		w.string(s)
	}
}

func (w *writer) string(s string) {
	if !utf8.ValidString(s) {
		w.err = fmt.Errorf("%w: a text is not UTF-8", ErrRecord)
	}
	w.to = canonical.AppendString(w.to, s)
}

func (w *writer) number(name string, n int64) {
	if !canonical.Exact(n) {
		w.err = fmt.Errorf("%w: %s is %d", ErrRecord, strings.Trim(name, `":`), n)
	}
	w.name(name)
	w.to = strconv.AppendInt(w.to, n, 10)
}

func (w *writer) budgets(lines []BudgetLine) {
	w.name(`"budgets":`)
	w.to = append(w.to, '[')
	for i, b := range lines {
		if i > 0 {
			w.to = append(w.to, ',')
		}
		w.to = append(w.to, '{')
		w.number(`"captured":`, b.Captured)
		if b.Change != 0 {
			w.number(`"change":`, b.Change)
		}
		w.name(`"currency":`)
		w.string(b.Currency)
		w.number(`"held":`, b.Held)
		w.number(`"limit":`, b.Limit)
		if b.Refunded != 0 {
			w.number(`"refunded":`, b.Refunded)
		}
		w.name(`"scope":`)
		w.string(b.Scope)
		w.name(`"window":`)
		w.string(b.Window)
		w.to = append(w.to, '}')
	}
	w.to = append(w.to, ']')
}

func (w *writer) money(name string, m *Money) {
	if m == nil {
		return
	}
	w.name(name)
	w.to = append(w.to, '{')
	w.number(`"amount":`, m.Amount)
	w.name(`"currency":`)
	w.string(m.Currency)
	w.to = append(w.to, '}')
}

func (w *writer) record(r *Record) {
	w.to = append(w.to, '{')
	w.name(`"action":`)
	w.string(r.Action)
	w.name(`"actor":`)
	w.to = append(w.to, '{')
	w.text(`"delegated_by":`, r.Actor.DelegatedBy)
	w.name(`"id":`)
	w.string(r.Actor.ID)
	w.text(`"key":`, r.Actor.Key)
	w.name(`"kind":`)
	w.string(r.Actor.Kind)
	w.to = append(w.to, '}')
	w.text(`"approval":`, r.Approval)
	w.attachment(r.Attach)
	if len(r.Budgets) > 0 {
		w.budgets(r.Budgets)
	}
	if len(r.Detail) > 0 {
		w.name(`"detail":`)
		w.to = append(w.to, '{')
		var room [8]string // seldom more
		keys := slices.AppendSeq(room[:0], maps.Keys(r.Detail))
		slices.SortFunc(keys, canonical.CompareUTF16)
		for _, k := range keys {
			if w.to[len(w.to)-1] != '{' {
				w.to = append(w.to, ',')
			}
			w.string(k)
			w.to = append(w.to, ':')
			w.string(r.Detail[k])
		}
		w.to = append(w.to, '}')
	}
	w.text(`"env":`, r.Env)
	w.text(`"idempotency_key":`, r.IdempotencyKey)
	if r.Money != nil {
		w.name(`"money":`)
		w.to = append(w.to, '{')
		w.money(`"actual":`, r.Money.Actual)
		w.money(`"captured":`, r.Money.Captured)
		w.money(`"ceiling":`, r.Money.Ceiling)
		w.money(`"expected":`, r.Money.Expected)
		w.money(`"overrun":`, r.Money.Overrun)
		w.to = append(w.to, '}')
	}
	w.name(`"org":`)
	w.string(r.Org)
	w.name(`"outcome":`)
	w.string(r.Outcome)
	w.text(`"plan_digest":`, r.PlanDigest)
	if r.Policy != nil {
		w.name(`"policy":`)
		w.to = append(w.to, '{')
		if len(r.Policy.Reasons) > 0 {
			w.name(`"reasons":`)
			w.to = append(w.to, '[')
			for i, s := range r.Policy.Reasons {
				if i > 0 {
					w.to = append(w.to, ',')
				}
				w.string(s)
			}
			w.to = append(w.to, ']')
		}
		w.name(`"verdict":`)
		w.string(r.Policy.Verdict)
		w.to = append(w.to, '}')
	}
	w.text(`"project":`, r.Project)
	w.text(`"prompt_hash":`, r.PromptHash)
	if r.Provider != nil {
		w.name(`"provider":`)
		w.to = append(w.to, '{')
		w.text(`"charge_id":`, r.Provider.ChargeID)
		w.text(`"request_id":`, r.Provider.RequestID)
		w.to = append(w.to, '}')
	}
	w.text(`"quote":`, r.Quote)
	w.text(`"run":`, r.Run)
	w.number(`"seq":`, r.Seq)
	w.text(`"target":`, r.Target)
	w.number(`"ts":`, r.TS)
	w.to = append(w.to, '}')
}

// attachment is rare, and has the form of another package.
func (w *writer) attachment(a *Attachment) {
	if a == nil {
		return
	}
	raw, err := canonical.JSON(a)
	if err != nil {
		w.err = fmt.Errorf("%w: %w", ErrRecord, err)
		return
	}
	w.name(`"attach":`)
	w.to = append(w.to, raw...)
}
