package office

import (
	"context"
	"fmt"
	"time"

	"github.com/purser-dev/purser"
	"github.com/purser-dev/purser/internal/audit"
	"github.com/purser-dev/purser/internal/catalog"
	"github.com/purser-dev/purser/internal/seal"
	"github.com/purser-dev/purser/internal/store"
	"github.com/purser-dev/purser/internal/store/db"
)

// The forms of a person's token.
const (
	bearerForm = "bearer"
	cookieForm = "cookie"
)

// seenEvery bounds how often the use of a session is written.
const seenEvery = time.Minute

// openSession signs a person in: always under a new random token, so that nobody
// can have fixed it before. What happened is on the record with it.
func (o *Office) openSession(ctx context.Context, t *store.Turn, by purser.Actor, person, name, how string, change func(*audit.Record)) (out purser.SignedIn, err error) {
	kind, form, life := seal.PersonToken, bearerForm, personTTL
	if by.Browser != "" {
		kind, form, life = seal.SessionToken, cookieForm, o.Defaults.SessionLife
	}
	token, err := seal.NewToken(kind, o.Random)
	if err != nil {
		return out, err
	}
	id, err := o.newID(purser.PrefixToken)
	if err != nil {
		return out, err
	}
	r := recordOf(purser.Actor{Kind: purser.Person, ID: person, Token: id}, how, person)
	if change != nil {
		change(&r)
	}
	t.Record(r)
	out = purser.SignedIn{Token: token.Reveal(), Organization: t.Org, Person: person, Name: name, ExpiresAt: t.Now.Add(life)}
	return out, t.InsertSession(ctx, db.InsertSessionParams{
		Organization: t.Org, ID: id, Hash: hashOf(token), Principal: person, Form: form, Label: catalog.Plain(by.Browser, 200),
		CreatedAt: store.Micro(t.Now), ExpiresAt: store.Micro(out.ExpiresAt), SeenAt: store.Micro(t.Now),
	})
}

// AuthenticateSession finds whose session a browser's cookie is. Any token that
// is not a cookie's is refused, and so is a session that nobody used for long.
func (o *Office) AuthenticateSession(ctx context.Context, cookie, source string) (purser.Actor, error) {
	if kind, err := seal.ParseToken(cookie); err != nil || kind != seal.SessionToken {
		o.countFailure(source, "session")
		return purser.Actor{}, noSession("the session is not known")
	}
	token, err := o.Store.Read().TokenByHash(ctx, hashOf(seal.NewSecret(cookie)))
	if missing(err) || err == nil && token.Form != cookieForm {
		o.countFailure(source, "session")
		return purser.Actor{}, noSession("the session is not known")
	}
	if err != nil {
		return purser.Actor{}, fmt.Errorf("looking up a session: %w", err)
	}
	now := o.Now()
	idle := now.Sub(store.Time(token.SeenAt))
	switch {
	case token.RevokedAt != 0:
		return purser.Actor{}, noSession("the session was ended")
	case store.Micro(now) >= token.ExpiresAt:
		return purser.Actor{}, noSession("the session has ended")
	case idle >= o.Defaults.SessionIdle:
		return purser.Actor{}, noSession("the session was not used for too long")
	}
	if idle >= seenEvery {
		// No turn: it decides nothing, and only makes the session live longer.
		err := o.Store.Write(ctx, func(q *db.Queries) error {
			return q.SawToken(ctx, db.SawTokenParams{Organization: token.Organization, ID: token.ID, SeenAt: store.Micro(now)})
		})
		if err != nil {
			return purser.Actor{}, o.explain(ctx, err)
		}
	}
	return o.personOf(ctx, purser.Actor{
		Kind: purser.Person, ID: token.Principal, Organization: token.Organization, Token: token.ID, Source: source, Session: true,
		ExpiresAt: store.TimeOrNil(token.ExpiresAt),
	})
}

func noSession(why string) *purser.Error {
	return purser.Errorf(purser.NotSignedIn, "%s", why).WithHint("sign in again")
}

// ListSessions lists where a person is signed in.
func (o *Office) ListSessions(ctx context.Context, by purser.Actor, _ purser.None) (purser.List[purser.Session], error) {
	out := purser.List[purser.Session]{Items: []purser.Session{}}
	rows, err := o.Store.Read().SessionsOfPerson(ctx, db.SessionsOfPersonParams{Organization: by.Organization, Principal: by.ID, Now: store.Micro(o.Now())})
	for _, t := range rows {
		if t.Form == cookieForm && o.Now().Sub(store.Time(t.SeenAt)) >= o.Defaults.SessionIdle {
			continue
		}
		out.Items = append(out.Items, showSession(by, t))
	}
	return out, err
}

func showSession(by purser.Actor, t db.Token) purser.Session {
	kind := "token"
	if t.Form == cookieForm {
		kind = "browser"
	}
	return purser.Session{
		ID: t.ID, Person: t.Principal, Kind: kind, Label: t.Label, Current: t.ID == by.Token,
		CreatedAt: store.Time(t.CreatedAt), SeenAt: store.TimeOrNil(t.SeenAt), ExpiresAt: store.Time(t.ExpiresAt),
	}
}

// RevokeSession ends a session of one's own; an owner ends anybody's.
func (o *Office) RevokeSession(ctx context.Context, by purser.Actor, in purser.SessionRef) (purser.Session, error) {
	return once(ctx, o, by, "revoke_session", in, func(t *store.Turn) (purser.Session, error) {
		token, err := t.Token(ctx, db.TokenParams{Organization: t.Org, ID: in.Session})
		if err == nil && (token.Kind != string(purser.Person) || token.Principal != by.ID && by.Role != purser.Owner) {
			return purser.Session{}, o.refuseAct(t, by, "revoke_session", in.Session, purser.Errorf(purser.NotFound, "no session is called %q here", in.Session))
		}
		if err != nil {
			return purser.Session{}, notFound(err, "session", in.Session)
		}
		if _, err := t.RevokeToken(ctx, db.RevokeTokenParams{Organization: t.Org, ID: token.ID, Now: store.Micro(t.Now)}); err != nil {
			return purser.Session{}, err
		}
		t.Record(recordOf(by, "revoke_session", token.ID))
		return showSession(by, token), nil
	})
}
