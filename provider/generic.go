package provider

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/purser-dev/purser/app"
)

// Generic is the generic partner profile (15): callers that bring a client ID
// metadata document of their own instead of a shared signing secret.
type Generic struct {
	// Block is the member of the document that opts in; default "dev.purser".
	Block string

	// Issuer is what an assertion's aud may name beside the token endpoint; default
	// Manifest.BaseURL.
	Issuer string

	// Scopes is the ceiling of a document that names none.
	Scopes []string

	// DefaultService is made when a create names none. "": missing_service_id.
	DefaultService string

	// Rights is the provider's own word about a client, asked on each call. nil: it
	// may make accounts and resources.
	Rights func(ctx context.Context, client PartnerDocument) (PartnerRights, error)

	// GitHub turns the grants of 15.6 on, Payer what a paying partner may read and set
	// (15.7). nil: not_found.
	GitHub GitHub
	Payer  Payer

	// Loopback lets documents be served over http by a loopback host, for tests and
	// development (4.3). Every other private address is refused always.
	Loopback bool

	// HTTP fetches documents and key sets. nil: a client that follows no redirect and
	// connects to public addresses only.
	HTTP Doer
}

// PartnerDocument is what a client says of itself (15.1). It is untrusted.
type PartnerDocument struct {
	ClientID          string   `json:"client_id"`
	ClientName        string   `json:"client_name"`
	RedirectURIs      []string `json:"redirect_uris"`
	LogoURI           string   `json:"logo_uri"`
	AuthMethod        string   `json:"token_endpoint_auth_method"` // "none" or "private_key_jwt"
	JWKSURI           string   `json:"jwks_uri"`
	Scopes            []string `json:"-"` // the ceiling, from the vendor block
	VerificationToken string   `json:"-"` // links the client to an organization
}

// PartnerRights is what a provider allows a client. The zero value is the default.
type PartnerRights struct {
	Disabled    bool // registering again never turns it on
	NoAccounts  bool
	NoResources bool
	DeepLinks   bool
	Attested    bool // by its VerificationToken; raises the limits
	GitHub      bool // may bring GitHub grants, with a key
	Payer       bool // pays for its people, with a key, and its organization is verified
}

// partnerPrefix begins the orchestrator name of a client.
const partnerPrefix = "client-"

// partner is a client as stored.
type partner struct {
	Name      string          `json:"name"`
	Document  PartnerDocument `json:"document"`
	Scopes    []string        `json:"scopes"`
	Verify    string          `json:"verify"`
	FetchedAt time.Time       `json:"fetched_at"`
	Until     time.Time       `json:"until"` // when it is fetched again

	rights PartnerRights
}

func partnerName(clientID string) string { return partnerPrefix + hash(clientID)[:24] }

func (g Generic) withDefaults(m app.Manifest) Generic {
	if g.Block == "" {
		g.Block = "dev.purser"
	}
	if g.Issuer == "" {
		g.Issuer = m.BaseURL
	}
	if g.HTTP == nil {
		g.HTTP = publicClient(g.Loopback)
	}
	return g
}

func (p *partner) confidential() bool { return p.Document.AuthMethod == "private_key_jwt" }

// tier names the limits (15.5) and multiplies them.
func (p *partner) tier() (string, int) {
	switch {
	case p.confidential() && p.rights.Attested:
		return "jwks_attested", 10
	case p.confidential():
		return "jwks", 5
	case p.rights.Attested:
		return "public_attested", 2
	}
	return "public", 1
}

// orchestratorOf makes a client look like an orchestrator to the rest of the SDK.
func (p *Provider) orchestratorOf(known *partner) *Orchestrator {
	return &Orchestrator{
		Name: known.Name, ClientID: known.Document.ClientID, CallbackURL: known.Document.RedirectURIs[0],
		NoDeepLinks: !known.rights.DeepLinks, generic: known,
		// Never compared with a signature: codes and states are derived from it.
		Secrets: []string{p.anySecret() + "\x00" + known.Name},
	}
}

// partner reads a client that was met before, with its rights of now; nil if there
// is none, it is switched off or it must not be used any more.
func (p *Provider) partner(ctx context.Context, name string) (*partner, error) {
	var known partner
	found := false
	err := p.cfg.Store.View(ctx, func(tx Tx) error {
		var err error
		found, err = get(tx, keyPartner(name), &known)
		return err
	})
	if err != nil || !found {
		return nil, err
	}
	known.Document.Scopes, known.Document.VerificationToken = known.Scopes, known.Verify
	return &known, p.judge(ctx, &known)
}

func (p *Provider) judge(ctx context.Context, known *partner) (err error) {
	if p.cfg.Generic.Rights != nil {
		known.rights, err = p.cfg.Generic.Rights(ctx, known.Document)
	}
	return err
}

var errClient = Errorf(app.CodeUnauthorized, "the client is unknown or could not prove itself")

// genericAccountRequest keeps the order of 15.4. It is taken when the body names a
// client and no signature came.
func (c *call) genericAccountRequest() error {
	if err := c.decodable(); err != nil {
		return err
	}
	known, err := c.identify(c.members)
	if err != nil {
		return err
	}
	c.orch = c.p.orchestratorOf(known)
	var in accountInput
	if err := c.identity(&in); err != nil {
		return err
	}
	in.payer, in.kind = known.Document.ClientID, "generic"
	if known.rights.NoAccounts {
		return Errorf(app.CodeForbidden, "this client may not make accounts")
	}
	if err := c.perIP("account_requests", 60); err != nil {
		return err
	}
	if err := c.spend("account_requests"); err != nil {
		return err
	}
	if err := c.terms(); err != nil {
		return err
	}
	if err := c.rest(&in); err != nil {
		return err
	}
	return c.linkAccount(in)
}

// terms refuses an acceptance in the future beyond 60 s of skew (9.1).
func (c *call) terms() error {
	var accepted string
	if err := c.field("terms_accepted_at", &accepted); err != nil || accepted == "" {
		return err
	}
	at, err := app.ParseTime(accepted)
	if err != nil || at.After(c.p.cfg.Now().Add(60*time.Second)) {
		return Errorf(app.CodeInvalidRequest, "terms_accepted_at is not a time that has come")
	}
	return nil
}

// asGeneric tells whether an account request is one of a client: it names itself
// and carries no signature. It reads the body; a fault of it is found again later.
func (c *call) asGeneric() bool {
	if c.p.cfg.Generic == nil {
		return false
	}
	if _, signed, _ := c.signatureHeader(app.HeaderSignature, app.HeaderNeutralSignature); signed {
		return false
	}
	if c.read() != nil || c.object() != nil {
		return false
	}
	return c.members["client_id"] != nil
}

// identify finds a client by its document and lets it prove itself (15.3).
func (c *call) identify(members map[string]json.RawMessage) (*partner, error) {
	read := func(name string) (s string) {
		_ = json.Unmarshal(members[name], &s)
		return s
	}
	known, err := c.p.meet(c.ctx, c.ip(), read("client_id"))
	if err != nil {
		return nil, err
	}
	if known == nil || known.rights.Disabled {
		return nil, errClient
	}
	if !known.confidential() {
		return known, nil
	}
	if err := c.p.assert(c.ctx, known, read("client_assertion_type"), read("client_assertion")); err != nil {
		c.p.cfg.Log.WarnContext(c.ctx, "refusing a client", "client", known.Document.ClientID, "error", err)
		return nil, errClient
	}
	return known, nil
}

// meet gives a client with a document that is fresh, fetching it when need be; nil
// if it is none of ours. New clients are throttled, since each costs a fetch.
func (p *Provider) meet(ctx context.Context, ip, clientID string) (*partner, error) {
	if !validClientID(clientID, p.cfg.Generic.Loopback) {
		return nil, nil
	}
	now := p.cfg.Now()
	known, err := p.partner(ctx, partnerName(clientID))
	if err != nil {
		return nil, err
	}
	if known != nil && now.Before(known.Until) {
		return known, nil
	}
	if known == nil {
		domain, _ := url.Parse(clientID)
		for _, limit := range []struct {
			key  string
			most int
			per  time.Duration
		}{
			{"cimd/minute/" + ip, 5, time.Minute},
			{"cimd/hour/" + ip, 10, time.Hour},
			{"cimd/domain/" + domain.Hostname(), 5, time.Hour},
			{"cimd/all", 100, time.Hour},
		} {
			if d := p.throttle.wait(now, limit.key, limit.most, limit.per); d > 0 {
				return nil, &fault{shown: &Error{Code: app.CodeRateLimited, Message: "too many new clients"}, retryAfter: d, shape: app.EnvelopeTyped}
			}
		}
	}
	fetched, err := p.fetchDocument(ctx, clientID)
	if err != nil {
		p.cfg.Log.WarnContext(ctx, "reading a client's document", "client", clientID, "error", err)
		if known != nil && !errors.Is(err, errNotOptedIn) && now.Sub(known.FetchedAt) < 24*time.Hour {
			return known, nil // the last good one, for a day at most
		}
		return nil, nil
	}
	fetched.FetchedAt = now
	if err := p.cfg.Store.Update(ctx, func(tx Tx) error { return put(tx, keyPartner(fetched.Name), fetched, time.Time{}) }); err != nil {
		return nil, err
	}
	return fetched, p.judge(ctx, fetched)
}

// partnerClient authenticates a client at the token endpoint, before a code is
// touched: a failure does not burn it (15.3).
func (c *call) partnerClient(o *Orchestrator, form url.Values) error {
	refused := Errorf(app.CodeInvalidClient, "the client could not prove itself")
	if o.generic.rights.Disabled || form.Get("client_id") != o.generic.Document.ClientID {
		return refused
	}
	if !o.generic.confidential() {
		return nil
	}
	if err := c.p.assert(c.ctx, o.generic, form.Get("client_assertion_type"), form.Get("client_assertion")); err != nil {
		return refused
	}
	return nil
}

// narrowed keeps a grant below the client's ceiling as it is now (10.4).
func narrowed(o *Orchestrator, scopes []string) ([]string, error) {
	if o.generic == nil || len(o.generic.Scopes) == 0 {
		return scopes, nil
	}
	if len(scopes) == 0 {
		return o.generic.Scopes, nil
	}
	kept := slices.DeleteFunc(slices.Clone(scopes), func(s string) bool { return !slices.Contains(o.generic.Scopes, s) })
	if len(kept) == 0 {
		return nil, Errorf(app.CodeInvalidScope, "none of the scopes is within the client's ceiling")
	}
	return kept, nil
}

// partnerLimits are per hour and burst, before the tier multiplies them (15.5).
var partnerLimits = map[string]struct{ perHour, burst int }{
	"account_requests": {10, 5},
	"token_exchanges":  {20, 10},
	"resource_creates": {30, 10},
	"other":            {120, 30},
}

// spend takes one from a client's bucket; what did no work is given back later.
func (c *call) spend(name string) error {
	limit := partnerLimits[name]
	_, times := c.orch.generic.tier()
	key := name + "/" + c.orch.Name
	if d := c.p.throttle.take(c.p.cfg.Now(), key, limit.burst*times, limit.perHour*times); d > 0 {
		return c.limited(d)
	}
	c.spent = key
	return nil
}

func (c *call) ip() string {
	host, _, err := net.SplitHostPort(c.r.RemoteAddr)
	if err != nil {
		return c.r.RemoteAddr
	}
	return host
}

func (c *call) perIP(name string, perHour int) error {
	if d := c.p.throttle.wait(c.p.cfg.Now(), name+"/ip/"+c.ip(), perHour, time.Hour); d > 0 {
		return c.limited(d)
	}
	return nil
}

// limits tells a client what it may do (15.5), by bearer or by its own proof.
func (c *call) limits() error {
	if c.p.cfg.Generic == nil {
		return flat(app.CodeNotFound, "no such path")
	}
	if err := c.read(); err != nil {
		return err
	}
	known, err := c.limitsCaller()
	if err != nil {
		return err
	}
	tier, times := known.tier()
	endpoints := map[string]any{}
	least := [2]int{1, 1}
	for _, name := range slices.Sorted(maps.Keys(partnerLimits)) {
		limit := partnerLimits[name]
		left := c.p.throttle.level(c.p.cfg.Now(), name+"/"+known.Name, limit.burst*times, limit.perHour*times)
		endpoints[name] = map[string]int{"per_hour": limit.perHour * times, "burst": limit.burst * times, "remaining": left}
		if name == "account_requests" {
			least = [2]int{limit.burst * times, left}
		}
	}
	endpoints["deep_links"] = map[string]bool{"blocked": true}
	if known.rights.DeepLinks {
		endpoints["deep_links"] = map[string]bool{"unlimited": true}
	}
	c.w.Header().Set("RateLimit-Limit", strconv.Itoa(least[0]))
	c.w.Header().Set("RateLimit-Remaining", strconv.Itoa(least[1]))
	c.w.Header().Set("RateLimit-Reset", "3600")
	return c.answer(http.StatusOK, map[string]any{
		"tier":       tier,
		"tier_basis": map[string]any{"client_authentication": cmpOr(known.Document.AuthMethod, "none"), "attested": known.rights.Attested},
		"endpoints":  endpoints,
	})
}

func (c *call) limitsCaller() (*partner, error) {
	if bearerToken(c.r.Header) != "" {
		if err := c.bearer(); err != nil {
			return nil, err
		}
		if o := c.p.orchestrator(c.ctx, c.token.Orchestrator); o != nil && o.generic != nil {
			return o.generic, nil
		}
		return nil, errBearer
	}
	if err := c.object(); err != nil {
		return nil, err
	}
	return c.identify(c.members)
}

func cmpOr(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

// check is one line of a registration's answer.
type check struct {
	Name   string `json:"name"`
	OK     bool   `json:"ok"`
	Detail string `json:"detail"`
}

// registerClient tells a client what the provider makes of it (15.2).
func (c *call) registerClient() error {
	if c.p.cfg.Generic == nil {
		return flat(app.CodeNotFound, "no such path")
	}
	for _, step := range []func() error{c.read, c.decodable, c.object} {
		if err := step(); err != nil {
			return err
		}
	}
	var id string
	if err := c.field("client_id", &id); err != nil {
		return err
	}
	if err := c.perIP("client_registration", 120); err != nil {
		return err
	}
	if d := c.p.throttle.wait(c.p.cfg.Now(), "client_registration/"+hash(id), 30, time.Hour); d > 0 {
		return c.limited(d)
	}
	known, err := c.p.meet(c.ctx, c.ip(), id)
	if err != nil {
		return err
	}
	if known == nil {
		return c.notRegistered([]check{
			{"client_exists", false, "no usable document at this client_id"}, {"metadata_document", false, "see client_exists"},
		})
	}
	checks := []check{{"client_exists", true, ""}, {"metadata_document", true, ""}, {"provisioning_enabled", !known.rights.Disabled, ""}}
	if known.rights.Disabled {
		checks[2].Detail = "the provider switched this client off"
		return c.notRegistered(checks)
	}
	return c.registered(known, checks)
}

func (c *call) registered(known *partner, checks []check) error {
	kind := "public"
	if known.confidential() {
		kind = "confidential"
		_, err := c.p.partners.keys(c.ctx, c.p, known.Document.JWKSURI, false)
		checks = append(checks, check{"jwks", err == nil, reason(err)})
	}
	github := c.p.cfg.Generic.GitHub != nil && known.confidential() && known.rights.GitHub
	var assertion, form string
	_ = json.Unmarshal(c.members["client_assertion"], &assertion)
	_ = json.Unmarshal(c.members["client_assertion_type"], &form)
	if assertion != "" {
		err := c.p.assert(c.ctx, known, form, assertion)
		checks = append(checks, check{"client_assertion", err == nil, reason(err)})
	}
	return c.answer(http.StatusOK, map[string]any{
		"client_id": known.Document.ClientID, "registered": true, "client_type": kind,
		"token_endpoint_auth_method": cmpOr(known.Document.AuthMethod, "none"), "jwks_uri": known.Document.JWKSURI, "scopes": known.Scopes,
		"provisioning": map[string]bool{
			"active": true, "can_create_accounts": !known.rights.NoAccounts, "can_provision_resources": !known.rights.NoResources,
		},
		"capabilities": map[string]bool{"account_requests": !known.rights.NoAccounts, "github_grants": github, "wizard_runs": github},
		"checks":       checks,
	})
}

func (c *call) notRegistered(checks []check) error {
	c.code = "registration_failed"
	return c.answer(http.StatusBadRequest, map[string]any{
		"type": app.AnswerError, "registered": false, "checks": checks,
		"error": app.Problem{Code: "registration_failed", Message: "the client could not be registered; see checks"},
	})
}

// reason is the outermost words of an error, which are ours.
func reason(err error) string {
	if err == nil {
		return ""
	}
	text, _, _ := strings.Cut(err.Error(), ": ")
	return text
}
