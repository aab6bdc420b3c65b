package office

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/purser-dev/purser"
	"github.com/purser-dev/purser/app"
	"github.com/purser-dev/purser/internal/catalog"
	"github.com/purser-dev/purser/internal/seal"
	"github.com/purser-dev/purser/internal/store"
	"github.com/purser-dev/purser/internal/store/db"
)

// ShowProvider shows a provider with its last conformance.
func (o *Office) ShowProvider(ctx context.Context, by purser.Actor, in purser.ProviderRef) (purser.ProviderInfo, error) {
	return o.showProvider(ctx, by, purser.ProviderInfo{Name: strings.ToLower(in.Provider)})
}

// RemoveProvider forgets a provider, its key and its catalog. It is refused while
// anything lives there.
func (o *Office) RemoveProvider(ctx context.Context, by purser.Actor, in purser.ProviderRef) (purser.Accepted, error) {
	name := strings.ToLower(in.Provider)
	return once(ctx, o, by, "remove_provider", in, func(t *store.Turn) (purser.Accepted, error) {
		rows, err := t.ResourcesOfProvider(ctx, db.ResourcesOfProviderParams{Organization: t.Org, Provider: name})
		if err != nil {
			return purser.Accepted{}, err
		}
		for _, r := range rows {
			if r.State != ResourceRemoved && r.State != ResourceDetached {
				return purser.Accepted{}, purser.Errorf(purser.InvalidState, "%s still has %s (%s)", name, r.Name, r.ID).
					WithHint("purser remove %s --detach|--retire|--destroy", r.ID)
			}
		}
		busy, err := t.ProviderInUse(ctx, name)
		if err == nil && busy > 0 {
			err = purser.Errorf(purser.InvalidState, "%s still has orders that are not settled, or recurring charges", name).WithHint("purser status")
		}
		if err != nil {
			return purser.Accepted{}, err
		}
		if _, err := t.DropConnection(ctx, db.DropConnectionParams{Organization: t.Org, Provider: name}); err != nil {
			return purser.Accepted{}, err
		}
		gone, err := t.RemoveProvider(ctx, name)
		if err == nil && gone == 0 {
			err = purser.Errorf(purser.UnknownProvider, "no provider is called %q here", name).WithHint("purser provider list")
		}
		if err != nil {
			return purser.Accepted{}, err
		}
		t.Record(recordOf(by, "remove_provider", name))
		return purser.Accepted{OK: true}, nil
	})
}

// RecordConformance keeps the result of a run of the suite. A person signs it: a
// provider that passed the cases of duplicates may be sent an order again after a
// lost answer (RULES 16).
func (o *Office) RecordConformance(ctx context.Context, by purser.Actor, in purser.RecordConformance) (purser.ProviderInfo, error) {
	name := strings.ToLower(in.Provider)
	_, err := once(ctx, o, by, "record_conformance", in, func(t *store.Turn) (purser.Accepted, error) {
		signed, err := o.signed(ctx, t, by, "record_conformance", in, in.Act)
		if err != nil {
			return purser.Accepted{}, o.refuseAct(t, by, "record_conformance", name, err)
		}
		if _, err := t.Provider(ctx, name); err != nil {
			return purser.Accepted{}, notFound(err, "provider", name)
		}
		r := recordOf(by, "record_conformance", name)
		r.Attach, r.Detail = signed, map[string]string{"passed": fmt.Sprint(in.Passed), "safe_resend": fmt.Sprint(in.SafeResend)}
		t.Record(r)
		line := "failed " + t.Now.Format(time.DateOnly)
		if in.Passed && in.SafeResend {
			line = "passed " + t.Now.Format(time.DateOnly)
		}
		detail := purser.Conformance{At: t.Now, Passed: in.Passed, SafeResend: in.SafeResend, Operations: in.Operations}
		return purser.Accepted{OK: true}, t.SetConformance(ctx, db.SetConformanceParams{Name: name, Conformance: line, ConformanceDetail: toJSON(detail)})
	})
	if err != nil {
		return purser.ProviderInfo{}, err
	}
	return o.showProvider(ctx, by, purser.ProviderInfo{Name: name})
}

// Link plans and applies the linking of an account at a provider, with its terms.
func (o *Office) Link(ctx context.Context, by purser.Actor, in purser.LinkProvider) (purser.Plan, error) {
	step := purser.StepRequest{Service: strings.ToLower(in.Provider) + "/"}
	return o.planAndApply(ctx, by, "link", purser.MakePlan{
		Project: in.Project, Env: in.Env, Run: in.Run, Purpose: in.Purpose, DryRun: in.DryRun, Steps: []purser.StepRequest{step},
	})
}

// linkOnly resolves a step that names a provider and no service.
func (d *draft) linkOnly(ctx context.Context, name string) error {
	p, err := d.o.seller(ctx, d.q, name)
	if err != nil {
		return err
	}
	before := len(d.terms.Steps)
	if err := d.link(ctx, p); err != nil {
		return err
	}
	if len(d.terms.Steps) == before {
		return purser.Errorf(purser.AlreadyExists, "an account at %s is linked already", name).WithHint("purser provider show %s", name)
	}
	return nil
}

// Unlink forgets the account at a provider: its tokens are dropped here. What
// lives there stays there, and cannot be managed until it is linked again.
func (o *Office) Unlink(ctx context.Context, by purser.Actor, in purser.ProviderRef) (purser.ProviderInfo, error) {
	name := strings.ToLower(in.Provider)
	_, err := once(ctx, o, by, "unlink", in, func(t *store.Turn) (purser.Accepted, error) {
		busy, err := t.ProviderInUse(ctx, name)
		if err == nil && busy > 0 {
			err = purser.Errorf(purser.InvalidState, "%s still has orders that are not settled, or recurring charges; without the account they cannot be managed", name).
				WithHint("purser status")
		}
		if err != nil {
			return purser.Accepted{}, err
		}
		gone, err := t.DropConnection(ctx, db.DropConnectionParams{Organization: t.Org, Provider: name})
		if err == nil && gone == 0 {
			err = purser.Errorf(purser.NotFound, "no account at %q is linked", name).WithHint("purser provider list")
		}
		if err != nil {
			return purser.Accepted{}, err
		}
		t.Record(recordOf(by, "unlink", name))
		return purser.Accepted{OK: true}, nil
	})
	if err != nil {
		return purser.ProviderInfo{}, err
	}
	return o.showProvider(ctx, by, purser.ProviderInfo{Name: name})
}

// Open asks for a page of the provider on which whoever opens it is signed in, to
// all that the organization has there. So a person signs for it (RULES 1).
func (o *Office) Open(ctx context.Context, by purser.Actor, in purser.OpenLink) (purser.Link, error) {
	name := strings.ToLower(in.Provider)
	p, err := o.provider(ctx, o.Store.Read(), name)
	if err != nil {
		return purser.Link{}, err
	}
	purpose := in.Purpose
	if purpose == "" {
		purpose = "dashboard"
	}
	if !slices.Contains(p.Manifest.DeepLinkPurposes, purpose) {
		return purser.Link{}, purser.Errorf(purser.InvalidState, "%s offers no page for %q", name, catalog.Plain(purpose, 64))
	}
	err = o.turn(ctx, by.Organization, func(t *store.Turn) error {
		r := recordOf(by, "open", name)
		if r.Attach, err = o.signed(ctx, t, by, "open", in, in.Act); err != nil {
			return o.refuseAct(t, by, "open", name, err)
		}
		t.Record(r)
		return nil
	})
	if err != nil {
		return purser.Link{}, err
	}
	_, access, err := o.access(ctx, by.Organization, &p)
	if err != nil {
		return purser.Link{}, err
	}
	link, err := o.Seller.DeepLink(ctx, p, access, purpose, in.Path)
	if err != nil {
		return purser.Link{}, err
	}
	if err := app.CheckURL(link.URL); err != nil {
		return purser.Link{}, purser.Errorf(purser.ProviderFailure, "%s gave a page that is not https", name).WithCause(err)
	}
	out := purser.Link{Provider: name, URL: link.URL}
	if !link.ExpiresAt.IsZero() {
		at := link.ExpiresAt.Time.UTC()
		out.ExpiresAt = &at
	}
	return out, nil
}

// Adopt takes in a resource that is at the provider already, by its exact
// identifier there, after reading it back. Nothing is bought. Its credentials
// become ours to hand out, so a person signs.
func (o *Office) Adopt(ctx context.Context, by purser.Actor, in purser.Adopt) (purser.Resource, error) {
	q := o.Store.Read()
	entry, p, project, env, err := o.adoptable(ctx, by, in)
	if err != nil {
		return purser.Resource{}, err
	}
	connection, access, err := o.access(ctx, by.Organization, &p)
	if err != nil {
		return purser.Resource{}, err
	}
	found, err := o.Seller.Get(ctx, p, access, in.ProviderID)
	if err != nil {
		return purser.Resource{}, err
	}
	if found.Status != app.StatusComplete || found.ServiceID != "" && found.ServiceID != entry.Ref.Service {
		return purser.Resource{}, purser.Errorf(purser.NotAvailable, "%s has no live %s under %s", p.Name, entry.Ref.Service, catalog.Plain(in.ProviderID, 128)).
			WithHint("look at %s for its exact identifier and service", p.Name)
	}
	id, err := once(ctx, o, by, "adopt", in, func(t *store.Turn) (string, error) {
		signed, err := o.signed(ctx, t, by, "adopt", in, in.Act)
		if err != nil {
			return "", o.refuseAct(t, by, "adopt", in.ProviderID, err)
		}
		id, err := o.newID(purser.PrefixResource)
		if err != nil {
			return "", err
		}
		row := db.Resource{Organization: t.Org, ID: id, Provider: p.Name, Service: entry.Ref.Service, Name: adoptedName(in, entry), Project: project.ID, Env: env}
		if err := o.adopted(ctx, t, row, connection, found, in.ProviderID); err != nil {
			return "", err
		}
		r := recordOf(by, "adopt", id)
		r.Project, r.Env, r.Attach = project.ID, env, signed
		r.Detail = map[string]string{"what": entry.Ref.String(), "provider_resource_id": catalog.Plain(in.ProviderID, 128)}
		t.Record(r)
		return id, nil
	})
	if err != nil {
		return purser.Resource{}, err
	}
	row, err := q.Resource(ctx, db.ResourceParams{Organization: by.Organization, ID: id})
	if err != nil {
		return purser.Resource{}, err
	}
	return o.showResource(ctx, q, row)
}

func adoptedName(in purser.Adopt, entry catalog.Entry) string {
	if in.Name != "" {
		return in.Name
	}
	return defaultName(entry, "")
}

// adoptable finds what an adoption names, before the provider is asked.
func (o *Office) adoptable(ctx context.Context, by purser.Actor, in purser.Adopt) (entry catalog.Entry, p Provider, project db.Project, env string, err error) {
	q := o.Store.Read()
	if p, err = o.provider(ctx, q, strings.ToLower(in.Provider)); err != nil {
		return entry, p, project, env, err
	}
	entries, err := o.entries(ctx, q, p.Name)
	if err != nil {
		return entry, p, project, env, err
	}
	if entry, err = catalog.Lookup(entries, p.Name+"/"+in.Service); err != nil {
		return entry, p, project, env, err
	}
	if project, err = o.project(ctx, q, by, in.Project); err != nil {
		return entry, p, project, env, err
	}
	if env, err = environment(in.Env); err != nil {
		return entry, p, project, env, err
	}
	if !nameForm.MatchString(adoptedName(in, entry)) {
		err = purser.Errorf(purser.InvalidRequest, "%q is not a resource's name: up to 63 of a-z, 0-9 and -", in.Name)
	}
	return entry, p, project, env, err
}

func (o *Office) adopted(ctx context.Context, t *store.Turn, row db.Resource, c db.Connection, found app.Resource, providerID string) error {
	known, err := t.ResourcesOfProvider(ctx, db.ResourcesOfProviderParams{Organization: t.Org, Provider: row.Provider})
	if err != nil {
		return err
	}
	for _, k := range known {
		if k.ProviderID == providerID && k.State != ResourceRemoved && k.State != ResourceDetached {
			return purser.Errorf(purser.AlreadyExists, "it is here already as %s (%s)", k.Name, k.ID)
		}
	}
	if row.Access, err = o.sealText(seal.NewSecret("{}"), t.Org, "resources", row.ID, "access"); err != nil {
		return err
	}
	sealed, variables, err := o.merged(ctx, t.Queries, row, row.Service, found)
	if err != nil {
		return err
	}
	class, err := o.classOf(ctx, t.Queries, row.Provider, row.Service)
	if err != nil {
		return err
	}
	return t.InsertResource(ctx, db.InsertResourceParams{
		Organization: t.Org, ID: row.ID, Project: row.Project, Env: row.Env, Name: row.Name, Provider: row.Provider, Service: row.Service,
		Connection: c.ID, ProviderID: providerID, Item: row.Provider + "/" + row.Service, Configuration: "{}", Access: sealed, Variables: variables,
		State: ResourceLive, Cap: "none", Class: class, CreatedAt: store.Micro(t.Now),
	})
}
