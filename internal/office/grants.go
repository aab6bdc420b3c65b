package office

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/purser-dev/purser"
	"github.com/purser-dev/purser/internal/audit"
	"github.com/purser-dev/purser/internal/guard"
	"github.com/purser-dev/purser/internal/oauth"
	"github.com/purser-dev/purser/internal/seal"
	"github.com/purser-dev/purser/internal/store"
	"github.com/purser-dev/purser/internal/store/db"
)

// Presented is what a client shows at the token endpoint to say who it is.
type Presented struct {
	Client string
	Method string // how: none, client_secret_basic, client_secret_post
	Secret seal.Secret
}

// Redemption is a client's code, brought for tokens.
type Redemption struct {
	Presented
	Code     string
	Redirect string
	Verifier string // of PKCE
	Resource string
}

// Refreshment is a client's refresh token, brought for new tokens.
type Refreshment struct {
	Presented
	Refresh  string
	Scope    string
	Resource string
}

// Issued are a client's tokens. The access token is the agent's: it carries the
// run, and dies with it.
type Issued struct {
	Access    seal.Secret
	Refresh   seal.Secret
	ExpiresIn time.Duration
	Scope     string
}

// RedeemCode gives a client its tokens for a code. A code is tried once: shown by
// another client, for another address or with another verifier it is spent, and
// shown twice it takes everything back that it gave.
func (o *Office) RedeemCode(ctx context.Context, by purser.Actor, in Redemption) (out Issued, err error) {
	if err := o.presents(ctx, by, in.Presented); err != nil {
		return out, err
	}
	code, err := o.Store.Read().OAuthCode(ctx, hashOf(seal.NewSecret(in.Code)))
	if missing(err) {
		o.CountRefusal(by.Source, "redeem_code")
		return out, invalidGrant("the code is not known")
	}
	if err != nil {
		return out, fmt.Errorf("looking up a code: %w", err)
	}
	err = o.turn(ctx, code.Organization, func(t *store.Turn) error {
		r := clientRecord(by, "redeem_code", code.GrantID, in.Client)
		used, err := t.UseOAuthCode(ctx, db.UseOAuthCodeParams{Organization: t.Org, Hash: code.Hash, Now: store.Micro(t.Now)})
		if err != nil {
			return fmt.Errorf("consuming a code: %w", err)
		}
		if used != 1 {
			return o.refuseCode(ctx, t, r, code.Hash)
		}
		if no := wrongCode(in, code); no != nil {
			return o.refuse(t, r, no)
		}
		out, err = o.issueOn(ctx, t, r, code.GrantID, in.Resource, "")
		return err
	})
	return out, err
}

// refuseCode tells a replay from a code that was too old, as it is in this turn.
func (o *Office) refuseCode(ctx context.Context, t *store.Turn, r audit.Record, hash string) error {
	code, err := t.OAuthCode(ctx, hash)
	if err != nil {
		return err
	}
	if code.UsedAt == 0 {
		return o.refuse(t, r, invalidGrant("the code is over two minutes old"))
	}
	if err := revokeFamily(ctx, t, code.GrantID); err != nil {
		return err
	}
	r.Detail["revoked"] = code.GrantID
	return o.refuse(t, r, invalidGrant("the code was used before; what it gave is revoked"))
}

func wrongCode(in Redemption, code db.OauthCode) *purser.Error {
	switch {
	case in.Client != code.Client:
		return invalidGrant("the code was made for another client")
	case in.Redirect != code.Redirect:
		return invalidGrant("redirect_uri is not the one of the request")
	case !oauth.Verifies(in.Verifier, code.Challenge):
		return invalidGrant("code_verifier does not fit the challenge")
	}
	return nil
}

// clientRecord begins a record of what a client does that shows no token yet.
func clientRecord(by purser.Actor, action, grant, client string) audit.Record {
	r := recordOf(system, action, grant)
	r.Detail = map[string]string{"source": by.Source, "client": client[:min(len(client), 512)]}
	return r
}

// presents checks who a client says it is. A client without a secret cannot prove
// it; PKCE and the redirect tie a code to the one that asked.
func (o *Office) presents(ctx context.Context, by purser.Actor, in Presented) error {
	row, err := o.Store.Read().OAuthClient(ctx, in.Client)
	switch {
	case err != nil && !missing(err):
		return fmt.Errorf("looking up a client: %w", err)
	case err != nil:
		o.CountRefusal(by.Source, "client")
		return invalidClient("the client is not known")
	case row.Method != in.Method:
		o.CountRefusal(by.Source, "client")
		return invalidClient("the client authenticates by %s", row.Method)
	case in.Method != oauth.MethodNone && !seal.NewSecret(row.SecretHash).Equal(seal.NewSecret(hashOf(in.Secret))):
		o.CountRefusal(by.Source, "client")
		return invalidClient("the client's secret is wrong")
	}
	return nil
}

// issueOn makes an access and a refresh token of a grant that still lives, as a
// run's token lives: not stopped, not over, not revoked.
func (o *Office) issueOn(ctx context.Context, t *store.Turn, r audit.Record, grant, resource, scope string) (out Issued, err error) {
	g, err := t.Grant(ctx, db.GrantParams{Organization: t.Org, ID: grant})
	if err != nil {
		return out, err
	}
	run, err := t.Run(ctx, db.RunParams{Organization: t.Org, ID: g.Run})
	if err != nil {
		return out, err
	}
	r.Run, r.Project = run.ID, run.Project
	no, err := o.dead(ctx, t, run, g)
	if err != nil {
		return out, err
	}
	if no == nil && resource != "" && strings.TrimSuffix(resource, "/") != g.Resource {
		no = refused(purser.Forbidden, oauth.Errorf(oauth.InvalidTarget, "the token is for %s", g.Resource))
	}
	if no == nil {
		var e *oauth.Error
		if out.Scope, e = narrower(scope, g.Scope); e != nil {
			no = refused(purser.Forbidden, e)
		}
	}
	if no != nil {
		return out, o.refuse(t, r, no)
	}
	until := store.Time(run.ExpiresAt)
	if soon := t.Now.Add(accessLife); soon.Before(until) {
		until = soon
	}
	id, err := o.sign(&out, g, run, t.Now, until)
	if err != nil {
		return out, err
	}
	if out.Refresh, err = seal.NewToken(seal.RefreshToken, o.Random); err != nil {
		return out, err
	}
	err = t.InsertGrantedToken(ctx, db.InsertGrantedTokenParams{
		Organization: t.Org, ID: id, Hash: hashOf(out.Access), Principal: g.Agent, Run: run.ID, GrantID: g.ID, CreatedAt: store.Micro(t.Now), ExpiresAt: store.Micro(until),
	})
	if err == nil {
		err = t.InsertRefresh(ctx, db.InsertRefreshParams{Organization: t.Org, Hash: hashOf(out.Refresh), GrantID: g.ID, CreatedAt: store.Micro(t.Now)})
	}
	if err == nil {
		err = t.UseGrant(ctx, db.UseGrantParams{Organization: t.Org, ID: g.ID, UsedAt: store.Micro(t.Now)})
	}
	if err != nil {
		return out, fmt.Errorf("storing tokens: %w", err)
	}
	r.Actor = audit.Actor{Kind: string(purser.Agent), ID: g.Agent, Key: id, DelegatedBy: g.Person}
	r.Detail["scope"], r.Detail["resource"] = out.Scope, g.Resource
	t.Record(r)
	return out, nil
}

// narrower is a scope within a grant's: asking for none is all of it.
func narrower(asked, granted string) (string, *oauth.Error) {
	for _, s := range strings.Fields(asked) {
		if !strings.Contains(" "+granted+" ", " "+s+" ") {
			return "", oauth.Errorf(oauth.InvalidScope, "the person granted: %s", granted)
		}
	}
	scope, err := oauth.ParseScope(asked, strings.Fields(granted))
	if err != nil {
		return "", oauth.Errorf(oauth.InvalidScope, "the person granted: %s", granted)
	}
	return scope, nil
}

// dead tells why a grant gives nothing more.
func (o *Office) dead(ctx context.Context, t *store.Turn, run db.Run, g db.OauthGrant) (*purser.Error, error) {
	stops, err := o.stopsFor(ctx, t.Queries, t.Org)
	if err != nil {
		return nil, err
	}
	path := guard.Path{Organization: t.Org, Project: run.Project, Agent: g.Agent, Run: run.ID}
	for _, s := range stops {
		if s.Scope != "provider" && path.Covered(s.Scope, s.Target) {
			no := stoppedBy(s)
			return no.WithCause(oauth.Errorf(oauth.InvalidGrant, "stopped: %s", no.Detail)), nil
		}
	}
	switch {
	case run.EndedAt != 0 || store.Micro(t.Now) >= run.ExpiresAt:
		return refused(purser.RunEnded, oauth.Errorf(oauth.InvalidGrant, "run_ended: run %s is over", run.ID)), nil
	case g.RevokedAt != 0:
		return invalidGrant("the client was disconnected"), nil
	}
	return nil, nil
}

// sign writes the access token.
func (o *Office) sign(out *Issued, g db.OauthGrant, run db.Run, now, until time.Time) (id string, err error) {
	if id, err = o.newID(purser.PrefixToken); err != nil {
		return "", err
	}
	text, err := o.Access.Sign(oauth.Claims{
		Issuer: o.PublicURL(), Subject: g.Agent, Audience: g.Resource, Client: g.Client, ID: id, IssuedAt: now.Unix(), ExpiresAt: until.Unix(),
		Scope: out.Scope, Run: run.ID, Organization: g.Organization,
	})
	out.Access, out.ExpiresIn = seal.NewSecret(text), until.Sub(now).Truncate(time.Second)
	return id, err
}

// RefreshGrant gives new tokens for a refresh token, which is spent by that. One
// that comes twice was copied: the whole family ends, whoever holds it (OAuth 2.1
// section 4.3.1).
func (o *Office) RefreshGrant(ctx context.Context, by purser.Actor, in Refreshment) (out Issued, err error) {
	if err := o.presents(ctx, by, in.Presented); err != nil {
		return out, err
	}
	refresh, err := o.Store.Read().Refresh(ctx, hashOf(seal.NewSecret(in.Refresh)))
	if missing(err) {
		o.CountRefusal(by.Source, "refresh_grant")
		return out, invalidGrant("the refresh token is not known")
	}
	if err != nil {
		return out, fmt.Errorf("looking up a refresh token: %w", err)
	}
	err = o.turn(ctx, refresh.Organization, func(t *store.Turn) error {
		r := clientRecord(by, "refresh_grant", refresh.GrantID, in.Client)
		g, err := t.Grant(ctx, db.GrantParams{Organization: t.Org, ID: refresh.GrantID})
		if err != nil {
			return err
		}
		used, err := t.UseRefresh(ctx, db.UseRefreshParams{Organization: t.Org, Hash: refresh.Hash, Now: store.Micro(t.Now)})
		if err != nil {
			return fmt.Errorf("consuming a refresh token: %w", err)
		}
		if used != 1 || g.Client != in.Client {
			no := invalidGrant("the refresh token was used before; the client is disconnected")
			if used == 1 {
				no = invalidGrant("the refresh token was made for another client, which is disconnected")
			}
			if err := revokeFamily(ctx, t, g.ID); err != nil {
				return err
			}
			r.Detail["revoked"] = g.ID
			return o.refuse(t, r, no)
		}
		out, err = o.issueOn(ctx, t, r, g.ID, in.Resource, in.Scope)
		return err
	})
	return out, err
}

// family finds the grant of an access or a refresh token.
func (o *Office) family(ctx context.Context, text string) (grant db.OauthGrant, access db.Token, err error) {
	q, hash := o.Store.Read(), hashOf(seal.NewSecret(text))
	org, id := "", ""
	if access, err = q.TokenByHash(ctx, hash); err == nil {
		org, id = access.Organization, access.GrantID
	} else if missing(err) {
		var refresh db.OauthRefresh
		refresh, err = q.Refresh(ctx, hash)
		org, id = refresh.Organization, refresh.GrantID
	}
	if err != nil {
		return grant, access, err
	}
	grant, err = q.Grant(ctx, db.GrantParams{Organization: org, ID: id})
	return grant, access, err
}

// RevokeToken lets a client give its tokens back (RFC 7009): either one ends the
// whole grant. A token that is not known is no error.
func (o *Office) RevokeToken(ctx context.Context, by purser.Actor, in Presented, text string) error {
	if err := o.presents(ctx, by, in); err != nil {
		return err
	}
	g, _, err := o.family(ctx, text)
	if missing(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("looking up a token: %w", err)
	}
	return o.turn(ctx, g.Organization, func(t *store.Turn) error {
		r := clientRecord(by, "revoke_token", g.ID, in.Client)
		if g.Client != in.Client {
			return o.refuse(t, r, invalidClient("the token was made for another client"))
		}
		r.Actor, r.Run = audit.Actor{Kind: string(purser.Agent), ID: g.Agent, DelegatedBy: g.Person}, g.Run
		t.Record(r)
		return revokeFamily(ctx, t, g.ID)
	})
}

// Introspected says whether a token counts now, and what for (RFC 7662).
type Introspected struct {
	Active       bool   `json:"active"`
	Scope        string `json:"scope,omitempty"`
	Client       string `json:"client_id,omitempty"`
	Type         string `json:"token_type,omitempty"`
	Subject      string `json:"sub,omitempty"`
	Audience     string `json:"aud,omitempty"`
	Issuer       string `json:"iss,omitempty"`
	ID           string `json:"jti,omitempty"`
	ExpiresAt    int64  `json:"exp,omitempty"` // seconds
	IssuedAt     int64  `json:"iat,omitempty"`
	Run          string `json:"run,omitempty"`
	Organization string `json:"organization,omitempty"`
	Code         string `json:"code,omitempty"` // why it does not count: stopped, run_ended
}

// Introspect tells a resource server about an access token. A person asks about
// the tokens of the organization, an agent about its own.
func (o *Office) Introspect(ctx context.Context, by purser.Actor, text string) (Introspected, error) {
	if by.Kind != purser.Person && by.Kind != purser.Agent {
		return Introspected{}, purser.Errorf(purser.Forbidden, "this credential (%s) may not ask about tokens", by.Kind)
	}
	claims, token, err := o.accessToken(ctx, text)
	if purser.CodeOf(err) == purser.NotSignedIn {
		return Introspected{}, nil
	}
	if err != nil {
		return Introspected{}, err
	}
	if token.Organization != by.Organization || by.Kind == purser.Agent && token.Principal != by.ID {
		return Introspected{}, nil // another's: nothing is said of it
	}
	_, err = o.agent(ctx, actorOf(token, claims, ""), token)
	switch code := purser.CodeOf(err); {
	case err == nil:
	case code == purser.Stopped || code == purser.RunEnded:
		return Introspected{Code: string(code)}, nil
	case code == purser.NotSignedIn:
		return Introspected{}, nil
	default:
		return Introspected{}, err
	}
	return Introspected{
		Active: true, Scope: claims.Scope, Client: claims.Client, Type: "Bearer", Subject: claims.Subject, Audience: claims.Audience, Issuer: claims.Issuer, ID: claims.ID,
		ExpiresAt: claims.ExpiresAt, IssuedAt: claims.IssuedAt, Run: claims.Run, Organization: claims.Organization,
	}, nil
}

// accessToken finds the row of an access token that this server signed.
func (o *Office) accessToken(ctx context.Context, text string) (oauth.Claims, db.Token, error) {
	if o.Access == nil {
		return oauth.Claims{}, db.Token{}, notSignedIn("the credential has no known form")
	}
	claims, err := o.Access.Verify(text)
	if err != nil || claims.Issuer != o.PublicURL() {
		return claims, db.Token{}, notSignedIn("the access token was not signed here")
	}
	token, err := o.Store.Read().TokenByHash(ctx, hashOf(seal.NewSecret(text)))
	if missing(err) || err == nil && token.ID != claims.ID {
		return claims, token, notSignedIn("the token is not known")
	}
	if err != nil {
		return claims, token, fmt.Errorf("looking up a token: %w", err)
	}
	// A run that was extended lengthens its tokens; what was signed has its own end.
	token.ExpiresAt = min(token.ExpiresAt, store.Micro(time.Unix(claims.ExpiresAt, 0)))
	return claims, token, nil
}

// granted is the agent that holds an access token.
func (o *Office) granted(ctx context.Context, text, source string) (purser.Actor, error) {
	claims, token, err := o.accessToken(ctx, text)
	if err != nil {
		if purser.CodeOf(err) == purser.NotSignedIn {
			o.countFailure(source, "authenticate")
		}
		return purser.Actor{}, err
	}
	return o.agent(ctx, actorOf(token, claims, source), token)
}

func actorOf(token db.Token, c oauth.Claims, source string) purser.Actor {
	return purser.Actor{
		Kind: purser.Agent, ID: token.Principal, Organization: token.Organization, Run: token.Run, Token: token.ID, Source: source,
		ExpiresAt: store.TimeOrNil(token.ExpiresAt), Scope: c.Scope, Audience: c.Audience,
	}
}

// MeantFor refuses a token that was made for another door than the one at path,
// and puts it on the record: a server that got it passes it on (RFC 8707).
func (o *Office) MeantFor(ctx context.Context, by purser.Actor, path string) error {
	if by.Audience == "" || oauth.Covers(by.Audience, o.PublicURL(), path) {
		return nil
	}
	no := notSignedIn("the token was made for another resource")
	if by.Ended != nil {
		return o.turnedAway(&by, no)
	}
	return o.turn(ctx, by.Organization, func(t *store.Turn) error {
		r := recordOf(by, "authenticate", "")
		r.Detail = map[string]string{"resource": by.Audience, "source": by.Source}
		return o.refuse(t, r, no)
	})
}
