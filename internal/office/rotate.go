package office

import (
	"cmp"
	"context"
	"time"

	"github.com/purser-dev/purser"
	"github.com/purser-dev/purser/app"
	"github.com/purser-dev/purser/internal/guard"
	"github.com/purser-dev/purser/internal/seal"
	"github.com/purser-dev/purser/internal/store"
	"github.com/purser-dev/purser/internal/store/db"
)

// Rotate replaces a resource's credentials. The intent is stored before the call
// and the new ones before the old are dropped, so a crash in between ends with
// the provider's answer to the same key (APP 12.7, 17.4). A provider that does not
// offer it is told as such, and the old credential stays.
func (o *Office) Rotate(ctx context.Context, by purser.Actor, in purser.ResourceRef) (purser.Rotation, error) {
	row, err := o.resource(ctx, o.Store.Read(), by, in)
	if err == nil && by.Kind == purser.Agent && row.Project != by.Project {
		err = purser.Errorf(purser.Forbidden, "the resource belongs to another project")
	}
	if err != nil {
		return purser.Rotation{}, err
	}
	if out, done, err := replayed[purser.Rotation](ctx, o, by, "rotate", in); done {
		return out, err
	}
	key, err := o.newID("rot")
	if err != nil {
		return purser.Rotation{}, err
	}
	err = o.turn(ctx, by.Organization, func(t *store.Turn) error { return o.beginRotation(ctx, t, by, row.ID, key) })
	if err != nil {
		return purser.Rotation{}, err
	}
	out, err := o.rotation(ctx, by.Organization, row.ID)
	if err != nil {
		return out, err
	}
	return once(ctx, o, by, "rotate", in, func(*store.Turn) (purser.Rotation, error) { return out, nil })
}

func (o *Office) beginRotation(ctx context.Context, t *store.Turn, by purser.Actor, id, key string) error {
	row, err := t.Resource(ctx, db.ResourceParams{Organization: t.Org, ID: id})
	if err != nil {
		return err
	}
	r := recordOf(by, "rotate", id)
	r.Project, r.Env = row.Project, row.Env
	if !alive(row) {
		return o.refuse(t, r, purser.Errorf(purser.InvalidState, "resource %s is %s", row.Name, row.State))
	}
	if by.Kind == purser.Agent && inProduction(row.Env) {
		return o.refuse(t, r, purser.Errorf(purser.NeedsPerson, "%s is in %s: a person rotates its credentials", row.Name, row.Env).WithHint("purser rotate %s", row.ID))
	}
	if no, err := o.stopFor(ctx, t, by, row); err != nil {
		return err
	} else if no != nil {
		return o.refuse(t, r, no)
	}
	t.Record(r)
	_, err = t.BeginRotation(ctx, db.BeginRotationParams{Organization: t.Org, ID: id, Rotating: key}) // one that is under way keeps its key
	return err
}

// stopFor finds a stop of whoever wants something of a resource, or of its provider.
func (o *Office) stopFor(ctx context.Context, t *store.Turn, by purser.Actor, row db.Resource) (*purser.Error, error) {
	stops, err := o.stopsFor(ctx, t.Queries, t.Org)
	if err != nil {
		return nil, err
	}
	path := pathOf(by)
	path.Organization, path.Project, path.Provider = t.Org, cmp.Or(row.Project, path.Project), row.Provider
	return guard.Stops{}.Forbids(guard.Spend{Stops: stops, Path: path}), nil
}

// rotation carries out the rotation that is stored with a resource. An uncertain
// answer leaves it stored: Recover asks again under the same key.
func (o *Office) rotation(ctx context.Context, org, id string) (out purser.Rotation, err error) {
	row, err := o.Store.Read().Resource(ctx, db.ResourceParams{Organization: org, ID: id})
	if err != nil {
		return out, err
	}
	if row.Rotating == "" { // Recover was faster
		out.Rotated = true
		out.Resource, err = o.showResource(ctx, o.Store.Read(), row)
		return out, err
	}
	p, err := o.provider(ctx, o.Store.Read(), row.Provider)
	if err != nil {
		return out, err
	}
	_, access, err := o.access(ctx, org, &p)
	if err != nil {
		return out, err
	}
	calling, cancel := context.WithTimeout(ctx, o.Defaults.Lease)
	defer cancel()
	var r app.Resource
	offered := p.Manifest.Can(app.CapRotate)
	if offered {
		r, err = o.asked(calling, org, p, access, func(access seal.Secret) (app.Resource, error) {
			return o.Seller.Rotate(calling, p, access, row.Rotating, row.ProviderID)
		})
		if notOffered(err) {
			offered, err = false, nil
		}
	}
	if err != nil && (uncertain(err) || undecided(err)) {
		return out, err
	}
	failed := err
	err = o.turn(context.WithoutCancel(ctx), org, func(t *store.Turn) error {
		if row, err = t.Resource(ctx, db.ResourceParams{Organization: org, ID: id}); err != nil {
			return err
		}
		record := recordOf(system, "rotated", id)
		record.Project, record.Env = row.Project, row.Env
		if failed != nil || !offered {
			record.Outcome = "failed"
			t.Record(record)
			return t.EndRotation(ctx, db.EndRotationParams{Organization: org, ID: id})
		}
		sealed, variables, err := o.merged(ctx, t.Queries, row, row.Service, r)
		if err != nil {
			return err
		}
		t.Record(record)
		return t.SetResourceAccess(ctx, db.SetResourceAccessParams{Organization: org, ID: id, Access: sealed, Variables: variables, CredentialsUntil: credentialsUntil(row.CredentialsUntil, r)})
	})
	if err != nil || failed != nil {
		return out, firstError(failed, err)
	}
	out.Rotated = offered
	if r.Complete != nil && !r.Complete.PreviousValidUntil.IsZero() {
		until := r.Complete.PreviousValidUntil.Time.UTC().Truncate(time.Second)
		out.PreviousValidUntil = &until
	}
	out.Resource, err = o.showResource(ctx, o.Store.Read(), row)
	return out, err
}

// notOffered reports the answers that mean "not supported" (P28).
func notOffered(err error) bool {
	var e *purser.Error
	if !asCoded(err, &e) || e.Provider == nil {
		return false
	}
	return e.Provider.Code == app.CodeUnsupportedOperation || e.Provider.Status == 404 || e.Provider.Status == 405
}

func firstError(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// rotations goes on with what a crash or a lost answer left.
func (o *Office) rotations(ctx context.Context, org string) error {
	rows, err := o.Store.Read().RotatingResources(ctx, org)
	if err != nil {
		return err
	}
	for _, row := range rows {
		if _, err := o.rotation(ctx, org, row.ID); err != nil && purser.CodeOf(err) == purser.Internal {
			return err
		}
	}
	return nil
}
