package purser

import "time"

// Overview is what is going on in an organization, at a glance.
type Overview struct {
	Organization string     `json:"organization"` // its name
	Timezone     string     `json:"timezone"`     // IANA name; months and days begin there
	Month        string     `json:"month"`        // 2026-11
	Waiting      int        `json:"waiting"`      // plans that wait for a person
	ActiveRuns   int        `json:"active_runs"`
	Unsettled    []Order    `json:"unsettled"` // placed, buying or unknown; the newest 50
	Stops        []StopInfo `json:"stops"`     // in force
	Captured     []Money    `json:"captured"`  // this month
	Refunded     []Money    `json:"refunded"`  // this month
	Held         []Money    `json:"held"`      // now
	RunRate      []Money    `json:"run_rate"`  // committed per month
	Records      int64      `json:"records"`   // of the audit log
}

// ListResources asks for what was provisioned, the newest first.
type ListResources struct {
	Project string `json:"project,omitempty"`
	Env     string `json:"env,omitempty"`
	State   string `json:"state,omitempty"` // all: those that are removed or detached too
	Page
}

// AskReport asks for money by day.
type AskReport struct {
	Days int `json:"days,omitempty"` // how many, today included; default 30, at most 366
}

// Report is money by day, and what the month is expected to come to.
type Report struct {
	Timezone string        `json:"timezone"` // IANA name; days begin there
	From     string        `json:"from"`     // first day, 2026-11-01
	Until    string        `json:"until"`    // last day, today
	Lines    []ReportLine  `json:"lines"`    // by day, then provider; days without money have none
	Forecast []ForecastSum `json:"forecast"` // of this month
}

// ReportLine is what one provider got for one project on one day.
type ReportLine struct {
	Day         string `json:"day"`
	Provider    string `json:"provider"`
	Project     string `json:"project"` // identifier
	ProjectName string `json:"project_name"`
	Currency    string `json:"currency"`
	Captured    int64  `json:"captured"` // minor units, as below
	Refunded    int64  `json:"refunded"`
}

// ForecastSum is what this month is expected to come to in one currency: what was
// captured and not refunded, what is held, and the renewals that fall due.
type ForecastSum struct {
	Currency string `json:"currency"`
	Spent    int64  `json:"spent"` // minor units, as below
	Held     int64  `json:"held"`
	Renewals int64  `json:"renewals"`
	Total    int64  `json:"total"`
}

// Review is a plan with everything that a person should see before a decision.
type Review struct {
	Plan        Plan         `json:"plan"`
	ProjectName string       `json:"project_name"`
	Run         Run          `json:"run"`
	PersonName  string       `json:"person_name"` // behind the run
	Budgets     []BudgetLine `json:"budgets"`     // that cover the plan, as they are now; needed is what it takes of each
	Differences []Difference `json:"differences"` // from the run's purpose, and what a careful reader would notice
	Previous    string       `json:"previous,omitempty"`
	Changes     []Change     `json:"changes"`         // since the previous plan of the same things in this run
	Newer       string       `json:"newer,omitempty"` // the newest later plan of the same things in this run, while both could be bought
}

// Difference is a thing in a plan that is not what the run's purpose says, or
// that is easily overlooked.
type Difference struct {
	Step   int    `json:"step,omitempty"`
	Code   string `json:"code"` // suffix_substituted, near_miss, different_name, look_alike, mixed_scripts, above_purpose, renews_higher, no_purpose, and warnings of the domain's name
	Detail string `json:"detail"`
	Asked  string `json:"asked,omitempty"`
	Found  string `json:"found,omitempty"`
}

// Change is one difference between two plans; an empty side is a step that the
// other plan does not have.
type Change struct {
	Step   int    `json:"step"` // of the newer plan; of the older one where it was left out
	What   string `json:"what"`
	Before string `json:"before"`
	After  string `json:"after"`
}

// TermsRef names a text of terms by its hash.
type TermsRef struct {
	Terms string `json:"terms"`
}

// TermsText is the text that a hash in a plan stands for, as it was read then.
type TermsText struct {
	Hash string    `json:"hash"` // sha256: of the text
	URL  string    `json:"url"`
	Text string    `json:"text"` // a provider's words: untrusted
	At   time.Time `json:"at"`
}

// SearchAudit asks for records that hold all the words, the newest first. One
// call looks at no more than a few thousand records; next goes on from there.
type SearchAudit struct {
	Words  string `json:"words,omitempty"`
	Before int64  `json:"before,omitempty"` // sequence number; 0: from the end
	Limit  int    `json:"limit,omitempty"`
}

// FoundRecords are the records of a search.
type FoundRecords struct {
	Records []AuditRecord     `json:"records"`
	Next    int64             `json:"next,omitempty"` // pass as before; 0: the beginning of the log was reached
	Size    int64             `json:"size"`           // records in the log
	Names   map[string]string `json:"names"`          // of the people, agents, runs and projects in them, by identifier
}
