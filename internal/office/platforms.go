package office

import (
	"context"
	"slices"

	"github.com/purser-dev/purser"
	"github.com/purser-dev/purser/internal/seal"
	"github.com/purser-dev/purser/internal/store"
	"github.com/purser-dev/purser/internal/store/db"
)

// CreatePlatform registers a program that meters what agents spend. Its token
// spends for any run of the organization, within that run's budgets. Of a name there is
// one that lives, because that is what people revoke it by.
func (o *Office) CreatePlatform(ctx context.Context, by purser.Actor, in purser.CreatePlatform) (purser.PlatformInfo, error) {
	if !nameForm.MatchString(in.Name) {
		return purser.PlatformInfo{}, purser.Errorf(purser.InvalidRequest, "%q is not a platform's name", in.Name)
	}
	var token seal.Secret
	out, err := once(ctx, o, by, "create_platform", in, func(t *store.Turn) (purser.PlatformInfo, error) {
		all, err := t.Platforms(ctx, t.Org)
		if err != nil {
			return purser.PlatformInfo{}, err
		}
		if slices.ContainsFunc(all, func(p db.Platform) bool { return p.Name == in.Name && p.RevokedAt == 0 }) { // before anybody signs
			return purser.PlatformInfo{}, purser.Errorf(purser.AlreadyExists, "a platform is called %q already", in.Name).
				WithHint("take another name, or end that one: purser platform revoke %s", in.Name)
		}
		signed, err := o.signed(ctx, t, by, "create_platform", in, in.Act)
		if err != nil {
			return purser.PlatformInfo{}, o.refuseAct(t, by, "create_platform", in.Name, err)
		}
		id, err := o.newID(purser.PrefixPlatform)
		if err != nil {
			return purser.PlatformInfo{}, err
		}
		if err := t.InsertPlatform(ctx, db.InsertPlatformParams{Organization: t.Org, ID: id, Name: in.Name, Person: by.ID, CreatedAt: store.Micro(t.Now)}); err != nil {
			return purser.PlatformInfo{}, err
		}
		if token, err = seal.NewToken(seal.PlatformToken, o.Random); err != nil {
			return purser.PlatformInfo{}, err
		}
		tokenID, err := o.newID(purser.PrefixToken)
		if err != nil {
			return purser.PlatformInfo{}, err
		}
		r := recordOf(by, "create_platform", id)
		r.Attach, r.Detail = signed, map[string]string{"name": in.Name}
		t.Record(r)
		return purser.PlatformInfo{ID: id, Name: in.Name, CreatedAt: t.Now}, t.InsertToken(ctx, db.InsertTokenParams{
			Organization: t.Org, ID: tokenID, Hash: hashOf(token), Kind: string(purser.Platform), Principal: id, CreatedAt: store.Micro(t.Now), ExpiresAt: store.Micro(t.Now.AddDate(100, 0, 0)),
		})
	})
	if err == nil {
		out.Token = token.Reveal() // a replay has none: it is shown once
	}
	return out, err
}

// ListPlatforms lists registered platforms.
func (o *Office) ListPlatforms(ctx context.Context, by purser.Actor, _ purser.None) (purser.List[purser.PlatformInfo], error) {
	out := purser.List[purser.PlatformInfo]{Items: []purser.PlatformInfo{}}
	rows, err := o.Store.Read().Platforms(ctx, by.Organization)
	for _, p := range rows {
		out.Items = append(out.Items, showPlatform(p))
	}
	return out, err
}

func showPlatform(p db.Platform) purser.PlatformInfo {
	return purser.PlatformInfo{ID: p.ID, Name: p.Name, CreatedAt: store.Time(p.CreatedAt), RevokedAt: store.TimeOrNil(p.RevokedAt)}
}

// RevokePlatform ends a platform and its token; what it holds stays held until it
// expires or a person resolves it.
func (o *Office) RevokePlatform(ctx context.Context, by purser.Actor, in purser.PlatformRef) (purser.PlatformInfo, error) {
	return once(ctx, o, by, "revoke_platform", in, func(t *store.Turn) (purser.PlatformInfo, error) {
		if _, err := t.RevokePlatform(ctx, db.RevokePlatformParams{Organization: t.Org, ID: in.Platform, Now: store.Micro(t.Now)}); err != nil {
			return purser.PlatformInfo{}, err
		}
		p, err := t.Platform(ctx, db.PlatformParams{Organization: t.Org, ID: in.Platform})
		if err != nil {
			return purser.PlatformInfo{}, notFound(err, "platform", in.Platform)
		}
		t.Record(recordOf(by, "revoke_platform", in.Platform))
		_, err = t.RevokeTokensOfPrincipal(ctx, db.RevokeTokensOfPrincipalParams{Organization: t.Org, Principal: p.ID, Now: store.Micro(t.Now)})
		return showPlatform(p), err
	})
}
