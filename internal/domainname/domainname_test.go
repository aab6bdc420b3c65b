package domainname

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// The rows of local-cloud.md 12.1, and some more.
func TestOnlyTheVeryNameIsExact(t *testing.T) {
	for _, c := range []struct {
		asked, offered string
		want           Verdict
		detail         string
	}{
		{"superseal.club", "superseal.club", Exact, ""},
		{"SuperSeal.Club", "superseal.club", Exact, ""},
		{"shop.co.uk", "shop.co.uk", Exact, ""},
		{"superseal.club", "superseal.cc", SuffixSubstituted, ".club -> .cc"},
		{"shop.co.uk", "shop.uk", SuffixSubstituted, ".co.uk -> .uk"},
		{"superseal.club", "superseals.club", NearMiss, "distance 1"},
		{"superseal.club", "supersea1.club", NearMiss, "distance 1"},
		{"superseal.club", "ѕuperseal.club", DifferentName, "scripts Cyrillic + Latin mixed"},
		{"superseal.club", "xn--uperseal-jhh.club", DifferentName, "scripts Cyrillic + Latin mixed"},
		{"xn--80ak6aa92e.com", "apple.com", DifferentName, ""},
		{"superseal.club", "www.superseal.club", Subdomain, "registrable part superseal.club"},
		{"superseal.club", "superseal.club.superseal.cc", Subdomain, "registrable part superseal.cc"},
		{"superseal.cc", "superseal.co.cc", Subdomain, "registrable part co.cc"},
		{"me.github.io", "me.github.io", PrivateSuffix, "github.io"},
		{"a_b.com", "a_b.com", Invalid, ""},

		{"www.superseal.club", "www.superseal.club", Subdomain, "registrable part superseal.club"},
		{"www.superseal.club", "superseal.club", DifferentName, ""},
		{"bücher.com", "xn--bcher-kva.com", Exact, ""},
		{"club", "club", Invalid, "public suffix"},
		{"co.uk", "co.uk", Invalid, "public suffix"},
		{"", "superseal.club", Invalid, ""},
		{"superseal.club", "", Invalid, ""},
		{"superseal.club", "superseal.club ", Invalid, ""},
		{"superseal.club", "super\u200bseal..club", Invalid, ""},
		{"superseal.club", "superseal.club/../x", Invalid, ""},
		{"superseal.club", strings.Repeat("a", 64) + ".club", Invalid, ""},
		{"superseal.nosuchtld", "superseal.nosuchtld", PrivateSuffix, ""},
	} {
		t.Run(c.asked+" to "+c.offered, func(t *testing.T) {
			got := Compare(c.asked, c.offered)
			if got.Verdict != c.want || !strings.Contains(got.Detail, c.detail) {
				t.Errorf("got %s (%s), want %s (%s)", got.Verdict, got.Detail, c.want, c.detail)
			}
			if got.Same() != (c.want == Exact) {
				t.Errorf("Same() = %v for %s", got.Same(), got.Verdict)
			}
		})
	}
}

func TestASuffixTheListDoesNotKnowIsManagedWhenTheRegistrarSellsIt(t *testing.T) {
	if got := Compare("superseal.nosuchtld", "superseal.nosuchtld", "nosuchtld"); !got.Same() {
		t.Errorf("sold suffix: %s (%s)", got.Verdict, got.Detail)
	}
	if got := Compare("superseal.nosuchtld", "superseal.club", "nosuchtld", "club"); got.Verdict != SuffixSubstituted {
		t.Errorf("other suffix: %s", got.Verdict)
	}
	if n, err := Parse("me.github.io", "io"); err != nil || n.Suffix != "io" || n.Apex() {
		t.Errorf("below a private suffix of a sold one: %+v, %v", n, err)
	}
}

func TestNoneOfTenThousandNearMissesIsAccepted(t *testing.T) {
	asked := []string{"superseal.club", "shop.co.uk", "purser.dev", "a1-b2.com", "zz.ai", "bücher.net"}
	random := rand.New(rand.NewPCG(7, 11))
	for made := 0; made < 10_000; {
		want := asked[random.IntN(len(asked))]
		offered := mutate(random, want)
		if strings.EqualFold(offered, want) {
			continue
		}
		made++
		if got := Compare(want, offered); got.Same() {
			t.Fatalf("%q was accepted for %q", offered, want)
		}
	}
}

// mutate makes one or two small changes of the kind that sellers, typos and
// swindlers make. No change it makes is undone by case folding.
func mutate(random *rand.Rand, name string) string {
	const letters = "abcdefghijklmnopqrstuvwxyz0123456789-"
	suffixes := []string{"cc", "co", "club", "clubs", "com", "co.uk", "uk", "dev", "de", "ai", "net", "org", "xyz", "club.com"}
	lookalikes := map[rune]rune{'a': 'а', 'e': 'е', 'o': 'о', 'p': 'р', 's': 'ѕ', 'c': 'с', 'u': 'υ', 'h': 'һ'}
	runes := []rune(name)
	for range 1 + random.IntN(2) {
		i := random.IntN(len(runes))
		letter := rune(letters[random.IntN(len(letters))])
		switch random.IntN(7) {
		case 0:
			runes = slices.Insert(runes, i, letter)
		case 1:
			if len(runes) > 2 {
				runes = slices.Delete(runes, i, i+1)
			}
		case 2:
			runes[i] = letter
		case 3:
			if i > 0 {
				runes[i], runes[i-1] = runes[i-1], runes[i]
			}
		case 4:
			if like, ok := lookalikes[runes[i]]; ok {
				runes[i] = like
			}
		case 5:
			label, _, _ := strings.Cut(string(runes), ".")
			runes = []rune(label + "." + suffixes[random.IntN(len(suffixes))])
		case 6:
			runes = append([]rune("www."), runes...)
		}
	}
	return string(runes)
}

func FuzzAcceptedNamesAreEqualAsALabels(f *testing.F) {
	f.Add("superseal.club", "superseal.club")
	f.Add("SuperSeal.Club", "superseal.cc")
	f.Add("bücher.com", "xn--bcher-kva.com")
	f.Add("ѕuperseal.club", "superseal.club")
	f.Fuzz(func(t *testing.T, asked, offered string) {
		got := Compare(asked, offered)
		if !got.Same() {
			return
		}
		if got.Asked.ASCII != got.Offered.ASCII || !got.Offered.Managed || !got.Offered.Apex() {
			t.Fatalf("%q accepted for %q: %+v", offered, asked, got)
		}
	})
}

func TestWarnings(t *testing.T) {
	for _, c := range []struct {
		name  string
		owned []string
		want  []WarningCode
	}{
		{"superseal.club", nil, nil},
		{"web3shop.com", nil, []WarningCode{DigitsForLetters}},
		{"area51.com", nil, nil},
		{"studio24.com", nil, nil},
		{"supersea1.club", []string{"superseal.club"}, []WarningCode{DigitsForLetters, NearOwned}},
		{"superseals.club", []string{"superseal.club", "other.dev"}, []WarningCode{NearOwned}},
		{"superseal.club", []string{"superseal.club"}, nil},
		{"ѕuperseal.club", nil, []WarningCode{MixedScripts}},
		{"xn--80ak6aa92e.com", nil, []WarningCode{BrandLookalike}},
		{"paypa1.com", nil, []WarningCode{BrandLookalike, DigitsForLetters}},
		{"apple.com", nil, nil},
		{"shop.top", nil, []WarningCode{AbusedSuffix}},
		{"日本のかな.com", nil, nil},
		{"bücher.com", nil, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			n, err := Parse(c.name)
			if err != nil {
				t.Fatal(err)
			}
			var got []WarningCode
			for _, w := range Warnings(n, c.owned...) {
				got = append(got, w.Code)
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("warnings (-want +got):\n%s", diff)
			}
		})
	}
}

func TestSuggestionsAreSortedByDistance(t *testing.T) {
	n, err := Parse("shop.clb")
	if err == nil && n.Suffix != "clb" {
		t.Fatal(n)
	}
	got := Suggest(n, []string{"shop.dev", "shop.club", "other.com"}, 2)
	if diff := cmp.Diff([]string{"shop.club", "shop.dev"}, got); diff != "" {
		t.Error(diff)
	}
}
