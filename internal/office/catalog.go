package office

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/purser-dev/purser"
	"github.com/purser-dev/purser/app"
	"github.com/purser-dev/purser/internal/catalog"
	"github.com/purser-dev/purser/internal/seal"
	"github.com/purser-dev/purser/internal/store"
	"github.com/purser-dev/purser/internal/store/db"
)

// catalogAge is how old a kept catalog may be before it is fetched again.
const catalogAge = time.Hour

// providerOf opens a provider's row.
func (o *Office) providerOf(ctx context.Context, q *db.Queries, row db.Provider) (Provider, error) {
	manifest, err := app.ParseManifest([]byte(row.Manifest))
	if err != nil {
		return Provider{}, fmt.Errorf("reading the manifest of %s: %w", row.Name, err)
	}
	secret, err := o.openText(row.Secret, store.Installation, "providers", row.Name, "secret")
	if err != nil {
		return Provider{}, err
	}
	previous, err := o.oldSecret(ctx, q, row.Name)
	return Provider{Name: row.Name, Profile: row.Profile, Manifest: manifest, Secret: secret, Previous: previous, State: row.State}, err
}

func (o *Office) provider(ctx context.Context, q *db.Queries, name string) (Provider, error) {
	row, err := q.Provider(ctx, name)
	if missing(err) {
		return Provider{}, purser.Errorf(purser.UnknownProvider, "no provider is called %q here", name).WithHint("purser provider list")
	}
	if err != nil {
		return Provider{}, err
	}
	return o.providerOf(ctx, q, row)
}

// seller is a provider that may be bought from.
func (o *Office) seller(ctx context.Context, q *db.Queries, name string) (Provider, error) {
	p, err := o.provider(ctx, q, name)
	if err == nil && p.State == incompatible {
		err = purser.Errorf(purser.NotAvailable, "%s does not speak APP %s", name, app.Version).WithHint("purser provider show %s", name)
	}
	return p, err
}

// entries prepares the kept catalogs of all providers, or of one.
func (o *Office) entries(ctx context.Context, q *db.Queries, only string) ([]catalog.Entry, error) {
	rows, err := q.Providers(ctx)
	if err != nil {
		return nil, fmt.Errorf("listing providers: %w", err)
	}
	var out []catalog.Entry
	for _, row := range rows {
		if only != "" && row.Name != only {
			continue
		}
		list, err := o.listing(row)
		if err != nil {
			return nil, err
		}
		out = append(out, list...)
	}
	return out, nil
}

// listing prepares one provider's catalog, once for as long as nothing of it
// changes.
func (o *Office) listing(row db.Provider) ([]catalog.Entry, error) {
	key := textHash(strings.Join([]string{row.Manifest, row.Catalog, row.Conformance}, "\x00"))
	o.mu.Lock()
	kept := o.listings[row.Name]
	o.mu.Unlock()
	if kept.key == key {
		return kept.entries, nil
	}
	manifest, err := app.ParseManifest([]byte(row.Manifest))
	if err != nil {
		return nil, fmt.Errorf("reading the manifest of %s: %w", row.Name, err)
	}
	services, err := fromJSON[[]app.Service](row.Catalog)
	if err != nil {
		return nil, err
	}
	known := catalog.Provider{Quotes: manifest.Can(app.CapQuotes), Env: manifest.XEnv, Conformance: row.Conformance}
	kept = listing{key: key}
	for _, s := range services {
		s.ProviderName = row.Name // a catalog may not speak for another provider
		if e, err := catalog.NewEntry(s, known); err == nil {
			kept.entries = append(kept.entries, e)
		}
	}
	o.mu.Lock()
	o.listings[row.Name] = kept
	o.mu.Unlock()
	return kept.entries, nil
}

// listing is a prepared catalog and what it was made of.
type listing struct {
	key     string
	entries []catalog.Entry
}

// Catalog lists what can be bought.
func (o *Office) Catalog(ctx context.Context, _ purser.Actor, in purser.Catalog) (purser.List[purser.Service], error) {
	in.Provider = strings.ToLower(in.Provider)
	if in.Provider != "" {
		if _, err := o.provider(ctx, o.Store.Read(), in.Provider); err != nil {
			return purser.List[purser.Service]{}, err
		}
	}
	all, err := o.entries(ctx, o.Store.Read(), in.Provider)
	if err != nil {
		return purser.List[purser.Service]{}, err
	}
	return o.listed(catalog.Search(all, catalog.Query{}), in.Page)
}

// Search finds services. What it finds can be proposed; nothing is bought by it.
func (o *Office) Search(ctx context.Context, _ purser.Actor, in purser.Search) (purser.List[purser.Service], error) {
	q := catalog.Query{Words: in.Words, Category: in.Category}
	if in.MaxMonthly != "" {
		most, err := purser.ParseMoney(in.MaxMonthly, o.Defaults.RunBudget.Currency)
		if err != nil {
			return purser.List[purser.Service]{}, purser.Errorf(purser.InvalidRequest, "max_monthly: %v", err)
		}
		q.MaxMonthly = &most
	}
	all, err := o.entries(ctx, o.Store.Read(), "")
	if err != nil {
		return purser.List[purser.Service]{}, err
	}
	return o.listed(catalog.Search(all, q), in.Page)
}

func (o *Office) listed(found []catalog.Entry, p purser.Page) (purser.List[purser.Service], error) {
	from := 0
	limit, err := page(p, func(cursor string) bool {
		var err error
		from, err = strconv.Atoi(cursor)
		return err == nil && from >= 0 && from <= len(found)
	})
	if err != nil {
		return purser.List[purser.Service]{}, err
	}
	return cut(found[from:], limit, func(e catalog.Entry) purser.Service {
		s := e.Contract()
		s.TakesFiles = o.Deployer.Takes(s.Categories, s.Outputs)
		return s
	}, func(catalog.Entry) string { return strconv.Itoa(from + int(limit)) }), nil
}

// AddProvider registers a provider by its manifest; it needs a person's
// signature. The answer holds the provider's key for the rail, once.
func (o *Office) AddProvider(ctx context.Context, by purser.Actor, in purser.AddProvider) (out purser.ProviderInfo, err error) {
	manifest, err := app.ParseManifest([]byte(in.Manifest))
	wrong := checkProviderName(manifest.Name)
	if err != nil {
		wrong = purser.Errorf(purser.InvalidRequest, "the manifest cannot be used: %v", err)
	}
	name := catalog.Plain(strings.ToLower(manifest.Name), 80) // as it may stand on the record
	var key seal.Secret                                       // shown once: the kept answer of the key does not have it
	out, err = once(ctx, o, by, "add_provider", in, func(t *store.Turn) (purser.ProviderInfo, error) {
		if wrong != nil {
			return purser.ProviderInfo{}, o.refuseAct(t, by, "add_provider", name, wrong)
		}
		signed, err := o.signed(ctx, t, by, "add_provider", in, in.Act)
		if err != nil {
			return purser.ProviderInfo{}, o.refuseAct(t, by, "add_provider", name, err)
		}
		r := recordOf(by, "add_provider", name)
		r.Attach = signed
		t.Record(r)
		if key, err = seal.NewToken(seal.ProviderToken, o.Random); err != nil {
			return purser.ProviderInfo{}, err
		}
		row, err := o.storeProvider(ctx, t, registration{manifest, in.Manifest, in.Profile, seal.NewSecret(in.SigningSecret), key})
		if err != nil {
			return purser.ProviderInfo{}, err
		}
		return purser.ProviderInfo{Name: row, BaseURL: manifest.BaseURL, Capabilities: orEmpty(manifest.Capabilities), State: "ok"}, nil
	})
	if err != nil {
		return out, err
	}
	out.ProviderKey = key.Reveal()
	err = o.turn(ctx, store.Installation, func(t *store.Turn) error { // providers are the installation's (RULES 22)
		t.Record(recordOf(by, "add_provider", out.Name))
		return nil
	})
	if err != nil {
		return out, err
	}
	if err := o.Fetch(ctx, out.Name); err != nil {
		out.State = "unreachable"
	}
	return o.showProvider(ctx, by, out)
}

// RegisterProvider registers the provider that the operator's configuration
// names: starting the server with it is the operator's act.
func (o *Office) RegisterProvider(ctx context.Context, manifest string, secret, key seal.Secret) (string, error) {
	m, err := app.ParseManifest([]byte(manifest))
	if err != nil {
		return "", err
	}
	name := ""
	err = o.turn(ctx, store.Installation, func(t *store.Turn) error {
		t.Record(recordOf(system, "add_provider", strings.ToLower(m.Name)))
		name, err = o.storeProvider(ctx, t, registration{m, manifest, "", secret, key})
		return err
	})
	return name, err
}

// checkProviderName refuses what is no name of a provider: it is part of commands,
// addresses and records.
func checkProviderName(name string) error {
	if nameForm.MatchString(strings.ToLower(name)) {
		return nil
	}
	return purser.Errorf(purser.InvalidRequest, "the manifest's name %q cannot be a provider's: a-z, 0-9 and -", catalog.Plain(name, 80))
}

// registration is what makes a provider known.
type registration struct {
	manifest      app.Manifest
	text, profile string      // of the manifest as it came; purser, stripe or generic
	secret, key   seal.Secret // signs our calls to it; opens our doors to it
}

func (o *Office) storeProvider(ctx context.Context, t *store.Turn, in registration) (string, error) {
	name := strings.ToLower(in.manifest.Name)
	if err := checkProviderName(name); err != nil {
		return "", err
	}
	profile, err := profileOf(in.profile, in.secret)
	if err != nil {
		return "", err
	}
	if err := o.replaceSecret(ctx, t, name, in.secret); err != nil {
		return "", err
	}
	sealed, err := o.sealText(in.secret, store.Installation, "providers", name, "secret")
	if err != nil {
		return "", err
	}
	return name, t.UpsertProvider(ctx, db.UpsertProviderParams{
		Name: name, Manifest: in.text, Profile: profile, Secret: sealed, KeyHash: hashOf(in.key), CreatedAt: store.Micro(t.Now),
	})
}

// incompatible is the state of a provider that does not speak our version. It is
// not called until its health says otherwise (APP section 6).
const incompatible = "incompatible"

// Fetch gets a provider's catalog and keeps it; the last good one stays when the
// provider fails (APP 17.4).
func (o *Office) Fetch(ctx context.Context, name string) error {
	p, err := o.provider(ctx, o.Store.Read(), name)
	if err != nil {
		return err
	}
	services, err := o.Seller.Services(ctx, p)
	if err != nil {
		state := "unreachable"
		if purser.CodeOf(err) == purser.NotAvailable {
			state = incompatible
		}
		return o.Store.Write(ctx, func(q *db.Queries) error {
			return q.SetProviderState(ctx, db.SetProviderStateParams{Name: name, State: state})
		})
	}
	raw, err := json.Marshal(services)
	if err != nil {
		return fmt.Errorf("keeping the catalog of %s: %w", name, err)
	}
	return o.Store.Write(ctx, func(q *db.Queries) error {
		return q.SetCatalog(ctx, db.SetCatalogParams{Name: name, Catalog: string(raw), CatalogAt: store.Micro(o.Now()), State: "ok"})
	})
}

// refreshCatalogs fetches what is older than an hour.
func (o *Office) refreshCatalogs(ctx context.Context) error {
	rows, err := o.Store.Read().Providers(ctx)
	if err != nil {
		return err
	}
	for _, row := range rows {
		if o.Now().Sub(store.Time(row.CatalogAt)) > catalogAge {
			if err := o.Fetch(ctx, row.Name); err != nil {
				return err
			}
		}
	}
	return nil
}

// ListProviders lists registered providers.
func (o *Office) ListProviders(ctx context.Context, by purser.Actor, _ purser.None) (purser.List[purser.ProviderInfo], error) {
	out := purser.List[purser.ProviderInfo]{Items: []purser.ProviderInfo{}}
	rows, err := o.Store.Read().Providers(ctx)
	if err != nil {
		return out, err
	}
	for _, row := range rows {
		info, err := o.showProvider(ctx, by, purser.ProviderInfo{Name: row.Name})
		if err != nil {
			return out, err
		}
		out.Items = append(out.Items, info)
	}
	return out, nil
}

func (o *Office) showProvider(ctx context.Context, by purser.Actor, out purser.ProviderInfo) (purser.ProviderInfo, error) {
	q := o.Store.Read()
	row, err := q.Provider(ctx, out.Name)
	if err != nil {
		return out, notFound(err, "provider", out.Name)
	}
	manifest, err := app.ParseManifest([]byte(row.Manifest))
	if err != nil {
		return out, err
	}
	services, err := fromJSON[[]app.Service](row.Catalog)
	if err != nil {
		return out, err
	}
	out.BaseURL, out.Capabilities, out.Services, out.State = manifest.BaseURL, orEmpty(manifest.Capabilities), len(services), row.State
	out.CatalogAt, out.Profile, out.Terms = store.TimeOrNil(row.CatalogAt), row.Profile, manifest.TosURL
	if row.ConformanceDetail != "" {
		last, err := fromJSON[purser.Conformance](row.ConformanceDetail)
		if err != nil {
			return out, err
		}
		out.Conformance = &last
	}
	if by.Kind == purser.Agent { // the account is the person's
		return out, nil
	}
	c, err := q.Connection(ctx, db.ConnectionParams{Organization: by.Organization, Provider: row.Name})
	if missing(err) {
		return out, nil
	}
	out.Connection, out.Account = c.ID, c.Account
	return out, err
}
