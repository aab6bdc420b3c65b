package office

import (
	"context"
	"slices"
	"strings"

	"github.com/purser-dev/purser"
	"github.com/purser-dev/purser/internal/audit"
	"github.com/purser-dev/purser/internal/catalog"
	"github.com/purser-dev/purser/internal/store"
	"github.com/purser-dev/purser/internal/store/db"
)

// Upstream is whom an issuer named, after its signature was checked.
type Upstream struct {
	Issuer   string
	Subject  string
	Email    string
	Verified bool // the issuer checked that the address is the person's
	Name     string
	Groups   []string
}

// The policies for who is not here yet.
const (
	ArriveNobody = "none"   // people are invited; the issuer only signs them in
	ArriveGroups = "groups" // members of a group that gives a role
	ArriveAll    = "all"    // everybody of the domains, as viewer or as the groups say
)

// Arrivals is what the operator decided about people of the upstream issuer. No
// group makes an owner: owners do.
type Arrivals struct {
	Domains   []string // of e-mail addresses; empty: any, of people who are here already
	Provision string
	Roles     map[string]purser.Role // by group: approver or viewer
}

// role is the largest role that groups give.
func (a Arrivals) role(groups []string) (best purser.Role) {
	for _, g := range groups {
		switch a.Roles[g] {
		case purser.Approver:
			return purser.Approver
		case purser.Viewer:
			best = purser.Viewer
		}
	}
	return best
}

func (a Arrivals) takes(email string) bool {
	_, domain, ok := strings.Cut(email, "@")
	return ok && (len(a.Domains) == 0 || slices.ContainsFunc(a.Domains, func(d string) bool { return strings.EqualFold(d, domain) }))
}

// SignInUpstream opens a session for whom the issuer named: a person who is here,
// or who may become one. The session reads, proposes and reduces. It loosens
// nothing until the person has a passkey, and the first of those needs an owner's
// signature (AllowPasskey).
func (o *Office) SignInUpstream(ctx context.Context, by purser.Actor, in Upstream) (out purser.SignedIn, err error) {
	if err := o.throttle(by.Source); err != nil {
		return out, err
	}
	in.Email, in.Name = normalEmail(in.Email), strings.TrimSpace(catalog.Plain(in.Name, 100))
	if in.Name == "" {
		in.Name = in.Email
	}
	org, err := o.only(ctx)
	if err != nil {
		return out, err
	}
	err = o.turn(ctx, org, func(t *store.Turn) error {
		person, err := o.arrive(ctx, t, by, in)
		if err != nil {
			return err
		}
		out, err = o.openSession(ctx, t, by, person.ID, person.Name, "sign_in_upstream", func(r *audit.Record) {
			r.Detail = map[string]string{"issuer": in.Issuer, "subject": in.Subject}
		})
		return err
	})
	return out, err
}

// only is the organization that people of the issuer belong to.
func (o *Office) only(ctx context.Context) (string, error) {
	all, err := o.organizations(ctx)
	if err != nil {
		return "", err
	}
	if len(all) != 1 {
		return "", purser.Errorf(purser.InvalidState, "nobody has set this installation up yet").WithHint("the first start prints a link for the first owner")
	}
	return all[0].ID, nil
}

// arrive finds the person, or makes one if the policy says so. A refusal is on the
// record, with whom it was about.
func (o *Office) arrive(ctx context.Context, t *store.Turn, by purser.Actor, in Upstream) (db.Person, error) {
	no := func(format string, args ...any) error {
		r := recordOf(system, "sign_in_upstream", "")
		r.Detail = map[string]string{"issuer": in.Issuer, "subject": in.Subject, "email": in.Email, "source": by.Source}
		return o.refuse(t, r, purser.Errorf(purser.Forbidden, format, args...).WithHint("ask an owner for an invitation"))
	}
	switch {
	case in.Issuer == "" || in.Subject == "" || len(in.Subject) > 255:
		return db.Person{}, no("the issuer names nobody")
	case !in.Verified || len(personFaults(in.Name, in.Email)) > 0:
		return db.Person{}, no("the issuer did not verify the e-mail address")
	case !o.Arrivals.takes(in.Email):
		return db.Person{}, no("addresses of this domain may not sign in here")
	}
	known, err := t.Identity(ctx, db.IdentityParams{Issuer: in.Issuer, Subject: in.Subject})
	if missing(err) {
		return o.newcomer(ctx, t, in, no)
	}
	if err != nil {
		return db.Person{}, err
	}
	if known.Organization != t.Org {
		return db.Person{}, no("this account belongs to another organization")
	}
	person, err := t.Person(ctx, db.PersonParams{Organization: t.Org, ID: known.Person})
	if err != nil {
		return person, err
	}
	if person.RemovedAt != 0 {
		return person, no("this person was removed")
	}
	if known.Made != 0 {
		if person, err = o.followGroups(ctx, t, person, in, no); err != nil {
			return person, err
		}
	}
	return person, t.SeeIdentity(ctx, db.SeeIdentityParams{Issuer: in.Issuer, Subject: in.Subject, SeenAt: store.Micro(t.Now)})
}

// followGroups gives a person who came by the issuer the role that the groups say
// now. An owner stays one: an owner's signature made that.
func (o *Office) followGroups(ctx context.Context, t *store.Turn, person db.Person, in Upstream, no func(string, ...any) error) (db.Person, error) {
	role := o.Arrivals.role(in.Groups)
	switch {
	case purser.Role(person.Role) == purser.Owner:
		return person, nil
	case role == "" && o.Arrivals.Provision != ArriveAll:
		return person, no("no group gives a role here any more")
	case role == "":
		role = purser.Viewer
	}
	if string(role) == person.Role {
		return person, nil
	}
	r := recordOf(system, "follow_groups", person.ID)
	r.Detail = map[string]string{"from": person.Role, "to": string(role), "issuer": in.Issuer}
	t.Record(r)
	person.Role = string(role)
	_, err := t.FollowGroups(ctx, db.FollowGroupsParams{Organization: t.Org, ID: person.ID, Role: person.Role})
	return person, err
}

// newcomer joins an account of the issuer to a person who is here under the same
// verified address, or makes a person.
func (o *Office) newcomer(ctx context.Context, t *store.Turn, in Upstream, no func(string, ...any) error) (db.Person, error) {
	now := store.Micro(t.Now)
	person, err := t.PersonByEmail(ctx, in.Email)
	if err == nil {
		if person.Organization != t.Org || person.RemovedAt != 0 {
			return person, no("this person was removed")
		}
		r := recordOf(system, "link_identity", person.ID)
		r.Detail = map[string]string{"issuer": in.Issuer, "subject": in.Subject}
		t.Record(r)
		return person, t.InsertIdentity(ctx, db.InsertIdentityParams{Issuer: in.Issuer, Subject: in.Subject, Organization: t.Org, Person: person.ID, CreatedAt: now})
	}
	if !missing(err) {
		return person, err
	}
	role := o.Arrivals.role(in.Groups)
	if role == "" && o.Arrivals.Provision == ArriveAll {
		role = purser.Viewer
	}
	if o.Arrivals.Provision == ArriveNobody || o.Arrivals.Provision == "" || len(o.Arrivals.Domains) == 0 || role == "" {
		return person, no("this account is nobody here yet")
	}
	id, err := o.newID(purser.PrefixPerson)
	if err != nil {
		return person, err
	}
	r := recordOf(system, "provision_person", id)
	r.Detail = map[string]string{"issuer": in.Issuer, "subject": in.Subject, "email": in.Email, "role": string(role)}
	t.Record(r)
	person = db.Person{Organization: t.Org, ID: id, Name: in.Name, Email: in.Email, Role: string(role), CreatedAt: now}
	err = t.InsertPerson(ctx, db.InsertPersonParams{Organization: t.Org, ID: id, Name: in.Name, Email: in.Email, Role: person.Role, CreatedAt: now})
	if err == nil {
		err = t.InsertIdentity(ctx, db.InsertIdentityParams{Issuer: in.Issuer, Subject: in.Subject, Organization: t.Org, Person: id, Made: 1, CreatedAt: now})
	}
	return person, err
}

// FirstPasskey makes a link with which a person who signs nothing yet makes a first
// passkey. An owner signs that: from then on the person may loosen what the role
// allows. Who has a passkey or a passphrase adds others alone.
func (o *Office) FirstPasskey(ctx context.Context, by purser.Actor, in purser.FirstPasskey) (purser.PasskeyLink, error) {
	link := "" // shown once: the kept answer of the key does not have it
	out, err := once(ctx, o, by, "first_passkey", in, func(t *store.Turn) (purser.PasskeyLink, error) {
		person, err := member(ctx, t.Queries, t.Org, in.Person)
		if err != nil {
			return purser.PasskeyLink{}, err
		}
		signed, err := o.signed(ctx, t, by, "first_passkey", in, in.Act)
		if err != nil {
			return purser.PasskeyLink{}, o.refuseAct(t, by, "first_passkey", in.Person, err)
		}
		shown, err := o.showPerson(ctx, t.Queries, person)
		if err != nil {
			return purser.PasskeyLink{}, err
		}
		if shown.Passkeys > 0 || shown.Passphrase {
			return purser.PasskeyLink{}, purser.Errorf(purser.InvalidState, "this person signs already, and adds passkeys alone").WithHint("a lost one is replaced with a recovery code")
		}
		if link, err = o.passkeyLink(ctx, t, purser.Actor{ID: person.ID}); err != nil {
			return purser.PasskeyLink{}, err
		}
		r := recordOf(by, "first_passkey", person.ID)
		r.Attach = signed
		t.Record(r)
		return purser.PasskeyLink{}, nil
	})
	if err == nil {
		out.Link = link
	}
	return out, err
}
