package office

import (
	"context"

	"github.com/purser-dev/purser"
	"github.com/purser-dev/purser/internal/store"
	"github.com/purser-dev/purser/internal/store/db"
)

// Status shows what waits, runs, lives and costs. An agent sees its own project.
func (o *Office) Status(ctx context.Context, by purser.Actor, in purser.AskStatus) (out purser.Status, err error) {
	q := o.Store.Read()
	org, err := q.Organization(ctx, by.Organization)
	if err != nil {
		return out, notFound(err, "organization", by.Organization)
	}
	out = purser.Status{Organization: org.Name, Resources: []purser.Resource{}, Runs: []purser.Run{}, Stops: []purser.StopInfo{}}
	project := ""
	if in.Project != "" || by.Kind == purser.Agent {
		p, err := o.project(ctx, q, by, in.Project)
		if err != nil {
			return out, err
		}
		project, out.Project = p.ID, p.Name
	}
	if out.Resources, err = o.resources(ctx, q, by.Organization, project, in.Env); err != nil {
		return out, err
	}
	waiting, err := o.ListApprovals(ctx, by, purser.Page{Limit: 200})
	if err != nil {
		return out, err
	}
	out.Waiting = waiting.Items
	runs, err := o.ListRuns(ctx, by, purser.Page{Limit: 200})
	if err != nil {
		return out, err
	}
	for _, r := range runs.Items {
		if r.State == "active" || r.State == "stopped" {
			out.Runs = append(out.Runs, r)
		}
	}
	unsettled, err := q.UnsettledOrders(ctx, by.Organization)
	if err != nil {
		return out, err
	}
	if out.Unsettled, err = o.showOrders(ctx, q, ofProject(unsettled, project)); err != nil {
		return out, err
	}
	stops, err := o.ListStops(ctx, by, purser.None{})
	if err != nil {
		return out, err
	}
	out.Stops = stops.Items
	lines, err := o.lines(ctx, q, by.Organization)
	if err != nil {
		return out, err
	}
	out.Budgets = visible(by, lines)
	if out.Untold, err = o.untold(ctx, q, by); err != nil {
		return out, err
	}
	subs, err := o.Subscriptions(ctx, by, purser.None{})
	out.Subscribed, out.RunRate = subs.Items, runRate(subs.Items)
	if err != nil || by.Kind != purser.Person {
		return out, err
	}
	if out.Witnesses, err = o.witnesses(ctx, q, by.Organization); err != nil {
		return out, err
	}
	skew, err := o.Store.ClockSkew(ctx, by.Organization)
	out.ClockSkew = skew.Microseconds()
	return out, err
}

func ofProject(orders []db.Order, project string) []db.Order {
	var out []db.Order
	for _, o := range orders {
		if project == "" || o.Project == project {
			out = append(out, o)
		}
	}
	return out
}

// runRate is what the subscriptions that go on come to each month.
func runRate(subs []purser.Subscription) []purser.Money {
	rate := sums{}
	for _, s := range subs {
		if goesOn(s.State) {
			rate.add(s.Amount.Currency, perMonth(s.Amount.Amount, s.Amount.Currency, s.Interval))
		}
	}
	return rate.list()
}

func (o *Office) resources(ctx context.Context, q *db.Queries, org, project, env string) ([]purser.Resource, error) {
	rows, err := q.Resources(ctx, db.ResourcesParams{Organization: org, Project: project, Env: env})
	if err != nil {
		return nil, err
	}
	out := []purser.Resource{}
	for _, row := range rows {
		if row.State == ResourceRemoved || row.State == ResourceDetached {
			continue
		}
		r, err := o.showResource(ctx, q, row)
		if err != nil {
			return nil, err
		}
		out = append(out, r)
	}
	return out, nil
}

func (o *Office) showResource(ctx context.Context, q *db.Queries, row db.Resource) (purser.Resource, error) {
	s, err := q.SubscriptionOfResource(ctx, db.SubscriptionOfResourceParams{Organization: row.Organization, Resource: row.ID})
	if err != nil && !missing(err) {
		return purser.Resource{}, err
	}
	return resourceInfo(row, s.ID)
}

func resourceInfo(row db.Resource, subscription string) (out purser.Resource, err error) {
	out = purser.Resource{
		ID: row.ID, Name: row.Name, Project: row.Project, Env: row.Env, Provider: row.Provider, Service: row.Service, ProviderID: row.ProviderID,
		Item: row.Item, State: row.State, Order: row.OrderID, URL: row.Url, Cap: row.Cap, Subscription: subscription, CreatedAt: store.Time(row.CreatedAt),
		RemovedAt: store.TimeOrNil(row.RemovedAt), Class: row.Class, Until: store.TimeOrNil(row.CredentialsUntil),
	}
	if row.State == ResourceRetiring {
		out.DeletesAt = store.TimeOrNil(row.DeletesAt)
	}
	out.Variables, err = fromJSON[[]string](row.Variables)
	return out, err
}
