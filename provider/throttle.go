package provider

import (
	"sync"
	"time"
)

// throttle counts requests in fixed windows, in memory: a restart forgives.
type throttle struct {
	mu      sync.Mutex
	windows map[string]window
}

type window struct {
	begin time.Time
	count int
}

// wait counts one request under key and gives 0, or how long until one is let in.
func (t *throttle) wait(now time.Time, key string, most int, per time.Duration) time.Duration {
	if most <= 0 {
		return 0
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.windows == nil {
		t.windows = map[string]window{}
	}
	w := t.windows[key]
	if gone := now.Sub(w.begin); gone >= per || gone < 0 {
		w = window{begin: now}
	}
	if w.count >= most {
		return max(per-now.Sub(w.begin), time.Second)
	}
	w.count++
	t.windows[key] = w
	return 0
}
