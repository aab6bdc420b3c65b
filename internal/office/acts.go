package office

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/purser-dev/purser"
	"github.com/purser-dev/purser/internal/act"
	"github.com/purser-dev/purser/internal/audit"
	"github.com/purser-dev/purser/internal/canonical"
	"github.com/purser-dev/purser/internal/consent"
	"github.com/purser-dev/purser/internal/seal"
	"github.com/purser-dev/purser/internal/store"
	"github.com/purser-dev/purser/internal/store/db"
)

// AskAct makes the document that a person signs before an operation that loosens
// a control (RULES 1, 11). It is good for ten minutes and one use. Whoever asks
// can sign it, or send the person to the page that it names.
func (o *Office) AskAct(ctx context.Context, by purser.Actor, in purser.AskAct) (purser.Challenge, error) {
	q := o.Store.Read()
	person, err := q.Person(ctx, db.PersonParams{Organization: by.Organization, ID: by.ID})
	if err != nil {
		return purser.Challenge{}, notFound(err, "person", by.ID)
	}
	if err := o.fitToSign(ctx, q, by, in); err != nil {
		return purser.Challenge{}, err
	}
	doc, err := o.document(ctx, by, in)
	if err != nil {
		return purser.Challenge{}, err
	}
	c, err := o.challenge(ctx, by.Organization, in.Operation, doc, person.Kdf)
	if err != nil {
		return c, err
	}
	if err := o.keepRequest(ctx, by, in, c.Nonce); err != nil {
		return purser.Challenge{}, err
	}
	return c, o.byPasskey(ctx, q, by, in, &c)
}

// fitToSign refuses what cannot be done, signed or not: a slip of the pen costs no
// signature. The operations look again, in their turns and before their signatures.
func (o *Office) fitToSign(ctx context.Context, q *db.Queries, by purser.Actor, in purser.AskAct) error {
	named := func(member string) string { id, _ := in.Request[member].(string); return id }
	var err error
	switch in.Operation {
	case "resume":
		_, err = standing(ctx, q, by.Organization, named("stop"))
	case "create_run", "grant": // which says the same of its run
		var run purser.CreateRun
		if err = json.Unmarshal([]byte(toJSON(in.Request)), &run); err != nil {
			return purser.Errorf(purser.InvalidRequest, "the request is not one of %s", in.Operation).WithCause(err)
		}
		if _, err = o.checkRun(&run); err == nil {
			_, err = o.project(ctx, q, by, run.Project)
		}
	case "extend_run":
		_, err = unended(ctx, q, by.Organization, named("run"))
	case "set_role":
		if err = validRole(purser.Role(named("role"))); err == nil {
			_, err = member(ctx, q, by.Organization, named("person"))
		}
	case "remove_person", "first_passkey":
		_, err = member(ctx, q, by.Organization, named("person"))
	}
	return err
}

// keepRequest keeps the request beside its challenge, sealed, for the page on which
// the person reads and signs it.
func (o *Office) keepRequest(ctx context.Context, by purser.Actor, in purser.AskAct, nonce string) error {
	sealed, err := o.sealText(seal.NewSecret(toJSON(in.Request)), by.Organization, "challenges", nonce, "request")
	if err != nil {
		return err
	}
	return o.explain(ctx, o.Store.Write(ctx, func(q *db.Queries) error {
		return q.KeepRequest(ctx, db.KeepRequestParams{Organization: by.Organization, Nonce: nonce, Request: base64.StdEncoding.EncodeToString(sealed)})
	}))
}

// byPasskey adds to a challenge which passkeys can answer it, and where.
func (o *Office) byPasskey(ctx context.Context, q *db.Queries, by purser.Actor, in purser.AskAct, c *purser.Challenge) error {
	keys, err := q.PasskeysOfPerson(ctx, db.PasskeysOfPersonParams{Organization: by.Organization, Person: by.ID})
	if err != nil {
		return err
	}
	for _, k := range keys {
		c.Passkeys = append(c.Passkeys, k.Credential)
	}
	p, err := o.party(ctx, q)
	if err != nil && len(keys) > 0 {
		return err
	}
	c.RP, c.Link = p.ID, o.PublicURL()+"/acts/"+c.Nonce
	if plan, _ := in.Request["plan"].(string); in.Operation == "approve" {
		c.Link = o.PublicURL() + "/approvals/" + plan
	}
	return nil
}

// document says what will be signed: the plan's digest for a decision on a plan,
// the request's digest for anything else.
func (o *Office) document(ctx context.Context, by purser.Actor, in purser.AskAct) (act.Document, error) {
	doc := act.Document{Organization: by.Organization, Approver: by.ID}
	if in.Operation == "approve" {
		id, _ := in.Request["plan"].(string)
		plan, err := o.Store.Read().Plan(ctx, db.PlanParams{Organization: by.Organization, ID: id})
		if err != nil {
			return doc, notFound(err, "plan", id)
		}
		terms, err := fromJSON[purser.PlanTerms](plan.Terms)
		if err != nil {
			return doc, err
		}
		doc.PlanDigest, doc.Decision, doc.Ceiling = plan.Digest, act.Approve, consent.Ceiling(terms)
		return doc, nil
	}
	for _, op := range purser.Operations() {
		if op.Name == in.Operation && op.Loosens {
			delete(in.Request, "act")
			digest, err := canonical.Digest(in.Request)
			if err != nil {
				return doc, purser.Errorf(purser.InvalidRequest, "the request cannot be signed: it is not plain JSON with whole numbers").WithCause(err)
			}
			doc.Operation, doc.RequestDigest = in.Operation, digest
			return doc, nil
		}
	}
	return doc, purser.Errorf(purser.InvalidRequest, "%q is not an operation that a person signs", in.Operation)
}

// challenge completes a document with what makes it fresh, and remembers it.
func (o *Office) challenge(ctx context.Context, org, operation string, doc act.Document, kdf string) (purser.Challenge, error) {
	nonce, err := o.randomText(32)
	if err != nil {
		return purser.Challenge{}, err
	}
	row, err := o.Store.Read().Organization(ctx, org)
	if err != nil {
		return purser.Challenge{}, notFound(err, "organization", org)
	}
	now := o.Now()
	if last := store.Time(row.Clock); now.Before(last) { // the turn that takes it has no earlier time (RULES 19)
		now = last
	}
	notAfter := now.Add(o.Defaults.SignTTL).UTC()
	doc.Nonce, doc.NotAfter, doc.Origin = nonce, notAfter.UnixMicro(), o.PublicURL()
	raw, err := doc.Canonical()
	if err != nil {
		return purser.Challenge{}, err
	}
	out := purser.Challenge{Nonce: nonce, NotAfter: notAfter}
	if err := decodeNumbers(raw, &out.Document); err != nil {
		return purser.Challenge{}, err
	}
	if out.KDF, err = passphraseOf(kdf); err != nil {
		return purser.Challenge{}, err
	}
	err = o.Store.Write(ctx, func(q *db.Queries) error {
		if err := q.DropOldChallenges(ctx, db.DropOldChallengesParams{Organization: org, NotAfter: store.Micro(o.Now()) - 3600e6}); err != nil {
			return err
		}
		return q.InsertChallenge(ctx, db.InsertChallengeParams{
			Organization: org, Nonce: nonce, Operation: operation, Approver: doc.Approver, Document: string(raw), NotAfter: notAfter.UnixMicro(),
		})
	})
	return out, o.explain(ctx, err)
}

// signed demands a person's fresh signature on this very request, and consumes
// it in this turn. What it returns goes with the record of the act.
func (o *Office) signed(ctx context.Context, t *store.Turn, by purser.Actor, operation string, in any, sig *purser.Signature) (*audit.Attachment, error) {
	digest, err := signedDigest(in)
	if err != nil {
		return nil, err
	}
	return o.consume(ctx, t, by, operation, sig, func(d act.Document) bool { return d.Operation == operation && d.RequestDigest == digest })
}

// signedDigest is what a person signs of a request.
func signedDigest(in any) (string, error) {
	body, err := requestOf(in)
	if err != nil {
		return "", err
	}
	digest, err := canonical.Digest(body)
	if err != nil {
		return "", purser.Errorf(purser.InvalidRequest, "the request cannot be signed").WithCause(err)
	}
	return digest, nil
}

// consume checks a signature against the challenge that it answers, the person's
// registered key and what is being decided, and makes the challenge unusable.
func (o *Office) consume(ctx context.Context, t *store.Turn, by purser.Actor, operation string, sig *purser.Signature, fits func(act.Document) bool) (*audit.Attachment, error) {
	attachment, err := o.verified(ctx, t.Queries, t.Now, by, operation, sig, fits)
	if err != nil {
		return nil, err
	}
	n, err := t.UseChallenge(ctx, db.UseChallengeParams{Organization: t.Org, Nonce: sig.Nonce, Now: store.Micro(t.Now)})
	if err == nil && n != 1 {
		err = purser.Errorf(purser.WrongSignature, "the signature for %s was used before, or its time is over", operation).WithHint("run the same command again")
	}
	if err == nil && sig.Method == act.MethodPasskey {
		err = o.usedPasskey(ctx, t, sig.Credential, attachment.Signature.Counter())
	}
	return attachment, err
}

// verified checks a signature without using it up.
func (o *Office) verified(ctx context.Context, q *db.Queries, now time.Time, by purser.Actor, operation string, sig *purser.Signature, fits func(act.Document) bool) (*audit.Attachment, error) {
	if by.Kind != purser.Person {
		return nil, purser.Errorf(purser.SelfApproval, "only a person signs %s", operation).WithHint("ask the person behind the run")
	}
	if sig == nil {
		return nil, purser.Errorf(purser.NeedsPerson, "%s needs your passkey or passphrase, now: a token on disk is not enough", operation).
			WithHint("run the same command in a terminal, or do it in the console: %s", o.PublicURL())
	}
	wrong := func(format string, args ...any) error {
		return purser.Errorf(purser.WrongSignature, "the signature for %s does not count: %s", operation, fmt.Sprintf(format, args...)).WithHint("do the same again")
	}
	row, err := q.Challenge(ctx, db.ChallengeParams{Organization: by.Organization, Nonce: sig.Nonce})
	switch {
	case missing(err):
		return nil, wrong("it answers no question of this server")
	case err != nil:
		return nil, fmt.Errorf("reading the challenge: %w", err)
	case row.UsedAt != 0:
		return nil, wrong("it was used before")
	case row.Approver != by.ID || row.Operation != operation:
		return nil, wrong("it was made for something else")
	}
	doc, err := act.Parse([]byte(row.Document))
	if err != nil {
		return nil, err
	}
	if !fits(doc) {
		return nil, wrong("the request is not the one that was signed")
	}
	if err := doc.ValidAt(now); err != nil {
		return nil, wrong("its time is over")
	}
	person, err := q.Person(ctx, db.PersonParams{Organization: by.Organization, ID: by.ID})
	if err != nil {
		return nil, notFound(err, "person", by.ID)
	}
	if purser.Role(person.Role) == purser.Viewer && !own[operation] || person.RemovedAt != 0 {
		return nil, purser.Errorf(purser.Forbidden, "a viewer's signature loosens nothing").WithHint("ask an owner or an approver")
	}
	if sig.Method == act.MethodPasskey {
		return o.passkeySigned(ctx, q, doc, person, *sig, wrong)
	}
	signature, err := signatureOf(*sig)
	if err != nil {
		return nil, wrong("it cannot be read")
	}
	registered, err := base64.RawURLEncoding.DecodeString(person.PublicKey)
	if err != nil {
		return nil, fmt.Errorf("reading the key of %s: %w", by.ID, err)
	}
	if len(registered) == 0 {
		return nil, wrong("this person has no passphrase")
	}
	if err := act.VerifyBy(doc, signature, registered); err != nil {
		return nil, wrong("wrong passphrase")
	}
	return audit.Attach(doc, signature)
}

// own are the acts about oneself, which a viewer signs as well.
var own = map[string]bool{"sign_in": true, "add_passkey": true, "recovery": true}

// passkeySigned checks an assertion by one of the person's passkeys.
func (o *Office) passkeySigned(ctx context.Context, q *db.Queries, doc act.Document, person db.Person, sig purser.Signature, wrong func(string, ...any) error) (*audit.Attachment, error) {
	key, err := q.PasskeyByCredential(ctx, sig.Credential)
	switch {
	case missing(err):
		return nil, wrong("the passkey is not known here")
	case err != nil:
		return nil, err
	case key.Organization != person.Organization || key.Person != person.ID:
		return nil, wrong("the passkey is another person's")
	case key.RevokedAt != 0:
		return nil, wrong("the passkey was revoked")
	}
	signature, err := assertionOf(sig, key)
	if err != nil {
		return nil, wrong("it cannot be read")
	}
	if err := act.Verify(doc, signature); err != nil {
		return nil, wrong("%v", err)
	}
	if !counterGrew(key, signature.Counter()) {
		return nil, wrong("the passkey counts backwards, as a copy of it would")
	}
	return audit.Attach(doc, signature)
}

// signatureOf reads a passphrase's signature.
func signatureOf(s purser.Signature) (act.Signature, error) {
	key, err1 := fromBase64(s.PublicKey)
	sig, err2 := fromBase64(s.Signature)
	return act.Signature{Method: s.Method, PublicKey: key, Signature: sig}, errors.Join(err1, err2)
}

// assertionOf reads a passkey's; whose key it is, the server knows better.
func assertionOf(s purser.Signature, key db.Passkey) (act.Signature, error) {
	public, err1 := fromBase64(key.PublicKey)
	sig, err2 := fromBase64(s.Signature)
	data, err3 := fromBase64(s.AuthenticatorData)
	client, err4 := fromBase64(s.ClientData)
	return act.Signature{
		Method: act.MethodPasskey, PublicKey: public, Signature: sig, Passkey: &act.Passkey{AuthenticatorData: data, ClientData: client},
	}, errors.Join(err1, err2, err3, err4)
}

func fromBase64(text string) ([]byte, error) {
	return base64.RawURLEncoding.DecodeString(strings.TrimRight(text, "="))
}

// passphraseOf reads the parameters of a person's passphrase; nil without one.
func passphraseOf(text string) (*purser.KDF, error) {
	k, err := fromJSON[purser.KDF](text)
	if err != nil || k.Salt == "" {
		return nil, err
	}
	return &k, nil
}

// refuseAct records that somebody tried to loosen without being allowed to (drill d).
func (o *Office) refuseAct(t *store.Turn, by purser.Actor, action, target string, err error) error {
	var e *purser.Error
	if !asCoded(err, &e) {
		return err
	}
	r := recordOf(by, action, target)
	r.IdempotencyKey = ""
	return o.refuse(t, r, e)
}

func documentMap(a *audit.Attachment) map[string]any {
	var m map[string]any
	if a == nil || json.Unmarshal(a.Document, &m) != nil {
		return map[string]any{}
	}
	return m
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
