package office

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"time"

	"github.com/purser-dev/purser"
	"github.com/purser-dev/purser/internal/spend"
	"github.com/purser-dev/purser/internal/store"
	"github.com/purser-dev/purser/internal/store/db"
)

const batchTry = 3 // times, while answers to commits are lost

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
		names, err = o.spendAll(ctx, wait, all)
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

// spendAll decides in one transaction. A panic in it was rolled back, and is an assertion
// that fails like others: it stops its organization (SPEND.md 6.3), and not a process
// that decides for all.
func (o *Office) spendAll(ctx context.Context, wait bool, all []store.Spends) (left []string, err error) {
	defer func() {
		if fault := recover(); fault != nil {
			err = purser.Errorf(purser.BooksBroken, "a fault of the program; nothing was decided").WithCause(fmt.Errorf("%v\n%s", fault, debug.Stack()))
		}
	}()
	return o.Store.Spend(ctx, wait, all...)
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
		Facts:        o.facts.of,
		Kept: func(k spend.Key, hash, code string, answer []byte) (spend.Kept, error) {
			return o.keptBy(org, k, hash, code, answer)
		},
		Decide: func(t *store.Turn, s *spend.State) ([]store.KeyRow, error) {
			s.DefaultProvider, s.Guards = o.Defaults.ProviderMonth, o.guards
			ctx := context.Background() // the turn's own: it does not end with a caller
			latched, err := o.stopsLatched(ctx, t.Queries, org)
			if err != nil {
				return nil, err
			}
			outcomes := decideUnder(latched, s, requests)
			o.facts.keep(s.Runs)
			if err := o.tellCrossings(ctx, t, s); err != nil {
				return nil, err
			}
			if err := o.tellOutcomes(ctx, t, s, requests, outcomes); err != nil {
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
		return answerLost(err)
	case purser.CodeOf(err) == purser.BooksBroken:
		o.Log.Error("the books would not add up; the organization is stopped", "organization", org, "error", err, "cause", errors.Unwrap(err))
		o.background(func(ctx context.Context) { o.standStill(ctx, org) })
		return err
	case purser.CodeOf(err) == purser.NewerDatabase:
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

// overdueMost is how many holds are ended at a time.
const overdueMost = 256

// overdue ends holds whose time is over, and those that a stop or the end of their run made
// void. It goes on behind what does not move, which keeps nothing else from its end.
func (o *Office) overdue(ctx context.Context, org string) error {
	page := db.OverdueHoldsParams{Organization: org, Now: store.Micro(o.Now()), After: -1, RowLimit: overdueMost}
	for {
		rows, err := o.Store.Read().OverdueHolds(ctx, page)
		if err != nil || len(rows) == 0 {
			return err
		}
		requests := make([]spend.Request, len(rows))
		for i, h := range rows {
			requests[i] = spend.Request{Op: spend.Expire, By: purser.Actor{Kind: purser.System, ID: system.ID, Organization: org}, Hold: h.ID}
			if h.ExpiresAt > page.Now {
				requests[i].Op = spend.Void
			}
		}
		if _, err := o.decideNow(ctx, org, requests); err != nil {
			return o.explainBatch(org, err)
		}
		if len(rows) < overdueMost {
			return nil
		}
		page.After, page.AfterHold = rows[len(rows)-1].ExpiresAt, rows[len(rows)-1].ID
	}
}
