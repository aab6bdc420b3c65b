package catalog

import (
	"cmp"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/purser-dev/purser"
)

// Query is what a search asks for.
type Query struct {
	Words      string        // any words; more of them matching ranks higher
	MaxMonthly *purser.Money // only services known to cost no more a month, in this currency
	Category   string        // exact, without case
	Provider   string        // exact, without case
}

const (
	maxQuery      = 500 // bytes
	maxQueryWords = 16
)

// weights of the places where a word can stand; a prefix counts half.
const (
	idWeight          = 40
	providerWeight    = 20
	categoryWeight    = 16
	descriptionWeight = 4
	wordWeight        = idWeight * maxQueryWords   // a further word that matches outweighs every better place
	wholeWeight       = wordWeight * maxQueryWords // the query is the reference or the service id
)

// fillers are words of sentences, not of services.
var fillers = map[string]bool{
	"a": true, "an": true, "and": true, "the": true, "for": true, "of": true, "to": true, "in": true, "on": true,
	"with": true, "my": true, "me": true, "i": true, "need": true, "want": true, "or": true, "is": true, "that": true,
}

// Search returns the entries that fit, best first; the order is the same each time
// for the same catalog, so a caller can page through it. Without words all that pass
// the filters come in the order of their references. The entries are proposals: a
// provider's words decide what is found, never what is done.
func Search(entries []Entry, q Query) []Entry {
	type hit struct {
		entry Entry
		score int
	}
	asked := queryWords(q.Words)
	whole := fold(strings.TrimSpace(q.Words))
	var hits []hit
	for _, e := range entries {
		if !e.passes(q) {
			continue
		}
		score := e.score(asked)
		if whole != "" && (whole == fold(e.Ref.String()) || whole == fold(e.Ref.Service)) {
			score += wholeWeight
		}
		if score == 0 && strings.TrimSpace(q.Words) != "" {
			continue
		}
		hits = append(hits, hit{e, score})
	}
	slices.SortStableFunc(hits, func(a, b hit) int {
		return cmp.Or(
			cmp.Compare(b.score, a.score),
			cmp.Compare(a.entry.rank(), b.entry.rank()),
			cmp.Compare(a.entry.Ref.String(), b.entry.Ref.String()),
		)
	})
	out := make([]Entry, len(hits))
	for i, h := range hits {
		out[i] = h.entry
	}
	return out
}

func queryWords(text string) []string {
	if len(text) > maxQuery {
		text = strings.ToValidUTF8(text[:maxQuery], "")
	}
	all := words(text)
	asked := slices.DeleteFunc(slices.Clone(all), func(w string) bool { return fillers[w] })
	if len(asked) == 0 {
		asked = all
	}
	slices.Sort(asked)
	asked = slices.Compact(asked)
	return asked[:min(len(asked), maxQueryWords)]
}

func (e Entry) passes(q Query) bool {
	if q.Provider != "" && !strings.EqualFold(q.Provider, e.Ref.Provider) {
		return false
	}
	if q.Category != "" && !slices.ContainsFunc(e.Categories, func(c string) bool { return strings.EqualFold(c, q.Category) }) {
		return false
	}
	// "At most 10 a month" is a promise: what has no number cannot make it.
	return q.MaxMonthly == nil || e.Monthly != nil && (e.Monthly.IsZero() || e.Monthly.Currency == q.MaxMonthly.Currency) && e.Monthly.Amount <= q.MaxMonthly.Amount
}

// score adds up where each word stands.
func (e Entry) score(asked []string) int {
	total := 0
	for _, w := range asked {
		best := 0
		for _, place := range e.places {
			best = max(best, place.weigh(w))
		}
		if best > 0 {
			total += best + wordWeight
		}
	}
	return total
}

// place is a part of an entry that is searched.
type place struct {
	words  []string
	weight int
}

func (p place) weigh(word string) int {
	best := 0
	for _, w := range p.words {
		switch {
		case w == word:
			return p.weight
		case utf8.RuneCountInString(word) > 1 && strings.HasPrefix(w, word):
			best = p.weight / 2
		}
	}
	return best
}
