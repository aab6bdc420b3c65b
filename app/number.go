package app

import (
	"encoding/json"
	"math/big"
	"strings"
)

// rational reads a JSON number exactly. Large exponents are refused: they are
// short to write and long to hold.
func rational(s string) (*big.Rat, bool) {
	var n json.Number
	if json.Unmarshal([]byte(s), &n) != nil || strings.HasPrefix(s, `"`) || s == "null" {
		return nil, false
	}
	if _, exp, has := strings.Cut(strings.ToLower(s), "e"); has && len(strings.TrimLeft(exp, "+-0")) > 2 {
		return nil, false
	}
	return new(big.Rat).SetString(s)
}

// plainNumber writes a JSON number as a plain decimal: 1e3 as 1000, 1.50 as 1.50.
func plainNumber(s string) (string, bool) {
	r, ok := rational(s)
	if !ok {
		return "", false
	}
	if !strings.ContainsAny(s, "eE") {
		return s, true
	}
	if r.IsInt() {
		return r.Num().String(), true
	}
	digits, _ := r.FloatPrec()
	return r.FloatString(digits), true
}
