package cli

import (
	"encoding/json"
	"fmt"
	"sort"
	"strings"

	"github.com/purser-dev/purser"
)

// showPlan shows a plan with the next command to type.
func showPlan(p *page, v purser.Plan) {
	showTerms(p, v, asPlanned)
	showOrders(p, v.Orders)
	if v.Error != nil {
		p.line("%s: %s", v.Error.Code, v.Error.Detail)
	}
	switch v.State {
	case purser.PlanWaiting:
		p.line("next: purser approve %s", v.ID)
	case purser.PlanReady:
		p.line("next: purser apply %s", v.ID)
	}
}

// When a plan's budgets stood as they are shown.
const (
	asPlanned = "as they were when it was planned"
	asNow     = "as they are now"
)

// showTerms shows everything that the digest covers, so that a person signs
// nothing that was not on the screen, and what it means for the budgets, of which it
// says when they stood so.
func showTerms(p *page, v purser.Plan, stood string) {
	t := v.Terms
	p.line("Plan %s: %s", v.ID, v.State)
	p.line("for project %s, environment %s, run %s, organization %s", t.Project, t.Env, t.Run, t.Organization)
	if t.Purpose != "" {
		p.line("purpose, in the proposer's words: %q", t.Purpose)
	}
	p.line("")
	var rows [][]string
	for _, st := range t.Steps {
		rows = append(rows, []string{fmt.Sprint(st.N), what(st), st.Item, now(st.Price), later(st.Price), effect(st)})
	}
	p.table([]string{"#", "WHAT", "ITEM", "NOW", "THEN", "EFFECT"}, rows)
	for _, st := range t.Steps {
		showDetails(p, st)
	}
	p.line("")
	p.line("now %s; monthly %s; renewal each year %s", sum(v.Totals.Now), sum(v.Totals.Monthly), sum(v.Totals.Renewal))
	if len(v.Budgets) > 0 {
		p.line("budgets %s:", stood)
	}
	for _, b := range v.Budgets {
		p.line("%s", budgetText(b))
	}
	for _, r := range v.Reasons {
		p.line("a person is asked%s: %s (%s)", ofStep(r.Step), r.Detail, r.Code)
	}
	for _, b := range v.Blockers {
		p.line("refused if it began now%s: %s: %s%s", ofStep(b.Step), b.Code, b.Detail, hinted(b.Hint))
	}
	p.line("digest %s", v.Digest)
}

func ofStep(n int) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprintf(" for step %d", n)
}

func what(st purser.PlanStep) string {
	if st.Service == "" {
		return string(st.Kind) + " " + st.Provider
	}
	if strings.HasPrefix(st.Service, st.Provider+"/") {
		return st.Service
	}
	return st.Provider + "/" + st.Service
}

func effect(st purser.PlanStep) string {
	if st.Effect == purser.Final && st.Price.RefundableTill == "" {
		return "final, not refundable"
	}
	return string(st.Effect)
}

func now(p purser.Price) string {
	if p.Currency == "" {
		return "free"
	}
	text := purser.Money{Amount: p.Now, Currency: p.Currency}.String()
	if p.Ceiling {
		return "at most " + text
	}
	return text
}

func later(p purser.Price) string {
	if p.Recurring == 0 {
		return "-"
	}
	text := purser.Money{Amount: p.Recurring, Currency: p.Currency}.String() + " per " + p.Interval
	if !p.AutoRenew {
		return text + ", not renewed by itself"
	}
	return text
}

// showDetails lists what does not fit a row.
func showDetails(p *page, st purser.PlanStep) {
	var facts []string
	add := func(format string, args ...any) { facts = append(facts, fmt.Sprintf(format, args...)) }
	if st.Name != "" {
		add("name %q", st.Name)
	}
	for _, key := range sorted(st.Configuration) {
		add("%s=%s", key, compact(st.Configuration[key]))
	}
	if st.Price.Tax != 0 {
		add("tax %s, included", purser.Money{Amount: st.Price.Tax, Currency: st.Price.Currency})
	}
	if st.Price.RefundableTill != "" {
		add("refundable until %s", st.Price.RefundableTill)
	}
	if st.Price.Cap == "none" || st.Price.Cap == "alert" || st.Price.Cap == "delayed" {
		add("use is not capped hard (%s)", st.Price.Cap)
	}
	if st.Price.Text != "" {
		add("the provider's price text: %q", st.Price.Text)
	}
	if a := st.Account; a != nil {
		add("account of %s; shares %s", a.Email, strings.Join(a.Shares, ", "))
		if a.TermsURL != "" {
			add("terms %s (%s)", a.TermsURL, a.TermsHash)
		}
		if a.Privacy != "" {
			add("privacy %s", a.Privacy)
		}
	}
	if d := st.Deployment; d != nil {
		add("%d files, %d bytes, %d added, %d removed, manifest %s", d.Files, d.Bytes, d.Added, d.Removed, d.Manifest)
		if d.Commit != "" {
			add("commit %s", d.Commit)
		}
		if d.Domain != "" {
			add("at %s", d.Domain)
		}
		for _, w := range d.Warnings {
			add("warning: %s", w)
		}
	}
	if st.Resource != "" {
		add("changes %s", st.Resource)
	}
	if st.After > 0 {
		add("uses what step %d makes", st.After)
	}
	if st.Meant {
		add("a repeat on purpose")
	}
	if len(facts) > 0 {
		p.line("   step %d: %s", st.N, strings.Join(facts, "; "))
	}
}

func sorted(m map[string]any) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	return keys
}

func compact(v any) string {
	text, err := json.Marshal(v)
	if err != nil {
		return fmt.Sprintf("%v", v)
	}
	return string(text)
}

func planTable(p *page, list []purser.Plan) {
	var rows [][]string
	for _, v := range list {
		var items []string
		for _, st := range v.Terms.Steps {
			items = append(items, what(st))
		}
		rows = append(rows, []string{v.ID, string(v.State), sum(v.Totals.Now), sum(v.Totals.Monthly), clock(v.ExpiresAt), v.By.Name, strings.Join(items, " + ")})
	}
	p.table([]string{"PLAN", "STATE", "NOW", "MONTHLY", "WAITS UNTIL", "ASKED BY", "WHAT"}, rows)
}
