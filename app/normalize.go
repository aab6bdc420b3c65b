package app

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
)

// Normalize turns catalog entries of either dialect into Services (11.4). It never
// fails: an entry it cannot read is dropped, an odd member is ignored, and each is
// told in a warning. providerName names the provider where the entry does not.
func Normalize(providerName string, entries []json.RawMessage) ([]Service, []string) {
	n := normaliser{provider: providerName}
	services := make([]Service, 0, len(entries))
	seen := map[string]bool{}
	for i, raw := range entries {
		n.at = fmt.Sprintf("entry %d", i)
		s, ok := n.service(raw)
		switch {
		case !ok:
		case seen[s.ServiceID]:
			n.warn("service id is in the catalog twice; the first stays")
		default:
			seen[s.ServiceID] = true
			services = append(services, s)
		}
	}
	return services, n.warnings
}

// Normalized is this entry in the normalised dialect.
func (c CatalogService) Normalized(providerName string) (Service, []string) {
	raw, err := encode(c)
	if err != nil {
		return Service{}, []string{"entry cannot be written: " + err.Error()}
	}
	services, warnings := Normalize(providerName, []json.RawMessage{raw})
	if len(services) == 0 {
		return Service{}, warnings
	}
	return services[0], warnings
}

type normaliser struct {
	provider string
	at       string
	warnings []string
}

func (n *normaliser) warn(format string, args ...any) {
	n.warnings = append(n.warnings, n.at+": "+fmt.Sprintf(format, args...))
}

func (n *normaliser) service(raw json.RawMessage) (Service, bool) {
	m, err := Object(raw)
	if err != nil {
		n.warn("not an object; dropped")
		return Service{}, false
	}
	s := Service{
		Object: "v2.provisioning.provider_service_detail", ServiceID: n.str(m, "service_id"),
		Provider: n.str(m, "provider"), ProviderName: n.str(m, "provider_name"),
		Description: n.str(m, "description"), Categories: n.strs(m, "categories"),
		Kind: n.str(m, "kind"), Scope: n.str(m, "scope"), Group: n.str(m, "group"),
		Availability: n.str(m, "availability"), Development: n.bool(m, "development"),
		Livemode: n.bool(m, "livemode"), Created: n.str(m, "created"), LLMContext: n.str(m, "llm_context"),
		ProviderConfiguration: compact(m["provider_configuration_schema"]),
	}
	if s.ServiceID == "" { // the provider dialect calls it id
		s.ServiceID = n.str(m, "id")
	} else {
		s.ID = n.str(m, "id")
	}
	if s.ServiceID == "" {
		n.warn("no service id; dropped")
		return Service{}, false
	}
	n.at = fmt.Sprintf("service %q", s.ServiceID)
	if s.Provider == "" {
		s.Provider = n.str(m, "provider_id")
	}
	s.ProviderName = either(s.ProviderName, n.provider)
	s.Scope = either(s.Scope, ScopeProject)
	s.Availability = either(s.Availability, Available)
	s.Configuration = n.schema(m["configuration_schema"])
	s.AllowedUpdates = n.updates(m["allowed_updates"])
	s.UpdateableTo = n.strs(m, "updateable_to")
	s.Constraints = n.constraints(m["constraints"])
	s.Pricing = n.pricing(m["pricing"])
	if raw := m["x_env"]; raw != nil {
		if json.Unmarshal(raw, &s.XEnv) != nil {
			n.warn("x_env is not a map of strings; ignored")
			s.XEnv = nil
		}
	}
	if !s.Understood() {
		n.warn("kind %q, availability %q or pricing %q is unknown or unavailable; needs confirmation", s.Kind, s.Availability, s.Pricing.Type)
	}
	return s, true
}

// compact drops insignificant space, so that equal schemas have equal bytes.
func compact(raw json.RawMessage) json.RawMessage {
	var b bytes.Buffer
	if raw == nil || json.Compact(&b, raw) != nil {
		return nil
	}
	return b.Bytes()
}

func either(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

func (n *normaliser) str(m map[string]json.RawMessage, key string) string {
	raw, ok := m[key]
	if !ok {
		return ""
	}
	var s string
	if json.Unmarshal(raw, &s) != nil {
		n.warn("%s is not a string; ignored", key)
	}
	return s
}

func (n *normaliser) bool(m map[string]json.RawMessage, key string) bool {
	raw, ok := m[key]
	if !ok {
		return false
	}
	var b bool
	if json.Unmarshal(raw, &b) != nil {
		n.warn("%s is not a boolean; ignored", key)
	}
	return b
}

func (n *normaliser) strs(m map[string]json.RawMessage, key string) []string {
	list := []string{}
	for _, raw := range n.list(m[key], key) {
		var s string
		if json.Unmarshal(raw, &s) != nil || s == "" {
			n.warn("%s has an entry that is not a string; dropped", key)
			continue
		}
		list = append(list, s)
	}
	return list
}

func (n *normaliser) list(raw json.RawMessage, what string) []json.RawMessage {
	if raw == nil || string(raw) == "null" {
		return nil
	}
	var list []json.RawMessage
	if json.Unmarshal(raw, &list) != nil {
		n.warn("%s is not a list; ignored", what)
	}
	return list
}

// updates: rule 1 and 2.
func (n *normaliser) updates(raw json.RawMessage) []Update {
	updates := []Update{}
	for _, entry := range n.list(raw, "allowed_updates") {
		var u Update
		if json.Unmarshal(entry, &u.Service) != nil {
			m, err := Object(entry)
			if err != nil {
				n.warn("allowed_updates has an entry that is neither string nor object; dropped")
				continue
			}
			u.Service, u.Direction = n.str(m, "service"), n.str(m, "direction")
		}
		if u.Service == "" {
			n.warn("allowed_updates has an entry without a service; dropped")
			continue
		}
		u.Direction = either(u.Direction, "any")
		updates = append(updates, u)
	}
	return updates
}

// constraints: rule 3, a map or an array.
func (n *normaliser) constraints(raw json.RawMessage) []Constraint {
	found := []Constraint{}
	if raw == nil || string(raw) == "null" {
		return found
	}
	if m, err := Object(raw); err == nil {
		kinds := make([]string, 0, len(m))
		for kind := range m {
			kinds = append(kinds, kind)
		}
		slices.Sort(kinds)
		for _, kind := range kinds {
			if c, ok := n.constraint(kind, m[kind], m[kind]); ok {
				found = append(found, c)
			}
		}
		return found
	}
	for _, entry := range n.list(raw, "constraints") {
		m, err := Object(entry)
		if err != nil {
			n.warn("constraints has an entry that is not an object; dropped")
			continue
		}
		kind := n.str(m, "type")
		if c, ok := n.constraint(kind, m[kind], entry); ok {
			found = append(found, c)
		}
	}
	return found
}

func (n *normaliser) constraint(kind string, body, whole json.RawMessage) (Constraint, bool) {
	switch kind {
	case ConstraintCount:
		var count CountConstraint
		if json.Unmarshal(orNull(body), &count) != nil || body == nil {
			n.warn("count constraint is not readable; dropped")
			return Constraint{}, false
		}
		return Constraint{Type: ConstraintCount, Count: &count}, true
	case "mutual_exclusion":
		m, _ := Object(body)
		return n.exclusion(m["allowed_updates"])
	case ConstraintExclusion:
		return n.exclusion(body)
	}
	n.warn("constraint %q is unknown; kept", kind)
	return Constraint{Type: kind, Other: slices.Clone(whole)}, true
}

func (n *normaliser) exclusion(raw json.RawMessage) (Constraint, bool) {
	var on bool
	if json.Unmarshal(orNull(raw), &on) != nil {
		n.warn("mutual exclusion is not readable; dropped")
	}
	return Constraint{Type: ConstraintExclusion, MutualExclusion: on}, on
}

// pricing: rules 4 and 5.
func (n *normaliser) pricing(raw json.RawMessage) ServicePricing {
	p := ServicePricing{PaidPricing: []Tier{}}
	m, err := Object(orNull(raw))
	if err != nil {
		n.warn("pricing is missing or not an object")
		return p
	}
	p.Type = n.str(m, "type")
	if list := m["paid_pricing"]; list != nil && string(list) != "[]" {
		p.PaidPricing = n.tiers(list)
	} else {
		p.PaidPricing = n.tiers(m["paid"])
	}
	p.Paid = defaultTier(p.PaidPricing)
	component, err := Object(orNull(m["component"]))
	if err != nil {
		return p
	}
	p.Component = &ServiceComponent{Options: []ServiceOption{}}
	for _, entry := range n.list(component["options"], "component options") {
		option, err := Object(entry)
		if err != nil {
			n.warn("component option is not an object; dropped")
			continue
		}
		p.Component.Options = append(p.Component.Options, n.option(option))
	}
	return p
}

func (n *normaliser) option(m map[string]json.RawMessage) ServiceOption {
	parents := n.strs(m, "parent_services")
	if len(parents) == 0 {
		parents = n.strs(m, "parent_service_ids")
	}
	o := ServiceOption{ParentServices: parents, Type: n.str(m, "type"), IsDefault: n.bool(m, "is_default")}
	if list := m["paid_pricing"]; list != nil && string(list) != "[]" {
		o.PaidPricing = n.tiers(list)
	} else if m["paid"] != nil {
		o.PaidPricing = n.tiers(m["paid"])
	}
	o.Paid = defaultTier(o.PaidPricing)
	return o
}

// tiers reads one entry or a list. A single entry is the default.
func (n *normaliser) tiers(raw json.RawMessage) []Tier {
	tiers := []Tier{}
	if raw == nil || string(raw) == "null" {
		return tiers
	}
	entries := []json.RawMessage{raw}
	if trimmed := bytes.TrimSpace(raw); len(trimmed) > 0 && trimmed[0] == '[' {
		entries = n.list(raw, "paid")
	}
	for _, entry := range entries {
		m, err := Object(entry)
		if err != nil {
			n.warn("price entry is not an object; dropped")
			continue
		}
		tiers = append(tiers, n.tier(m))
	}
	if len(tiers) == 1 {
		tiers[0].IsDefault = true
	}
	return tiers
}

func (n *normaliser) tier(m map[string]json.RawMessage) Tier {
	t := Tier{Type: n.str(m, "type"), Freeform: n.str(m, "freeform"), Description: n.str(m, "description"), IsDefault: n.bool(m, "is_default")}
	if raw := m["configuration"]; raw != nil {
		values, err := decodeMap(raw)
		if err != nil {
			n.warn("configuration of a price entry is not an object; ignored")
		}
		t.Configuration = values
	}
	if raw := m["x_price"]; raw != nil {
		var price Price
		if json.Unmarshal(raw, &price) != nil || price.Currency == "" || price.AmountMinor < 0 {
			n.warn("x_price is not readable; ignored")
		} else {
			t.XPrice = &price
		}
	}
	return t
}

func defaultTier(tiers []Tier) *Tier {
	for i := range tiers {
		if tiers[i].IsDefault {
			return &tiers[i]
		}
	}
	return nil
}

// schema keeps what it understands of a configuration schema.
func (n *normaliser) schema(raw json.RawMessage) Schema {
	m, err := Object(orNull(raw))
	if err != nil {
		if raw != nil {
			n.warn("configuration_schema is not an object; ignored")
		}
		return Schema{}
	}
	s := Schema{Type: n.str(m, "type"), Required: n.strs(m, "required")}
	if closed := m["additionalProperties"]; closed != nil {
		var b bool
		if json.Unmarshal(closed, &b) == nil {
			s.AdditionalProperties = &b
		} else {
			n.warn("additionalProperties is not a boolean; ignored")
		}
	}
	properties, err := Object(orNull(m["properties"]))
	if err != nil {
		return s
	}
	if len(properties) > 0 {
		s.Properties = make(map[string]Property, len(properties))
	}
	for name, raw := range properties {
		var p Property
		dec := json.NewDecoder(bytes.NewReader(raw))
		dec.UseNumber()
		if err := dec.Decode(&p); err != nil {
			n.warn("property %q is only partly understood", name)
			p = Property{}
			if m, err := Object(raw); err == nil {
				p.Type, p.Description = stringOf(m["type"]), stringOf(m["description"])
			}
		}
		s.Properties[name] = p
	}
	return s
}

// decodeMap reads an object with numbers as written.
func decodeMap(raw []byte) (map[string]any, error) {
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	var values map[string]any
	if err := dec.Decode(&values); err != nil {
		return nil, err
	}
	return values, nil
}
