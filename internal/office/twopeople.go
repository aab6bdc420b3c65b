package office

import (
	"context"
	"fmt"

	"github.com/purser-dev/purser"
	"github.com/purser-dev/purser/internal/audit"
	"github.com/purser-dev/purser/internal/notice"
	"github.com/purser-dev/purser/internal/store"
	"github.com/purser-dev/purser/internal/store/db"
)

// two people, not two credentials (RULES 11).
const two = 2

// TwoPeople shows the amounts above which two people must approve.
func (o *Office) TwoPeople(ctx context.Context, by purser.Actor, _ purser.None) (purser.TwoPeople, error) {
	return showTwoPeople(ctx, o.Store.Read(), by.Organization)
}

func showTwoPeople(ctx context.Context, q *db.Queries, org string) (purser.TwoPeople, error) {
	rows, err := q.TwoPeople(ctx, org)
	out := purser.TwoPeople{Above: []purser.Money{}}
	for _, r := range rows {
		out.Above = append(out.Above, purser.Money{Amount: r.Above, Currency: r.Currency})
	}
	return out, err
}

// SetTwoPeople sets such an amount, or takes it away. Either way a person signs
// it: raised it loosens, lowered it could lock the organization out.
func (o *Office) SetTwoPeople(ctx context.Context, by purser.Actor, in purser.SetTwoPeople) (purser.TwoPeople, error) {
	if !purser.ValidCurrency(in.Above.Currency) || in.Above.Amount < 0 {
		return purser.TwoPeople{}, purser.Errorf(purser.InvalidRequest, "an amount is like 50.00 USD, not below zero")
	}
	return once(ctx, o, by, "set_two_people", in, func(t *store.Turn) (purser.TwoPeople, error) {
		signed, err := o.signed(ctx, t, by, "set_two_people", in, in.Act)
		if err == nil && !in.Off {
			err = o.enoughPeople(ctx, t)
		}
		if err != nil {
			return purser.TwoPeople{}, o.refuseAct(t, by, "set_two_people", in.Above.Currency, err)
		}
		r := recordOf(by, "set_two_people", in.Above.Currency)
		r.Attach, r.Detail = signed, map[string]string{"above": in.Above.String()}
		if in.Off {
			r.Detail["above"] = "off"
			err = t.DropTwoPeople(ctx, db.DropTwoPeopleParams{Organization: t.Org, Currency: in.Above.Currency})
		} else {
			err = t.SetTwoPeople(ctx, db.SetTwoPeopleParams{Organization: t.Org, Currency: in.Above.Currency, Above: in.Above.Amount})
		}
		if err != nil {
			return purser.TwoPeople{}, err
		}
		t.Record(r)
		return showTwoPeople(ctx, t.Queries, t.Org)
	})
}

// enoughPeople refuses a rule that nobody could satisfy.
func (o *Office) enoughPeople(ctx context.Context, t *store.Turn) error {
	people, err := t.People(ctx, t.Org)
	if err != nil {
		return err
	}
	n := 0
	for _, p := range people {
		if purser.Role(p.Role) != purser.Viewer {
			n++
		}
	}
	if n < two {
		return purser.Errorf(purser.InvalidState, "there is only one person who may approve").WithHint("invite an approver first: purser people invite approver")
	}
	return nil
}

// twoNeeded reports that a plan costs more, now or each month, than one person may
// approve. With a rule for any currency, one without a rule needs two people as
// well: no row never means unlimited.
func (o *Office) twoNeeded(ctx context.Context, q *db.Queries, org string, terms purser.PlanTerms) (bool, error) {
	rows, err := q.TwoPeople(ctx, org)
	if err != nil || len(rows) == 0 {
		return false, err
	}
	above := map[string]int64{}
	for _, r := range rows {
		above[r.Currency] = r.Above
	}
	sum := totals(terms.Steps)
	for _, list := range [][]purser.Money{sum.Now, sum.Monthly, sum.Renewal} {
		for _, m := range list {
			if limit, ok := above[m.Currency]; m.Amount > 0 && (!ok || m.Amount > limit) {
				return true, nil
			}
		}
	}
	return false, nil
}

// mayVote refuses the second yes of one person, and one that comes too late to
// matter.
func (o *Office) mayVote(ctx context.Context, t *store.Turn, by purser.Actor, plan db.Plan) error {
	if purser.PlanState(plan.State) == purser.PlanReady {
		return purser.Errorf(purser.InvalidState, "two people have approved the plan already").WithHint("purser apply %s", plan.ID)
	}
	votes, err := o.votes(ctx, t.Queries, t.Org, plan.ID)
	for _, v := range votes {
		if v.Approver == by.ID {
			return purser.Errorf(purser.InvalidState, "you approved it; another person must as well").WithHint("ask another owner or approver")
		}
	}
	return err
}

// votes are the yeses of those who still may give one.
func (o *Office) votes(ctx context.Context, q *db.Queries, org, plan string) ([]db.Vote, error) {
	rows, err := q.Votes(ctx, db.VotesParams{Organization: org, Plan: plan})
	if err != nil {
		return nil, err
	}
	var out []db.Vote
	for _, v := range rows {
		p, err := q.Person(ctx, db.PersonParams{Organization: org, ID: v.Approver})
		if err != nil {
			return nil, err
		}
		if p.RemovedAt == 0 && purser.Role(p.Role) != purser.Viewer {
			out = append(out, v)
		}
	}
	return out, nil
}

// vote counts a person's yes, and decides with the second one.
func (o *Office) vote(ctx context.Context, t *store.Turn, by purser.Actor, plan db.Plan, yes decision) (purser.Plan, error) {
	err := t.InsertVote(ctx, db.InsertVoteParams{Organization: t.Org, Plan: plan.ID, Approver: by.ID, Method: yes.method, SignedAt: store.Micro(t.Now)})
	if err != nil {
		return purser.Plan{}, err
	}
	votes, err := o.votes(ctx, t.Queries, t.Org, plan.ID)
	if err != nil {
		return purser.Plan{}, err
	}
	yes.detail = map[string]string{"people": fmt.Sprintf("%d of %d", min(len(votes), two), two)}
	if len(votes) >= two {
		return o.decide(ctx, t, by, plan, yes)
	}
	r := recordOf(by, audit.ActionApprove, plan.ID)
	r.Project, r.Env, r.Run, r.PlanDigest, r.Attach, r.Detail = plan.Project, plan.Env, plan.Run, plan.Digest, yes.signed, yes.detail
	t.Record(r)
	second := func(p purser.Plan, agent string) notice.Notice {
		return notice.Second(p, agent, o.nameOf(ctx, t.Queries, t.Org, by))
	}
	if err := o.tellPlan(ctx, t, plan.ID, second); err != nil {
		return purser.Plan{}, err
	}
	return o.showPlan(ctx, t.Queries, t.Org, plan.ID)
}

// enoughVotes refuses to begin a plan that by now needs two people and has fewer.
func (o *Office) enoughVotes(ctx context.Context, t *store.Turn, plan db.Plan) error {
	terms, err := fromJSON[purser.PlanTerms](plan.Terms)
	if err != nil {
		return err
	}
	needed, err := o.twoNeeded(ctx, t.Queries, t.Org, terms)
	if err != nil || !needed {
		return err
	}
	votes, err := o.votes(ctx, t.Queries, t.Org, plan.ID)
	if err == nil && len(votes) < two {
		no := purser.Errorf(purser.NeedsApproval, "two people must approve plan %s, and %d did", plan.ID, len(votes))
		no.Plan = plan.ID
		return no.WithHint("purser approve %s", plan.ID)
	}
	return err
}
