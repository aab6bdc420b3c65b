package spend

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/purser-dev/purser"
)

// Own is what the row of a hold names in columns of its own.
type Own struct{ Organization, Project, Provider, Category, Run string }

func (o Own) target(scope string) string {
	switch scope {
	case purser.ScopeOrganization:
		return o.Organization
	case purser.ScopeProject:
		return o.Project
	case purser.ScopeProvider:
		return o.Provider
	case purser.ScopeCategory:
		return o.Category
	case purser.ScopeRun:
		return o.Run
	}
	return ""
}

// Own is what the hold's row names.
func (h *Hold) Own(organization string) Own {
	return Own{organization, h.Project, h.Provider, h.Category, h.Run}
}

// WindowsText is the stored form of a hold's windows: a list of [scope, target,
// name], in which what the row says already is left out. [scope, name] is of the
// hold's own target, and [scope] has its name too. Each hold has some five of them,
// and writing them out was a third of its row.
func WindowsText(own Own, keys []WindowKey) string {
	rows := make([][]string, len(keys))
	for i, k := range keys {
		switch {
		case k.Target != own.target(k.Scope):
			rows[i] = []string{k.Scope, k.Target, k.Name}
		case k.Name != k.Target:
			rows[i] = []string{k.Scope, k.Name}
		default:
			rows[i] = []string{k.Scope}
		}
	}
	text, err := json.Marshal(rows)
	if err != nil { // strings only
		panic(err)
	}
	return string(text)
}

// ParseWindows reads the stored form, and that of versions before, which wrote
// objects.
func ParseWindows(own Own, currency, text string) ([]WindowKey, error) {
	var rows []windowRow
	if err := json.Unmarshal([]byte(text), &rows); err != nil {
		return nil, fmt.Errorf("reading the windows of a hold: %w", err)
	}
	keys := make([]WindowKey, len(rows))
	for i, r := range rows {
		keys[i] = WindowKey{Scope: r.scope, Target: r.target, Currency: currency, Name: r.name}
		if r.short > 0 {
			keys[i].Target = own.target(r.scope)
		}
		if r.short > 1 {
			keys[i].Name = keys[i].Target
		}
	}
	return keys, nil
}

// An Opening is a window that began with what was spent before its budget had a first
// limit. The holds of then do not name it, and belong to it all the same: those
// decided before Seq, at Since or later.
type Opening struct {
	WindowKey
	Since time.Time
	Seq   int64
}

// OpenedLater adds to the windows that a hold names those that it belongs to without
// naming them.
func OpenedLater(keys []WindowKey, openings []Opening, own Own, currency string, seq int64, at time.Time) []WindowKey {
	for _, o := range openings {
		if o.Currency == currency && o.Target == own.target(o.Scope) && seq < o.Seq && !at.Before(o.Since) {
			keys = append(keys[:len(keys):len(keys)], o.WindowKey)
		}
	}
	return keys
}

type windowRow struct {
	scope, target, name string
	short               int // columns that the hold's own row has
}

func (r *windowRow) UnmarshalJSON(text []byte) error {
	if text[0] == '{' {
		var old struct{ Scope, Target, Name string }
		err := json.Unmarshal(text, &old)
		r.scope, r.target, r.name = old.Scope, old.Target, old.Name
		return err
	}
	var row []string
	if err := json.Unmarshal(text, &row); err != nil {
		return err
	}
	switch len(row) {
	case 1:
		r.scope = row[0]
	case 2:
		r.scope, r.name = row[0], row[1]
	case 3:
		r.scope, r.target, r.name = row[0], row[1], row[2]
	default:
		return fmt.Errorf("a window of %d columns", len(row))
	}
	r.short = 3 - len(row)
	return nil
}
