package purser

import "time"

// Kinds of spends that are decided one by one, without a plan.
const (
	KindUsage = "usage" // metered: model tokens, API calls; may repeat as often as the budgets allow
	KindOrder = "order" // one thing, named by its target; a repeat looks like a mistake (RULES 9)
)

// States of a hold.
const (
	HoldHeld     = "held"     // reserved; nothing outside may act on it yet
	HoldBegun    = "begun"    // its effect may be under way
	HoldCaptured = "captured" // over, something of it was spent
	HoldReleased = "released" // over, given back
	HoldExpired  = "expired"  // over, given back by the engine
	HoldUnknown  = "unknown"  // begun and never settled in time: still held, a person or its platform says what became of it
)

// PlaceHold reserves money within every budget that covers it, for something that
// is about to be used. Nothing may act on it before begin_hold. Refusals:
// budget_exceeded with every budget that failed, currency_not_budgeted, stopped,
// run_ended, forbidden (the run does not buy there), needs_approval (an order above
// the run's threshold), looks_like_duplicate, too_many_orders, clock_unsafe,
// key_reused, overloaded.
type PlaceHold struct {
	Run             string   `json:"run,omitempty"`      // an agent's own may be left out; a platform names one
	Provider        string   `json:"provider"`           // who is paid: a name of 1 to 64 letters, digits, . _ - /
	Category        string   `json:"category,omitempty"` // whose budget covers it too
	Labels          []string `json:"labels,omitempty"`   // name=value, beside those of the run and project; more never allow more
	Kind            string   `json:"kind,omitempty"`     // usage, the default, or order
	Target          string   `json:"target,omitempty"`   // of an order: what exactly, at most 200 characters
	AmountMinor     int64    `json:"amount_minor"`       // the most that it can cost, above zero
	Currency        string   `json:"currency"`
	LifetimeSeconds int64    `json:"lifetime_seconds,omitempty"` // until the hold expires; default 3600, at most 30 days
}

// ChargeUsage holds and captures at once, for use that costs a known amount.
type ChargeUsage struct {
	Run         string   `json:"run,omitempty"`
	Provider    string   `json:"provider"`
	Category    string   `json:"category,omitempty"`
	Labels      []string `json:"labels,omitempty"`
	AmountMinor int64    `json:"amount_minor"`
	Currency    string   `json:"currency"`
}

// BeginHold asks leave to act on a hold. A yes of before is no leave: this turn
// looks at the stops (RULES 15, 21).
type BeginHold struct {
	Hold string `json:"hold"`
}

// CaptureHold says what the effect of a begun hold has cost. Parts may follow each
// other; final gives the rest back. More than is left is invalid_state, unless it was
// made already: a platform tells so of money that is gone. Then what the hold still
// covers is captured, and the rest is an overrun, outside of all budgets, which alerts
// people and stops the run. An agent cannot tell so, nor that its effect cost nothing.
type CaptureHold struct {
	Hold        string `json:"hold"`
	AmountMinor int64  `json:"amount_minor"` // of this part; platforms: 0 with final, nothing more was used
	Final       bool   `json:"final,omitempty"`
	Currency    string `json:"currency,omitempty"` // of the amount; another than the hold's is refused
	Made        bool   `json:"made,omitempty"`     // platforms: it was captured already, and is booked whatever the hold covers
}

// HoldRef names a hold. Of release_hold: what it still covers is given back. One
// whose effect began is released by the platform that runs the effect; an agent
// cannot know that nothing will be charged any more (RULES 2).
type HoldRef struct {
	Hold string `json:"hold"`
}

// ResolveHold is a person's word that nothing more will be charged on a hold. One
// whose effect began needs a signed act, and may say what it cost beside what was captured
// of it before: that is captured in addition, and the rest given back.
type ResolveHold struct {
	Hold          string     `json:"hold"`
	CapturedMinor int64      `json:"captured_minor,omitempty"` // of what was still held, in addition to what was captured before
	Currency      string     `json:"currency,omitempty"`       // of that; another than the hold's is refused
	Act           *Signature `json:"act,omitempty"`
}

// RefundHold records that captured money was given back. It comes from the
// platform that captured it, never from an agent (RULES 2), and returns to the
// windows that it was taken from.
type RefundHold struct {
	Hold        string `json:"hold"`
	AmountMinor int64  `json:"amount_minor"`
	Currency    string `json:"currency,omitempty"` // of the amount; another than the hold's is refused
}

// Hold is a hold as one decision left it.
type Hold struct {
	ID            string     `json:"id"`
	Seq           int64      `json:"seq"`   // of the decision's record
	Epoch         int64      `json:"epoch"` // of stops, as of this answer
	State         string     `json:"state"`
	Run           string     `json:"run"`
	Provider      string     `json:"provider"`
	AmountMinor   int64      `json:"amount_minor"`
	Currency      string     `json:"currency"`
	CapturedMinor int64      `json:"captured_minor"`
	OverrunMinor  int64      `json:"overrun_minor,omitempty"` // captured above the amount: outside of all budgets
	RefundedMinor int64      `json:"refunded_minor"`          // of both
	LeftMinor     int64      `json:"left_minor"`              // what can still be captured
	ExpiresAt     *time.Time `json:"expires_at,omitempty"`
	Replay        bool       `json:"replay,omitempty"` // an answer of before: no permission to act
}

// AskHolds asks for holds that are not over.
type AskHolds struct {
	Run string `json:"run,omitempty"`
	Page
}

// AllowRepeat says that one repeat of an order is meant, at the provider that it names
// (RULES 9).
type AllowRepeat struct {
	Run         string     `json:"run"`
	Provider    string     `json:"provider"`
	Target      string     `json:"target"`
	AmountMinor int64      `json:"amount_minor"`
	Currency    string     `json:"currency"`
	Act         *Signature `json:"act,omitempty"`
}

// CreatePlatform registers a program that meters what agents spend. Its token is
// shown once; it spends for runs within their budgets, and loosens nothing.
type CreatePlatform struct {
	Name string     `json:"name"`
	Act  *Signature `json:"act,omitempty"`
}

// PlatformInfo is a registered platform.
type PlatformInfo struct {
	ID        string     `json:"id"`
	Name      string     `json:"name"`
	Token     string     `json:"token,omitempty"` // once, when it was made
	CreatedAt time.Time  `json:"created_at"`
	RevokedAt *time.Time `json:"revoked_at,omitempty"`
}

// PlatformRef names a platform.
type PlatformRef struct {
	Platform string `json:"platform"`
}

// SetLabels puts labels on a project or a run; each may have a budget. Taking one
// away loosens, so it needs a signed act.
type SetLabels struct {
	Scope  string     `json:"scope"` // project, run
	ID     string     `json:"id"`
	Labels []string   `json:"labels"`
	Act    *Signature `json:"act,omitempty"`
}

// Labelled is what a project or a run is labelled with.
type Labelled struct {
	Scope  string   `json:"scope"`
	ID     string   `json:"id"`
	Labels []string `json:"labels"`
}
