package office

import (
	"context"
	"slices"
	"sync"
	"time"
)

// answers are the decisions whose answers have not left yet. A stop is
// acknowledged after those of all earlier ones have (RULES 21, SPEND.md K2).
type answers struct {
	mu     sync.Mutex
	now    *generation
	before []*generation // over, and some of their answers had not left
}

// generation are the answers between two stops.
type generation struct {
	open int
	over bool // a stop came after it
	done chan struct{}
}

// answerWait is how long a stop waits for answers that do not leave: a caller that
// reads nothing must not hold it up.
const answerWait = 2 * time.Second

type sentKey struct{}

// Answering marks a request whose answer the door writes itself: sent is to be
// called when it has left, in any case and once.
func (o *Office) Answering(ctx context.Context) (_ context.Context, sent func()) {
	a := &answering{Context: ctx, in: &o.unsent}
	return a, a.sent
}

// answering is one answer on its way, and the context of its request; it is of a
// generation once there is a decision to tell. Its members change under the mutex of in.
type answering struct {
	context.Context
	in   *answers
	of   *generation
	gone bool
}

func (a *answering) Value(key any) any {
	if key == any(sentKey{}) {
		return a
	}
	return a.Context.Value(key)
}

func (a *answering) sent() {
	a.in.mu.Lock()
	defer a.in.mu.Unlock()
	if a.gone {
		return
	}
	a.gone = true
	if a.of == nil {
		return
	}
	if a.of.open--; a.of.open == 0 && a.of.over {
		close(a.of.done)
	}
}

// answeringOf is the answer that a request waits for, nil where no door writes it.
func answeringOf(ctx context.Context) *answering {
	one, _ := ctx.Value(sentKey{}).(*answering)
	return one
}

// expect notes, in the turn of a decision, that its answer is to leave: no stop can
// have a turn in between and not see it.
func (a *answers) expect(one *answering) {
	if one == nil {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if one.of != nil || one.gone {
		return
	}
	if a.now == nil {
		a.now = &generation{done: make(chan struct{})}
	}
	a.now.open++
	one.of = a.now
}

// left waits until every answer that was expected before has left, or for as long
// as a stop may be held up.
func (a *answers) left(ctx context.Context) {
	a.mu.Lock()
	if a.now != nil {
		a.now.over = true
		a.before = append(a.before, a.now)
		a.now = nil
	}
	// An earlier stop may still wait for some of them, and so does this one.
	a.before = slices.DeleteFunc(a.before, func(g *generation) bool { return g.open == 0 })
	all := slices.Clone(a.before)
	a.mu.Unlock()
	most := time.After(answerWait)
	for _, g := range all {
		select {
		case <-g.done:
		case <-most:
			return
		case <-ctx.Done():
			return
		}
	}
}
