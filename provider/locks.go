package provider

import (
	"context"
	"slices"
	"sync"
)

// locks serialises work by key inside one process.
type locks struct {
	mu   sync.Mutex
	held map[string]chan struct{} // closed on release; nil while nobody waits
}

// take waits for all keys, in one order for everybody so that none can wait in a
// circle, and gives the release.
func (l *locks) take(ctx context.Context, keys ...string) (release func(), err error) {
	slices.Sort(keys)
	keys = slices.Compact(keys)
	taken := 0
	release = func() {
		for _, key := range keys[:taken] {
			l.release(key)
		}
	}
	for _, key := range keys {
		if err := l.takeOne(ctx, key); err != nil {
			release()
			return nil, err
		}
		taken++
	}
	return release, nil
}

func (l *locks) takeOne(ctx context.Context, key string) error {
	for {
		busy, ok := l.try(key)
		if ok {
			return nil
		}
		select {
		case <-busy:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// try takes a key if it is free, otherwise gives what closes when it is released.
func (l *locks) try(key string) (busy chan struct{}, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if busy, held := l.held[key]; held {
		if busy == nil {
			busy = make(chan struct{})
			l.held[key] = busy
		}
		return busy, false
	}
	if l.held == nil {
		l.held = map[string]chan struct{}{}
	}
	l.held[key] = nil
	return nil, true
}

func (l *locks) release(key string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if busy := l.held[key]; busy != nil {
		close(busy)
	}
	delete(l.held, key)
}
