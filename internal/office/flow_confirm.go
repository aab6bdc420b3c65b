package office

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"

	"github.com/purser-dev/purser"
	"github.com/purser-dev/purser/app"
	"github.com/purser-dev/purser/internal/seal"
	"github.com/purser-dev/purser/internal/store"
	"github.com/purser-dev/purser/internal/store/db"
)

// AccountRequest is an account request as its provider may read it back (APP 9.7).
// The confirmation secret is not in it.
type AccountRequest struct {
	ID                 string         `json:"id"`
	Object             string         `json:"object"`
	Status             string         `json:"status"`
	Email              string         `json:"email"`
	Name               string         `json:"name"`
	Scopes             []string       `json:"scopes"`
	ClientCapabilities []string       `json:"client_capabilities"`
	Configuration      map[string]any `json:"configuration"`
	ExpiresAt          app.Time       `json:"expires_at"`
}

// ConfirmFlow is a provider's word on an account request (APP 9.7).
type ConfirmFlow struct {
	ConfirmationSecret string `json:"confirmation_secret"`
	Decision           string `json:"decision"` // approved or denied
	Code               string `json:"code"`
	Error              string `json:"error"`
	ErrorDescription   string `json:"error_description"`
}

// Confirmed is the answer to it.
type Confirmed struct {
	ID     string `json:"id"`
	Status string `json:"status"`
}

// ShowFlow shows an account request to the provider that it was sent to.
func (o *Office) ShowFlow(ctx context.Context, by purser.Actor, id string) (AccountRequest, error) {
	flow, err := o.providersFlow(ctx, by, id)
	if err != nil {
		return AccountRequest{}, err
	}
	p, err := o.provider(ctx, o.Store.Read(), flow.Provider)
	if err != nil {
		return AccountRequest{}, err
	}
	order, err := o.Store.Read().Order(ctx, db.OrderParams{Organization: flow.Organization, ID: flow.OrderID})
	if err != nil {
		return AccountRequest{}, err
	}
	step, err := o.stepOf(ctx, order)
	if err == nil && step.Account == nil { // an order for which the account is asked for again
		_, step, err = o.linkStep(ctx, flow.Organization, flow.Provider)
	}
	if err != nil {
		return AccountRequest{}, err
	}
	req, err := o.accountRequest(ctx, p, order, step)
	if err != nil {
		return AccountRequest{}, err
	}
	return AccountRequest{
		ID: flow.ID, Object: "account_request", Status: o.flowStatus(flow), Email: req.Email, Name: req.Name, Scopes: orEmpty(p.Manifest.OAuthScopes),
		ClientCapabilities: req.ClientCapabilities, Configuration: req.Configuration, ExpiresAt: app.At(store.Time(flow.ExpiresAt)),
	}, nil
}

func (o *Office) stepOf(ctx context.Context, order db.Order) (purser.PlanStep, error) {
	plan, err := o.Store.Read().Plan(ctx, db.PlanParams{Organization: order.Organization, ID: order.Plan})
	if err != nil {
		return purser.PlanStep{}, err
	}
	terms, err := fromJSON[purser.PlanTerms](plan.Terms)
	if err != nil {
		return purser.PlanStep{}, err
	}
	if order.Step < 1 || int(order.Step) > len(terms.Steps) {
		return purser.PlanStep{}, fmt.Errorf("order %s is of no step of its plan", order.ID)
	}
	return terms.Steps[order.Step-1], nil
}

func (o *Office) providersFlow(ctx context.Context, by purser.Actor, id string) (db.Flow, error) {
	flow, err := o.Store.Read().FlowByID(ctx, id)
	if err == nil && (by.Kind != purser.Provider || flow.Provider != by.ID) {
		return db.Flow{}, purser.Errorf(purser.NotFound, "no account request is called %q here", id)
	}
	return flow, notFound(err, "account request", id)
}

// ConfirmFlow takes a provider's word that a person agreed there or did not. The
// checks come in the order of APP 9.7: not_found, invalid_request, forbidden,
// invalid_state, and plan_expired past the request's end.
func (o *Office) ConfirmFlow(ctx context.Context, by purser.Actor, id string, read func() (ConfirmFlow, error)) (Confirmed, error) {
	flow, err := o.providersFlow(ctx, by, id)
	if err != nil {
		return Confirmed{}, err
	}
	in, err := read()
	if err != nil {
		return Confirmed{}, err
	}
	if in.Decision != FlowApproved && in.Decision != FlowDenied || in.ConfirmationSecret == "" || len(in.Code) > maxAnswer || in.Decision == FlowDenied && in.Code != "" {
		return Confirmed{}, purser.Errorf(purser.InvalidRequest, "a confirmation holds confirmation_secret and the decision approved or denied")
	}
	if !sameHash(flow.SecretHash, hashOf(seal.NewSecret(in.ConfirmationSecret))) {
		return Confirmed{}, purser.Errorf(purser.Forbidden, "the confirmation secret is not that of the account request")
	}
	out := Confirmed{ID: id, Status: in.Decision}
	decided := func(before string) (Confirmed, error) {
		if before == in.Decision {
			return out, nil
		}
		return Confirmed{}, purser.Errorf(purser.InvalidState, "the account request was %s before", before)
	}
	switch {
	case flow.Decision != "":
		return decided(flow.Decision)
	case o.flowStatus(flow) != FlowPending:
		return Confirmed{}, purser.Errorf(purser.PlanExpired, "the time of the account request is over")
	}
	d := verdict{status: in.Decision, code: in.Code}
	if d.status == FlowDenied {
		if d.reason = in.Error; d.reason == "" {
			d.reason = "access_denied"
		}
	}
	err = o.decideFlow(ctx, by, flow, d, purser.Errorf(purser.PlanExpired, "the account request was decided meanwhile, or its time is over"))
	if purser.CodeOf(err) == purser.PlanExpired { // two at once: the second gets the first one's answer
		if now, again := o.Store.Read().Flow(ctx, db.FlowParams{Organization: flow.Organization, ID: id}); again == nil && now.Decision != "" {
			return decided(now.Decision)
		}
	}
	return out, err
}

// accountRequest is the account request of a link step's order: the same one each
// time, with what a person has told meanwhile.
func (o *Office) accountRequest(ctx context.Context, p Provider, order db.Order, step purser.PlanStep) (app.AccountRequest, error) {
	run, err := o.Store.Read().Run(ctx, db.RunParams{Organization: order.Organization, ID: order.Run})
	if err != nil {
		return app.AccountRequest{}, err
	}
	person, err := o.Store.Read().Person(ctx, db.PersonParams{Organization: order.Organization, ID: run.Person})
	if err != nil {
		return app.AccountRequest{}, err
	}
	told, err := o.answers(ctx, order)
	if err != nil {
		return app.AccountRequest{}, err
	}
	req := app.AccountRequest{
		ID: flowID(order.ID), Email: step.Account.Email, Name: person.Name, KYC: attested(p), Actor: &app.Actor{Email: person.Email},
		ClientCapabilities: []string{"browser"}, Configuration: maps.Clone(step.Configuration),
	}
	var schema app.Schema
	_ = json.Unmarshal(p.Manifest.AccountSchema(), &schema) // absent: everything told is information
	for key, value := range told {
		if _, known := schema.Properties[key]; known {
			req.Configuration = with(req.Configuration, key, value)
		} else {
			req.SubmittedInformation = with(req.SubmittedInformation, key, value)
		}
	}
	return req, nil
}

func with(m map[string]any, key string, value any) map[string]any {
	if m == nil {
		m = map[string]any{}
	}
	m[key] = value
	return m
}
