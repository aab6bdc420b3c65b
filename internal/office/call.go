package office

import (
	"context"
	"errors"
	"fmt"
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

// sold is what came of a call to a provider.
type sold struct {
	link     *app.Token // of a link step
	consent  *Consent   // of a link step: a person must agree first
	base     string     // of a link step: the host where the account lives
	resource app.Resource
	connect  string // connection that was used
	url      string // of a deployment
	missing  bool   // a look-up found that there is nothing
}

// call does what the step asks at the provider, outside any transaction.
func (o *Office) call(ctx context.Context, b begun) (sold, error) {
	switch b.step.Kind {
	case purser.LinkStep:
		return o.callLink(ctx, b)
	case purser.DeployStep:
		return o.callDeploy(ctx, b)
	case purser.UpdateStep:
		return o.callUpdate(ctx, b)
	case purser.AdoptStep:
		return o.callAdopt(ctx, b)
	case purser.UnlinkStep:
		return sold{}, nil // nothing leaves: the account is forgotten here only
	}
	return o.callCreate(ctx, b)
}

// callLink makes or finds the account. Its key is the order, so a lost answer
// gives the same account again (APP 9.3).
func (o *Office) callLink(ctx context.Context, b begun) (sold, error) {
	p, err := o.provider(ctx, o.Store.Read(), b.step.Provider)
	if err != nil {
		return sold{}, err
	}
	req, err := o.accountRequest(ctx, p, b.order, b.step)
	if err != nil {
		return sold{}, err
	}
	linked, err := o.linked(ctx, p, b.order, req)
	if err != nil {
		return sold{}, err
	}
	if linked.Consent != nil {
		return sold{consent: linked.Consent}, o.needsConsent(p, b.order.ID, req.Email)
	}
	token := linked.Token
	// Another account's token opens another person's things: nothing of it is
	// kept or shown (drill h).
	if a := token.Account; a != nil && a.PrimaryEmail != "" && !strings.EqualFold(strings.TrimSpace(a.PrimaryEmail), b.step.Account.Email) {
		return sold{}, purser.Errorf(purser.AccountMismatch, "%s answered for another account than %s", p.Name, b.step.Account.Email).
			WithHint("ask %s which account belongs to this address", p.Name)
	}
	return sold{link: &token, base: linked.BaseURL}, nil
}

// attested says which fields were verified: none, because a person typed them at
// set-up and nobody wrote to the address. Only to a provider that calls itself a
// development one are they given as verified; what it links by them is its own.
func attested(p Provider) *app.KYC {
	if p.Manifest.Development {
		return &app.KYC{VerifiedFields: []string{"email", "name"}}
	}
	return nil
}

// callCreate buys under the order's two keys, and follows a resource that takes
// its time until the lease ends. An order that was begun before is looked up
// first: what is there is not bought again (RULES 16).
func (o *Office) callCreate(ctx context.Context, b begun) (sold, error) {
	p, err := o.provider(ctx, o.Store.Read(), b.step.Provider)
	if err != nil {
		return sold{}, err
	}
	connection, access, err := o.accessFor(ctx, b.order.Organization, &p, &b.order)
	var page *pageNeeded
	if errors.As(err, &page) && !repeated(b) {
		return sold{consent: &page.consent}, page.why
	}
	if err != nil && repeated(b) { // this call did nothing; the one before it may have
		err = unknownOutcome(p.Name, err)
	}
	if err != nil {
		return sold{}, err
	}
	if repeated(b) {
		r, found, err := o.find(ctx, p, access, b.order)
		if err != nil || found {
			if err == nil {
				r, err = o.handedOver(ctx, p, access, b, r)
			}
			return sold{resource: r, connect: connection.ID}, err
		}
	}
	req := app.CreateRequest{
		ServiceID: b.step.Service, Configuration: b.step.Configuration, ProjectID: b.order.Project, OrchestratorResourceID: b.order.ID,
		Environment: app.EnvironmentDev, QuoteID: b.order.Quote,
	}
	if req.SubmittedInformation, err = o.answers(ctx, b.order); err != nil {
		return sold{}, err
	}
	if req.SubmittedInformation != nil && !repeated(b) { // the person took longer than a quote lasts
		if req.QuoteID, err = o.freshQuote(ctx, b.plan, b.step); err != nil {
			return sold{}, err
		}
	}
	if inProduction(b.order.Env) {
		req.Environment = app.EnvironmentProd
	}
	if !b.token.Empty() {
		req.Payment = &app.Payment{Type: rail.SandboxType, Token: b.token.Reveal()}
	}
	r, err := o.asked(ctx, b.order.Organization, p, access, func(access seal.Secret) (app.Resource, error) {
		return o.Seller.Create(ctx, p, access, b.order.ID+"/1", req)
	})
	if err == nil {
		r, err = o.handedOver(ctx, p, access, b, r)
	}
	if purser.CodeOf(err) == purser.PaymentDeclined && r.ID != "" {
		err = o.dropUnpaid(ctx, p, access, b.order, r.ID, err)
	}
	return sold{resource: r, connect: connection.ID}, err
}

// handedOver follows what was bought to its end. What is deployable and opens nothing
// even when it is read back is not what was bought: it is named, so that a person or
// remove can deal with it (APP 17.3).
func (o *Office) handedOver(ctx context.Context, p Provider, access seal.Secret, b begun, r app.Resource) (app.Resource, error) {
	r, err := o.follow(ctx, p, access, r)
	if err != nil || r.Status != app.StatusComplete || !opensNothing(r) {
		return r, err
	}
	entries, err := o.entries(ctx, o.Store.Read(), p.Name)
	if err != nil {
		return r, err
	}
	entry, err := catalog.Lookup(entries, p.Name+"/"+b.step.Service)
	if err != nil || entry.Service.Kind != app.KindDeployable { // what is listed no more cannot be told
		return r, nil
	}
	id := catalog.Plain(r.ID, 128)
	return r, purser.Errorf(purser.ProviderFailure, "%s made %s and gives nothing that opens it (its id: %s)", p.Name, b.step.Service, id).
		WithHint("once %s gives its credentials: purser adopt %s %s --service %s/%s", p.Name, p.Name, id, p.Name, b.step.Service)
}

// dropUnpaid removes what a provider began before its payment failed (APP 12.2): the
// order is over, and nobody would finish it. What cannot be removed is named.
func (o *Office) dropUnpaid(ctx context.Context, p Provider, access seal.Secret, order db.Order, id string, declined error) error {
	_, err := o.Seller.Remove(ctx, p, access, order.ID+"/unpaid", id)
	var out *purser.Error
	if err == nil || saysGone(err) || !asCoded(declined, &out) {
		return declined
	}
	return out.WithHint("%s keeps what it began as %s; look there", p.Name, catalog.Plain(id, 128))
}

// find looks an order up at its provider. A provider that offers no look-up is
// asked again under the same keys, if its last conformance run passed the cases
// of duplicates and within a day; else the outcome stays unknown.
func (o *Office) find(ctx context.Context, p Provider, access seal.Secret, order db.Order) (app.Resource, bool, error) {
	if p.Manifest.Can(app.CapFind) {
		r, found, err := o.Seller.Find(ctx, p, access, order.ID)
		if err != nil {
			return r, false, unknownOutcome(p.Name, err)
		}
		unfinished := r.Error != nil && r.Error.Code == app.CodeInterrupted || r.Status == app.StatusNeedsInformation
		if found && unfinished {
			return r, false, nil // begun there and never finished: the same keys finish it
		}
		return r, found, nil
	}
	return o.resend(ctx, p, order)
}

// resend answers nothing when the same order may be sent again, and outcome_unknown
// when it may not.
func (o *Office) resend(ctx context.Context, p Provider, order db.Order) (app.Resource, bool, error) {
	row, err := o.Store.Read().Provider(ctx, p.Name)
	if err != nil {
		return app.Resource{}, false, err
	}
	if strings.HasPrefix(row.Conformance, "passed") && o.Now().Sub(store.Time(order.CreatedAt)) < retryWindow {
		return app.Resource{}, false, nil
	}
	return app.Resource{}, false, purser.Errorf(purser.OutcomeUnknown, "%s cannot look an order up, and has not proved that a repeat is safe", p.Name).
		WithHint("%s", lookYourself(order))
}

// lookYourself is what a person does about an order that nobody here can tell about.
func lookYourself(order db.Order) string {
	there := "--outcome live --found ID, or "
	if purser.StepKind(order.Kind) != purser.ServiceStep {
		there = ""
	}
	return fmt.Sprintf("look at %s yourself, then: purser resolve %s %s--outcome failed", order.Provider, order.ID, there)
}

func unknownOutcome(provider string, cause error) *purser.Error {
	err := purser.Errorf(purser.OutcomeUnknown, "the answer of %s was lost; it is looked up, never bought again", provider).WithHint("purser status")
	return err.WithCause(cause)
}

// follow polls a pending resource (APP 17.3) and reads back one that came
// without what opens it.
func (o *Office) follow(ctx context.Context, p Provider, access seal.Secret, r app.Resource) (app.Resource, error) {
	for pause := time.Second; r.Status == app.StatusPending; pause = min(2*pause, 30*time.Second) {
		wait := pause
		if r.RetryAfter > 0 {
			wait = r.RetryAfter
		}
		select {
		case <-ctx.Done():
			return r, unknownOutcome(p.Name, ctx.Err())
		case <-time.After(wait):
		}
		next, err := o.Seller.Get(ctx, p, access, r.ID)
		if err != nil {
			return r, unknownOutcome(p.Name, err)
		}
		r = next
	}
	if r.Status == app.StatusComplete && opensNothing(r) {
		if again, err := o.Seller.Get(ctx, p, access, r.ID); err == nil && again.Status == app.StatusComplete {
			again.ID = r.ID
			return again, nil
		}
	}
	return r, nil
}

// opensNothing reports a complete resource without credentials, as only a plan may be.
func opensNothing(r app.Resource) bool {
	return r.Complete == nil || len(r.Complete.AccessConfiguration) == 0
}

// callDeploy puts the staged files on the hosting resource.
func (o *Office) callDeploy(ctx context.Context, b begun) (sold, error) {
	host, err := o.host(ctx, b)
	if err != nil {
		return sold{}, err
	}
	f, err := o.folder(ctx, o.Store.Read(), b.order.Organization, b.step.Deployment.Manifest)
	if err != nil {
		return sold{}, err
	}
	access, err := o.accessOf(host)
	if err != nil {
		return sold{}, err
	}
	url, err := o.Deployer.Deploy(ctx, Deployment{
		Access: access, Name: siteName(host), Domain: b.step.Deployment.Domain, Files: f.files,
		Open: func(sha256 string) (readCloser, error) { return o.Blobs.Open(b.order.Organization, sha256) },
	})
	return sold{url: url, resource: app.Resource{ID: host.ID}}, err
}

// siteName names a resource's site at its host. One account serves every project
// and environment, so the resource's own identifier is part of it: equal names must
// not overwrite each other.
func siteName(host db.Resource) string {
	return strings.Trim(host.Name[:min(len(host.Name), 40)], "-") + "-" + host.ID[len(host.ID)-12:]
}

// host is the resource that a deployment goes to: an existing one, or that of an
// earlier step.
func (o *Office) host(ctx context.Context, b begun) (db.Resource, error) {
	id := b.step.Resource
	if id == "" {
		order, err := o.Store.Read().OrderOfStep(ctx, db.OrderOfStepParams{Organization: b.order.Organization, Plan: b.order.Plan, Step: int64(b.step.After)})
		if err != nil {
			return db.Resource{}, err
		}
		id = order.Resource
	}
	host, err := o.Store.Read().Resource(ctx, db.ResourceParams{Organization: b.order.Organization, ID: id})
	if err == nil && !alive(host) {
		err = purser.Errorf(purser.InvalidState, "resource %s is %s", host.Name, host.State)
	}
	return host, notFound(err, "resource", id)
}

// accessOf opens a resource's credentials.
func (o *Office) accessOf(r db.Resource) (map[string]string, error) {
	text, err := o.openText(r.Access, r.Organization, "resources", r.ID, "access")
	if err != nil {
		return nil, err
	}
	return fromJSON[map[string]string](text.Reveal())
}

// seen looks up what the provider has of an order.
func (o *Office) seen(ctx context.Context, p Provider, access seal.Secret, b begun) (app.Resource, bool, error) {
	if b.step.Kind == purser.UpdateStep {
		row, err := o.Store.Read().Resource(ctx, db.ResourceParams{Organization: b.order.Organization, ID: b.step.Resource})
		if err != nil {
			return app.Resource{}, false, err
		}
		return o.changedAlready(ctx, p, access, row, b)
	}
	r, found, err := o.find(ctx, p, access, b.order)
	if err == nil && found {
		r, err = o.follow(ctx, p, access, r)
	}
	return r, found, err
}

// lookUp finds out what became of an order with an unknown outcome, without
// buying anything. If there is certainly nothing, it may be begun again.
func (o *Office) lookUp(ctx context.Context, plan db.Plan, step purser.PlanStep, order db.Order) (db.Order, error) {
	b := begun{order: order, plan: plan, step: step}
	calling, cancel := context.WithTimeout(ctx, o.Defaults.Lease)
	defer cancel()
	if !buys(step) { // linking and deploying are safe to repeat, as long as the plan lasts
		if o.Now().Sub(store.Time(order.UpdatedAt)) < patience(order.Attempts) {
			return order, nil
		}
		return o.again(ctx, b, purser.OrderPlaced)
	}
	p, err := o.provider(ctx, o.Store.Read(), step.Provider)
	if err != nil {
		return order, err
	}
	// Without a look-up, that nothing was found says only that a repeat is safe.
	sure := step.Kind == purser.ServiceStep && p.Manifest.Can(app.CapFind)
	blind := step.Kind == purser.ServiceStep && !sure
	connection, access, err := o.access(calling, order.Organization, &p)
	if err != nil {
		return order, nil // not now: it stays unknown
	}
	r, found, err := o.seen(calling, p, access, b)
	switch {
	case ctx.Err() != nil:
		return order, ctx.Err()
	case purser.CodeOf(err) == purser.OutcomeUnknown && blind:
		return o.toPerson(ctx, b, asError(err))
	case purser.CodeOf(err) == purser.OutcomeUnknown:
		return order, nil
	case err != nil:
		return order, err
	case found:
		return o.settle(ctx, b, sold{resource: r, connect: connection.ID}, nil)
	case order.Attempts < tries && o.Now().Sub(store.Time(order.CreatedAt)) < retryWindow:
		if sure {
			b.unfinished = catalog.Plain(r.ID, 128)
			return o.again(ctx, b, purser.OrderPlaced)
		}
		return o.again(ctx, b, purser.OrderBuying)
	case blind: // it may be there: a person decides
		return o.toPerson(ctx, b, purser.Errorf(purser.OutcomeUnknown, "%s cannot look an order up, and it is not sent again", p.Name).WithHint("%s", lookYourself(order)))
	case !sure:
		return order, nil // the change may come still
	}
	nothing := purser.Errorf(purser.ProviderDown, "%s has nothing under this order: it was not bought", p.Name)
	if r.ID != "" {
		nothing.Detail = p.Name + notFinished(catalog.Plain(r.ID, 128))
	}
	return o.settle(ctx, b, sold{missing: true}, nothing.WithHint("make a new plan"))
}

// toPerson leaves an unknown order to a person, and lets it say why.
func (o *Office) toPerson(ctx context.Context, b begun, why *purser.Error) (db.Order, error) {
	if toJSON(why) == b.order.Error {
		return b.order, nil // without a turn: it is looked at again and again
	}
	return o.settle(ctx, b, sold{}, why)
}

// notFinished says of a provider what a look-up found.
func notFinished(id string) string {
	return fmt.Sprintf(" began it and has not finished it (its id: %s)", id)
}

// patience is how long a step whose answer was lost waits for its next attempt:
// the first comes at once, and a provider that starts anew is given its time.
func patience(attempts int64) time.Duration {
	if attempts <= 1 {
		return 0
	}
	return min(time.Second<<min(attempts-2, 6), time.Minute)
}

// again lets an unknown order be begun once more: as one that was only placed,
// when there is nothing of it, or as one whose call is out. The latter stays
// unknown when it may not begin, and so does what was charged: that is told, since a
// person decides it then.
func (o *Office) again(ctx context.Context, b begun, as purser.OrderState) (db.Order, error) {
	err := o.turn(ctx, b.order.Organization, func(t *store.Turn) error {
		order, err := t.Order(ctx, db.OrderParams{Organization: t.Org, ID: b.order.ID})
		if err != nil || purser.OrderState(order.State) != purser.OrderUnknown {
			b.order = order
			return err
		}
		plan, err := t.Plan(ctx, db.PlanParams{Organization: t.Org, ID: order.Plan})
		if err != nil {
			return err
		}
		h, err := t.Hold(ctx, db.HoldParams{Organization: t.Org, ID: order.Hold})
		if err != nil {
			return err
		}
		if as == purser.OrderBuying || charged(h) {
			no, err := o.mayBegin(ctx, t, plan, order)
			switch {
			case err != nil || no != nil && no.Code.Info().Class == purser.ClassRetry:
				return err
			case no != nil:
				if b.unfinished != "" {
					no.Detail = order.Provider + notFinished(b.unfinished) + "; " + no.Detail
				}
				b.order, err = o.doubted(ctx, t, order, doubt(order, h, no).WithHint("%s", lookYourself(order)))
				return err
			}
		}
		t.Record(orderRecord("retry", b.plan, b.step, order.ID))
		err = t.SettleOrder(ctx, db.SettleOrderParams{Organization: t.Org, ID: order.ID, State: string(as), Resource: order.Resource, UpdatedAt: store.Micro(t.Now)})
		if err != nil {
			return err
		}
		b.order, err = t.Order(ctx, db.OrderParams{Organization: t.Org, ID: order.ID})
		return err
	})
	return b.order, err
}

// check holds what a provider handed over against what was bought (promise 7).
func check(b begun, r app.Resource) error {
	switch r.Status {
	case app.StatusComplete:
	case app.StatusNeedsInformation:
		return wantsToKnow(b, r)
	default:
		return refusedBy(b.step.Provider, r)
	}
	if r.ServiceID != "" && r.ServiceID != b.step.Service {
		return purser.Errorf(purser.ProviderFailure, "%s handed over %s instead of %s (its id: %s)", b.step.Provider, catalog.Plain(r.ServiceID, 80), b.step.Service, catalog.Plain(r.ID, 128))
	}
	asked, _ := b.step.Configuration["domain"].(string)
	if got := domainIn(r); asked != "" && got != "" && !strings.EqualFold(strings.TrimSuffix(got, "."), asked) {
		return purser.Errorf(purser.DomainMismatch, "asked %s, got %s (its id: %s)", asked, catalog.Plain(got, 260), catalog.Plain(r.ID, 128)).
			WithHint("talk to %s; what it charged is in: purser spend", b.step.Provider)
	}
	return nil
}

// wantsToKnow is what a provider wants to know before it goes on. It can be told only for
// a purchase: an update has no place for it.
func wantsToKnow(b begun, r app.Resource) error {
	if b.step.Kind != purser.ServiceStep || r.NeedsInformation == nil {
		return purser.Errorf(purser.ProviderFailure, "%s asks for more before it goes on, and does not say what", b.step.Provider)
	}
	schema, err := InformationSchema(r.NeedsInformation.Schema)
	if err != nil {
		return purser.Errorf(purser.ProviderFailure, "%s asks for more in a form that cannot be read", b.step.Provider).WithCause(err)
	}
	out := purser.Errorf(purser.NeedsInformation, "%s asks for more before it goes on", b.step.Provider)
	out.Provider = &purser.ProviderSaid{Code: app.AnswerNeedsInformation, Message: schema}
	return out.WithHint("purser inform %s", b.order.ID)
}

// domainIn is the name that a provider says it sold.
func domainIn(r app.Resource) string {
	if r.Complete == nil {
		return ""
	}
	for _, key := range []string{"domain", "DOMAIN", "domain_name"} {
		if v := r.Complete.AccessConfiguration[key]; v != "" {
			return v
		}
	}
	return ""
}

func refusedBy(provider string, r app.Resource) *purser.Error {
	err := purser.Errorf(purser.ProviderFailure, "%s did not complete the order", provider)
	if r.Error != nil {
		err.Provider = &purser.ProviderSaid{Code: catalog.Plain(r.Error.Code, 80), Message: catalog.Plain(r.Error.Message, 500)}
	}
	return err
}

// uncertain reports whether a call may have had its effect.
func uncertain(err error) bool {
	return purser.CodeOf(err) == purser.OutcomeUnknown || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled)
}
