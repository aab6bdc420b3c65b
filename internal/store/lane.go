package store

import (
	"context"
	"sync"
)

// lanes let one caller of this process at a time take an organization's turn, so
// that those who wait hold no connection, and a stop waits for nobody but the turn
// that is under way (SPEND.md K9). The database orders the processes.
type lanes struct {
	mu sync.Mutex
	of map[string]*lane
}

type lane struct {
	waiting [2][]chan struct{} // urgent, then the others, each in its order
}

// take waits for the turn of this process, or for the end of ctx.
func (l *lanes) take(ctx context.Context, org string, urgent bool) (leave func(), err error) {
	l.mu.Lock()
	if l.of == nil {
		l.of = map[string]*lane{}
	}
	at, busy := l.of[org]
	if !busy {
		l.of[org] = &lane{}
		l.mu.Unlock()
		return func() { l.leave(org) }, nil
	}
	mine, queue := make(chan struct{}), 1
	if urgent {
		queue = 0
	}
	at.waiting[queue] = append(at.waiting[queue], mine)
	l.mu.Unlock()
	select {
	case <-mine:
		return func() { l.leave(org) }, nil
	case <-ctx.Done():
		if !l.forget(at, queue, mine) { // it was given meanwhile
			l.leave(org)
		}
		return nil, ctx.Err()
	}
}

// try takes the turn if nobody has it.
func (l *lanes) try(org string) (leave func(), ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.of == nil {
		l.of = map[string]*lane{}
	}
	if _, busy := l.of[org]; busy {
		return nil, false
	}
	l.of[org] = &lane{}
	return func() { l.leave(org) }, true
}

func (l *lanes) forget(at *lane, queue int, mine chan struct{}) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i, c := range at.waiting[queue] {
		if c == mine {
			at.waiting[queue] = append(at.waiting[queue][:i:i], at.waiting[queue][i+1:]...)
			return true
		}
	}
	return false
}

// leave hands the turn to the next.
func (l *lanes) leave(org string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	at := l.of[org]
	for q := range at.waiting {
		if len(at.waiting[q]) > 0 {
			next := at.waiting[q][0]
			at.waiting[q] = at.waiting[q][1:]
			close(next)
			return
		}
	}
	delete(l.of, org)
}

type urgentKey struct{}

// Urgent marks what goes before all that waits for a turn: a stop.
func Urgent(ctx context.Context) context.Context {
	return context.WithValue(ctx, urgentKey{}, true)
}

func isUrgent(ctx context.Context) bool { return ctx.Value(urgentKey{}) != nil }
