package office

import (
	"cmp"
	"context"
	"runtime"
	"sync"
	"time"

	"github.com/purser-dev/purser"
	"github.com/purser-dev/purser/internal/spend"
	"github.com/purser-dev/purser/internal/store"
	"github.com/purser-dev/purser/internal/store/db"
)

// Sizes of a batch and of what may wait for one.
const (
	batchMost = 96   // a stop waits for the one that is under way
	laneMost  = 1024 // of one run: beyond it, its own callers are told to come back
	queueMost = 8192
)

// queues are what waits for decisions. There is no timer: a batch is what arrived
// while the last one committed (DESIGN.md section 5).
type queues struct {
	mu      sync.Mutex
	of      map[string]*queue // by organization: where something waits or is being decided
	ready   []*queue          // where something waits and nobody decides, the next first
	workers int
	most    int           // workers
	idle    int           // workers that nobody woke
	wake    chan struct{} // one for each worker that was woken
}

func newQueues(most int) queues { return queues{most: most, wake: make(chan struct{}, most)} }

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
	if r.By.Ended != nil {
		may, err := o.mayStill(ctx, &r)
		switch {
		case err != nil:
			return purser.Hold{}, o.explainBatch(r.By.Organization, err)
		case !may:
			return purser.Hold{}, o.turnedAway(&r.By, r.By.Ended)
		}
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
			if r.By.Ended != nil && !d.outcome.Replay { // on no record of its own
				return purser.Hold{}, o.turnedAway(&r.By, d.outcome.Err)
			}
			return purser.Hold{}, d.outcome.Err
		}
		return d.outcome.Hold, nil
	case <-ctx.Done():
		return purser.Hold{}, ctx.Err()
	}
}

// mayStill reports that a turn may have something for a credential that has ended: an
// answer of before, or a hold of its own that was begun. The turn decides; without this
// look, whoever holds such a credential could take turn after turn.
func (o *Office) mayStill(ctx context.Context, r *spend.Request) (bool, error) {
	q, by := o.Store.Read(), &r.By
	_, err := q.Key(ctx, db.KeyParams{Organization: by.Organization, Principal: by.ID, Key: by.Key})
	if err == nil || !missing(err) {
		return err == nil, err
	}
	if r.Op != spend.Capture {
		return false, nil
	}
	h, err := q.Hold(ctx, db.HoldParams{Organization: by.Organization, ID: r.Hold})
	if missing(err) {
		return false, nil
	}
	return h.Principal == by.ID && h.Run == by.Run && (h.State == purser.HoldBegun || h.State == purser.HoldUnknown), err
}

// turnedAway counts a refusal of a credential that has ended, which gets no record of its
// own (RULES 22).
func (o *Office) turnedAway(by *purser.Actor, no error) error {
	o.CountRefusal(by.Source, "ended_credential")
	return no
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
	case len(qs.ready) == 0:
	case qs.idle > 0:
		qs.idle--
		qs.wake <- struct{}{}
	case qs.workers == qs.most:
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

// drain decides batches until the office closes and nothing is ready. A worker stays:
// a new goroutine's stack grows with its first batch, which costs as much as deciding one.
func (o *Office) drain(ctx context.Context) {
	for {
		if jobs := o.queues.take(); len(jobs) > 0 {
			o.decideAll(ctx, jobs)
			continue
		}
		select {
		case <-o.queues.wake:
		case <-ctx.Done():
			if o.queues.leave() {
				return
			}
		}
	}
}

// leave ends an idle worker, unless one was woken.
func (qs *queues) leave() bool {
	qs.mu.Lock()
	defer qs.mu.Unlock()
	select {
	case <-qs.wake:
		return false
	default:
		qs.idle--
		qs.workers--
		return true
	}
}

// take takes a batch of those organizations that waited longest. Without one, the
// worker is idle.
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
		qs.idle++
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
