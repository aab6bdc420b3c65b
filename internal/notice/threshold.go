package notice

import (
	"fmt"
	"math/big"
	"slices"
	"strconv"
	"strings"
)

// defaultThresholds are the percentages of a limit that are told unless a person
// set others. DefaultThresholds is their stored form, which the schema repeats.
var defaultThresholds = []int{50, 80, 100}

// DefaultThresholds is how the default is stored.
const DefaultThresholds = "50,80,100"

// Crossed lists the percentages of a limit, in order, that a use of money passed
// when it went from before to after (minor units): those that before was below and
// after has reached. A limit of nothing is crossed by nothing.
func Crossed(limit, before, after int64, percents []int) []int {
	if limit <= 0 || after <= before {
		return nil
	}
	var out []int
	for _, p := range percents {
		if reaches(after, p, limit) && !reaches(before, p, limit) {
			out = append(out, p)
		}
	}
	return out
}

// reaches reports use/limit >= percent/100, exactly.
func reaches(use int64, percent int, limit int64) bool {
	const small = 1 << 53
	if use > -small && use < small && limit < small {
		return use*100 >= limit*int64(percent)
	}
	a := new(big.Int).Mul(big.NewInt(use), big.NewInt(100))
	return a.Cmp(new(big.Int).Mul(big.NewInt(limit), big.NewInt(int64(percent)))) >= 0
}

// ParseThresholds reads the stored form. What it returns is not to be changed.
func ParseThresholds(text string) []int {
	if text == DefaultThresholds {
		return defaultThresholds
	}
	var out []int
	for word := range strings.SplitSeq(text, ",") {
		if p, err := strconv.Atoi(word); err == nil {
			out = append(out, p)
		}
	}
	return out
}

// FormatThresholds is the stored form of percentages; an error says what is wrong
// with them. They are sorted, and each is kept once.
func FormatThresholds(percents []int) (string, error) {
	if len(percents) == 0 || len(percents) > 10 {
		return "", fmt.Errorf("1 to 10 percentages are told, not %d", len(percents))
	}
	sorted := slices.Compact(slices.Sorted(slices.Values(percents)))
	words := make([]string, len(sorted))
	for i, p := range sorted {
		if p < 1 || p > 100 {
			return "", fmt.Errorf("%d is not a percentage from 1 to 100", p)
		}
		words[i] = strconv.Itoa(p)
	}
	return strings.Join(words, ","), nil
}
