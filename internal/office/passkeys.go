package office

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base32"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"io"
	"net/url"
	"strings"
	"time"

	"github.com/purser-dev/purser"
	"github.com/purser-dev/purser/internal/act"
	"github.com/purser-dev/purser/internal/audit"
	"github.com/purser-dev/purser/internal/catalog"
	"github.com/purser-dev/purser/internal/identity"
	"github.com/purser-dev/purser/internal/seal"
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

// A fresh challenge is one that nobody needs to remember until it is answered, so
// that strangers who ask for many fill no table: random bytes, an end, and a code
// over them, the purpose and the subject that only this installation can make.
const (
	freshRandom = 16
	freshSize   = freshRandom + 8 + sha256.Size
)

func (o *Office) fresh(purpose, subject string) (challenge []byte, notAfter time.Time, err error) {
	challenge = make([]byte, freshRandom, freshSize)
	if _, err := io.ReadFull(o.Random, challenge); err != nil {
		return nil, notAfter, fmt.Errorf("reading randomness: %w", err)
	}
	notAfter = o.Now().Add(o.Defaults.SignTTL).UTC().Truncate(time.Microsecond)
	challenge = binary.BigEndian.AppendUint64(challenge, uint64(notAfter.UnixMicro()))
	return append(challenge, o.code(challenge, purpose, subject)...), notAfter, nil
}

func (o *Office) code(head []byte, purpose, subject string) []byte {
	key := sha256.Sum256(append([]byte("purser fresh challenge v1\x00"), o.AuditSeed...))
	m := hmac.New(sha256.New, key[:])
	m.Write(head)
	fmt.Fprintf(m, "%q %q", purpose, subject)
	return m.Sum(nil)
}

// isFresh reads a challenge that fresh made for this purpose and subject.
func (o *Office) isFresh(text, purpose, subject string) (challenge []byte, notAfter int64, err error) {
	challenge, err = fromBase64(text)
	if err != nil || len(challenge) != freshSize || !hmac.Equal(challenge[freshSize-sha256.Size:], o.code(challenge[:freshSize-sha256.Size], purpose, subject)) {
		return nil, 0, purser.Errorf(purser.WrongSignature, "it answers no question of this server").WithHint("load the page again")
	}
	if notAfter = int64(binary.BigEndian.Uint64(challenge[freshRandom:])); store.Micro(o.Now()) > notAfter {
		return nil, 0, purser.Errorf(purser.WrongSignature, "the time to answer is over").WithHint("load the page again")
	}
	return challenge, notAfter, nil
}

// useUp lets a fresh challenge count once.
func useUp(ctx context.Context, t *store.Turn, challenge []byte, purpose, person string, notAfter int64) error {
	n, err := t.SpendChallenge(ctx, db.SpendChallengeParams{
		Organization: t.Org, Nonce: base64.RawURLEncoding.EncodeToString(challenge), Operation: purpose, Approver: person, NotAfter: notAfter, UsedAt: store.Micro(t.Now),
	})
	if err == nil && n != 1 {
		err = purser.Errorf(purser.WrongSignature, "the passkey's answer was used before").WithHint("load the page again")
	}
	return err
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

// How many recovery codes a person gets, and how many random bytes each has.
const (
	recoveryCount = 10
	recoveryBytes = 10
)

var recoveryText = base32.NewEncoding("abcdefghijkmnpqrstuvwxyz23456789").WithPadding(base32.NoPadding)

// recoveryCodes replaces a person's codes. Only their hashes stay.
func (o *Office) recoveryCodes(ctx context.Context, t *store.Turn, org, person string) ([]string, error) {
	if err := t.DropRecoveryCodes(ctx, db.DropRecoveryCodesParams{Organization: org, Person: person}); err != nil {
		return nil, err
	}
	var codes []string
	for range recoveryCount {
		b := make([]byte, recoveryBytes)
		if _, err := io.ReadFull(o.Random, b); err != nil {
			return nil, fmt.Errorf("reading randomness: %w", err)
		}
		code := recoveryText.EncodeToString(b)
		err := t.InsertRecoveryCode(ctx, db.InsertRecoveryCodeParams{Organization: org, Hash: recoveryHash(code), Person: person, CreatedAt: store.Micro(t.Now)})
		if err != nil {
			return nil, err
		}
		codes = append(codes, code[:4]+"-"+code[4:8]+"-"+code[8:12]+"-"+code[12:])
	}
	return codes, nil
}

// recoveryHash forgives how a code was copied.
func recoveryHash(code string) string {
	return textHash("recovery " + strings.NewReplacer("-", "", " ", "").Replace(strings.ToLower(code)))
}

// Recovery gives a person new recovery codes.
func (o *Office) Recovery(ctx context.Context, by purser.Actor, in purser.Recovery) (purser.RecoveryCodes, error) {
	var codes []string
	out, err := once(ctx, o, by, "recovery", in, func(t *store.Turn) (purser.RecoveryCodes, error) {
		signed, err := o.signed(ctx, t, by, "recovery", in, in.Act)
		if err != nil {
			return purser.RecoveryCodes{}, o.refuseAct(t, by, "recovery", by.ID, err)
		}
		if codes, err = o.recoveryCodes(ctx, t, t.Org, by.ID); err != nil {
			return purser.RecoveryCodes{}, err
		}
		r := recordOf(by, "recovery", by.ID)
		r.Attach = signed
		t.Record(r)
		return purser.RecoveryCodes{Codes: []string{}}, nil
	})
	if err == nil {
		out.Codes = append(out.Codes, codes...)
	}
	return out, err
}

// recoverable finds the person of a good recovery code. Too many wrong ones lock
// the address for a while, known or not.
func (o *Office) recoverable(ctx context.Context, q *db.Queries, email, code string) (person db.Person, row db.RecoveryCode, err error) {
	email = normalEmail(email)
	if err := o.locked(email); err != nil {
		return person, row, err
	}
	wrong := purser.Errorf(purser.WrongSignature, "the e-mail address or the recovery code is wrong").WithHint("each code works once")
	if person, err = q.PersonByEmail(ctx, email); err == nil {
		row, err = q.UnusedRecoveryCode(ctx, db.UnusedRecoveryCodeParams{
			Organization: person.Organization, Person: person.ID, Hash: recoveryHash(code), Now: store.Micro(o.Now()),
		})
	}
	if missing(err) {
		o.wrongFor(email)
		err = wrong
	}
	return person, row, err
}

// RecoverAccess lets a person in who has no passkey at hand, and ends every other
// session: whoever lost one should not share it.
func (o *Office) RecoverAccess(ctx context.Context, by purser.Actor, in purser.RecoverAccess) (out purser.SignedIn, err error) {
	if err := o.throttle(by.Source); err != nil {
		return out, err
	}
	person, row, err := o.recoverable(ctx, o.Store.Read(), in.Email, in.Code)
	if err != nil {
		if purser.CodeOf(err) == purser.WrongSignature {
			o.countFailure(by.Source, "recover_access")
		}
		return out, err
	}
	if in.Passkey.Person != person.ID {
		return out, purser.Errorf(purser.WrongSignature, "the passkey was made for another person")
	}
	made, err := o.madePasskey(ctx, by, in.Passkey, "recover_access", in.Code)
	if err != nil {
		return out, err
	}
	var codes []string
	err = o.turn(ctx, person.Organization, func(t *store.Turn) error {
		n, err := t.UseRecoveryCode(ctx, db.UseRecoveryCodeParams{Organization: t.Org, Person: person.ID, Hash: row.Hash, Now: store.Micro(t.Now)})
		if err == nil && n != 1 {
			err = purser.Errorf(purser.WrongSignature, "the recovery code was used before")
		}
		if err != nil {
			return err
		}
		if codes, err = o.keepPasskey(ctx, t, t.Org, person.ID, made); err != nil {
			return err
		}
		if row.ExpiresAt == 0 { // an emergency, and not the link of one who is signed in elsewhere
			if err := o.endAccess(ctx, t, person, true); err != nil {
				return err
			}
		}
		out, err = o.openSession(ctx, t, by, person.ID, person.Name, "recover_access", func(r *audit.Record) { r.Detail = made.detail() })
		return err
	})
	if err == nil {
		out.RecoveryCodes = codes
		o.right(normalEmail(in.Email))
	}
	return out, err
}

// ShowAct tells what waits to be signed, and waits for the signature.
func (o *Office) ShowAct(ctx context.Context, by purser.Actor, in purser.ActRef) (purser.Act, error) {
	waiting, cancel := context.WithTimeout(ctx, min(time.Duration(max(in.Wait, 0))*time.Second, defaultWait))
	defer cancel()
	for {
		news := o.news.next(by.Organization)
		out, err := o.showAct(ctx, by, in.Nonce)
		if err != nil || out.State != "waiting" || in.Wait <= 0 {
			return out, err
		}
		select {
		case <-news:
		case <-time.After(shortWait): // replicas do not hear each other
		case <-o.leaving.Done():
			return out, nil
		case <-waiting.Done():
			return out, ctx.Err()
		}
	}
}

func (o *Office) showAct(ctx context.Context, by purser.Actor, nonce string) (out purser.Act, err error) {
	q := o.Store.Read()
	row, err := q.Challenge(ctx, db.ChallengeParams{Organization: by.Organization, Nonce: nonce})
	if err != nil || row.Approver != by.ID || row.Document == "" {
		return out, orWrong(err, purser.Errorf(purser.NotFound, "no act of yours is called that here").WithHint("do again what asked for it"))
	}
	out = purser.Act{
		Operation: row.Operation, State: "waiting",
		Challenge: purser.Challenge{Nonce: nonce, NotAfter: store.Time(row.NotAfter)},
	}
	switch {
	case row.UsedAt != 0:
		out.State = "used"
	case store.Micro(o.Now()) > row.NotAfter:
		out.State = "expired"
	case row.Answer != "":
		out.State = "signed"
	}
	if err := decodeNumbers([]byte(row.Document), &out.Document); err != nil {
		return out, err
	}
	if row.Request != "" {
		text, err := o.unwrapped(row, "request", row.Request)
		if err != nil {
			return out, err
		}
		if err := decodeNumbers([]byte(text), &out.Request); err != nil {
			return out, err
		}
	}
	if out.State == "signed" {
		text, err := o.unwrapped(row, "answer", row.Answer)
		if err != nil {
			return out, err
		}
		if out.Signature, err = fromJSON[*purser.Signature](text); err != nil {
			return out, err
		}
	}
	if err := o.byPasskey(ctx, q, by, purser.AskAct{Operation: row.Operation, Request: out.Request}, &out.Challenge); err != nil {
		return out, err
	}
	out.Request = withoutSecrets(out.Request)
	return out, nil
}

func (o *Office) unwrapped(row db.Challenge, column, text string) (string, error) {
	sealed, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return "", fmt.Errorf("reading an act: %w", err)
	}
	secret, err := o.openText(sealed, row.Organization, "challenges", row.Nonce, column)
	return secret.Reveal(), err
}

// withoutSecrets leaves out what a request holds that nobody needs to see to sign
// it; its digest covers it all the same.
func withoutSecrets(request map[string]any) map[string]any {
	out := map[string]any{}
	for name, v := range request {
		switch {
		case strings.Contains(name, "secret"), name == "information":
			out[name] = "[secret]"
		default:
			out[name] = v
		}
	}
	return out
}

// AnswerAct keeps a passkey's signature for the program that asked for the act. It
// changes nothing yet: the operation itself checks it again, and uses it up.
func (o *Office) AnswerAct(ctx context.Context, by purser.Actor, in purser.AnswerAct) (purser.Accepted, error) {
	err := o.turn(ctx, by.Organization, func(t *store.Turn) error {
		row, err := t.Challenge(ctx, db.ChallengeParams{Organization: t.Org, Nonce: in.Nonce})
		if err != nil || in.Signature.Nonce != in.Nonce {
			return orWrong(err, purser.Errorf(purser.NotFound, "no act of yours is called that here"))
		}
		if _, err := o.verified(ctx, t.Queries, t.Now, by, row.Operation, &in.Signature, func(act.Document) bool { return true }); err != nil {
			return o.refuseAct(t, by, "answer_act", row.Operation, err)
		}
		sealed, err := o.sealText(seal.NewSecret(toJSON(in.Signature)), t.Org, "challenges", in.Nonce, "answer")
		if err != nil {
			return err
		}
		n, err := t.AnswerChallenge(ctx, db.AnswerChallengeParams{
			Organization: t.Org, Nonce: in.Nonce, Answer: base64.StdEncoding.EncodeToString(sealed), Now: store.Micro(t.Now),
		})
		if err == nil && n != 1 {
			err = purser.Errorf(purser.InvalidState, "it was signed already, or its time is over")
		}
		return err
	})
	return purser.Accepted{OK: err == nil}, err
}
