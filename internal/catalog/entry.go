package catalog

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"

	"github.com/purser-dev/purser"
	"github.com/purser-dev/purser/app"
)

// Provider is what the caller knows of the seller of a service.
type Provider struct {
	Quotes      bool              // its manifest declares the capability "quotes"
	Env         map[string]string // its manifest's x_env: credential key to variable name
	Conformance string            // "passed 2026-11-02", "failed 2026-11-02"; empty: untested
}

// Entry is a service as it is listed and searched. All words in it are the
// provider's: capped and printable here, to be quoted by the doors.
type Entry struct {
	Ref          Ref
	ProviderName string
	Description  string
	Categories   []string
	Kind         string
	Availability string
	Price        string        // for reading: "5.00 USD per month", "from ...", "free", "quoted", "unpriced"
	Components   []Component   // of the price for the default configuration
	Monthly      *purser.Money // the least it costs a month; nil: not known
	Outputs      []string      // variables that it says it will hand over
	Conformance  string        // "untested", or passed or failed with the date (CONTROLS C18)
	Service      app.Service   // verbatim

	places []place
}

// NewEntry prepares a normalised service for listing and searching. A service whose
// reference nobody could type or read safely is refused.
func NewEntry(s app.Service, p Provider) (Entry, error) {
	ref := RefOf(s.ProviderName, s.ServiceID)
	if typed, err := ParseRef(ref.String()); err != nil || typed != ref {
		return Entry{}, fmt.Errorf("listing %q: not a reference that can be typed", Plain(ref.String(), maxRef))
	}
	e := Entry{
		Ref:          ref,
		ProviderName: Plain(s.ProviderName, maxName),
		Description:  Plain(s.Description, maxDescription),
		Kind:         Plain(s.Kind, maxName),
		Availability: Plain(s.Availability, maxName),
		Outputs:      variables(s.XEnv, p.Env),
		Conformance:  p.Conformance,
		Service:      s,
	}
	if e.Conformance == "" {
		e.Conformance = "untested"
	}
	for _, c := range s.Categories[:min(len(s.Categories), 20)] {
		e.Categories = append(e.Categories, Plain(c, maxName))
	}
	e.summarise(p.Quotes)
	e.index()
	return e, nil
}

// summarise gives the price line. The tier of the default configuration is shown,
// or the lowest of several known prices as "from".
func (e *Entry) summarise(quotes bool) {
	defaults, _ := app.Configure(e.Service, nil)
	shown := choicePrice(app.ChoosePrice(e.Service, defaults, nil))
	e.Components = shown.Components
	line, lowest, several := shown.String(), shown, false
	for _, p := range tierPrices(e.Service) {
		several = several || p.String() != shown.String()
		if p.cheaper(lowest) {
			lowest = p
		}
	}
	switch {
	case several && lowest.Basis == Priced:
		line = "from " + lowest.String()
	case several && lowest.Basis == Free:
		line = "free and paid"
	case lowest.Basis == Unpriced && quotes:
		line = "quoted"
	}
	e.Price = line
	if m, ok := lowest.Monthly(); ok {
		e.Monthly = &m
	}
}

// tierPrices are all prices that some configuration of a paid service can have.
// Those of a component depend on the plan, so only the one to show counts.
func tierPrices(s app.Service) []Price {
	if s.Pricing.Type != app.PricePaid {
		return nil
	}
	prices := make([]Price, len(s.Pricing.PaidPricing))
	for i, t := range s.Pricing.PaidPricing {
		prices[i] = tierPrice(t)
	}
	return prices
}

// cheaper compares by month, in one currency; an unknown price is never cheaper.
func (p Price) cheaper(q Price) bool {
	a, known := p.Monthly()
	b, other := q.Monthly()
	if !known || !other {
		return known
	}
	comparable := a.Currency == b.Currency || a.IsZero() || b.IsZero()
	return comparable && a.Amount < b.Amount
}

// index folds the searched words once.
func (e *Entry) index() {
	var categories []string
	for _, c := range e.Categories {
		categories = append(categories, words(c)...)
	}
	e.places = []place{
		{words(Plain(e.Ref.Service, maxRef)), idWeight},
		{words(e.ProviderName), providerWeight},
		{categories, categoryWeight},
		{words(e.Description), descriptionWeight},
	}
}

// rank puts what can be bought before what cannot, for equal scores.
func (e Entry) rank() int {
	if e.Availability == app.Available {
		return 0
	}
	return 1
}

// Contract is the entry as the doors show it. TakesFiles is the caller's to set.
func (e Entry) Contract() purser.Service {
	out := purser.Service{
		Ref: e.Ref.String(), Provider: e.Ref.Provider, Service: e.Ref.Service,
		Description: e.Description, Categories: slices.Clone(e.Categories), Kind: e.Kind, Availability: e.Availability,
		Price: e.Price, Prices: []purser.ServicePrice{}, Configuration: e.schema(), Outputs: slices.Clone(e.Outputs), Conformance: e.Conformance,
	}
	for _, c := range e.Components {
		p := purser.ServicePrice{AmountText: c.Amount, Currency: c.Currency, Kind: string(c.Kind), Unit: c.Unit, Per: strconv.FormatInt(c.Per, 10), Period: c.Period, Minor: c.Minor}
		out.Prices = append(out.Prices, p)
	}
	return out
}

// schema is the configuration schema as plain JSON values, its texts capped.
func (e Entry) schema() map[string]any {
	raw, err := json.Marshal(e.Service.Configuration)
	if err != nil {
		return map[string]any{}
	}
	m := map[string]any{}
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	if d.Decode(&m) != nil {
		return map[string]any{}
	}
	return plainValues(m).(map[string]any)
}

const maxSchemaText = 500 // bytes

func plainValues(v any) any {
	switch v := v.(type) {
	case string:
		return Plain(v, maxSchemaText)
	case []any:
		for i := range v {
			v[i] = plainValues(v[i])
		}
	case map[string]any:
		for key := range v {
			v[key] = plainValues(v[key])
			if !speakable(key) || len(key) > maxName {
				delete(v, key)
			}
		}
	}
	return v
}
