package registrar

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"unicode"

	"github.com/purser-dev/purser/internal/cloud/fault"
	"github.com/purser-dev/purser/internal/domainname"
)

// Code names why the registrar refused. The first six are the reasons of Check.
type Code string

// The codes.
const (
	Unavailable        Code = "domain_unavailable"
	Premium            Code = "domain_premium"
	NotSupported       Code = "extension_not_supported"
	NotSoldByAPI       Code = "extension_not_supported_via_api"
	Disallowed         Code = "extension_disallows_registration"
	InvalidName        Code = "invalid_name"
	InvalidYears       Code = "invalid_years"
	QuoteExpired       Code = "quote_expired"
	QuoteChanged       Code = "quote_changed"
	RegistrationActive Code = "registration_in_progress"
)

// Error is a refusal: nothing was registered and nothing charged for it.
type Error struct {
	Code   Code
	Detail string // one sentence
}

func (e *Error) Error() string { return string(e.Code) + ": " + e.Detail }

func refuse(code Code, format string, args ...any) *Error {
	return &Error{Code: code, Detail: fmt.Sprintf(format, args...)}
}

// The tiers of a name.
const (
	TierStandard = "standard"
	TierPremium  = "premium"
)

// Check is the live answer about one name (the domain-check shape).
type Check struct {
	Name        string   `json:"name"` // A-label, or the text asked when it is no name
	Registrable bool     `json:"registrable"`
	Reason      Code     `json:"reason,omitempty"`
	Tier        string   `json:"tier,omitempty"`
	Pricing     *Pricing `json:"pricing,omitempty"`
	MinYears    int      `json:"min_years,omitempty"`
	Promo       bool     `json:"promo,omitempty"` // the renewal is dearer than the first year
	Detail      string   `json:"detail,omitempty"`
}

// Pricing is the price of the first year and of one further year, in minor units.
type Pricing struct {
	Currency     string `json:"currency"`
	Registration int64  `json:"registration_cost"`
	Renewal      int64  `json:"renewal_cost"`
}

// Check says whether the very name can be registered now, by the API, and for
// how much. A premium name is registrable, with the reason domain_premium and
// prices of its own.
func (r *Registrar) Check(ctx context.Context, name string) (Check, error) {
	item, err := r.offer(name)
	if err != nil {
		return refused(name, err)
	}
	c := item.check()
	owner, _, err := r.owner(ctx, item.name.ASCII)
	if err != nil {
		return Check{}, err
	}
	if owner != "" {
		c.Registrable, c.Reason, c.Detail = false, Unavailable, "somebody has registered it"
	}
	return c, nil
}

func refused(name string, err error) (Check, error) {
	var e *Error
	if !errors.As(err, &e) {
		return Check{}, err
	}
	return Check{Name: name, Reason: e.Code, Detail: e.Detail}, nil
}

// item is a name with the prices it has today.
type item struct {
	name      domainname.Name
	extension Extension
	tier      string
	price     Price
	currency  string
}

func (i item) check() Check {
	c := Check{
		Name: i.name.ASCII, Registrable: true, Tier: i.tier, MinYears: i.extension.MinYears, Promo: i.price.Register < i.price.Renew,
		Pricing: &Pricing{Currency: i.currency, Registration: i.price.Register, Renewal: i.price.Renew},
	}
	if i.tier == TierPremium {
		c.Reason = Premium
	}
	return c
}

// amount is the price of a term: the first year at its price, further ones as
// renewals.
func (i item) amount(years int) int64 {
	return i.price.Register + int64(years-1)*i.price.Renew
}

// offer finds a name in the price list. It refuses what is not sold at all.
func (r *Registrar) offer(name string) (item, error) {
	n, err := domainname.Parse(name, r.prices.suffixes()...)
	if err != nil {
		return item{}, refuse(InvalidName, "%v.", err)
	}
	if !n.Apex() {
		return item{}, refuse(InvalidName, "%s is below %s; only that can be registered.", n.ASCII, n.Registrable)
	}
	e, ok := r.prices.extension(n.Suffix)
	switch {
	case !ok:
		return item{}, refuse(NotSupported, "This registrar does not sell .%s.", n.Suffix)
	case !e.APISold:
		return item{}, refuse(NotSoldByAPI, "Names below .%s cannot be bought by API; the registrar's dashboard sells them.", n.Suffix)
	}
	for _, label := range e.Reserved {
		if n.Label == label {
			return item{}, refuse(Disallowed, "The registry of .%s reserves %q.", n.Suffix, label)
		}
	}
	i := item{name: n, extension: e, tier: TierStandard, price: Price{Register: e.Register, Renew: e.Renew}, currency: r.prices.Currency}
	if p, ok := e.Premium[n.Label]; ok {
		i.tier, i.price = TierPremium, p
	}
	return r.distort(i), nil
}

// distort changes prices as the faults say.
func (r *Registrar) distort(i item) item {
	if r.faults.Hit(fault.PriceRaised) {
		i.price.Register += 500
		i.price.Renew += 500
	}
	if r.faults.Hit(fault.RenewalRaised) {
		i.price.Renew += 2000
	}
	if r.faults.Hit(fault.TurnedPremium) {
		i.tier, i.price = TierPremium, Price{Register: 100 * i.price.Register, Renew: 100 * i.price.Renew}
	}
	return i
}

// Normalise folds a name and fills in the shortest term when years is 0, so that
// equal orders look equal. Errors: *Error.
func (r *Registrar) Normalise(name string, years int) (string, int, error) {
	n, err := domainname.Parse(name, r.prices.suffixes()...)
	if err != nil {
		return "", 0, refuse(InvalidName, "%v.", err)
	}
	if e, ok := r.prices.extension(n.Suffix); ok && years == 0 {
		years = e.MinYears
	}
	return n.ASCII, max(years, 1), nil
}

// Search proposes names for a word or a name, one for each suffix, the suffix
// that was asked first. Results are for reading: no call buys "a result".
func (r *Registrar) Search(ctx context.Context, text string, limit int) ([]Check, error) {
	label, suffix, _ := strings.Cut(strings.ToLower(strings.TrimSpace(text)), ".")
	label = strings.Trim(strings.Map(toLabel, label), "-")
	if label == "" {
		return nil, refuse(InvalidName, "%q has no letters or digits to search for.", text)
	}
	suffixes := r.prices.suffixes()
	if suffix != "" {
		suffixes = append([]string{suffix}, suffixes...)
	}
	var found []Check
	seen := map[string]bool{}
	for _, s := range suffixes {
		if seen[s] || len(found) == limit {
			continue
		}
		seen[s] = true
		c, err := r.Check(ctx, label+"."+s)
		if err != nil {
			return nil, err
		}
		found = append(found, c)
	}
	return found, nil
}

func toLabel(r rune) rune {
	switch {
	case unicode.IsLetter(r) || unicode.IsDigit(r):
		return r
	case r == ' ' || r == '-':
		return '-'
	}
	return -1
}
