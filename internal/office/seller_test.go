package office_test

import (
	"context"
	"maps"
	"strings"
	"time"

	"github.com/purser-dev/purser"
	"github.com/purser-dev/purser/app"
	"github.com/purser-dev/purser/internal/office"
	"github.com/purser-dev/purser/internal/seal"
)

func (s *seller) Link(ctx context.Context, p office.Provider, req app.AccountRequest) (office.Linked, error) {
	s.mu.Lock()
	ask := s.asks
	s.mu.Unlock()
	if ask != nil {
		if linked, err := ask(req, ""); linked.Consent != nil || err != nil {
			return linked, err
		}
	}
	token, err := s.token(ctx, req)
	return office.Linked{Token: token, BaseURL: p.Manifest.BaseURL}, err
}

func (s *seller) Redeem(ctx context.Context, p office.Provider, req app.AccountRequest, code string) (office.Linked, error) {
	s.mu.Lock()
	ask := s.asks
	s.mu.Unlock()
	if _, err := ask(req, code); err != nil {
		return office.Linked{}, err
	}
	token, err := s.token(ctx, req)
	return office.Linked{Token: token, BaseURL: p.Manifest.BaseURL}, err
}

// Update answers as PostHog does: without credentials.
func (s *seller) Update(_ context.Context, _ office.Provider, _ seal.Secret, _, id string, req app.UpdateRequest) (app.Resource, error) {
	s.mu.Lock()
	hook := s.update
	s.mu.Unlock()
	if hook != nil {
		hook()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	order := strings.TrimPrefix(id, "r_")
	r, there := s.sold[order]
	if !there {
		return app.Resource{}, purser.Errorf(purser.ProviderFailure, "nothing is called %q", id)
	}
	r.ServiceID = req.ServiceID
	s.sold[order] = r
	r.Complete = &app.Complete{}
	return r, nil
}

func (s *seller) Rotate(_ context.Context, _ office.Provider, _ seal.Secret, key, id string) (app.Resource, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.rotate != nil {
		return app.Resource{}, s.rotate()
	}
	order := strings.TrimPrefix(id, "r_")
	r, there := s.sold[order]
	if !there {
		return app.Resource{}, purser.Errorf(purser.ProviderFailure, "nothing is called %q", id)
	}
	access := maps.Clone(r.Complete.AccessConfiguration)
	access["token"] = "of " + key // the same key gives the same one
	r.Complete = &app.Complete{AccessConfiguration: access, ExpiresAt: app.At(s.ends)}
	s.sold[order] = r
	return r, nil
}

func (s *seller) DeepLink(_ context.Context, p office.Provider, _ seal.Secret, purpose, path string) (app.DeepLink, error) {
	return app.DeepLink{Purpose: purpose, URL: p.Manifest.BaseURL + "login" + path, ExpiresAt: app.At(time.Now().Add(10 * time.Minute))}, nil
}
