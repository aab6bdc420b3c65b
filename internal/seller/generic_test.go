package seller

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/purser-dev/purser"
	"github.com/purser-dev/purser/app"
	"github.com/purser-dev/purser/internal/seal"
	sdk "github.com/purser-dev/purser/provider"
)

func secretOf(s string) seal.Secret { return seal.NewSecret(s) }

// recording keeps the headers of each request.
func recording(headers *[]map[string][]string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		*headers = append(*headers, r.Header.Clone())
		_, _ = io.WriteString(w, `{"status":"complete","id":"r","complete":{"access_configuration":{"k":"v"}}}`)
	}
}

// A provider of our own SDK with the generic profile, which fetches our document and
// our keys, and never saw a shared secret of ours.
func TestAPartnerIsKnownByItsDocumentAndItsKey(t *testing.T) {
	c := &clock{time.Now()}
	k := newKeys(t, &memory{}, c)
	var us *httptest.Server
	us = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == ClientIDPath {
			_ = json.NewEncoder(w).Encode(map[string]any{
				"client_id": ClientID(us.URL), "redirect_uris": []string{us.URL + "/v1/flows/callback"}, "token_endpoint_auth_method": "private_key_jwt",
				"jwks_uri": us.URL + "/jwks", "dev.purser": map[string]any{"provisioning": true},
			})
			return
		}
		set, err := k.JWKS()
		if err != nil {
			t.Error(err)
		}
		_ = json.NewEncoder(w).Encode(map[string]any{"keys": set})
	}))
	t.Cleanup(us.Close)

	var handler http.Handler
	var bodies []string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		raw, _ := io.ReadAll(r.Body)
		bodies = append(bodies, r.URL.Path+" "+string(raw))
		for name := range r.Header {
			if strings.Contains(name, "Signature") {
				t.Errorf("%s was sent with %s", r.URL.Path, name)
			}
		}
		r.Body = io.NopCloser(strings.NewReader(string(raw)))
		handler.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	p := registered(server.URL + "/app/")
	p.Profile, p.Secret = "generic", seal.Secret{}
	p.Manifest.Capabilities = []string{app.CapRotate}
	var err error
	handler, err = sdk.New(sdk.Config{
		Manifest: p.Manifest, Store: sdk.NewMemoryStore(), Generic: &sdk.Generic{Loopback: true, DefaultService: "free"},
		Catalog: []app.CatalogService{{ID: "free", Kind: app.KindDeployable, Pricing: app.Pricing{Type: app.PriceFree}}},
		Hooks: sdk.Hooks{Provision: func(context.Context, sdk.Request) (sdk.Provisioned, error) {
			return sdk.Provisioned{AccessConfiguration: map[string]string{"key": "k"}}, nil
		}},
	})
	if err != nil {
		t.Fatal(err)
	}
	s := newSeller(nil)
	s.cfg.Keys, s.cfg.Key, s.cfg.Origin = k, []byte("0123456789abcdef0123456789abcdef"), func() string { return us.URL }

	linked, err := s.Link(t.Context(), p, request("acctreq_1"))
	if err != nil || linked.Token.AccessToken == "" {
		t.Fatalf("linked %+v (%v)", linked, cause(err))
	}
	r, err := s.Create(t.Context(), p, secretOf(linked.Token.AccessToken), "k1", app.CreateRequest{
		ServiceID: "free", OrchestratorResourceID: "ord_1", Payment: &app.Payment{Type: app.PaymentSandbox, Token: "sbx_1"},
	})
	if err != nil || r.Status != app.StatusComplete {
		t.Fatalf("created %+v (%v)", r, cause(err))
	}
	if _, err := s.Refresh(t.Context(), p, secretOf(linked.Token.RefreshToken)); err != nil {
		t.Errorf("refreshing: %v", cause(err))
	}
	for _, body := range bodies {
		for _, member := range []string{`"orchestrator"`, `"service_id"`, `"payment_credentials"`} {
			if strings.Contains(body, member) {
				t.Errorf("%s was sent in %s", member, body)
			}
		}
	}
}

func cause(err error) string {
	var all []string
	for err != nil {
		all = append(all, err.Error())
		u, ok := err.(interface{ Unwrap() error })
		if !ok {
			break
		}
		err = u.Unwrap()
	}
	return strings.Join(all, ": ")
}

func TestAPartnerWithoutAKeySendsNothing(t *testing.T) {
	calls := 0
	p, s := script(t, func(http.ResponseWriter, *http.Request) { calls++ })
	p.Profile = "generic"
	if _, err := s.Link(t.Context(), p, request("acctreq_1")); purser.CodeOf(err) != purser.ProviderFailure {
		t.Errorf("got %v", err)
	}
	if calls != 0 {
		t.Errorf("%d calls", calls)
	}
}

// A code that came back for an approved request is exchanged; one that does not work
// any more is replaced by sending the request again, once.
func TestACodeThatCameBackIsExchangedOrReplaced(t *testing.T) {
	for name, c := range map[string]struct {
		tokens   []string
		requests int
		code     purser.Code
	}{
		"it works":            {[]string{granted}, 0, ""},
		"it ran out":          {[]string{burnt, granted}, 1, ""},
		"nothing works":       {[]string{burnt}, 1, purser.ProviderFailure},
		"the answer was lost": {[]string{`200 {}`}, 0, purser.OutcomeUnknown},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := &wire{accounts: []string{code}, tokens: c.tokens}
				linked, err := newSeller(w).Redeem(t.Context(), registered("https://example.com/"), request("acctreq_1"), "front")
				check(t, "redeem", err, c.code)
				if c.code == "" && linked.Token.AccessToken != "at" {
					t.Errorf("linked %+v", linked)
				}
				if !strings.Contains(w.forms[0], "code=front") || len(w.requests) != c.requests {
					t.Errorf("%d requests after %q", len(w.requests), w.forms[0])
				}
			})
		})
	}
}

func TestAnAccountGoesToItsRegionAndIsCheckedBeforeItIsAskedFor(t *testing.T) {
	p := registered("https://us.example/api/")
	p.Manifest.RegionBaseURLs = map[string]string{"US": "https://us.example/api/", "EU": "https://eu.example/api/"}
	p.Manifest.AccountConfigurationSchema = json.RawMessage(`{"type":"object","required":["region"],"properties":{"region":{"type":"string","enum":["US","EU"]}}}`)
	for region, want := range map[string]struct {
		base string
		code purser.Code
	}{
		"EU": {"https://eu.example/api/", ""},
		"US": {"https://us.example/api/", ""},
		"":   {"", purser.NeedsInformation},
		"AP": {"", purser.InvalidRequest},
	} {
		w := &wire{accounts: []string{code}, tokens: []string{granted}}
		req := request("acctreq_1")
		if region != "" {
			req.Configuration = map[string]any{"region": region}
		}
		linked, err := newSeller(w).Link(t.Context(), p, req)
		check(t, region, err, want.code)
		if linked.BaseURL != want.base || (want.code != "") != (len(w.requests) == 0) {
			t.Errorf("%q: at %q after %d requests", region, linked.BaseURL, len(w.requests))
		}
	}
}
