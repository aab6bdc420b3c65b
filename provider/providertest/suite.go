// Package providertest is the conformance suite of APP 0.1d: black-box cases over
// HTTP against any provider, and the suite for a provider.Store.
//
// Cases have the ids of APP section 18; ids from 50 on are Purser's own, for
// normative sentences that section 18 leaves out. A case whose inputs are missing
// is skipped with a reason, never passed.
package providertest

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"path"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/purser-dev/purser/app"
)

// Profiles: how the caller shows itself (3.4).
const (
	Purser  = "purser"
	Stripe  = "stripe"
	Generic = "generic" // runs the G cases; the others are of the signed profiles
)

// Config is the provider under test; it can be read from JSON.
type Config struct {
	Profile string `json:"profile,omitempty"` // default Purser

	// Interop tolerates the variations that the reference marks as seen; without it
	// exactly the protocol is accepted.
	Interop bool `json:"interop,omitempty"`

	BaseURL       string `json:"base_url"`
	TokenURL      string `json:"token_endpoint"`
	SigningSecret string `json:"signing_secret,omitempty"`

	// V2Seed is the orchestrator's Ed25519 seed (base64url of 32 bytes), V2KeyID its
	// kid and V2Mode what the provider does with that signature: off, log or require.
	V2Seed  string `json:"v2_seed,omitempty"`
	V2KeyID string `json:"v2_key_id,omitempty"`
	V2Mode  string `json:"v2_mode,omitempty"`

	// ReplayGuard is "reject" where a repeated signature is refused (5.5).
	ReplayGuard string `json:"hmac_replay_guard,omitempty"`

	// SecondBaseURL and SecondTokenURL are another way to the same provider (T19).
	SecondBaseURL  string `json:"second_base_url,omitempty"`
	SecondTokenURL string `json:"second_token_endpoint,omitempty"`

	// ClientID and ClientSecret are what the token endpoint was configured with (P29).
	ClientID     string `json:"client_id,omitempty"`
	ClientSecret string `json:"client_secret,omitempty"`

	Account string `json:"orchestrator_account"` // default "acct_conformance"

	// Capabilities are the manifest's; cases of undeclared ones are skipped.
	Capabilities []string `json:"capabilities,omitempty"`

	FreeService  string `json:"free_service,omitempty"` // a free deployable
	PaidService  string `json:"paid_service,omitempty"`
	PlanService  string `json:"plan_service,omitempty"` // may be the paid one
	UpdateTarget string `json:"update_target,omitempty"`

	// Configurations gives, by service id, what a create needs. The text {unique}
	// inside a string is replaced by a fresh word each time.
	Configurations map[string]map[string]any `json:"configurations,omitempty"`

	PaymentType  string `json:"payment_type,omitempty"` // default app.PaymentStripe
	PaymentToken string `json:"payment_token,omitempty"`

	// NewPaymentToken gives a fresh token per purchase, instead of PaymentToken.
	NewPaymentToken func() string `json:"-"`

	ExistingEmail    string `json:"existing_email,omitempty"`    // has an account that this suite did not make
	ExistingAccounts string `json:"existing_accounts,omitempty"` // the policy: consent (default) or silent
	WorkspaceKey     string `json:"workspace_key,omitempty"`     // e.g. "team_id"; an integer
	Workspace        any    `json:"workspace,omitempty"`         // one that ExistingEmail may access
	OtherRegion      string `json:"other_region,omitempty"`      // a configuration.region that another node serves

	DeepLinkPurpose string `json:"deep_link_purpose,omitempty"` // one of the manifest's; "": deep links are not offered

	// ClientURL is where the provider can reach the documents that the suite serves
	// for the generic profile at ClientAddr. Default: a loopback address.
	ClientURL  string `json:"client_url,omitempty"`
	ClientAddr string `json:"client_addr,omitempty"`

	// Features are parts of the generic profile beyond 15.1 to 15.5 that the provider
	// offers: github_grants, payer.
	Features []string `json:"features,omitempty"`

	// GitHubCodes are codes of a person's sign-in at GitHub, by what comes of them: good,
	// failing, down, denied (the email), no_email.
	GitHubCodes map[string]string `json:"github_codes,omitempty"`

	// TestHooks are URLs by name that put the provider into a state, or tell of one,
	// which no client can (the cases marked H). See the constants beginning with Hook.
	TestHooks map[string]string `json:"test_hooks,omitempty"`

	ForeignBearer string `json:"foreign_bearer,omitempty"` // a token issued to another orchestrator

	Transport http.RoundTripper `json:"-"` // nil: a plain one
	Now       func() time.Time  `json:"-"` // nil: time.Now; the provider's clock

	// Only runs the cases whose ids match one of these patterns, e.g. A*; nil is all.
	Only []string `json:"only,omitempty"`
}

// Outcomes of a case.
const (
	Passed  = "passed"
	Failed  = "failed"
	Skipped = "skipped"
)

// Result is one case. Detail says what was sent, expected (with the section) and
// came instead, or why the case was skipped. It shows no token and no secret.
type Result struct {
	ID      string `json:"id"`
	Title   string `json:"title"`
	Section string `json:"section"`
	Outcome string `json:"outcome"`
	Detail  string `json:"detail,omitempty"`

	Took time.Duration `json:"-"`
}

// Report is all of them, in the order of the suite.
type Report struct {
	Results []Result `json:"results"`
}

// OK tells whether nothing failed and something passed.
func (r Report) OK() bool { return len(r.IDs(Failed)) == 0 && len(r.IDs(Passed)) > 0 }

// IDs lists the cases with an outcome.
func (r Report) IDs(outcome string) []string {
	var ids []string
	for _, result := range r.Results {
		if result.Outcome == outcome {
			ids = append(ids, result.ID)
		}
	}
	return ids
}

// DuplicateCases are those that say whether an order may be sent again under the
// same keys after its answer was lost.
var DuplicateCases = []string{"R50", "R51", "R52", "R53", "R54", "R55", "M1"}

// SafeToResend tells whether every duplicate case passed; a skipped one is not a pass.
func (r Report) SafeToResend() bool {
	passed := r.IDs(Passed)
	for _, id := range DuplicateCases {
		if !contains(passed, id) {
			return false
		}
	}
	return true
}

// String is the report for people: failures in full, then the counts.
func (r Report) String() string {
	var b strings.Builder
	for _, result := range r.Results {
		if result.Outcome == Passed {
			continue
		}
		fmt.Fprintf(&b, "%-7s %-4s %s (APP %s)\n        %s\n", result.Outcome, result.ID, result.Title, result.Section,
			strings.ReplaceAll(result.Detail, "\n", "\n        "))
	}
	fmt.Fprintf(&b, "%d passed, %d failed, %d skipped\n", len(r.IDs(Passed)), len(r.IDs(Failed)), len(r.IDs(Skipped)))
	return b.String()
}

// scenario is one case of the suite.
type scenario struct {
	id, title, section string
	needs              func(Config) string // why it cannot run, or ""
	run                func(p *probe)
}

// CaseIDs lists every case, in order.
func CaseIDs() []string {
	ids := make([]string, len(suite))
	for i, sc := range suite {
		ids[i] = sc.id
	}
	return ids
}

// Run runs the suite. It makes accounts and resources at the provider and removes
// the resources it made.
func Run(ctx context.Context, c Config) Report {
	c = c.withDefaults()
	s := newSession(c)
	defer s.close()
	var report Report
	for _, sc := range suite {
		if len(c.Only) > 0 && !slices.ContainsFunc(c.Only, func(pattern string) bool { return matches(pattern, sc.id) }) {
			continue
		}
		if generic := strings.HasPrefix(sc.id, "G"); generic != (c.Profile == Generic) {
			continue // of another profile
		}
		report.Results = append(report.Results, s.run(ctx, sc))
	}
	s.cleanUp(ctx)
	return report
}

// Test runs the suite as subtests.
func Test(t *testing.T, c Config) {
	t.Helper()
	for _, result := range Run(t.Context(), c).Results {
		t.Run(result.ID+" "+result.Title, func(t *testing.T) {
			switch result.Outcome {
			case Failed:
				t.Errorf("APP %s\n%s", result.Section, result.Detail)
			case Skipped:
				t.Skip(result.Detail)
			}
		})
	}
}

func (c Config) withDefaults() Config {
	if c.Profile == "" {
		c.Profile = Purser
	}
	if c.Account == "" {
		c.Account = "acct_conformance"
	}
	if c.PaymentType == "" {
		c.PaymentType = app.PaymentStripe
	}
	if c.Transport == nil {
		c.Transport = &http.Transport{}
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if !strings.HasSuffix(c.BaseURL, "/") {
		c.BaseURL += "/"
	}
	return c
}

func (s *session) run(ctx context.Context, sc scenario) (result Result) {
	result = Result{ID: sc.id, Title: sc.title, Section: sc.section, Outcome: Passed}
	began := time.Now()
	defer func() { result.Took = time.Since(began) }()
	if sc.needs != nil {
		if why := sc.needs(s.config); why != "" {
			result.Outcome, result.Detail = Skipped, why
			return result
		}
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	defer func() {
		switch f := recover().(type) {
		case nil:
		case failure:
			result.Outcome, result.Detail = Failed, string(f)
		case skip:
			result.Outcome, result.Detail = Skipped, string(f)
		default:
			panic(f)
		}
	}()
	sc.run(&probe{session: s, ctx: ctx, section: sc.section})
	return result
}

// suite is every case, in order.
var suite = func() []scenario {
	var all []scenario
	for _, part := range [][]scenario{
		signatureCases, accountCases, tokenCases,
		resourceCases, operationCases, extensionCases, orderCases, deepLinkCases, stateCases, limitCases, flowCases, genericCases,
	} {
		all = append(all, part...)
	}
	return all
}()

// Reasons to skip.
func needFree(c Config) string { return missing(c.FreeService, "free_service") }
func needPlan(c Config) string { return missing(c.PlanService, "plan_service") }

// matches tells whether an id is meant: * stands for any text.
func matches(pattern, id string) bool {
	ok, err := path.Match(pattern, id)
	return err == nil && ok
}

func needConsent(c Config) string {
	if c.ExistingAccounts == "silent" {
		return "the policy for existing accounts is silent"
	}
	return missing(c.ExistingEmail, "existing_email")
}

func needSilent(c Config) string {
	if c.ExistingAccounts != "silent" {
		return "the policy for existing accounts is consent"
	}
	if c.WorkspaceKey == "" || c.Workspace == nil {
		return "workspace_key and workspace are not given"
	}
	return missing(c.ExistingEmail, "existing_email")
}

func needWorkspace(c Config) string { return missing(c.WorkspaceKey, "workspace_key") }
func needDeepLinks(c Config) string { return missing(c.DeepLinkPurpose, "deep_link_purpose") }

// needAll gives the first reason of several.
func needAll(needs ...func(Config) string) func(Config) string {
	return func(c Config) string {
		for _, need := range needs {
			if why := need(c); why != "" {
				return why
			}
		}
		return ""
	}
}
func needForeign(c Config) string { return missing(c.ForeignBearer, "foreign_bearer") }
func needPaid(c Config) string    { return missing(c.PaidService, "paid_service") }

func needPayment(c Config) string {
	if c.PaidService != "" && (c.PaymentToken != "" || c.NewPaymentToken != nil) {
		return ""
	}
	return "paid_service and payment_token are not given"
}

func needTwo(c Config) string {
	if c.FreeService != "" && c.otherService() != "" {
		return ""
	}
	return "free_service and a second service are not given"
}

func (c Config) otherService() string {
	for _, s := range []string{c.UpdateTarget, c.PlanService, c.PaidService} {
		if s != "" && s != c.FreeService {
			return s
		}
	}
	return ""
}

func needCap(capability string, more ...func(Config) string) func(Config) string {
	return func(c Config) string {
		if !contains(c.Capabilities, capability) {
			return "capability " + capability + " is not declared"
		}
		for _, need := range more {
			if why := need(c); why != "" {
				return why
			}
		}
		return ""
	}
}

func missing(value, name string) string {
	if value == "" {
		return name + " is not given"
	}
	return ""
}

func contains(list []string, s string) bool {
	for _, x := range list {
		if x == s {
			return true
		}
	}
	return false
}

// payment is the payment_credentials of a purchase.
func (c Config) payment() map[string]any {
	token := c.PaymentToken
	if c.NewPaymentToken != nil {
		token = c.NewPaymentToken()
	}
	return map[string]any{"type": c.PaymentType, c.PaymentType: token}
}

// configuration of a service, with fresh words in it.
func (c Config) configuration(service, unique string) map[string]any {
	raw, err := json.Marshal(c.Configurations[service])
	if err != nil {
		return nil
	}
	var fresh map[string]any
	if json.Unmarshal([]byte(strings.ReplaceAll(string(raw), "{unique}", unique)), &fresh) != nil || fresh == nil {
		return map[string]any{}
	}
	return fresh
}
