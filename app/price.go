package app

import (
	"encoding/json"
	"slices"
)

// Choice is the price that applies to a configuration (11.5).
type Choice struct {
	// Free is true only for a free service, option or entry. Everything else,
	// unknown prices included, needs an explicit confirmation (P21).
	Free bool

	Tier *Tier // nil: free, or the price is unknown

	// PlanRequired names the parents, the default option's first, when no option of
	// a component applies (11.7). Tier is then the default option's, for display only.
	PlanRequired []string
}

// ChoosePrice takes the tier for a configuration with defaults filled in.
// activePlans are the service ids of plans active in the same scope.
func ChoosePrice(s Service, configuration map[string]any, activePlans []string) Choice {
	switch s.Pricing.Type {
	case PriceFree:
		return Choice{Free: true}
	case PricePaid:
		return chosen(s.Pricing.PaidPricing, configuration)
	case PriceComponent:
		return chooseOption(s.Pricing.Component, configuration, activePlans)
	}
	return Choice{}
}

func chooseOption(c *ServiceComponent, configuration map[string]any, activePlans []string) Choice {
	if c == nil {
		return Choice{}
	}
	var fallback *ServiceOption
	var first, rest []string
	for i, o := range c.Options {
		if len(o.ParentServices) == 0 || slices.ContainsFunc(o.ParentServices, func(p string) bool { return slices.Contains(activePlans, p) }) {
			return optionPrice(o, configuration)
		}
		if o.IsDefault && fallback == nil {
			fallback, first = &c.Options[i], o.ParentServices
		} else {
			rest = append(rest, o.ParentServices...)
		}
	}
	choice := Choice{}
	if fallback != nil {
		choice.Tier = optionPrice(*fallback, configuration).Tier
	}
	for _, p := range slices.Concat(first, rest) {
		if !slices.Contains(choice.PlanRequired, p) {
			choice.PlanRequired = append(choice.PlanRequired, p)
		}
	}
	return choice
}

func optionPrice(o ServiceOption, configuration map[string]any) Choice {
	if o.Type == PriceFree {
		return Choice{Free: true}
	}
	return chosen(o.PaidPricing, configuration)
}

// chosen takes the applying entry with most keys, the first on a tie, else the default.
func chosen(tiers []Tier, configuration map[string]any) Choice {
	var best *Tier
	for i := range tiers {
		if !applies(tiers[i], configuration) {
			continue
		}
		if best == nil || len(tiers[i].Configuration) > len(best.Configuration) {
			best = &tiers[i]
		}
	}
	if best == nil {
		best = defaultTier(tiers)
	}
	if best == nil {
		return Choice{}
	}
	return Choice{Free: best.Type == PriceFree, Tier: best}
}

func applies(t Tier, configuration map[string]any) bool {
	for key, want := range t.Configuration {
		got, ok := configuration[key]
		if !ok || valueText(got) != valueText(want) {
			return false
		}
	}
	return true
}

// valueText is a configuration value as text, so that "2" equals 2 (11.5).
func valueText(v any) string {
	raw, err := encode(v)
	if err != nil {
		return ""
	}
	return text(json.RawMessage(raw))
}
