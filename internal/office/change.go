package office

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/purser-dev/purser"
	"github.com/purser-dev/purser/app"
	"github.com/purser-dev/purser/internal/catalog"
	"github.com/purser-dev/purser/internal/rail"
	"github.com/purser-dev/purser/internal/seal"
	"github.com/purser-dev/purser/internal/store"
	"github.com/purser-dev/purser/internal/store/db"
)

// Update plans and applies a change of a resource: its configuration, its
// service, or both, under the same guards, holds and approvals as a purchase.
func (o *Office) Update(ctx context.Context, by purser.Actor, in purser.UpdateResource) (purser.Plan, error) {
	return o.change(ctx, by, "update", in)
}

// Upgrade is Update to a service that the present one lists as larger (APP 11.7).
func (o *Office) Upgrade(ctx context.Context, by purser.Actor, in purser.UpdateResource) (purser.Plan, error) {
	return o.change(ctx, by, "upgrade", in)
}

// Downgrade is Update to a service that the present one lists as smaller.
func (o *Office) Downgrade(ctx context.Context, by purser.Actor, in purser.UpdateResource) (purser.Plan, error) {
	return o.change(ctx, by, "downgrade", in)
}

func (o *Office) change(ctx context.Context, by purser.Actor, operation string, in purser.UpdateResource) (purser.Plan, error) {
	row, err := o.resource(ctx, o.Store.Read(), by, purser.ResourceRef{Resource: in.Resource, Project: in.Project, Env: in.Env})
	if err != nil {
		return purser.Plan{}, err
	}
	if in.Service == "" {
		in.Service = row.Service
	}
	step := purser.StepRequest{
		Service: catalogName(row.Provider, in.Service), Name: row.Name, Configuration: in.Configuration, Ceiling: in.Ceiling, Resource: row.ID,
		Direction: map[string]string{"upgrade": "up", "downgrade": "down"}[operation],
	}
	if in.Project == "" && by.Kind == purser.Person {
		in.Project = row.Project
	}
	return o.planAndApply(ctx, by, operation, purser.MakePlan{
		Project: in.Project, Env: row.Env, Run: in.Run, Purpose: in.Purpose, DryRun: in.DryRun, Steps: []purser.StepRequest{step},
	}, 0)
}

// catalogName is a service of a provider as the catalog lists it, whether or not it
// was typed so.
func catalogName(provider, service string) string {
	return provider + "/" + strings.TrimPrefix(service, provider+"/")
}

// buys reports whether a step makes its provider sell something: then a lost
// answer is looked up, never repeated blindly.
func buys(step purser.PlanStep) bool {
	return step.Kind == purser.ServiceStep || step.Kind == purser.UpdateStep
}

// change adds the step that changes a resource.
func (d *draft) change(ctx context.Context, entry catalog.Entry, p Provider, s purser.StepRequest) error {
	row, err := d.o.resource(ctx, d.q, d.by, purser.ResourceRef{Resource: s.Resource, Project: d.terms.Project, Env: d.terms.Env})
	if err != nil {
		return err
	}
	if row.Project != d.terms.Project || row.Env != d.terms.Env {
		return purser.Errorf(purser.Forbidden, "resource %s belongs to another project or environment", row.Name)
	}
	if err := d.mayChange(row, entry, p, s.Direction); err != nil {
		return err
	}
	configuration, err := changed(row, entry, s.Configuration)
	if err != nil {
		return err
	}
	offer, err := catalog.MakeOffer(entry, configuration, d.plans(entry.Ref.Provider))
	if err != nil {
		return d.missingSetting(err, entry, s)
	}
	if all := offer.Obstacles(); len(all) > 0 {
		return all[0]
	}
	step := purser.PlanStep{
		N: len(d.terms.Steps) + 1, Kind: purser.UpdateStep, Provider: p.Name, Service: entry.Ref.Service, Name: row.Name, Item: entry.Ref.String(),
		Effect: purser.Changes, Configuration: offer.Configuration, Resource: row.ID,
	}
	if len(entry.Categories) > 0 {
		step.Category = entry.Categories[0]
	}
	quote, err := d.price(ctx, p, entry, offer, s, &step)
	if err != nil {
		return err
	}
	if step.Effect == purser.Creates {
		step.Effect = purser.Changes
	}
	d.limitRenewals(&step)
	if quote != "" {
		d.quotes[step.N] = quote
	}
	d.terms.Steps = append(d.terms.Steps, step)
	d.reasonsFor(step)
	if inProduction(row.Env) {
		d.because(step.N, "production", "it changes %s", row.Env)
	}
	return nil
}

// mayChange checks what the provider offers before it is called (APP 11.7).
func (d *draft) mayChange(row db.Resource, target catalog.Entry, p Provider, direction string) error {
	current, err := catalog.Lookup(d.entries, row.Provider+"/"+row.Service)
	switch {
	case err != nil:
		return err
	case !alive(row):
		return purser.Errorf(purser.InvalidState, "resource %s is %s", row.Name, row.State)
	case target.Ref.Provider != row.Provider:
		return purser.Errorf(purser.InvalidRequest, "%s is at %s and cannot become %s", row.Name, row.Provider, target.Ref)
	case !p.Manifest.Can(app.CapUpdate):
		return purser.Errorf(purser.InvalidState, "%s does not change what it sold", p.Name).WithHint("add another, then retire this one: purser remove %s --retire", row.ID)
	case direction != "" && target.Ref.Service == row.Service, !current.Service.AllowsUpdate(target.Ref.Service, direction):
		return purser.Errorf(purser.InvalidState, "%s does not allow a change from %s to %s", p.Name, row.Service, target.Ref.Service).
			WithHint("it may become: %s", d.mayBecome(current, direction))
	}
	return nil
}

// mayBecome lists the services that a change in a direction can lead to.
func (d *draft) mayBecome(current catalog.Entry, direction string) string {
	var names []string
	for _, e := range d.entries {
		if e.Ref.Provider == current.Ref.Provider && e.Ref != current.Ref && current.Service.AllowsUpdate(e.Ref.Service, direction) {
			names = append(names, e.Ref.String())
		}
	}
	if len(names) == 0 {
		return "nothing that is sold now"
	}
	return strings.Join(names, ", ")
}

// changed is the configuration after a change: what it was where the service stays,
// with what is set anew.
func changed(row db.Resource, target catalog.Entry, set map[string]any) (map[string]any, error) {
	configuration := map[string]any{}
	if target.Ref.Service == row.Service {
		old, err := fromJSON[map[string]any](row.Configuration)
		if err != nil {
			return nil, err
		}
		for k, v := range old {
			configuration[k] = v
		}
	}
	for k, v := range set {
		configuration[k] = v
	}
	return configuration, nil
}

// callUpdate changes the resource under the order's key. A change that was begun
// before and can be seen at the provider is not made again.
func (o *Office) callUpdate(ctx context.Context, b begun) (sold, error) {
	row, p, access, err := o.changing(ctx, b)
	var page *pageNeeded
	if errors.As(err, &page) && !repeated(b) {
		return sold{consent: &page.consent}, page.why
	}
	if err != nil && repeated(b) {
		err = unknownOutcome(b.step.Provider, err)
	}
	if err != nil {
		return sold{}, err
	}
	if repeated(b) {
		r, done, err := o.changedAlready(ctx, p, access, row, b)
		if err != nil || done {
			return sold{resource: r}, err
		}
	}
	req := app.UpdateRequest{ServiceID: b.step.Service, Configuration: b.step.Configuration, QuoteID: b.order.Quote}
	if !b.token.Empty() {
		req.Payment = &app.Payment{Type: rail.SandboxType, Token: b.token.Reveal()}
	}
	r, err := o.asked(ctx, b.order.Organization, p, access, func(access seal.Secret) (app.Resource, error) {
		return o.Seller.Update(ctx, p, access, b.order.ID+"/1", row.ProviderID, req)
	})
	if err == nil {
		r, err = o.follow(ctx, p, access, r)
	}
	return sold{resource: r}, err
}

func (o *Office) changing(ctx context.Context, b begun) (db.Resource, Provider, seal.Secret, error) {
	row, err := o.Store.Read().Resource(ctx, db.ResourceParams{Organization: b.order.Organization, ID: b.step.Resource})
	if err != nil {
		return row, Provider{}, seal.Secret{}, notFound(err, "resource", b.step.Resource)
	}
	p, err := o.provider(ctx, o.Store.Read(), row.Provider)
	if err != nil {
		return row, p, seal.Secret{}, err
	}
	_, access, err := o.accessFor(ctx, b.order.Organization, &p, &b.order)
	return row, p, access, err
}

// changedAlready reads back whether a change took place. Where only the
// configuration changes it cannot be seen; the same key then makes it once, if the
// provider has proved that, and else nobody knows.
func (o *Office) changedAlready(ctx context.Context, p Provider, access seal.Secret, row db.Resource, b begun) (app.Resource, bool, error) {
	r, err := o.Seller.Get(ctx, p, access, row.ProviderID)
	switch {
	case err != nil:
		return r, false, unknownOutcome(p.Name, err)
	case r.Status == app.StatusPending:
		r, err = o.follow(ctx, p, access, r)
		return r, err == nil, err
	case row.Service != b.step.Service && r.ServiceID != "":
		return r, r.ServiceID == b.step.Service, nil
	case b.order.Amount == 0:
		return r, false, nil
	}
	_, _, err = o.resend(ctx, p, b.order)
	return r, false, err
}

// updated stores what a resource has become. Credentials that the answer does not
// repeat stay as they are (APP 12.6).
func (o *Office) updated(ctx context.Context, t *store.Turn, b begun, s sold) (string, error) {
	row, err := t.Resource(ctx, db.ResourceParams{Organization: t.Org, ID: b.step.Resource})
	if err != nil {
		return "", err
	}
	access, list, err := o.merged(ctx, t.Queries, row, b.step.Service, s.resource)
	if err != nil {
		return "", err
	}
	err = t.UpdateResource(ctx, db.UpdateResourceParams{
		Organization: t.Org, ID: row.ID, Service: b.step.Service, Item: b.step.Item, Configuration: toJSON(b.step.Configuration),
		Access: access, Variables: list, Cap: b.step.Price.Cap, CredentialsUntil: credentialsUntil(row.CredentialsUntil, s.resource),
	})
	if err != nil {
		return "", err
	}
	if row.Service != b.step.Service || b.step.Price.Recurring > 0 {
		// What it was is owed no more: its charge ends, and this change is paid for.
		if err := o.cancelOf(ctx, t, system, row.ID, false); err != nil {
			return "", err
		}
		if err := o.setPaid(ctx, t, row.ID, ResourceLive); err != nil {
			return "", err
		}
		if row.State == ResourceRetiring {
			row.RetiredFrom = ResourceLive
			if err := t.SetResourceState(ctx, db.SetResourceStateParams{
				Organization: t.Org, ID: row.ID, State: row.State, RemovedAt: row.RemovedAt, DeletesAt: row.DeletesAt, RetiredFrom: row.RetiredFrom,
			}); err != nil {
				return "", err
			}
		}
	}
	if err := o.subscribe(ctx, t, b, row.ID); err != nil {
		return "", err
	}
	if alive(row) || row.State == ResourceDetached {
		return row.ID, nil
	}
	// It was removed while the change was on its way, and what was removed is not charged.
	return row.ID, o.cancelOf(ctx, t, system, row.ID, row.State == ResourceRetiring)
}

// credentialsUntil is when the credentials of an answer end, as it is stored; an
// answer without any leaves those that are there as they are.
func credentialsUntil(before int64, r app.Resource) int64 {
	switch {
	case r.Complete == nil || len(r.Complete.AccessConfiguration) == 0:
		return before
	case r.Complete.ExpiresAt.IsZero():
		return 0
	}
	return store.Micro(r.Complete.ExpiresAt.Time.UTC().Truncate(time.Second))
}

// merged is a resource's credentials with those of an answer over them, sealed,
// and the names of the variables.
func (o *Office) merged(ctx context.Context, q *db.Queries, row db.Resource, service string, r app.Resource) (sealed []byte, variables string, err error) {
	access, err := o.accessOf(row)
	if err != nil {
		return nil, "", err
	}
	if access == nil {
		access = map[string]string{}
	}
	if r.Complete != nil {
		for k, v := range r.Complete.AccessConfiguration {
			access[k] = v
		}
	}
	name, err := o.variables(ctx, q, row.Provider, service, row.Name)
	if err != nil {
		return nil, "", err
	}
	var list []string
	for key := range access {
		list = append(list, name(key))
	}
	slices.Sort(list)
	sealed, err = o.sealText(seal.NewSecret(toJSON(access)), row.Organization, "resources", row.ID, "access")
	return sealed, toJSON(orEmpty(list)), err
}
