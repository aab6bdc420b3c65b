package purser

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
)

// Money is an amount in minor units of one ISO 4217 currency. The zero value is
// "nothing, in no currency"; it never means "no limit".
type Money struct {
	Amount   int64  `json:"amount"`   // minor units: 2000 is 20.00 USD
	Currency string `json:"currency"` // three capital letters
}

// ErrOverflow says that a sum of money does not fit 64 bits.
var ErrOverflow = errors.New("amount out of range")

// exponents lists the currencies whose minor unit is not 1/100 (ISO 4217 list one).
var exponents = map[string]int{
	"BIF": 0, "CLP": 0, "DJF": 0, "GNF": 0, "ISK": 0, "JPY": 0, "KMF": 0, "KRW": 0, "PYG": 0, "RWF": 0, "UGX": 0,
	"VND": 0, "VUV": 0, "XAF": 0, "XOF": 0, "XPF": 0, "BHD": 3, "IQD": 3, "JOD": 3, "KWD": 3, "LYD": 3, "OMR": 3, "TND": 3,
}

// Exponent returns the number of decimals of a currency's minor unit.
func Exponent(currency string) int {
	if e, ok := exponents[currency]; ok {
		return e
	}
	return 2
}

// ValidCurrency reports whether s has the form of an ISO 4217 code.
func ValidCurrency(s string) bool {
	if len(s) != 3 {
		return false
	}
	for _, c := range s {
		if c < 'A' || c > 'Z' {
			return false
		}
	}
	return true
}

// mostMinor is the largest amount: what a number in a signed request can say exactly
// (RFC 7493 section 2.2).
const mostMinor = 1<<53 - 1

// ParseMoney reads "20", "20.5" or "20.00 USD"; currency is used when the text
// names none. Either may be in small letters, as people type it. More decimals than the
// currency has are refused, not rounded, and so is what no request can say.
func ParseMoney(text, currency string) (Money, error) {
	number, named, _ := strings.Cut(strings.TrimSpace(text), " ")
	if named = strings.TrimSpace(named); named != "" {
		currency = named
	}
	given := currency
	if currency = strings.ToUpper(given); !ValidCurrency(currency) {
		return Money{}, fmt.Errorf("%q is not an ISO 4217 currency", given)
	}
	whole, part, dotted := strings.Cut(number, ".")
	exp := Exponent(currency)
	if whole == "" || len(part) > exp || dotted && part == "" || strings.ContainsAny(number, "+-eE_") {
		return Money{}, fmt.Errorf("%q is not an amount in %s (write it like %s)", text, currency, Money{Amount: 2000, Currency: currency})
	}
	amount, err := strconv.ParseInt(whole+part+strings.Repeat("0", exp-len(part)), 10, 64)
	switch {
	case errors.Is(err, strconv.ErrRange), err == nil && amount > mostMinor:
		return Money{}, fmt.Errorf("%q is too much: no amount is above %s", text, Money{mostMinor, currency})
	case err != nil:
		return Money{}, fmt.Errorf("%q is not an amount in %s", text, currency)
	}
	return Money{amount, currency}, nil
}

// String shows the amount in major units with its currency: "20.00 USD".
func (m Money) String() string {
	exp := Exponent(m.Currency)
	sign, n := "", uint64(m.Amount)
	if m.Amount < 0 {
		sign, n = "-", uint64(-(m.Amount+1))+1
	}
	digits := fmt.Sprintf("%0*d", exp+1, n)
	if exp > 0 {
		digits = digits[:len(digits)-exp] + "." + digits[len(digits)-exp:]
	}
	return strings.TrimSpace(sign + digits + " " + m.Currency)
}

// IsZero reports whether the amount is nothing, whatever the currency.
func (m Money) IsZero() bool { return m.Amount == 0 }

// Plus adds money of one currency; a sum beyond 64 bits is ErrOverflow.
func (m Money) Plus(n Money) (Money, error) {
	switch {
	case m.Amount == 0 && m.Currency == "":
		return n, nil
	case n.Amount == 0 && n.Currency == "":
		return m, nil
	case m.Currency != n.Currency:
		return Money{}, fmt.Errorf("adding %s to %s: two currencies", n.Currency, m.Currency)
	}
	sum, ok := Sum(m.Amount, n.Amount)
	if !ok {
		return Money{}, ErrOverflow
	}
	return Money{sum, m.Currency}, nil
}

// Sum adds minor units and reports whether the result fits.
func Sum(amounts ...int64) (int64, bool) {
	var total int64
	for _, a := range amounts {
		if a > 0 && total > math.MaxInt64-a || a < 0 && total < math.MinInt64-a {
			return 0, false
		}
		total += a
	}
	return total, true
}
