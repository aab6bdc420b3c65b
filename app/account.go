package app

import "encoding/json"

// AccountRequest is the body of POST provisioning/account_requests (9.1).
type AccountRequest struct {
	ID                   string          `json:"id,omitempty"`     // "acctreq_..."; echoed, and the idempotency key (9.3)
	Object               string          `json:"object,omitempty"` // "account_request"
	Email                string          `json:"email"`            // the attested identity; the account's key
	Name                 string          `json:"name,omitempty"`
	Phone                string          `json:"phone,omitempty"`
	Country              string          `json:"country,omitempty"`
	Scopes               []string        `json:"scopes,omitempty"`
	KYC                  *KYC            `json:"kyc,omitempty"`
	ClientCapabilities   []string        `json:"client_capabilities,omitempty"` // e.g. "browser": a redirect is possible
	Actor                *Actor          `json:"actor,omitempty"`
	Configuration        map[string]any  `json:"configuration,omitempty"`
	ConfirmationSecret   string          `json:"confirmation_secret,omitempty"` // "cs_...", at least 128 random bits; becomes the OAuth state
	ExpiresAt            Time            `json:"expires_at,omitzero"`
	Orchestrator         json.RawMessage `json:"orchestrator,omitempty"` // 3.4; the Client fills it from its profile
	CodeChallenge        string          `json:"code_challenge,omitempty"`
	CodeChallengeMethod  string          `json:"code_challenge_method,omitempty"` // "S256"
	SubmittedInformation map[string]any  `json:"submitted_information,omitempty"`
	ClientID             string          `json:"client_id,omitempty"` // generic profile only, as are the two below
	ClientAssertion      string          `json:"client_assertion,omitempty"`
	ClientAssertionType  string          `json:"client_assertion_type,omitempty"`
	TermsAcceptedAt      Time            `json:"terms_accepted_at,omitzero"`
}

// KYC names the fields that the orchestrator verified: country, email, name, phone.
type KYC struct {
	VerifiedFields []string `json:"verified_fields"`
}

// Values of AccountAnswer.Type (9.4). Unknown ones are kept as they came.
const (
	AnswerOAuth            = "oauth"
	AnswerCredentials      = "credentials"
	AnswerRequiresAuth     = "requires_auth"
	AnswerNeedsInformation = "needs_information"
	AnswerRegistering      = "registering"
	AnswerError            = "error"
)

// AccountAnswer is the answer to an account request (9.4), told apart by Type.
type AccountAnswer struct {
	ID               string            `json:"id,omitempty"`
	Type             string            `json:"type"`
	OAuth            *OAuthCode        `json:"oauth,omitempty"`
	Credentials      *Credentials      `json:"credentials,omitempty"`
	RequiresAuth     *RequiresAuth     `json:"requires_auth,omitempty"`
	NeedsInformation *NeedsInformation `json:"needs_information,omitempty"`
	RetryAfter       int               `json:"retry_after,omitempty"` // seconds; with type registering
}

// OAuthCode is the code of an `oauth` answer: 300 s, single use.
type OAuthCode struct {
	Code string `json:"code"`
}

// Credentials is a token handed over without a token call.
type Credentials struct {
	Type   string `json:"type"` // "bearer"
	Bearer Token  `json:"bearer"`
}

// RequiresAuth sends a person to the provider. Both shapes are emitted (P6).
type RequiresAuth struct {
	Type     string    `json:"type,omitempty"` // "redirect"
	Redirect *Redirect `json:"redirect,omitempty"`
	URL      string    `json:"url,omitempty"`
}

// Redirect holds the URL to open.
type Redirect struct {
	URL string `json:"url"`
}

// Target is the URL to open: redirect.url is preferred. It is empty when neither
// is an https URL (http on loopback excepted).
func (r RequiresAuth) Target() string {
	if r.Redirect != nil && r.Redirect.URL != "" {
		return checkedURL(r.Redirect.URL)
	}
	return checkedURL(r.URL)
}

func checkedURL(u string) string {
	if CheckURL(u) != nil {
		return ""
	}
	return u
}

// NeedsInformation asks for more: the same call is resent with submitted_information.
type NeedsInformation struct {
	Schema json.RawMessage `json:"schema"`
}

// Token is an access token and what came with it (10.1). It is secret: do not log it.
type Token struct {
	TokenType    string        `json:"token_type,omitempty"`
	AccessToken  string        `json:"access_token"`
	RefreshToken string        `json:"refresh_token,omitempty"`
	ExpiresIn    int64         `json:"expires_in,omitempty"` // seconds; 0 means not told
	Account      *TokenAccount `json:"account,omitempty"`
}

// TokenAccount describes the provider account a token opens (10.1).
type TokenAccount struct {
	ID                 string          `json:"id"`
	PaymentCredentials string          `json:"payment_credentials,omitempty"` // PaidByOrchestrator or PaidByProvider
	AvailableTeams     []Team          `json:"available_teams,omitempty"`
	DisplayName        string          `json:"display_name,omitempty"`
	PrimaryEmail       string          `json:"primary_email,omitempty"`
	LinkAction         string          `json:"link_action,omitempty"`    // "created", "linked_existing"
	ActiveServices     []ActiveService `json:"active_services,omitzero"` // nil: unknown; otherwise complete
}

// Team is a workspace of the account; the consented one comes first.
type Team struct {
	ID               any    `json:"id"`
	Name             string `json:"name"`
	OrganizationID   any    `json:"organization_id,omitempty"`
	OrganizationName string `json:"organization_name,omitempty"`
}

// ActiveService is something the account already has.
type ActiveService struct {
	ServiceID          string `json:"service_id"`
	ProviderResourceID string `json:"provider_resource_id,omitempty"`
	DisplayName        string `json:"display_name,omitempty"`
	Status             string `json:"status"` // active, inactive, pending
}
