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
	"strings"
	"testing"
	"time"

	"github.com/purser-dev/purser/app"
)

// Config is the provider under test; it can be read from JSON.
type Config struct {
	BaseURL       string `json:"base_url"`
	TokenURL      string `json:"token_endpoint"`
	SigningSecret string `json:"signing_secret"`
	Account       string `json:"orchestrator_account"` // default "acct_conformance"

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

	ExistingEmail string `json:"existing_email,omitempty"` // has an account and the policy is consent
	ForeignBearer string `json:"foreign_bearer,omitempty"` // a token issued to another orchestrator

	Transport http.RoundTripper `json:"-"` // nil: a plain one
	Now       func() time.Time  `json:"-"` // nil: time.Now; the provider's clock

	// Only runs the cases with these ids; nil is all.
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

// Run runs the suite. It makes accounts and resources at the provider and removes
// the resources it made.
func Run(ctx context.Context, c Config) Report {
	c = c.withDefaults()
	s := newSession(c)
	var report Report
	for _, sc := range suite {
		if len(c.Only) > 0 && !contains(c.Only, sc.id) {
			continue
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
	if sc.needs != nil {
		if why := sc.needs(s.config); why != "" {
			result.Outcome, result.Detail = Skipped, why
			return result
		}
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	defer func() {
		if f, ok := recover().(failure); ok {
			result.Outcome, result.Detail = Failed, string(f)
		}
	}()
	sc.run(&probe{session: s, ctx: ctx})
	return result
}

// suite is every case, in order.
var suite = func() []scenario {
	var all []scenario
	for _, part := range [][]scenario{signatureCases, accountCases, tokenCases, resourceCases, operationCases, extensionCases, flowCases} {
		all = append(all, part...)
	}
	return all
}()

// Reasons to skip.
func needFree(c Config) string { return missing(c.FreeService, "free_service") }
func needPlan(c Config) string { return missing(c.PlanService, "plan_service") }
func needExisting(c Config) string {
	return missing(c.ExistingEmail, "existing_email")
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
