package catalog

import (
	"maps"
	"math/big"
	"slices"
	"strings"

	"github.com/purser-dev/purser"
	"github.com/purser-dev/purser/app"
)

// Basis says what is known of an offer's price.
type Basis string

const (
	Free     Basis = "free"     // the catalog says free; nothing is charged
	Priced   Basis = "priced"   // Amount is charged each Interval, or once
	Unpriced Basis = "unpriced" // no number; it needs a quote, or a person's ceiling
)

// Price is what one tier costs. Where it is Unpriced, Components may still show
// what the text states; a sum to hold is never made of them.
type Price struct {
	Basis      Basis
	Amount     purser.Money // when Priced
	Interval   string       // when Priced: once, day, week, month, year
	Machine    bool         // from x_price (APP P21), not read out of the text
	Components []Component
	Text       string // the provider's words, capped; untrusted
	TextDigest string // of the whole text; empty when there is none
}

// String is a line for reading: "5.00 USD per month", "12.00 USD once", "free", "unpriced".
func (p Price) String() string {
	switch {
	case p.Basis != Priced:
		return string(p.Basis)
	case p.Interval == "once":
		return p.Amount.String() + " once"
	}
	return p.Amount.String() + " per " + p.Interval
}

// Monthly is what the price comes to each month: nothing for what is free or paid
// once. It is false when that is not known.
func (p Price) Monthly() (purser.Money, bool) {
	switch p.Basis {
	case Free:
		return purser.Money{}, true
	case Priced:
		return Monthly(p.Amount, p.Interval)
	}
	return purser.Money{}, false
}

// Monthly brings a recurring amount to a month of 365/12 days, rounded up. What is
// paid once comes to nothing. It is false for an unknown interval or an overflow.
func Monthly(m purser.Money, interval string) (purser.Money, bool) {
	times := map[string][2]int64{"once": {0, 1}, "day": {365, 12}, "week": {365, 84}, "month": {1, 1}, "year": {1, 12}}
	t, ok := times[interval]
	if !ok {
		return purser.Money{}, false
	}
	n := new(big.Int).Mul(big.NewInt(m.Amount), big.NewInt(t[0]))
	n.Add(n, big.NewInt(t[1]-1)).Div(n, big.NewInt(t[1]))
	return purser.Money{Amount: n.Int64(), Currency: m.Currency}, n.IsInt64()
}

// Offer is one service in one exact configuration, with its price.
type Offer struct {
	Ref           Ref
	Configuration map[string]any // with the schema's defaults
	Price
	Outputs []string // variables it is known to hand over (CONTROLS C21)

	// PlanRequired names the services of this provider of which one must be active
	// first (APP 11.7); the price is then for display only.
	PlanRequired []Ref
	Available    bool
	// Confirm: anything but free needs an explicit yes (APP P21), and so does what
	// the catalog says in words that we do not know (APP 11.4 rule 6).
	Confirm bool
}

// MakeOffer prices a service for a configuration. activePlans are the service ids
// of this provider's plans that are active in the scope, or come earlier in the
// same plan. A configuration that the schema refuses is invalid_request and names
// every fault (APP 11.6).
func MakeOffer(e Entry, configuration map[string]any, activePlans []string) (Offer, error) {
	filled, faults := app.Configure(e.Service, configuration)
	if len(faults) > 0 {
		slices.Sort(faults)
		return Offer{}, purser.Errorf(purser.InvalidRequest, "%s: %s", e.Ref, Plain(strings.Join(faults, "; "), maxOfferText)).
			WithHint("see what can be set: purser catalog %s", e.Ref.Provider)
	}
	choice := app.ChoosePrice(e.Service, filled, activePlans)
	price := choicePrice(choice)
	offer := Offer{
		Ref: e.Ref, Configuration: filled, Price: price, Outputs: slices.Clone(e.Outputs),
		Available: e.Service.Availability != app.Unavailable && e.Service.Availability != app.NotInCountry,
		Confirm:   price.Basis != Free || !e.Service.Understood(),
	}
	for _, id := range choice.PlanRequired {
		offer.PlanRequired = append(offer.PlanRequired, Ref{e.Ref.Provider, id})
	}
	return offer, nil
}

// Obstacles are the reasons not to call the provider at all, every one of them:
// not_available, plan_required.
func (o Offer) Obstacles() []*purser.Error {
	var all []*purser.Error
	if !o.Available {
		all = append(all, purser.Errorf(purser.NotAvailable, "%s is listed but cannot be bought now", o.Ref).
			WithHint("look for another: purser search"))
	}
	if len(o.PlanRequired) > 0 {
		names := make([]string, len(o.PlanRequired))
		for i, r := range o.PlanRequired {
			names[i] = r.String()
		}
		all = append(all, purser.Errorf(purser.PlanRequired, "%s needs one of these first: %s", o.Ref, Plain(strings.Join(names, ", "), maxOfferText)).
			WithHint("plan both: purser plan %s %s", names[0], o.Ref))
	}
	return all
}

func choicePrice(choice app.Choice) Price {
	switch {
	case choice.Free && choice.Tier == nil:
		return Price{Basis: Free}
	case choice.Tier == nil:
		return Price{Basis: Unpriced}
	}
	return tierPrice(*choice.Tier)
}

// tierPrice takes the machine price first, then a text that states exactly one
// fixed amount and nothing beside it. A tier that says two different things has no
// price: which of them would be charged is the provider's secret.
func tierPrice(t app.Tier) Price {
	p := Price{Basis: Unpriced, Text: Plain(t.Freeform, maxOfferText)}
	if t.Freeform != "" {
		p.TextDigest = Digest(t.Freeform)
	}
	components, _ := Prices(t.Freeform)
	p.Components = components
	var told *Price // what the text alone comes to
	if len(components) == 1 && components[0].fixed() && !conditional(t.Description) {
		c := components[0]
		told = &Price{Amount: purser.Money{Amount: *c.Minor, Currency: c.Currency}, Interval: c.Period}
	}
	switch {
	case t.Type == app.PriceFree:
		if t.XPrice == nil && len(components) == 0 {
			p.Basis = Free
		}
	case t.XPrice != nil:
		amount, ok := machinePrice(*t.XPrice)
		contradicted := told != nil && (told.Amount != amount || told.Interval != t.XPrice.Interval)
		if ok && !contradicted {
			p.Basis, p.Amount, p.Interval, p.Machine = Priced, amount, t.XPrice.Interval, true
		}
	case told != nil:
		p.Basis, p.Amount, p.Interval = Priced, told.Amount, told.Interval
	}
	return p
}

func machinePrice(x app.Price) (purser.Money, bool) {
	_, known := Monthly(purser.Money{}, x.Interval)
	return purser.Money{Amount: int64(x.AmountMinor), Currency: x.Currency},
		known && x.AmountMinor >= 0 && purser.ValidCurrency(x.Currency)
}

// conditional reports that a tier's description may bend the price that its text
// states, by an amount of its own or a condition.
func conditional(description string) bool {
	if strings.ContainsAny(description, "$€£¥%") {
		return true
	}
	for _, w := range words(description) {
		switch w {
		case "from", "starting", "billed", "billing", "annual", "annually", "commit", "commitment", "usage", "overage", "overages", "additional", "extra",
			"trial", "intro", "introductory", "promotional", "promo", "first", "then", "until", "minimum", "plus", "per", "usd", "eur", "gbp", "fee", "fees", "tax", "vat":
			return true
		}
	}
	return false
}

// variables lists the names that a service says it will hand over: its own x_env,
// then its provider's (APP 11.8). A name that would change how programs run is not
// one that a provider may choose.
func variables(service, provider map[string]string) []string {
	all := maps.Clone(provider)
	if all == nil {
		all = map[string]string{}
	}
	maps.Copy(all, service)
	var names []string
	for _, name := range all {
		if SafeVariable(name) && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names[:min(len(names), maxVariables)]
}

const maxVariables = 64

// SafeVariable reports whether a provider may name an environment variable so:
// capitals, digits and underscores, and none that loaders, shells and interpreters
// obey.
func SafeVariable(name string) bool {
	if name == "" || len(name) > maxName || isDigit(name[0]) || strings.Trim(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_") != "" {
		return false
	}
	for _, prefix := range []string{"LD_", "DYLD_", "BASH_", "GIT_", "PURSER_", "PYTHON", "PERL", "RUBY", "NPM_CONFIG_"} {
		if strings.HasPrefix(name, prefix) {
			return false
		}
	}
	switch name {
	case "PATH", "HOME", "USER", "SHELL", "ENV", "IFS", "PS4", "TMPDIR", "PAGER", "EDITOR", "VISUAL", "BROWSER", "NODE_OPTIONS", "NODE_PATH",
		"JAVA_TOOL_OPTIONS", "GOFLAGS", "GOROOT", "GOPATH", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR",
		"NODE_EXTRA_CA_CERTS", "NODE_TLS_REJECT_UNAUTHORIZED":
		return false
	}
	return true
}
