package office

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/purser-dev/purser"
	"github.com/purser-dev/purser/app"
	"github.com/purser-dev/purser/internal/catalog"
	"github.com/purser-dev/purser/internal/seal"
	"github.com/purser-dev/purser/internal/store"
	"github.com/purser-dev/purser/internal/store/db"
)

// Adopt plans and applies taking in a resource that is at the provider already, by
// its exact identifier there. Nothing is bought. Its credentials become ours to hand
// out, so a person approves the plan, whoever made it.
func (o *Office) Adopt(ctx context.Context, by purser.Actor, in purser.Adopt) (purser.Plan, error) {
	if in.ProviderID == "" {
		return purser.Plan{}, purser.Errorf(purser.InvalidRequest, "what is adopted is named by its exact identifier at the provider")
	}
	step := purser.StepRequest{Service: catalogName(strings.ToLower(in.Provider), in.Service), Name: in.Name, Adopt: in.ProviderID}
	return o.planAndApply(ctx, by, "adopt", purser.MakePlan{
		Project: in.Project, Env: in.Env, Run: in.Run, Purpose: in.Purpose, DryRun: in.DryRun, Steps: []purser.StepRequest{step},
	}, 0)
}

// Unlink plans and applies forgetting the account at a provider: its tokens are
// dropped here. What lives there stays there, and cannot be managed until it is
// linked again; so a person approves the plan.
func (o *Office) Unlink(ctx context.Context, by purser.Actor, in purser.UnlinkProvider) (purser.Plan, error) {
	step := purser.StepRequest{Service: strings.ToLower(in.Provider) + "/", Unlink: true}
	return o.planAndApply(ctx, by, "unlink", purser.MakePlan{
		Project: in.Project, Env: in.Env, Run: in.Run, Purpose: in.Purpose, DryRun: in.DryRun, Steps: []purser.StepRequest{step},
	}, 0)
}

// adopt adds the step that takes in what is there already, after it was seen there.
func (d *draft) adopt(ctx context.Context, entry catalog.Entry, p Provider, s purser.StepRequest) error {
	if s.Name == "" {
		s.Name = defaultName(entry, "")
	}
	if !nameForm.MatchString(s.Name) {
		return purser.Errorf(purser.InvalidRequest, "%q is not a resource's name: up to 63 of a-z, 0-9 and -", s.Name)
	}
	if len(s.Adopt) > 128 || catalog.Plain(s.Adopt, 128) != s.Adopt {
		return purser.Errorf(purser.InvalidRequest, "an identifier at a provider is one line of at most 128 characters")
	}
	for _, r := range d.live {
		if held(r, p.Name, s.Adopt) {
			return heldAlready(r)
		}
	}
	_, access, err := d.o.access(ctx, d.by.Organization, &p)
	if err != nil {
		return err
	}
	if _, err := d.o.readBack(ctx, d.by.Organization, p, access, entry.Ref.Service, s.Adopt); err != nil {
		return err
	}
	step := purser.PlanStep{
		N: len(d.terms.Steps) + 1, Kind: purser.AdoptStep, Provider: p.Name, Service: entry.Ref.Service, Name: s.Name, ProviderID: s.Adopt,
		Item: fmt.Sprintf("%s, there as %s", entry.Ref, s.Adopt), Effect: purser.Creates, Price: purser.Price{Cap: "none"},
	}
	if len(entry.Categories) > 0 {
		step.Category = entry.Categories[0]
	}
	d.terms.Steps = append(d.terms.Steps, step)
	d.because(step.N, "adopt", "its credentials become yours to hand out, and %s bills it as before", p.Name)
	return nil
}

// readBack reads what is to be adopted, as it is at the provider now.
func (o *Office) readBack(ctx context.Context, org string, p Provider, access seal.Secret, service, id string) (app.Resource, error) {
	found, err := o.asked(ctx, org, p, access, func(access seal.Secret) (app.Resource, error) { return o.Seller.Get(ctx, p, access, id) })
	if err != nil {
		return found, err
	}
	if found.Status != app.StatusComplete || found.ServiceID != "" && found.ServiceID != service {
		return found, purser.Errorf(purser.NotAvailable, "%s has no live %s under %s", p.Name, service, id).
			WithHint("look at %s for its exact identifier and service", p.Name)
	}
	found.ID = id
	return found, nil
}

// held tells that a resource at a provider is one of ours.
func held(r db.Resource, provider, id string) bool {
	return r.Provider == provider && r.ProviderID == id && r.State != ResourceRemoved && r.State != ResourceDetached
}

func heldAlready(r db.Resource) *purser.Error {
	return purser.Errorf(purser.AlreadyExists, "it is here already as %s (%s)", r.Name, r.ID)
}

func (o *Office) callAdopt(ctx context.Context, b begun) (sold, error) {
	p, err := o.provider(ctx, o.Store.Read(), b.step.Provider)
	if err != nil {
		return sold{}, err
	}
	connection, access, err := o.accessFor(ctx, b.order.Organization, &p, &b.order)
	var page *pageNeeded
	if errors.As(err, &page) {
		return sold{consent: &page.consent}, page.why
	}
	if err != nil {
		return sold{}, err
	}
	found, err := o.readBack(ctx, b.order.Organization, p, access, b.step.Service, b.step.ProviderID)
	return sold{resource: found, connect: connection.ID}, err
}

// adopted stores what was read back as a resource of the project.
func (o *Office) adopted(ctx context.Context, t *store.Turn, b begun, s sold) (string, error) {
	id, err := o.newID(purser.PrefixResource)
	if err != nil {
		return "", err
	}
	row := db.Resource{Organization: t.Org, ID: id, Provider: b.step.Provider, Name: b.step.Name}
	if row.Access, err = o.sealText(seal.NewSecret("{}"), t.Org, "resources", id, "access"); err != nil {
		return "", err
	}
	sealed, variables, err := o.merged(ctx, t.Queries, row, b.step.Service, s.resource)
	if err != nil {
		return "", err
	}
	class, err := o.classOf(ctx, t.Queries, b.step.Provider, b.step.Service)
	if err != nil {
		return "", err
	}
	return id, t.InsertResource(ctx, db.InsertResourceParams{
		Organization: t.Org, ID: id, Project: b.order.Project, Env: b.order.Env, Name: b.step.Name, Provider: b.step.Provider, Service: b.step.Service,
		Connection: s.connect, ProviderID: b.step.ProviderID, Item: b.step.Provider + "/" + b.step.Service, Configuration: "{}", Access: sealed,
		Variables: variables, State: ResourceLive, OrderID: b.order.ID, Cap: b.step.Price.Cap, Class: class, CreatedAt: store.Micro(t.Now),
		CredentialsUntil: credentialsUntil(0, s.resource),
	})
}

// unlink adds the step that forgets an account.
func (d *draft) unlink(ctx context.Context, p Provider) error {
	c, err := d.q.Connection(ctx, db.ConnectionParams{Organization: d.by.Organization, Provider: p.Name})
	if err != nil {
		if missing(err) {
			err = purser.Errorf(purser.NotFound, "no account at %q is linked", p.Name).WithHint("purser provider list")
		}
		return err
	}
	if err := d.o.unused(ctx, d.q, d.by.Organization, p.Name, ""); err != nil {
		return err
	}
	n := len(d.terms.Steps) + 1
	d.terms.Steps = append(d.terms.Steps, purser.PlanStep{
		N: n, Kind: purser.UnlinkStep, Provider: p.Name, Item: "the account of " + c.Email + " at " + p.Name, Effect: purser.Changes, Price: purser.Price{Cap: "fixed"},
	})
	there := 0
	for _, r := range d.live {
		if r.Provider == p.Name && alive(r) {
			there++
		}
	}
	d.because(n, "unlink", "%d resources live there; they stay, and cannot be managed until it is linked again", there)
	return nil
}

// unused refuses to forget an account that something still needs; order is the one
// that forgets it.
func (o *Office) unused(ctx context.Context, q *db.Queries, org, provider, order string) error {
	busy, err := q.ProviderInUse(ctx, db.ProviderInUseParams{Organization: org, Provider: provider, Beside: order})
	if err == nil && busy > 0 {
		err = purser.Errorf(purser.InvalidState, "%s still has orders that are not settled, or recurring charges; without the account they cannot be managed", provider).
			WithHint("purser status")
	}
	return err
}

// hindered tells, in the turn that decides, what came between since the plan was made:
// another plan has taken the same in, or the account is needed again.
func (o *Office) hindered(ctx context.Context, t *store.Turn, b begun) (*purser.Error, error) {
	switch b.step.Kind {
	case purser.AdoptStep:
		return refusal(o.unheld(ctx, t, b.step.Provider, b.step.ProviderID))
	case purser.UnlinkStep:
		return refusal(o.unused(ctx, t.Queries, t.Org, b.step.Provider, b.order.ID))
	}
	return nil, nil
}

// unheld refuses what is at a provider and is one of our resources already.
func (o *Office) unheld(ctx context.Context, t *store.Turn, provider, id string) error {
	known, err := t.ResourcesOfProvider(ctx, db.ResourcesOfProviderParams{Organization: t.Org, Provider: provider})
	for _, r := range known {
		if held(r, provider, id) {
			return heldAlready(r)
		}
	}
	return err
}

// refusal takes a no apart from a fault, which says nothing of what was asked.
func refusal(err error) (*purser.Error, error) {
	var no *purser.Error
	if asCoded(err, &no) {
		return no, nil
	}
	return nil, err
}

func (o *Office) unlinked(ctx context.Context, t *store.Turn, b begun) error {
	_, err := t.DropConnection(ctx, db.DropConnectionParams{Organization: t.Org, Provider: b.step.Provider})
	return err // gone already is as wanted
}

// entitled takes in the plans that a provider says an account has by being linked
// (account_entitlements:materialize, APP 3.1): they are recorded, never made, and what
// needs a plan is sold then. What is here already stays as it is.
func (o *Office) entitled(ctx context.Context, t *store.Turn, b begun, s sold, connection string) error {
	p, err := o.provider(ctx, t.Queries, b.step.Provider)
	if err != nil || s.link.Account == nil || !p.Manifest.Can(app.CapEntitle) {
		return err
	}
	entries, err := o.entries(ctx, t.Queries, p.Name)
	if err != nil {
		return err
	}
	known, err := t.ResourcesOfProvider(ctx, db.ResourcesOfProviderParams{Organization: t.Org, Provider: p.Name})
	if err != nil {
		return err
	}
	for _, active := range s.link.Account.ActiveServices {
		entry, err := catalog.Lookup(entries, p.Name+"/"+active.ServiceID)
		there := slices.ContainsFunc(known, func(r db.Resource) bool { return r.Service == active.ServiceID && alive(r) })
		if err != nil || there || active.Status != "active" || entry.Service.Kind != app.KindPlan {
			continue // what is no plan of its catalog is adopted by its identifier
		}
		id, err := o.newID(purser.PrefixResource)
		if err != nil {
			return err
		}
		sealed, err := o.sealText(seal.NewSecret("{}"), t.Org, "resources", id, "access")
		if err != nil {
			return err
		}
		r := orderRecord("entitle", b.plan, b.step, id)
		r.Detail["service"] = entry.Ref.String()
		t.Record(r)
		err = t.InsertResource(ctx, db.InsertResourceParams{
			Organization: t.Org, ID: id, Project: b.order.Project, Env: b.order.Env, Name: defaultName(entry, ""), Provider: p.Name, Service: entry.Ref.Service,
			Connection: connection, ProviderID: catalog.Plain(active.ProviderResourceID, 128), Item: entry.Ref.String(), Configuration: "{}", Access: sealed,
			Variables: "[]", State: ResourceLive, OrderID: b.order.ID, Cap: "none", CreatedAt: store.Micro(t.Now),
		})
		if err != nil {
			return err
		}
	}
	return nil
}
