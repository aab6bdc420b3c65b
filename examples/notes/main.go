// Command notes is a provider of two services in one file: free notebooks, and a
// paid plan. Run it, then register http://localhost:7801/manifest.json.
package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"flag"
	"fmt"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/purser-dev/purser/app"
	"github.com/purser-dev/purser/provider"
)

func main() {
	addr := flag.String("addr", "localhost:7801", "address to listen on")
	flag.Parse()
	secret := os.Getenv("NOTES_SIGNING_SECRET")
	if secret == "" {
		fmt.Fprintln(os.Stderr, "notes: set NOTES_SIGNING_SECRET to the secret the orchestrator signs with")
		os.Exit(2)
	}
	handler, err := newNotes("http://"+*addr, secret)
	if err != nil {
		fmt.Fprintln(os.Stderr, "notes:", err)
		os.Exit(1)
	}
	server := &http.Server{Addr: *addr, Handler: handler, ReadHeaderTimeout: 10 * time.Second}
	fmt.Println("manifest: http://" + *addr + "/manifest.json")
	fmt.Fprintln(os.Stderr, "notes:", server.ListenAndServe())
	os.Exit(1)
}

// catalog is what notes sells.
var catalog = []app.CatalogService{
	{
		ID: "notebook", Description: "A notebook with an API key.", Categories: []string{"storage"},
		Kind: app.KindDeployable, Pricing: app.Pricing{Type: app.PriceFree},
		ConfigurationSchema: &app.Schema{Type: "object", Properties: map[string]app.Property{
			"title": {Type: "string", Default: "Notes"},
		}},
		AllowedUpdates: []app.Update{{Service: "shelf", Direction: "up"}},
	},
	{
		ID: "shelf", Description: "A notebook with room for more.", Categories: []string{"storage"},
		Kind: app.KindDeployable, Pricing: app.Pricing{Type: app.PriceFree},
	},
	{
		ID: "pro", Description: "The paid plan.", Categories: []string{"storage"}, Kind: app.KindPlan, Scope: app.ScopeAccount,
		Pricing: app.Pricing{Type: app.PricePaid, Paid: app.Tiers{{
			Type: app.PriceFreeform, Freeform: "5.00 USD per month",
			XPrice: &app.Price{Currency: "USD", AmountMinor: 500, Interval: "month"},
		}}},
	},
}

// newNotes mounts the provider below /app/ and the manifest beside it.
func newNotes(origin, secret string) (http.Handler, error) {
	manifest := app.Manifest{
		Name: "notes", BaseURL: origin + "/app/", OAuthTokenEndpoint: origin + "/app/oauth/token",
		Capabilities:           []string{app.CapFind, app.CapQuotes, app.CapRotate, app.CapUpdate, app.CapDeprovision},
		PaymentCredentialTypes: []string{app.PaymentSandbox},
	}
	n := &notes{keys: map[string]string{}, charged: map[string]int64{}}
	p, err := provider.New(provider.Config{
		Manifest: manifest, Catalog: catalog, Secrets: []string{secret}, Store: provider.NewMemoryStore(),
		Hooks: provider.Hooks{
			Quote: n.quote, ActivatePayment: n.charge, Provision: n.provision,
			Update: n.update, Rotate: n.rotate, Remove: n.remove,
		},
	})
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.Handle("/app/", p)
	mux.HandleFunc("GET /manifest.json", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(manifest)
	})
	return mux, nil
}

// notes keeps one API key per resource, in memory.
type notes struct {
	mu      sync.Mutex
	keys    map[string]string // resource id -> API key
	charged map[string]int64  // payment key -> minor units
}

func (n *notes) quote(_ context.Context, r provider.QuoteRequest) (app.Quote, error) {
	if r.Service != "pro" {
		return app.Quote{Item: r.Service, Currency: "USD", Interval: "once"}, nil
	}
	renewal := &app.Renewal{AmountMinor: 500, Currency: "USD", Interval: "month"}
	return app.Quote{Item: "pro", AmountMinor: 500, Currency: "USD", Interval: "month", Renewal: renewal}, nil
}

// charge would redeem p.Token at the orchestrator; p.Key makes it happen once.
func (n *notes) charge(_ context.Context, p provider.Payment) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.charged[p.Key] = int64(p.Amount.AmountMinor)
	return nil
}

// provision gives the key made before, if a crash lost the answer.
func (n *notes) provision(_ context.Context, r provider.Request) (provider.Provisioned, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if r.Service == "pro" {
		return provider.Provisioned{}, nil
	}
	if n.keys[r.ID] == "" {
		n.keys[r.ID] = "key_" + rand.Text()
	}
	return provider.Provisioned{AccessConfiguration: map[string]string{"api_key": n.keys[r.ID]}}, nil
}

func (n *notes) update(context.Context, provider.Resource, provider.Request) (provider.Provisioned, error) {
	return provider.Provisioned{}, nil
}

func (n *notes) rotate(_ context.Context, r provider.Resource) (provider.Provisioned, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.keys[r.ID] = "key_" + rand.Text()
	return provider.Provisioned{AccessConfiguration: map[string]string{"api_key": n.keys[r.ID]}}, nil
}

func (n *notes) remove(_ context.Context, r provider.Resource) (provider.Provisioned, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.keys, r.ID)
	return provider.Provisioned{}, nil
}
