package office

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/purser-dev/purser"
	"github.com/purser-dev/purser/internal/notice"
	"github.com/purser-dev/purser/internal/spend"
	"github.com/purser-dev/purser/internal/store"
	"github.com/purser-dev/purser/internal/store/db"
)

// Sizes of a batch and of what may wait for one.
const (
	batchMost = 96   // a stop waits for the one that is under way
	laneMost  = 1024 // of one run: beyond it, its own callers are told to come back
	queueMost = 8192
	batchTry  = 3 // times, while answers to commits are lost
)

// queues are what waits for decisions. There is no timer: a batch is what arrived
// while the last one committed (DESIGN.md section 5).
type queues struct {
	mu      sync.Mutex
	of      map[string]*queue // by organization: where something waits or is being decided
	ready   []*queue          // where something waits and nobody decides, the next first
	workers int
	most    int // workers
}

// queue is what waits in one organization.
type queue struct {
	org     string
	lanes   map[string]*queueLane // by run, or by the hold's owner
	order   []*queueLane          // those in which something waits, the next first
	waiting int
	busy    bool // somebody decides
}

type queueLane struct {
	name string
	all  []*pending
}

// job is a batch of one organization.
type job struct {
	queue    *queue
	batch    []*pending
	requests []spend.Request
	outcomes []spend.Outcome
	lost     bool // the answer to a commit: until it is found out, nobody is told that nothing was decided
}

// pending is one caller who waits.
type pending struct {
	request spend.Request
	done    chan decided
	answer  *answering
}

type decided struct {
	outcome *spend.Outcome
	err     error
}

// await puts a request into the queue and waits for its outcome. A caller who
// leaves does not take the request back: its key tells what became of it.
func (o *Office) await(ctx context.Context, r spend.Request) (purser.Hold, error) {
	if r.By.Key == "" { // without one, nobody could tell what became of a lost answer
		return purser.Hold{}, purser.Errorf(purser.InvalidRequest, "a spend needs an idempotency key")
	}
	if r.Hold != "" && !canName(r.Hold) || r.Run != "" && !canName(r.Run) {
		return purser.Hold{}, purser.Errorf(purser.InvalidRequest, "hold, run: 1 to 64 visible ASCII characters name one")
	}
	if err := o.unlatched(ctx, &r); err != nil {
		return purser.Hold{}, err
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
	qs, org := &o.queues, p.request.By.Organization
	qs.mu.Lock()
	defer qs.mu.Unlock()
	q := qs.of[org]
	if q == nil {
		if qs.of == nil {
			qs.of = map[string]*queue{}
		}
		q = &queue{org: org, lanes: map[string]*queueLane{}}
		qs.of[org] = q
	}
	if err := q.add(p); err != nil {
		return err
	}
	if q.waiting == 1 && !q.busy {
		qs.ready = append(qs.ready, q)
	}
	o.help()
	return nil
}

// help sees to it that somebody works on what is ready. Once the office is closing
// and nobody does, it is told to all who wait. The caller has the mutex.
func (o *Office) help() {
	qs := &o.queues
	switch {
	case len(qs.ready) == 0 || qs.workers == qs.most:
	case o.work(o.drain):
		qs.workers++
	case qs.workers == 0:
		for _, q := range qs.ready {
			for _, p := range q.take(q.waiting) {
				p.done <- decided{err: stopping()}
			}
			delete(qs.of, q.org)
		}
		qs.ready = nil
	}
}

func stopping() error { return purser.Errorf(purser.Unavailable, "the server is stopping") }

// mostWorkers is how many batches of several organizations can be under way: while
// PostgreSQL writes one, another is decided. One organization has one at a time.
func mostWorkers(dialect string) int {
	if dialect == store.SQLite {
		return 1
	}
	return max(2, runtime.GOMAXPROCS(0)/4)
}

// add lets one more wait, behind those of its run.
func (q *queue) add(p *pending) error {
	by := &p.request.By
	name := cmp.Or(by.Run, p.request.Run, by.ID) // an agent's own run, whatever it writes
	lane := q.lanes[name]
	if lane == nil {
		lane = &queueLane{name: name}
	}
	if len(lane.all) >= laneMost || q.waiting >= queueMost {
		return overloaded()
	}
	if len(lane.all) == 0 {
		q.lanes[name] = lane
		q.order = append(q.order, lane)
	}
	lane.all = append(lane.all, p)
	q.waiting++
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

// drain decides batches until nothing is ready.
func (o *Office) drain(ctx context.Context) {
	for {
		jobs := o.queues.take()
		if len(jobs) == 0 {
			return
		}
		o.decideAll(ctx, jobs)
	}
}

// take takes a batch of those organizations that waited longest. Without one, the
// worker is done.
func (qs *queues) take() (jobs []*job) {
	qs.mu.Lock()
	defer qs.mu.Unlock()
	for most := batchMost; most > 0 && len(qs.ready) > 0; {
		q := qs.ready[0]
		qs.ready = qs.ready[1:]
		q.busy = true
		j := &job{queue: q, batch: q.take(most)}
		j.requests = make([]spend.Request, 0, len(j.batch))
		for _, p := range j.batch {
			j.requests = append(j.requests, p.request)
		}
		jobs = append(jobs, j)
		most -= len(j.batch)
	}
	if len(jobs) == 0 {
		qs.workers--
	}
	return jobs
}

// take takes one request of each run in turn, so that one that floods the queue
// waits behind itself and not before the others.
func (q *queue) take(most int) []*pending {
	batch := make([]*pending, 0, min(q.waiting, most))
	for len(batch) < most && len(q.order) > 0 {
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
	return batch
}

// done lets what came to an organization meanwhile be decided.
func (o *Office) done(j *job) {
	qs, q := &o.queues, j.queue
	qs.mu.Lock()
	defer qs.mu.Unlock()
	if q.busy = false; q.waiting == 0 {
		delete(qs.of, q.org)
		return
	}
	qs.ready = append(qs.ready, q)
	o.help()
}

// decideAll decides jobs in one transaction. Those whose turn somebody had, and all
// if one of them made it fail, are decided apart: no organization waits for another,
// or fails with it.
func (o *Office) decideAll(ctx context.Context, jobs []*job) {
	left, err := o.decideBatch(ctx, false, jobs)
	if store.OneRow(err) || len(jobs) > 1 && err != nil && !errors.Is(err, store.ErrLostCommit) {
		left, err = jobs, nil
	}
	for _, j := range jobs {
		switch {
		case !slices.Contains(left, j):
			o.answerAll(j, o.explainBatch(j.queue.org, err))
		case o.work(func(ctx context.Context) { o.decideApart(ctx, j) }):
		case j.lost:
			o.answerAll(j, o.explainBatch(j.queue.org, errors.Join(store.ErrLostCommit, stopping())))
		default:
			o.answerAll(j, stopping())
		}
	}
}

// decideApart decides what waits in one organization. One bad row fails its caller
// only (RULES 20).
func (o *Office) decideApart(ctx context.Context, j *job) {
	_, err := o.decideBatch(ctx, true, []*job{j})
	if len(j.batch) == 1 || !store.OneRow(err) {
		o.answerAll(j, o.explainBatch(j.queue.org, err))
		return
	}
	for i := range j.batch {
		one := &job{queue: j.queue, batch: j.batch[i : i+1], requests: j.requests[i : i+1], lost: j.lost}
		_, err := o.decideBatch(ctx, true, []*job{one})
		o.tellAll(one, o.explainBatch(j.queue.org, err))
	}
	o.done(j)
}

func (o *Office) answerAll(j *job, err error) {
	o.tellAll(j, err)
	o.done(j)
}

// tellAll tells each caller its outcome, or of a failure of all.
func (o *Office) tellAll(j *job, err error) {
	for i, p := range j.batch {
		d := decided{err: err}
		if err == nil {
			d.outcome = &j.outcomes[i]
		}
		p.done <- d
	}
	if err == nil {
		o.carryOut(j.queue.org, j.outcomes)
		o.news.tell(j.queue.org)
		o.Grow(j.queue.org, recorded(j.outcomes))
	}
}

// recorded counts the records that a batch left.
func recorded(outcomes []spend.Outcome) (n int64) {
	for i := range outcomes {
		if out := &outcomes[i]; out.Seq > 0 && !out.Replay {
			n++
		}
	}
	return n
}

// decideBatch decides jobs in one transaction, each in its organization's turn; left
// are those whose turn somebody had, unless it waits for them. When the answer to the commit was lost, the same
// requests are decided again: those that were stored are found by their keys, and of
// the others nothing was stored. While nobody could look, ErrLostCommit stays in err.
func (o *Office) decideBatch(ctx context.Context, wait bool, jobs []*job) (left []*job, err error) {
	all := make([]store.Spends, len(jobs))
	for i, j := range jobs {
		all[i] = o.batchOf(j.queue.org, j.requests, func(outcomes []spend.Outcome) {
			j.outcomes = outcomes
			for _, p := range j.batch {
				o.unsent.expect(p.answer)
			}
		})
	}
	var names []string
	lost := slices.ContainsFunc(jobs, func(j *job) bool { return j.lost })
	for try := range batchTry {
		names, err = o.Store.Spend(ctx, wait, all...)
		if lost && err != nil {
			err = errors.Join(store.ErrLostCommit, err)
		}
		if !errors.Is(err, store.ErrLostCommit) {
			break
		}
		lost = true
		for _, j := range jobs {
			j.lost = true
		}
		if ended := pause(ctx, time.Duration(try)*100*time.Millisecond); ended != nil {
			return nil, errors.Join(err, ended)
		}
	}
	for _, j := range jobs {
		if slices.Contains(names, j.queue.org) {
			left = append(left, j)
		}
	}
	return left, err
}

// decideNow decides requests that wait in no queue.
func (o *Office) decideNow(ctx context.Context, org string, requests []spend.Request) ([]spend.Outcome, error) {
	j := &job{queue: &queue{org: org}, requests: requests}
	_, err := o.decideBatch(ctx, true, []*job{j})
	return j.outcomes, err
}

// batchOf is what the store needs to decide requests in one turn.
//
// decided is called in the turn.
func (o *Office) batchOf(org string, requests []spend.Request, decided func([]spend.Outcome)) store.Spends {
	return store.Spends{
		Organization: org,
		Requests:     requests,
		Facts: func(run string) (store.RunFacts, bool) {
			f, ok := o.facts.Load(run)
			if !ok {
				return store.RunFacts{}, false
			}
			return f.(store.RunFacts), true
		},
		Kept: func(k spend.Key, hash, code string, answer []byte) (spend.Kept, error) {
			return o.keptBy(org, k, hash, code, answer)
		},
		Decide: func(t *store.Turn, s *spend.State) ([]store.KeyRow, error) {
			s.DefaultProvider, s.Guards = o.Defaults.ProviderMonth, o.guards
			outcomes := s.Decide(requests)
			for id, r := range s.Runs {
				o.facts.Store(id, store.RunFacts{Project: r.Project, Labels: r.Labels})
			}
			if err := o.tellCrossings(t, s); err != nil {
				return nil, err
			}
			if err := o.tellOutcomes(t, s, requests, outcomes); err != nil {
				return nil, err
			}
			if err := o.exceeded(t, s); err != nil {
				return nil, err
			}
			keys, err := keyRows(requests, outcomes)
			if err != nil {
				return nil, err
			}
			decided(outcomes)
			return keys, nil
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

// tellOutcomes tells of runs that are held back, as with orders of plans, and of holds
// of which nobody knows what became; most batches have neither.
func (o *Office) tellOutcomes(t *store.Turn, s *spend.State, requests []spend.Request, outcomes []spend.Outcome) error {
	ctx := context.Background() // the turn's own: it does not end with a caller
	paused := map[string]bool{}
	for i := range outcomes {
		r, out := &requests[i], &outcomes[i]
		switch {
		case out.Seq == 0 || out.Replay: // decided before, or not at all
		case out.Err != nil && out.Err.Code == purser.TooManyOrders && !paused[r.Run]:
			paused[r.Run] = true
			run := purser.Run{ID: r.Run, Project: s.Runs[r.Run].Project}
			n := notice.Paused(run, o.nameOf(ctx, t.Queries, t.Org, r.By), r.Provider+" "+r.Target, out.Err, t.Now)
			if err := o.tell(ctx, t, n); err != nil {
				return err
			}
		case out.Err == nil && r.Op == spend.Expire && out.Hold.State == purser.HoldUnknown:
			h := s.Holds[r.Hold]
			n := notice.UnknownHold(notice.Order{ID: h.ID, Provider: h.Provider, Project: h.Project, Run: h.Run, Held: purser.Money{Amount: h.Left(), Currency: h.Currency}})
			if err := o.tell(ctx, t, n); err != nil {
				return err
			}
		}
	}
	return nil
}

// keyRows are the outcomes that keys keep. They are not sealed: a hold tells nothing
// that its row does not.
func keyRows(requests []spend.Request, outcomes []spend.Outcome) ([]store.KeyRow, error) {
	rows := make([]store.KeyRow, 0, len(requests))
	for i := range outcomes {
		r, out := &requests[i], &outcomes[i]
		if !out.Keep || out.Replay {
			continue
		}
		row := store.KeyRow{Key: spend.Key{Principal: r.By.ID, Key: r.By.Key}, Hash: r.Hash, Answer: []byte{}}
		if out.Err == nil && r.Op.Opens() {
			row.Hold = out.Hold.ID
			rows = append(rows, row)
			continue
		}
		var v any = out.Hold
		if out.Err != nil {
			row.Code, v = string(out.Err.Code), out.Err
		}
		var err error
		if row.Answer, err = json.Marshal(v); err != nil {
			return nil, fmt.Errorf("writing an answer: %w", err)
		}
		rows = append(rows, row)
	}
	return rows, nil
}

// keptBy reads a key's answer back. A key of another operation has another hash, and
// its answer is nobody's business here.
func (o *Office) keptBy(org string, k spend.Key, hash, code string, answer []byte) (spend.Kept, error) {
	out := spend.Kept{Hash: hash}
	if !bytes.HasPrefix(answer, []byte("{")) { // of another operation, or kept by an earlier version
		text, err := o.openText(answer, org, "keys", k.Principal+"/"+k.Key, "answer")
		if err != nil {
			return out, err
		}
		answer = []byte(text.Reveal())
	}
	if code != "" {
		out.Err = &purser.Error{}
		return out, json.Unmarshal(answer, out.Err)
	}
	if json.Unmarshal(answer, &out.Hold) != nil {
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
		outcomes, err := o.decideNow(ctx, org, requests)
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
