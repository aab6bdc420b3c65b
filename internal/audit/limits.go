package audit

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/purser-dev/purser"
	"github.com/purser-dev/purser/internal/canonical"
)

// limits follows the limit in force of each budget by the records that set it, so that
// one which was changed in the database is seen where it is spent under. It keeps one
// entry for each scope and currency.
//
// All records that set a limit tell it, but for the runs that older versions opened for
// persons. Such a limit is taken from the first spend under it, and then held.
type limits struct {
	of  map[string]limit
	key []byte
}

// limit are the limits of a scope in one currency, by period.
type limit struct {
	in   [6]int64 // as in periods; unset where there is none
	told bool     // records told all of them: no other is taken from a spend
}

const unset = -1

var noLimit = limit{in: [...]int64{unset, unset, unset, unset, unset, unset}}

// periods of budgets. The form of a window's name tells which it is of.
var periods = [...]string{purser.PeriodRun, purser.PeriodHour, purser.PeriodDay, purser.PeriodWeek, purser.PeriodMonth, purser.PeriodTotal}

const (
	ofRun = iota
	ofHour
	ofDay
	ofWeek
	ofMonth
	ofTotal
)

// periodOf is the period of a line's window, both as written. A run's own is named as
// the run is.
func periodOf(scope, window []byte) int {
	if target, ok := bytes.CutPrefix(scope, []byte(`"run:`)); ok && bytes.Equal(target, bytes.TrimPrefix(window, []byte(`"`))) {
		return ofRun
	}
	switch len(window) {
	case len(`"2006-01-02T15"`):
		return ofHour
	case len(`"2006-01-02"`):
		return ofDay
	case len(`"2006-W01"`):
		return ofWeek
	case len(`"2006-01"`):
		return ofMonth
	}
	return ofTotal
}

// hold holds the line of an accepted spend to the limit in force of its budget.
func (l *limits) hold(at *line) error {
	// Each part is a JSON text as written, so the two cannot run together.
	l.key = append(append(l.key[:0], at.scope...), at.currency...)
	of, known := l.of[string(l.key)]
	if !known {
		of = noLimit
	}
	period := periodOf(at.scope, at.window)
	switch in := of.in[period]; {
	case in == at.Limit:
		return nil
	case in != unset:
		return fmt.Errorf("%s: spent under a limit of %s, and the one in force is %s: no record changed it", at.scope, at.money(at.Limit), at.money(in))
	case of.told:
		return fmt.Errorf("%s: spent under a limit for %s, which no record set", at.scope, periods[period])
	}
	of.in[period] = at.Limit
	l.of[string(l.key)] = of
	return nil
}

// places are what a record says of where it is, as scopes are written.
var places = [...]string{`"organization:`, `"project:`, `"run:`}

// count notes the limit of a place that a spend was held to.
func (b *brief) count(at *line) {
	b.currency = at.currency
	for i, place := range places {
		if bytes.HasPrefix(at.scope, []byte(place)) {
			b.lines[i]++
		}
	}
}

// missing finds a limit of the place of an accepted spend that it was not held to, since
// it was taken out of the database. Of who is paid, of category and labels a record does
// not tell which limits it asks for.
func (l *limits) missing(b *brief) error {
	for i, id := range [...][]byte{b.org, b.project, b.run} {
		if len(id) <= len(`""`) { // a renewal is of no run
			continue
		}
		l.key = append(append(append(l.key[:0], places[i]...), id[1:]...), b.currency...)
		if of, known := l.of[string(l.key)]; known && of.count() > b.lines[i] {
			return fmt.Errorf("%s: it has %d limits, and the spend was held to %d of them", l.key[:len(places[i])+len(id)-1], of.count(), b.lines[i])
		}
	}
	return nil
}

func (l limit) count() (n int) {
	for _, limit := range l.in {
		if limit != unset {
			n++
		}
	}
	return n
}

// setsLimit reports that an action, as written, may set a limit.
func setsLimit(action []byte) bool {
	switch string(action) {
	case `"set_budget"`, `"default_budget"`, `"create_run"`, `"grant"`, `"open_run"`, `"extend_run"`:
		return true
	}
	return false
}

// A setting is the limit that a record sets.
type setting struct {
	scope   string
	period  int
	limit   purser.Money
	first   bool // the scope had none in this currency
	loosens bool // it lets through what was refused before
}

// settingOf reads the limit that a record sets, if it sets one and tells it.
func settingOf(r *Record) (s setting, ok bool) {
	text := r.Detail["budget"]
	switch r.Action {
	case "create_run", "open_run", "extend_run":
		s.scope = "run:" + r.Target
	case "grant":
		s.scope = "run:" + r.Run
	case "set_budget", "default_budget":
		s.scope, text = r.Target, r.Detail["limit"]
		period, named := r.Detail["period"]
		switch s.period = slices.Index(periods[:], period); {
		case !named && !strings.HasPrefix(s.scope, "run:"): // of before there were others
			s.period = ofMonth
		case !named:
			s.period = ofRun
		}
	}
	var err error
	s.limit, err = purser.ParseMoney(text, "")
	return s, err == nil && s.period >= 0
}

// set takes over the limit of an accepted record that setsLimit. Whether it loosens is
// decided as the office does: a higher one, and the first in its currency, since without
// any that is refused (RULES 6).
func (l *limits) set(r *Record) (s setting, ok bool) {
	if s, ok = settingOf(r); !ok {
		if r.Action == "open_run" { // in which currency, it does not tell
			l.of[l.name("run:"+r.Target, "")] = noLimit
		}
		return s, false
	}
	key := l.name(s.scope, s.limit.Currency)
	of, known := l.of[key]
	if !known {
		_, opened := l.of[l.name(s.scope, "")]
		of, s.first = noLimit, !opened
		of.told = !opened
	}
	switch before := of.in[s.period]; {
	case before != unset:
		s.loosens = s.limit.Amount > before
	case s.first:
		s.loosens = s.limit.Amount > 0
	}
	of.in[s.period] = s.limit.Amount
	l.of[key] = of
	return s, true
}

// name is the key of a scope in a currency.
func (l *limits) name(scope, currency string) string {
	l.key = canonical.AppendString(canonical.AppendString(l.key[:0], scope), currency)
	return string(l.key)
}

// checkLimit takes over the limit that a record sets. One that loosens is signed, but
// for those of the installation, which are first of all (RULES 1).
func (v *verifier) checkLimit(r *Record) error {
	s, ok := v.limits.set(r)
	if !ok {
		return nil
	}
	own := r.Action == "open_run" || r.Action == "default_budget" && strings.HasPrefix(s.scope, "provider:")
	switch {
	case own && !s.first:
		return v.fault("limit", fmt.Sprintf("%s: a limit of the installation's own, where there was one already", s.scope))
	case s.loosens && !own && r.Attach == nil:
		return v.fault("approval", fmt.Sprintf("%s: a limit of %s loosens, and no person signed it", s.scope, s.limit))
	}
	for _, b := range r.Budgets { // a first limit shows its window
		if b.Scope != s.scope || b.Currency != s.limit.Currency || b.Limit != s.limit.Amount {
			return v.fault("limit", fmt.Sprintf("%s: it sets a limit of %s and shows one of %s", s.scope, s.limit, purser.Money{Amount: b.Limit, Currency: b.Currency}))
		}
	}
	return nil
}

// A Budget is what a limit is for.
type Budget struct{ Scope, Currency, Period string }

// Limits are those that the records read so far have set.
func (b *Balances) Limits() (map[Budget]int64, error) {
	out := make(map[Budget]int64, len(b.limits.of))
	for key, of := range b.limits.of {
		if strings.HasSuffix(key, `""`) { // a run whose currency is not told
			continue
		}
		var budget Budget
		between := strings.LastIndex(key, `""`) + 1
		for into, text := range map[*string]string{&budget.Scope: key[:between], &budget.Currency: key[between:]} {
			if err := json.Unmarshal([]byte(text), into); err != nil {
				return nil, fmt.Errorf("reading whose limit it is: %w", err)
			}
		}
		for period, limit := range of.in {
			if budget.Period = periods[period]; limit != unset {
				out[budget] = limit
			}
		}
	}
	return out, nil
}

// AllLimits reports that Limits has each limit that a scope has in a currency.
func (b *Balances) AllLimits(scope, currency string) bool {
	return b.limits.of[b.limits.name(scope, currency)].told
}
