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
	per   time.Duration
	count int
}

// take takes one from a bucket that holds burst and fills by perHour; 0, or how
// long until there is one. The window's count is what is out of the bucket.
func (t *throttle) take(now time.Time, key string, burst, perHour int) time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	w, step := t.filled(now, key, perHour)
	if w.count >= burst {
		return max(step-now.Sub(w.begin), time.Second)
	}
	w.count++
	t.windows[key] = w
	return 0
}

// level is what a bucket holds.
func (t *throttle) level(now time.Time, key string, burst, perHour int) int {
	t.mu.Lock()
	defer t.mu.Unlock()
	w, _ := t.filled(now, key, perHour)
	return max(burst-w.count, 0)
}

// filled is a bucket after the time that passed; begin is when it last gained one.
func (t *throttle) filled(now time.Time, key string, perHour int) (window, time.Duration) {
	if t.windows == nil {
		t.windows = map[string]window{}
	}
	step := time.Hour / time.Duration(perHour)
	w, known := t.windows[key]
	if !known || now.Before(w.begin) {
		return window{begin: now, per: 24 * time.Hour}, step
	}
	gained := int(now.Sub(w.begin) / step)
	w.count, w.begin = max(w.count-gained, 0), w.begin.Add(time.Duration(gained)*step)
	if w.count == 0 {
		w.begin = now
	}
	return w, step
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
		w = window{begin: now, per: per}
	}
	if w.count >= most {
		return max(per-now.Sub(w.begin), time.Second)
	}
	w.count++
	t.windows[key] = w
	return 0
}

// refund gives back one that did no work.
func (t *throttle) refund(key string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if w := t.windows[key]; w.count > 0 {
		w.count--
		t.windows[key] = w
	}
}

// sweep drops windows that are over.
func (t *throttle) sweep(now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for key, w := range t.windows {
		if now.Sub(w.begin) >= w.per {
			delete(t.windows, key)
		}
	}
}
