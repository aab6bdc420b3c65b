// Package oauthapi is the door of the authorization server: the endpoints that clients and devices call to get tokens.
//
// It translates the forms of OAuth into the office's words and back. The pages on
// which a person decides are the console's.
package oauthapi

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/purser-dev/purser"
	"github.com/purser-dev/purser/internal/gate"
	"github.com/purser-dev/purser/internal/oauth"
	"github.com/purser-dev/purser/internal/office"
	"github.com/purser-dev/purser/internal/seal"
)

// bodyLimit bounds a request, in bytes.
const bodyLimit = 64 << 10

// deviceClient is the one client that signs in as a person: our own command line.
const deviceClient = "purser-cli"

// Office is what the door needs.
type Office interface {
	Operations() []office.Operation
	RegisterClient(ctx context.Context, by purser.Actor, m oauth.Metadata) (oauth.Registered, error)
	Client(ctx context.Context, by purser.Actor, id string) (oauth.Client, error)
	AskAuthorization(ctx context.Context, by purser.Actor, client oauth.Client, in oauth.Request) (id string, err error)
	RefuseRequest(by purser.Actor, no *oauth.Error)
	RedeemCode(ctx context.Context, by purser.Actor, in office.Redemption) (office.Issued, error)
	RefreshGrant(ctx context.Context, by purser.Actor, in office.Refreshment) (office.Issued, error)
	RevokeToken(ctx context.Context, by purser.Actor, in office.Presented, token string) error
	Introspect(ctx context.Context, by purser.Actor, token string) (office.Introspected, error)
	AskDevice(ctx context.Context, by purser.Actor, name string) (purser.DeviceLogin, error)
	RedeemDevice(ctx context.Context, by purser.Actor, code string) (purser.SignedIn, error)
}

// Keys are the public halves of what signs access tokens.
type Keys interface {
	JWKS() (jose.JSONWebKeySet, error)
}

// Config joins the door to its surroundings.
type Config struct {
	Office Office
	Keys   Keys
	Gate   *gate.Gate
	Origin func() string // the public one: the issuer
	// Consent is the path of the page that asks a person; the request's identifier follows.
	Consent string
	// Fail shows a person at a browser what is wrong.
	Fail func(w http.ResponseWriter, r *http.Request, err error)
}

// Doors gives the handlers by pattern.
func Doors(c Config) map[string]http.Handler {
	d := &door{c}
	doors := map[string]http.Handler{
		"GET " + oauth.PathServer:            named("oauth_metadata", d.metadata),
		"GET " + oauth.PathKeys:              named("oauth_keys", d.keys),
		"GET " + oauth.PathAuthorize:         named("authorize", d.authorize),
		"POST " + oauth.PathToken:            named("token", d.token),
		"POST " + oauth.PathRegister:         named("register_client", d.register),
		"POST " + oauth.PathRevoke:           named("revoke_token", d.revoke),
		"POST " + oauth.PathIntrospect:       named("introspect", d.introspect),
		"POST " + oauth.PathDevice:           named("ask_device", d.device),
		"GET " + oauth.PathResource:          named("resource_metadata", d.resource("")),
		"GET " + oauth.PathResource + "/mcp": named("resource_metadata", d.resource("/mcp")),
		"GET " + oauth.PathResource + "/v1":  named("resource_metadata", d.resource("/v1")),
	}
	return doors
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

func (d *door) metadata(w http.ResponseWriter, _ *http.Request) {
	kept(w)
	answer(w, http.StatusOK, oauth.ServerMetadata(d.Origin()))
}

func (d *door) resource(path string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		kept(w)
		answer(w, http.StatusOK, oauth.ResourceMetadata(d.Origin(), d.Origin()+path))
	}
}

func (d *door) keys(w http.ResponseWriter, r *http.Request) {
	set, err := d.Keys.JWKS()
	if err != nil {
		gate.Problem(w, r, err)
		return
	}
	kept(w)
	answer(w, http.StatusOK, set)
}

// fail answers in the form of RFC 6749 5.2.
func fail(w http.ResponseWriter, r *http.Request, err error) {
	e := gate.EntryOf(r.Context()).Fail(err)
	status, body := http.StatusBadRequest, map[string]string{"error": oauth.InvalidRequest, "error_description": e.Detail, "code": string(e.Code)}
	var no *oauth.Error
	switch {
	case errors.As(err, &no):
		body["error"], body["error_description"] = no.Code, no.Description
	case e.Code == purser.TooManyTries:
		body["error"] = "temporarily_unavailable"
	case e.Code.Info().HTTP >= http.StatusInternalServerError:
		status, body["error"] = e.Code.Info().HTTP, "server_error"
	case e.Code == purser.TooLarge:
		status = http.StatusRequestEntityTooLarge
	}
	if e.Code == purser.TooManyTries && (no == nil || no.Code != oauth.SlowDown) {
		status = http.StatusTooManyRequests
	}
	if e.RetryAfter > 0 {
		w.Header().Set("Retry-After", strconv.FormatInt(int64(e.RetryAfter.Seconds())+1, 10))
	}
	if body["error"] == oauth.InvalidClient {
		status = http.StatusUnauthorized
		w.Header().Set("WWW-Authenticate", `Basic realm="purser"`)
	}
	answer(w, status, body)
}

func invalid(format string, args ...any) error {
	no := oauth.Errorf(oauth.InvalidRequest, format, args...)
	return purser.Errorf(purser.InvalidRequest, "%s", no.Description).WithCause(no)
}

// form reads the members of a request: each once, from the body, where no log and
// no history keeps them.
func form(w http.ResponseWriter, r *http.Request) (func(string) string, error) {
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != "application/x-www-form-urlencoded" {
		return nil, invalid("the body is application/x-www-form-urlencoded")
	}
	if r.URL.RawQuery != "" {
		return nil, invalid("members come in the body, not in the query")
	}
	raw, err := body(w, r)
	if err != nil {
		return nil, err
	}
	values, err := url.ParseQuery(string(raw))
	if err != nil {
		return nil, invalid("the body cannot be read")
	}
	get, err := oauth.Once(values)
	var no *oauth.Error
	if errors.As(err, &no) {
		return nil, purser.Errorf(purser.InvalidRequest, "%s", no.Description).WithCause(no)
	}
	return get, err
}

func body(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	raw, err := io.ReadAll(http.MaxBytesReader(w, r.Body, bodyLimit))
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &large):
		return nil, purser.Errorf(purser.TooLarge, "the body is larger than %d bytes", bodyLimit)
	case err != nil:
		return nil, invalid("the request broke off")
	}
	return raw, nil
}

// presented reads who a client says it is: in one way, not in two (RFC 6749 2.3).
func presented(r *http.Request, get func(string) string) (office.Presented, error) {
	out := office.Presented{Client: get("client_id"), Method: oauth.MethodNone}
	if secret := get("client_secret"); secret != "" {
		out.Method, out.Secret = oauth.MethodPost, seal.NewSecret(secret)
	}
	if r.Header.Get("Authorization") != "" {
		name, secret, ok := r.BasicAuth()
		id, err1 := url.QueryUnescape(name)
		plain, err2 := url.QueryUnescape(secret)
		switch {
		case !ok || len(r.Header.Values("Authorization")) > 1 || err1 != nil || err2 != nil:
			return out, invalid("the Authorization header is not one of Basic")
		case out.Method != oauth.MethodNone || out.Client != "" && out.Client != id:
			return out, invalid("a client authenticates in one way")
		}
		out = office.Presented{Client: id, Method: oauth.MethodBasic, Secret: seal.NewSecret(plain)}
	}
	if out.Client == "" {
		return out, invalid("client_id is missing")
	}
	return out, nil
}

// asked reads a request of a client: from where, what, and who.
func (d *door) asked(w http.ResponseWriter, r *http.Request) (by purser.Actor, get func(string) string, who office.Presented, err error) {
	if by, err = d.Gate.Anonymous(r); err != nil {
		return by, nil, who, err
	}
	if get, err = form(w, r); err != nil {
		return by, nil, who, err
	}
	who, err = presented(r, get)
	return by, get, who, err
}

// issued is RFC 6749 5.1.
type issued struct {
	Access    string `json:"access_token"`
	Type      string `json:"token_type"`
	ExpiresIn int64  `json:"expires_in"` // seconds
	Refresh   string `json:"refresh_token,omitempty"`
	Scope     string `json:"scope,omitempty"`
}

func (d *door) token(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	by, get, who, err := d.asked(w, r)
	if err != nil {
		fail(w, r, err)
		return
	}
	var out office.Issued
	switch get("grant_type") {
	case oauth.GrantCode:
		out, err = d.Office.RedeemCode(r.Context(), by, office.Redemption{
			Presented: who, Code: get("code"), Redirect: get("redirect_uri"), Verifier: get("code_verifier"), Resource: get("resource"),
		})
	case oauth.GrantRefresh:
		out, err = d.Office.RefreshGrant(r.Context(), by, office.Refreshment{Presented: who, Refresh: get("refresh_token"), Scope: get("scope"), Resource: get("resource")})
	case oauth.GrantDevice:
		d.deviceToken(w, r, by, who, get("device_code"))
		return
	default:
		no := oauth.Errorf(oauth.UnsupportedGrant, "grant_type is authorization_code, refresh_token, or that of devices")
		err = purser.Errorf(purser.InvalidRequest, "%s", no.Description).WithCause(no)
	}
	if err != nil {
		fail(w, r, err)
		return
	}
	answer(w, http.StatusOK, issued{out.Access.Reveal(), "Bearer", int64(out.ExpiresIn.Seconds()), out.Refresh.Reveal(), out.Scope})
}

// signedIn is the answer to a device: a person's token, and whose.
type signedIn struct {
	issued
	Organization string    `json:"organization"`
	Person       string    `json:"person"`
	Name         string    `json:"name"`
	ExpiresAt    time.Time `json:"expires_at"`
}

func (d *door) deviceToken(w http.ResponseWriter, r *http.Request, by purser.Actor, who office.Presented, code string) {
	if who.Client != deviceClient {
		no := oauth.Errorf(oauth.UnauthorizedClient, "only Purser's own command line signs in as a person")
		fail(w, r, purser.Errorf(purser.Forbidden, "%s", no.Description).WithCause(no))
		return
	}
	in, err := d.Office.RedeemDevice(r.Context(), by, code)
	if err != nil {
		fail(w, r, err)
		return
	}
	answer(w, http.StatusOK, signedIn{
		issued: issued{Access: in.Token, Type: "Bearer", ExpiresIn: int64(time.Until(in.ExpiresAt).Seconds())}, Organization: in.Organization,
		Person: in.Person, Name: in.Name, ExpiresAt: in.ExpiresAt,
	})
}

func (d *door) device(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	by, get, who, err := d.asked(w, r)
	if err == nil && who.Client != deviceClient {
		no := oauth.Errorf(oauth.UnauthorizedClient, "only Purser's own command line signs in as a person")
		err = purser.Errorf(purser.Forbidden, "%s", no.Description).WithCause(no)
	}
	if err != nil {
		fail(w, r, err)
		return
	}
	out, err := d.Office.AskDevice(r.Context(), by, get("device_name"))
	if err != nil {
		fail(w, r, err)
		return
	}
	answer(w, http.StatusOK, out)
}

func (d *door) register(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	by, err := d.Gate.Anonymous(r)
	var m oauth.Metadata
	if err == nil {
		m, err = metadataOf(w, r)
	}
	var out oauth.Registered
	if err == nil {
		out, err = d.Office.RegisterClient(r.Context(), by, m)
	}
	if err != nil {
		fail(w, r, err)
		return
	}
	answer(w, http.StatusCreated, out)
}

func metadataOf(w http.ResponseWriter, r *http.Request) (m oauth.Metadata, err error) {
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != "application/json" {
		return m, invalid("the body is application/json")
	}
	raw, err := body(w, r)
	if err == nil && json.Unmarshal(raw, &m) != nil {
		no := oauth.Errorf(oauth.InvalidMetadata, "the body is not a JSON object of client metadata")
		err = purser.Errorf(purser.InvalidRequest, "%s", no.Description).WithCause(no)
	}
	return m, err
}

func (d *door) revoke(w http.ResponseWriter, r *http.Request) {
	by, get, who, err := d.asked(w, r)
	if err == nil && get("token") == "" {
		err = invalid("token is missing")
	}
	if err == nil {
		err = d.Office.RevokeToken(r.Context(), by, who, get("token"))
	}
	if err != nil {
		fail(w, r, err)
		return
	}
	w.WriteHeader(http.StatusOK)
}

func (d *door) introspect(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	by, err := d.Gate.Admit(r)
	if err != nil {
		gate.Problem(w, r, err)
		return
	}
	get, err := form(w, r)
	if err == nil && get("token") == "" {
		err = invalid("token is missing")
	}
	var out office.Introspected
	if err == nil {
		out, err = d.Office.Introspect(r.Context(), by, get("token"))
	}
	if err != nil {
		fail(w, r, err)
		return
	}
	answer(w, http.StatusOK, out)
}

// authorize takes a client's request and sends the browser to the page that asks
// the person. Nothing is answered to a client whose redirect URI is not its own.
func (d *door) authorize(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet { // the pattern takes HEAD too
		http.Error(w, "", http.StatusMethodNotAllowed)
		return
	}
	if r.Header.Get("Authorization") != "" {
		d.Fail(w, r, d.notByToken(r))
		return
	}
	by, err := d.Gate.Anonymous(r)
	if err != nil {
		d.Fail(w, r, err)
		return
	}
	get, client, redirect, err := d.client(r, by)
	if err != nil {
		d.refuse(by, err)
		d.Fail(w, r, err)
		return
	}
	asked, err := oauth.ParseRequest(get, client, redirect, oauth.Resources(d.Origin()))
	if err != nil {
		d.refuse(by, err)
		d.back(w, r, redirect, get("state"), err)
		return
	}
	id, err := d.Office.AskAuthorization(r.Context(), by, client, asked)
	if err != nil {
		d.Fail(w, r, err)
		return
	}
	http.Redirect(w, r, d.Consent+id, http.StatusSeeOther)
}

// client finds the client of a request, and that the redirect URI is its own.
func (d *door) client(r *http.Request, by purser.Actor) (get func(string) string, c oauth.Client, redirect string, err error) {
	values, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, c, "", invalid("the query cannot be read")
	}
	if get, err = oauth.Once(values); err != nil {
		return nil, c, "", shown(err)
	}
	if c, err = d.Office.Client(r.Context(), by, get("client_id")); err != nil {
		return nil, c, "", shown(err)
	}
	if redirect = get("redirect_uri"); !oauth.MatchRedirect(c.Redirects, redirect) {
		return nil, c, "", shown(oauth.Errorf(oauth.InvalidRedirect, "the redirect_uri is none of the client's"))
	}
	return get, c, redirect, nil
}

// shown gives an error in OAuth's words a code of ours.
func shown(err error) error {
	var no *oauth.Error
	if errors.As(err, &no) && purser.CodeOf(err) == purser.Internal {
		return purser.Errorf(purser.InvalidRequest, "%s: %s", no.Code, no.Description).WithCause(no)
	}
	return err
}

func (d *door) refuse(by purser.Actor, err error) {
	var no *oauth.Error
	if errors.As(err, &no) {
		d.Office.RefuseRequest(by, no)
	}
}

// back tells a client what was wrong with its request. Only a program on this
// machine is sent there at once: anybody can register, and a server that redirects
// to wherever a stranger said lends him its name (RFC 9700 4.11).
func (d *door) back(w http.ResponseWriter, r *http.Request, redirect, state string, err error) {
	var no *oauth.Error
	if !oauth.Local(redirect) || !errors.As(err, &no) {
		d.Fail(w, r, shown(err))
		return
	}
	_ = gate.EntryOf(r.Context()).Fail(shown(err))
	members := url.Values{"error": {no.Code}, "error_description": {no.Description}, "iss": {d.Origin()}}
	if state != "" {
		members.Set("state", state)
	}
	http.Redirect(w, r, oauth.Answer(redirect, members), http.StatusSeeOther)
}

// notByToken refuses a credential at the page on which a person decides, and has
// an agent's attempt recorded.
func (d *door) notByToken(r *http.Request) error {
	by, err := d.Gate.Admit(r)
	if err != nil {
		return err
	}
	for _, op := range d.Office.Operations() {
		if op.Name == "show_authorization" && by.Kind != purser.Person {
			_, err = op.Do(r.Context(), by, purser.AuthorizationRef{Authorization: strings.TrimSpace(r.URL.Query().Get("client_id"))})
			return err
		}
	}
	return purser.Errorf(purser.Forbidden, "a client is connected by a person in a browser, not with a token").WithHint("open the same address in a browser")
}
