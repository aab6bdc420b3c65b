package app

import (
	"sync"
	"time"
)

// Replay remembers values until a time. It is safe for concurrent use and forgets
// by itself; it does not outlive the process.
type Replay struct {
	mu    sync.Mutex
	until map[string]memory
	swept time.Time
}

type memory struct {
	note  string
	until time.Time
}

// Seen records value until a time, with a note, and tells whether it was there
// already, with the note of the first time.
func (r *Replay) Seen(now time.Time, value, note string, until time.Time) (first string, seen bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.until == nil {
		r.until = map[string]memory{}
	}
	r.sweep(now)
	if m, ok := r.until[value]; ok && now.Before(m.until) {
		return m.note, true
	}
	r.until[value] = memory{note, until}
	return "", false
}

// sweep drops what is past, at most once a minute, so that a call stays cheap.
func (r *Replay) sweep(now time.Time) {
	if now.Sub(r.swept) < time.Minute {
		return
	}
	r.swept = now
	for value, m := range r.until {
		if !now.Before(m.until) {
			delete(r.until, value)
		}
	}
}
