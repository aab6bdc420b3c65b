package registrar

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
)

// PriceList is what the registrar sells. Amounts are minor units of Currency
// and sandbox values, not market prices.
type PriceList struct {
	Currency   string      `json:"currency"` // ISO 4217
	Extensions []Extension `json:"extensions"`
}

// Extension is one public suffix with its prices for one year.
type Extension struct {
	Suffix    string           `json:"suffix"` // without a leading dot
	Register  int64            `json:"register"`
	Renew     int64            `json:"renew"`
	Restore   int64            `json:"restore"`
	MinYears  int              `json:"min_years"`
	MaxYears  int              `json:"max_years"`
	APISold   bool             `json:"api_sold"`
	GraceDays int              `json:"grace_days,omitempty"` // days in which a registration may be undone; 0: final
	Reserved  []string         `json:"reserved,omitempty"`   // labels nobody can buy
	Premium   map[string]Price `json:"premium,omitempty"`    // labels with prices of their own
}

// Price is the price of the first year and of each further one.
type Price struct {
	Register int64 `json:"register"`
	Renew    int64 `json:"renew"`
}

// Promo reports whether the first year is cheaper than the following ones.
func (e Extension) Promo() bool { return e.Register < e.Renew }

// DefaultPrices is the list that a new state folder gets. Its oddities are
// there to be met in tests: a promotion with a dear renewal (club), a cheap
// suffix that tempts to substitute (cc), a minimum of two years (ai), a suffix
// of two labels (co.uk), a premium label (xyz), one suffix not sold by API (inc).
func DefaultPrices() PriceList {
	sold := func(suffix string, register, renew int64) Extension {
		return Extension{
			Suffix: suffix, Register: register, Renew: renew, Restore: 8000, MinYears: 1, MaxYears: 10,
			APISold: true, Reserved: []string{"example", "nic", "whois", "www"},
		}
	}
	ai, xyz, inc := sold("ai", 7990, 7990), sold("xyz", 250, 1290), sold("inc", 199900, 199900)
	ai.MinYears = 2
	xyz.Premium = map[string]Price{"crypto": {Register: 250000, Renew: 250000}, "gold": {Register: 9900, Renew: 9900}}
	inc.APISold = false
	return PriceList{Currency: "USD", Extensions: []Extension{
		sold("com", 1090, 1090), sold("net", 1190, 1290), sold("dev", 1210, 1210), sold("club", 890, 1890),
		sold("cc", 490, 990), ai, sold("uk", 590, 690), sold("co.uk", 580, 680), xyz, inc,
	}}
}

// OpenPrices reads the price list at path, writing the default one first if
// there is none.
func OpenPrices(path string) (PriceList, error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return DefaultPrices(), writePrices(path)
	}
	if err != nil {
		return PriceList{}, fmt.Errorf("reading price list: %w", err)
	}
	var list PriceList
	if err := json.Unmarshal(text, &list); err != nil {
		return PriceList{}, fmt.Errorf("reading price list %s: %w", path, err)
	}
	if err := list.Check(); err != nil {
		return PriceList{}, fmt.Errorf("reading price list %s: %w", path, err)
	}
	return list, nil
}

func writePrices(path string) error {
	text, err := json.MarshalIndent(DefaultPrices(), "", "  ")
	if err != nil {
		return fmt.Errorf("writing price list: %w", err)
	}
	if err := os.WriteFile(path, append(text, '\n'), 0o600); err != nil {
		return fmt.Errorf("writing price list: %w", err)
	}
	return nil
}

// Check reports the first fault of a list: a missing currency, a suffix named
// twice, years that no name can have, or an amount that is not above zero or is
// a magic one of the sandbox rail (it ends in 01 to 05, local-cloud.md 13).
func (l PriceList) Check() error {
	if len(l.Currency) != 3 || strings.ToUpper(l.Currency) != l.Currency {
		return fmt.Errorf("currency %q is not an ISO 4217 code", l.Currency)
	}
	seen := map[string]bool{}
	for _, e := range l.Extensions {
		if e.Suffix == "" || e.Suffix != strings.ToLower(strings.Trim(e.Suffix, ".")) || seen[e.Suffix] {
			return fmt.Errorf("suffix %q is empty, not folded or named twice", e.Suffix)
		}
		seen[e.Suffix] = true
		if e.MinYears < 1 || e.MaxYears < e.MinYears || e.MaxYears > 10 {
			return fmt.Errorf("suffix %q: years %d to %d", e.Suffix, e.MinYears, e.MaxYears)
		}
		if err := e.checkAmounts(); err != nil {
			return fmt.Errorf("suffix %q: %w", e.Suffix, err)
		}
	}
	return nil
}

func (e Extension) checkAmounts() error {
	amounts := []int64{e.Register, e.Renew, e.Restore}
	for _, p := range e.Premium {
		amounts = append(amounts, p.Register, p.Renew)
	}
	for _, a := range amounts {
		if last := a % 100; a <= 0 || (last >= 1 && last <= 5) {
			return fmt.Errorf("amount %d is not above zero or ends in 01 to 05", a)
		}
	}
	return nil
}

// suffixes lists all suffixes of the list, also those not sold by API.
func (l PriceList) suffixes() []string {
	var all []string
	for _, e := range l.Extensions {
		all = append(all, e.Suffix)
	}
	return all
}

func (l PriceList) extension(suffix string) (Extension, bool) {
	i := slices.IndexFunc(l.Extensions, func(e Extension) bool { return e.Suffix == suffix })
	if i < 0 {
		return Extension{}, false
	}
	return l.Extensions[i], true
}
