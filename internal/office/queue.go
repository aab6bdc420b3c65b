package office

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/purser-dev/purser"
	"github.com/purser-dev/purser/internal/notice"
	"github.com/purser-dev/purser/internal/seal"
	"github.com/purser-dev/purser/internal/spend"
	"github.com/purser-dev/purser/internal/store"
	"github.com/purser-dev/purser/internal/store/db"
)

// Sizes of a batch and of what may wait for one.
const (
	batchMost = 256
	laneMost  = 1024 // of one run: beyond it, its own callers are told to come back
	queueMost = 8192
	batchTry  = 3 // times, while answers to commits are lost
)

// queue is what waits for decisions of one organization. There is no timer: a
// batch is what arrived while the last one committed (DESIGN.md section 5).
type queue struct {
	mu      sync.Mutex
	lanes   map[string]*queueLane // by run, or by the hold's owner
	order   []*queueLane          // those in which something waits, the next first
	waiting int
	running bool
}

type queueLane struct {
	name string
	all  []*pending
}

// pending is one caller who waits.
type pending struct {
	request spend.Request
	done    chan decided
	answer  *answering
}

type decided struct {
	outcome spend.Outcome
	err     error
}

// await puts a request into the queue and waits for its outcome. A caller who
// leaves does not take the request back: its key tells what became of it.
func (o *Office) await(ctx context.Context, r spend.Request) (purser.Hold, error) {
	if r.By.Key == "" { // without one, nobody could tell what became of a lost answer
		return purser.Hold{}, purser.Errorf(purser.InvalidRequest, "a spend needs an idempotency key")
	}
	if no := o.latched(&r); no != nil {
		return purser.Hold{}, no
	}
	r.Hash = spendHash(&r)
	p := &pending{request: r, done: make(chan decided, 1), answer: answeringOf(ctx)}
	if err := o.enqueue(p); err != nil {
		return purser.Hold{}, err
	}
	select {
	case d := <-p.done:
		switch {
		case d.err != nil:
			return purser.Hold{}, d.err
		case d.outcome.Err != nil:
			return purser.Hold{}, d.outcome.Err
		}
		return d.outcome.Hold, nil
	case <-ctx.Done():
		return purser.Hold{}, ctx.Err()
	}
}

func (o *Office) enqueue(p *pending) error {
	org := p.request.By.Organization
	kept, _ := o.queues.LoadOrStore(org, &queue{lanes: map[string]*queueLane{}})
	q := kept.(*queue)
	q.mu.Lock()
	defer q.mu.Unlock()
	name := p.request.Run
	if name == "" {
		name = p.request.By.ID
	}
	lane := q.lanes[name]
	if lane == nil {
		lane = &queueLane{name: name}
		q.lanes[name] = lane
	}
	if len(lane.all) >= laneMost || q.waiting >= queueMost {
		return overloaded()
	}
	if len(lane.all) == 0 {
		q.order = append(q.order, lane)
	}
	lane.all = append(lane.all, p)
	q.waiting++
	if q.running {
		return nil
	}
	q.running = o.work(func(ctx context.Context) { o.drain(ctx, org, q) })
	if !q.running {
		q.waiting, q.order, q.lanes = 0, nil, map[string]*queueLane{}
		return purser.Errorf(purser.Unavailable, "the server is stopping")
	}
	return nil
}

func overloaded() error {
	err := purser.Errorf(purser.Overloaded, "more is waiting to be decided than can be; nothing was decided")
	err.RetryAfter = time.Second
	return err
}

// work runs f in the background, unless the office is closing.
func (o *Office) work(f func(context.Context)) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.life.Err() != nil {
		return false
	}
	o.wg.Go(func() { f(o.life) })
	return true
}

// drain decides batches until nothing waits.
func (o *Office) drain(ctx context.Context, org string, q *queue) {
	for {
		batch := q.take()
		if len(batch) == 0 {
			return
		}
		o.decideAll(ctx, org, batch)
	}
}

// take takes one request of each run in turn, so that one that floods the queue
// waits behind itself and not before the others.
func (q *queue) take() []*pending {
	q.mu.Lock()
	defer q.mu.Unlock()
	batch := make([]*pending, 0, min(q.waiting, batchMost))
	for len(batch) < batchMost && len(q.order) > 0 {
		lane := q.order[0]
		batch = append(batch, lane.all[0])
		lane.all = lane.all[1:]
		if q.order = q.order[1:]; len(lane.all) > 0 {
			q.order = append(q.order, lane)
		} else {
			delete(q.lanes, lane.name)
		}
	}
	q.waiting -= len(batch)
	if len(batch) == 0 {
		q.running = false
	}
	return batch
}

// decideAll decides a batch and answers each who waits.
func (o *Office) decideAll(ctx context.Context, org string, batch []*pending) {
	requests := make([]spend.Request, len(batch))
	for i, p := range batch {
		requests[i] = p.request
	}
	outcomes, err := o.decideBatch(ctx, org, requests, func() {
		for _, p := range batch {
			o.unsent.expect(p.answer)
		}
	})
	if err != nil && len(batch) > 1 && store.OneRow(err) {
		// One bad row fails its caller only (RULES 20).
		for i := range batch {
			o.decideAll(ctx, org, batch[i:i+1])
		}
		return
	}
	for i, p := range batch {
		d := decided{err: o.explainBatch(org, err)}
		if err == nil {
			d.outcome = outcomes[i]
		}
		p.done <- d
	}
	if err == nil {
		o.carryOut(org, outcomes)
		o.news.tell(org)
		o.Grow(org, recorded(outcomes))
	}
}

// recorded counts the records that a batch left.
func recorded(outcomes []spend.Outcome) (n int64) {
	for _, out := range outcomes {
		if out.Seq > 0 && !out.Replay {
			n++
		}
	}
	return n
}

// decideBatch decides requests in one turn. When the answer to the commit was lost,
// the same requests are decided again: those that were stored are found by their
// keys, and of the others nothing was stored.
//
// decided is called in the turn.
func (o *Office) decideBatch(ctx context.Context, org string, requests []spend.Request, decided func()) (outcomes []spend.Outcome, err error) {
	for try := range batchTry {
		err = o.Store.Spend(ctx, org, o.batchOf(requests, func(all []spend.Outcome) {
			outcomes = all
			decided()
		}))
		if !errors.Is(err, store.ErrLostCommit) {
			break
		}
		if err := pause(ctx, time.Duration(try)*100*time.Millisecond); err != nil {
			return nil, err
		}
	}
	return outcomes, err
}

// batchOf is what the store needs to decide requests in one turn.
func (o *Office) batchOf(requests []spend.Request, decided func([]spend.Outcome)) store.Spends {
	return store.Spends{
		Requests: requests,
		Facts: func(run string) (store.RunFacts, bool) {
			f, ok := o.facts.Load(run)
			if !ok {
				return store.RunFacts{}, false
			}
			return f.(store.RunFacts), true
		},
		Kept: func(k spend.Key, hash, code string, answer []byte) (spend.Kept, error) {
			return o.keptBy(requests[0].By.Organization, k, hash, code, answer)
		},
		Decide: func(t *store.Turn, s *spend.State) ([]store.Stmt, error) {
			s.DefaultProvider, s.Guards = o.Defaults.ProviderMonth, o.guards
			outcomes := s.Decide(requests)
			for id, r := range s.Runs {
				o.facts.Store(id, store.RunFacts{Project: r.Project, Labels: r.Labels})
			}
			if err := o.tellCrossings(t, s); err != nil {
				return nil, err
			}
			if err := o.exceeded(t, s); err != nil {
				return nil, err
			}
			keys, err := o.keyRows(t.Org, requests, outcomes)
			if err != nil {
				return nil, err
			}
			decided(outcomes)
			return t.InsertKeys(keys), nil
		},
	}
}

// tellCrossings tells of thresholds of budgets; most batches cross none.
func (o *Office) tellCrossings(t *store.Turn, s *spend.State) error {
	for _, c := range s.Crossings() {
		use := c.Before.Held + c.Before.Captured - c.Before.Refunded
		for _, percent := range notice.Crossed(c.Before.Limit.Amount, use, use+c.Added, c.Before.Thresholds) {
			if err := o.tell(context.Background(), t, notice.Threshold(c.Before, percent, use+c.Added)); err != nil {
				return err
			}
		}
	}
	return nil
}

// keyRows are the outcomes that keys keep.
func (o *Office) keyRows(org string, requests []spend.Request, outcomes []spend.Outcome) ([]store.KeyRow, error) {
	rows := make([]store.KeyRow, 0, len(requests))
	for i := range outcomes {
		r, out := &requests[i], &outcomes[i]
		if !out.Keep || out.Replay {
			continue
		}
		row := store.KeyRow{Key: spend.Key{Principal: r.By.ID, Key: r.By.Key}, Hash: r.Hash}
		var v any = out.Hold
		if out.Err != nil {
			row.Code, v = string(out.Err.Code), out.Err
		}
		text, err := json.Marshal(v)
		if err != nil {
			return nil, fmt.Errorf("writing an answer: %w", err)
		}
		if row.Answer, err = o.sealText(seal.NewSecret(string(text)), org, "keys", r.By.ID+"/"+r.By.Key, "answer"); err != nil {
			return nil, err
		}
		rows = append(rows, row)
	}
	return rows, nil
}

// keptBy reads a key's answer back. A key of another operation has another hash, and
// its answer is nobody's business here.
func (o *Office) keptBy(org string, k spend.Key, hash, code string, answer []byte) (spend.Kept, error) {
	out := spend.Kept{Hash: hash}
	text, err := o.openText(answer, org, "keys", k.Principal+"/"+k.Key, "answer")
	if err != nil {
		return out, err
	}
	if code != "" {
		out.Err = &purser.Error{}
		return out, json.Unmarshal([]byte(text.Reveal()), out.Err)
	}
	if json.Unmarshal([]byte(text.Reveal()), &out.Hold) != nil {
		out.Hold = purser.Hold{} // an answer of another form
	}
	out.Seq = out.Hold.Seq
	return out, nil
}

// explainBatch is what callers are told of a batch that failed as a whole.
func (o *Office) explainBatch(org string, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, store.ErrNoOrganization):
		return purser.Errorf(purser.NotFound, "the organization is not known").WithCause(err)
	case errors.Is(err, store.ErrLostCommit):
		return purser.Errorf(purser.OutcomeUnknown, "the database's answer was lost; the same key tells what became of it").WithCause(err)
	case purser.CodeOf(err) == purser.BooksBroken:
		o.Log.Error("the books would not add up; the organization is stopped", "organization", org, "error", err)
		o.background(func(ctx context.Context) { o.standStill(ctx, org) })
		return err
	case store.OneRow(err):
		return err // internal: the row that this program wrote does not fit its own schema
	}
	out := purser.Errorf(purser.Unavailable, "the database does not answer; nothing was decided").WithCause(err)
	out.RetryAfter = time.Second
	return out
}

// standStill stops an organization whose books would not add up (SPEND.md 6.3).
func (o *Office) standStill(ctx context.Context, org string) {
	err := o.turn(store.Urgent(ctx), org, func(t *store.Turn) error {
		stops, err := o.stopsInForce(ctx, t.Queries, org)
		if err != nil {
			return err
		}
		for _, s := range stops {
			if s.Scope == purser.ScopeOrganization {
				return nil
			}
		}
		_, err = o.stop(ctx, t, system, purser.ScopeOrganization, org, "the books would not add up: see the server's log")
		return err
	})
	if err != nil {
		o.Log.Error("stopping an organization", "organization", org, "error", err)
	}
}

// overdue ends holds whose time is over, and those that a stop made void.
func (o *Office) overdue(ctx context.Context, org string) error {
	for {
		rows, err := o.Store.Read().OverdueHolds(ctx, db.OverdueHoldsParams{Organization: org, Now: store.Micro(o.Now())})
		if err != nil || len(rows) == 0 {
			return err
		}
		requests := make([]spend.Request, len(rows))
		for i, h := range rows {
			requests[i] = spend.Request{Op: spend.Expire, By: purser.Actor{Kind: purser.System, ID: system.ID, Organization: org}, Hold: h.ID}
			if store.Time(h.ExpiresAt).After(o.Now()) {
				requests[i].Op = spend.Void
			}
		}
		before := len(rows)
		outcomes, err := o.decideBatch(ctx, org, requests, func() {})
		if err != nil {
			return o.explainBatch(org, err)
		}
		moved := 0
		for _, out := range outcomes {
			if out.Seq != 0 {
				moved++
			}
		}
		if moved == 0 || before < batchMost {
			return nil
		}
	}
}
