package purser

import (
	"strings"
	"time"
)

// Effect says what a step does and whether it can be undone.
type Effect string

const (
	Creates Effect = "create"
	Changes Effect = "change"
	Final   Effect = "final" // not refundable, or not reversible
)

// StepKind tells the steps of a plan apart.
type StepKind string

const (
	LinkStep    StepKind = "link"    // an account at a provider, and its terms
	ServiceStep StepKind = "service" // one service of the catalog
	DeployStep  StepKind = "deploy"  // files to a hosting resource
	UpdateStep  StepKind = "update"  // another configuration or service of a resource
	AdoptStep   StepKind = "adopt"   // a resource that is at the provider already
	UnlinkStep  StepKind = "unlink"  // the account at a provider, forgotten
)

// Plan states.
type PlanState string

const (
	PlanWaiting   PlanState = "needs_approval"
	PlanReady     PlanState = "ready" // approved, or nothing in it needs a person
	PlanApplying  PlanState = "applying"
	PlanDone      PlanState = "done"
	PlanFailed    PlanState = "failed"
	PlanIsDenied  PlanState = "denied"
	PlanIsExpired PlanState = "expired"
	PlanVoid      PlanState = "void" // a stop came between
)

// MakePlan proposes steps. Nothing is bought; quotes are asked for.
type MakePlan struct {
	Project string        `json:"project,omitempty"` // identifier or name; an agent's is its run's
	Env     string        `json:"env,omitempty"`     // default development
	Run     string        `json:"run,omitempty"`     // default: the agent's own, or a person's implicit run
	Purpose string        `json:"purpose,omitempty"` // what it is for, in the proposer's words; shown quoted
	Steps   []StepRequest `json:"steps"`
	DryRun  bool          `json:"dry_run,omitempty"` // show the plan and keep nothing
}

// StepRequest asks for one service, with exact configuration.
type StepRequest struct {
	Service       string         `json:"service"`                 // provider/service, as in the catalog; "provider/" is the account there
	Name          string         `json:"name,omitempty"`          // of the resource; default: after the service
	Configuration map[string]any `json:"configuration,omitempty"` // the catalog's configuration_schema
	Manifest      string         `json:"manifest,omitempty"`      // digest of a staged folder to deploy there
	Ceiling       *Money         `json:"ceiling,omitempty"`       // the most it may cost where the price is no number
	Meant         bool           `json:"meant,omitempty"`         // a repeat on purpose; a person must sign the plan
	Resource      string         `json:"resource,omitempty"`      // an existing one to change; service is what it becomes
	Direction     string         `json:"direction,omitempty"`     // of a change: up, down, or either when empty
	Adopt         string         `json:"adopt,omitempty"`         // the exact identifier there of one that the provider has already
	Unlink        bool           `json:"unlink,omitempty"`        // forget the account; service is then "provider/"
}

// PlanRef names a plan.
type PlanRef struct {
	Plan string `json:"plan"`
	Wait int    `json:"wait,omitempty"` // seconds to wait for a decision, or for the end of one that is being applied; at most 55
}

// Plan is an ordered list of steps with prices and one digest: what people
// approve and what apply executes.
type Plan struct {
	ID        string       `json:"id"`
	State     PlanState    `json:"state"`
	Digest    string       `json:"digest"` // sha256: over the RFC 8785 form of Terms
	Terms     PlanTerms    `json:"terms"`
	Totals    Totals       `json:"totals"`
	Budgets   []BudgetLine `json:"budgets"`            // as they were when planned
	Blockers  []Blocker    `json:"blockers,omitempty"` // what would refuse it if it began now; not signed
	Reasons   []Reason     `json:"reasons,omitempty"`  // why a person is asked
	Orders    []Order      `json:"orders,omitempty"`
	Approval  *Approval    `json:"approval,omitempty"`
	Votes     []Vote       `json:"votes,omitempty"` // the yes of each person, where two are needed
	Needs     int          `json:"needs,omitempty"` // people who must approve, when more than one
	Error     *Error       `json:"error,omitempty"` // why it failed or stands still
	By        Actor        `json:"by"`
	CreatedAt time.Time    `json:"created_at"`
	ExpiresAt time.Time    `json:"expires_at"` // the request waits until then (RULES 12)
	Deadline  *time.Time   `json:"deadline,omitempty"`
}

// PlanTerms is what is signed (RULES 13): commercial terms, not quote identifiers.
type PlanTerms struct {
	V            int        `json:"v"`
	Organization string     `json:"organization"`
	Project      string     `json:"project"`
	Env          string     `json:"env"`
	Run          string     `json:"run"`
	Purpose      string     `json:"purpose"`
	Steps        []PlanStep `json:"steps"`
}

// PlanStep is one step of a plan with everything a person must know of it.
type PlanStep struct {
	N             int            `json:"n"` // 1-based
	Kind          StepKind       `json:"kind"`
	Provider      string         `json:"provider"`
	Service       string         `json:"service,omitempty"`
	Category      string         `json:"category,omitempty"`
	Name          string         `json:"name,omitempty"`
	Item          string         `json:"item"` // the exact thing, as the provider quoted it
	Effect        Effect         `json:"effect"`
	Configuration map[string]any `json:"configuration,omitempty"`
	Price         Price          `json:"price"`
	Account       *AccountTerms  `json:"account,omitempty"`
	Deployment    *Deployment    `json:"deployment,omitempty"`
	Resource      string         `json:"resource,omitempty"`             // an existing one that the step changes
	ProviderID    string         `json:"provider_resource_id,omitempty"` // of what is adopted
	After         int            `json:"after,omitempty"`                // the step that makes what this one uses
	Meant         bool           `json:"meant,omitempty"`
}

// Price is what a step costs. All amounts are in one currency.
type Price struct {
	Currency       string `json:"currency,omitempty"` // empty: free
	Now            int64  `json:"now"`                // held before the call, minor units, tax included
	Tax            int64  `json:"tax,omitempty"`
	Recurring      int64  `json:"recurring,omitempty"` // each further interval
	Interval       string `json:"interval,omitempty"`  // day, week, month, year
	RefundableTill string `json:"refundable_until,omitempty"`
	Cap            string `json:"cap"`               // hard, delayed, alert, fixed, none (CONTROLS C20)
	Ceiling        bool   `json:"ceiling,omitempty"` // now is a person's ceiling, not a price
	Text           string `json:"text,omitempty"`    // the provider's own words, quoted
	AutoRenew      bool   `json:"auto_renew,omitempty"`
	Until          string `json:"renews_until,omitempty"` // the day after which a person is asked again
}

// AccountTerms is what linking an account shares and accepts.
type AccountTerms struct {
	Email     string   `json:"email"`
	Shares    []string `json:"shares"` // fields given to the provider
	TermsURL  string   `json:"terms_url,omitempty"`
	TermsHash string   `json:"terms_hash,omitempty"` // sha256: of the extracted text
	Privacy   string   `json:"privacy_url,omitempty"`
}

// Deployment is exactly what is deployed (RULES 14).
type Deployment struct {
	Manifest string   `json:"manifest"` // digest
	Files    int      `json:"files"`
	Bytes    int64    `json:"bytes"`
	Added    int      `json:"added"`
	Removed  int      `json:"removed"`
	Commit   string   `json:"commit,omitempty"`
	Warnings []string `json:"warnings,omitempty"`
	Domain   string   `json:"domain,omitempty"`
}

// Totals adds a plan up, per currency.
type Totals struct {
	Now     []Money `json:"now"`
	Monthly []Money `json:"monthly"` // what recurs by itself, brought to a month
	Renewal []Money `json:"renewal"` // what recurs each year
}

// Reason is why a person is asked.
type Reason struct {
	Step   int    `json:"step,omitempty"`
	Code   string `json:"code"` // first_purchase, terms, final, threshold, unpriced, production, uncapped, meant, velocity, two_people
	Detail string `json:"detail"`
}

// Approval is a person's signed yes or no to one plan digest.
type Approval struct {
	ID         string         `json:"id"`
	Plan       string         `json:"plan"`
	Decision   string         `json:"decision"` // approved or denied
	Approver   string         `json:"approver"`
	Method     string         `json:"method"`
	Document   map[string]any `json:"document"`
	SignedAt   time.Time      `json:"signed_at"`
	ExpiresAt  time.Time      `json:"expires_at"` // to be used by an apply until then
	ConsumedAt *time.Time     `json:"consumed_at,omitempty"`
	Reason     string         `json:"reason,omitempty"`
}

// Vote is the yes of one of two people.
type Vote struct {
	Approver string    `json:"approver"`
	Method   string    `json:"method"`
	SignedAt time.Time `json:"signed_at"`
}

// Approve is a person's yes; Act is signed over the plan's digest.
type Approve struct {
	Plan string     `json:"plan"`
	Act  *Signature `json:"act,omitempty"`
}

// Deny is a person's no; it needs no signature, because it loosens nothing.
type Deny struct {
	Plan   string `json:"plan"`
	Reason string `json:"reason,omitempty"`
}

// Apply executes an approved plan. The same call again joins the one that runs.
type Apply struct {
	Plan string `json:"plan"`
	Wait int    `json:"wait,omitempty"` // seconds to wait for the end, at most 55; default 55
}

// Add plans and applies one service. Without an approval that it needs it
// stops with needs_approval and the plan's identifier.
type Add struct {
	StepRequest
	Project string `json:"project,omitempty"`
	Env     string `json:"env,omitempty"`
	Run     string `json:"run,omitempty"`
	Purpose string `json:"purpose,omitempty"`
	DryRun  bool   `json:"dry_run,omitempty"`
	Wait    int    `json:"wait,omitempty"` // seconds to wait for a person's decision too, at most 55; left out: needs_approval at once
}

// Deploy plans and applies the deployment of a staged folder at a name.
type Deploy struct {
	Manifest string `json:"manifest"`
	Domain   string `json:"domain,omitempty"`
	Service  string `json:"service,omitempty"` // default: the one hosting service that takes files
	Name     string `json:"name,omitempty"`
	Project  string `json:"project,omitempty"`
	Env      string `json:"env,omitempty"`
	Run      string `json:"run,omitempty"`
	Purpose  string `json:"purpose,omitempty"`
	DryRun   bool   `json:"dry_run,omitempty"`
	Wait     int    `json:"wait,omitempty"` // as of add
}

// Stage names a folder's files so that the server can say which it lacks.
// Paths are relative, with forward slashes, without "." and "..".
type Stage struct {
	Files  []File `json:"files"`
	Commit string `json:"commit,omitempty"` // of git, when the tree is clean
	Dirty  bool   `json:"dirty,omitempty"`  // the folder has uncommitted changes
}

// File is one file of a folder.
type File struct {
	Path   string `json:"path"`
	SHA256 string `json:"sha256"` // lower hex
	Size   int64  `json:"size"`   // bytes
}

// Staged tells the manifest's digest and what is still to be uploaded.
type Staged struct {
	Manifest string   `json:"manifest"`
	Files    int      `json:"files"`
	Bytes    int64    `json:"bytes"`
	Missing  []string `json:"missing"` // SHA-256 of blobs to send
	Upload   string   `json:"upload"`  // URL: POST a tar whose entries are named by SHA-256, with the same token
}

// OrderState is where the journal of one step stands (RULES 15).
type OrderState string

const (
	OrderPlaced  OrderState = "placed"
	OrderBuying  OrderState = "buying"
	OrderLive    OrderState = "live"
	OrderFailed  OrderState = "failed"
	OrderUnknown OrderState = "unknown"
	OrderRemoved OrderState = "removed"
)

// Order is the journal of one step.
type Order struct {
	ID       string     `json:"id"`
	Plan     string     `json:"plan"`
	Step     int        `json:"step"`
	What     string     `json:"what"` // provider/service and the item
	State    OrderState `json:"state"`
	Resource string     `json:"resource,omitempty"`
	Held     Money      `json:"held"`
	Captured Money      `json:"captured"`
	Attempts int        `json:"attempts"`
	Error    *Error     `json:"error,omitempty"`

	// Questions are what the provider wants to know before it goes on; inform answers.
	Questions []Question `json:"questions,omitempty"`
}

// ToResolve is what a person does about an order that only a person can end now; empty
// where it is looked up still, or nothing is in doubt.
func (o Order) ToResolve() string {
	if o.State != OrderUnknown || o.Error == nil || !strings.Contains(o.Error.Hint, "purser resolve ") {
		return ""
	}
	return o.Error.Hint
}

// OrderRef names an order.
type OrderRef struct {
	Order string `json:"order"`
}

// Question is one field of the form that a provider's JSON Schema makes (APP 9.8,
// 12.1). All text is the provider's own, untrusted, on one line and short.
type Question struct {
	Name        string   `json:"name"`            // the member of inform's information
	Title       string   `json:"title,omitempty"` // what to show in place of the name
	Description string   `json:"description,omitempty"`
	Type        string   `json:"type"`             // string, integer, number, boolean; json for what has no field of its own
	Format      string   `json:"format,omitempty"` // of a string: date, date-time, email, uri; others are not checked
	Required    bool     `json:"required,omitempty"`
	Choices     []string `json:"choices,omitempty"` // as a person types them; empty: anything that fits
	Default     string   `json:"default,omitempty"` // as a person would type it
	MinLength   int      `json:"min_length,omitempty"`
	MaxLength   int      `json:"max_length,omitempty"` // 0: no limit
	Minimum     string   `json:"minimum,omitempty"`    // a number, as written
	Maximum     string   `json:"maximum,omitempty"`
	Pattern     string   `json:"pattern,omitempty"`
}

// Resolve is a person's word on an order whose outcome nobody can look up.
type Resolve struct {
	Order   string     `json:"order"`
	Outcome string     `json:"outcome"`                        // failed: nothing is there, give the money back; live: it is there
	Found   string     `json:"provider_resource_id,omitempty"` // live: its exact identifier at the provider, which is read back
	Act     *Signature `json:"act,omitempty"`
}
