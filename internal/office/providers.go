package office

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/purser-dev/purser"
	"github.com/purser-dev/purser/app"
	"github.com/purser-dev/purser/internal/catalog"
	"github.com/purser-dev/purser/internal/notice"
	"github.com/purser-dev/purser/internal/question"
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
		busy, err := t.ProviderInUse(ctx, db.ProviderInUseParams{Organization: t.Org, Provider: name})
		if err == nil && busy > 0 {
			err = purser.Errorf(purser.InvalidState, "%s still has orders that are not settled, or recurring charges", name).WithHint("purser status")
		}
		if err != nil {
			return purser.Accepted{}, err
		}
		// What others have there is not told: that it stays is all that this one may know.
		needed, err := t.ProviderNeeded(ctx, db.ProviderNeededParams{Organization: t.Org, Provider: name})
		if err == nil && needed > 0 {
			err = purser.Errorf(purser.InvalidState, "%s stays: this server still needs it", name).WithHint("purser unlink %s forgets your own account there", name)
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
	step := purser.StepRequest{Service: strings.ToLower(in.Provider) + "/", Configuration: in.Configuration}
	return o.planAndApply(ctx, by, "link", purser.MakePlan{
		Project: in.Project, Env: in.Env, Run: in.Run, Purpose: in.Purpose, DryRun: in.DryRun, Steps: []purser.StepRequest{step},
	}, 0)
}

// account resolves a step that names a provider and no service.
func (d *draft) account(ctx context.Context, name string, s purser.StepRequest) error {
	p, err := d.o.seller(ctx, d.q, name)
	if err != nil {
		return err
	}
	if s.Unlink {
		return d.unlink(ctx, p)
	}
	if s.Configuration, err = accountConfiguration(p, s.Configuration); err != nil {
		return err
	}
	before := len(d.terms.Steps)
	if err := d.link(ctx, p); err != nil {
		return err
	}
	if len(d.terms.Steps) == before {
		return purser.Errorf(purser.AlreadyExists, "an account at %s is linked already", name).WithHint("purser provider show %s", name)
	}
	step := &d.terms.Steps[before]
	step.Configuration = s.Configuration
	step.Account.Shares = append(step.Account.Shares, slices.Sorted(maps.Keys(s.Configuration))...)
	return nil
}

// accountConfiguration holds what is set for an account against the manifest's schema
// (APP 9.1). What is required and was not set is asked of a person later.
func accountConfiguration(p Provider, given map[string]any) (map[string]any, error) {
	raw := p.Manifest.AccountSchema()
	if len(given) == 0 {
		return nil, nil
	}
	var schema app.Schema
	if len(raw) == 0 || json.Unmarshal(raw, &schema) != nil || len(schema.Properties) == 0 {
		return nil, purser.Errorf(purser.InvalidRequest, "an account at %s has nothing to set", p.Name)
	}
	closed := false
	schema.AdditionalProperties, schema.Required = &closed, nil
	configuration := map[string]any{}
	for key, value := range given {
		configuration[key] = value
		if text, ok := value.(string); ok { // a command line knows only texts
			configuration[key] = question.Typed(schema.Properties[key].Type, text)
		}
	}
	if _, faults := app.Configure(app.Service{Configuration: schema}, configuration); len(faults) > 0 {
		slices.Sort(faults)
		return nil, purser.Errorf(purser.InvalidRequest, "%s takes no such account: %s", p.Name, catalog.Plain(strings.Join(faults, "; "), 500)).
			WithHint("what can be set: %s", strings.Join(slices.Sorted(maps.Keys(schema.Properties)), ", "))
	}
	return configuration, nil
}

// Open asks for a page of the provider on which whoever opens it is signed in, to
// all that the organization has there. So a person signs for it (RULES 1).
func (o *Office) Open(ctx context.Context, by purser.Actor, in purser.OpenLink) (purser.Link, error) {
	name := strings.ToLower(in.Provider)
	p, purpose, err := o.openable(ctx, name, in.Purpose)
	if err != nil {
		return purser.Link{}, err
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

// openable is the provider, and the purpose that its manifest names.
func (o *Office) openable(ctx context.Context, name, purpose string) (Provider, string, error) {
	p, err := o.provider(ctx, o.Store.Read(), name)
	if err != nil {
		return p, "", err
	}
	if purpose == "" {
		purpose = "dashboard"
	}
	if !slices.Contains(p.Manifest.DeepLinkPurposes, purpose) {
		return p, "", purser.Errorf(purser.InvalidState, "%s offers no page for %q", name, catalog.Plain(purpose, 64))
	}
	return p, purpose, nil
}

// ProposeOpen tells the people that somebody wants a page of a provider opened, once
// for each run and page. Whoever opens it is signed in to all that the organization
// has there, so nothing but the command to type is made here (RULES 1).
func (o *Office) ProposeOpen(ctx context.Context, by purser.Actor, in purser.ProposeOpen) (purser.Accepted, error) {
	name := strings.ToLower(in.Provider)
	_, purpose, err := o.openable(ctx, name, in.Page)
	if err != nil {
		return purser.Accepted{}, err
	}
	if in.Path != "" && (!strings.HasPrefix(in.Path, "/") || len(in.Path) > 2000 || catalog.Plain(in.Path, 2000) != in.Path || strings.ContainsAny(in.Path, " '\"\\`$;&|<>")) {
		return purser.Accepted{}, purser.Errorf(purser.InvalidRequest, "a path begins with / and is one that can be typed")
	}
	return once(ctx, o, by, "propose_open", in, func(t *store.Turn) (purser.Accepted, error) {
		r := recordOf(by, "propose_open", name)
		r.Detail = map[string]string{"page": purpose, "path": in.Path}
		t.Record(r)
		command := "purser open " + name
		if purpose != "dashboard" {
			command += " --purpose " + purpose
		}
		if in.Path != "" {
			command += " --path " + in.Path
		}
		return purser.Accepted{OK: true}, o.tell(ctx, t, notice.OpenPage(notice.Page{
			Provider: name, Command: command, Why: catalog.Plain(in.Why, 300), By: o.nameOf(ctx, t.Queries, t.Org, by), Project: by.Project, Run: by.Run,
		}))
	})
}
