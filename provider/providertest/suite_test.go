package providertest_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/xml"
	"flag"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/purser-dev/purser/provider"
	"github.com/purser-dev/purser/provider/providertest"
)

var update = flag.Bool("update", false, "write testdata/wrong_providers.txt from what fails now; read the difference")

func TestTheMemoryStoreIsAStore(t *testing.T) {
	providertest.TestStore(t, func(*testing.T) provider.Store { return provider.NewMemoryStore() })
}

func TestARightProviderPassesEveryCaseInOneOfItsVariants(t *testing.T) {
	passed, all := map[string]bool{}, map[string]bool{}
	for _, v := range variants {
		t.Run(v.name, func(t *testing.T) {
			report := judge(t, v.name, nil, nil, nil)
			if !report.OK() {
				t.Error(report)
			}
			for _, id := range report.IDs(providertest.Passed) {
				passed[id] = true
			}
			for _, result := range report.Results {
				all[result.ID] = true
			}
		})
	}
	for id := range all {
		if !passed[id] {
			t.Errorf("%s passes in no variant", id)
		}
	}
}

const tableFile = "testdata/wrong_providers.txt"

// readTable reads lines of "name: ID ID ...".
func readTable(t *testing.T) map[string][]string {
	t.Helper()
	raw, err := os.ReadFile(tableFile)
	if err != nil && !*update {
		t.Fatal(err)
	}
	table := map[string][]string{}
	lines := bufio.NewScanner(bytes.NewReader(raw))
	for lines.Scan() {
		if name, ids, ok := strings.Cut(lines.Text(), ": "); ok && !strings.HasPrefix(name, "#") {
			table[name] = strings.Fields(ids)
		}
	}
	return table
}

const tableHead = `# Each wrong provider of wrong_test.go, and exactly the cases that fail on it. All
# other cases pass, or are skipped for want of a capability. Written by
# go test ./provider/providertest -update; a change here needs a reason.

`

func TestEachWrongProviderFailsExactlyItsCases(t *testing.T) {
	want, got := readTable(t), map[string][]string{}
	var mu sync.Mutex
	t.Run("provider", func(t *testing.T) {
		for i, wrong := range wrongProviders {
			if testing.Short() && i%8 != 0 {
				continue // each is the whole suite once more; the race detector has seen it by then
			}
			t.Run(wrong.name, func(t *testing.T) {
				t.Parallel()
				var tamper func(http.Handler) http.Handler
				if wrong.tamper != nil {
					tamper = wrong.tamper()
				}
				change := wrong.change
				if wrong.both != nil {
					change, tamper = wrong.both()
				}
				report := judge(t, wrong.on, change, tamper, nil)
				failed := report.IDs(providertest.Failed)
				if len(failed) == 0 {
					t.Error("no case tells what is wrong")
				}
				if diff := cmp.Diff(want[wrong.name], failed); diff != "" && !*update {
					t.Errorf("failing cases (-want +got):\n%s\n%s", diff, report)
				}
				mu.Lock()
				defer mu.Unlock()
				got[wrong.name] = failed
			})
		}
	})
	for name := range want {
		if got[name] == nil && !*update && !testing.Short() {
			t.Errorf("%s names %q, which is none of the wrong providers", tableFile, name)
		}
	}
	if *update && !testing.Short() {
		var b strings.Builder
		b.WriteString(tableHead)
		for _, name := range slices.Sorted(maps.Keys(got)) {
			fmt.Fprintf(&b, "%s: %s\n", name, strings.Join(got[name], " "))
		}
		if err := os.MkdirAll(filepath.Dir(tableFile), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(tableFile, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// cannotFail are cases that no wrong provider here fails, each with its reason.
var cannotFail = map[string]string{}

func TestEachCaseFailsOnAWrongProvider(t *testing.T) {
	failing, all := map[string]bool{}, map[string]bool{}
	for _, ids := range readTable(t) {
		for _, id := range ids {
			failing[id] = true
		}
	}
	report := providertest.Run(t.Context(), providertest.Config{BaseURL: "http://127.0.0.1:1/", Only: []string{"none"}})
	if len(report.Results) != 0 {
		t.Fatal("Only is not kept")
	}
	for _, id := range providertest.CaseIDs() {
		all[id] = true
		if failing[id] == (cannotFail[id] != "") {
			t.Errorf("%s: a wrong provider fails it: %v, a reason why none can: %q; want one of both", id, failing[id], cannotFail[id])
		}
	}
	for id := range failing {
		if !all[id] {
			t.Errorf("%s names the case %s, which is not there", tableFile, id)
		}
	}
	if len(wrongProviders) < 25 {
		t.Errorf("%d wrong providers, want at least 25", len(wrongProviders))
	}
}

func TestAReportShowsNoSecret(t *testing.T) {
	report := judge(t, "", func(c *provider.Config) {
		c.Hooks.Read = func(context.Context, provider.Resource) (provider.Provisioned, error) {
			return provider.Provisioned{AccessConfiguration: map[string]string{"api_key": "a-minted-credential"}}, nil
		}
	}, nil, []string{"R10"})
	if text := report.String(); !strings.Contains(text, "failed  R10") || strings.Contains(text, "a-minted-credential") {
		t.Errorf("want a failure of R10 without the credential:\n%s", text)
	}
}

func TestACaseWithoutItsInputsIsSkippedWithAReason(t *testing.T) {
	report := providertest.Run(t.Context(), providertest.Config{BaseURL: "http://127.0.0.1:1/", Only: []string{"R1", "A16", "F1"}})
	for _, result := range report.Results {
		if result.Outcome != providertest.Skipped || result.Detail == "" {
			t.Errorf("%+v, want it skipped with a reason", result)
		}
	}
	if len(report.Results) != 3 || report.OK() {
		t.Errorf("%d results, OK %v; want three and not OK", len(report.Results), report.OK())
	}
}

func TestOnlyTakesPatterns(t *testing.T) {
	report := judge(t, "", nil, nil, []string{"S5*", "R1"})
	ids := report.IDs(providertest.Passed)
	if !slices.Contains(ids, "S50") || !slices.Contains(ids, "R1") || slices.Contains(ids, "S1") {
		t.Errorf("ran %v, want S5* and R1", ids)
	}
}

func TestTheJUnitReportIsWholeAndReadable(t *testing.T) {
	report := judge(t, "", func(c *provider.Config) { c.Hooks.Rotate = nil }, nil, []string{"X1", "S1", "U52"})
	var b bytes.Buffer
	if err := report.WriteJUnit(&b); err != nil {
		t.Fatal(err)
	}
	var suite struct {
		Tests    int `xml:"tests,attr"`
		Failures int `xml:"failures,attr"`
		Skipped  int `xml:"skipped,attr"`
		Cases    []struct {
			Name    string  `xml:"name,attr"`
			Failure *string `xml:"failure"`
			Skipped *string `xml:"skipped"`
		} `xml:"testcase"`
	}
	if err := xml.Unmarshal(b.Bytes(), &suite); err != nil {
		t.Fatal(err)
	}
	if suite.Tests != 3 || suite.Failures != 1 || suite.Skipped != 1 || len(suite.Cases) != 3 {
		t.Errorf("got %+v, want three cases with one failure and one skipped:\n%s", suite, b.String())
	}
}

func TestInteropToleratesWhatIsSeenAndNothingElse(t *testing.T) {
	wrong := func(name string) func(http.Handler) http.Handler {
		for _, w := range wrongProviders {
			if w.name == name {
				return w.tamper()
			}
		}
		t.Fatalf("no wrong provider %q", name)
		return nil
	}
	only := []string{"R3", "R5", "U5", "S2"}
	if report := judge(t, "interop", nil, wrong("answers errors with HTTP 200"), only); !report.OK() {
		t.Errorf("domain errors under HTTP 200 are seen (7.1), and yet:\n%s", report)
	}
	if report := judge(t, "base", nil, wrong("answers errors with HTTP 200"), only); report.OK() {
		t.Error("the strict suite tolerates domain errors under HTTP 200")
	}
	if report := judge(t, "interop", nil, wrong("checks no signature at all"), only); report.OK() {
		t.Error("interop tolerates a provider that checks no signature")
	}
}
