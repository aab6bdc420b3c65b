package office

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/purser-dev/purser"
	"github.com/purser-dev/purser/internal/oauth"
	"github.com/purser-dev/purser/internal/seal"
	"github.com/purser-dev/purser/internal/store"
	"github.com/purser-dev/purser/internal/store/db"
)

const (
	requestLife   = 10 * time.Minute // an authorization request waits so long for a person
	codeLife      = 2 * time.Minute  // a code is redeemed within
	accessLife    = time.Hour        // an access token, and at most the run
	documentFresh = 5 * time.Minute  // a client's document is not read again within
	unusedLife    = 24 * time.Hour   // a client that nobody connected is forgotten after

	registersPerMinute = 10 // of one address
	asksPerMinute      = 30
	unusedClients      = 2000 // that wait for a first connection, of everybody

	prefixClient        = "cli"
	prefixAuthorization = "aut"
	prefixGrant         = "gra"
)

// refused joins what a door answers with an error's code for the log.
func refused(code purser.Code, no *oauth.Error) *purser.Error {
	return purser.Errorf(code, "%s", no.Description).WithCause(no)
}

func invalidGrant(format string, args ...any) *purser.Error {
	return refused(purser.Forbidden, oauth.Errorf(oauth.InvalidGrant, format, args...))
}

func invalidClient(format string, args ...any) *purser.Error {
	return refused(purser.NotSignedIn, oauth.Errorf(oauth.InvalidClient, format, args...))
}

// inOAuth gives an error of the core a code for the log.
func inOAuth(err error) error {
	var no *oauth.Error
	if errors.As(err, &no) {
		return refused(purser.InvalidRequest, no)
	}
	return err
}

// RegisterClient takes in a client that anybody brings (RFC 7591): it may ask a
// person, and nothing more. A source that brings many must wait.
func (o *Office) RegisterClient(ctx context.Context, by purser.Actor, m oauth.Metadata) (out oauth.Registered, err error) {
	if err := o.paced(by.Source, "register_client", registersPerMinute); err != nil {
		return out, err
	}
	client, err := m.Check()
	if err != nil {
		o.CountRefusal(by.Source, "register_client")
		return out, inOAuth(err)
	}
	if client.ID, err = o.newID(prefixClient); err != nil {
		return out, err
	}
	if m.ClientName == "" {
		m.ClientName = client.ID
	}
	out.Metadata, out.ClientID, out.IssuedAt = m, client.ID, o.Now().Unix()
	hash := ""
	if client.Method != oauth.MethodNone {
		secret, err := seal.NewToken(seal.ClientSecret, o.Random)
		if err != nil {
			return out, err
		}
		hash, out.Secret, out.SecretExpiresAt = hashOf(secret), secret.Reveal(), new(int64)
	}
	err = o.Store.Write(ctx, func(q *db.Queries) error {
		if err := q.DropOldOAuthClients(ctx, store.Micro(o.Now().Add(-unusedLife))); err != nil {
			return err
		}
		if n, err := q.CountUnusedOAuthClients(ctx); err != nil || n >= unusedClients {
			full := purser.Errorf(purser.TooManyTries, "too many clients wait for somebody to connect them")
			full.RetryAfter = time.Hour
			return orElse(err, full)
		}
		return q.InsertOAuthClient(ctx, db.InsertOAuthClientParams{
			ID: client.ID, Name: m.ClientName, Redirects: toJSON(client.Redirects), Method: client.Method, SecretHash: hash, Source: by.Source, CreatedAt: store.Micro(o.Now()),
		})
	})
	return out, o.explain(ctx, err)
}

// orElse is the error that happened, or the one that is meant otherwise.
func orElse(err error, otherwise *purser.Error) error {
	if err != nil {
		return err
	}
	return otherwise
}

// Client finds a client by its identifier: one that registered, or one whose
// identifier is the address of its document, which is fetched.
func (o *Office) Client(ctx context.Context, by purser.Actor, id string) (oauth.Client, error) {
	if err := o.paced(by.Source, "ask_authorization", asksPerMinute); err != nil {
		return oauth.Client{}, err
	}
	row, err := o.Store.Read().OAuthClient(ctx, id)
	known := err == nil
	switch {
	case err != nil && !missing(err):
		return oauth.Client{}, fmt.Errorf("looking up a client: %w", err)
	case strings.Contains(id, "://"):
		if !known || store.Time(row.ReadAt).Add(documentFresh).Before(o.Now()) {
			return o.readDocument(ctx, by, id)
		}
	case !known:
		return oauth.Client{}, invalidClient("the client is not known: it registers at %s, or names the https address of its document", oauth.PathRegister)
	}
	redirects, err := fromJSON[[]string](row.Redirects)
	return oauth.Client{ID: row.ID, Name: row.Name, Redirects: redirects, Method: row.Method, Document: row.ReadAt != 0}, err
}

func (o *Office) readDocument(ctx context.Context, by purser.Actor, address string) (oauth.Client, error) {
	if err := oauth.CheckDocumentURL(address, o.LocalDocuments); err != nil {
		return oauth.Client{}, inOAuth(err)
	}
	if o.Documents == nil {
		return oauth.Client{}, invalidClient("documents of clients are not read here")
	}
	raw, err := o.Documents.Fetch(ctx, address)
	if err != nil {
		o.CountRefusal(by.Source, "client_document")
		return oauth.Client{}, invalidClient("the client's document cannot be read").WithHint("it is public, JSON, small, and answers without a redirect")
	}
	client, err := oauth.ParseDocument(address, raw)
	if err != nil {
		return client, inOAuth(err)
	}
	return client, o.explain(ctx, o.Store.Write(ctx, func(q *db.Queries) error {
		return q.KeepOAuthDocument(ctx, db.KeepOAuthDocumentParams{
			ID: client.ID, Name: client.Name, Redirects: toJSON(client.Redirects), Source: by.Source, CreatedAt: store.Micro(o.Now()),
		})
	}))
}

// AskAuthorization puts a client's request before whoever signs in.
func (o *Office) AskAuthorization(ctx context.Context, by purser.Actor, client oauth.Client, in oauth.Request) (id string, err error) {
	if id, err = o.newID(prefixAuthorization); err != nil {
		return "", err
	}
	now := o.Now()
	return id, o.explain(ctx, o.Store.Write(ctx, func(q *db.Queries) error {
		if err := q.DropOldOAuthRequests(ctx, store.Micro(now.Add(-time.Hour))); err != nil {
			return err
		}
		return q.InsertOAuthRequest(ctx, db.InsertOAuthRequestParams{
			ID: id, Client: client.ID, ClientName: client.Name, Redirect: in.Redirect, State: in.State, Challenge: in.Challenge, Resource: in.Resource,
			Scope: in.Scope, Source: by.Source, CreatedAt: store.Micro(now), ExpiresAt: store.Micro(now.Add(requestLife)),
		})
	}))
}

// RefuseRequest counts what a client asked for that is not even shown to a person:
// a redirect that is not its own, a challenge that is none.
func (o *Office) RefuseRequest(by purser.Actor, no *oauth.Error) {
	o.CountRefusal(by.Source, "authorize_"+no.Code)
}

// ShowAuthorization shows what a client asks for.
func (o *Office) ShowAuthorization(ctx context.Context, _ purser.Actor, in purser.AuthorizationRef) (purser.Authorization, error) {
	row, err := o.Store.Read().OAuthRequest(ctx, in.Authorization)
	if err != nil {
		return purser.Authorization{}, notFound(err, "authorization", in.Authorization)
	}
	return o.showAuthorization(row), nil
}

func (o *Office) showAuthorization(row db.OauthRequest) purser.Authorization {
	out := purser.Authorization{
		ID: row.ID, Client: row.Client, ClientName: row.ClientName, Redirect: row.Redirect, Local: oauth.Local(row.Redirect), Resource: row.Resource, Scope: row.Scope,
		Source: row.Source, State: "waiting", AskedAt: store.Time(row.CreatedAt), ExpiresAt: store.Time(row.ExpiresAt),
	}
	switch {
	case row.DecidedAt != 0:
		out.State = "decided"
	case store.Micro(o.Now()) >= row.ExpiresAt:
		out.State = "expired"
	}
	return out
}

// Grant connects a client: it makes the agent's run and a code for the client's
// tokens. It needs the person's signature, as create_run does (RULES 1).
func (o *Office) Grant(ctx context.Context, by purser.Actor, in purser.GrantClient) (purser.Granted, error) {
	request := in
	asked, err := o.Store.Read().OAuthRequest(ctx, in.Authorization)
	if err != nil {
		return purser.Granted{}, notFound(err, "authorization", in.Authorization)
	}
	making := purser.CreateRun{
		Project: in.Project, Agent: in.Agent, Budget: in.Budget, Expires: in.Expires, Threshold: in.Threshold, Providers: in.Providers, Purpose: in.Purpose, Reveal: in.Reveal,
	}
	life, err := o.checkRun(&making)
	if err == nil {
		err = fitsRequest(in, asked)
	}
	if err != nil {
		return purser.Granted{}, err
	}
	var code seal.Secret // the kept answer of the key does not have it
	out, err := once(ctx, o, by, "grant", request, func(t *store.Turn) (out purser.Granted, err error) {
		project, err := o.project(ctx, t.Queries, by, in.Project)
		if err != nil {
			return out, err
		}
		signed, err := o.signed(ctx, t, by, "grant", request, in.Act)
		if err != nil {
			return out, o.refuseAct(t, by, "grant", in.Authorization, err)
		}
		if err := decideRequest(ctx, t, in.Authorization); err != nil {
			return out, err
		}
		run, err := o.makeRun(ctx, t, by, project, making, life)
		if err != nil {
			return out, err
		}
		grant, made, err := o.grantIn(ctx, t, run, asked, in.Scope)
		if err != nil {
			return out, err
		}
		code = made
		r := recordOf(by, "grant", grant)
		r.Attach, r.Project, r.Run, r.Detail = signed, run.Project, run.ID, runDetail(making, run)
		r.Detail["client"], r.Detail["redirect"], r.Detail["resource"], r.Detail["scope"] = asked.Client, asked.Redirect, asked.Resource, in.Scope
		t.Record(r)
		if out.Run, err = o.showRun(ctx, t.Queries, t.Org, run.ID, t.Now); err != nil {
			return out, err
		}
		out.Grant, err = o.showGrant(ctx, t.Queries, t.Org, grant, t.Now)
		return out, err
	})
	if err == nil && !code.Empty() {
		out.Redirect = oauth.Answer(asked.Redirect, o.answerTo(asked, "code", code.Reveal()))
	}
	return out, err
}

// fitsRequest compares what was signed with what the client asked for.
func fitsRequest(in purser.GrantClient, asked db.OauthRequest) error {
	if in.Client != asked.Client || in.Redirect != asked.Redirect || in.Resource != asked.Resource {
		return purser.Errorf(purser.PlanChanged, "the client asked for something else than what is granted").WithHint("look at the request again")
	}
	if scope, err := oauth.ParseScope(in.Scope, strings.Fields(asked.Scope)); err != nil || scope != in.Scope {
		return purser.Errorf(purser.InvalidRequest, "the client asked for %q: its scope can be that or less", asked.Scope)
	}
	return nil
}

// decideRequest takes the one answer that a request gets.
func decideRequest(ctx context.Context, t *store.Turn, id string) error {
	n, err := t.DecideOAuthRequest(ctx, db.DecideOAuthRequestParams{ID: id, Now: store.Micro(t.Now)})
	if err == nil && n != 1 {
		err = purser.Errorf(purser.InvalidState, "the client's request was answered already, or waited too long").WithHint("connect the client again")
	}
	return err
}

// grantIn stores a grant and its code, of which only the hash stays.
func (o *Office) grantIn(ctx context.Context, t *store.Turn, run db.InsertRunParams, asked db.OauthRequest, scope string) (grant string, code seal.Secret, err error) {
	if grant, err = o.newID(prefixGrant); err != nil {
		return "", code, err
	}
	if code, err = seal.NewToken(seal.GrantCode, o.Random); err != nil {
		return "", code, err
	}
	now := store.Micro(t.Now)
	err = t.InsertGrant(ctx, db.InsertGrantParams{
		Organization: t.Org, ID: grant, Client: asked.Client, ClientName: asked.ClientName, Agent: run.Agent, Run: run.ID, Person: run.Person,
		Resource: asked.Resource, Scope: scope, CreatedAt: now,
	})
	if err == nil {
		err = t.InsertOAuthCode(ctx, db.InsertOAuthCodeParams{
			Organization: t.Org, Hash: hashOf(code), GrantID: grant, Client: asked.Client, Redirect: asked.Redirect, Challenge: asked.Challenge,
			ExpiresAt: store.Micro(t.Now.Add(codeLife)),
		})
	}
	if err == nil {
		err = t.UseOAuthClient(ctx, db.UseOAuthClientParams{ID: asked.Client, UsedAt: now})
	}
	return grant, code, err
}

// answerTo are the members of an authorization response (RFC 6749 4.1.2, RFC 9207).
func (o *Office) answerTo(asked db.OauthRequest, name, value string) map[string][]string {
	members := map[string][]string{name: {value}, "iss": {o.PublicURL()}}
	if asked.State != "" {
		members["state"] = []string{asked.State}
	}
	return members
}

// Decline tells a client no.
func (o *Office) Decline(ctx context.Context, by purser.Actor, in purser.AuthorizationRef) (purser.Declined, error) {
	asked, err := o.Store.Read().OAuthRequest(ctx, in.Authorization)
	if err != nil {
		return purser.Declined{}, notFound(err, "authorization", in.Authorization)
	}
	return once(ctx, o, by, "decline", in, func(t *store.Turn) (purser.Declined, error) {
		if err := decideRequest(ctx, t, in.Authorization); err != nil {
			return purser.Declined{}, err
		}
		r := recordOf(by, "decline", in.Authorization)
		r.Detail = map[string]string{"client": asked.Client}
		t.Record(r)
		return purser.Declined{Redirect: oauth.Answer(asked.Redirect, o.answerTo(asked, "error", oauth.AccessDenied))}, nil
	})
}

// ListGrants lists connected clients, the newest first.
func (o *Office) ListGrants(ctx context.Context, by purser.Actor, in purser.Page) (purser.List[purser.Grant], error) {
	limit, err := page(in, named(prefixGrant))
	if err != nil {
		return purser.List[purser.Grant]{}, err
	}
	before, q := in.Cursor, o.Store.Read()
	if before == "" {
		before = "~"
	}
	list := purser.List[purser.Grant]{Items: []purser.Grant{}}
	rows, err := q.Grants(ctx, db.GrantsParams{Organization: by.Organization, Before: before, RowLimit: limit + 1})
	if err != nil {
		return list, err
	}
	ids := cut(rows, limit, func(g db.OauthGrant) string { return g.ID }, func(g db.OauthGrant) string { return g.ID })
	list.NextCursor = ids.NextCursor
	for _, id := range ids.Items {
		g, err := o.showGrant(ctx, q, by.Organization, id, o.Now())
		if err != nil {
			return list, err
		}
		list.Items = append(list.Items, g)
	}
	return list, nil
}

func (o *Office) showGrant(ctx context.Context, q *db.Queries, org, id string, now time.Time) (purser.Grant, error) {
	g, err := q.Grant(ctx, db.GrantParams{Organization: org, ID: id})
	if err != nil {
		return purser.Grant{}, notFound(err, "grant", id)
	}
	run, err := q.Run(ctx, db.RunParams{Organization: org, ID: g.Run})
	if err != nil {
		return purser.Grant{}, notFound(err, "run", g.Run)
	}
	stops, err := o.stopsInForce(ctx, q, org)
	if err != nil {
		return purser.Grant{}, err
	}
	out := purser.Grant{
		ID: g.ID, Client: g.Client, ClientName: g.ClientName, Agent: g.Agent, Run: g.Run, Person: g.Person, Resource: g.Resource, Scope: g.Scope,
		State: runState(run, stops, now), CreatedAt: store.Time(g.CreatedAt), UsedAt: store.TimeOrNil(g.UsedAt), ExpiresAt: store.Time(run.ExpiresAt), RevokedAt: store.TimeOrNil(g.RevokedAt),
	}
	if g.RevokedAt != 0 && out.State == "active" {
		out.State = "revoked"
	}
	return out, nil
}

// RevokeGrant disconnects a client. Its run stays: what it bought goes on.
func (o *Office) RevokeGrant(ctx context.Context, by purser.Actor, in purser.GrantRef) (purser.Grant, error) {
	return once(ctx, o, by, "revoke_grant", in, func(t *store.Turn) (purser.Grant, error) {
		if _, err := t.Grant(ctx, db.GrantParams{Organization: t.Org, ID: in.Grant}); err != nil {
			return purser.Grant{}, notFound(err, "grant", in.Grant)
		}
		if err := revokeFamily(ctx, t, in.Grant); err != nil {
			return purser.Grant{}, err
		}
		t.Record(recordOf(by, "revoke_grant", in.Grant))
		return o.showGrant(ctx, t.Queries, t.Org, in.Grant, t.Now)
	})
}

// revokeFamily ends all that came of a grant.
func revokeFamily(ctx context.Context, t *store.Turn, grant string) error {
	now := store.Micro(t.Now)
	if _, err := t.RevokeGrant(ctx, db.RevokeGrantParams{Organization: t.Org, ID: grant, Now: now}); err != nil {
		return fmt.Errorf("revoking a grant: %w", err)
	}
	if _, err := t.RevokeTokensOfGrant(ctx, db.RevokeTokensOfGrantParams{Organization: t.Org, GrantID: grant, Now: now}); err != nil {
		return fmt.Errorf("revoking a grant's tokens: %w", err)
	}
	return nil
}

// grantsAt ends the grants in a stop's scope, in the stop's own turn: a resume
// revives nothing, so no refresh token may outlive the stop.
func (o *Office) grantsAt(ctx context.Context, t *store.Turn, out purser.StopInfo) error {
	_, err := t.RevokeGrantsAtStop(ctx, db.RevokeGrantsAtStopParams{Organization: t.Org, Scope: out.Scope, Target: out.Target, Now: store.Micro(t.Now)})
	if err != nil {
		return fmt.Errorf("revoking grants: %w", err)
	}
	return nil
}
