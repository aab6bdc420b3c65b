package catalog

import (
	"strconv"
	"strings"

	"github.com/purser-dev/purser"
)

// Kind says when a component is charged.
type Kind string

const (
	OneTime   Kind = "one_time"  // once, when bought
	Recurring Kind = "recurring" // each Period, known beforehand
	Usage     Kind = "usage"     // by what is used; no sum is known beforehand
)

// Component is one price that a catalog text states without doubt.
type Component struct {
	Kind     Kind   `json:"kind"`
	Amount   string `json:"amount"`                 // decimal text in major units: "0.0075"
	Minor    *int64 `json:"amount_minor,omitempty"` // the same in minor units; nil when it is finer than that
	Currency string `json:"currency"`               // ISO 4217
	Per      int64  `json:"per"`                    // the amount buys this many units: 1, 1000, 1000000
	Unit     string `json:"unit,omitempty"`         // "GB", "request", "seat"; empty: the service as a whole
	Item     string `json:"item,omitempty"`         // what is metered, where told: "storage"
	Period   string `json:"period,omitempty"`       // once, hour, day, week, month, year; empty: not told
	Minimum  bool   `json:"minimum,omitempty"`      // at least this much is charged
	Included int64  `json:"included,omitempty"`     // units that cost nothing
}

// fixed reports whether the component alone says what will be charged.
func (c Component) fixed() bool {
	return c.Kind != Usage && c.Unit == "" && c.Per == 1 && !c.Minimum && c.Minor != nil
}

// Prices reads the price components of a catalog text. It answers false
// ("unpriced") unless every word of the text is understood and can be read in one
// way only: a price that is missed costs a question, a wrong one costs money
// (CONTROLS C7, RULES 27).
func Prices(text string) ([]Component, bool) {
	tokens, ok := lex(text)
	if !ok {
		return nil, false
	}
	found, ok := (&parser{tokens: tokens}).list()
	if !ok {
		return nil, false
	}
	out := make([]Component, len(found))
	for i := range found {
		if !found[i].component.settle() {
			return nil, false
		}
		out[i] = found[i].component
	}
	if contradict(found) || twice(out) {
		return nil, false
	}
	return out, true
}

// priced is a component with the mark that joined it to the one before.
type priced struct {
	component Component
	join      string // "", "," ";" or "+"
}

// contradict reports two currencies, or two fixed prices that are not added with a
// plus: a comma between them may mean "or".
func contradict(found []priced) bool {
	fixed := 0
	for _, f := range found {
		if f.component.Currency != found[0].component.Currency {
			return true
		}
		if f.component.Kind == Usage {
			continue
		}
		if fixed++; fixed > 1 && f.join != "+" {
			return true
		}
	}
	return false
}

// twice reports two prices for one thing, which are alternatives or steps. For
// fixed prices the period does not make them different things: 9 a month and 90 a
// year are a choice.
func twice(components []Component) bool {
	seen := map[string]bool{}
	for _, c := range components {
		key := string(c.Kind) + "\n" + c.Unit
		if c.Kind == Usage {
			key += "\n" + c.Item
		}
		if seen[key] {
			return true
		}
		seen[key] = true
	}
	return false
}

// settle gives the component its kind from the unit and the period, and reports
// whether they make sense together.
func (c *Component) settle() bool {
	if c.Period == "once" {
		c.Kind = OneTime
		return c.Unit == "" && c.Item == "" && c.Included == 0
	}
	switch unitMeasure(c.Unit) {
	case byData:
		c.Kind = Usage
	case byEvent:
		c.Kind = Usage
		if c.Period != "" { // a price for so many requests, or for so many requests each month?
			return false
		}
	default: // the service as a whole, or each seat of it
		c.Kind = Recurring
		if c.Period == "" || c.Per != 1 {
			return false
		}
		if c.Period == "hour" {
			c.Kind = Usage
		}
	}
	// "storage 5 a month" or "5 a month (10 GB included)" leave open what is counted.
	metered := c.Kind == Usage
	return (c.Item == "" || metered) && (c.Included == 0 || metered && c.Unit != "") && !(c.Minimum && metered)
}

func unitMeasure(unit string) measure {
	if unit == "" {
		return 0
	}
	if dataUnits[unit] {
		return byData
	}
	return wordUnits[strings.ToLower(strings.TrimPrefix(unit, "active "))].measure
}

// setAmount fills the amount fields. The comma is trusted as a group separator only
// where the currency's writers use it so.
func (c *Component) setAmount(d decimal, currency string) bool {
	if d.grouped && d.fraction == "" && !commaGroups[currency] {
		return false
	}
	c.Amount, c.Currency, c.Per = d.String(), currency, 1
	exponent := purser.Exponent(currency)
	fraction := strings.TrimRight(d.fraction, "0")
	if len(fraction) > exponent {
		return true
	}
	minor, err := strconv.ParseInt(d.whole+fraction+strings.Repeat("0", exponent-len(fraction)), 10, 64)
	c.Minor = &minor
	return err == nil
}
