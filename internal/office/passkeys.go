package office

import (
	"context"
	"encoding/base64"
	"net/url"
	"strings"
	"time"

	"github.com/purser-dev/purser"
	"github.com/purser-dev/purser/internal/act"
	"github.com/purser-dev/purser/internal/audit"
	"github.com/purser-dev/purser/internal/catalog"
	"github.com/purser-dev/purser/internal/identity"
	"github.com/purser-dev/purser/internal/store"
	"github.com/purser-dev/purser/internal/store/db"
)

// rpName is the installation's value that holds the host name to which passkeys
// are bound. It is written with the first one and never again (RULES 23).
const rpName = "rp_id"

// party is the server as passkeys know it.
func (o *Office) party(ctx context.Context, q *db.Queries) (identity.Party, error) {
	p := identity.Party{Origin: o.PublicURL()}
	id, err := q.InstallationValue(ctx, rpName)
	if missing(err) {
		id, err = identity.HostOf(p.Origin)
	}
	p.ID = id
	return p, err
}

// CheckParty says what is wrong with the server's address for the passkeys that
// there are; nil while there is none.
func (o *Office) CheckParty(ctx context.Context) error {
	if _, err := o.Store.Read().InstallationValue(ctx, rpName); err != nil {
		if missing(err) {
			return nil
		}
		return err
	}
	p, err := o.party(ctx, o.Store.Read())
	if err != nil {
		return err
	}
	return p.Check()
}

// askAnyPasskey asks for an assertion by whichever passkey the browser finds.
func (o *Office) askAnyPasskey(ctx context.Context) (purser.Challenge, error) {
	p, err := o.party(ctx, o.Store.Read())
	if err == nil {
		err = p.Check()
	}
	if err != nil {
		return purser.Challenge{}, err
	}
	challenge, notAfter, err := o.fresh("sign_in", "")
	return purser.Challenge{Random: base64.RawURLEncoding.EncodeToString(challenge), NotAfter: notAfter, RP: p.ID}, err
}

// signInByPasskey opens a session for whose passkey answered.
func (o *Office) signInByPasskey(ctx context.Context, by purser.Actor, in purser.Assertion) (out purser.SignedIn, err error) {
	defer func() {
		if purser.CodeOf(err) == purser.WrongSignature {
			o.countFailure(by.Source, "sign_in")
		}
	}()
	wrong := func(why string) error {
		return purser.Errorf(purser.WrongSignature, "this passkey signs nobody in: %s", why).WithHint("use another passkey, or a recovery code")
	}
	challenge, notAfter, err := o.isFresh(in.Challenge, "sign_in", "")
	if err != nil {
		return out, err
	}
	key, err := o.Store.Read().PasskeyByCredential(ctx, in.Credential)
	if missing(err) {
		return out, wrong("it is not known here")
	}
	if err != nil {
		return out, err
	}
	signature, err := assertionOf(purser.Signature{Signature: in.Signature, AuthenticatorData: in.AuthenticatorData, ClientData: in.ClientData}, key)
	if err != nil {
		return out, wrong("its answer cannot be read")
	}
	said := act.Assertion{AuthenticatorData: signature.Passkey.AuthenticatorData, ClientData: signature.Passkey.ClientData, Signature: signature.Signature}
	counter, err := said.Check(challenge, o.PublicURL(), signature.PublicKey)
	if err != nil {
		return out, wrong(err.Error())
	}
	err = o.turn(ctx, key.Organization, func(t *store.Turn) error {
		key, err := t.PasskeyByCredential(ctx, in.Credential) // as it is in this turn
		if err != nil {
			return err
		}
		person, err := t.Person(ctx, db.PersonParams{Organization: t.Org, ID: key.Person})
		switch {
		case err != nil:
			return err
		case key.RevokedAt != 0 || person.RemovedAt != 0:
			return wrong("it was revoked")
		case !counterGrew(key, counter):
			return wrong("it counts backwards, as a copy of it would")
		}
		if err := useUp(ctx, t, challenge, "sign_in", person.ID, notAfter); err != nil {
			return err
		}
		if err := o.usedPasskey(ctx, t, key.Credential, counter); err != nil {
			return err
		}
		out, err = o.openSession(ctx, t, by, person.ID, person.Name, "sign_in", func(r *audit.Record) { r.Detail = map[string]string{"passkey": key.ID} })
		return err
	})
	return out, err
}

// counterGrew is the check against copies of an authenticator (WebAuthn Level 3,
// section 7.2): one that counts never repeats or goes back.
func counterGrew(key db.Passkey, counter uint32) bool {
	return counter == 0 && key.Counter == 0 || int64(counter) > key.Counter
}

func (o *Office) usedPasskey(ctx context.Context, t *store.Turn, credential string, counter uint32) error {
	key, err := t.PasskeyByCredential(ctx, credential)
	if err != nil {
		return err
	}
	return t.UsePasskey(ctx, db.UsePasskeyParams{Organization: key.Organization, ID: key.ID, Counter: int64(counter), Now: store.Micro(t.Now)})
}

// AskPasskey tells what a browser needs to make the passkey of somebody who holds
// a code. A code that is not good is refused here already.
func (o *Office) AskPasskey(ctx context.Context, by purser.Actor, in purser.AskPasskey) (out purser.AskedPasskey, err error) {
	if err := o.throttle(by.Source); err != nil {
		return out, err
	}
	user := identity.User{Name: normalEmail(in.Email), Show: catalog.Plain(in.Name, 100)}
	q, now := o.Store.Read(), store.Micro(o.Now())
	wrong := func(what, hint string) error {
		o.countFailure(by.Source, in.For)
		return purser.Errorf(purser.WrongSignature, "%s is wrong, was used, or its time is over", what).WithHint("%s", hint)
	}
	switch in.For {
	case "set_up":
		n, err := q.OpenSetupCode(ctx, db.OpenSetupCodeParams{Hash: textHash(in.Code), Now: now})
		if err != nil || n == 0 {
			return out, orWrong(err, wrong("the set-up link", "start the server again: it prints a new link while nobody has signed in"))
		}
		out.Role = purser.Owner
	case "accept_invitation":
		i, err := o.openInvitation(ctx, q, in.Code)
		if err != nil {
			return out, orWrong(err, wrong("the invitation", "ask the person who invited you for a new link"))
		}
		out.Role = purser.Role(i.Role)
	case "recover_access":
		person, _, err := o.recoverable(ctx, q, in.Email, in.Code)
		if err != nil {
			return out, orWrong(err, wrong("the e-mail address or the recovery code", "use another of your recovery codes, or ask an owner for a link"))
		}
		user.ID, user.Show = person.ID, person.Name
	default:
		return out, purser.Errorf(purser.InvalidRequest, "for: set_up, accept_invitation or recover")
	}
	if user.ID == "" {
		if user.ID, err = o.newID(purser.PrefixPerson); err != nil {
			return out, err
		}
	}
	if user.Name == "" {
		user.Name = "Purser"
	}
	return o.askPasskey(ctx, q, out, user, in.For, in.Code, nil)
}

// orWrong is a fault of ours, or the refusal.
func orWrong(err, wrong error) error {
	var coded *purser.Error
	if err == nil || missing(err) || asCoded(err, &coded) && coded.Code == purser.WrongSignature {
		return wrong
	}
	return err
}

func (o *Office) askPasskey(ctx context.Context, q *db.Queries, out purser.AskedPasskey, user identity.User, purpose, code string, known []string) (purser.AskedPasskey, error) {
	p, err := o.party(ctx, q)
	if err != nil {
		return out, err
	}
	challenge, notAfter, err := o.fresh(purpose, user.ID+" "+code)
	if err != nil {
		return out, err
	}
	out.Person, out.Challenge, out.NotAfter = user.ID, base64.RawURLEncoding.EncodeToString(challenge), notAfter
	out.Options, err = p.Creation(challenge, user, known)
	return out, err
}

// AskOwnPasskey is the same for a person who is signed in and wants one more.
func (o *Office) AskOwnPasskey(ctx context.Context, by purser.Actor, _ purser.None) (purser.AskedPasskey, error) {
	q := o.Store.Read()
	person, err := q.Person(ctx, db.PersonParams{Organization: by.Organization, ID: by.ID})
	if err != nil {
		return purser.AskedPasskey{}, notFound(err, "person", by.ID)
	}
	keys, err := q.PasskeysOfPerson(ctx, db.PasskeysOfPersonParams{Organization: by.Organization, Person: by.ID})
	if err != nil {
		return purser.AskedPasskey{}, err
	}
	var known []string
	for _, k := range keys {
		known = append(known, k.Credential)
	}
	user := identity.User{ID: person.ID, Name: person.Email, Show: person.Name}
	return o.askPasskey(ctx, q, purser.AskedPasskey{Role: by.Role}, user, "add_passkey", "", known)
}

// madePasskey is a new passkey that was checked and is not kept yet.
type madePasskey struct {
	identity.Passkey
	id, name, rp, purpose string
	challenge             []byte
	notAfter              int64
}

// madePasskey checks what a browser made for a purpose.
func (o *Office) madePasskey(ctx context.Context, by purser.Actor, in purser.NewPasskey, purpose, code string) (*madePasskey, error) {
	challenge, notAfter, err := o.isFresh(in.Challenge, purpose, in.Person+" "+code)
	if err != nil {
		o.countFailure(by.Source, purpose)
		return nil, err
	}
	p, err := o.party(ctx, o.Store.Read())
	if err != nil {
		return nil, err
	}
	m := &madePasskey{name: strings.TrimSpace(catalog.Plain(in.Name, 60)), rp: p.ID, purpose: purpose, challenge: challenge, notAfter: notAfter}
	if m.name == "" {
		m.name = "passkey"
	}
	if m.id, err = o.newID(purser.PrefixPasskey); err != nil {
		return nil, err
	}
	if m.Passkey, err = p.Made(challenge, identity.User{ID: in.Person}, in.Credential, in.Attestation, in.ClientData); err != nil {
		o.countFailure(by.Source, purpose)
	}
	return m, err
}

// detail puts a new key on the record: who verifies acts later can see whose it is.
func (m *madePasskey) detail() map[string]string {
	return map[string]string{"passkey": m.id, "passkey_name": m.name, "public_key": base64.StdEncoding.EncodeToString(m.PublicKey)}
}

// keepPasskey stores a checked passkey, binds the installation to its relying
// party if it is the first of all, and gives the person recovery codes if it is
// the first of theirs.
func (o *Office) keepPasskey(ctx context.Context, t *store.Turn, org, person string, m *madePasskey) (codes []string, err error) {
	if err := useUp(ctx, t, m.challenge, m.purpose, person, m.notAfter); err != nil {
		return nil, err
	}
	if _, err := t.SetInstallationValue(ctx, db.SetInstallationValueParams{Name: rpName, Value: m.rp}); err != nil {
		return nil, err
	}
	if fixed, err := t.InstallationValue(ctx, rpName); err != nil || fixed != m.rp {
		return nil, orWrong(err, purser.Errorf(purser.InvalidState, "passkeys are bound to %s, and this one was made for %s", fixed, m.rp))
	}
	synced := int64(0)
	if m.Synced {
		synced = 1
	}
	n, err := t.InsertPasskey(ctx, db.InsertPasskeyParams{
		Organization: org, ID: m.id, Person: person, Name: m.name, Credential: m.Credential, PublicKey: base64.RawURLEncoding.EncodeToString(m.PublicKey),
		Counter: int64(m.Counter), Synced: synced, CreatedAt: store.Micro(t.Now),
	})
	if err != nil {
		return nil, err
	}
	if n != 1 {
		return nil, purser.Errorf(purser.AlreadyExists, "this passkey is known already")
	}
	left, err := t.CountRecoveryCodes(ctx, db.CountRecoveryCodesParams{Organization: org, Person: person})
	if err != nil || left > 0 {
		return nil, err
	}
	return o.recoveryCodes(ctx, t, org, person)
}

// AddPasskey adds one to a person's own, or makes a link to do it in a browser. It
// loosens: whoever holds the passkey can sign.
func (o *Office) AddPasskey(ctx context.Context, by purser.Actor, in purser.AddPasskey) (purser.Passkey, error) {
	var made *madePasskey
	var err error
	if in.Passkey != nil {
		if made, err = o.madePasskey(ctx, by, *in.Passkey, "add_passkey", ""); err == nil && in.Passkey.Person != by.ID {
			err = purser.Errorf(purser.WrongSignature, "the passkey was made for another person")
		}
	}
	var codes []string // shown once: the kept answer of the key has neither them nor the link
	link := ""
	out, err := once(ctx, o, by, "add_passkey", in, func(t *store.Turn) (purser.Passkey, error) {
		var signed *audit.Attachment
		if err == nil {
			signed, err = o.signed(ctx, t, by, "add_passkey", in, in.Act)
		}
		if err != nil {
			return purser.Passkey{}, o.refuseAct(t, by, "add_passkey", by.ID, err)
		}
		r := recordOf(by, "add_passkey", by.ID)
		r.Attach = signed
		if made == nil {
			r.Detail = map[string]string{"by": "link"}
			t.Record(r)
			link, err = o.passkeyLink(ctx, t, by)
			return purser.Passkey{Person: by.ID, CreatedAt: t.Now}, err
		}
		if codes, err = o.keepPasskey(ctx, t, t.Org, by.ID, made); err != nil {
			return purser.Passkey{}, err
		}
		r.Target, r.Detail = made.id, made.detail()
		t.Record(r)
		key, err := t.Passkey(ctx, db.PasskeyParams{Organization: t.Org, ID: made.id})
		return showPasskey(key), err
	})
	if err == nil {
		out.RecoveryCodes, out.Link = codes, link
	}
	return out, err
}

// linkTTL is how long the link to make one more passkey works.
const linkTTL = 15 * time.Minute

func (o *Office) passkeyLink(ctx context.Context, t *store.Turn, by purser.Actor) (string, error) {
	person, err := t.Person(ctx, db.PersonParams{Organization: t.Org, ID: by.ID})
	if err != nil {
		return "", err
	}
	code, err := o.randomText(18)
	if err != nil {
		return "", err
	}
	err = t.InsertRecoveryCode(ctx, db.InsertRecoveryCodeParams{
		Organization: t.Org, Hash: recoveryHash(code), Person: by.ID, CreatedAt: store.Micro(t.Now), ExpiresAt: store.Micro(t.Now.Add(linkTTL)),
	})
	return o.PublicURL() + "/recover?" + url.Values{"code": {code}, "email": {person.Email}}.Encode(), err
}

func showPasskey(k db.Passkey) purser.Passkey {
	return purser.Passkey{
		ID: k.ID, Person: k.Person, Name: k.Name, Credential: k.Credential, Synced: k.Synced != 0,
		CreatedAt: store.Time(k.CreatedAt), UsedAt: store.TimeOrNil(k.UsedAt),
	}
}

// ListPasskeys lists a person's own, and what else there is to get in.
func (o *Office) ListPasskeys(ctx context.Context, by purser.Actor, _ purser.None) (purser.Passkeys, error) {
	q, out := o.Store.Read(), purser.Passkeys{Items: []purser.Passkey{}}
	person, err := q.Person(ctx, db.PersonParams{Organization: by.Organization, ID: by.ID})
	if err != nil {
		return out, notFound(err, "person", by.ID)
	}
	keys, err := q.PasskeysOfPerson(ctx, db.PasskeysOfPersonParams{Organization: by.Organization, Person: by.ID})
	if err != nil {
		return out, err
	}
	for _, k := range keys {
		out.Items = append(out.Items, showPasskey(k))
	}
	left, err := q.CountRecoveryCodes(ctx, db.CountRecoveryCodesParams{Organization: by.Organization, Person: by.ID})
	out.RecoveryCodes, out.Passphrase = int(left), person.PublicKey != ""
	return out, err
}

// RevokePasskey ends a passkey of one's own; an owner ends anybody's. The last way
// of a person to sign is kept: recovery codes and removal are there for the rest.
func (o *Office) RevokePasskey(ctx context.Context, by purser.Actor, in purser.PasskeyRef) (purser.Passkey, error) {
	return once(ctx, o, by, "revoke_passkey", in, func(t *store.Turn) (purser.Passkey, error) {
		key, err := t.Passkey(ctx, db.PasskeyParams{Organization: t.Org, ID: in.Passkey})
		if err != nil || key.Person != by.ID && by.Role != purser.Owner {
			return purser.Passkey{}, o.refuseAct(t, by, "revoke_passkey", in.Passkey, orWrong(err, purser.Errorf(purser.NotFound, "no passkey is called %q here", in.Passkey)))
		}
		person, err := t.Person(ctx, db.PersonParams{Organization: t.Org, ID: key.Person})
		if err != nil {
			return purser.Passkey{}, err
		}
		left, err := t.PasskeysOfPerson(ctx, db.PasskeysOfPersonParams{Organization: t.Org, Person: key.Person})
		if err != nil {
			return purser.Passkey{}, err
		}
		if len(left) == 1 && left[0].ID == key.ID && person.PublicKey == "" {
			no := purser.Errorf(purser.InvalidState, "it is the last passkey of %s, who could sign nothing without it", person.Name)
			return purser.Passkey{}, o.refuseAct(t, by, "revoke_passkey", key.ID, no.WithHint("add another passkey first"))
		}
		if _, err := t.RevokePasskey(ctx, db.RevokePasskeyParams{Organization: t.Org, ID: key.ID, Now: store.Micro(t.Now)}); err != nil {
			return purser.Passkey{}, err
		}
		t.Record(recordOf(by, "revoke_passkey", key.ID))
		return showPasskey(key), nil
	})
}
