// Package domainname decides whether the domain name a registrar offers is the
// one that was asked for, and what a person should be warned of. It does no I/O.
package domainname

import (
	"fmt"
	"slices"
	"strings"

	"golang.org/x/net/idna"
	"golang.org/x/net/publicsuffix"

	"github.com/purser-dev/purser/internal/edit"
)

// Verdict is the outcome of Compare. Only Exact may be bought.
type Verdict string

// The verdicts, in the order in which Compare tries them.
const (
	Invalid           Verdict = "invalid"            // a name that IDNA refuses, or one without a registrable part
	PrivateSuffix     Verdict = "private_suffix"     // equal, but its suffix is not sold by any registry
	Exact             Verdict = "exact"              // the very name
	Subdomain         Verdict = "subdomain"          // lies below a registrable name
	SuffixSubstituted Verdict = "suffix_substituted" // same label, other public suffix
	NearMiss          Verdict = "near_miss"          // labels at most nearDistance edits apart
	DifferentName     Verdict = "different_name"
)

// nearDistance is the largest number of edits that still counts as a near miss.
const nearDistance = 2

// Name is a domain name taken apart by the public suffix list.
type Name struct {
	ASCII       string // A-label form in lower case: the only form to compare, sign or buy
	Unicode     string // what a person reads; never compare it
	Label       string // the label directly left of the suffix, as A-label
	Suffix      string // public suffix without a leading dot, e.g. "co.uk"
	Registrable string // Label + "." + Suffix
	Managed     bool   // the suffix is run by an ICANN registry, or the registrar says that it sells it
}

// Apex reports whether the name is registrable itself, not something below it.
func (n Name) Apex() bool { return n.ASCII == n.Registrable }

// Parse folds and checks s (UTS 46 for look-up, STD3 characters, bidi rule,
// DNS lengths) and splits it by the public suffix list.
//
// The list inside the program ages, so a registrar names the suffixes that it
// sells: one of them counts as managed although the list does not know it.
func Parse(s string, sold ...string) (Name, error) {
	ascii, err := lookup().ToASCII(s)
	if err != nil {
		return Name{}, fmt.Errorf("folding the name %q: %w", s, err)
	}
	suffix, icann := publicsuffix.PublicSuffix(ascii)
	if !icann {
		if known := soldSuffix(ascii, sold); known != "" {
			suffix, icann = known, true
		}
	}
	label, ok := labelBefore(ascii, suffix)
	if !ok {
		return Name{}, fmt.Errorf("%q has no registrable part: %q is a public suffix", ascii, suffix)
	}
	shown, err := idna.Display.ToUnicode(ascii)
	if err != nil {
		shown = ascii // a person then sees the xn-- form, which hides nothing
	}
	return Name{
		ASCII: ascii, Unicode: shown, Label: label, Suffix: suffix,
		Registrable: label + "." + suffix, Managed: icann,
	}, nil
}

// lookup is the profile of local-cloud.md 12.1. It is cheap to make, so there
// is no shared one.
func lookup() *idna.Profile {
	return idna.New(idna.MapForLookup(), idna.StrictDomainName(true), idna.BidiRule(),
		idna.ValidateLabels(true), idna.VerifyDNSLength(true))
}

// soldSuffix returns the longest suffix of the registrar's list that name ends in.
func soldSuffix(name string, sold []string) string {
	var longest string
	for _, s := range sold {
		if strings.HasSuffix(name, "."+s) && len(s) > len(longest) {
			longest = s
		}
	}
	return longest
}

func labelBefore(name, suffix string) (string, bool) {
	rest, ok := strings.CutSuffix(name, "."+suffix)
	if !ok || rest == "" {
		return "", false
	}
	return rest[strings.LastIndexByte(rest, '.')+1:], true
}

// Comparison says how an offered name stands to the one asked for.
type Comparison struct {
	Verdict  Verdict
	Asked    Name   // zero when it could not be parsed
	Offered  Name   // zero when it could not be parsed
	Distance int    // edits between the labels of two different names
	Detail   string // one clause for a person, e.g. "suffix substituted: .club -> .cc"
}

// Same reports whether the offered name may stand in for the one asked for.
func (c Comparison) Same() bool { return c.Verdict == Exact }

// Compare judges an offered name against the one asked for. Names below a
// suffix of sold count as managed, as in Parse.
func Compare(asked, offered string, sold ...string) Comparison {
	a, err := Parse(asked, sold...)
	if err != nil {
		return Comparison{Verdict: Invalid, Detail: err.Error()}
	}
	o, err := Parse(offered, sold...)
	if err != nil {
		return Comparison{Verdict: Invalid, Asked: a, Detail: err.Error()}
	}
	c := Comparison{Asked: a, Offered: o}
	c.Verdict, c.Detail = c.judge()
	if c.Verdict != Exact {
		c.Distance = edit.Distance(a.Label, o.Label)
	}
	return c
}

func (c Comparison) judge() (Verdict, string) {
	a, o := c.Asked, c.Offered
	switch {
	case a.ASCII == o.ASCII && !o.Managed:
		return PrivateSuffix, fmt.Sprintf("private suffix: no registry sells names below .%s", o.Suffix)
	case !o.Apex():
		// Also when both are the same: a name below a registrable one is made in
		// its zone, nobody can sell it.
		return Subdomain, fmt.Sprintf("subdomain, registrable part %s", o.Registrable)
	case a.ASCII == o.ASCII:
		return Exact, ""
	case a.Registrable == o.ASCII:
		return DifferentName, fmt.Sprintf("different name: %s lies below %s", a.ASCII, o.ASCII)
	case a.Label == o.Label:
		return SuffixSubstituted, fmt.Sprintf("suffix substituted: .%s -> .%s", a.Suffix, o.Suffix)
	}
	scripts := ""
	if mixed := scriptsOf(o.Unicode); len(mixed) > 1 {
		scripts = "; scripts " + strings.Join(mixed, " + ") + " mixed"
	}
	if d := edit.Distance(a.Label, o.Label); d <= nearDistance {
		return NearMiss, fmt.Sprintf("near miss, distance %d%s", d, scripts)
	}
	return DifferentName, "different name" + scripts
}

// Suggest returns the names of known that lie nearest to a, nearest first and
// at most limit of them. Suggestions are for reading; they are never bought.
func Suggest(a Name, known []string, limit int) []string {
	sorted := slices.Clone(known)
	slices.SortStableFunc(sorted, func(x, y string) int {
		return edit.Distance(a.ASCII, x) - edit.Distance(a.ASCII, y)
	})
	return sorted[:min(limit, len(sorted))]
}
