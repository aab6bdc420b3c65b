package gate

import (
	"net/netip"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

const (
	limitRefill = time.Second // one more request without a credential
	limitBurst  = 60          // at once
	limitKept   = 10_000      // sources that are remembered
)

// limits bounds requests by source. A source that came only once long ago is
// forgotten first; memory is bounded whatever a stranger sends.
type limits struct {
	now     func() time.Time
	mu      sync.Mutex
	sources map[string]*rate.Limiter
}

func newLimits(now func() time.Time) *limits {
	return &limits{now: now, sources: map[string]*rate.Limiter{}}
}

// take counts one request and returns how long to wait when it is one too many.
func (l *limits) take(source string) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	now, key := l.now(), network(source)
	limiter, ok := l.sources[key]
	if !ok {
		if len(l.sources) >= limitKept {
			l.forget(now)
		}
		limiter = rate.NewLimiter(rate.Every(limitRefill), limitBurst)
		l.sources[key] = limiter
	}
	if limiter.AllowN(now, 1) {
		return 0
	}
	missing := 1 - limiter.TokensAt(now)
	return max(time.Duration(missing*float64(limitRefill)), time.Millisecond)
}

// forget drops the sources that are back at the full burst, and any, if all are busy.
func (l *limits) forget(now time.Time) {
	for key, limiter := range l.sources {
		if limiter.TokensAt(now) >= limitBurst {
			delete(l.sources, key)
		}
	}
	for key := range l.sources {
		if len(l.sources) < limitKept*9/10 { // room for many, so that not each newcomer costs a walk
			return
		}
		delete(l.sources, key)
	}
}

// network takes an IPv6 address to its /64, which one caller owns whole.
func network(source string) string {
	a, err := netip.ParseAddr(source)
	if err != nil || a.Is4() {
		return source
	}
	p, err := a.Prefix(64)
	if err != nil {
		return source
	}
	return p.String()
}
