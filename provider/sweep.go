package provider

import (
	"context"
	"sync"
	"time"
)

// Sweeper is a Store that can drop what has expired. The SDK calls it between
// requests, at most once a minute.
type Sweeper interface {
	// Sweep drops up to limit records whose time is not after now.
	Sweep(ctx context.Context, now time.Time, limit int) error
}

// sweepLimit bounds one sweep, so that no request waits long for it.
const sweepLimit = 10_000

type sweeping struct {
	mu   sync.Mutex
	last time.Time
}

// due tells once a minute that it is time.
func (s *sweeping) due(now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if gone := now.Sub(s.last); gone >= 0 && gone < time.Minute {
		return false
	}
	s.last = now
	return true
}

// sweep runs after an answer. What it fails to drop is only in the way.
func (p *Provider) sweep(ctx context.Context) {
	now := p.cfg.Now()
	if !p.sweeping.due(now) {
		return
	}
	p.throttle.sweep(now)
	s, ok := p.cfg.Store.(Sweeper)
	if !ok {
		return
	}
	if err := s.Sweep(ctx, now, sweepLimit); err != nil {
		p.cfg.Log.WarnContext(ctx, "dropping expired records", "error", err)
	}
}
