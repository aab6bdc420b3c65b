package ledger

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/purser-dev/purser"
)

// FOCUSVersion is the version of the FinOps Open Cost and Usage Specification
// whose columns FOCUS writes.
const FOCUSVersion = "1.2"

// Cost is one event of money as a FOCUS row needs it.
type Cost struct {
	Seq          int64 // of the audit record that proves it
	N            int64 // movement of that record
	At           time.Time
	Zone         *time.Location // of the organization: its months are the billing periods
	Kind         Kind           // Capture, Charge, Refund, Overrun or Return
	Money        purser.Money   // above zero
	Organization string
	Name         string // of the organization
	Project      string
	ProjectName  string
	Provider     string
	Category     string // of the service, in the provider's word
	What         string // "provider/service" or the exact item; may be empty
	Recurring    bool
	Usage        bool      // metered
	Held         time.Time // when the money was reserved: a refund belongs to that month
	Run          string
	Order        string
	Resource     string
	Labels       []string // name=value; of two values of a name the later one counts
}

// FOCUSColumns are the columns of a FOCUS row, in order: those that the standard
// makes mandatory, those of the others that are known here, and, with x_ before
// them, what proves the row.
func FOCUSColumns() []string {
	return []string{
		"BilledCost", "BillingAccountId", "BillingAccountName", "BillingCurrency", "BillingPeriodEnd", "BillingPeriodStart", "ChargeCategory", "ChargeClass",
		"ChargeDescription", "ChargeFrequency", "ChargePeriodEnd", "ChargePeriodStart", "ContractedCost", "EffectiveCost", "InvoiceIssuerName", "ListCost",
		"PricingQuantity", "PricingUnit", "ProviderName", "PublisherName", "ResourceId", "ServiceCategory", "ServiceName", "ServiceSubcategory",
		"SubAccountId", "SubAccountName", "Tags", "x_AuditSequence", "x_Movement", "x_Event",
	}
}

// FOCUS writes an event as a row of FOCUSColumns. A refund is a row with a negative
// cost, and a correction when the charge was of an earlier month. Nothing is known
// of discounts, so the four costs are the one amount.
func FOCUS(c Cost) ([]string, error) {
	cost, quantity, class := decimal(c.Money), "1", ""
	switch c.Kind {
	case Capture, Charge, Overrun:
	case Refund, Return:
		cost, quantity = "-"+cost, "-1"
		if !c.Held.IsZero() && month(c.Held, c.Zone).Before(month(c.At, c.Zone)) {
			class = "Correction"
		}
	default:
		return nil, fmt.Errorf("a %s costs nothing", c.Kind)
	}
	tags, err := json.Marshal(tagsOf(c))
	if err != nil {
		return nil, fmt.Errorf("writing tags: %w", err)
	}
	category, frequency := "Purchase", "One-Time"
	switch {
	case c.Usage:
		category, frequency = "Usage", "Usage-Based"
	case c.Recurring:
		frequency = "Recurring"
	}
	what := c.What
	if what == "" {
		what = c.Provider
	}
	service, sub := serviceCategory(c.Category)
	begin, from := month(c.At, c.Zone), c.At.Truncate(time.Second)
	return []string{
		cost, c.Organization, c.Name, c.Money.Currency, stamp(begin.AddDate(0, 1, 0)), stamp(begin), category, class,
		strings.ToUpper(string(c.Kind[:1])) + string(c.Kind[1:]) + " of " + c.Money.String() + " for " + what, frequency,
		stamp(from.Add(time.Second)), stamp(from), cost, cost, c.Provider, cost,
		quantity, "Units", c.Provider, c.Provider, c.Resource, service, what, sub,
		c.Project, c.ProjectName, string(tags), fmt.Sprint(c.Seq), fmt.Sprint(c.N), string(c.Kind),
	}, nil
}

func tagsOf(c Cost) map[string]string {
	tags := map[string]string{}
	for _, l := range c.Labels {
		name, value, _ := strings.Cut(l, "=")
		tags[name] = value
	}
	for name, value := range map[string]string{"purser/run": c.Run, "purser/order": c.Order, "purser/category": c.Category} {
		if value != "" {
			tags[name] = value
		}
	}
	return tags
}

// month is the beginning of a month in a time zone.
func month(t time.Time, zone *time.Location) time.Time {
	if zone == nil {
		zone = time.UTC
	}
	local := t.In(zone)
	return time.Date(local.Year(), local.Month(), 1, 0, 0, 0, 0, zone)
}

func stamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05Z") }

// decimal is an amount in major units, as FOCUS writes numbers: digits and a point.
func decimal(m purser.Money) string {
	text, _, _ := strings.Cut(m.String(), " ")
	return text
}

// serviceCategory finds FOCUS's category and subcategory for a provider's words, of
// which each counts whole, or with an s behind it.
func serviceCategory(words string) (category, sub string) {
	said := strings.FieldsFunc(strings.ToLower(words), func(r rune) bool { return !unicode.IsLetter(r) })
	for _, c := range []struct{ words, category, sub string }{
		{"domain dns registrar certificate tls cdn network", "Networking", "Other (Networking)"},
		{"database postgres postgresql mysql redis cache", "Databases", "Other (Databases)"},
		{"storage bucket object blob backup", "Storage", "Other (Storage)"},
		{"compute vm server serverless container function", "Compute", "Other (Compute)"},
		{"ai model llm inference gpu", "AI and Machine Learning", "Other (AI and Machine Learning)"},
		{"analytics metric event", "Analytics", "Other (Analytics)"},
		{"observability log logging monitoring error", "Management and Governance", "Observability"},
		{"auth authentication identity sso", "Identity", "Identity and Access Management"},
		{"email mail sms messaging queue", "Integration", "Messaging"},
		{"developer ci git", "Developer Tools", "Other (Developer Tools)"},
		{"security secret", "Security", "Other (Security)"},
		{"hosting web website site page", "Web", "Other (Web)"},
	} {
		for known := range strings.FieldsSeq(c.words) {
			if slices.ContainsFunc(said, func(word string) bool { return word == known || strings.TrimSuffix(word, "s") == known }) {
				return c.category, c.sub
			}
		}
	}
	return "Other", "Other (Other)"
}
