// Package notice is what people are told: the kinds, the words of each, and the forms in which they travel. It does no I/O.
//
// The office decides what is told and writes it in the turn of what it tells;
// package courier carries it. Words of providers and agents are facts that are
// quoted: cut, on one line, never a heading and never a link.
package notice

import (
	"slices"
	"time"

	"github.com/purser-dev/purser/internal/catalog"
)

// Kind says what a notice is about; people choose by kind.
type Kind string

// The kinds.
const (
	ApprovalNeeded   Kind = "approval_needed"
	ApprovalReminder Kind = "approval_reminder"
	ApprovalExpired  Kind = "approval_expired"
	SecondSignature  Kind = "second_signature"
	RenewalSoon      Kind = "renewal_soon"
	PaymentRequired  Kind = "payment_required"
	BudgetThreshold  Kind = "budget_threshold"
	Stopped          Kind = "stopped"
	Resumed          Kind = "resumed"
	OrderUnknown     Kind = "order_unknown"
	ProviderMismatch Kind = "provider_mismatch"
	RunPaused        Kind = "run_paused"
	SignInLockout    Kind = "sign_in_lockout"
	ChoicesChanged   Kind = "choices_changed"
	PageWanted       Kind = "page_wanted"
	OrderWaits       Kind = "order_waits"
	Overrun          Kind = "overrun"
	Test             Kind = "test"
)

// All stands for every kind that has no choice of its own.
const All = "all"

// Kinds lists what people can choose. The test and the news that a choice changed
// are not among them: nobody is spared those.
func Kinds() []Kind {
	return []Kind{
		ApprovalNeeded, ApprovalReminder, ApprovalExpired, SecondSignature, RenewalSoon, PaymentRequired, BudgetThreshold,
		Stopped, Resumed, OrderUnknown, ProviderMismatch, RunPaused, SignInLockout, PageWanted, OrderWaits, Overrun,
	}
}

// AsksForApproval reports whether a notice is moot once its plan was decided.
func (k Kind) AsksForApproval() bool {
	return k == ApprovalNeeded || k == ApprovalReminder || k == SecondSignature
}

// The ways.
const (
	Mail    = "mail"    // to a person
	Webhook = "webhook" // of the installation, for each organization
)

// Ways lists them.
func Ways() []string { return []string{Mail, Webhook} }

// Notice is one thing that people are told.
type Notice struct {
	Kind    Kind
	Mark    string // what has the same mark is told once
	About   string // identifier of a plan, run, stop, subscription or order, or scope:target of a budget
	Subject string // one line
	Facts   []Fact
	Link    string // a path under public_url
	Person  string // empty: whoever chose the kind
	Project string
	Run     string
}

// Fact is one line of a notice. A quoted one is somebody else's words.
type Fact struct {
	Name   string `json:"name"`
	Value  string `json:"value"`
	Quoted bool   `json:"quoted,omitempty"`
}

// Message is a notice on its way to one receiver.
type Message struct {
	Notice
	ID               string
	Organization     string
	OrganizationName string
	At               time.Time
	URL              string // what Link leads to; empty: nowhere
	Address          string // of mail
	Last             bool   // no more of this kind within the hour
}

const (
	maxSubject = 160 // bytes
	maxFact    = 400
	maxFacts   = 40
)

// safe brings a notice to what can travel: whatever was put in, its lines are
// lines and its length has an end.
func safe(n Notice) Notice {
	n.Subject = catalog.Plain(n.Subject, maxSubject)
	n.Facts = slices.Clone(n.Facts)
	if len(n.Facts) > maxFacts {
		n.Facts = append(n.Facts[:maxFacts-1], Fact{Name: "More", Value: "the rest is behind the link"})
	}
	for i, f := range n.Facts {
		n.Facts[i].Name, n.Facts[i].Value = catalog.Plain(f.Name, 80), catalog.Plain(f.Value, maxFact)
	}
	return n
}

// Choice is what somebody chose for a kind, or for all.
type Choice struct {
	Person string // empty: the organization
	Kind   string
	Ways   []string
}

// WaysOf tells by which ways somebody is told of a kind: their own choice for it,
// then their own for all, then the organization's, then every way. own says that
// they chose it themselves.
func WaysOf(choices []Choice, person string, kind Kind) (ways []string, own bool) {
	for _, who := range []string{person, ""} {
		for _, k := range []string{string(kind), All} {
			for _, c := range choices {
				if c.Person == who && c.Kind == k {
					return c.Ways, c.Person == person
				}
			}
		}
	}
	return Ways(), false
}

// Times of the delivery of one notice.
const (
	GiveUpAfter = 24 * time.Hour   // a notice that could not be delivered for so long is given up
	longestWait = 30 * time.Minute // between two attempts
	firstWait   = 5 * time.Second
)

// Backoff is how long to wait after so many failed attempts, from 1.
func Backoff(attempts int64) time.Duration {
	wait := firstWait
	for range attempts - 1 {
		if wait *= 2; wait >= longestWait {
			return longestWait
		}
	}
	return wait
}
