// Package provider sells a service over APP 0.1d: the author writes a catalog and
// hooks, and gets an http.Handler that keeps the protocol's rules.
//
// The handler does signatures, versions, the order of checks, envelopes, OAuth
// codes and tokens, idempotency, replays, quotes, look-ups and limits. The hooks
// make and remove the real thing.
//
//	p, err := provider.New(provider.Config{
//		Manifest: manifest, Catalog: catalog, Secrets: secrets,
//		Store: provider.NewMemoryStore(), Hooks: hooks,
//	})
//	http.Handle("/app/", p) // where Manifest.BaseURL points to, e.g. "https://example.com/app/"
//
// Equal keys are serialised inside the process, and what was begun before a crash
// is found again in the Store after it. Several processes may share one Store when
// Provision and ActivatePayment are idempotent by the id and key they get.
package provider

import (
	"context"
	"crypto/ed25519"
	"io"
	"log/slog"
	"net/http"
	"time"

	"github.com/purser-dev/purser/app"
)

// Config is all that a provider is made of. Manifest (base_url,
// oauth_token_endpoint), Store and Hooks.Provision are needed; the zero value of
// everything else is a safe default.
type Config struct {
	Manifest app.Manifest

	// Catalog is what is sold, in the provider dialect. It is the last resort when
	// Hooks.Services is set and fails.
	Catalog []app.CatalogService

	// Secrets is the short form for one orchestrator with these signing secrets
	// (one, or two during a rotation), named "purser". Without any secret every
	// signed route answers server_error (5.1 step 1).
	Secrets []string

	// Orchestrators is the long form; their names must differ.
	Orchestrators []Orchestrator

	Store Store
	Hooks Hooks

	// SealKey (32 bytes) encrypts access configurations in the Store. nil: they are
	// stored as they are, and the Store must be kept like a secret.
	SealKey []byte

	// Billing is app.PaidByOrchestrator (default) or app.PaidByProvider.
	Billing string

	AccessTokenTTL  time.Duration // default 1 h
	RefreshTokenTTL time.Duration // default 90 days
	QuoteTTL        time.Duration // default 15 min
	HookTimeout     time.Duration // default 60 s; state-changing hooks outlive the caller's connection, not this

	// WorkspaceKey is the member of an account request's configuration that names a
	// workspace, e.g. "team_id" (9.5). "": no workspace can be asked for.
	WorkspaceKey string

	// LinkSchema is the JSON Schema of the information that Hooks.Link needs; its
	// `required` names the instance identifier (12.4).
	LinkSchema []byte

	// LoginPage is where a dead deep link leads, VerifyPage where a person goes whose
	// email the provider has not verified (13). Default: Manifest.WebsiteURL, else "/";
	// VerifyPage's default is LoginPage.
	LoginPage, VerifyPage string

	// Region is this node's, e.g. "US", and Regions the base URLs of the other nodes
	// behind the same public URL and with the same secrets, by region (9.5). An account
	// request for another region, and a token of another region, is forwarded once.
	Region  string
	Regions map[string]string

	// Generic turns the generic partner profile on (15). nil: off.
	Generic *Generic

	// HTTP makes the provider's own calls: consent confirmations and forwarding. nil:
	// a client that follows no redirect, with a limit of 10 s.
	HTTP Doer

	// GlobalPerMinute throttles all calls together; 0 is off. Its Retry-After is 30.
	GlobalPerMinute int

	Now    func() time.Time // default time.Now
	Random io.Reader        // default the system's
	Log    *slog.Logger     // default discards; never gets a secret

	// Audit is called once per answered request. It must not block.
	Audit func(ctx context.Context, e Event)
}

// Doer is the one method of *http.Client that is needed.
type Doer interface {
	Do(*http.Request) (*http.Response, error)
}

// Orchestrator is what the provider stores per orchestrator (3.3).
type Orchestrator struct {
	Name    string
	Secrets []string // HMAC signing secrets, any of which may match

	// SilentExisting links an existing account without consent, and only when the
	// request's kyc.verified_fields contains "email" (section 2, rule 4).
	SilentExisting bool

	// CallbackURL is where the consent page sends the browser (9.6). It is
	// registered here and never taken from a request.
	CallbackURL string

	// ConfirmURL and ProviderKey tell the person's decision to the orchestrator itself
	// (9.7, mode B): a URL with {id} for the account request's id, and the bearer sent
	// there. Set, they win over CallbackURL for requests with id and
	// confirmation_secret.
	ConfirmURL, ProviderKey string

	// AskStripe lets account-level needs_information go to a caller of type stripe,
	// which may not know it (9.8).
	AskStripe bool

	// NoDeepLinks refuses deep links to this orchestrator.
	NoDeepLinks bool

	// Credentials answers account requests with a token pair instead of a code (P7).
	Credentials bool

	// ClientID and ClientSecret are checked on the token endpoint when presented (P29).
	ClientID, ClientSecret string

	// SignedRefresh demands a signature on refresh when the code exchange carried
	// one (P30). Default: possession is enough.
	SignedRefresh bool

	// V2 says what to do with the EdDSA signature. PublicKey finds the
	// orchestrator's key, e.g. (*app.KeySet).Find.
	V2        Mode
	PublicKey func(ctx context.Context, kid string) (ed25519.PublicKey, bool)
	Issuer    string // compared with iss when set

	// Replay says what to do with a repeated HMAC on state-changing routes (5.5).
	// A provider that serves only Purser should set Require.
	Replay Mode

	Limits Limits

	generic *partner // a client of the generic profile
}

// Mode is how strictly a check is enforced.
type Mode int

// Log accepts and logs what fails, Require refuses it, Off does not look.
const (
	Log Mode = iota
	Require
	Off
)

// Limits are requests per hour and orchestrator; 0 is off (7.4).
type Limits struct {
	AccountRequests, TokenExchanges, ResourceCreates int
}

// Event tells of one answered request. It holds no secret.
type Event struct {
	At           time.Time
	Orchestrator string // "" before the signature or bearer told
	Account      string
	Operation    string // health, services, account_request, token, create, get, find, list, update, rotate, remove, link, cut, restore, quote, deep_link, login, consent, client_registration, limits, unknown
	Resource     string
	HTTPStatus   int
	Code         string // error code, "" on success
}

// Hooks make the real thing. Provision is required; the others are optional and
// each says what its absence means.
//
// An error made with Errorf is shown to the orchestrator with its code. Any other
// error is logged and answered server_error, which the orchestrator takes as an
// unknown outcome and asks again under the same keys.
//
// Hooks that change something get a context that does not end with the caller's
// connection. After a crash, or an error, the same call comes again with the same
// resource id: what was done must be found, never done twice.
type Hooks struct {
	// Accounts keeps accounts. nil: the SDK keeps them in the Store.
	Accounts Accounts

	// Services gives the live catalog. On an error the last good one is served,
	// then Config.Catalog; never a 5xx (11.1). nil: Config.Catalog.
	Services func(ctx context.Context) ([]app.CatalogService, error)

	// CheckConfiguration refuses what the schema cannot express, with Errorf. It
	// gets defaults filled in and may return a changed map (e.g. a normalised name).
	CheckConfiguration func(ctx context.Context, service string, configuration map[string]any) (map[string]any, error)

	// Information returns a JSON Schema of what is still missing, or nil. The same
	// create comes again with Request.Information filled. nil hook: nothing is asked.
	Information func(ctx context.Context, r Request) ([]byte, error)

	// Quote prices one exact thing (capability quotes). The SDK fills ID and, if
	// zero, ExpiresAt. It is asked again at create: if the terms differ by then, the
	// create is refused with quote_changed. nil: no quotes.
	Quote func(ctx context.Context, r QuoteRequest) (app.Quote, error)

	// Subscribed tells that the account has paid for this service already; no
	// payment is then needed or used. nil: never.
	Subscribed func(ctx context.Context, account Account, service string) (bool, error)

	// ActivatePayment charges. After a crash, or an error not made with Errorf (its
	// own, or Update's after it), it is called again with the same Payment.Key, which
	// must never charge twice. Its refusal is answered requires_payment_credentials
	// with its message. nil: payment credentials are taken as enough.
	ActivatePayment func(ctx context.Context, p Payment) error

	// RefundPayment undoes an activation (same Key; Token empty) after Provision or
	// Update refused with Errorf; the next attempt then pays anew. It must be
	// retry-safe. nil: the payment stays and the next attempt does not pay again.
	RefundPayment func(ctx context.Context, p Payment) error

	// AccountInformation returns a JSON Schema of what an account request still lacks,
	// or nil, e.g. to ask which team to link (9.8). nil hook: nothing is asked.
	AccountInformation func(ctx context.Context, q AccountQuestion) ([]byte, error)

	// Workspace chooses one of q.Account.Teams by id, or makes one, when an account is
	// linked that has several and none was asked for (9.5). "" or a nil hook:
	// team_resolution_failed.
	Workspace func(ctx context.Context, q AccountQuestion) (id string, err error)

	// Link takes an existing instance over instead of making one; r.Information holds
	// what Config.LinkSchema requires (12.4). nil: unsupported_operation.
	Link func(ctx context.Context, r Request) (Provisioned, error)

	// Session signs a person in for a deep link (13), e.g. by setting a cookie. The SDK
	// redirects afterwards. nil: deep_links_not_enabled.
	Session func(w http.ResponseWriter, r *http.Request, a Account) error

	// Provision makes the thing, after payment.
	Provision func(ctx context.Context, r Request) (Provisioned, error)

	// Read gives the present state on GET. It must not mint secrets: an empty
	// AccessConfiguration means the stored one. ErrGone: it vanished (404). nil: the
	// stored state; then Provision must never answer Pending.
	Read func(ctx context.Context, r Resource) (Provisioned, error)

	// Update moves a resource to r.Service or r.Configuration. An empty
	// AccessConfiguration keeps the credentials. nil: unsupported_operation.
	Update func(ctx context.Context, from Resource, r Request) (Provisioned, error)

	// Rotate makes new credentials. The old ones are dead unless
	// PreviousValidUntil is set. nil: unsupported_operation.
	Rotate func(ctx context.Context, r Resource) (Provisioned, error)

	// Remove removes or detaches (P26). Provisioned.Pending means it is running;
	// Read is then asked until it answers ErrGone. nil: the SDK only forgets.
	Remove func(ctx context.Context, r Resource) (Provisioned, error)

	// Cut suspends access at once, Restore lifts it (capability resources:cut). Both
	// must be idempotent. nil: not_found.
	Cut     func(ctx context.Context, r Resource) error
	Restore func(ctx context.Context, r Resource) error

	// SignedIn tells who sits at the browser, for the consent page (9.6): the email
	// of the provider's own session. nil or false: nobody; the page then sends to
	// LoginURL, or refuses when there is none.
	SignedIn func(r *http.Request) (email string, ok bool)
	LoginURL func(returnTo string) string

	// ConsentPage writes the page; nil: a plain built-in one.
	ConsentPage func(w http.ResponseWriter, r *http.Request, c Consent)
}

// Account is a provider account.
type Account struct {
	ID            string
	Email         string
	DisplayName   string
	Active        bool       // false: bearer and refresh are refused
	EmailVerified bool       // by the provider itself; never by attestation
	Teams         []app.Team // the workspaces its person may access now; empty: there are none to choose

	// CreatedFor is NewAccount.RequestKey of the request that made the account. It
	// lets a repeat finish a request that a crash interrupted; empty is safe.
	CreatedFor string
}

// NewAccount is what CreateAccount gets. The account starts unverified.
type NewAccount struct {
	Email         string // as attested, trimmed
	Name          string
	FirstName     string // first word of Name
	Phone         string
	Country       string
	Orchestrator  string         // Orchestrator.Name
	Payer         string         // the orchestrator's own account id
	Configuration map[string]any // of the account request; unknown members included
	RequestKey    string
}

// AccountQuestion is an account request about to be answered.
type AccountQuestion struct {
	NewAccount
	Account     *Account       // the account of this email; nil: none yet
	Information map[string]any // submitted_information
}

// Accounts finds and makes accounts by email, case-insensitively.
type Accounts interface {
	// Find gives the account of an email, or ErrNoAccount.
	Find(ctx context.Context, email string) (Account, error)
	// Create makes an account and sends the welcome message once; an email in use
	// is ErrAccountExists.
	Create(ctx context.Context, a NewAccount) (Account, error)
	// Account gives an account by id, or ErrNoAccount.
	Account(ctx context.Context, id string) (Account, error)
}

// Resource is what the SDK knows of a resource. AccessConfiguration is secret.
type Resource struct {
	ID                     string
	Account                Account
	Service                string
	Configuration          map[string]any // defaults filled in
	Environment            string         // app.EnvironmentDev or app.EnvironmentProd
	ProjectID              string
	OrchestratorResourceID string
	Workspace              string // id of the workspace the token was granted for, if any
	Status                 string // an app.Status value
	LabelPrefix            string
	Quote                  *app.Quote // what it was sold for, if quoted
	AccessConfiguration    map[string]string
	CreatedAt              time.Time
}

// Request is one provision or update. Resource.Service and Resource.Configuration
// are the wanted ones. Its Resource.ID was allocated by the SDK before payment and
// is the key under which work already done must be found (P35).
type Request struct {
	Resource
	Orchestrator string         // Orchestrator.Name
	Information  map[string]any // submitted_information
	Actor        app.Actor
	Paid         bool // payment was activated or not needed because subscribed
}

// QuoteRequest is what the Quote hook prices.
type QuoteRequest struct {
	Account       *Account // nil: no account yet
	Service       string
	Configuration map[string]any
}

// Payment is one activation. Token is opaque and secret.
type Payment struct {
	Request
	Type  string // e.g. app.PaymentSandbox
	Token string

	// Key is the idempotency key of the charge. It stays the same until the hook
	// gives a decided answer: success, or an error made with Errorf. A refusal gives
	// the next attempt a new key, so that a new token is not answered by the old refusal.
	Key string

	// Amount is Quote's, else the catalog's x_price; nil: the hook must know.
	Amount *app.Price
}

// Provisioned is the state a hook leaves a resource in. The zero value is complete
// without credentials, which only a plan may be.
type Provisioned struct {
	AccessConfiguration map[string]string
	ExpiresAt           time.Time // of the credentials; zero: never
	PreviousValidUntil  time.Time // after Rotate: how long the old ones still work; zero: dead
	UserMessage         string    // plain text, at most 2000 characters

	// Pending: not ready (or not gone) yet; ask again after RetryAfter.
	Pending    bool
	RetryAfter time.Duration

	// Failed ends a pending resource in status error.
	Failed *Error
}

// Consent is what a consent page shows. The form it posts to Action must carry
// state, csrf and decision ("approve" or "deny").
type Consent struct {
	Orchestrator string
	Email        string
	Scopes       []string
	Workspaces   []app.Team // with several, the form must carry the id of one as `workspace`
	Action       string
	State        string
	CSRF         string
}
