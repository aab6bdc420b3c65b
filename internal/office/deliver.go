package office

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/purser-dev/purser"
	"github.com/purser-dev/purser/internal/catalog"
	"github.com/purser-dev/purser/internal/notice"
	"github.com/purser-dev/purser/internal/store"
	"github.com/purser-dev/purser/internal/store/db"
)

// Courier carries a notice to one receiver, and returns when it was taken. Its
// error is kept for the operator and holds no secret.
type Courier interface {
	Carry(ctx context.Context, m notice.Message) error
}

// States of a delivery.
const (
	deliveryWaiting = "waiting"
	deliveryDone    = "done"
	deliveryMoot    = "moot"     // it was decided before anybody could be told
	deliveryMuted   = "muted"    // too many of its kind within the hour
	deliveryGivenUp = "given_up" // it could not be delivered for a day
)

const (
	carryTimeout  = 20 * time.Second
	deliveryLease = 60 * time.Second // longer than one attempt: nobody else sends meanwhile
	mostPerHour   = 20               // of one kind to one receiver; an agent that floods must not bury what counts
	atOnce        = 8                // deliveries
)

// Tell sends what is to be told: it finds out to whom each new notice goes, and
// tries each delivery that is due. A delivery is claimed under a lease before it
// is sent and marked after it was taken, so that of several servers one sends, and a
// crash in between sends again.
func (o *Office) Tell(ctx context.Context) error {
	if err := o.spread(ctx); err != nil {
		return err
	}
	due, err := o.Store.Read().DueDeliveries(ctx, db.DueDeliveriesParams{Now: store.Micro(o.Now()), RowLimit: 64})
	if err != nil {
		return fmt.Errorf("listing deliveries: %w", err)
	}
	side, ctx := errgroup.WithContext(ctx)
	side.SetLimit(atOnce)
	for _, d := range due {
		side.Go(func() error { return o.deliver(ctx, d) })
	}
	return side.Wait()
}

// spread makes the deliveries of new notices.
func (o *Office) spread(ctx context.Context) error {
	fresh, err := o.Store.Read().NoticesToSpread(ctx, 100)
	if err != nil {
		return fmt.Errorf("listing notices: %w", err)
	}
	for _, n := range fresh {
		receivers, err := o.receivers(ctx, n)
		if err != nil {
			return err
		}
		err = o.Store.Write(ctx, func(q *db.Queries) error {
			if first, err := q.SpreadNotice(ctx, db.SpreadNoticeParams{Organization: n.Organization, ID: n.ID, Now: store.Micro(o.Now())}); err != nil || first == 0 {
				return err // another server was first
			}
			for _, r := range receivers {
				if err := o.insertDelivery(ctx, q, n, r); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return fmt.Errorf("spreading notice %s: %w", n.ID, err)
		}
	}
	return nil
}

func (o *Office) insertDelivery(ctx context.Context, q *db.Queries, n db.Notice, r receiver) error {
	now := o.Now()
	sent, err := q.DeliveriesSince(ctx, db.DeliveriesSinceParams{Organization: n.Organization, Way: r.way, Person: r.person, Kind: n.Kind, After: store.Micro(now.Add(-time.Hour))})
	if err != nil {
		return err
	}
	state := deliveryWaiting
	if sent >= mostPerHour {
		state = deliveryMuted
	}
	return q.InsertDelivery(ctx, db.InsertDeliveryParams{
		Organization: n.Organization, Notice: n.ID, Way: r.way, Person: r.person, Kind: n.Kind, State: state, NextAt: store.Micro(now), CreatedAt: store.Micro(now),
	})
}

// receiver is somebody who is told, and by which way.
type receiver struct{ way, person string }

// receivers finds out who is told of a notice. What belongs to the installation is
// told to its operator: the webhook, and the owners where there is one organization.
func (o *Office) receivers(ctx context.Context, n db.Notice) ([]receiver, error) {
	q, org := o.Store.Read(), n.Organization
	if org == store.Installation {
		all, err := o.organizations(ctx)
		if err != nil {
			return nil, err
		}
		if len(all) != 1 {
			return o.able(receiver{way: notice.Webhook}), nil
		}
		org = all[0].ID
	}
	people, err := q.PeopleToTell(ctx, org)
	if err != nil {
		return nil, err
	}
	choices, err := o.choices(ctx, q, org)
	if err != nil {
		return nil, err
	}
	kind, out := notice.Kind(n.Kind), []receiver{}
	always := kind == notice.Test || kind == notice.ChoicesChanged
	signed, err := o.signedAlready(ctx, q, n)
	if err != nil {
		return nil, err
	}
	for _, p := range people {
		ways, own := notice.WaysOf(choices, p.ID, kind)
		switch {
		case n.Person != "" && n.Person != p.ID, signed[p.ID]:
			continue
		case always: // by every way
		case n.Organization == store.Installation && purser.Role(p.Role) != purser.Owner,
			purser.Role(p.Role) == purser.Viewer && !own,
			!slices.Contains(ways, notice.Mail):
			continue
		}
		out = append(out, receiver{notice.Mail, p.ID})
	}
	if ways, _ := notice.WaysOf(choices, "", kind); always || slices.Contains(ways, notice.Webhook) {
		out = append(out, receiver{way: notice.Webhook})
	}
	return o.able(out...), nil
}

// signedAlready are those who gave their yes to the plan that a notice asks a
// signature for: it is not theirs that it waits for.
func (o *Office) signedAlready(ctx context.Context, q *db.Queries, n db.Notice) (map[string]bool, error) {
	if !notice.Kind(n.Kind).AsksForApproval() {
		return nil, nil
	}
	votes, err := q.Votes(ctx, db.VotesParams{Organization: n.Organization, Plan: n.About})
	out := map[string]bool{}
	for _, v := range votes {
		out[v.Approver] = true
	}
	return out, err
}

// able keeps the receivers that some courier can reach.
func (o *Office) able(all ...receiver) []receiver {
	return slices.DeleteFunc(all, func(r receiver) bool { return o.Couriers[r.way] == nil })
}

func (o *Office) choices(ctx context.Context, q *db.Queries, org string) ([]notice.Choice, error) {
	rows, err := q.NoticeChoices(ctx, org)
	if err != nil {
		return nil, err
	}
	out := []notice.Choice{}
	for _, r := range rows {
		c := notice.Choice{Person: r.Person, Kind: r.Kind, Ways: []string{}}
		if r.Ways != "" {
			c.Ways = strings.Split(r.Ways, ",")
		}
		out = append(out, c)
	}
	return out, nil
}

// deliver makes one attempt, if it is ours to make.
func (o *Office) deliver(ctx context.Context, d db.Delivery) error {
	courier := o.Couriers[d.Way]
	now := o.Now()
	claimed := int64(0)
	err := o.Store.Write(ctx, func(q *db.Queries) (err error) {
		claimed, err = q.ClaimDelivery(ctx, db.ClaimDeliveryParams{
			Organization: d.Organization, Notice: d.Notice, Way: d.Way, Person: d.Person, Attempts: d.Attempts, Now: store.Micro(now), Until: store.Micro(now.Add(deliveryLease)),
		})
		return err
	})
	if err != nil || claimed == 0 {
		return err
	}
	d.Attempts++
	m, moot, err := o.message(ctx, d)
	if err == nil && !moot && courier == nil {
		err = errors.New("the server is not set up for this way any more")
	}
	if err == nil && !moot {
		carrying, cancel := context.WithTimeout(ctx, carryTimeout)
		err = courier.Carry(carrying, m)
		cancel()
	}
	if ctx.Err() != nil {
		return nil // we are closing; the lease ends, and it is sent again if it was not taken
	}
	return o.delivered(ctx, d, moot, err)
}

// delivered keeps what an attempt came to.
func (o *Office) delivered(ctx context.Context, d db.Delivery, moot bool, failed error) error {
	now := o.Now()
	end := db.EndDeliveryParams{
		Organization: d.Organization, Notice: d.Notice, Way: d.Way, Person: d.Person, Attempts: d.Attempts,
		State: deliveryDone, NextAt: d.NextAt, EndedAt: store.Micro(now),
	}
	switch {
	case moot:
		end.State = deliveryMoot
	case failed != nil && now.Sub(store.Time(d.CreatedAt)) < notice.GiveUpAfter:
		end.State, end.NextAt, end.EndedAt = deliveryWaiting, store.Micro(now.Add(notice.Backoff(d.Attempts))), 0
	case failed != nil:
		end.State = deliveryGivenUp
	}
	if failed != nil {
		end.Error = catalog.Plain(failed.Error(), 300)
	}
	if end.State != deliveryGivenUp {
		return o.Store.Write(ctx, func(q *db.Queries) error { _, err := q.EndDelivery(ctx, end); return err })
	}
	// That a person was not told is a fact of its own.
	return o.turn(ctx, d.Organization, func(t *store.Turn) error {
		if n, err := t.EndDelivery(ctx, end); err != nil || n == 0 {
			return err
		}
		r := recordOf(system, "give_up_notice", d.Notice)
		r.Outcome, r.Detail = "failed", map[string]string{"way": d.Way, "person": d.Person, "kind": d.Kind}
		t.Record(r)
		return nil
	})
}

// message makes what is sent, of the notice as it was written. Moot is a call for
// a decision that was made meanwhile.
func (o *Office) message(ctx context.Context, d db.Delivery) (m notice.Message, moot bool, err error) {
	q := o.Store.Read()
	n, err := q.Notice(ctx, db.NoticeParams{Organization: d.Organization, ID: d.Notice})
	if err != nil {
		return m, false, err
	}
	kind := notice.Kind(n.Kind)
	if kind.AsksForApproval() {
		plan, err := q.Plan(ctx, db.PlanParams{Organization: d.Organization, ID: n.About})
		if err != nil {
			return m, false, err
		}
		if purser.PlanState(plan.State) != purser.PlanWaiting {
			return m, true, nil
		}
	}
	org, err := q.Organization(ctx, d.Organization)
	if err != nil {
		return m, false, err
	}
	facts, err := fromJSON[[]notice.Fact](n.Facts)
	if err != nil {
		return m, false, err
	}
	m = notice.Message{
		Notice: notice.Notice{Kind: kind, Mark: n.Mark, About: n.About, Subject: n.Subject, Facts: facts, Link: n.Link, Project: n.Project, Run: n.Run},
		ID:     n.ID, Organization: n.Organization, OrganizationName: org.Name, At: store.Time(n.CreatedAt), URL: o.linkTo(n.Link),
	}
	if d.Way == notice.Mail {
		owner := d.Organization
		if owner == store.Installation {
			if all, err := o.organizations(ctx); err == nil && len(all) == 1 {
				owner = all[0].ID
			}
		}
		p, err := q.Person(ctx, db.PersonParams{Organization: owner, ID: d.Person})
		if err != nil {
			return m, false, err
		}
		if p.RemovedAt != 0 {
			return m, true, nil // a person who left is told nothing
		}
		m.Address = p.Email
	}
	since, err := q.DeliveriesSince(ctx, db.DeliveriesSinceParams{Organization: d.Organization, Way: d.Way, Person: d.Person, Kind: d.Kind, After: d.CreatedAt - int64(time.Hour/time.Microsecond)})
	m.Last = since >= mostPerHour
	return m, false, err
}

const (
	pruneAtOnce = 100                  // notices that one look finds
	pruneFor    = 5 * time.Millisecond // of one transaction: on SQLite everybody waits for it (RULES 20)
)

// prune forgets old notices with their deliveries, a few in each transaction. What
// they told is in the log for ever.
func (o *Office) prune(ctx context.Context) error {
	if o.Defaults.KeepNotices <= 0 {
		return nil
	}
	before := store.Micro(o.Now().Add(-o.Defaults.KeepNotices))
	for {
		old, err := o.Store.Read().NoticesToPrune(ctx, db.NoticesToPruneParams{Before: before, RowLimit: pruneAtOnce})
		if err != nil || len(old) == 0 {
			return err
		}
		for len(old) > 0 {
			if old, err = o.pruneSome(ctx, old); err != nil {
				return fmt.Errorf("forgetting old notices: %w", err)
			}
		}
	}
}

// pruneSome drops the first of them, for as long as one transaction may take, and
// returns the rest. The clock is the machine's: it is the machine that others wait for.
func (o *Office) pruneSome(ctx context.Context, old []db.NoticesToPruneRow) (rest []db.NoticesToPruneRow, err error) {
	err = o.Store.Write(ctx, func(q *db.Queries) error {
		rest = old
		for began := time.Now(); len(rest) > 0 && (len(rest) == len(old) || time.Since(began) < pruneFor); rest = rest[1:] {
			n := rest[0]
			if err := q.DropDeliveries(ctx, db.DropDeliveriesParams{Organization: n.Organization, Notice: n.ID}); err != nil {
				return err
			}
			if err := q.DropNotice(ctx, db.DropNoticeParams(n)); err != nil {
				return err
			}
		}
		return nil
	})
	return rest, err
}

func (o *Office) linkTo(path string) string {
	if path == "" {
		return ""
	}
	return strings.TrimSuffix(o.PublicURL(), "/") + path
}
