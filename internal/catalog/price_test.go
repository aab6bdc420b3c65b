package catalog

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// label is what a person read in one real price text.
type label struct {
	Amount     bool             `json:"amount"` // the text contains an amount
	Components []labelComponent `json:"components"`
}

type labelComponent struct {
	Amount   string `json:"amount"`
	Minor    *int64 `json:"minor"`
	Currency string `json:"currency"`
	Kind     Kind   `json:"kind"`
	Per      int64  `json:"per"`
	Unit     string `json:"unit"`
	Item     string `json:"item"`
	Period   string `json:"period"`
	Minimum  bool   `json:"minimum"`
	Included int64  `json:"included"`
}

func (l labelComponent) component() Component {
	if l.Per == 0 {
		l.Per = 1
	}
	return Component{l.Kind, l.Amount, l.Minor, l.Currency, l.Per, l.Unit, l.Item, l.Period, l.Minimum, l.Included}
}

// TestNoRealPriceTextGivesAWrongNumber compares the extractor with the labels on
// the 308 price texts of the real catalog, those of component options beside them.
func TestNoRealPriceTextGivesAWrongNumber(t *testing.T) {
	labels := readLabels(t)
	var tuned, held tally
	for _, text := range realPriceTexts(t) {
		key := sha256.Sum256([]byte(text.text))
		want, ok := labels[hex.EncodeToString(key[:])]
		if !ok {
			t.Errorf("no label for %q", text.text)
			continue
		}
		which := &tuned
		if key[0] < 64 {
			which = &held
		}
		got, priced := Prices(text.text)
		if priced && !want.Amount {
			t.Errorf("a number from a text without one: %q: %v", text.text, got)
		}
		if diff := cmp.Diff(lowered(want.Components), lowered(got)); priced && diff != "" {
			t.Errorf("a wrong number in %q (-read by a person +extracted):\n%s", text.text, diff)
		}
		which.count(text, want.Amount, priced)
	}
	total := tuned.plus(held)
	fmt.Printf("catalog: %v of the texts with an amount became components (tuned on: %v; held out: %v)\n", total.all, tuned.all, held.all)
	t.Logf("each text once: %v (tuned on: %v; held out: %v)", total.distinct, tuned.distinct, held.distinct)
	for name, s := range map[string]share{"all": total.all, "held out": held.all, "each once": total.distinct} {
		if s.priced*100 < s.amount*60 {
			t.Errorf("%s: %v became components, want at least 60%%", name, s)
		}
	}
	if total.all.texts != 308 {
		t.Errorf("the catalog holds %d price texts, want 308", total.all.texts)
	}
}

// share counts texts: all of them, those with an amount, those that became components.
type share struct{ texts, amount, priced int }

func (s share) String() string {
	return fmt.Sprintf("%d/%d (%.0f%%)", s.priced, s.amount, 100*float64(s.priced)/float64(max(s.amount, 1)))
}

type tally struct{ all, distinct share }

func (c *tally) count(text realText, amount, priced bool) {
	add := func(s *share, n int) {
		s.texts += n
		if amount {
			s.amount += n
		}
		if priced {
			s.priced += n
		}
	}
	add(&c.all, text.times)
	add(&c.distinct, 1)
}

func (c tally) plus(d tally) tally {
	sum := func(a, b share) share { return share{a.texts + b.texts, a.amount + b.amount, a.priced + b.priced} }
	return tally{sum(c.all, d.all), sum(c.distinct, d.distinct)}
}

// lowered writes units and items in one way, so that "GB" and "gb" agree.
func lowered[T Component | labelComponent](list []T) []Component {
	out := make([]Component, len(list))
	for i, v := range list {
		switch v := any(v).(type) {
		case Component:
			out[i] = v
		case labelComponent:
			out[i] = v.component()
		}
		out[i].Unit, out[i].Item = strings.ToLower(out[i].Unit), strings.ToLower(out[i].Item)
	}
	return out
}

// realText is one price text and how often it stands among paid_pricing.
type realText struct {
	text  string
	times int
}

func realPriceTexts(t testing.TB) []realText {
	var slice struct {
		Services []struct {
			Pricing struct {
				PaidPricing []struct{ Freeform string } `json:"paid_pricing"`
				Component   struct {
					Options []struct {
						Paid struct{ Freeform string } `json:"paid"`
					} `json:"options"`
				} `json:"component"`
			} `json:"pricing"`
		} `json:"services"`
	}
	if err := json.Unmarshal(readSlice(t), &slice); err != nil {
		t.Fatal(err)
	}
	var texts []realText
	at := map[string]int{}
	see := func(text string, n int) {
		if text == "" {
			return
		}
		if _, seen := at[text]; !seen {
			at[text] = len(texts)
			texts = append(texts, realText{text: text})
		}
		texts[at[text]].times += n
	}
	for _, s := range slice.Services {
		for _, p := range s.Pricing.PaidPricing {
			see(p.Freeform, 1)
		}
		for _, o := range s.Pricing.Component.Options {
			see(o.Paid.Freeform, 0)
		}
	}
	return texts
}

// readSlice finds the shared data beside the repository; without it the test is
// skipped by name.
func readSlice(t testing.TB) []byte {
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for !exists(filepath.Join(dir, "go.mod")) {
		if dir == filepath.Dir(dir) {
			t.Fatal("no go.mod above the test")
		}
		dir = filepath.Dir(dir)
	}
	data, err := os.ReadFile(filepath.Join(dir, "..", "shared", "data", "catalog-slice.json"))
	if errors.Is(err, fs.ErrNotExist) {
		t.Skipf("%s skipped: ../shared/data/catalog-slice.json is absent", t.Name())
	}
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

func readLabels(t testing.TB) map[string]label {
	data, err := os.ReadFile(filepath.Join("testdata", "price_labels.json"))
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Labels map[string]label `json:"labels"`
	}
	if err := json.Unmarshal(data, &file); err != nil {
		t.Fatal(err)
	}
	return file.Labels
}
