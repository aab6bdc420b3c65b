package console

import (
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/purser-dev/purser"
)

// link is one entry of the menu.
type link struct {
	path, text string
	apart      bool // begins a group
}

var menuLinks = []link{
	{path: "/", text: "Now"},
	{path: "/approvals", text: "Approvals"},
	{path: "/runs", text: "Runs"},
	{path: "/projects", text: "Projects", apart: true},
	{path: "/spend", text: "Spend"},
	{path: "/catalog", text: "Catalog"},
	{path: "/agents", text: "Agents", apart: true},
	{path: "/providers", text: "Providers"},
	{path: "/people", text: "People"},
	{path: "/audit", text: "Audit", apart: true},
	{path: "/settings", text: "Settings"},
}

// covers reports whether the page at path belongs under this entry.
func (l link) covers(path string) bool {
	return path == l.path || l.path != "/" && strings.HasPrefix(path, l.path+"/")
}

// short makes foreign text fit to be shown: one line, at most n characters, and
// none of the marks that turn the direction of what stands around it or that
// cannot be seen. A name with such marks would pass for another one.
func short(s string, n int) string {
	var b strings.Builder
	count := 0
	for _, c := range s {
		if count == n {
			b.WriteRune('…')
			break
		}
		switch {
		case unicode.IsSpace(c):
			c = ' '
		case c == utf8.RuneError || !unicode.IsGraphic(c): // controls, and the format characters that reorder
			c = '\uFFFD'
		}
		b.WriteRune(c)
		count++
	}
	return b.String()
}

// initial is a person's sign in the bar.
func initial(name string) string {
	for _, c := range strings.TrimSpace(name) {
		if unicode.IsLetter(c) || unicode.IsDigit(c) {
			return string(unicode.ToUpper(c))
		}
	}
	return "?"
}

// titles are the headings of pages that tell a failure, for the codes a person meets.
var titles = map[purser.Code]string{
	purser.NotFound:     "Not found",
	purser.Forbidden:    "Not allowed",
	purser.NotSignedIn:  "Not signed in",
	purser.NeedsPerson:  "Your signature is needed",
	purser.TooManyTries: "Too many tries",
	purser.Unavailable:  "Not available",
	purser.Overloaded:   "Too busy",
	purser.InvalidState: "Too late",
	purser.Internal:     "Something broke",
}

func title(code purser.Code) string {
	if t, ok := titles[code]; ok {
		return t
	}
	return "That did not work"
}

// major is an amount without its currency: "20.00".
func major(m purser.Money) string {
	return strings.TrimSuffix(m.String(), " "+m.Currency)
}

// plain writes a word of the contract as a person reads it.
func plain(s string) string { return strings.ReplaceAll(short(s, 60), "_", " ") }

func orWord(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}

// month writes 2026-11 as a person reads it.
func month(s string) string {
	t, err := time.Parse("2006-01", s)
	if err != nil {
		return s
	}
	return t.Format("January 2006")
}

// tones say how a state feels: good, busy, warn, bad or nothing.
var tones = map[string]string{
	"active": "good", "live": "good", "ok": "good", "done": "good", "accepted": "good", "passed": "good", "ready": "good",
	"needs_approval": "warn", "buying": "busy", "placed": "busy", "applying": "busy", "pending": "busy", "retiring": "warn", "untested": "warn",
	"unknown": "bad", "failed": "bad", "stopped": "bad", "payment_required": "bad", "refused": "bad", "frozen": "bad", "unreachable": "bad",
	"incompatible": "bad", "denied": "bad", "void": "bad", "cut": "bad",
}

func tone(state string) string { return tones[state] }

// share is a part of a whole in hundredths, for the width of a bar.
func share(part, whole int64) string {
	if whole <= 0 || part <= 0 {
		return "0"
	}
	return strconv.FormatFloat(min(100, 100*float64(part)/float64(whole)), 'f', 2, 64)
}

// gaugeText says what a gauge shows.
func gaugeText(b purser.BudgetLine) string {
	m := func(n int64) string { return major(purser.Money{Amount: n, Currency: b.Limit.Currency}) }
	text := m(b.Captured) + " spent"
	if b.Refunded > 0 {
		text += ", " + m(b.Refunded) + " of it returned"
	}
	if b.Held > 0 {
		text += ", " + m(b.Held) + " held"
	}
	return text + " of " + b.Limit.String() + " " + per(b)
}

// per says for which time a budget is.
func per(b purser.BudgetLine) string {
	switch b.Period {
	case "run":
		return "for the run"
	case "month", "week", "day":
		return "a " + b.Period
	case "hour":
		return "an hour"
	case "total":
		return "in total"
	}
	return plain(b.Period)
}

func budgetName(b purser.BudgetLine) string {
	if b.Name != "" && b.Name != b.ID {
		return b.Name
	}
	return b.ID
}

// headline names the most important thing of a plan: what is final, else what
// costs most, else its first service.
func headline(t purser.PlanTerms) string {
	best := -1
	rank := func(s purser.PlanStep) int64 {
		r := s.Price.Now + s.Price.Recurring
		if s.Effect == purser.Final {
			r += 1 << 50
		}
		if s.Kind != purser.LinkStep {
			r++
		}
		return r
	}
	for i, s := range t.Steps {
		if best < 0 || rank(s) > rank(t.Steps[best]) {
			best = i
		}
	}
	if best < 0 {
		return "an empty plan"
	}
	return t.Steps[best].Item
}

// runName is what a run is called: its purpose, as the person wrote it.
func runName(r purser.Run) string {
	if r.Purpose != "" {
		return r.Purpose
	}
	return "Run without a purpose"
}

// stopName says what a stop covers.
func stopName(s purser.StopInfo) string {
	if s.Scope == "organization" {
		return "everything"
	}
	if s.Name != "" {
		return s.Scope + " " + short(s.Name, 80)
	}
	if n := len(s.Target); (s.Scope == "run" || s.Scope == "agent") && n > 6 {
		return s.Scope + " …" + s.Target[n-6:]
	}
	return plain(s.Scope) + " " + short(s.Target, 60)
}

// nameIn finds a name for "person:per_..." or "run:run_...", with the word before it.
func nameIn(names map[string]string, who string) (name, kind string) {
	kind, id, split := strings.Cut(who, ":")
	if !split {
		id, kind = who, ""
	}
	return names[id], plain(kind)
}

// waiting says how long to wait, rounded up.
func waiting(d time.Duration) string {
	if d > 90*time.Second {
		return counted(int((d+time.Minute-1)/time.Minute), "minute")
	}
	return counted(int((d+time.Second-1)/time.Second), "second")
}

// sentence begins with a capital, unless it begins with a name of the protocol, and
// ends with a stop.
func sentence(s string) string {
	first, size := utf8.DecodeRuneInString(s)
	word, _, _ := strings.Cut(s, " ")
	if size > 0 && !strings.Contains(word, "_") {
		s = string(unicode.ToUpper(first)) + s[size:]
	}
	if s != "" && !strings.ContainsRune(".!?…", rune(s[len(s)-1])) {
		s += "."
	}
	return s
}

// doneEffects counts the revocations of a stop that are carried out.
func doneEffects(s purser.StopInfo) int {
	n := 0
	for _, e := range s.Effects {
		if e.State == "done" {
			n++
		}
	}
	return n
}

// credentialText says how many credentials there are, and of which class.
func credentialText(r purser.Resource) string {
	switch len(r.Variables) {
	case 0:
		return "none"
	case 1:
		return "1, class " + plain(r.Class)
	}
	return strconv.Itoa(len(r.Variables)) + ", class " + plain(r.Class)
}

// expirySoon is how long before their end credentials are marked.
const expirySoon = 14 * 24 * time.Hour

// expiryText says how long the credentials of a resource are good for.
func expiryText(r purser.Resource, now time.Time) string {
	if r.Until == nil {
		return "no end told by the provider"
	}
	left := r.Until.Sub(now)
	switch days := int(left / (24 * time.Hour)); {
	case left <= 0:
		return "ended"
	case days == 0:
		return "end within a day"
	default:
		return "end in " + counted(days, "day")
	}
}

// expiryTone marks what ends soon, or has ended.
func expiryTone(r purser.Resource, now time.Time) string {
	switch {
	case r.Until == nil || r.Until.Sub(now) > expirySoon:
		return ""
	case r.Until.After(now):
		return "warn"
	}
	return "bad"
}

// priceUnit says for what one component of a price is.
func priceUnit(p purser.ServicePrice) string {
	text := ""
	if p.Unit != "" {
		text = "per "
		if p.Per != "" && p.Per != "1" {
			text += short(p.Per, 20) + " "
		}
		text += short(p.Unit, 30)
	}
	if p.Period != "" {
		text += " a " + short(p.Period, 20)
	}
	if p.Kind == "one_time" {
		text += " once"
	}
	return strings.TrimSpace(text)
}

// conformanceWord is the verdict of a text like "passed 2026-11-29".
func conformanceWord(s string) string {
	word, _, _ := strings.Cut(s, " ")
	return orWord(word, "untested")
}

func lastConformance(p purser.ProviderInfo) string {
	switch {
	case p.Conformance == nil:
		return "untested"
	case p.Conformance.Passed:
		return "passed"
	}
	return "failed"
}

// counted writes a number with its word.
func counted(n int, word string) string {
	if n == 1 {
		return "1 " + word
	}
	if strings.HasSuffix(word, "sh") {
		word += "e"
	}
	return strconv.Itoa(n) + " " + word + "s"
}

// sortBudgets puts what covers most first: the organization before a run, a month
// before an hour.
func sortBudgets(all []purser.BudgetLine) {
	rank := func(b purser.BudgetLine) int {
		scope := slices.Index([]string{"organization", "project", "provider", "category", purser.ScopeLabel, purser.ScopeRun}, b.Scope)
		period := slices.Index([]string{purser.PeriodTotal, purser.PeriodMonth, purser.PeriodWeek, purser.PeriodDay, purser.PeriodHour, purser.PeriodRun}, b.Period)
		return scope*10 + period
	}
	slices.SortStableFunc(all, func(a, b purser.BudgetLine) int {
		if a.Scope == b.Scope && a.ID != b.ID {
			return strings.Compare(budgetName(a)+a.ID, budgetName(b)+b.ID)
		}
		return rank(a) - rank(b)
	})
}

// resets says when a budget begins anew.
func resets(b purser.BudgetLine, zone *time.Location) string {
	if b.ResetsAt == nil {
		return ""
	}
	switch at := b.ResetsAt.In(zone); b.Period {
	case "hour":
		return "; starts again at " + at.Format("15:04 MST")
	case "day":
		return "; starts again on " + at.Format("2 January, 15:04 MST")
	default:
		return "; starts again on " + at.Format("2 January")
	}
}

// toldAt says at which parts of a limit people are told.
func toldAt(b purser.BudgetLine) string {
	if len(b.Thresholds) == 0 {
		return ""
	}
	all := make([]string, len(b.Thresholds))
	for i, p := range b.Thresholds {
		all[i] = strconv.Itoa(p)
	}
	return "; told at " + strings.Join(all, ", ") + "%"
}

// takes says what a plan takes of a budget.
func takes(b purser.BudgetLine) string {
	if b.Needed == 0 {
		return ""
	}
	return "; this takes " + purser.Money{Amount: b.Needed, Currency: b.Limit.Currency}.String()
}

// changeText names what changed, and in which step.
func changeText(c purser.Change) string {
	switch {
	case c.What == "step" && c.Before == "":
		return "step added"
	case c.What == "step":
		return "step left out"
	case c.Step == 0:
		return plain(c.What)
	}
	return plain(c.What) + ", step " + strconv.Itoa(c.Step)
}

// sameKind reports whether a difference is between two names, which are then
// shown letter by letter.
func sameKind(d purser.Difference) bool {
	return d.Asked != "" && d.Found != "" && d.Code != "renews_higher" && d.Code != "above_purpose"
}
