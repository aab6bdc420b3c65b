package office

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net/mail"
	"strings"
	"time"

	"github.com/purser-dev/purser"
	"github.com/purser-dev/purser/internal/act"
	"github.com/purser-dev/purser/internal/canonical"
	"github.com/purser-dev/purser/internal/seal"
	"github.com/purser-dev/purser/internal/store"
	"github.com/purser-dev/purser/internal/store/db"
)

const (
	setupTTL  = time.Hour
	personTTL = 30 * 24 * time.Hour
)

// SetupCode makes a single-use code for the first sign-in, or says that somebody
// is there already.
func (o *Office) SetupCode(ctx context.Context) (code string, needed bool, err error) {
	people, err := o.Store.Read().CountPeople(ctx)
	if err != nil || people > 0 {
		return "", false, err
	}
	if code, err = o.randomText(18); err != nil {
		return "", false, err
	}
	err = o.turn(ctx, store.Installation, func(t *store.Turn) error {
		t.Record(recordOf(system, "setup_code", ""))
		return t.InsertSetupCode(ctx, db.InsertSetupCodeParams{Hash: textHash(code), ExpiresAt: store.Micro(t.Now.Add(setupTTL))})
	})
	return code, true, err
}

func textHash(text string) string { return canonical.DigestBytes([]byte(text)) }

// SetUp makes the first organization and its owner. The code works once.
func (o *Office) SetUp(ctx context.Context, by purser.Actor, in purser.SetUp) (out purser.SignedIn, err error) {
	if err := o.throttle(by.Source); err != nil {
		return out, err
	}
	if err := checkSetUp(&in); err != nil {
		return out, err
	}
	org, err := o.newID(purser.PrefixOrganization)
	if err != nil {
		return out, err
	}
	person, err := o.newID(purser.PrefixPerson)
	if err != nil {
		return out, err
	}
	var made *madePasskey
	if in.Passkey != nil {
		person = in.Passkey.Person
		if made, err = o.madePasskey(ctx, by, *in.Passkey, "set_up", in.Code); err != nil {
			return out, err
		}
	}
	var codes []string
	err = o.turn(ctx, store.Installation, func(t *store.Turn) error {
		if people, err := t.CountPeople(ctx); err != nil || people > 0 {
			return errors.Join(err, purser.Errorf(purser.AlreadyExists, "somebody has set this installation up already").WithHint("purser login"))
		}
		used, err := t.UseSetupCode(ctx, db.UseSetupCodeParams{Hash: textHash(in.Code), Now: store.Micro(t.Now)})
		if err != nil {
			return err
		}
		if used == 0 {
			o.countFailure(by.Source, "set_up")
			return purser.Errorf(purser.WrongSignature, "the set-up code is wrong, was used, or is over an hour old").
				WithHint("restart the server: it prints a new code while nobody has signed in")
		}
		if err := t.InsertOrganization(ctx, db.InsertOrganizationParams{ID: org, Name: in.Organization, Timezone: in.Timezone, CreatedAt: store.Micro(t.Now)}); err != nil {
			return err
		}
		r := recordOf(purser.Actor{Kind: purser.Person, ID: person}, "set_up", org)
		kdf := ""
		if in.KDF != nil {
			kdf = toJSON(in.KDF)
		}
		err = t.InsertPerson(ctx, db.InsertPersonParams{
			Organization: org, ID: person, Name: in.Name, Email: in.Email, Role: string(purser.Owner),
			Kdf: kdf, PublicKey: strings.TrimRight(in.PublicKey, "="), CreatedAt: store.Micro(t.Now),
		})
		if err == nil && made != nil {
			r.Detail = made.detail()
			codes, err = o.keepPasskey(ctx, t, org, person, made)
		}
		t.Record(r)
		return err
	})
	if err != nil {
		return out, err
	}
	out, err = o.signIn(ctx, by, org, person, in.Name, "set_up")
	out.RecoveryCodes = codes
	return out, err
}

func checkSetUp(in *purser.SetUp) error {
	if in.Timezone == "" {
		in.Timezone = "UTC"
	}
	if in.Organization = strings.TrimSpace(in.Organization); in.Organization == "" {
		in.Organization = "Home"
	}
	in.Name, in.Email = strings.TrimSpace(in.Name), normalEmail(in.Email)
	faults := personFaults(in.Name, in.Email)
	// "Local" is whichever zone a machine is in, and another machine may decide tomorrow.
	if _, err := time.LoadLocation(in.Timezone); err != nil || in.Timezone == "Local" {
		faults = append(faults, fmt.Sprintf("%q is not a time zone", in.Timezone))
	}
	if len(in.Organization) > 100 {
		faults = append(faults, "organization: 1 to 100 characters")
	}
	if in.Passkey == nil {
		faults = append(faults, passphraseFaults(*in)...)
	} else if in.KDF != nil || in.PublicKey != "" {
		faults = append(faults, "either a passkey or a passphrase's public key")
	}
	if len(faults) > 0 {
		return purser.Errorf(purser.InvalidRequest, "%s", strings.Join(faults, "; "))
	}
	return nil
}

// personFaults says what is wrong with how somebody is called.
func personFaults(name, email string) (faults []string) {
	if name == "" || len(name) > 100 {
		faults = append(faults, "name: 1 to 100 characters")
	}
	if a, err := mail.ParseAddress(email); err != nil || a.Address != email {
		faults = append(faults, "email: one address, like ada@example.org")
	}
	return faults
}

func passphraseFaults(in purser.SetUp) (faults []string) {
	if key, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(in.PublicKey, "=")); err != nil || len(key) != 32 {
		faults = append(faults, "public_key: 32 bytes as base64url")
	}
	if in.KDF == nil {
		return append(faults, "kdf: parameters of Argon2id")
	}
	if k, err := kdfOf(*in.KDF); err != nil || k.Check() != nil {
		faults = append(faults, "kdf: parameters of Argon2id")
	}
	return faults
}

func kdfOf(k purser.KDF) (act.KDF, error) {
	salt, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(k.Salt, "="))
	return act.KDF{Name: "argon2id", Salt: salt, Time: k.Time, MemoryKiB: k.MemoryKiB, Threads: k.Parallelism}, err
}

func normalEmail(s string) string { return strings.ToLower(strings.TrimSpace(s)) }

// AskSignIn gives a challenge for an address, known or not: the answer does not
// tell who has an account.
func (o *Office) AskSignIn(ctx context.Context, by purser.Actor, in purser.AskSignIn) (purser.Challenge, error) {
	if err := o.throttle(by.Source); err != nil {
		return purser.Challenge{}, err
	}
	if in.Email == "" {
		return o.askAnyPasskey(ctx)
	}
	email := normalEmail(in.Email)
	person, err := o.Store.Read().PersonByEmail(ctx, email)
	if missing(err) || err == nil && person.PublicKey == "" { // who has no passphrase looks like nobody
		person, err = o.nobody(email), nil
	}
	if err != nil {
		return purser.Challenge{}, err
	}
	digest, err := signInDigest(email)
	if err != nil {
		return purser.Challenge{}, err
	}
	doc := act.Document{Organization: person.Organization, Operation: "sign_in", RequestDigest: digest, Approver: person.ID}
	if person.Organization == store.Installation { // nobody: nothing to remember
		nonce, err := o.randomText(32)
		if err != nil {
			return purser.Challenge{}, err
		}
		return o.emptyChallenge(doc, nonce, person)
	}
	return o.challenge(ctx, person.Organization, "sign_in", doc, person.Kdf)
}

func signInDigest(email string) (string, error) {
	return canonical.Digest(map[string]any{"email": email})
}

// nobody is a person who is not there, always the same one for an address.
func (o *Office) nobody(email string) db.Person {
	h := sha256.Sum256(append(append([]byte("nobody\x00"), o.AuditSeed...), email...))
	kdf := purser.KDF{Salt: base64.RawURLEncoding.EncodeToString(h[:16]), MemoryKiB: 64 << 10, Time: 2, Parallelism: 2}
	id, err := purser.NewID(purser.PrefixPerson, time.Unix(1790000000, 0), strings.NewReader(string(h[:])))
	if err != nil {
		id = purser.PrefixPerson
	}
	return db.Person{Organization: store.Installation, ID: id, Email: email, Kdf: toJSON(kdf)}
}

func (o *Office) emptyChallenge(doc act.Document, nonce string, person db.Person) (purser.Challenge, error) {
	org, err := purser.NewID(purser.PrefixOrganization, time.Unix(1790000000, 0), strings.NewReader(person.ID))
	if err != nil {
		return purser.Challenge{}, err
	}
	notAfter := o.Now().Add(o.Defaults.SignTTL).UTC()
	doc.Organization, doc.Nonce, doc.NotAfter, doc.Origin = org, nonce, notAfter.UnixMicro(), o.PublicURL()
	raw, err := doc.Canonical()
	if err != nil {
		return purser.Challenge{}, err
	}
	out := purser.Challenge{Nonce: nonce, NotAfter: notAfter}
	if err := decodeNumbers(raw, &out.Document); err != nil {
		return out, err
	}
	out.KDF, err = passphraseOf(person.Kdf)
	return out, err
}

// SignIn answers a challenge with a token that reads, proposes and reduces.
func (o *Office) SignIn(ctx context.Context, by purser.Actor, in purser.SignIn) (out purser.SignedIn, err error) {
	if err := o.throttle(by.Source); err != nil {
		return out, err
	}
	if in.Passkey != nil {
		return o.signInByPasskey(ctx, by, *in.Passkey)
	}
	if in.Act == nil || in.Email == "" {
		return out, purser.Errorf(purser.InvalidRequest, "sign in with a passkey, or with an e-mail address and its signed act")
	}
	email := normalEmail(in.Email)
	if err := o.locked(email); err != nil {
		return out, err
	}
	wrong := func() error {
		o.countFailure(by.Source, "sign_in")
		o.wrongFor(email)
		return purser.Errorf(purser.WrongSignature, "the e-mail address or the passphrase is wrong").WithHint("purser login")
	}
	person, err := o.Store.Read().PersonByEmail(ctx, email)
	if missing(err) {
		return out, wrong()
	}
	if err != nil {
		return out, err
	}
	digest, err := signInDigest(email)
	if err != nil {
		return out, err
	}
	who := purser.Actor{Kind: purser.Person, ID: person.ID, Organization: person.Organization}
	err = o.turn(ctx, person.Organization, func(t *store.Turn) error {
		_, err := o.consume(ctx, t, who, "sign_in", in.Act, func(d act.Document) bool { return d.RequestDigest == digest })
		return err
	})
	if purser.CodeOf(err) == purser.WrongSignature {
		return out, wrong()
	}
	if err != nil {
		return out, err
	}
	o.right(email)
	return o.signIn(ctx, by, person.Organization, person.ID, person.Name, "sign_in")
}

// signIn makes a person's token, or the session of a browser.
func (o *Office) signIn(ctx context.Context, by purser.Actor, org, person, name, how string) (out purser.SignedIn, err error) {
	err = o.turn(ctx, org, func(t *store.Turn) error {
		out, err = o.openSession(ctx, t, by, person, name, how, nil)
		return err
	})
	return out, err
}

// SignOut ends the token that is used.
func (o *Office) SignOut(ctx context.Context, by purser.Actor, _ purser.SignOut) (purser.Accepted, error) {
	err := o.turn(ctx, by.Organization, func(t *store.Turn) error {
		t.Record(recordOf(by, "sign_out", by.ID))
		_, err := t.RevokeToken(ctx, db.RevokeTokenParams{Organization: t.Org, ID: by.Token, Now: store.Micro(t.Now)})
		return err
	})
	return purser.Accepted{OK: err == nil}, err
}

// Whoami tells which credential is held.
func (o *Office) Whoami(ctx context.Context, by purser.Actor, _ purser.None) (purser.WhoAmI, error) {
	org, err := o.Store.Read().Organization(ctx, by.Organization)
	if err != nil {
		return purser.WhoAmI{}, notFound(err, "organization", by.Organization)
	}
	return purser.WhoAmI{Actor: by, OrganizationName: org.Name, ExpiresAt: by.ExpiresAt}, nil
}

// Authenticate finds who holds a credential: a person's or an agent's token, or
// a provider's key. What belongs in a cookie is none. A token that a stop ended answers stopped, not
// not_signed_in (RULES 21); with that, with run_ended, and of one that a stop took which was
// lifted since, comes who held it.
func (o *Office) Authenticate(ctx context.Context, bearer, source string) (purser.Actor, error) {
	// A link to the database that is silent must not keep a stop waiting for ever.
	ctx, cancel := context.WithTimeout(ctx, lookUpMost)
	defer cancel()
	by, err := o.authenticate(ctx, bearer, source)
	var coded *purser.Error
	if err == nil {
		o.remember(bearer, by)
	} else if !errors.As(err, &coded) {
		by, err = purser.Actor{}, purser.Errorf(purser.Unavailable, "the database does not answer").WithCause(err)
	}
	return by, err
}

// lookUpMost is how long the look-up of a credential may take.
const lookUpMost = 5 * time.Second

func (o *Office) authenticate(ctx context.Context, bearer, source string) (purser.Actor, error) {
	if strings.HasPrefix(bearer, "ey") { // a signed one begins with a JSON object
		return o.granted(ctx, bearer, source)
	}
	kind, err := seal.ParseToken(bearer)
	if err != nil || kind == seal.SessionToken {
		o.countFailure(source, "authenticate")
		return purser.Actor{}, notSignedIn("the credential has no known form")
	}
	hash := hashOf(seal.NewSecret(bearer))
	if kind == seal.ProviderToken {
		p, err := o.Store.Read().ProviderByKey(ctx, hash)
		if missing(err) {
			o.countFailure(source, "authenticate")
			return purser.Actor{}, notSignedIn("the provider's key is not known")
		}
		return purser.Actor{Kind: purser.Provider, ID: p.Name, Name: p.Name, Source: source}, err
	}
	token, err := o.Store.Read().TokenByHash(ctx, hash)
	if missing(err) {
		o.countFailure(source, "authenticate")
		return purser.Actor{}, notSignedIn("the token is not known")
	}
	if err != nil {
		return purser.Actor{}, fmt.Errorf("looking up a token: %w", err)
	}
	by := purser.Actor{Kind: purser.ActorKind(token.Kind), ID: token.Principal, Organization: token.Organization, Run: token.Run, Token: token.ID, Source: source, ExpiresAt: store.TimeOrNil(token.ExpiresAt)}
	if by.Kind == purser.Agent {
		return o.agent(ctx, by, token)
	}
	if token.RevokedAt != 0 || token.Form != bearerForm || store.Micro(o.Now()) >= token.ExpiresAt {
		return purser.Actor{}, o.ended(source, "the token has ended")
	}
	if by.Kind == purser.Platform {
		p, err := o.Store.Read().Platform(ctx, db.PlatformParams{Organization: by.Organization, ID: by.ID})
		by.Name, by.DelegatedBy = p.Name, p.Person
		return by, err
	}
	return o.personOf(ctx, by)
}

// personOf completes a person's actor. Role and name are as they are now.
func (o *Office) personOf(ctx context.Context, by purser.Actor) (purser.Actor, error) {
	person, err := o.Store.Read().Person(ctx, db.PersonParams{Organization: by.Organization, ID: by.ID})
	if err == nil && person.RemovedAt != 0 {
		err = o.ended(by.Source, "this person was removed")
	}
	if err != nil {
		return purser.Actor{}, err
	}
	by.Name, by.Role = person.Name, purser.Role(person.Role)
	return by, nil
}

// ended is the answer to a credential that was good once: it is on the record
// (RULES 22), and no failed try, because nobody guesses such a one.
func (o *Office) ended(source, why string) *purser.Error {
	o.CountRefusal(source, "ended_credential")
	return notSignedIn(why)
}

func notSignedIn(why string) *purser.Error {
	return purser.Errorf(purser.NotSignedIn, "%s", why).WithHint("purser login")
}

// agent completes an agent's actor from its run.
func (o *Office) agent(ctx context.Context, by purser.Actor, token db.Token) (purser.Actor, error) {
	q := o.Store.Read()
	run, err := q.Run(ctx, db.RunParams{Organization: by.Organization, ID: token.Run})
	if err != nil {
		return purser.Actor{}, notFound(err, "run", token.Run)
	}
	a, err := q.Agent(ctx, db.AgentParams{Organization: by.Organization, ID: by.ID})
	if err != nil {
		return purser.Actor{}, notFound(err, "agent", by.ID)
	}
	by.Name, by.Project, by.DelegatedBy = a.Name, run.Project, run.Person
	who := by
	if token.RevokedAt != 0 && token.RevokedBy == "" {
		who = purser.Actor{} // revoked for itself: it settles nothing
	}
	// A stop counts from its own turn, not from the revocations that follow it.
	stops, err := o.stopsInForce(ctx, q, by.Organization)
	if err != nil {
		return purser.Actor{}, err
	}
	for _, s := range stops {
		if s.Scope != "provider" && pathOf(by).Covered(s.Scope, s.Target) {
			return who, stoppedBy(s)
		}
	}
	switch {
	case run.EndedAt != 0 || store.Micro(o.Now()) >= run.ExpiresAt:
		return who, purser.Errorf(purser.RunEnded, "run %s is over, and its token with it", run.ID).
			WithHint("a person can create another: purser run create --budget 20")
	case token.RevokedBy != "":
		return who, notSignedIn("a stop took the agent's token; it was lifted since, and revives nothing").WithHint("a person can create another run: purser run create --budget 20")
	case token.RevokedAt != 0 || store.Micro(o.Now()) >= token.ExpiresAt:
		return purser.Actor{}, o.ended(by.Source, "the agent's token was revoked").WithHint("a person can create another run: purser run create --budget 20")
	}
	return by, nil
}
