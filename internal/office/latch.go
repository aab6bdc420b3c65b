package office

import (
	"cmp"
	"context"
	"math"
	"sync"
	"time"

	"github.com/purser-dev/purser"
	"github.com/purser-dev/purser/internal/guard"
	"github.com/purser-dev/purser/internal/spend"
	"github.com/purser-dev/purser/internal/store"
	"github.com/purser-dev/purser/internal/store/db"
)

// latches are stops that this process was told and that are not stored yet: it
// refuses at once, and acknowledges after the commit (SPEND.md K4).
type latches struct {
	mu  sync.RWMutex
	all map[*latch]bool
}

type latch struct {
	organization, scope, target string
	lifted                      chan struct{}
}

// latchWait is how long a spend waits for the stop that covers it to be in force,
// to be refused by it on the record. Told at once, callers would ask again at once,
// and take the time that the stop needs.
const latchWait = 250 * time.Millisecond

// set refuses what a stop will cover, before the database is asked. It gives nil for a
// stop that is going to be refused: until then it would stop others.
func (l *latches) set(by purser.Actor, in purser.Stop) *latch {
	one := &latch{by.Organization, in.Scope, in.ID, make(chan struct{})}
	switch in.Scope {
	case purser.ScopeOrganization:
		if one.target = cmp.Or(in.ID, by.Organization); one.target != by.Organization {
			return nil
		}
	case purser.ScopeRun:
		one.target = cmp.Or(in.ID, by.Run)
	case purser.ScopeAgent:
		if by.Kind == purser.Agent {
			one.target = cmp.Or(in.ID, by.ID)
		}
	case purser.ScopeProject, purser.ScopeProvider:
	default: // which would cover everything
		return nil
	}
	own := in.Scope == purser.ScopeRun && one.target == by.Run || in.Scope == purser.ScopeAgent && one.target == by.ID
	if one.target == "" || by.Kind == purser.Agent && !own || by.Kind != purser.Agent && by.Kind != purser.Person {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.all == nil {
		l.all = map[*latch]bool{}
	}
	l.all[one] = true
	return one
}

func (l *latches) lift(one *latch) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.all[one] {
		delete(l.all, one)
		close(one.lifted)
	}
}

// unlatched lets a request go on to its turn unless a stop that is not stored yet
// covers it. Nothing that waits here is accepted: the stop is before it.
func (o *Office) unlatched(ctx context.Context, r *spend.Request) error {
	end := time.Now().Add(latchWait)
	for l := o.latched(r); l != nil; l = o.latched(r) {
		select {
		case <-l.lifted: // in force, or it came to nothing: the turn tells
		case <-time.After(time.Until(end)):
			return guard.StoppedBy(purser.StopInfo{Scope: l.scope, Target: l.target})
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// latched finds a stop that covers a new spend, or the beginning of an effect.
func (o *Office) latched(r *spend.Request) *latch {
	if r.Op != spend.Place && r.Op != spend.Charge && r.Op != spend.Begin {
		return nil
	}
	o.latches.mu.RLock()
	defer o.latches.mu.RUnlock()
	if len(o.latches.all) == 0 {
		return nil
	}
	run := r.Run
	if run == "" {
		run = r.By.Run
	}
	path := guard.Path{Organization: r.By.Organization, Project: r.By.Project, Provider: r.Provider, Run: run}
	if r.By.Kind == purser.Agent {
		path.Agent = r.By.ID
	}
	if f, ok := o.facts.Load(run); ok && path.Project == "" {
		path.Project = f.(store.RunFacts).Project
	}
	blind := r.Op == spend.Begin && r.By.Kind != purser.Agent // a platform's hold may be of any run
	for l := range o.latches.all {
		if l.organization == path.Organization && (blind || path.Covered(l.scope, l.target)) {
			return l
		}
	}
	return nil
}

// stopsFor are the stops that a decision is held against, in its turn: those in force,
// and those that this process was told and that are not stored yet. To wait for these,
// as a spend does before its turn, would hold up the turn that they need.
func (o *Office) stopsFor(ctx context.Context, q *db.Queries, org string) ([]purser.StopInfo, error) {
	out, err := o.stopsInForce(ctx, q, org)
	if err != nil {
		return nil, err
	}
	o.latches.mu.RLock()
	defer o.latches.mu.RUnlock()
	for l := range o.latches.all {
		if l.organization == org { // what began before it goes on to its end, as under one that is stored
			out = append(out, purser.StopInfo{Scope: l.scope, Target: l.target, Epoch: math.MaxInt64})
		}
	}
	return out, nil
}

// insist puts a stop in force that the database did not answer to, and lifts its
// latch then: the stop's key makes it one stop, whoever asks again meanwhile.
func (o *Office) insist(one *latch, by purser.Actor, in purser.Stop) {
	o.background(func(ctx context.Context) {
		for pause(ctx, time.Second) == nil {
			var coded *purser.Error
			_, err := o.putInForce(ctx, by, in)
			if err == nil || asCoded(err, &coded) && coded.Code != purser.Unavailable {
				o.latches.lift(one)
				return
			}
		}
	})
}
