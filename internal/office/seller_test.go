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

// Update answers as PostHog does: without credentials.
func (s *seller) Update(_ context.Context, _ office.Provider, _ seal.Secret, _, id string, req app.UpdateRequest) (app.Resource, error) {
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
	order := strings.TrimPrefix(id, "r_")
	r, there := s.sold[order]
	if !there {
		return app.Resource{}, purser.Errorf(purser.ProviderFailure, "nothing is called %q", id)
	}
	access := maps.Clone(r.Complete.AccessConfiguration)
	access["token"] = "of " + key // the same key gives the same one
	r.Complete = &app.Complete{AccessConfiguration: access}
	s.sold[order] = r
	return r, nil
}

func (s *seller) DeepLink(_ context.Context, p office.Provider, _ seal.Secret, purpose, path string) (app.DeepLink, error) {
	return app.DeepLink{Purpose: purpose, URL: p.Manifest.BaseURL + "login" + path, ExpiresAt: app.At(time.Now().Add(10 * time.Minute))}, nil
}
