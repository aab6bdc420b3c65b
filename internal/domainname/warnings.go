package domainname

import (
	"fmt"
	"slices"
	"strings"
	"unicode"

	"github.com/purser-dev/purser/internal/edit"
)

// Warning is something a person should know before buying even the exact name.
type Warning struct {
	Code   WarningCode
	Detail string // one sentence
}

// WarningCode names the kind of a Warning.
type WarningCode string

// The warnings of local-cloud.md 12.2, rule 5.
const (
	MixedScripts     WarningCode = "mixed_scripts"
	BrandLookalike   WarningCode = "brand_lookalike"
	AbusedSuffix     WarningCode = "abused_suffix"
	DigitsForLetters WarningCode = "digits_for_letters"
	NearOwned        WarningCode = "near_owned"
)

// Warnings lists what is odd about a name. owned are the names the organization
// already has; one that is close to them may be a slip of the finger.
func Warnings(n Name, owned ...string) []Warning {
	var found []Warning
	warn := func(code WarningCode, format string, args ...any) {
		found = append(found, Warning{code, fmt.Sprintf(format, args...)})
	}
	label := strings.TrimSuffix(n.Unicode, "."+n.Suffix)
	if scripts := scriptsOf(label); len(scripts) > 1 {
		warn(MixedScripts, "%s mixes the scripts %s.", n.Unicode, strings.Join(scripts, " and "))
	}
	folded := skeleton(label)
	if folded != label && slices.Contains(brands(), folded) {
		warn(BrandLookalike, "%s looks like %q.", n.Unicode, folded)
	}
	if slices.Contains(abusedSuffixes(), n.Suffix) {
		warn(AbusedSuffix, "Names below .%s are often blocked, because many of them were abused.", n.Suffix)
	}
	if digit, ok := digitAmongLetters(label); ok {
		warn(DigitsForLetters, "%s has the digit %c where a letter may be meant.", n.Unicode, digit)
	}
	for _, other := range owned {
		if o, err := Parse(other); err == nil && o.ASCII != n.ASCII && edit.Distance(o.Registrable, n.Registrable) <= nearDistance {
			warn(NearOwned, "%s is close to %s, which is already owned.", n.Unicode, o.Unicode)
		}
	}
	return found
}

// scriptsOf names the scripts in s, sorted, leaving out what all scripts share
// (digits, hyphen, dot, combining marks). Han with kana or hangul is how Japanese
// and Korean are written, so those count as one.
func scriptsOf(s string) []string {
	seen := map[string]bool{}
	for _, r := range s {
		if name := scriptOf(r); name != "" {
			seen[name] = true
		}
	}
	if seen["Han"] && (seen["Hiragana"] || seen["Katakana"] || seen["Hangul"]) {
		delete(seen, "Han")
	}
	if seen["Hiragana"] {
		delete(seen, "Katakana")
	}
	names := make([]string, 0, len(seen))
	for name := range seen {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

func scriptOf(r rune) string {
	if unicode.In(r, unicode.Common, unicode.Inherited) {
		return ""
	}
	for name, table := range unicode.Scripts {
		if unicode.Is(table, r) {
			return name
		}
	}
	return ""
}

// skeleton replaces letters and digits by the Latin letter they are taken for.
func skeleton(label string) string {
	table := confusables()
	return strings.Map(func(r rune) rune {
		if latin, ok := table[r]; ok {
			return latin
		}
		return r
	}, label)
}

// confusables is a small table of our own: the letters that look like Latin
// ones in common fonts, and the digits used for letters.
func confusables() map[rune]rune {
	table := map[rune]rune{'0': 'o', '1': 'l', '3': 'e', '4': 'a', '5': 's', '7': 't'}
	pairs := []struct{ like, latin string }{
		{"асԁеһіјӏорԛѕԝхуɡ", "acdehijlopqswxyg"}, // Cyrillic, and the Latin script g
		{"ανορυτικ", "avoputik"},                 // Greek
		{"օոսզһհ", "onuqhh"},                     // Armenian
		{"ıłøđ", "ilod"},                         // Latin with a stroke or without its dot
	}
	for _, p := range pairs {
		latin := []rune(p.latin)
		for i, r := range []rune(p.like) {
			table[r] = latin[i]
		}
	}
	return table
}

// digitAmongLetters finds a digit that stands for a letter in look-alikes and
// has a letter on both sides, or ends a word of letters as in "supersea1".
func digitAmongLetters(label string) (rune, bool) {
	runes := []rune(label)
	for i, r := range runes {
		if !strings.ContainsRune("01345", r) || i == 0 || !unicode.IsLetter(runes[i-1]) {
			continue
		}
		last := i == len(runes)-1
		if (last && (r == '0' || r == '1')) || (!last && unicode.IsLetter(runes[i+1])) {
			return r, true
		}
	}
	return 0, false
}

func brands() []string {
	return []string{
		"adobe", "amazon", "anthropic", "apple", "cloudflare", "coinbase", "dropbox", "ebay",
		"facebook", "github", "gitlab", "google", "instagram", "linkedin", "microsoft", "netflix",
		"openai", "paypal", "stripe", "telegram", "twitter", "visa", "whatsapp", "youtube",
	}
}

func abusedSuffixes() []string {
	return []string{
		"bond", "buzz", "cf", "cfd", "click", "ga", "gq", "icu", "ml", "mov", "quest", "rest", "sbs", "tk", "top", "zip",
	}
}
