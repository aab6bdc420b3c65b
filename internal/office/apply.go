package office

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/purser-dev/purser"
	"github.com/purser-dev/purser/internal/guard"
	"github.com/purser-dev/purser/internal/store"
	"github.com/purser-dev/purser/internal/store/db"
)

const (
	defaultWait = 55 * time.Second
	shortWait   = time.Second // between looks at a plan that another replica applies
)

// Apply executes an approved plan and waits for its end, at most as long as
// asked. A call for a plan that still waits for a person waits with it; a call
// for one that is being applied joins it, so fifty at once buy once (drill a).
func (o *Office) Apply(ctx context.Context, by purser.Actor, in purser.Apply) (purser.Plan, error) {
	row, err := o.Store.Read().Plan(ctx, db.PlanParams{Organization: by.Organization, ID: in.Plan})
	if err != nil {
		return purser.Plan{}, notFound(err, "plan", in.Plan)
	}
	if err := mayPlan(by, row.Run); err != nil {
		return purser.Plan{}, err
	}
	waiting, cancel := context.WithTimeout(ctx, waitOf(in.Wait))
	defer cancel()
	plan, err := o.applied(waiting, by, in.Plan)
	if err != nil && ctx.Err() == nil && errors.Is(err, context.DeadlineExceeded) {
		return o.unfinished(ctx, by, in.Plan)
	}
	return plan, err
}

// waitOf is how long somebody wants to wait: as many seconds, at most the default.
func waitOf(seconds int) time.Duration {
	if seconds > 0 && seconds < int(defaultWait/time.Second) {
		return time.Duration(seconds) * time.Second
	}
	return defaultWait
}

// applied goes on until the plan has ended or the context has. What stands in the
// way for now is told after one walk; Recover goes on trying.
func (o *Office) applied(ctx context.Context, by purser.Actor, id string) (purser.Plan, error) {
	var walk <-chan struct{}
	for {
		news := o.news.next(by.Organization)
		over := walk != nil && isClosed(walk) // before the plan is read: its error may be of the walk before
		plan, err := o.ShowPlan(ctx, by, purser.PlanRef{Plan: id})
		if err != nil {
			return plan, err
		}
		switch plan.State {
		case purser.PlanReady:
			if err := o.start(ctx, by, id); err != nil {
				return purser.Plan{}, err
			}
			continue
		case purser.PlanApplying:
			if over && plan.Error != nil {
				return purser.Plan{}, ended(plan)
			}
			if walk == nil {
				walk = o.walk(by.Organization, id)
			} else if over { // another replica has its lease: wait before the next walk
				walk = nil
			}
		case purser.PlanWaiting: // a person's yes or no is news
			if err := o.changed(ctx, by.Organization, plan); err != nil {
				return purser.Plan{}, err
			}
			continue
		case purser.PlanDone:
			return plan, nil
		default:
			return purser.Plan{}, ended(plan)
		}
		if err := o.waitFor(ctx, id, walk, news); err != nil {
			return purser.Plan{}, err
		}
	}
}

// waitFor waits for the end of a walk, for news, or a moment, because replicas do
// not hear each other.
func (o *Office) waitFor(ctx context.Context, plan string, walk, news <-chan struct{}) error {
	select {
	case <-walk:
	case <-news:
	case <-time.After(shortWait):
	case <-o.leaving.Done():
		err := purser.Errorf(purser.Unavailable, "the server stops; the plan goes on when it is back")
		err.Plan = plan
		return err.WithHint("purser apply %s", plan)
	case <-ctx.Done():
		return ctx.Err()
	}
	return nil
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// unfinished is the honest answer when the time to wait is over.
func (o *Office) unfinished(ctx context.Context, by purser.Actor, id string) (purser.Plan, error) {
	plan, err := o.ShowPlan(ctx, by, purser.PlanRef{Plan: id})
	if err == nil && plan.State == purser.PlanWaiting {
		return purser.Plan{}, needsApproval(plan)
	}
	return plan, err
}

// needsApproval tells the agent that a person must decide, and the person how.
func needsApproval(plan purser.Plan) *purser.Error {
	err := purser.Errorf(purser.NeedsApproval, "a person must approve plan %s", plan.ID)
	err.Plan, err.Blockers = plan.ID, plan.Blockers
	return err.WithHint("purser approve %s", plan.ID)
}

// ended says why a plan that is over did not get done.
func ended(plan purser.Plan) *purser.Error {
	var err *purser.Error
	switch {
	case plan.Error != nil:
		err = plan.Error
	case plan.State == purser.PlanIsDenied:
		why := ""
		if plan.Approval != nil && plan.Approval.Reason != "" {
			why = ": " + plan.Approval.Reason
		}
		err = purser.Errorf(purser.PlanDenied, "a person said no%s", why).WithHint("make another plan")
	case plan.State == purser.PlanVoid:
		err = purser.Errorf(purser.Stopped, "a stop made the plan void").WithHint("after a person has resumed, make a new plan")
	case plan.State == purser.PlanIsExpired && len(plan.Reasons) > 0 && plan.Approval == nil:
		err = purser.Errorf(purser.PlanExpired, "approval expired: nobody decided until %s, and silence is a no", plan.ExpiresAt.Format(time.RFC3339)).WithHint("make a new plan")
	case plan.State == purser.PlanIsExpired:
		err = purser.Errorf(purser.PlanExpired, "the plan waited until %s", plan.ExpiresAt.Format(time.RFC3339)).WithHint("make a new plan")
	default:
		err = purser.Errorf(purser.InvalidState, "the plan is %s", plan.State)
	}
	err.Plan = plan.ID
	return err
}

// start consumes the approval and begins the plan, in one turn.
func (o *Office) start(ctx context.Context, by purser.Actor, id string) error {
	return o.turn(ctx, by.Organization, func(t *store.Turn) error {
		plan, err := t.Plan(ctx, db.PlanParams{Organization: t.Org, ID: id})
		if err != nil {
			return notFound(err, "plan", id)
		}
		if purser.PlanState(plan.State) != purser.PlanReady {
			return nil // somebody else began it, or it is over: the caller looks again
		}
		r := recordOf(by, "apply", plan.ID)
		r.Project, r.Env, r.Run, r.PlanDigest = plan.Project, plan.Env, plan.Run, plan.Digest
		approval, err := o.usable(ctx, t, plan)
		if err == nil {
			err = o.enoughVotes(ctx, t, plan)
		}
		if err == nil {
			err = o.planStopped(ctx, t, plan)
		}
		var no *purser.Error
		if asCoded(err, &no) {
			if no.Code == purser.ApprovalExpired || no.Code == purser.NeedsApproval {
				// Whoever said yes says it again: a yes is for now (RULES 12).
				if err := t.DropVotes(ctx, db.DropVotesParams{Organization: t.Org, Plan: plan.ID}); err != nil {
					return err
				}
				if err := t.SetPlanState(ctx, db.SetPlanStateParams{Organization: t.Org, ID: plan.ID, State: string(purser.PlanWaiting)}); err != nil {
					return err
				}
			}
			return o.refuse(t, r, no)
		}
		if err != nil {
			return err
		}
		if approval != "" {
			r.Approval = approval
			switch n, err := t.ConsumeApproval(ctx, db.ConsumeApprovalParams{Organization: t.Org, Plan: plan.ID, Now: store.Micro(t.Now)}); {
			case err != nil:
				return fmt.Errorf("consuming the approval: %w", err)
			case n != 1:
				return purser.Errorf(purser.InvalidState, "the approval was used")
			}
		}
		t.Record(r)
		return t.StartPlan(ctx, db.StartPlanParams{Organization: t.Org, ID: plan.ID, Deadline: store.Micro(t.Now.Add(o.Defaults.PlanTTL))})
	})
}

// usable finds the approval that a plan with reasons needs: of this digest, not
// used, not late, and of the present epoch of its scopes (RULES 12, 13).
func (o *Office) usable(ctx context.Context, t *store.Turn, plan db.Plan) (string, error) {
	if err := o.untouched(ctx, t, plan); err != nil {
		return "", err
	}
	detail, err := fromJSON[planDetail](plan.Detail)
	if err != nil {
		return "", err
	}
	if store.Micro(t.Now) >= plan.ExpiresAt {
		return "", purser.Errorf(purser.PlanExpired, "the plan waited until %s", store.Time(plan.ExpiresAt)).WithHint("make a new plan")
	}
	if len(detail.Reasons) == 0 {
		return "", nil
	}
	a, err := t.ApprovalOfPlan(ctx, db.ApprovalOfPlanParams{Organization: t.Org, Plan: plan.ID})
	if missing(err) || err == nil && a.Decision != "approved" {
		return "", needsApproval(purser.Plan{ID: plan.ID})
	}
	if err != nil {
		return "", err
	}
	if a.ConsumedAt != 0 || store.Micro(t.Now) >= a.ExpiresAt {
		no := purser.Errorf(purser.ApprovalExpired, "the approval was to be used until %s", store.Time(a.ExpiresAt).Format(time.RFC3339))
		no.Plan = plan.ID
		return "", no.WithHint("purser approve %s", plan.ID)
	}
	return a.ID, nil
}

// untouched refuses a plan, or the rest of one that was begun, if a stop of its scopes
// came since it was made.
func (o *Office) untouched(ctx context.Context, t *store.Turn, plan db.Plan) error {
	void, err := o.planVoid(ctx, t.Queries, plan)
	if err == nil && void != nil {
		err = void
	}
	return err
}

// planVoid is the no of the first stop that covers a plan and came after it, even if the
// stop was lifted again: a resume revives nothing. A plan is void from the turn of the stop
// on, whenever it is marked so, and a yes that it gets since does not help it.
func (o *Office) planVoid(ctx context.Context, q *db.Queries, plan db.Plan) (*purser.Error, error) {
	since, err := stopsAfter(ctx, q, plan)
	if err != nil {
		return nil, err
	}
	return o.voidBy(ctx, q, plan, since)
}

func stopsAfter(ctx context.Context, q *db.Queries, plan db.Plan) ([]db.Stop, error) {
	return q.StopsAfter(ctx, db.StopsAfterParams{Organization: plan.Organization, After: plan.Epoch})
}

// voidBy is planVoid among stops, of which some may have come before the plan.
func (o *Office) voidBy(ctx context.Context, q *db.Queries, plan db.Plan, stops []db.Stop) (*purser.Error, error) {
	since := slices.DeleteFunc(slices.Clone(stops), func(s db.Stop) bool { return s.Epoch <= plan.Epoch })
	if len(since) == 0 {
		return nil, nil
	}
	paths, err := o.planPaths(ctx, q, plan)
	if err != nil {
		return nil, err
	}
	for _, s := range since {
		for _, p := range paths {
			if p.Covered(s.Scope, s.Target) {
				return wasStopped(s), nil
			}
		}
	}
	return nil, nil
}

// wasStopped is the refusal of what was before a stop.
func wasStopped(s db.Stop) *purser.Error {
	return guard.StoppedBy(purser.StopInfo{ID: s.ID, Scope: s.Scope, Target: s.Target, Reason: s.Reason, LiftedAt: store.TimeOrNil(s.LiftedAt)})
}

// walk makes sure that this process works on a plan, and returns what is closed
// when it stops working on it.
func (o *Office) walk(org, plan string) <-chan struct{} {
	o.mu.Lock()
	defer o.mu.Unlock()
	if done := o.walkers[plan]; done != nil {
		return done
	}
	done := make(chan struct{})
	if o.life.Err() != nil {
		return nil // closing: whoever waits is told that the server leaves
	}
	o.walkers[plan] = done
	o.wg.Go(func() {
		defer func() {
			o.mu.Lock()
			delete(o.walkers, plan)
			o.mu.Unlock()
			close(done)
		}()
		if err := o.walkPlan(o.life, org, plan); err != nil && o.life.Err() == nil {
			o.Log.Error("applying a plan", "organization", org, "plan", plan, "error", err)
			_ = pause(o.life, shortWait) // whoever waits would begin again at once
		}
	})
	return done
}

// walkPlan executes the steps of a plan one after the other, from wherever an
// earlier walk stopped. A step that fails ends the plan; one whose outcome is
// unknown leaves it applying, for Recover.
func (o *Office) walkPlan(ctx context.Context, org, id string) error {
	row, err := o.Store.Read().Plan(ctx, db.PlanParams{Organization: org, ID: id})
	if err != nil {
		return err
	}
	terms, err := fromJSON[purser.PlanTerms](row.Terms)
	if err != nil {
		return err
	}
	for _, step := range terms.Steps {
		err := o.doStep(ctx, row, step)
		for errors.Is(err, errLeased) && pause(ctx, min(shortWait, o.Defaults.Lease)) == nil { // not each time anew: that would take a turn
			err = o.doStep(ctx, row, step)
		}
		if err != nil {
			if ctx.Err() != nil || errors.Is(err, errLeased) {
				return nil // the next walk goes on
			}
			return o.endPlan(ctx, org, id, err)
		}
	}
	return o.endPlan(ctx, org, id, nil)
}

// endPlan stores how a plan ended.
func (o *Office) endPlan(ctx context.Context, org, id string, failed error) error {
	var coded *purser.Error
	if failed != nil && !asCoded(failed, &coded) {
		return failed // a fault of ours: the plan stays, and is tried again
	}
	return o.turn(ctx, org, func(t *store.Turn) error {
		plan, err := t.Plan(ctx, db.PlanParams{Organization: t.Org, ID: id})
		if err != nil {
			return err
		}
		if purser.PlanState(plan.State) != purser.PlanApplying {
			return nil
		}
		state, text := purser.PlanDone, ""
		if coded != nil {
			state, text = purser.PlanFailed, toJSON(coded)
			var final failedOrder
			late := store.Micro(t.Now) >= plan.Deadline
			waits := coded.Code == purser.OutcomeUnknown || coded.Code.Info().Class == purser.ClassRetry || waitsForPerson(coded)
			if waits && !late && !errors.As(failed, &final) {
				state = purser.PlanApplying
			}
		}
		if string(state) == plan.State && text == plan.Error {
			return nil
		}
		r := recordOf(system, "end_plan", id)
		r.Project, r.Env, r.Run, r.PlanDigest = plan.Project, plan.Env, plan.Run, plan.Digest
		r.Detail = map[string]string{"state": string(state)}
		if coded != nil {
			r.Outcome, r.Detail["code"] = "failed", string(coded.Code)
		}
		t.Record(r)
		return t.SetPlanState(ctx, db.SetPlanStateParams{Organization: t.Org, ID: id, State: string(state), Error: text})
	})
}
