package app

import (
	"encoding/json"
)

// Kinds and scopes of a service (11.2).
const (
	KindPlan       = "plan"
	KindDeployable = "deployable"
	ScopeProject   = "project"
	ScopeAccount   = "account"
)

// Pricing types (11.2).
const (
	PriceFree      = "free"
	PricePaid      = "paid"
	PriceComponent = "component"
	PriceFreeform  = "freeform"
)

// CatalogPage is the answer of GET provisioning/services in the provider dialect (11.1).
type CatalogPage struct {
	Data       []CatalogService `json:"data"`
	NextCursor string           `json:"next_cursor,omitempty"`
}

// CatalogService is an entry in the provider dialect (11.2): what a provider's
// author writes and what travels. Normalize turns it into a Service.
type CatalogService struct {
	ID                  string            `json:"id"`
	Description         string            `json:"description"`
	Categories          []string          `json:"categories"`
	Kind                string            `json:"kind"`            // KindPlan or KindDeployable
	Scope               string            `json:"scope,omitempty"` // default ScopeProject
	Group               string            `json:"group,omitempty"`
	ConfigurationSchema *Schema           `json:"configuration_schema,omitempty"`
	Pricing             Pricing           `json:"pricing"`
	AllowedUpdates      []Update          `json:"allowed_updates,omitempty"`
	Constraints         *Constraints      `json:"constraints,omitempty"`
	LLMContext          string            `json:"llm_context,omitempty"`
	XEnv                map[string]string `json:"x_env,omitempty"`
}

// Update is a transition that a service allows.
type Update struct {
	Service   string `json:"service"`
	Direction string `json:"direction"` // any, up, down
}

// ServiceRef as Update.Service is a wildcard meaning "plan change on this
// deployable" (11.4 rule 2). It is read, never emitted.
const ServiceRef = "service_ref"

// Constraints is the provider dialect's map of constraints.
type Constraints struct {
	Count           *CountConstraint `json:"count,omitempty"`
	MutualExclusion *struct {
		AllowedUpdates bool `json:"allowed_updates"`
	} `json:"mutual_exclusion,omitempty"`
}

// CountConstraint limits how many resources of a service may be active in its scope.
type CountConstraint struct {
	AtMost int `json:"at_most"`
}

// Pricing is the price of an entry in the provider dialect.
type Pricing struct {
	Type      string     `json:"type"` // PriceFree, PricePaid, PriceComponent
	Paid      Tiers      `json:"paid,omitempty"`
	Component *Component `json:"component,omitempty"`
}

// Component is a price that depends on the plan of the account.
type Component struct {
	Options []Option `json:"options"`
}

// Option is the price under certain parent plans; no parents means "none needed".
type Option struct {
	ParentServiceIDs []string `json:"parent_service_ids"`
	Type             string   `json:"type"` // PriceFree or PricePaid
	Paid             Tiers    `json:"paid,omitempty"`
	IsDefault        bool     `json:"is_default,omitempty"`
}

// Tiers are the price entries of a paid service. One travels as an object,
// several as a list (11.2).
type Tiers []Tier

// Tier is one price. Freeform is money text, shown verbatim.
type Tier struct {
	Type          string         `json:"type"` // PriceFreeform or PriceFree
	Freeform      string         `json:"freeform,omitempty"`
	Description   string         `json:"description,omitempty"`
	Configuration map[string]any `json:"configuration,omitempty"` // the tier applies when each key has this value
	IsDefault     bool           `json:"is_default,omitempty"`
	XPrice        *Price         `json:"x_price,omitempty"`
}

// Price is a machine-readable price (P21). AmountMinor is in minor units.
type Price struct {
	Currency    string `json:"currency"`
	AmountMinor Minor  `json:"amount_minor"`
	Interval    string `json:"interval"` // once, day, week, month, year
}

// MarshalJSON writes a single tier as an object.
func (t Tiers) MarshalJSON() ([]byte, error) {
	if len(t) == 1 {
		return encode(t[0])
	}
	return encode([]Tier(t))
}

// UnmarshalJSON reads an object or a list.
func (t *Tiers) UnmarshalJSON(raw []byte) error {
	var one Tier
	if err := json.Unmarshal(raw, &one); err == nil {
		*t = Tiers{one}
		return nil
	}
	return json.Unmarshal(raw, (*[]Tier)(t))
}

// Schema is the subset of JSON Schema used for configuration (11.2).
type Schema struct {
	Type                 string              `json:"type,omitempty"` // "object"
	Properties           map[string]Property `json:"properties,omitempty"`
	Required             []string            `json:"required,omitempty"`
	AdditionalProperties *bool               `json:"additionalProperties,omitempty"`
}

// Property is one configuration key. Numbers are kept as written, never as floats.
type Property struct {
	Type        string      `json:"type"` // string, integer, number, boolean
	Title       string      `json:"title,omitempty"`
	Description string      `json:"description,omitempty"`
	Enum        []any       `json:"enum,omitempty"`
	Default     any         `json:"default,omitempty"`
	MinLength   *int        `json:"minLength,omitempty"` // characters
	MaxLength   *int        `json:"maxLength,omitempty"`
	Minimum     json.Number `json:"minimum,omitempty"`
	Maximum     json.Number `json:"maximum,omitempty"`
	MultipleOf  json.Number `json:"multipleOf,omitempty"`
	Pattern     string      `json:"pattern,omitempty"`
}
