package review

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/purser-dev/purser"
)

// Related reports whether two plans have a step for the same service: the newer
// one is then another try at the same thing. An account that both link on the way
// to something else does not count.
func Related(older, newer purser.PlanTerms) bool {
	return slices.ContainsFunc(newer.Steps, func(n purser.PlanStep) bool {
		return (n.Kind != purser.LinkStep || len(newer.Steps) == 1) && slices.ContainsFunc(older.Steps, func(o purser.PlanStep) bool {
			return o.Kind == n.Kind && o.Provider == n.Provider && o.Service == n.Service
		})
	})
}

// Changes lists what the newer plan has otherwise than the older one. Steps
// belong together by what they are, not by their number.
func Changes(older, newer purser.PlanTerms) []purser.Change {
	changes := []purser.Change{}
	if older.Purpose != newer.Purpose {
		changes = append(changes, purser.Change{What: "purpose", Before: older.Purpose, After: newer.Purpose})
	}
	if older.Env != newer.Env {
		changes = append(changes, purser.Change{What: "environment", Before: older.Env, After: newer.Env})
	}
	left := slices.Clone(older.Steps)
	for _, n := range newer.Steps {
		i := slices.IndexFunc(left, func(o purser.PlanStep) bool {
			return o.Kind == n.Kind && o.Provider == n.Provider && o.Service == n.Service && o.Name == n.Name
		})
		if i < 0 {
			i = slices.IndexFunc(left, func(o purser.PlanStep) bool {
				return o.Kind == n.Kind && o.Provider == n.Provider && o.Service == n.Service
			})
		}
		if i < 0 {
			changes = append(changes, purser.Change{Step: n.N, What: "step", After: n.Item})
			continue
		}
		changes = append(changes, changesOf(left[i], n)...)
		left = slices.Delete(left, i, i+1)
	}
	for _, o := range left {
		changes = append(changes, purser.Change{Step: o.N, What: "step", Before: o.Item})
	}
	return changes
}

func changesOf(o, n purser.PlanStep) []purser.Change {
	before, after := facts(o), facts(n)
	var changes []purser.Change
	for i := range before {
		if before[i][1] != after[i][1] {
			changes = append(changes, purser.Change{Step: n.N, What: before[i][0], Before: before[i][1], After: after[i][1]})
		}
	}
	return changes
}

// facts are what a person compares of a step, in the order in which it matters.
func facts(s purser.PlanStep) [][2]string {
	p := s.Price
	money := func(amount int64) string { return purser.Money{Amount: amount, Currency: p.Currency}.String() }
	renewal := "none"
	if p.Recurring > 0 {
		renewal = fmt.Sprintf("%s each %s, renews itself: %t, until %s", money(p.Recurring), p.Interval, p.AutoRenew, p.Until)
	}
	account, shares, terms := "", "", ""
	if s.Account != nil {
		account, shares, terms = s.Account.Email, strings.Join(s.Account.Shares, ", "), s.Account.TermsHash
	}
	files, domain := "", ""
	if s.Deployment != nil {
		files = fmt.Sprintf("%d files, %d bytes, %s", s.Deployment.Files, s.Deployment.Bytes, s.Deployment.Manifest)
		domain = s.Deployment.Domain
	}
	return [][2]string{
		{"item", s.Item},
		{"price now", money(p.Now)},
		{"ceiling", fmt.Sprint(p.Ceiling)},
		{"renewal", renewal},
		{"refund until", p.RefundableTill},
		{"effect", string(s.Effect)},
		{"spending cap", p.Cap},
		{"configuration", configuration(s.Configuration)},
		{"account", account},
		{"data shared", shares},
		{"terms", terms},
		{"files", files},
		{"domain", domain},
	}
}

// configuration is JSON, whose members have an order of their own.
func configuration(c map[string]any) string {
	if len(c) == 0 {
		return ""
	}
	text, err := json.Marshal(c)
	if err != nil { // it was read from JSON
		return "unreadable"
	}
	return string(text)
}
