package provider

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"

	"github.com/purser-dev/purser/app"
)

func (c *call) health() error {
	if err := c.publicChecks(); err != nil {
		return err
	}
	return c.answer(http.StatusOK, app.Health{SupportedVersions: []string{app.Version}, Status: "ok"})
}

func (c *call) services() error {
	if err := c.publicChecks(); err != nil {
		return err
	}
	return c.answer(http.StatusOK, app.CatalogPage{Data: c.p.services(c.r.Context())})
}

// publicChecks is the order of health and services (7.3).
func (c *call) publicChecks() error {
	if err := c.global(); err != nil {
		return err
	}
	if err := c.read(); err != nil {
		return err
	}
	if err := c.signature(); err != nil {
		return err
	}
	return c.version()
}

// services is the live catalog, else the last good one, else the static list (11.1).
func (p *Provider) services(ctx context.Context) []app.CatalogService {
	if p.cfg.Hooks.Services == nil {
		return p.cfg.Catalog
	}
	live, err := p.liveServices(ctx)
	p.stale.Lock()
	defer p.stale.Unlock()
	if err == nil {
		p.catalog = live
		return live
	}
	p.cfg.Log.WarnContext(ctx, "catalog is stale", "error", err)
	if p.catalog != nil {
		return p.catalog
	}
	return p.cfg.Catalog
}

// liveServices shields the catalog from a hook that panics or gives rubbish.
func (p *Provider) liveServices(ctx context.Context) (live []app.CatalogService, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("panic: %v", r)
		}
	}()
	if live, err = p.cfg.Hooks.Services(ctx); err != nil {
		return nil, err
	}
	return live, checkCatalog(live)
}

// service finds a catalog entry and its normalised form.
func (p *Provider) service(ctx context.Context, id string) (app.Service, bool) {
	if p.cfg.Hooks.Services == nil {
		s, ok := p.static[id]
		return s, ok
	}
	for _, entry := range p.services(ctx) {
		if entry.ID == id {
			s, _ := entry.Normalized(p.cfg.Manifest.Name)
			return s, true
		}
	}
	return app.Service{}, false
}

// normalized is a catalog that does not change, as orders are checked against it.
func normalized(catalog []app.CatalogService, name string) map[string]app.Service {
	services := make(map[string]app.Service, len(catalog))
	for _, entry := range catalog {
		services[entry.ID], _ = entry.Normalized(name)
	}
	return services
}

// checkCatalog refuses what 11.1 forbids a provider to publish.
func checkCatalog(catalog []app.CatalogService) error {
	ids := map[string]bool{}
	for _, s := range catalog {
		if s.ID == "" || ids[s.ID] {
			return fmt.Errorf("catalog: service id %q is empty or used twice", s.ID)
		}
		ids[s.ID] = true
		if s.Kind != app.KindPlan && s.Kind != app.KindDeployable {
			return fmt.Errorf("catalog: service %s: kind %q is neither plan nor deployable", s.ID, s.Kind)
		}
		if !slices.Contains([]string{app.PriceFree, app.PricePaid, app.PriceComponent}, s.Pricing.Type) {
			return fmt.Errorf("catalog: service %s: unknown pricing type %q", s.ID, s.Pricing.Type)
		}
	}
	for _, s := range catalog {
		for _, u := range s.AllowedUpdates {
			if u.Service == app.ServiceRef {
				return fmt.Errorf("catalog: service %s: the wildcard %s is read, never published", s.ID, app.ServiceRef)
			}
		}
		if s.Pricing.Component == nil {
			continue
		}
		for _, o := range s.Pricing.Component.Options {
			for _, parent := range o.ParentServiceIDs {
				if !ids[parent] {
					return fmt.Errorf("catalog: service %s: parent %q is not in the catalog", s.ID, parent)
				}
			}
		}
	}
	if len(catalog) == 0 {
		return errors.New("catalog: at least one service is needed")
	}
	return nil
}
