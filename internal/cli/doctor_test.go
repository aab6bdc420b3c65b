package cli

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/purser-dev/purser"
	"github.com/purser-dev/purser/client"
)

// A server that is up and cannot write is not told to be started.
func TestAServerThatIsUpIsNotToBeStarted(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/problem+json")
		w.WriteHeader(http.StatusServiceUnavailable)
		_, _ = w.Write([]byte(`{"status":503,"code":"unavailable","detail":"the database does not answer, or cannot write"}`))
	}))
	c, err := client.New(client.Config{URL: server.URL})
	if err != nil {
		t.Fatal(err)
	}
	hint := func() (out string) {
		(&session{server: server.URL}).diagnoseServer(t.Context(), c, "", func(what, hint string, err error, _ string, _ ...any) {
			if what == "server" && err != nil {
				out = hint
			}
		})
		return out
	}
	if got := hint(); !strings.Contains(got, "disk") {
		t.Errorf("it is up: %s", got)
	}
	server.Close()
	if got := hint(); got != "purser up" {
		t.Errorf("it is down: %s", got)
	}
}

// A provider's key may not ask whose it is, and is no fault.
func TestWhoMayNotAskIsSignedInWellEnough(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/readyz" {
			_, _ = w.Write([]byte("{}"))
			return
		}
		w.Header().Set("Content-Type", "application/problem+json")
		w.WriteHeader(http.StatusForbidden)
		_, _ = w.Write([]byte(`{"status":403,"code":"forbidden","detail":"this credential (provider) may not whoami"}`))
	}))
	defer server.Close()
	c, err := client.New(client.Config{URL: server.URL})
	if err != nil {
		t.Fatal(err)
	}
	asked := false
	(&session{server: server.URL}).diagnoseServer(t.Context(), c, "", func(what, hint string, err error, _ string, _ ...any) {
		if what == "sign-in" {
			if asked = true; err != nil {
				t.Errorf("%v; %s", err, hint)
			}
		}
	})
	if !asked {
		t.Error("the sign-in was not looked at")
	}
}

func TestAWitnessThatKeepsNothingIsAFault(t *testing.T) {
	for _, c := range []struct {
		name  string
		state purser.WitnessState
		fault bool
	}{
		{"it has all", purser.WitnessState{Place: "url", Size: 40}, false},
		{"it was not tried yet", purser.WitnessState{Place: "url", Behind: 1}, false},
		{"it is away for a moment", purser.WitnessState{Place: "url", Size: 40, Behind: 1, Fails: 2, Error: "connection refused"}, false},
		{"it is away for long", purser.WitnessState{Place: "url", Size: 40, Behind: 9, Fails: 6, Error: "connection refused"}, true},
		{"it never kept anything", purser.WitnessState{Place: "url", Behind: 40, Fails: 1, Error: "connection refused"}, true},
	} {
		found := 0
		diagnoseWitness(purser.Status{Witnesses: []purser.WitnessState{c.state}}, nil, func(what, hint string, err error, _ string, _ ...any) {
			found++
			if (err != nil) != c.fault || !strings.Contains(hint, "audit.witness.url") || c.fault && !strings.Contains(err.Error(), "connection refused") {
				t.Errorf("%s: %s: %v; %s", c.name, what, err, hint)
			}
		})
		if found != 1 {
			t.Errorf("%s: %d findings", c.name, found)
		}
	}
}
