// Package appapi is the door for the other side of APP: what providers and a person's browser call on an orchestrator.
//
// It serves our public keys, the documents that name us, the callback and the
// confirmation of account requests (APP 5.4, 9.6, 9.7, 15.1).
package appapi

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"

	"github.com/purser-dev/purser"
	"github.com/purser-dev/purser/app"
	"github.com/purser-dev/purser/internal/gate"
	"github.com/purser-dev/purser/internal/office"
	"github.com/purser-dev/purser/internal/seller"
)

const bodyLimit = 64 << 10 // bytes of a confirmation

// Office is what the door needs.
type Office interface {
	FlowTicket(ctx context.Context, by purser.Actor, id string) (office.Ticket, error)
	StartFlow(ctx context.Context, by purser.Actor, id, ticket string) (office.Started, error)
	FinishFlow(ctx context.Context, in office.FlowAnswer) (provider string, agreed bool, err error)
	ShowFlow(ctx context.Context, by purser.Actor, id string) (office.AccountRequest, error)
	ConfirmFlow(ctx context.Context, by purser.Actor, id string, read func() (office.ConfirmFlow, error)) (office.Confirmed, error)
}

// Keys are the installation's public keys.
type Keys interface {
	Public() []seller.PublicKey
	JWKS() ([]seller.JWK, error)
}

// Config joins the door to its surroundings.
type Config struct {
	Office Office
	Keys   Keys
	Gate   *gate.Gate
	Origin func() string // the public one
}

const (
	callbackPath = "/v1/flows/callback"
	jwksPath     = "/.well-known/purser-jwks.json"
)

// Doors gives the handlers by pattern.
func Doors(c Config) map[string]http.Handler {
	d := &door{c}
	return map[string]http.Handler{
		"GET /v2/provisioning/public_keys":                    named("public_keys", d.publicKeys),
		"GET /v2/provisioning/account_requests/{id}":          named("account_request", d.accountRequest),
		"POST /v2/provisioning/account_requests/{id}/confirm": named("confirm_account_request", d.confirm),
		"GET " + seller.ClientIDPath:                          named("client_document", d.client),
		"GET " + jwksPath:                                     named("client_keys", d.jwks),
		"POST /v1/flows/{id}/ticket":                          named("flow_ticket", d.ticket),
		"GET /v1/flows/{id}/start":                            named("start_flow", d.start),
		"GET " + callbackPath:                                 named("finish_flow", d.callback),
	}
}

type door struct{ Config }

func named(op string, h http.HandlerFunc) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		gate.EntryOf(r.Context()).Name(op)
		h(w, r)
	})
}

func answer(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	_ = e.Encode(v) // the caller is gone
}

// kept lets a document be kept for a while by whoever fetches it.
func kept(w http.ResponseWriter) { w.Header().Set("Cache-Control", "public, max-age=300") }

func (d *door) publicKeys(w http.ResponseWriter, _ *http.Request) {
	kept(w)
	answer(w, http.StatusOK, map[string]any{"public_keys": d.Keys.Public()})
}

func (d *door) jwks(w http.ResponseWriter, r *http.Request) {
	keys, err := d.Keys.JWKS()
	if err != nil {
		gate.Problem(w, r, err)
		return
	}
	kept(w)
	answer(w, http.StatusOK, map[string]any{"keys": keys})
}

// client is our client ID metadata document (APP 15.1). The blocks of the vendors
// opt in to provisioning.
func (d *door) client(w http.ResponseWriter, _ *http.Request) {
	origin := strings.TrimSuffix(d.Origin(), "/")
	provisioning := map[string]any{"provisioning": true}
	kept(w)
	answer(w, http.StatusOK, map[string]any{
		"client_id": seller.ClientID(origin), "client_name": "Purser", "client_uri": origin,
		"redirect_uris": []string{origin + callbackPath}, "grant_types": []string{"authorization_code", "refresh_token"},
		"response_types": []string{"code"}, "token_endpoint_auth_method": "private_key_jwt", "jwks_uri": origin + jwksPath,
		"com.posthog": provisioning, "dev.purser": provisioning,
	})
}

// accountRequest shows an account request to the provider that it was sent to.
func (d *door) accountRequest(w http.ResponseWriter, r *http.Request) {
	by, err := d.provider(r)
	if err == nil {
		var out office.AccountRequest
		if out, err = d.Office.ShowFlow(r.Context(), by, r.PathValue("id")); err == nil {
			answer(w, http.StatusOK, out)
			return
		}
	}
	typed(w, r, err)
}

// confirm takes a provider's word on an account request (APP 9.7).
func (d *door) confirm(w http.ResponseWriter, r *http.Request) {
	by, err := d.provider(r)
	if err == nil {
		var out office.Confirmed
		out, err = d.Office.ConfirmFlow(r.Context(), by, r.PathValue("id"), func() (office.ConfirmFlow, error) { return confirmation(w, r) })
		if err == nil {
			answer(w, http.StatusOK, out)
			return
		}
	}
	typed(w, r, err)
}

func confirmation(w http.ResponseWriter, r *http.Request) (in office.ConfirmFlow, err error) {
	raw, err := io.ReadAll(http.MaxBytesReader(w, r.Body, bodyLimit))
	var large *http.MaxBytesError
	if errors.As(err, &large) {
		return in, purser.Errorf(purser.TooLarge, "the body is larger than %d bytes", bodyLimit)
	}
	if err == nil {
		_, err = app.Object(raw)
	}
	if err == nil {
		err = json.Unmarshal(raw, &in)
	}
	if err != nil {
		return in, purser.Errorf(purser.InvalidRequest, "the body is not the JSON object of a confirmation").WithCause(err)
	}
	return in, nil
}

// provider admits a provider's key and nothing else.
func (d *door) provider(r *http.Request) (purser.Actor, error) {
	by, err := d.Gate.Admit(r)
	if err == nil && by.Kind != purser.Provider {
		err = purser.Errorf(purser.NotSignedIn, "this is for a provider's key")
	}
	return by, err
}

// typed writes a failure in the envelope of APP 7.1 that account requests have.
func typed(w http.ResponseWriter, r *http.Request, err error) {
	e := gate.EntryOf(r.Context()).Fail(err)
	status, code := http.StatusInternalServerError, app.CodeServerError
	switch e.Code {
	case purser.NotSignedIn:
		status, code = http.StatusUnauthorized, app.CodeUnauthorized
	case purser.NotFound:
		status, code = http.StatusNotFound, app.CodeNotFound
	case purser.InvalidRequest:
		status, code = http.StatusBadRequest, app.CodeInvalidRequest
	case purser.TooLarge:
		status, code = http.StatusRequestEntityTooLarge, app.CodeRequestTooLarge
	case purser.Forbidden:
		status, code = http.StatusForbidden, app.CodeForbidden
	case purser.InvalidState:
		status, code = http.StatusConflict, app.CodeInvalidState
	case purser.PlanExpired:
		status, code = http.StatusGone, app.CodeExpired
	case purser.TooManyTries:
		status, code = http.StatusTooManyRequests, app.CodeRateLimited
		w.Header().Set("Retry-After", "30")
	}
	answer(w, status, map[string]any{
		"type": "error", "id": r.PathValue("id"), "error": map[string]string{"code": code, "message": e.Detail},
	})
}
