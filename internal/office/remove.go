package office

import (
	"cmp"
	"context"
	"fmt"

	"github.com/purser-dev/purser"
	"github.com/purser-dev/purser/app"
	"github.com/purser-dev/purser/internal/seal"
	"github.com/purser-dev/purser/internal/store"
	"github.com/purser-dev/purser/internal/store/db"
)

// The three verbs (RULES 25).
const (
	detach  = "detach"
	retire  = "retire"
	destroy = "destroy"
)

// Remove ends a resource. Detach forgets it and leaves it at the provider; retire
// cancels its renewal now and deletes it after the grace; destroy deletes it at
// once, and asks a person to sign and to type the name.
func (o *Office) Remove(ctx context.Context, by purser.Actor, in purser.Remove) (purser.Removal, error) {
	row, err := o.resource(ctx, o.Store.Read(), by, purser.ResourceRef{Resource: in.Resource, Project: in.Project, Env: in.Env})
	if err != nil {
		return purser.Removal{}, err
	}
	out, err := o.removal(ctx, o.Store.Read(), row, in.Mode)
	if err != nil || in.DryRun {
		return out, err
	}
	out, err = once(ctx, o, by, "remove", in, func(t *store.Turn) (purser.Removal, error) { return o.remove(ctx, t, by, row.ID, in) })
	if err != nil || in.Mode != destroy {
		return out, err
	}
	// The provider's part: if it fails now, Due tries it again until it is done.
	if err := o.delete(ctx, by.Organization, row.ID); err != nil {
		out.Error, out.Pending = asError(err), true
		return out, nil
	}
	row, err = o.Store.Read().Resource(ctx, db.ResourceParams{Organization: by.Organization, ID: row.ID})
	if err != nil {
		return out, err
	}
	out.Resource, err = o.showResource(ctx, o.Store.Read(), row)
	out.Done, out.Pending = row.State == ResourceRemoved, row.State != ResourceRemoved
	return out, err
}

// removal tells what a verb would do, money first.
func (o *Office) removal(ctx context.Context, q *db.Queries, row db.Resource, mode string) (out purser.Removal, err error) {
	out = purser.Removal{Mode: mode, StopsPaying: []purser.Money{}, NotRefunded: []purser.Money{}}
	if out.Resource, err = o.showResource(ctx, q, row); err != nil {
		return out, err
	}
	if !alive(row) && row.State != ResourceRetiring {
		return out, purser.Errorf(purser.InvalidState, "resource %s is %s", row.Name, row.State)
	}
	s, err := q.SubscriptionOfResource(ctx, db.SubscriptionOfResourceParams{Organization: row.Organization, Resource: row.ID})
	pays := err == nil && goesOn(s.State)
	if err != nil && !missing(err) {
		return out, err
	}
	if out.NotRefunded, err = o.kept(ctx, q, row); err != nil {
		return out, err
	}
	switch mode {
	case detach:
		out.Consequences = []string{row.Provider + " keeps it as " + row.ProviderID + "; Purser forgets its credentials"}
		if pays {
			out.Consequences = append(out.Consequences, "its recurring charge goes on: purser subscriptions cancel "+s.ID)
		}
	case retire:
		out.Consequences = []string{"its renewal is cancelled now", "it is deleted at " + row.Provider + " after " + days(o.Defaults.Grace) + "; until then: purser restore " + row.ID}
	case destroy:
		out.Consequences = []string{"it is deleted at " + row.Provider + " now; this cannot be undone"}
	default:
		return out, purser.Errorf(purser.InvalidRequest, "how? --detach keeps it at the provider, --retire deletes it after a grace, --destroy deletes it now")
	}
	if pays && mode != detach {
		out.StopsPaying = append(out.StopsPaying, purser.Money{Amount: s.Amount, Currency: s.Currency})
	}
	return out, nil
}

// kept is what was paid for a resource and did not come back. An adopted one was
// not bought here.
func (o *Office) kept(ctx context.Context, q *db.Queries, row db.Resource) ([]purser.Money, error) {
	out := []purser.Money{}
	if row.OrderID == "" {
		return out, nil
	}
	order, err := q.Order(ctx, db.OrderParams{Organization: row.Organization, ID: row.OrderID})
	if err != nil {
		return out, notFound(err, "order", row.OrderID)
	}
	h, err := q.Hold(ctx, db.HoldParams{Organization: row.Organization, ID: order.Hold})
	if err == nil && h.Captured > h.Refunded {
		out = append(out, purser.Money{Amount: h.Captured - h.Refunded, Currency: h.Currency})
	}
	return out, err
}

func (o *Office) remove(ctx context.Context, t *store.Turn, by purser.Actor, id string, in purser.Remove) (out purser.Removal, err error) {
	row, err := t.Resource(ctx, db.ResourceParams{Organization: t.Org, ID: id})
	if err != nil {
		return out, err
	}
	if out, err = o.removal(ctx, t.Queries, row, in.Mode); err != nil {
		return out, err
	}
	r := recordOf(by, "remove", row.ID)
	r.Project, r.Env, r.Detail = row.Project, row.Env, map[string]string{"mode": in.Mode, "what": row.Provider + "/" + row.Service + " " + row.Item}
	state, removed, deletes, from := ResourceDetached, store.Micro(t.Now), int64(0), ""
	switch in.Mode {
	case retire:
		state, removed, deletes, from = ResourceRetiring, 0, store.Micro(t.Now.Add(o.Defaults.Grace)), row.State
		if row.State == ResourceRetiring { // once more: a restore brings back what the first one found
			from = row.RetiredFrom
		}
	case destroy:
		if in.Confirm != row.Name {
			return out, purser.Errorf(purser.NeedsPerson, "to destroy it, its name must be typed: %s", row.Name).WithHint("purser remove %s --destroy, in a terminal", row.ID)
		}
		if r.Attach, err = o.signed(ctx, t, by, "remove", in, in.Act); err != nil {
			return out, o.refuseAct(t, by, "remove", row.ID, err)
		}
		state, removed, deletes = ResourceDestroying, 0, store.Micro(t.Now)
	}
	t.Record(r)
	if err := t.SetResourceState(ctx, db.SetResourceStateParams{Organization: t.Org, ID: row.ID, State: state, RemovedAt: removed, DeletesAt: deletes, RetiredFrom: from}); err != nil {
		return out, err
	}
	if in.Mode == detach {
		if err := o.forget(ctx, t, row); err != nil {
			return out, err
		}
	} else {
		if err := o.cancelOf(ctx, t, by, row.ID, in.Mode == retire); err != nil {
			return out, err
		}
	}
	if row, err = t.Resource(ctx, db.ResourceParams{Organization: t.Org, ID: id}); err != nil {
		return out, err
	}
	out.Resource, err = o.showResource(ctx, t.Queries, row)
	out.Done = in.Mode != destroy
	return out, err
}

// forget drops the credentials of a resource that is no longer ours to open.
func (o *Office) forget(ctx context.Context, t *store.Turn, row db.Resource) error {
	nothing, err := o.sealText(seal.NewSecret("{}"), t.Org, "resources", row.ID, "access")
	if err != nil {
		return err
	}
	return t.ForgetAccess(ctx, db.ForgetAccessParams{Organization: t.Org, ID: row.ID, Access: nothing})
}

// cancelOf ends the recurring charge of a resource. What is retired may be restored, and
// then its charge goes on in the state that it has now.
func (o *Office) cancelOf(ctx context.Context, t *store.Turn, by purser.Actor, resource string, retired bool) error {
	s, err := t.SubscriptionOfResource(ctx, db.SubscriptionOfResourceParams{Organization: t.Org, Resource: resource})
	if missing(err) {
		return nil
	}
	if err != nil {
		return err
	}
	if !goesOn(s.State) && (retired || s.RetiredFrom == "") {
		return nil // over already: cancelled again is only what a restore would take up
	}
	from := ""
	if retired {
		from = s.State
	}
	_, err = o.cancelled(ctx, t, by, s, from)
	return err
}

// delete removes a resource at its provider and proves it by reading back. Done
// twice it is done once: the key is the resource.
func (o *Office) delete(ctx context.Context, org, id string) error {
	row, err := o.Store.Read().Resource(ctx, db.ResourceParams{Organization: org, ID: id})
	if err != nil || row.State == ResourceRemoved {
		return err
	}
	p, err := o.provider(ctx, o.Store.Read(), row.Provider)
	if err != nil {
		return err
	}
	if !p.Manifest.Can(app.CapDeprovision) {
		return purser.Errorf(purser.InvalidState, "%s does not delete on request; delete it there, then detach it", p.Name)
	}
	_, access, err := o.access(ctx, org, &p)
	if err != nil {
		return err
	}
	gone, err := o.asked(ctx, org, p, access, func(access seal.Secret) (app.Resource, error) {
		return o.Seller.Remove(ctx, p, access, row.ID+"/remove", row.ProviderID)
	})
	if saysGone(err) { // somebody removed it there
		gone, err = app.Resource{Status: app.StatusRemoved}, nil
	}
	if err != nil {
		return err
	}
	if gone.Status != app.StatusRemoved {
		return nil // pending_removal: Due asks again under the same key
	}
	// Its word is read back; after our own remove, a refusal to show it is as good
	// (APP 17.4).
	if back, err := o.Seller.Get(ctx, p, access, row.ProviderID); err == nil && back.Status != app.StatusRemoved {
		return purser.Errorf(purser.ProviderFailure, "%s says that %s is removed, and still shows it", p.Name, row.Name)
	}
	return o.turn(ctx, org, func(t *store.Turn) error {
		row, err := t.Resource(ctx, db.ResourceParams{Organization: org, ID: id})
		if err != nil || row.State == ResourceRemoved {
			return err
		}
		r := recordOf(system, "removed", id)
		r.Project, r.Env = row.Project, row.Env
		t.Record(r)
		return t.SetResourceState(ctx, db.SetResourceStateParams{Organization: org, ID: id, State: ResourceRemoved, RemovedAt: store.Micro(t.Now)})
	})
}

// saysGone reports that a provider knows the resource's account and has the resource
// no more (APP 12.5). A 404 without the code may come from anywhere on the way.
func saysGone(err error) bool {
	var e *purser.Error
	return asCoded(err, &e) && e.Provider != nil && e.Provider.Code == app.CodeNotFound
}

// removals deletes what is retired and past its grace, and what a destroy left.
func (o *Office) removals(ctx context.Context, org string) error {
	rows, err := o.Store.Read().DueResources(ctx, db.DueResourcesParams{Organization: org, Now: store.Micro(o.Now())})
	if err != nil {
		return err
	}
	for _, row := range rows {
		if err := o.delete(ctx, org, row.ID); err != nil && purser.CodeOf(err) == purser.Internal {
			return err
		}
	}
	return nil
}

// Restore brings a retired resource back, as it was. If the retire cancelled a recurring charge,
// that is taken up again as it was approved, and a person must sign.
func (o *Office) Restore(ctx context.Context, by purser.Actor, in purser.Restore) (purser.Resource, error) {
	row, err := o.resource(ctx, o.Store.Read(), by, purser.ResourceRef{Resource: in.Resource, Project: in.Project, Env: in.Env})
	if err != nil {
		return purser.Resource{}, err
	}
	return once(ctx, o, by, "restore", in, func(t *store.Turn) (purser.Resource, error) {
		row, err := t.Resource(ctx, db.ResourceParams{Organization: t.Org, ID: row.ID})
		if err != nil {
			return purser.Resource{}, err
		}
		if row.State != ResourceRetiring || store.Micro(t.Now) >= row.DeletesAt {
			return purser.Resource{}, purser.Errorf(purser.InvalidState, "resource %s is %s and cannot be restored", row.Name, row.State)
		}
		r := recordOf(by, "restore", row.ID)
		r.Project, r.Env = row.Project, row.Env
		s, err := t.SubscriptionOfResource(ctx, db.SubscriptionOfResourceParams{Organization: t.Org, Resource: row.ID})
		if err != nil && !missing(err) {
			return purser.Resource{}, err
		}
		pays := err == nil && s.RetiredFrom != ""
		if pays || in.Act != nil { // a signature that is not needed is on the record too
			if r.Attach, err = o.signed(ctx, t, by, "restore", in, in.Act); err != nil {
				return purser.Resource{}, o.refuseAct(t, by, "restore", row.ID, err)
			}
		}
		if pays {
			if err := o.takeUp(ctx, t, s); err != nil {
				return purser.Resource{}, err
			}
		}
		t.Record(r)
		if err := t.SetResourceState(ctx, db.SetResourceStateParams{Organization: t.Org, ID: row.ID, State: cmp.Or(row.RetiredFrom, ResourceLive)}); err != nil {
			return purser.Resource{}, err
		}
		if row, err = t.Resource(ctx, db.ResourceParams{Organization: t.Org, ID: row.ID}); err != nil {
			return purser.Resource{}, err
		}
		return o.showResource(ctx, t.Queries, row)
	})
}

// resource finds one by identifier, or by a name that is the only one of its kind
// in the project's environment.
func (o *Office) resource(ctx context.Context, q *db.Queries, by purser.Actor, ref purser.ResourceRef) (db.Resource, error) {
	if purser.ValidID(purser.PrefixResource, ref.Resource) {
		row, err := q.Resource(ctx, db.ResourceParams{Organization: by.Organization, ID: ref.Resource})
		return row, notFound(err, "resource", ref.Resource)
	}
	if ref.Project == "" && by.Kind == purser.Person {
		return db.Resource{}, purser.Errorf(purser.NotFound, "no resource has the identifier %q", ref.Resource).WithHint("purser status lists them; a name needs its project")
	}
	p, err := o.project(ctx, q, by, ref.Project)
	if err != nil {
		return db.Resource{}, err
	}
	env, err := environment(ref.Env)
	if err != nil {
		return db.Resource{}, err
	}
	rows, err := q.Resources(ctx, db.ResourcesParams{Organization: by.Organization, Project: p.ID, Env: env})
	if err != nil {
		return db.Resource{}, err
	}
	var found []db.Resource
	for _, r := range rows {
		if r.Name == ref.Resource && r.State != ResourceRemoved && r.State != ResourceDetached {
			found = append(found, r)
		}
	}
	switch len(found) {
	case 1:
		return found[0], nil
	case 0:
		return db.Resource{}, purser.Errorf(purser.NotFound, "%s has no resource %q in %s", p.Name, ref.Resource, env).WithHint("purser status --env %s", env)
	}
	return db.Resource{}, purser.Errorf(purser.InvalidRequest, "%d resources are called %q: name one by its identifier", len(found), ref.Resource).WithHint("purser status")
}

func days(d interface{ Hours() float64 }) string { return fmt.Sprintf("%d days", int(d.Hours()/24)) }
