package purser

import "time"

// Page asks for a part of a list; the answer's next_cursor asks for the next.
type Page struct {
	Cursor string `json:"cursor,omitempty"`
	Limit  int    `json:"limit,omitempty"` // default 50, at most 200
}

// List is one page of something.
type List[T any] struct {
	Items      []T    `json:"items"`
	NextCursor string `json:"next_cursor,omitempty"`
}

// CreateProject makes a project.
type CreateProject struct {
	Name string `json:"name"`
}

// Project is one app or codebase.
type Project struct {
	ID        string    `json:"id"`
	Name      string    `json:"name"`
	Labels    []string  `json:"labels,omitempty"` // name=value
	CreatedAt time.Time `json:"created_at"`
}

// Catalog asks for the services of all providers, or of one.
type Catalog struct {
	Provider string `json:"provider,omitempty"`
	Page
}

// Search asks for services that fit words. Results are proposals, never purchases.
type Search struct {
	Words      string `json:"words"`
	MaxMonthly string `json:"max_monthly,omitempty"` // major units: "10" or "10.00"
	Category   string `json:"category,omitempty"`
	Page
}

// Service is one entry of the catalog.
type Service struct {
	Ref           string         `json:"ref"` // provider/service
	Provider      string         `json:"provider"`
	Service       string         `json:"service"`
	Description   string         `json:"description"` // the provider's words: untrusted
	Categories    []string       `json:"categories"`
	Kind          string         `json:"kind"`
	Availability  string         `json:"availability"`
	Price         string         `json:"price"` // for reading: "5.00 USD per month", "free", "quoted", "unpriced"
	Prices        []ServicePrice `json:"prices"`
	Configuration map[string]any `json:"configuration_schema"`
	Outputs       []string       `json:"outputs,omitempty"` // names of variables it hands over
	TakesFiles    bool           `json:"takes_files,omitempty"`
	Conformance   string         `json:"conformance,omitempty"` // "untested", or passed/failed with the date
}

// ServicePrice is one component of a price.
type ServicePrice struct {
	AmountText string `json:"amount"` // decimal text in major units
	Currency   string `json:"currency"`
	Minor      *int64 `json:"amount_minor,omitempty"` // nil: finer than a minor unit
	Kind       string `json:"kind"`                   // one_time, recurring, usage
	Unit       string `json:"unit,omitempty"`
	Per        string `json:"per,omitempty"` // quantity of units, decimal text
	Period     string `json:"period,omitempty"`
}

// CreateRun makes a run, and its agent and token, which are shown once.
type CreateRun struct {
	Project   string     `json:"project"`
	Agent     string     `json:"agent,omitempty"` // name; made when new; default "agent"
	Budget    Money      `json:"budget"`
	Expires   string     `json:"expires,omitempty"`   // Go duration; default 2h, at most 720h
	Threshold *Money     `json:"threshold,omitempty"` // a step above it needs a person; default 10.00
	Providers []string   `json:"providers,omitempty"` // empty: every registered one
	Purpose   string     `json:"purpose,omitempty"`
	Reveal    []string   `json:"reveal,omitempty"` // credential classes the agent may have: runtime, operator
	Labels    []string   `json:"labels,omitempty"` // name=value; each may have a budget
	Act       *Signature `json:"act,omitempty"`
}

// Run is one bounded piece of work by one agent.
type Run struct {
	ID          string     `json:"id"`
	Project     string     `json:"project"`
	ProjectName string     `json:"project_name"`
	Agent       string     `json:"agent,omitempty"`
	AgentName   string     `json:"agent_name,omitempty"`
	Person      string     `json:"person"`
	Purpose     string     `json:"purpose,omitempty"`
	State       string     `json:"state"`            // active, ended, expired, stopped
	Paused      *Error     `json:"paused,omitempty"` // why its orders are refused for now, unless a person means one; of one run that is shown
	Budget      BudgetLine `json:"budget"`
	Threshold   Money      `json:"threshold"`
	Providers   []string   `json:"providers,omitempty"`
	Reveal      []string   `json:"reveal,omitempty"`
	Labels      []string   `json:"labels,omitempty"` // name=value, beside those of the project
	CreatedAt   time.Time  `json:"created_at"`
	ExpiresAt   time.Time  `json:"expires_at"`
	EndedAt     *time.Time `json:"ended_at,omitempty"`
	Token       string     `json:"token,omitempty"` // only in the answer that makes it
	Orders      []Order    `json:"orders,omitempty"`

	Budgets []BudgetLine `json:"budgets,omitempty"` // its other limits, in other currencies or for other periods; where one run is shown
}

// RunRef names a run; an agent's default is its own.
type RunRef struct {
	Run string `json:"run,omitempty"`
}

// ExtendRun gives a run more time, more money, or both.
type ExtendRun struct {
	Run     string     `json:"run"`
	Expires string     `json:"expires,omitempty"` // from now
	Budget  *Money     `json:"budget,omitempty"`  // the new limit
	Act     *Signature `json:"act,omitempty"`
}

// AgentInfo is a program that acts for a person.
type AgentInfo struct {
	ID        string     `json:"id"`
	Name      string     `json:"name"`
	Person    string     `json:"person"`
	Runs      int        `json:"active_runs"`
	CreatedAt time.Time  `json:"created_at"`
	RevokedAt *time.Time `json:"revoked_at,omitempty"`
}

// AgentRef names an agent.
type AgentRef struct {
	Agent string `json:"agent"`
}

// AddProvider registers a provider by its manifest (APP 3.1).
type AddProvider struct {
	Manifest      string     `json:"manifest"`                 // its JSON; the client fetches it, so that its text is signed
	SigningSecret string     `json:"signing_secret,omitempty"` // sealed at rest
	Profile       string     `json:"profile,omitempty"`        // purser (default), stripe, generic (APP 3.4)
	Act           *Signature `json:"act,omitempty"`
}

// ProviderInfo is a registered provider.
type ProviderInfo struct {
	Name         string       `json:"name"`
	BaseURL      string       `json:"base_url"`
	Capabilities []string     `json:"capabilities"`
	Services     int          `json:"services"`
	CatalogAt    *time.Time   `json:"catalog_at,omitempty"`
	State        string       `json:"state"`                  // ok, unreachable, incompatible, frozen
	ProviderKey  string       `json:"provider_key,omitempty"` // for the rail; only in the answer that registers
	Profile      string       `json:"profile,omitempty"`
	Terms        string       `json:"tos_url,omitempty"`
	Conformance  *Conformance `json:"conformance,omitempty"` // of the last run; nil: untested
	Connection   string       `json:"connection,omitempty"`
	Account      string       `json:"account,omitempty"`
}

// ProviderRef names a provider.
type ProviderRef struct {
	Provider string `json:"provider"`
}

// Conformance is the result of a provider's last run of the conformance suite.
type Conformance struct {
	At         time.Time         `json:"at"`
	Passed     bool              `json:"passed"`
	SafeResend bool              `json:"safe_resend"`          // the cases of duplicates passed (RULES 16)
	Operations map[string]string `json:"operations,omitempty"` // operation to passed, failed or skipped
}

// RecordConformance keeps the result of a run of the conformance suite. It needs
// a signed act: a provider that passed may be sent the same order again.
type RecordConformance struct {
	Provider   string            `json:"provider"`
	Passed     bool              `json:"passed"`
	SafeResend bool              `json:"safe_resend"`
	Operations map[string]string `json:"operations,omitempty"`
	Act        *Signature        `json:"act,omitempty"`
}

// LinkProvider plans and applies the linking of an account at a provider.
type LinkProvider struct {
	Provider      string         `json:"provider"`
	Configuration map[string]any `json:"configuration,omitempty"` // of the account, by the manifest's schema, e.g. its region
	Project       string         `json:"project,omitempty"`
	Env           string         `json:"env,omitempty"`
	Run           string         `json:"run,omitempty"`
	Purpose       string         `json:"purpose,omitempty"`
	DryRun        bool           `json:"dry_run,omitempty"`
}

// UnlinkProvider plans and applies forgetting the account at a provider. What lives
// there stays there.
type UnlinkProvider struct {
	Provider string `json:"provider"`
	Project  string `json:"project,omitempty"`
	Env      string `json:"env,omitempty"`
	Run      string `json:"run,omitempty"`
	Purpose  string `json:"purpose,omitempty"`
	DryRun   bool   `json:"dry_run,omitempty"`
}

// UpdateResource plans and applies a change of a resource: another service of the
// same provider, another configuration, or both.
type UpdateResource struct {
	Resource      string         `json:"resource"`
	Service       string         `json:"service,omitempty"`       // the provider's service id; default: the same
	Configuration map[string]any `json:"configuration,omitempty"` // default: as it is
	Ceiling       *Money         `json:"ceiling,omitempty"`
	Project       string         `json:"project,omitempty"`
	Env           string         `json:"env,omitempty"`
	Run           string         `json:"run,omitempty"`
	Purpose       string         `json:"purpose,omitempty"`
	DryRun        bool           `json:"dry_run,omitempty"`
}

// Rotation tells what a rotation of credentials came to.
type Rotation struct {
	Resource           Resource   `json:"resource"`
	Rotated            bool       `json:"rotated"`                        // false: the provider does not offer it, and the old one works
	PreviousValidUntil *time.Time `json:"previous_valid_until,omitempty"` // nil: the old credential is dead
}

// OpenLink asks for a page of the provider on which a person is signed in.
type OpenLink struct {
	Provider string     `json:"provider"`
	Purpose  string     `json:"purpose,omitempty"` // default dashboard
	Path     string     `json:"path,omitempty"`
	Act      *Signature `json:"act,omitempty"` // whoever opens it is signed in there
}

// ProposeOpen asks the people to open a page of a provider. The link goes to who
// opens it, and to nobody else.
type ProposeOpen struct {
	Provider string `json:"provider"`
	Page     string `json:"page,omitempty"` // the purpose that the manifest names; default dashboard
	Path     string `json:"path,omitempty"`
	Why      string `json:"why,omitempty"` // in the proposer's words; shown quoted
}

// Link is a single-use page. Its URL is a secret until it is opened.
type Link struct {
	Provider  string     `json:"provider"`
	URL       string     `json:"url"`
	ExpiresAt *time.Time `json:"expires_at,omitempty"`
}

// Adopt plans and applies taking in a resource that is at the provider already, by
// its exact identifier there. Nothing is bought; what the provider says is read back.
type Adopt struct {
	Provider   string `json:"provider"`
	ProviderID string `json:"provider_resource_id"`
	Service    string `json:"service"`
	Name       string `json:"name,omitempty"`
	Project    string `json:"project,omitempty"`
	Env        string `json:"env,omitempty"`
	Run        string `json:"run,omitempty"`
	Purpose    string `json:"purpose,omitempty"`
	DryRun     bool   `json:"dry_run,omitempty"`
}

// Inform answers what a provider asked for before it goes on with an order. It
// hands data out, so a person signs it.
type Inform struct {
	Order       string         `json:"order"`
	Information map[string]any `json:"information"`
	Act         *Signature     `json:"act,omitempty"`
}

// Status is what a person wants to see first.
type Status struct {
	Organization string         `json:"organization"`
	Project      string         `json:"project,omitempty"`
	Waiting      []Plan         `json:"waiting"` // for a person
	Runs         []Run          `json:"runs"`
	Resources    []Resource     `json:"resources"`
	Unsettled    []Order        `json:"unsettled"` // placed, buying or unknown
	Stops        []StopInfo     `json:"stops"`     // in force
	Budgets      []BudgetLine   `json:"budgets"`
	RunRate      []Money        `json:"run_rate"` // committed per month
	Subscribed   []Subscription `json:"subscriptions"`
	Untold       []Notice       `json:"untold"`              // what people could not be told of within a day, of the last week
	Witnesses    []WitnessState `json:"witnesses,omitempty"` // for people; empty: checkpoints are kept here only
	// ClockSkew is how far the server's clock is from the database's, or behind the log's,
	// in microseconds; for people.
	ClockSkew int64 `json:"clock_skew_us,omitempty"`
}

// MostClockSkew is the skew beyond which nothing is spent (RULES 19).
const MostClockSkew = 5 * time.Second

// WitnessState is how far a place outside is with the copies of the log's checkpoints.
type WitnessState struct {
	Place  string     `json:"place"`           // file, url
	Size   int64      `json:"size"`            // records under the newest checkpoint that it has
	Behind int64      `json:"behind"`          // records under newer checkpoints
	At     *time.Time `json:"at,omitempty"`    // when it last took one
	Fails  int64      `json:"fails,omitempty"` // tries since then
	Error  string     `json:"error,omitempty"` // of the last of them
}

// AskStatus asks for the state of a project, or of all.
type AskStatus struct {
	Project string `json:"project,omitempty"`
	Env     string `json:"env,omitempty"`
}

// Resource is what was provisioned.
type Resource struct {
	ID           string     `json:"id"`
	Name         string     `json:"name"`
	Project      string     `json:"project"`
	Env          string     `json:"env"`
	Provider     string     `json:"provider"`
	Service      string     `json:"service"`
	ProviderID   string     `json:"provider_resource_id"`
	Item         string     `json:"item"`
	State        string     `json:"state"` // live, payment_required, retiring, detached, removed, cut
	Order        string     `json:"order"`
	Variables    []string   `json:"variables"`                   // names of its credentials; values by exec only
	Class        string     `json:"class"`                       // of its credentials: runtime or operator
	Until        *time.Time `json:"credentials_until,omitempty"` // when they end, if the provider told so
	URL          string     `json:"url,omitempty"`
	Cap          string     `json:"cap"`
	CreatedAt    time.Time  `json:"created_at"`
	RemovedAt    *time.Time `json:"removed_at,omitempty"`
	DeletesAt    *time.Time `json:"deletes_at,omitempty"` // end of the grace of a retired one
	Subscription string     `json:"subscription,omitempty"`
}

// ResourceRef names a resource by identifier, or by name within project and env.
type ResourceRef struct {
	Resource string `json:"resource"`
	Project  string `json:"project,omitempty"`
	Env      string `json:"env,omitempty"`
}

// Remove ends a resource: detach keeps it at the provider, retire cancels its
// renewal now and deletes it after the grace, destroy deletes it at once and
// asks a person for its name.
type Remove struct {
	Resource string     `json:"resource"`
	Mode     string     `json:"mode"`              // detach, retire, destroy
	Confirm  string     `json:"confirm,omitempty"` // destroy: the resource's name, typed
	Project  string     `json:"project,omitempty"`
	Env      string     `json:"env,omitempty"`
	DryRun   bool       `json:"dry_run,omitempty"`
	Act      *Signature `json:"act,omitempty"` // destroy
}

// Restore brings a retired resource back within its grace. One with a recurring
// charge needs a signed act, since it takes the charge up again.
type Restore struct {
	Resource string     `json:"resource"`
	Project  string     `json:"project,omitempty"`
	Env      string     `json:"env,omitempty"`
	Act      *Signature `json:"act,omitempty"`
}

// Removal tells what was done, or would be.
type Removal struct {
	Resource     Resource `json:"resource"`
	Mode         string   `json:"mode"`
	Done         bool     `json:"done"`
	StopsPaying  []Money  `json:"stops_paying"`      // per interval
	NotRefunded  []Money  `json:"not_refunded"`      // already paid and kept by the provider
	Consequences []string `json:"consequences"`      // in words
	Error        *Error   `json:"error,omitempty"`   // the provider's part is not done yet
	Pending      bool     `json:"pending,omitempty"` // the provider still works on it
}

// Exec asks for the credentials of an environment, for a child's environment
// only. Under an agent's token it is a reveal: per class, recorded (RULES 4).
type Exec struct {
	Project  string     `json:"project,omitempty"`
	Env      string     `json:"env,omitempty"`
	Resource string     `json:"resource,omitempty"` // default: all of the environment
	Act      *Signature `json:"act,omitempty"`      // a person's reveal
}

// Variables is what exec puts in the child's environment. It is never stored or logged.
type Variables struct {
	Env    map[string]string `json:"env"`
	Masked []string          `json:"withheld,omitempty"` // names of a class the run does not allow
}

// BudgetLine is one budget as it stands in its current window.
type BudgetLine struct {
	Scope      string     `json:"scope"`          // organization, project, provider, run, category, label
	ID         string     `json:"id"`             // of what it covers; of a label itself, like team=search
	Name       string     `json:"name,omitempty"` // of what it covers
	Period     string     `json:"period"`         // run, hour, day, week, month, total
	Window     string     `json:"window"`         // 2026-11-29T14, 2026-11-29, 2026-W48, 2026-11, total, or the run's identifier
	Limit      Money      `json:"limit"`
	Held       int64      `json:"held"` // minor units of the limit's currency, as all below
	Captured   int64      `json:"captured"`
	Refunded   int64      `json:"refunded"`
	Left       int64      `json:"left"`
	Needed     int64      `json:"needed,omitempty"`     // in a refusal: what was asked
	Thresholds []int      `json:"thresholds,omitempty"` // percentages of the limit that people are told of
	ResetsAt   *time.Time `json:"resets_at,omitempty"`  // when the next window begins
	Replay     bool       `json:"replay,omitempty"`     // an answer of before: the limit as its key set it then
}

// SetBudget sets a limit. Lowering is reducing; raising needs a signed act. An agent
// lowers its own run's.
type SetBudget struct {
	Scope      string     `json:"scope"` // organization, project, provider, run, category, label
	ID         string     `json:"id,omitempty"`
	Period     string     `json:"period,omitempty"` // hour, day, week, month, total; left out: month, or a run's whole life
	Limit      Money      `json:"limit"`
	Thresholds []int      `json:"thresholds,omitempty"` // 1 to 10 percentages of the limit, each told once a window; left out: as they are, at first 50, 80, 100
	Act        *Signature `json:"act,omitempty"`
}

// Scopes of budgets and of stops; category and label are budgets' only.
const (
	ScopeOrganization = "organization"
	ScopeProject      = "project"
	ScopeProvider     = "provider"
	ScopeCategory     = "category"
	ScopeLabel        = "label"
	ScopeAgent        = "agent" // of stops only
	ScopeRun          = "run"
)

// Periods of budgets, in the organization's time zone. A week begins on Monday
// (ISO 8601).
const (
	PeriodRun   = "run" // the life of a run
	PeriodHour  = "hour"
	PeriodDay   = "day"
	PeriodWeek  = "week"
	PeriodMonth = "month"
	PeriodTotal = "total"
)

// AskSpend asks for the ledger's money events.
type AskSpend struct {
	Project string `json:"project,omitempty"`
	Run     string `json:"run,omitempty"`
	Page
}

// Spend is money by event and in sum.
type Spend struct {
	Events     []MoneyEvent `json:"events"`
	NextCursor string       `json:"next_cursor,omitempty"`
	Captured   []Money      `json:"captured"`
	Held       []Money      `json:"held"`
	Refunded   []Money      `json:"refunded"`
	Budgets    []BudgetLine `json:"budgets"`
}

// MoneyEvent is one movement of money.
type MoneyEvent struct {
	Seq      int64     `json:"seq"` // the audit record that proves it
	At       time.Time `json:"at"`
	Kind     string    `json:"kind"` // hold, capture, charge, release, refund, overrun, return
	Amount   Money     `json:"amount"`
	Provider string    `json:"provider,omitempty"`
	Project  string    `json:"project,omitempty"`
	Run      string    `json:"run,omitempty"`
	Order    string    `json:"order,omitempty"`
	Hold     string    `json:"hold"`
	Charge   string    `json:"charge,omitempty"`
}

// Subscription is a recurring charge that an approved step allowed (RULES 8).
type Subscription struct {
	ID       string     `json:"id"`
	Resource string     `json:"resource"`
	What     string     `json:"what"`
	Provider string     `json:"provider"`
	Project  string     `json:"project"`
	Amount   Money      `json:"amount"` // each interval
	Interval string     `json:"interval"`
	Maximum  Money      `json:"maximum"` // the most one renewal may be
	NextAt   *time.Time `json:"next_at,omitempty"`
	EndsAt   *time.Time `json:"ends_at,omitempty"`
	State    string     `json:"state"` // active, cancelled, payment_required, ended
	Cap      string     `json:"cap"`
}

// SubscriptionRef names a subscription.
type SubscriptionRef struct {
	Subscription string `json:"subscription"`
}

// Stop is the kill switch. An agent may stop its own run and itself.
type Stop struct {
	Scope  string `json:"scope"` // organization, project, provider, agent, run
	ID     string `json:"id,omitempty"`
	Reason string `json:"reason,omitempty"` // for the record; a stop needs none
}

// StopRef names a stop.
type StopRef struct {
	Stop string `json:"stop"`
}

// Resume lifts a stop. It revives nothing; it needs a signed act.
type Resume struct {
	Stop string     `json:"stop"`
	Act  *Signature `json:"act,omitempty"`
}

// StopInfo is a stop: the acknowledgement, and later what became of its effects.
type StopInfo struct {
	ID       string       `json:"id"`
	Scope    string       `json:"scope"`
	Target   string       `json:"target"`
	Name     string       `json:"name,omitempty"` // of the target: a run's purpose, the name of a project or an agent
	Reason   string       `json:"reason"`
	By       Actor        `json:"by"`
	Epoch    int64        `json:"epoch"`
	Seq      int64        `json:"seq"` // K: no spend in scope is accepted after this record
	At       time.Time    `json:"at"`
	Open     []OpenItem   `json:"open"`    // what could not be stopped
	Voided   int          `json:"voided"`  // plans marked as void so far; all in scope are void from K on, and marked after the acknowledgement
	Effects  []StopEffect `json:"effects"` // each revocation, by and by
	LiftedAt *time.Time   `json:"lifted_at,omitempty"`
	LiftedBy string       `json:"lifted_by,omitempty"`
}

// OpenItem is a purchase, or a hold without one, whose effect began before the stop.
type OpenItem struct {
	Order string     `json:"order,omitempty"`
	Hold  string     `json:"hold,omitempty"`
	What  string     `json:"what"`
	State OrderState `json:"state"` // of a hold: begun or unknown
	Held  Money      `json:"held"`
}

// StopEffect is one revocation that followed a stop.
type StopEffect struct {
	Kind   string `json:"kind"`   // tokens, holds, plans (all in scope); token, hold
	Target string `json:"target"` // identifier, or the scope
	State  string `json:"state"`  // pending, done, failed, unknown
	Detail string `json:"detail,omitempty"`
}

// AskAudit asks for records after a sequence number.
type AskAudit struct {
	After int64  `json:"after,omitempty"`
	Log   string `json:"log,omitempty"` // "installation" for the installation's own log; owners only
	Limit int    `json:"limit,omitempty"`
}

// AuditRecord is one record as it was hashed.
type AuditRecord struct {
	Seq     int64          `json:"seq"`
	At      time.Time      `json:"at"`
	Actor   string         `json:"actor"`
	Action  string         `json:"action"`
	Target  string         `json:"target,omitempty"`
	Outcome string         `json:"outcome"`
	Record  map[string]any `json:"record"`
}

// AuditPage is a page of records with the newest checkpoint.
type AuditPage struct {
	Records    []AuditRecord `json:"records"`
	Next       int64         `json:"next,omitempty"` // pass as after
	Size       int64         `json:"size"`           // records in the log
	Checkpoint string        `json:"checkpoint"`     // signed note
	PublicKey  string        `json:"public_key"`     // note verifier key
}

// Prove asks for the proof that a record is in the log.
type Prove struct {
	Seq  int64  `json:"seq"`
	From int64  `json:"from,omitempty"` // an older size, to prove that the log only grew since
	Log  string `json:"log,omitempty"`  // "installation" for the installation's own log; owners only
}

// AuditProof proves one record to whoever has the log's public key:
// purser audit verify needs nothing else.
type AuditProof struct {
	Version     int      `json:"purser_audit_proof"` // 1
	Seq         int64    `json:"seq"`
	Leaf        string   `json:"leaf"`                  // the record's canonical JSON, byte for byte as it was hashed
	Path        []string `json:"path"`                  // inclusion proof (RFC 6962), hashes in base64
	Checkpoint  string   `json:"checkpoint"`            // signed note of a tree that has the record
	PublicKey   string   `json:"public_key"`            // note verifier key
	From        int64    `json:"from,omitempty"`        // the older size, if it was asked about
	Consistency []string `json:"consistency,omitempty"` // proof from there to the checkpoint's size
}

// AskCheckpoint asks for a checkpoint: the newest, or the first that has Size records.
type AskCheckpoint struct {
	Size int64  `json:"size,omitempty"`
	From int64  `json:"from,omitempty"` // an older size, to prove that the log only grew since
	Log  string `json:"log,omitempty"`  // "installation" for the installation's own log; owners only
}

// Checkpoint is a signed statement of a log's size and root.
type Checkpoint struct {
	Checkpoint  string    `json:"checkpoint"` // signed note (C2SP tlog-checkpoint)
	PublicKey   string    `json:"public_key"` // note verifier key
	Size        int64     `json:"size"`       // records that it covers
	Root        string    `json:"root"`       // base64
	At          time.Time `json:"at"`
	From        int64     `json:"from,omitempty"`
	Consistency []string  `json:"consistency,omitempty"` // proof from From to Size (RFC 6962), hashes in base64
}

// Formats of an export.
const (
	FormatJSONL = "jsonl" // the log, for purser audit verify
	FormatOCSF  = "ocsf"  // the log, one OCSF event a line, for a SIEM
	FormatFOCUS = "focus" // what was spent, one FOCUS row a charge or refund, CSV
)

// ExportAudit asks for a whole log, or for all that was spent.
type ExportAudit struct {
	Log    string `json:"log,omitempty"`
	Format string `json:"format,omitempty"` // jsonl (default), ocsf, focus
}

// Charge is a provider's charge on a payment token (RULES 7).
type Charge struct {
	Token          string     `json:"token"`
	AmountMinor    int64      `json:"amount_minor"`
	Currency       string     `json:"currency"`
	IdempotencyKey string     `json:"idempotency_key"`
	ResourceID     string     `json:"resource_id,omitempty"`
	LineItems      []LineItem `json:"line_items,omitempty"`
}

// LineItem is one line of a receipt.
type LineItem struct {
	Description string `json:"description"`
	AmountMinor int64  `json:"amount_minor"`
	Currency    string `json:"currency,omitempty"`
}

// Charged answers a charge.
type Charged struct {
	ID          string `json:"id"`
	Status      string `json:"status"` // succeeded, requires_action, declined
	AmountMinor int64  `json:"amount_minor"`
	Currency    string `json:"currency"`
	Left        int64  `json:"left_minor"` // on the token
}

// RefundCharge is a provider's refund of its own charge (RULES 2).
type RefundCharge struct {
	Charge         string `json:"charge"`
	AmountMinor    int64  `json:"amount_minor"`
	IdempotencyKey string `json:"idempotency_key"`
}

// Books is the answer of the check that walks everything.
type Books struct {
	OK        bool     `json:"ok"`
	Movements int64    `json:"movements"`
	Holds     int64    `json:"holds"`
	Budgets   int64    `json:"budgets"`
	Orders    int64    `json:"orders"`
	Faults    []string `json:"faults"`
}

// None is the request of an operation that needs nothing.
type None struct{}
