package app

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strings"
)

// Manifest is how a provider registers with an orchestrator (3.1): the
// `provisioning` block and the members of the provider record beside it.
type Manifest struct {
	Name             string   `json:"name,omitempty"`
	Description      string   `json:"description,omitempty"` // untrusted text
	Categories       []string `json:"categories,omitempty"`
	TosURL           string   `json:"tos_url,omitempty"`
	PrivacyPolicyURL string   `json:"privacy_policy_url,omitempty"`
	WebsiteURL       string   `json:"website_url,omitempty"`
	Development      bool     `json:"development,omitempty"`

	BaseURL            string   `json:"base_url"`             // ends with a slash; calls go to BaseURL + "provisioning/<name>"
	OAuthTokenEndpoint string   `json:"oauth_token_endpoint"` // explicit, never derived
	OAuthClientID      string   `json:"oauth_client_id,omitempty"`
	OAuthSecretKey     string   `json:"oauth_client_secret_secret_store_key,omitempty"` // a name in the orchestrator's secret store
	OAuthScopes        []string `json:"oauth_scopes,omitempty"`

	// AccountConfigurationSchema is a JSON Schema, as an object or as a string that holds one.
	AccountConfigurationSchema json.RawMessage `json:"account_configuration_schema,omitempty"`

	Capabilities            []string `json:"capabilities,omitempty"`
	DeepLinkPurposes        []string `json:"deep_link_purposes,omitempty"` // empty: deep links unavailable
	ExistingResourceLinking string   `json:"existing_resource_linking,omitempty"`
	LLMContext              string   `json:"llm_context,omitempty"` // URL of text for agents; untrusted

	// Purser additions, all optional.
	PaymentCredentialTypes []string          `json:"payment_credential_types,omitempty"` // default ["stripe_payment_token"]
	RegionBaseURLs         map[string]string `json:"region_base_urls,omitempty"`
	PublicBaseURL          string            `json:"public_base_url,omitempty"` // used for `htu` (5.3)
	XEnv                   map[string]string `json:"x_env,omitempty"`           // credential key -> variable name (11.8)
}

// ParseManifest reads a manifest, bare or inside {"provisioning": ...}, adds a
// missing final slash to base_url and checks the URLs: https, or http on loopback.
func ParseManifest(raw []byte) (Manifest, error) {
	var m Manifest
	if err := json.Unmarshal(raw, &m); err != nil {
		return Manifest{}, fmt.Errorf("reading manifest: %w", err)
	}
	var wrapped struct {
		Provisioning json.RawMessage `json:"provisioning"`
	}
	if json.Unmarshal(raw, &wrapped) == nil && len(wrapped.Provisioning) > 0 {
		if err := json.Unmarshal(wrapped.Provisioning, &m); err != nil {
			return Manifest{}, fmt.Errorf("reading manifest: provisioning: %w", err)
		}
	}
	if m.BaseURL != "" && !strings.HasSuffix(m.BaseURL, "/") {
		m.BaseURL += "/"
	}
	return m, m.check()
}

func (m Manifest) check() error {
	if m.BaseURL == "" {
		return errors.New("reading manifest: base_url is missing")
	}
	if m.OAuthTokenEndpoint == "" {
		return errors.New("reading manifest: oauth_token_endpoint is missing")
	}
	urls := map[string]string{"base_url": m.BaseURL, "oauth_token_endpoint": m.OAuthTokenEndpoint}
	for region, u := range m.RegionBaseURLs {
		urls["region_base_urls."+region] = u
	}
	for name, u := range urls {
		if err := CheckURL(u); err != nil {
			return fmt.Errorf("reading manifest: %s: %w", name, err)
		}
	}
	return nil
}

// Can tells whether the manifest declares a capability. The orchestrator never
// probes; it reads the manifest (section 19).
func (m Manifest) Can(capability string) bool { return slices.Contains(m.Capabilities, capability) }

// Takes tells whether the provider accepts payment credentials of this type.
func (m Manifest) Takes(paymentType string) bool {
	if len(m.PaymentCredentialTypes) == 0 {
		return paymentType == PaymentStripe
	}
	return slices.Contains(m.PaymentCredentialTypes, paymentType)
}

// AccountSchema is the account configuration schema as an object, whichever way it was written.
func (m Manifest) AccountSchema() json.RawMessage {
	var text string
	if json.Unmarshal(m.AccountConfigurationSchema, &text) == nil && json.Valid([]byte(text)) {
		return json.RawMessage(text)
	}
	return m.AccountConfigurationSchema
}

// CheckURL refuses every URL but https, and http to a loopback host (4.3).
func CheckURL(raw string) error {
	u, err := url.Parse(raw)
	if err != nil {
		return errors.New("not a URL")
	}
	if u.Host == "" || u.User != nil {
		return errors.New("not an absolute URL without user information")
	}
	if u.Scheme == "https" || (u.Scheme == "http" && isLoopback(u.Hostname())) {
		return nil
	}
	return fmt.Errorf("scheme %q is refused: https, or http on a loopback host", u.Scheme)
}

func isLoopback(host string) bool {
	if host == "localhost" || strings.HasSuffix(host, ".localhost") {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}
