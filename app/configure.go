package app

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/big"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"
)

// Configure validates a configuration against a service (11.6) and fills in
// defaults. Allowed keys are the schema's and the selector keys of the price
// entries. It gives every fault at once, each naming its key; the map given is not
// changed.
func Configure(s Service, configuration map[string]any) (map[string]any, []string) {
	filled := maps.Clone(configuration)
	if filled == nil {
		filled = map[string]any{}
	}
	selectors := selectorValues(s)
	var faults []string
	for _, key := range slices.Sorted(maps.Keys(configuration)) {
		faults = append(faults, checkKey(s.Configuration, selectors, key, configuration[key])...)
	}
	for name, p := range s.Configuration.Properties {
		if _, given := filled[name]; !given && p.Default != nil {
			filled[name] = p.Default
		}
	}
	for _, name := range s.Configuration.Required {
		if _, given := filled[name]; !given {
			faults = append(faults, fmt.Sprintf("%s is required", name))
		}
	}
	return filled, faults
}

func checkKey(schema Schema, selectors map[string][]string, key string, value any) []string {
	if p, ok := schema.Properties[key]; ok {
		return checkValue(p, key, value)
	}
	if values, ok := selectors[key]; ok {
		if !slices.Contains(values, valueText(value)) {
			return []string{fmt.Sprintf("%s must be one of %s", key, strings.Join(values, ", "))}
		}
		return nil
	}
	if closed := schema.AdditionalProperties; closed != nil && !*closed {
		return []string{fmt.Sprintf("%s is not a known key", key)}
	}
	return nil
}

func selectorValues(s Service) map[string][]string {
	tiers := slices.Clone(s.Pricing.PaidPricing)
	if s.Pricing.Component != nil {
		for _, o := range s.Pricing.Component.Options {
			tiers = append(tiers, o.PaidPricing...)
		}
	}
	if len(tiers) == 0 {
		return nil
	}
	values := map[string][]string{}
	for _, t := range tiers {
		for key, v := range t.Configuration {
			if s := valueText(v); !slices.Contains(values[key], s) {
				values[key] = append(values[key], s)
			}
		}
	}
	return values
}

func checkValue(p Property, key string, value any) []string {
	if s, ok := value.(string); ok && p.Type == "string" && len(p.Enum) == 0 {
		return checkString(p, key, s)
	}
	raw, err := encode(value)
	if err != nil {
		return []string{fmt.Sprintf("%s is not readable", key)}
	}
	if len(p.Enum) > 0 && !slices.ContainsFunc(p.Enum, func(e any) bool { return sameValue(e, value) }) {
		options := make([]string, len(p.Enum))
		for i, e := range p.Enum {
			options[i] = valueText(e)
		}
		return []string{fmt.Sprintf("%s must be one of %s", key, strings.Join(options, ", "))}
	}
	switch p.Type {
	case "string":
		var s string
		if json.Unmarshal(raw, &s) != nil || raw[0] != '"' {
			return []string{fmt.Sprintf("%s must be a string", key)}
		}
		return checkString(p, key, s)
	case "integer", "number":
		n, ok := rational(string(raw))
		if !ok || (p.Type == "integer" && !n.IsInt()) {
			return []string{fmt.Sprintf("%s must be of type %s", key, p.Type)}
		}
		return checkNumber(p, key, n)
	case "boolean":
		if s := string(raw); s != "true" && s != "false" {
			return []string{fmt.Sprintf("%s must be true or false", key)}
		}
	}
	return nil
}

func sameValue(a, b any) bool {
	ra, errA := encode(a)
	rb, errB := encode(b)
	if errA != nil || errB != nil {
		return false
	}
	na, okA := rational(string(ra))
	nb, okB := rational(string(rb))
	if okA && okB {
		return na.Cmp(nb) == 0
	}
	return string(ra) == string(rb)
}

func checkString(p Property, key, s string) []string {
	var faults []string
	length := utf8.RuneCountInString(s)
	if p.MinLength != nil && length < *p.MinLength {
		faults = append(faults, fmt.Sprintf("%s must have at least %d characters", key, *p.MinLength))
	}
	if p.MaxLength != nil && length > *p.MaxLength {
		faults = append(faults, fmt.Sprintf("%s must have at most %d characters", key, *p.MaxLength))
	}
	if p.Pattern != "" {
		// RE2 knows most of what catalogs use. A pattern it cannot read is left to
		// the provider, which knows its own.
		if re, err := regexp.Compile(p.Pattern); err == nil && !re.MatchString(s) {
			faults = append(faults, fmt.Sprintf("%s must match %s", key, p.Pattern))
		}
	}
	return faults
}

func checkNumber(p Property, key string, n *big.Rat) []string {
	var faults []string
	if limit, ok := rational(p.Minimum.String()); ok && n.Cmp(limit) < 0 {
		faults = append(faults, fmt.Sprintf("%s must be at least %s", key, p.Minimum))
	}
	if limit, ok := rational(p.Maximum.String()); ok && n.Cmp(limit) > 0 {
		faults = append(faults, fmt.Sprintf("%s must be at most %s", key, p.Maximum))
	}
	if step, ok := rational(p.MultipleOf.String()); ok && step.Sign() > 0 && !new(big.Rat).Quo(n, step).IsInt() {
		faults = append(faults, fmt.Sprintf("%s must be a multiple of %s", key, p.MultipleOf))
	}
	return faults
}
