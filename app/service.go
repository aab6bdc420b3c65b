package app

import (
	"encoding/json"
	"strings"
)

// Values of Service.Availability (11.3).
const (
	Available    = "available"
	NotInCountry = "not_in_country"
	Unavailable  = "unavailable"
)

// Service is a catalog entry in the normalised dialect (11.3), which orchestrators
// store and show. All text is a provider's own and untrusted.
type Service struct {
	ID            string   `json:"id"` // "prvsvc_..."; "" when the source had none
	Object        string   `json:"object"`
	Provider      string   `json:"provider,omitempty"`
	ProviderName  string   `json:"provider_name"`
	ServiceID     string   `json:"service_id"`
	Description   string   `json:"description"`
	Categories    []string `json:"categories"`
	Kind          string   `json:"kind"`
	Scope         string   `json:"scope"`
	Group         string   `json:"group,omitempty"`
	Availability  string   `json:"availability"`
	Development   bool     `json:"development"`
	Livemode      bool     `json:"livemode"`
	Created       string   `json:"created,omitempty"`
	LLMContext    string   `json:"llm_context,omitempty"` // URL
	Configuration Schema   `json:"configuration_schema"`

	// ProviderConfiguration is the provider's account configuration schema, verbatim.
	ProviderConfiguration json.RawMessage `json:"provider_configuration_schema,omitempty"`

	AllowedUpdates []Update          `json:"allowed_updates"`
	UpdateableTo   []string          `json:"updateable_to,omitempty"` // deprecated; includes the service itself
	Constraints    []Constraint      `json:"constraints"`
	Pricing        ServicePricing    `json:"pricing"`
	XEnv           map[string]string `json:"x_env,omitempty"`
}

// Types of a Constraint that are understood; others are kept and reported.
const (
	ConstraintCount     = "count"
	ConstraintExclusion = "mutual_exclusion_allowed_updates"
)

// Constraint limits what may be active beside a service (11.7).
type Constraint struct {
	Type            string           `json:"type"`
	Count           *CountConstraint `json:"count,omitempty"`
	MutualExclusion bool             `json:"mutual_exclusion_allowed_updates,omitempty"`
	Other           json.RawMessage  `json:"other,omitempty"` // an unknown kind, verbatim
}

// ServicePricing is a normalised price. Paid mirrors the default entry of PaidPricing.
type ServicePricing struct {
	Type        string            `json:"type"`
	Paid        *Tier             `json:"paid,omitempty"`
	PaidPricing []Tier            `json:"paid_pricing"`
	Component   *ServiceComponent `json:"component,omitempty"`
}

// ServiceComponent holds the prices by parent plan.
type ServiceComponent struct {
	Options []ServiceOption `json:"options"`
}

// ServiceOption is one of them. An empty ParentServices means no parent is needed.
type ServiceOption struct {
	ParentServices []string `json:"parent_services"`
	Type           string   `json:"type"`
	Paid           *Tier    `json:"paid,omitempty"` // the default entry of PaidPricing
	PaidPricing    []Tier   `json:"paid_pricing,omitempty"`
	IsDefault      bool     `json:"is_default,omitempty"`
}

// Reference is what people type: lower-cased provider name, slash, service id (11.4 rule 7).
func (s Service) Reference() string { return strings.ToLower(s.ProviderName) + "/" + s.ServiceID }

// Understood tells whether kind, availability and pricing type are all known ones.
// A service that is not needs an explicit confirmation (11.4 rule 6).
func (s Service) Understood() bool {
	kind := s.Kind == KindPlan || s.Kind == KindDeployable
	pricing := s.Pricing.Type == PriceFree || s.Pricing.Type == PricePaid || s.Pricing.Type == PriceComponent
	return kind && pricing && s.Availability == Available
}

// AllowsUpdate tells whether a move to another service id is allowed (11.7).
// direction is "up" for upgrade, "down" for downgrade, "" for any entry. The same
// id is always allowed.
func (s Service) AllowsUpdate(to, direction string) bool {
	if to == s.ServiceID {
		return true
	}
	for _, u := range s.AllowedUpdates {
		if (u.Service == to || u.Service == ServiceRef) && (direction == "" || u.Direction == direction || u.Direction == "any") {
			return true
		}
	}
	return false
}
