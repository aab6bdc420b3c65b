package office

import (
	"cmp"
	"context"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/purser-dev/purser"
	"github.com/purser-dev/purser/internal/guard"
	"github.com/purser-dev/purser/internal/spend"
	"github.com/purser-dev/purser/internal/store/db"
)

// latches are stops that this process was told and that are not stored yet: it
// refuses at once, and acknowledges after the commit (SPEND.md K4).
type latches struct {
	mu  sync.RWMutex
	all map[*latch]bool
}

type latch struct {
	organization, scope, target string // as it was asked for: the target may be a name
	insists                     string // who has it put in force as soon as it can be
	lifted                      chan struct{}
}

// latchWait is how long a spend waits for the stop that covers it to be in force,
// to be refused by it on the record. Told at once, callers would ask again at once,
// and take the time that the stop needs.
const latchWait = 250 * time.Millisecond

// set refuses what a stop will cover, before the database is asked. It gives nil for a
// stop that is going to be refused: until then it would stop others.
func (l *latches) set(by purser.Actor, in purser.Stop) *latch {
	one := &latch{organization: by.Organization, scope: in.Scope, target: in.ID, lifted: make(chan struct{})}
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

// in are the latches of an organization.
func (l *latches) in(org string) (out []*latch) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	for one := range l.all {
		if one.organization == org {
			out = append(out, one)
		}
	}
	return out
}

func (l *latches) lift(one *latch) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.all[one] {
		delete(l.all, one)
		close(one.lifted)
	}
}

// insist notes who insists on a stop, unless the same one does on the same already.
func (l *latches) insist(one *latch, by purser.Actor) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for other := range l.all {
		if other.insists == by.ID && other.organization == one.organization && other.scope == one.scope && other.target == one.target {
			return false
		}
	}
	one.insists = by.ID
	return true
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

// latched finds a stop that covers a new spend, or the beginning of an effect, as far as
// memory can tell. What it cannot, the turn tells.
func (o *Office) latched(r *spend.Request) *latch {
	if !raises(r.Op) {
		return nil
	}
	all := o.latches.in(r.By.Organization)
	if len(all) == 0 {
		return nil
	}
	run := r.Run
	if run == "" {
		run = r.By.Run
	}
	path := guard.Path{Organization: r.By.Organization, Project: r.By.Project, Provider: r.Provider, Run: run}
	if r.By.Kind == purser.Agent {
		path.Agent = r.By.ID
	} else if f, ok := o.facts.of(run); ok {
		path.Project, path.Agent = f.Project, f.Agent
	}
	blind := r.Op == spend.Begin && r.By.Kind != purser.Agent // a platform's hold may be of any run
	for _, l := range all {
		if blind || path.Covered(l.scope, l.target) {
			return l
		}
	}
	return nil
}

// raises reports that it raises use or begins an effect.
func raises(op spend.Op) bool { return op.Opens() || op == spend.Begin }

// stopsFor are the stops that a decision is held against, in its turn: those in force,
// and those that this process was told and that are not stored yet. To wait for these,
// as a spend does before its turn, would hold up the turn that they need.
func (o *Office) stopsFor(ctx context.Context, q *db.Queries, org string) ([]purser.StopInfo, error) {
	out, err := o.stopsInForce(ctx, q, org)
	if err != nil {
		return nil, err
	}
	latched, err := o.stopsLatched(ctx, q, org)
	return append(out, latched...), err
}

// stopsLatched are the stops that this process was told and that are not stored yet.
// A name means here what it would mean to the stop. It need not be known before: without
// a turn, which can look it up, nothing is accepted.
func (o *Office) stopsLatched(ctx context.Context, q *db.Queries, org string) (out []purser.StopInfo, err error) {
	for _, l := range o.latches.in(org) {
		target, err := o.stopped(ctx, q, org, l.scope, l.target)
		switch {
		case purser.CodeOf(err) == purser.NotFound: // so the stop is going to be refused
			continue
		case err != nil:
			return nil, err
		}
		// What began before it goes on to its end, as under one that is stored.
		out = append(out, purser.StopInfo{Scope: l.scope, Target: target, Epoch: math.MaxInt64})
	}
	return out, nil
}

// decideUnder decides requests in their turn, and holds what raises use or begins an
// effect against stops that are not stored yet too. Nothing else sees these: they void
// no hold, and an overrun still stops its run by itself.
func decideUnder(latched []purser.StopInfo, s *spend.State, requests []spend.Request) []spend.Outcome {
	if len(latched) == 0 {
		return s.Decide(requests)
	}
	out := make([]spend.Outcome, 0, len(requests))
	for i := range requests {
		one := requests[i : i+1]
		if !raises(one[0].Op) {
			out = append(out, s.Decide(one)...)
			continue
		}
		stored := s.Stops
		s.Stops = slices.Concat(stored, latched)
		out = append(out, s.Decide(one)...)
		s.Stops = stored
	}
	return out
}

// insist puts a stop in force that the database did not answer to, and lifts its
// latch then: the stop's key makes it one stop, whoever asks again meanwhile.
func (o *Office) insist(one *latch, by purser.Actor, in purser.Stop) {
	if !o.latches.insist(one, by) {
		o.latches.lift(one) // whoever insists already has the same latched
		return
	}
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
