package office

import (
	"context"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/purser-dev/purser"
	"github.com/purser-dev/purser/app"
	"github.com/purser-dev/purser/internal/catalog"
	"github.com/purser-dev/purser/internal/domainname"
	"github.com/purser-dev/purser/internal/seal"
	"github.com/purser-dev/purser/internal/store"
	"github.com/purser-dev/purser/internal/store/db"
)

// draft is a plan that is being resolved.
type draft struct {
	terms    purser.PlanTerms
	run      db.Run // empty: a person's implicit run, opened when the plan is stored
	quotes   map[int]string
	reasons  []purser.Reason
	blockers []*purser.Error
	tooFast  []purser.Blocker // what the guards of pace would refuse now, by step of the terms
	steps    []int            // of the request, for each blocker
	made     []int            // of the request, for each step of the terms
	totals   purser.Totals
	budgets  []purser.BudgetLine

	o       *Office
	by      purser.Actor
	q       *db.Queries
	entries []catalog.Entry
	live    []db.Resource
	linked  map[string]bool
	limit   int64    // the run's threshold
	labels  []string // of the project and the run
}

// block notes what stands in the way of one step of the request, or of all (0).
func (d *draft) block(step int, err *purser.Error) {
	d.blockers = append(d.blockers, err)
	d.steps = append(d.steps, step)
}

func (d *draft) because(step int, code, format string, args ...any) {
	d.reasons = append(d.reasons, purser.Reason{Step: step, Code: code, Detail: fmt.Sprintf(format, args...)})
}

// refusal is all that stands in the way, under the code of the first.
func (d *draft) refusal() *purser.Error {
	if len(d.blockers) == 0 {
		return nil
	}
	first := *d.blockers[0]
	for i, b := range d.blockers {
		first.Blockers = append(first.Blockers, purser.Blocker{Code: b.Code, Step: d.steps[i], Detail: b.Detail, Hint: b.Hint})
	}
	for _, b := range d.tooFast {
		b.Step = d.made[b.Step-1]
		first.Blockers = append(first.Blockers, b)
	}
	return &first
}

func (d *draft) show(o *Office, by purser.Actor) (purser.Plan, error) {
	digest, err := digestOf(d.terms)
	return purser.Plan{
		State: purser.PlanWaiting, Digest: digest, Terms: d.terms, Totals: d.totals, Budgets: d.budgets, Blockers: d.tooFast, Reasons: d.reasons,
		By: by, CreatedAt: o.Now().UTC(), ExpiresAt: o.Now().Add(o.Defaults.RequestTTL).UTC(),
	}, err
}

// resolve turns a request into exact steps, prices and reasons.
func (o *Office) resolve(ctx context.Context, by purser.Actor, in purser.MakePlan) (*draft, error) {
	d := &draft{o: o, by: by, q: o.Store.Read(), quotes: map[int]string{}, linked: map[string]bool{}}
	env, err := environment(in.Env)
	if err != nil {
		return nil, err
	}
	project, err := d.place(ctx, in)
	if err != nil {
		return nil, err
	}
	d.terms = purser.PlanTerms{
		V: 1, Organization: by.Organization, Project: project, Env: env, Run: d.run.ID, Purpose: catalog.Plain(in.Purpose, 500), Steps: []purser.PlanStep{},
	}
	if d.entries, err = o.entries(ctx, d.q, ""); err != nil {
		return nil, err
	}
	if d.live, err = d.q.Resources(ctx, db.ResourcesParams{Organization: by.Organization}); err != nil {
		return nil, err
	}
	for i, s := range in.Steps {
		if err := d.step(ctx, i+1, s); err != nil {
			var coded *purser.Error
			if !asCoded(err, &coded) {
				return nil, err
			}
			d.block(i+1, coded)
		}
		for n := len(d.made); n < len(d.terms.Steps); n++ {
			d.made = append(d.made, i+1)
			d.meant(&d.terms.Steps[n], s.Meant)
		}
	}
	d.totals = totals(d.terms.Steps)
	return d, d.preflight(ctx)
}

// meant marks a step whose request is meant: the account and the files that come with a
// service go as it does. An account asks a person anyway.
func (d *draft) meant(step *purser.PlanStep, meant bool) {
	step.Meant = meant
	if meant && step.Kind != purser.LinkStep {
		d.because(step.N, "meant", "it is a repeat on purpose")
	}
}

// place finds the run and the project that the plan belongs to.
func (d *draft) place(ctx context.Context, in purser.MakePlan) (project string, err error) {
	if in.Run == "" && d.by.Kind == purser.Person {
		p, err := d.o.project(ctx, d.q, d.by, in.Project)
		if err != nil {
			return "", err
		}
		run, err := d.q.ImplicitRun(ctx, db.ImplicitRunParams{Organization: d.by.Organization, Project: p.ID, Person: d.by.ID, Now: store.Micro(d.o.Now())})
		if !missing(err) {
			d.run = run
			return p.ID, err
		}
		return p.ID, nil // the threshold of an implicit run is nothing
	}
	id, err := runOf(d.by, in.Run)
	if err != nil {
		return "", err
	}
	if d.run, err = d.q.Run(ctx, db.RunParams{Organization: d.by.Organization, ID: id}); err != nil {
		return "", notFound(err, "run", id)
	}
	d.limit = d.run.Threshold
	if in.Project != "" {
		p, err := d.o.project(ctx, d.q, d.by, in.Project)
		if err != nil {
			return "", err
		}
		if p.ID != d.run.Project {
			return "", purser.Errorf(purser.Forbidden, "run %s belongs to another project", id)
		}
	}
	return d.run.Project, nil
}

// step resolves one step of the request into one to three of the plan: the
// account at its provider, the service, the files.
func (d *draft) step(ctx context.Context, n int, s purser.StepRequest) error {
	provider, service, _ := strings.Cut(s.Service, "/")
	if service == "" && provider != "" && strings.HasSuffix(s.Service, "/") {
		return d.account(ctx, provider, s)
	}
	if s.Unlink {
		return purser.Errorf(purser.InvalidRequest, "an account is forgotten by the provider's name and a slash: %s/", provider)
	}
	entry, err := catalog.Lookup(d.entries, s.Service)
	if err != nil {
		return err
	}
	p, err := d.o.seller(ctx, d.q, entry.Ref.Provider)
	if err != nil {
		return err
	}
	if err := canonicalDomain(entry, &s); err != nil {
		return err
	}
	if s.Resource != "" {
		return d.change(ctx, entry, p, s)
	}
	if s.Adopt != "" {
		return d.adopt(ctx, entry, p, s)
	}
	domain := d.answersAt(entry, &s)
	offer, err := catalog.MakeOffer(entry, s.Configuration, d.plans(entry.Ref.Provider))
	if err != nil {
		return d.missingSetting(err, entry, s)
	}
	for _, obstacle := range offer.Obstacles() {
		d.block(n, obstacle)
	}
	if s.Name == "" {
		s.Name = defaultName(entry, domain)
	}
	if !nameForm.MatchString(s.Name) {
		return purser.Errorf(purser.InvalidRequest, "%q is not a resource's name: up to 63 of a-z, 0-9 and -", s.Name)
	}
	there, taken := d.existing(entry, s.Name)
	there.domain = domain
	if taken && s.Manifest != "" {
		return d.deploy(ctx, n, entry, s, there)
	}
	if taken && !s.Meant {
		return purser.Errorf(purser.AlreadyExists, "%s is there already as %q (%s)", entry.Ref, s.Name, there).
			WithHint("give another one its own name: --name")
	}
	if err := d.constraints(entry); err != nil {
		return err
	}
	if err := d.link(ctx, p); err != nil {
		return err
	}
	if err := d.buy(ctx, p, entry, offer, s); err != nil {
		return err
	}
	if s.Manifest == "" {
		return nil
	}
	return d.deploy(ctx, n, entry, s, files{domain, "", len(d.terms.Steps)})
}

// missingSetting adds the command that would work.
func (d *draft) missingSetting(err error, entry catalog.Entry, s purser.StepRequest) error {
	var coded *purser.Error
	if !asCoded(err, &coded) {
		return err
	}
	for _, name := range entry.Service.Configuration.Required {
		if _, ok := s.Configuration[name]; !ok {
			return coded.WithHint("purser plan %s --set %s=…", entry.Ref, name)
		}
	}
	return coded
}

// canonicalDomain brings a domain to the one form that is compared, signed and
// bought: the A-label name in lower case.
func canonicalDomain(entry catalog.Entry, s *purser.StepRequest) error {
	text, ok := s.Configuration["domain"].(string)
	if !ok {
		return nil
	}
	name, err := domainname.Parse(text)
	if err != nil {
		return purser.Errorf(purser.InvalidRequest, "%q is not a domain name", catalog.Plain(text, 260)).
			WithHint("purser plan %s --set domain=example.club", entry.Ref)
	}
	configuration := map[string]any{}
	for k, v := range s.Configuration {
		configuration[k] = v
	}
	configuration["domain"] = name.ASCII
	s.Configuration = configuration
	return nil
}

// answersAt is the domain of a step. A service that takes files and has no such
// setting of its own does not need to know it: the files are made to answer there
// when they are deployed.
func (d *draft) answersAt(entry catalog.Entry, s *purser.StepRequest) string {
	domain, _ := s.Configuration["domain"].(string)
	if _, knows := entry.Service.Configuration.Properties["domain"]; !knows && d.o.Deployer.Takes(entry.Categories, entry.Outputs) {
		delete(s.Configuration, "domain")
	}
	return domain
}

// defaultName names a resource after its domain, or after its service.
func defaultName(entry catalog.Entry, domain string) string {
	name := entry.Ref.Service
	if domain != "" {
		name = domain
	}
	name = strings.Trim(strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' {
			return r
		}
		return '-'
	}, strings.ToLower(name)), "-")
	return strings.Trim(name[:min(len(name), 63)], "-")
}

// existing finds a living resource of this service and name, in the project's
// environment or earlier in this plan.
func (d *draft) existing(entry catalog.Entry, name string) (there files, taken bool) {
	for _, r := range d.live {
		if r.Project == d.terms.Project && r.Env == d.terms.Env && r.Provider == entry.Ref.Provider && r.Service == entry.Ref.Service && r.Name == name && alive(r) {
			return files{resource: r.ID}, true
		}
	}
	for _, s := range d.terms.Steps {
		if s.Kind == purser.ServiceStep && s.Provider == entry.Ref.Provider && s.Service == entry.Ref.Service && s.Name == name {
			return files{after: s.N}, true
		}
	}
	return files{}, false
}

func alive(r db.Resource) bool { return r.State == ResourceLive || r.State == ResourceUnpaid }

// plans are the services of a provider that are active, or come earlier in this plan.
func (d *draft) plans(provider string) []string {
	var ids []string
	for _, r := range d.live {
		if r.Provider == provider && alive(r) {
			ids = append(ids, r.Service)
		}
	}
	for _, s := range d.terms.Steps {
		if s.Provider == provider && s.Kind == purser.ServiceStep {
			ids = append(ids, s.Service)
		}
	}
	return ids
}

// constraints checks what may be active beside each other in one scope, before the
// provider is called (APP 11.7).
func (d *draft) constraints(entry catalog.Entry) error {
	active := d.active(entry)
	have := 0
	for _, id := range active {
		if id == entry.Ref.Service {
			have++
		}
	}
	for _, c := range entry.Service.Constraints {
		if c.Count != nil && have >= c.Count.AtMost {
			return purser.Errorf(purser.ConstraintReached, "%s is sold %d times to one account or project, and you have it", entry.Ref, c.Count.AtMost).
				WithHint("purser status")
		}
		if !c.MutualExclusion {
			continue
		}
		for _, u := range entry.Service.AllowedUpdates {
			if u.Service != entry.Ref.Service && slices.Contains(active, u.Service) {
				return purser.Errorf(purser.ConstraintReached, "%s and %s/%s exclude each other, and you have that one", entry.Ref, entry.Ref.Provider, u.Service).
					WithHint("change it instead: purser update")
			}
		}
	}
	return nil
}

// active are the services of the entry's provider that are active in its scope, or
// come earlier in this plan: in the project, or in the whole account.
func (d *draft) active(entry catalog.Entry) []string {
	if entry.Service.Scope == app.ScopeAccount {
		return d.plans(entry.Ref.Provider)
	}
	var ids []string
	for _, r := range d.live {
		if r.Provider == entry.Ref.Provider && r.Project == d.terms.Project && alive(r) {
			ids = append(ids, r.Service)
		}
	}
	for _, s := range d.terms.Steps {
		if s.Provider == entry.Ref.Provider && s.Kind == purser.ServiceStep {
			ids = append(ids, s.Service)
		}
	}
	return ids
}

// link adds the step that makes an account at a provider, with what is shared
// and the terms that are accepted.
func (d *draft) link(ctx context.Context, p Provider) error {
	if d.linked[p.Name] {
		return nil
	}
	c, err := d.q.Connection(ctx, db.ConnectionParams{Organization: d.by.Organization, Provider: p.Name})
	if err == nil && c.State == ConnectionActive {
		d.linked[p.Name] = true
		return nil
	}
	if err != nil && !missing(err) {
		return err
	}
	if err == nil { // expired: it is asked for again on the terms that were approved, and a plan asks for the rest
		again := p
		_, _, err := d.o.access(ctx, d.by.Organization, &again)
		if err == nil {
			d.linked[p.Name] = true
			return nil
		}
		if undecided(err) {
			return err
		}
	}
	person, err := d.person(ctx)
	if err != nil {
		return err
	}
	terms := purser.AccountTerms{Email: person.Email, Shares: []string{"email", "name"}, TermsURL: p.Manifest.TosURL, Privacy: p.Manifest.PrivacyPolicyURL}
	if p.Manifest.TosURL != "" {
		text, err := d.o.Seller.Terms(ctx, p.Manifest.TosURL)
		if err != nil {
			return err
		}
		terms.TermsHash = textHash(text)
		err = d.o.Store.Write(ctx, func(q *db.Queries) error {
			return q.KeepTerms(ctx, db.KeepTermsParams{Hash: terms.TermsHash, Url: p.Manifest.TosURL, Text: text, At: store.Micro(d.o.Now())})
		})
		if err != nil {
			return err
		}
	}
	n := len(d.terms.Steps) + 1
	d.terms.Steps = append(d.terms.Steps, purser.PlanStep{
		N: n, Kind: purser.LinkStep, Provider: p.Name, Item: "account at " + p.Name, Effect: purser.Creates, Price: purser.Price{Cap: "fixed"}, Account: &terms,
	})
	d.because(n, "first_purchase", "nothing was bought from %s before", p.Name)
	if terms.TermsURL != "" {
		d.because(n, "terms", "its terms are accepted: %s", catalog.Plain(terms.TermsURL, 300))
	}
	d.linked[p.Name] = true
	return nil
}

// person is who the plan acts for.
func (d *draft) person(ctx context.Context) (db.Person, error) {
	id := d.by.ID
	if d.by.Kind == purser.Agent {
		id = d.by.DelegatedBy
	}
	p, err := d.q.Person(ctx, db.PersonParams{Organization: d.by.Organization, ID: id})
	return p, notFound(err, "person", id)
}

// buy adds the step that buys a service.
func (d *draft) buy(ctx context.Context, p Provider, entry catalog.Entry, offer catalog.Offer, s purser.StepRequest) error {
	n := len(d.terms.Steps) + 1
	step := purser.PlanStep{
		N: n, Kind: purser.ServiceStep, Provider: p.Name, Service: entry.Ref.Service, Name: s.Name, Item: entry.Ref.String(), Effect: purser.Creates,
		Configuration: offer.Configuration,
	}
	if len(entry.Categories) > 0 {
		step.Category = entry.Categories[0]
	}
	quote, err := d.price(ctx, p, entry, offer, s, &step)
	if err != nil {
		return err
	}
	d.limitRenewals(&step)
	if quote != "" {
		d.quotes[n] = quote
	}
	d.terms.Steps = append(d.terms.Steps, step)
	d.reasonsFor(step)
	return nil
}

// reasonsFor says why a person is asked about a step (CONTROLS, defaults).
func (d *draft) reasonsFor(s purser.PlanStep) {
	price := s.Price
	money := purser.Money{Amount: price.Now, Currency: price.Currency}
	if price.Ceiling {
		d.because(s.N, "unpriced", "the price is no number; at most %s is allowed", money)
	}
	if s.Effect == purser.Final {
		d.because(s.N, "final", "%s is not refundable", s.Item)
	}
	if price.Now > d.limit || price.Now > 0 && d.run.Currency != "" && price.Currency != d.run.Currency {
		d.because(s.N, "threshold", "%s is above the %s that needs no person", money, purser.Money{Amount: d.limit, Currency: price.Currency})
	}
	if price.Recurring > 0 && price.AutoRenew {
		d.because(s.N, "recurring", "%s is charged again each %s, until %s", purser.Money{Amount: price.Recurring, Currency: price.Currency}, price.Interval, price.Until)
	}
	if price.Cap == "none" {
		d.because(s.N, "uncapped", "%s bills by itself; Purser cannot cap it", s.Provider)
	}
}

// price fills in what a step costs: the provider's quote where it gives quotes,
// else the catalog's number, else a ceiling.
func (d *draft) price(ctx context.Context, p Provider, entry catalog.Entry, offer catalog.Offer, s purser.StepRequest, step *purser.PlanStep) (quote string, err error) {
	step.Price = purser.Price{Cap: "fixed", Text: offer.Text}
	if itself, err := d.billsItself(ctx, p.Name); err != nil {
		return "", err
	} else if itself {
		step.Price.Cap = "none"
	}
	switch {
	case offer.Basis == catalog.Free:
		return "", nil
	case p.Manifest.Can(app.CapQuotes):
		return d.quoted(ctx, p, entry, offer, step)
	case offer.Basis == catalog.Priced:
		step.Price.Currency, step.Price.Now = offer.Amount.Currency, offer.Amount.Amount
		if offer.Interval != "once" {
			step.Price.Recurring, step.Price.Interval, step.Price.AutoRenew = offer.Amount.Amount, offer.Interval, true
		}
		step.Effect = purser.Final // a catalog price promises no refund
		return "", nil
	case s.Ceiling != nil && s.Ceiling.Amount > 0 && purser.ValidCurrency(s.Ceiling.Currency):
		step.Price.Currency, step.Price.Now, step.Price.Ceiling, step.Effect = s.Ceiling.Currency, s.Ceiling.Amount, true, purser.Final
		return "", nil
	}
	return "", purser.Errorf(purser.Unpriced, "%s has no price that is a number: %q", entry.Ref, offer.Text).
		WithHint("set the most it may cost: --ceiling 10.00; a person then decides")
}

// doubtTime is how long a person may take to resolve an order whose outcome nobody knows,
// before that costs the last renewal of its first year.
const doubtTime = 7 * 24 * time.Hour

// limitRenewals gives a recurring charge its last day: what is approved is a year of it,
// and then a person is asked again (RULES 8). That year begins when it is bought, and its
// last renewal falls due a year after: so late as a request may wait, its approval be
// used, the plan run and its order be in doubt.
func (d *draft) limitRenewals(step *purser.PlanStep) {
	if step.Price.Recurring > 0 && step.Price.AutoRenew {
		limits := d.o.Defaults
		bought := d.o.Now().UTC().Add(limits.RequestTTL + limits.SignTTL + limits.PlanTTL + doubtTime)
		step.Price.Until = bought.AddDate(1, 0, 0).Format(time.DateOnly)
	}
}

func (d *draft) billsItself(ctx context.Context, provider string) (bool, error) {
	c, err := d.q.Connection(ctx, db.ConnectionParams{Organization: d.by.Organization, Provider: provider})
	return c.Billing == app.PaidByProvider, ignoreMissing(err)
}

// quoted asks the provider for the price of the exact thing, and refuses an
// answer about another thing (drill b).
func (d *draft) quoted(ctx context.Context, p Provider, entry catalog.Entry, offer catalog.Offer, step *purser.PlanStep) (string, error) {
	access, err := d.o.accessIfAny(ctx, d.q, d.by.Organization, &p)
	if err != nil {
		return "", err
	}
	quote, err := d.o.Seller.Quote(ctx, p, access, app.QuoteRequest{ServiceID: entry.Ref.Service, Configuration: offer.Configuration})
	if err != nil {
		return "", err
	}
	if err := checkQuote(quote, *step, slices.Contains(entry.Categories, "domains")); err != nil {
		return "", err
	}
	fromQuote(step, quote)
	return quote.ID, nil
}

// checkQuote holds a quote against what was asked: the same name byte for byte,
// an amount that is one.
func checkQuote(q app.Quote, step purser.PlanStep, domain bool) error {
	if q.AmountMinor < 0 || q.TaxMinor < 0 || q.TaxMinor > q.AmountMinor || !purser.ValidCurrency(q.Currency) || q.ID == "" || len(q.Item) > 300 {
		return purser.Errorf(purser.ProviderFailure, "%s gave a quote that cannot be one", step.Provider)
	}
	if q.Renewal != nil && (q.Renewal.AmountMinor < 0 || q.Renewal.Currency != q.Currency || !knownInterval(q.Renewal.Interval)) {
		return purser.Errorf(purser.ProviderFailure, "%s quoted a renewal that cannot be one", step.Provider)
	}
	if !domain {
		return nil
	}
	asked, _ := step.Configuration["domain"].(string)
	if c := domainname.Compare(asked, q.Item); !c.Same() {
		return purser.Errorf(purser.DomainMismatch, "asked %s, offered %s: %s", catalog.Plain(asked, 260), catalog.Plain(q.Item, 260), c.Detail).
			WithHint("nothing else is bought in its place; plan the other name yourself if you want it")
	}
	return nil
}

func fromQuote(step *purser.PlanStep, q app.Quote) {
	step.Item = catalog.Plain(q.Item, 300)
	step.Price.Currency, step.Price.Now, step.Price.Tax = q.Currency, int64(q.AmountMinor), int64(q.TaxMinor)
	if q.Renewal != nil {
		step.Price.Recurring, step.Price.Interval = int64(q.Renewal.AmountMinor), q.Renewal.Interval
		wanted, says := step.Configuration["auto_renew"].(bool)
		step.Price.AutoRenew = wanted || !says
	}
	step.Effect = purser.Final
	if until := q.RefundableUntil.Time; !until.IsZero() {
		// The day, not the second: two quotes a moment apart promise the same.
		step.Effect, step.Price.RefundableTill = purser.Creates, until.UTC().Format(time.DateOnly)
	}
	if step.Price.Now == 0 {
		step.Effect = purser.Creates
	}
}

// files say where a folder goes: to which domain, on a resource that is there or
// that an earlier step makes.
type files struct {
	domain   string
	resource string
	after    int
}

func hostOf(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return ""
	}
	return u.Hostname()
}

// String names the place for a person.
func (f files) String() string {
	if f.resource != "" {
		return f.resource
	}
	return fmt.Sprintf("step %d of this plan", f.after)
}

// deploy adds the step that puts a staged folder on a hosting resource.
func (d *draft) deploy(ctx context.Context, n int, entry catalog.Entry, s purser.StepRequest, to files) error {
	if !d.o.Deployer.Takes(entry.Categories, entry.Outputs) {
		return purser.Errorf(purser.InvalidRequest, "%s takes no files", entry.Ref).WithHint("purser search hosting")
	}
	f, err := d.o.folder(ctx, d.q, d.by.Organization, s.Manifest)
	if err != nil {
		return err
	}
	if err := d.o.complete(d.by.Organization, f); err != nil {
		return err
	}
	if inProduction(d.terms.Env) && f.Dirty != 0 {
		d.block(n, purser.Errorf(purser.DirtyTree, "the folder has changes that are not committed").WithHint("git commit, then deploy again; or deploy to --env development"))
	}
	before := ""
	for _, r := range d.live {
		if r.ID == to.resource {
			before = r.Manifest
		}
		if r.ID != to.resource && to.domain != "" && alive(r) && hostOf(r.Url) == to.domain {
			return purser.Errorf(purser.NotAvailable, "%s is served by %s (%s, %s)", to.domain, r.Name, r.ID, r.Env).
				WithHint("deploy to that one, or remove it first: purser remove %s --retire", r.ID)
		}
	}
	dep, err := d.o.deployment(ctx, d.q, d.by.Organization, f, before, to.domain)
	if err != nil {
		return err
	}
	step := purser.PlanStep{
		N: len(d.terms.Steps) + 1, Kind: purser.DeployStep, Provider: entry.Ref.Provider, Service: entry.Ref.Service, Name: s.Name,
		Item: fmt.Sprintf("%d files, %d bytes to %s", dep.Files, dep.Bytes, orName(to.domain, s.Name)), Effect: purser.Changes,
		Price: purser.Price{Cap: "fixed"}, Deployment: dep, Resource: to.resource, After: to.after,
	}
	d.terms.Steps = append(d.terms.Steps, step)
	if inProduction(d.terms.Env) {
		d.because(step.N, "production", "it changes %s", d.terms.Env)
	}
	return nil
}

func orName(domain, name string) string {
	if domain != "" {
		return domain
	}
	return name
}

// accessIfAny is the access token of the connection, or nothing before there is one.
func (o *Office) accessIfAny(ctx context.Context, q *db.Queries, org string, p *Provider) (seal.Secret, error) {
	key := db.ConnectionParams{Organization: org, Provider: p.Name}
	if _, err := q.Connection(ctx, key); err != nil {
		return seal.Secret{}, ignoreMissing(err)
	}
	_, access, err := o.access(ctx, org, p)
	if err == nil {
		return access, nil
	}
	if c, again := q.Connection(ctx, key); again == nil && c.State != ConnectionActive { // a quote needs no account
		return seal.Secret{}, nil
	}
	return access, err
}
