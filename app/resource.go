package app

import (
	"bytes"
	"encoding/json"
	"time"
)

// Values of Resource.Status (12.1). Unknown ones are kept as they came.
const (
	StatusComplete         = "complete"
	StatusPending          = "pending"
	StatusNeedsInformation = "needs_information"
	StatusError            = "error"
	StatusPendingRemoval   = "pending_removal"
	StatusRemoved          = "removed"
)

// Environments of a resource (12.2); absent means EnvironmentProd.
const (
	EnvironmentDev  = "dev"
	EnvironmentProd = "prod"
)

// Payment credential types (14.1, 19).
const (
	PaymentStripe  = "stripe_payment_token"
	PaymentSandbox = "sandbox"
)

// CreateRequest is the body of POST provisioning/resources (12.2) and of link (12.4).
type CreateRequest struct {
	ServiceID              string         `json:"service_id"`
	Configuration          map[string]any `json:"configuration,omitempty"`
	ProjectID              string         `json:"project_id,omitempty"`
	OrchestratorResourceID string         `json:"orchestrator_resource_id,omitempty"` // a dedup key for as long as the resource lives (12.3)
	Environment            string         `json:"environment,omitempty"`              // EnvironmentDev or EnvironmentProd
	Actor                  *Actor         `json:"actor,omitempty"`
	Payment                *Payment       `json:"payment_credentials,omitempty"`
	QuoteID                string         `json:"quote_id,omitempty"` // with capability quotes
	SubmittedInformation   map[string]any `json:"submitted_information,omitempty"`
	LabelPrefix            string         `json:"label_prefix,omitempty"`
}

// UpdateRequest is the body of POST provisioning/resources/{id}/update_service (12.6).
type UpdateRequest struct {
	ServiceID     string         `json:"service_id"`
	Configuration map[string]any `json:"configuration,omitempty"`
	Payment       *Payment       `json:"payment_credentials,omitempty"`
	QuoteID       string         `json:"quote_id,omitempty"`
	Actor         *Actor         `json:"actor,omitempty"`
}

// Payment is a payment credential (14.1): on the wire `type` names the rail and a
// member of the same name holds the opaque token. It is never logged.
type Payment struct {
	Type  string
	Token string
}

// MarshalJSON writes {"type": T, T: token}.
func (p Payment) MarshalJSON() ([]byte, error) {
	return json.Marshal(map[string]string{"type": p.Type, p.Type: p.Token})
}

// UnmarshalJSON reads {"type": T, T: token}; a missing or odd token is an empty one.
func (p *Payment) UnmarshalJSON(raw []byte) error {
	members, err := Object(raw)
	if err != nil {
		return err
	}
	*p = Payment{}
	if json.Unmarshal(members["type"], &p.Type) != nil || p.Type == "" || p.Type == "type" {
		*p = Payment{}
		return nil
	}
	_ = json.Unmarshal(members[p.Type], &p.Token)
	return nil
}

// String hides the token.
func (p Payment) String() string { return p.Type + " [secret]" }

// GoString hides the token.
func (p Payment) GoString() string { return p.String() }

// Resource is the resource envelope (12.1).
type Resource struct {
	Status           string            `json:"status"`
	ID               string            `json:"id"`
	ServiceID        string            `json:"service_id,omitempty"` // clients must not require it
	Complete         *Complete         `json:"complete,omitempty"`
	Error            *Problem          `json:"error,omitempty"`
	NeedsInformation *NeedsInformation `json:"needs_information,omitempty"`
	UserMessage      string            `json:"user_message,omitempty"` // plain text, at most 2000 characters; untrusted

	// OrchestratorResourceID is in answers of find and list only (19).
	OrchestratorResourceID string `json:"orchestrator_resource_id,omitempty"`

	// RetryAfter is the answer's Retry-After header; zero when absent.
	RetryAfter time.Duration `json:"-"`
}

// Complete is what opens a complete resource. AccessConfiguration holds secrets
// and is nil for a plan, and in answers of find and list.
type Complete struct {
	AccessConfiguration map[string]string `json:"access_configuration"`
	ExpiresAt           Time              `json:"expires_at,omitzero"`           // end of life of these credentials
	PreviousValidUntil  Time              `json:"previous_valid_until,omitzero"` // end of the overlap of the old ones; zero: dead already
}

// UnmarshalJSON coerces values to strings (12.1): numbers as plain decimals,
// booleans as true or false, nested values as compact JSON; null is dropped. Odd
// timestamps are dropped too, so that a usable credential is never lost to one.
func (c *Complete) UnmarshalJSON(raw []byte) error {
	members, err := Object(raw)
	if err != nil {
		return err
	}
	*c = Complete{}
	if values, err := Object(members["access_configuration"]); err == nil {
		c.AccessConfiguration = make(map[string]string, len(values))
		for key, value := range values {
			c.AccessConfiguration[key] = text(value)
		}
	}
	_ = json.Unmarshal(orNull(members["expires_at"]), &c.ExpiresAt)
	_ = json.Unmarshal(orNull(members["previous_valid_until"]), &c.PreviousValidUntil)
	return nil
}

func orNull(raw json.RawMessage) json.RawMessage {
	if raw == nil {
		return json.RawMessage("null")
	}
	return raw
}

// text is a JSON value as a credential string.
func text(raw json.RawMessage) string {
	var s string
	if json.Unmarshal(raw, &s) == nil {
		return s
	}
	if plain, ok := plainNumber(string(raw)); ok {
		return plain
	}
	var compact bytes.Buffer
	if json.Compact(&compact, raw) != nil {
		return ""
	}
	return compact.String()
}

// RotateRequest is the body of POST provisioning/resources/{id}/rotate_credentials (12.7).
type RotateRequest struct {
	Actor       *Actor `json:"actor,omitempty"`
	LabelPrefix string `json:"label_prefix,omitempty"`
}

// ResourcePage is one page of GET provisioning/resources (19, capability
// resources:find). It never carries secrets.
type ResourcePage struct {
	Data       []Resource `json:"data"`
	NextCursor string     `json:"next_cursor,omitempty"`
}

// QuoteRequest is the body of POST provisioning/quotes (19, capability quotes).
type QuoteRequest struct {
	ServiceID     string         `json:"service_id"`
	Configuration map[string]any `json:"configuration,omitempty"`
}

// Quote is a price for one exact thing (19). AmountMinor is all that is charged
// now, tax included; TaxMinor is the part of it that is tax.
type Quote struct {
	ID              string   `json:"quote_id"`
	Item            string   `json:"item"` // the exact thing; for a domain its A-label name
	AmountMinor     Minor    `json:"amount_minor"`
	Currency        string   `json:"currency"`
	Interval        string   `json:"interval"`          // once, day, week, month, year
	Renewal         *Renewal `json:"renewal,omitempty"` // nil: nothing renews
	TaxMinor        Minor    `json:"tax_minor"`
	RefundableUntil Time     `json:"refundable_until,omitzero"` // zero: final
	ExpiresAt       Time     `json:"expires_at"`
}

// Renewal is what each later period costs.
type Renewal struct {
	AmountMinor Minor  `json:"amount_minor"`
	Currency    string `json:"currency"`
	Interval    string `json:"interval"`
}

// SameTerms tells whether two quotes sell the same thing for the same money,
// whatever their ids, expiry and refund dates.
func (q Quote) SameTerms(other Quote) bool {
	if (q.Renewal == nil) != (other.Renewal == nil) || (q.Renewal != nil && *q.Renewal != *other.Renewal) {
		return false
	}
	return q.Item == other.Item && q.AmountMinor == other.AmountMinor && q.Currency == other.Currency &&
		q.Interval == other.Interval && q.TaxMinor == other.TaxMinor
}

// DeepLinkRequest is the body of POST provisioning/deep_links (section 13).
type DeepLinkRequest struct {
	Purpose string `json:"purpose,omitempty"` // default "dashboard"
	Path    string `json:"path,omitempty"`
	Actor   *Actor `json:"actor,omitempty"`
}

// DeepLink is a single-use login URL. It is a secret until opened.
type DeepLink struct {
	Purpose   string `json:"purpose"`
	URL       string `json:"url"`
	ExpiresAt Time   `json:"expires_at,omitzero"`
}

// ChargeRequest is what a provider sends to the orchestrator's charge endpoint
// to redeem a sandbox token (19, and the money rules of Purser).
type ChargeRequest struct {
	Token          string     `json:"token"` // "sbx_..."
	AmountMinor    Minor      `json:"amount_minor"`
	Currency       string     `json:"currency"`
	IdempotencyKey string     `json:"idempotency_key"`
	ResourceID     string     `json:"resource_id,omitempty"`
	LineItems      []LineItem `json:"line_items,omitempty"`
}

// LineItem is one line of a charge.
type LineItem struct {
	Description string `json:"description"`
	AmountMinor Minor  `json:"amount_minor"`
}
