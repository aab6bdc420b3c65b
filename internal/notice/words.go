package notice

import (
	"fmt"
	"strings"
	"time"

	"github.com/purser-dev/purser"
	"github.com/purser-dev/purser/internal/catalog"
)

const maxItem = 100 // bytes of a provider's item in a subject or a fact

// Approval tells that a person must decide about a plan.
func Approval(plan purser.Plan, agent string) Notice {
	n := ofPlan(ApprovalNeeded, plan, agent)
	n.Subject = fmt.Sprintf("Approval needed: %s", headline(plan))
	return n
}

// Reminder tells that a request ends soon without an answer.
func Reminder(plan purser.Plan, agent string) Notice {
	n := ofPlan(ApprovalReminder, plan, agent)
	n.Subject = fmt.Sprintf("Still waiting for a yes or no until %s: %s", clock(plan.ExpiresAt), headline(plan))
	return n
}

// Second tells that a plan has one signature and needs another person's.
func Second(plan purser.Plan, agent, signer string) Notice {
	n := ofPlan(SecondSignature, plan, agent)
	n.Subject = fmt.Sprintf("A second signature is needed: %s", headline(plan))
	n.Facts = append([]Fact{{Name: "Signed by", Value: signer}}, n.Facts...)
	return n
}

// Expired tells that nobody decided in time, which is a no.
func Expired(plan purser.Plan, agent string) Notice {
	n := ofPlan(ApprovalExpired, plan, agent)
	n.Subject = fmt.Sprintf("Nobody decided, so it is a no: %s", headline(plan))
	return n
}

// headline is what a plan would buy and cost now, on one line.
func headline(plan purser.Plan) string {
	what := "nothing"
	if len(plan.Terms.Steps) > 0 {
		what = quoted(plan.Terms.Steps[0].Item)
		if more := len(plan.Terms.Steps) - 1; more > 0 {
			what += fmt.Sprintf(" and %d more", more)
		}
	}
	return what + ", " + sum(plan.Totals.Now, "free") + " now"
}

// quoted puts somebody's words into a subject.
func quoted(words string) string {
	return `"` + strings.ReplaceAll(catalog.Plain(words, maxItem/2), `"`, "'") + `"`
}

func ofPlan(kind Kind, plan purser.Plan, agent string) Notice {
	n := Notice{
		Kind: kind, Mark: string(kind) + "/" + plan.ID, About: plan.ID, Link: "/approvals/" + plan.ID,
		Project: plan.Terms.Project, Run: plan.Terms.Run,
	}
	if agent != "" {
		n.Facts = append(n.Facts, Fact{"Asked by", catalog.Plain(agent, 80), true})
	}
	if plan.Terms.Purpose != "" {
		n.Facts = append(n.Facts, Fact{"Its purpose, in its words", plan.Terms.Purpose, true})
	}
	for _, s := range plan.Terms.Steps {
		price := "free"
		if s.Price.Currency != "" {
			price = purser.Money{Amount: s.Price.Now, Currency: s.Price.Currency}.String()
			if s.Price.Recurring > 0 {
				price += fmt.Sprintf(", then %s each %s", purser.Money{Amount: s.Price.Recurring, Currency: s.Price.Currency}, s.Price.Interval)
			}
		}
		n.Facts = append(n.Facts,
			Fact{fmt.Sprintf("%d. %s from %s", s.N, s.Kind, s.Provider), catalog.Plain(s.Item, maxItem), true},
			Fact{fmt.Sprintf("%d. costs", s.N), price + final(s.Effect), false})
	}
	n.Facts = append(n.Facts, Fact{"Each month from then on", sum(plan.Totals.Monthly, "nothing"), false})
	for _, r := range plan.Reasons {
		n.Facts = append(n.Facts, Fact{"Why a person is asked", r.Code + ": " + r.Detail, true})
	}
	n.Facts = append(n.Facts, Fact{"Waits until", clock(plan.ExpiresAt), false})
	return n
}

func final(e purser.Effect) string {
	if e == purser.Final {
		return "; final, not refundable"
	}
	return ""
}

// Renewal tells of a recurring charge a week before it falls due (RULES 8).
func Renewal(s purser.Subscription, due time.Time) Notice {
	return Notice{
		Kind: RenewalSoon, Mark: fmt.Sprintf("%s/%s/%d", RenewalSoon, s.ID, due.Unix()), About: s.ID, Project: s.Project,
		Subject: fmt.Sprintf("Renews on %s for %s: %s", due.UTC().Format(time.DateOnly), s.Amount, quoted(s.What)),
		Facts:   append(ofSubscription(s), Fact{"Due", clock(due), false}, Fact{"To cancel", "purser subscriptions cancel " + s.ID, false}),
	}
}

// Ending tells, a week before, that a recurring charge will not be made: its approval is over.
func Ending(s purser.Subscription, due time.Time) Notice {
	return Notice{
		Kind: RenewalSoon, Mark: fmt.Sprintf("%s/%s/%d", RenewalSoon, s.ID, due.Unix()), About: s.ID, Project: s.Project,
		Subject: fmt.Sprintf("Does not renew on %s: %s", due.UTC().Format(time.DateOnly), quoted(s.What)),
		Facts:   append(ofSubscription(s), Fact{"Would be due", clock(due), false}, Fact{"Why", "its approval is over by then; to go on, approve it anew", false}),
	}
}

// Unpaid tells that a recurring charge was refused, and why.
func Unpaid(s purser.Subscription, due time.Time, no *purser.Error) Notice {
	return Notice{
		Kind: PaymentRequired, Mark: fmt.Sprintf("%s/%s/%d", PaymentRequired, s.ID, due.Unix()), About: s.ID, Project: s.Project,
		Subject: fmt.Sprintf("Not paid: %s for %s", s.Amount, quoted(s.What)),
		Facts:   append(ofSubscription(s), Fact{"Was due", clock(due), false}, Fact{"Refused", string(no.Code) + ": " + no.Detail, false}),
	}
}

func ofSubscription(s purser.Subscription) []Fact {
	return []Fact{
		{"What", s.What, true},
		{"From", s.Provider, false},
		{"Amount", s.Amount.String() + " each " + s.Interval, false},
		{"Approved up to", s.Maximum.String(), false},
	}
}

// Threshold tells that a budget's use reached a percentage of its limit. The line
// is as it was before; after is the use that reached it, in minor units.
func Threshold(line purser.BudgetLine, percent int, after int64) Notice {
	money := func(n int64) string { return purser.Money{Amount: n, Currency: line.Limit.Currency}.String() }
	period := line.Period + " "
	if line.Period == purser.PeriodRun { // its life, which is a run's own
		period = ""
	}
	n := Notice{
		Kind: BudgetThreshold, About: line.Scope + ":" + line.ID,
		// A limit that was changed is another one to be told of; the same one is told
		// of once in each window, however often its use goes up and down.
		Mark:    fmt.Sprintf("%s/%s/%s/%s/%s/%s/%d/%d", BudgetThreshold, line.Scope, line.ID, line.Period, line.Window, line.Limit.Currency, line.Limit.Amount, percent),
		Subject: fmt.Sprintf("%d%% of the %s's %sbudget is used: %s of %s", percent, line.Scope, period, money(after), line.Limit),
		Facts: []Fact{
			{"Budget", line.Scope + " " + line.ID + ", " + line.Window, false},
			{"Used, with what is held", money(after), false},
			{"Left", money(max(0, line.Limit.Amount-after)), false},
		},
	}
	if line.ResetsAt != nil {
		n.Facts = append(n.Facts, Fact{"Begins anew", clock(*line.ResetsAt), false})
	}
	switch line.Scope {
	case "project":
		n.Project = line.ID
	case "run":
		n.Run = line.ID
	}
	return n
}

// Lowered is Threshold of a limit that an agent lowered to its use. It may do so a cent at
// a time, so that is told of once in each window, whatever the limit is.
func Lowered(line purser.BudgetLine, percent int, use int64) Notice {
	n := Threshold(line, percent, use)
	n.Mark = fmt.Sprintf("%s/%s/%s/%s/%s/%s/lowered/%d", BudgetThreshold, line.Scope, line.ID, line.Period, line.Window, line.Limit.Currency, percent)
	return n
}

// Stop tells that spending was stopped, and what could not be.
func Stop(s purser.StopInfo, by string) Notice {
	n := Notice{
		Kind: Stopped, Mark: string(Stopped) + "/" + s.ID, About: s.ID,
		Subject: fmt.Sprintf("Stopped: %s", stopped(s)),
		Facts: []Fact{
			{"Reason", s.Reason, true},
			{"By", by, true},
			{"Plans and approvals in it", "void, if they had not begun", false},
		},
	}
	for _, o := range s.Open {
		n.Facts = append(n.Facts, Fact{"Still open: " + o.Order, o.What + ", holds " + o.Held.String(), true})
	}
	n.Facts = append(n.Facts, Fact{"To lift it", "purser resume " + s.ID, false})
	return n
}

// stopped names what a stop covers, in its own words where it has some.
func stopped(s purser.StopInfo) string {
	if s.Name != "" {
		return s.Scope + " " + quoted(s.Name)
	}
	return s.Scope + " " + s.Target
}

// Resume tells that a stop was lifted, and why what it covered spends nothing all the
// same, if it does not.
func Resume(s purser.StopInfo, by, hindered string) Notice {
	subject := fmt.Sprintf("Resumed: %s may spend again", stopped(s))
	if hindered != "" {
		subject = fmt.Sprintf("Lifted: the stop of %s, which spends nothing all the same: %s", stopped(s), hindered)
	}
	return Notice{
		Kind: Resumed, Mark: string(Resumed) + "/" + s.ID, About: s.ID,
		Subject: subject,
		Facts:   []Fact{{"By", by, true}, {"Was stopped for", s.Reason, true}},
	}
}

// Order is what a notice about an order needs of it.
type Order struct {
	ID, What, Provider, Project, Run string
	Held, Charged                    purser.Money
}

// Excess is what a notice about a capture above its hold needs of it.
type Excess struct {
	Hold, Provider, Project, Run string
	Held, Above                  purser.Money
	Seq                          int64
}

// Exceeded tells that more was captured than was held, which no budget could refuse.
func Exceeded(x Excess) Notice {
	return Notice{
		Kind: Overrun, Mark: fmt.Sprintf("%s/%s/%d", Overrun, x.Hold, x.Seq), About: x.Hold, Project: x.Project, Run: x.Run,
		Subject: fmt.Sprintf("%s took %s more than was held for it", x.Provider, x.Above),
		Facts: []Fact{
			{"Hold", x.Hold, false},
			{"Held at most", x.Held.String(), false},
			{"Taken above it", x.Above.String(), false},
			{"Budgets", "it counts in none: nobody was asked before", false},
			{"What happens", "what it came from is stopped until a person resumes it", false},
			{"Next", "talk to the provider; what comes back is recorded as a refund", false},
		},
	}
}

// Unknown tells that nobody knows whether an order was bought.
func Unknown(o Order) Notice {
	n := Notice{
		Kind: OrderUnknown, Mark: string(OrderUnknown) + "/" + o.ID, About: o.ID, Project: o.Project, Run: o.Run,
		Subject: fmt.Sprintf("Nobody knows yet whether it was bought: %s", quoted(o.What)),
		Facts: []Fact{
			{"What", o.What, true},
			{"From", o.Provider, false},
			{"Held meanwhile", o.Held.String(), false},
		},
	}
	if o.Charged.Amount > 0 {
		n.Facts = append(n.Facts, Fact{"Charged already", o.Charged.String(), false})
	}
	n.Facts = append(n.Facts, Fact{"Next", "it is looked up; if it stays so, look at the provider and say: purser resolve " + o.ID + " --outcome live --found ID, or --outcome failed", false})
	return n
}

// UnknownHold tells that the time of a hold is over whose effect began, and that nobody
// has said what it cost.
func UnknownHold(o Order) Notice {
	return Notice{
		Kind: OrderUnknown, Mark: string(OrderUnknown) + "/" + o.ID, About: o.ID, Project: o.Project, Run: o.Run,
		Subject: fmt.Sprintf("Nobody knows what became of a hold for %s", quoted(o.Provider)),
		Facts: []Fact{
			{"From", o.Provider, true},
			{"Held meanwhile", o.Held.String(), false},
			{"Next", "whoever placed it says what it cost; if it stays so, look at the provider and say: purser hold resolve " + o.ID, false},
		},
	}
}

// StillUnknown tells the same of an order or a hold again, which is so for that many days.
func StillUnknown(n Notice, days int) Notice {
	n.Mark = MarkOfUnknown(n.About, days)
	after := "a day"
	if days > 1 {
		after = fmt.Sprintf("%d days", days)
	}
	n.Subject = fmt.Sprintf("After %s still: %s", after, n.Subject)
	return n
}

// MarkOfUnknown is the mark under which StillUnknown tells of an order or a hold.
func MarkOfUnknown(about string, days int) string {
	return fmt.Sprintf("%s/%s/%d", OrderUnknown, about, days)
}

// Mismatch tells that a provider handed over something else, or answered for
// somebody else, than was asked.
func Mismatch(o Order, no *purser.Error) Notice {
	return Notice{
		Kind: ProviderMismatch, Mark: string(ProviderMismatch) + "/" + o.ID, About: o.ID, Project: o.Project, Run: o.Run,
		Subject: fmt.Sprintf("%s handed over something else: %s", o.Provider, quoted(o.What)),
		Facts: []Fact{
			{"What was asked", o.What, true},
			{"What is wrong", string(no.Code) + ": " + no.Detail, true},
			{"Next", "talk to the provider; what it charged is in: purser spend", false},
		},
	}
}

// Paused tells that a guard of pace holds a run back until a person looks.
func Paused(run purser.Run, agent, what string, no *purser.Error, at time.Time) Notice {
	return Notice{
		// At most once an hour: the agent may go on asking.
		Kind: RunPaused, Mark: fmt.Sprintf("%s/%s/%s", RunPaused, run.ID, at.UTC().Format("2006-01-02T15")), About: run.ID, Project: run.Project, Run: run.ID,
		Subject: "A run is held back: " + no.Detail,
		Facts: []Fact{
			{"Agent", agent, true},
			{"Wanted", what, true},
			{"Next", no.Hint, false},
		},
	}
}

// Waits tells that an order goes on once a person has agreed at its provider, or told
// what it asks for.
func Waits(o Order, no *purser.Error) Notice {
	next := "purser consent " + o.ID
	if no.Code == purser.NeedsInformation {
		next = "purser inform " + o.ID
	}
	return Notice{
		Kind: OrderWaits, Mark: string(OrderWaits) + "/" + o.ID + "/" + string(no.Code), About: o.ID, Project: o.Project, Run: o.Run,
		Subject: fmt.Sprintf("%s waits for you: %q", o.Provider, catalog.Plain(o.What, maxItem/2)),
		Facts: []Fact{
			{"What", o.What, true},
			{"Why", no.Detail, true},
			{"Held meanwhile", o.Held.String(), false},
			{"Next", next, false},
		},
	}
}

// Page is what a notice about a page of a provider needs of it.
type Page struct {
	Provider, Command, Why, By, Project, Run string
}

// OpenPage tells that somebody wants a page of a provider opened. Its link is made
// only when a person types the command.
func OpenPage(p Page) Notice {
	return Notice{
		// Once for each run and page: the agent may go on asking.
		Kind: PageWanted, Mark: string(PageWanted) + "/" + p.Run + "/" + p.By + "/" + p.Command, About: p.Run, Project: p.Project, Run: p.Run,
		Subject: "A page of " + p.Provider + " should be opened",
		Facts: []Fact{
			{"Asked by", p.By, true},
			{"Why", p.Why, true},
			{"Next", p.Command, false},
		},
	}
}

// Lockout tells of many failed sign-ins from one address.
func Lockout(source string, tries int, minute time.Time) Notice {
	return Notice{
		Kind: SignInLockout, Mark: fmt.Sprintf("%s/%s/%s", SignInLockout, source, minute.UTC().Format("2006-01-02T15")), About: source,
		Subject: fmt.Sprintf("%d failed sign-ins within a minute from %s", tries, source),
		Facts: []Fact{
			{"When", clock(minute), false},
			{"What happens", "more tries from there are refused until the minute is over; nobody else is locked out", false},
		},
	}
}

// Locked tells a person that somebody guessed at their passphrase too often.
func Locked(person, email string, until, at time.Time) Notice {
	return Notice{
		Kind: SignInLockout, Mark: fmt.Sprintf("%s/%s/%s", SignInLockout, person, at.UTC().Format("2006-01-02T15")), About: person, Person: person,
		Subject: "Somebody tries passphrases or recovery codes for your address",
		Facts: []Fact{
			{"Address", email, false},
			{"What happens", "passphrases and recovery codes are not taken for it until " + clock(until) + "; passkeys are", false},
		},
	}
}

// Choices tells a person, by the ways that were in force before, that what they
// are told was changed: whoever silences a guard must not do it silently.
func Choices(id, person, by, who, kinds, before, after string) Notice {
	return Notice{
		Kind: ChoicesChanged, Mark: string(ChoicesChanged) + "/" + id, About: person, Person: person,
		Subject: "What you are told was changed",
		Facts:   []Fact{{"By", by, true}, {"For", who, false}, {"Kinds", kinds, false}, {"Before", before, false}, {"Now", after, false}},
	}
}

// Trial is a test.
func Trial(id, person string) Notice {
	return Notice{
		Kind: Test, Mark: string(Test) + "/" + id, About: person, Person: person, Subject: "This is a test",
		Facts: []Fact{{"Next", "nothing: it arrived", false}},
	}
}

func sum(list []purser.Money, none string) string {
	var out []string
	for _, m := range list {
		if m.Amount != 0 {
			out = append(out, m.String())
		}
	}
	if len(out) == 0 {
		return none
	}
	return strings.Join(out, " + ")
}

func clock(t time.Time) string { return t.UTC().Format("2006-01-02 15:04 UTC") }
