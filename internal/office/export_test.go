package office

import (
	"context"
	"time"

	"github.com/purser-dev/purser"
	"github.com/purser-dev/purser/internal/spend"
	"github.com/purser-dev/purser/internal/store"
	"github.com/purser-dev/purser/internal/store/db"
)

// DecideBatch decides requests in one turn, all of it as the queue does, but with a
// given difference between the clocks: a test that moves time moves only its own.
func (o *Office) DecideBatch(ctx context.Context, org string, requests []spend.Request, skew time.Duration) (out []spend.Outcome, err error) {
	for i := range requests {
		requests[i].Hash = spendHash(&requests[i])
	}
	b := o.batchOf(org, requests, func(all []spend.Outcome) { out = all })
	decide := b.Decide
	b.Decide = func(t *store.Turn, s *spend.State) ([]store.KeyRow, error) {
		s.Skew = skew
		return decide(t, s)
	}
	_, err = o.Store.Spend(ctx, true, b)
	return out, err
}

// CarryOut does what follows a stop, to its end.
func (o *Office) CarryOut(ctx context.Context, org, stop string) { o.revoke(ctx, org, stop) }

// Overdue ends holds whose time is over, and those that a stop made void.
func (o *Office) Overdue(ctx context.Context, org string) error { return o.overdue(ctx, org) }

// FirstLimit gives a provider the limit of the first spend there.
func (o *Office) FirstLimit(ctx context.Context, org, provider string) error {
	return o.turn(ctx, org, func(t *store.Turn) error { return o.ensureProviderBudget(ctx, t, provider) })
}

// AddsUp reports whether what was spent is added up before the turn of a limit.
func (o *Office) AddsUp(ctx context.Context, by purser.Actor, in purser.SetBudget) (bool, error) {
	before, err := o.spentSoFar(ctx, by, in)
	return before.Seq > 0, err
}

// ShowPlans shows plans as the lists of them do.
func (o *Office) ShowPlans(ctx context.Context, q *db.Queries, rows []db.Plan) ([]purser.Plan, error) {
	return o.showPlans(ctx, q, rows)
}

// Waiting is how many requests wait to be decided.
func (o *Office) Waiting(org string) int {
	o.queues.mu.Lock()
	defer o.queues.mu.Unlock()
	if q := o.queues.of[org]; q != nil {
		return q.waiting
	}
	return 0
}

// Deciding reports whether something of an organization is being decided, and nothing
// else waits.
func (o *Office) Deciding(org string) bool {
	o.queues.mu.Lock()
	defer o.queues.mu.Unlock()
	q := o.queues.of[org]
	return q != nil && q.busy && q.waiting == 0
}

// Closing reports whether no more work is begun.
func (o *Office) Closing() bool { return o.life.Err() != nil }

// AnswerWait is how long a stop waits for answers that do not leave.
const AnswerWait = answerWait

// LaneMost is how much of one run may wait.
const LaneMost = laneMost

// QueueMost is how much of one organization may wait.
const QueueMost = queueMost

// MostOpen is how many holds a stop's acknowledgement lists.
const MostOpen = mostOpen

// OverdueMost is how many holds are ended at a time.
const OverdueMost = overdueMost

// OpenPlansMost is how many plans of a run may wait or be ready.
const OpenPlansMost = openMost

// Walked waits until nobody here works on a plan.
func (o *Office) Walked(plan string) {
	o.mu.Lock()
	walk := o.walkers[plan]
	o.mu.Unlock()
	if walk != nil {
		<-walk
	}
}
