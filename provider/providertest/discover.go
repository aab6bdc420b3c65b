package providertest

import (
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"fmt"

	"github.com/purser-dev/purser/app"
)

// FromManifest is what a manifest tells the suite. It knows no secret.
func FromManifest(m app.Manifest) Config {
	c := Config{BaseURL: m.BaseURL, TokenURL: m.OAuthTokenEndpoint, Capabilities: m.Capabilities}
	if len(m.PaymentCredentialTypes) > 0 {
		c.PaymentType = m.PaymentCredentialTypes[0]
	}
	if len(m.DeepLinkPurposes) > 0 {
		c.DeepLinkPurpose = m.DeepLinkPurposes[0]
	}
	return c
}

// Discover reads the catalog and fills in the services that the suite was not told:
// a free deployable that needs no configuration, something it may be updated to, a
// paid service and a plan.
func Discover(ctx context.Context, c Config) (Config, error) {
	c = c.withDefaults()
	signer := app.SignerConfig{Secrets: []string{c.SigningSecret}, Now: c.Now}
	if seed, err := base64.RawURLEncoding.DecodeString(c.V2Seed); err == nil && len(seed) == ed25519.SeedSize {
		signer.Key = &app.Key{ID: c.V2KeyID, Private: ed25519.NewKeyFromSeed(seed)}
	}
	s, err := app.NewSigner(signer)
	if err != nil {
		return c, fmt.Errorf("reading the catalog: %w", err)
	}
	client, err := app.NewClient(app.ClientConfig{BaseURL: c.BaseURL, TokenURL: c.TokenURL, Signer: s, Account: c.Account, Transport: c.Transport})
	if err != nil {
		return c, fmt.Errorf("reading the catalog: %w", err)
	}
	entries, err := client.Services(ctx)
	if err != nil {
		return c, fmt.Errorf("reading the catalog: %w", err)
	}
	c.fill(entries)
	return c, nil
}

func (c *Config) fill(entries []json.RawMessage) {
	services, _ := app.Normalize("provider", entries)
	byID := map[string]app.Service{}
	set := func(field *string, id string, good bool) {
		if *field == "" && good {
			*field = id
		}
	}
	for _, s := range services {
		byID[s.ServiceID] = s
		_, faults := app.Configure(s, c.Configurations[s.ServiceID])
		simple := len(faults) == 0
		free := s.Pricing.Type == app.PriceFree
		set(&c.FreeService, s.ServiceID, simple && free && s.Kind == app.KindDeployable)
		set(&c.PaidService, s.ServiceID, simple && s.Pricing.Type == app.PricePaid)
		set(&c.PlanService, s.ServiceID, simple && s.Kind == app.KindPlan)
	}
	for _, update := range byID[c.FreeService].AllowedUpdates {
		target, known := byID[update.Service]
		_, faults := app.Configure(target, c.Configurations[update.Service])
		set(&c.UpdateTarget, update.Service, known && len(faults) == 0 && target.Pricing.Type == app.PriceFree)
	}
}
