package catalog

import (
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/purser-dev/purser"
)

func refs(list []Entry) []string {
	out := make([]string, len(list))
	for i, e := range list {
		out[i] = e.Ref.String()
	}
	return out
}

func harbor(t testing.TB) []Entry {
	t.Helper()
	return entries(t, Provider{},
		`{"id":"hosting:pro","kind":"plan","description":"Plan for sites.","categories":["compute"],"pricing":`+paid("$5/month")+`}`,
		`{"id":"hosting:static","kind":"deployable","description":"Static files on your domain, with certificates.","categories":["cdn"],"pricing":{"type":"free"}}`,
		`{"id":"registrar:domain","kind":"deployable","description":"A domain name.","categories":["domains"],"pricing":`+paid("Depends on the name")+`}`,
		`{"id":"mail:inbox","kind":"deployable","description":"Boîte aux lettres, ÉCRIRE.","categories":["email"],"pricing":`+paid("$24/year")+`}`,
		`{"id":"db:old","kind":"deployable","availability":"unavailable","description":"Rows.","categories":["database"],"pricing":{"type":"free"}}`,
		`{"id":"db:new","kind":"deployable","description":"Rows.","categories":["database"],"pricing":`+paid("€9/month")+`}`,
	)
}

func TestSearchRanksWhatFitsBest(t *testing.T) {
	limit := func(amount int64, currency string) *purser.Money {
		return &purser.Money{Amount: amount, Currency: currency}
	}
	for _, c := range []struct {
		name  string
		query Query
		want  []string
	}{
		{"a word of the id before one of the description", Query{Words: "domain"}, []string{"harbor/registrar:domain", "harbor/hosting:static"}},
		{"the beginning of a word", Query{Words: "regis"}, []string{"harbor/registrar:domain"}},
		{"more words matching come first", Query{Words: "static hosting"}, []string{"harbor/hosting:static", "harbor/hosting:pro"}},
		{"two words of a description before one of an id", Query{Words: "inbox plan sites"}, []string{"harbor/hosting:pro", "harbor/mail:inbox"}},
		{"words of a sentence do not count", Query{Words: "I need an inbox for the"}, []string{"harbor/mail:inbox"}},
		{"accents and case do not matter", Query{Words: "BOITE écrire"}, []string{"harbor/mail:inbox"}},
		{"a category", Query{Words: "database"}, []string{"harbor/db:new", "harbor/db:old"}},
		{"the whole reference first", Query{Words: "harbor/hosting:pro"}, []string{
			"harbor/hosting:pro", "harbor/hosting:static", "harbor/db:new", "harbor/mail:inbox", "harbor/registrar:domain", "harbor/db:old",
		}},
		{"one letter is no beginning", Query{Words: "r"}, []string{}},
		{"nothing fits", Query{Words: "submarine"}, []string{}},
		{"marks only", Query{Words: "?!"}, []string{}},
		{"only a category", Query{Category: "Domains"}, []string{"harbor/registrar:domain"}},
		{"another provider", Query{Provider: "elsewhere"}, []string{}},
		{"at most 5 USD a month", Query{MaxMonthly: limit(500, "USD")}, []string{"harbor/hosting:pro", "harbor/hosting:static", "harbor/mail:inbox", "harbor/db:old"}},
		{"a cent less", Query{MaxMonthly: limit(499, "USD")}, []string{"harbor/hosting:static", "harbor/mail:inbox", "harbor/db:old"}},
		{"euros are not dollars", Query{Words: "rows", MaxMonthly: limit(99999, "USD")}, []string{"harbor/db:old"}},
		{"words and a limit", Query{Words: "rows", MaxMonthly: limit(900, "EUR")}, []string{"harbor/db:new", "harbor/db:old"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			list := harbor(t)
			got := refs(Search(list, c.query))
			if c.query.Words == "" {
				slices.Sort(got)
				slices.Sort(c.want)
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Error(diff)
			}
			slices.Reverse(list)
			again := refs(Search(list, c.query))
			if c.query.Words == "" {
				slices.Sort(again)
			}
			if diff := cmp.Diff(got, again); diff != "" {
				t.Errorf("the order depends on the catalog's:\n%s", diff)
			}
		})
	}
}

func TestSearchReadsNoMoreOfAQueryThanItsCap(t *testing.T) {
	if got := Search(harbor(t), Query{Words: strings.Repeat("x ", maxQuery) + "domain"}); len(got) > 0 {
		t.Errorf("a word behind the cap found %v", refs(got))
	}
}

func TestAReferenceIsReadExactly(t *testing.T) {
	for _, c := range []struct {
		text string
		want Ref
		ok   bool
	}{
		{"local/registrar:domain", Ref{"local", "registrar:domain"}, true},
		{"Local/Pro", Ref{"local", "Pro"}, true},
		{"wordpress.com/site", Ref{"wordpress.com", "site"}, true},
		{"hub/models/large", Ref{"hub", "models/large"}, true},
		{"local", Ref{}, false},
		{"/pro", Ref{}, false},
		{"local/", Ref{}, false},
		{"local/ pro", Ref{}, false},
		{"local/pro\n", Ref{}, false},
		{"local/\x1b[2J", Ref{}, false},
		{"local/\u202epro", Ref{}, false},
		{"local/\xff", Ref{}, false},
		{"local/" + strings.Repeat("x", maxRef), Ref{}, false},
	} {
		got, err := ParseRef(c.text)
		if got != c.want || (err == nil) != c.ok {
			t.Errorf("%q: %v, %v", c.text, got, err)
		}
		if err != nil && purser.CodeOf(err) != purser.InvalidRequest {
			t.Errorf("%q: %v, want invalid_request", c.text, err)
		}
	}
}

func TestAnUnknownServiceNamesTheNearestAndIsNeverReplaced(t *testing.T) {
	for _, c := range []struct {
		text string
		code purser.Code
		hint string
	}{
		{"harbor/registrar:domian", purser.UnknownService, "did you mean harbor/registrar:domain?"},
		{"harbour/registrar:domain", purser.UnknownProvider, "did you mean harbor/registrar:domain?"},
		{"elsewhere/hosting:static", purser.UnknownProvider, "did you mean harbor/hosting:static?"},
		{"hosting:pro", purser.InvalidRequest, "did you mean harbor/hosting:pro?"},
		{"harbor/DB:NEW", purser.UnknownService, "did you mean harbor/db:new, harbor/db:old?"},
		{"harbor/submarine", purser.UnknownService, "list what can be bought: purser catalog"},
		{"", purser.InvalidRequest, "list what can be bought: purser catalog"},
	} {
		_, err := Lookup(harbor(t), c.text)
		e, ok := err.(*purser.Error)
		if !ok || e.Code != c.code || e.Hint != c.hint {
			t.Errorf("%q: %+v, want %s and %q", c.text, err, c.code, c.hint)
		}
	}
	twin := append(harbor(t), harbor(t)[0])
	if _, err := Lookup(twin, "harbor/hosting:pro"); purser.CodeOf(err) != purser.InvalidState {
		t.Errorf("two sellers of one name: %v", err)
	}
}

func TestDistanceCountsEdits(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want int
	}{
		{"", "", 0},
		{"", "abc", 3},
		{"domain", "domian", 1},
		{"domain", "domains", 1},
		{"kitten", "sitting", 3},
		{"é", "e", 1},
	} {
		if got, back := distance(c.a, c.b), distance(c.b, c.a); got != c.want || back != c.want {
			t.Errorf("%q to %q: %d and back %d, want %d", c.a, c.b, got, back, c.want)
		}
	}
}

// FuzzPlain: whatever a provider writes, what is shown is capped, valid and printable.
func FuzzPlain(f *testing.F) {
	f.Add("plain", 10)
	f.Add("é\x1b[31m\u202e\u2028\xff", 3)
	f.Fuzz(func(t *testing.T, text string, limit int) {
		limit = max(limit%2000, 0)
		got := Plain(text, limit)
		if !utf8.ValidString(got) || !speakable("x"+got) {
			t.Fatalf("%q is shown as %q", text, got)
		}
		if len(got) > limit+len("…") {
			t.Fatalf("%d bytes shown of a cap of %d", len(got), limit)
		}
		if len(text) <= limit && utf8.ValidString(text) && speakable("x"+text) && got != text {
			t.Fatalf("%q was changed to %q", text, got)
		}
	})
}
