package fakes

import (
	"context"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"

	"github.com/purser-dev/purser/app"
	sdk "github.com/purser-dev/purser/provider"
)

// Notes is a provider made with our SDK, as examples/notes is.
type Notes struct {
	Manifest string
	URL      string // where its routes begin

	mu   sync.Mutex
	keys map[string]string // resource -> API key
	made int
}

// NewNotes starts one. It ends with the test. change completes its configuration:
// orchestrators, hooks.
func NewNotes(t *testing.T, change func(*sdk.Config)) *Notes {
	t.Helper()
	n := &Notes{keys: map[string]string{}}
	var handler http.Handler
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { handler.ServeHTTP(w, r) }))
	t.Cleanup(server.Close)
	n.URL = server.URL + "/app/"
	cfg := sdk.Config{
		Manifest: app.Manifest{
			Name: "notes", BaseURL: n.URL, OAuthTokenEndpoint: n.URL + "oauth/token", PaymentCredentialTypes: []string{app.PaymentSandbox},
			Capabilities: []string{app.CapFind, app.CapRotate, app.CapUpdate, app.CapDeprovision},
		},
		Orchestrators: []sdk.Orchestrator{{Name: "purser", Secrets: []string{Secret}}},
		Store:         sdk.NewMemoryStore(),
		Catalog: []app.CatalogService{
			{
				ID: "notebook", Description: "A notebook.", Categories: []string{"storage"}, Kind: app.KindDeployable, Pricing: app.Pricing{Type: app.PriceFree},
				AllowedUpdates: []app.Update{{Service: "shelf", Direction: "up"}},
			},
			{ID: "shelf", Description: "More room.", Categories: []string{"storage"}, Kind: app.KindDeployable, Pricing: app.Pricing{Type: app.PriceFree}},
		},
		Hooks: sdk.Hooks{
			Provision: func(_ context.Context, r sdk.Request) (sdk.Provisioned, error) { return n.open(r.ID, false), nil },
			Update: func(context.Context, sdk.Resource, sdk.Request) (sdk.Provisioned, error) {
				return sdk.Provisioned{}, nil
			},
			Rotate: func(_ context.Context, r sdk.Resource) (sdk.Provisioned, error) { return n.open(r.ID, true), nil },
			Remove: func(_ context.Context, r sdk.Resource) (sdk.Provisioned, error) {
				n.mu.Lock()
				defer n.mu.Unlock()
				delete(n.keys, r.ID)
				return sdk.Provisioned{}, nil
			},
		},
	}
	if change != nil {
		change(&cfg)
	}
	p, err := sdk.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	handler, n.Manifest = p, manifest(t, cfg.Manifest)
	return n
}

func (n *Notes) open(id string, anew bool) sdk.Provisioned {
	n.mu.Lock()
	defer n.mu.Unlock()
	if anew || n.keys[id] == "" {
		n.keys[id] = random("key_")
		n.made++
	}
	return sdk.Provisioned{AccessConfiguration: map[string]string{"api_key": n.keys[id]}}
}

// Key is the API key of a resource now; empty when there is none.
func (n *Notes) Key(id string) string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.keys[id]
}

// Made counts the keys that were made.
func (n *Notes) Made() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.made
}
