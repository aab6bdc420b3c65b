package catalog

import (
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/purser-dev/purser"
)

const maxRef = 200 // bytes

// Ref names a service of the catalog: the provider's name in lower case and its
// own service id (APP 11.4 rule 7). The id is exact; it may hold colons and slashes.
type Ref struct {
	Provider string
	Service  string
}

// String is the form people type: "local/registrar:domain".
func (r Ref) String() string { return r.Provider + "/" + r.Service }

// RefOf makes the reference of a provider's service.
func RefOf(providerName, serviceID string) Ref {
	return Ref{strings.ToLower(strings.TrimSpace(providerName)), serviceID}
}

// ParseRef reads "provider/service". The provider may be typed in any case; the
// service id is taken as it is, because "pro" and "Pro" may be two offers.
// Anything else is invalid_request.
func ParseRef(text string) (Ref, error) {
	provider, service, found := strings.Cut(text, "/")
	ref := RefOf(provider, service)
	switch {
	case len(text) > maxRef || !speakable(text):
		return Ref{}, purser.Errorf(purser.InvalidRequest, "the name of a service has at most %d printable characters", maxRef)
	case !found || ref.Provider == "" || ref.Service == "" || ref.Service != strings.TrimSpace(ref.Service):
		return Ref{}, purser.Errorf(purser.InvalidRequest, "%q is not provider/service", text).
			WithHint("list what can be bought: purser catalog")
	}
	return ref, nil
}

// speakable reports whether a name can be shown in a hint: printable, without
// characters that hide or turn round what follows.
func speakable(name string) bool {
	return utf8.ValidString(name) && name != "" && !strings.ContainsFunc(name, func(r rune) bool {
		return !unicode.IsPrint(r)
	})
}

// Lookup finds the service that text names, exactly: nothing is substituted. Where
// there is none the error is unknown_provider or unknown_service (invalid_request
// for what is no reference) and its hint names the nearest known ones. Two sellers
// of one name are invalid_state: an impostor must not win by its place in a list.
func Lookup(entries []Entry, text string) (Entry, error) {
	ref, err := ParseRef(text)
	if err != nil {
		return Entry{}, hinted(err, entries, text)
	}
	var found []Entry
	knownProvider := false
	for _, e := range entries {
		if e.Ref == ref {
			found = append(found, e)
		}
		knownProvider = knownProvider || e.Ref.Provider == ref.Provider
	}
	switch {
	case len(found) == 1:
		return found[0], nil
	case len(found) > 1:
		return Entry{}, purser.Errorf(purser.InvalidState, "%s is sold %d times under one name; which is meant cannot be told", ref, len(found))
	case !knownProvider:
		return Entry{}, hinted(purser.Errorf(purser.UnknownProvider, "no provider is called %q", ref.Provider), entries, text)
	}
	return Entry{}, hinted(purser.Errorf(purser.UnknownService, "%s does not sell %q", ref.Provider, ref.Service), entries, text)
}

func hinted(err error, entries []Entry, text string) error {
	e, ok := err.(*purser.Error)
	if !ok {
		return err
	}
	near := Nearest(entries, text)
	if len(near) == 0 {
		if e.Hint == "" {
			e.Hint = "list what can be bought: purser catalog"
		}
		return e
	}
	names := make([]string, len(near))
	for i, r := range near {
		names[i] = r.String()
	}
	return e.WithHint("did you mean %s?", strings.Join(names, ", "))
}

// Nearest returns up to three known references that text may have meant, nearest
// first: by edit distance over the whole, or over the service id when the provider
// is missing or another. They are suggestions to type, never taken by themselves.
func Nearest(entries []Entry, text string) []Ref {
	if len(text) > maxRef {
		return nil
	}
	type candidate struct {
		ref      Ref
		distance int
	}
	asked := fold(text)
	_, askedService, _ := strings.Cut(asked, "/")
	var near []candidate
	for _, e := range entries {
		name := e.Ref.String()
		if len(name) > maxRef || !speakable(name) || strings.ContainsAny(name, "\"'`\\") {
			continue
		}
		d := distance(asked, fold(name))
		for _, service := range []string{asked, askedService} {
			if service != "" {
				d = min(d, distance(service, fold(e.Ref.Service))+1) // the provider is wrong as well
			}
		}
		if d <= max(2, utf8.RuneCountInString(asked)/4) {
			near = append(near, candidate{e.Ref, d})
		}
	}
	slices.SortFunc(near, func(a, b candidate) int {
		if a.distance != b.distance {
			return a.distance - b.distance
		}
		return strings.Compare(a.ref.String(), b.ref.String())
	})
	var out []Ref
	for _, c := range near {
		if len(out) < 3 && !slices.Contains(out, c.ref) {
			out = append(out, c.ref)
		}
	}
	return out
}

// distance counts the letters to add, drop, change or swap with the next one
// (optimal string alignment).
func distance(a, b string) int {
	from, to := []rune(a), []rune(b)
	before, last := make([]int, len(to)+1), make([]int, len(to)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(from); i++ {
		row := make([]int, len(to)+1)
		row[0] = i
		for j := 1; j <= len(to); j++ {
			cost := 1
			if from[i-1] == to[j-1] {
				cost = 0
			}
			row[j] = min(last[j]+1, row[j-1]+1, last[j-1]+cost)
			if i > 1 && j > 1 && from[i-1] == to[j-2] && from[i-2] == to[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last = last, row
	}
	return last[len(to)]
}
