package office

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/purser-dev/purser"
	"github.com/purser-dev/purser/internal/audit"
	"github.com/purser-dev/purser/internal/seal"
	"github.com/purser-dev/purser/internal/store"
	"github.com/purser-dev/purser/internal/store/db"
)

const inviteTTL = 72 * time.Hour

// ListPeople lists who belongs to the organization.
func (o *Office) ListPeople(ctx context.Context, by purser.Actor, _ purser.None) (purser.List[purser.PersonInfo], error) {
	q, out := o.Store.Read(), purser.List[purser.PersonInfo]{Items: []purser.PersonInfo{}}
	rows, err := q.People(ctx, by.Organization)
	if err != nil {
		return out, err
	}
	for _, p := range rows {
		info, err := o.showPerson(ctx, q, p)
		if err != nil {
			return out, err
		}
		out.Items = append(out.Items, info)
	}
	return out, nil
}

func (o *Office) showPerson(ctx context.Context, q *db.Queries, p db.Person) (purser.PersonInfo, error) {
	out := purser.PersonInfo{
		ID: p.ID, Name: p.Name, Email: p.Email, Role: purser.Role(p.Role), Passphrase: p.PublicKey != "", CreatedAt: store.Time(p.CreatedAt),
	}
	keys, err := q.PasskeysOfPerson(ctx, db.PasskeysOfPersonParams{Organization: p.Organization, Person: p.ID})
	if err != nil {
		return out, err
	}
	out.Passkeys = len(keys)
	sessions, err := q.SessionsOfPerson(ctx, db.SessionsOfPersonParams{Organization: p.Organization, Principal: p.ID, Now: store.Micro(o.Now())})
	for _, s := range sessions {
		if seen := store.TimeOrNil(max(s.SeenAt, s.CreatedAt)); out.SeenAt == nil || seen.After(*out.SeenAt) {
			out.SeenAt = seen
		}
	}
	return out, err
}

func validRole(r purser.Role) error {
	if r != purser.Owner && r != purser.Approver && r != purser.Viewer {
		return purser.Errorf(purser.InvalidRequest, "a role is owner, approver or viewer, not %q", r)
	}
	return nil
}

// Invite makes a link with which one person joins, in a role. The owner signs it.
func (o *Office) Invite(ctx context.Context, by purser.Actor, in purser.Invite) (purser.Invitation, error) {
	if err := validRole(in.Role); err != nil {
		return purser.Invitation{}, err
	}
	life := inviteTTL
	if in.Expires != "" {
		d, err := time.ParseDuration(in.Expires)
		if err != nil || d <= 0 || d > longest {
			return purser.Invitation{}, purser.Errorf(purser.InvalidRequest, "%q is not a time an invitation can last: write it like 72h, at most %v", in.Expires, longest)
		}
		life = d
	}
	var code seal.Secret // shown once: the kept answer of the key does not have it
	out, err := once(ctx, o, by, "invite", in, func(t *store.Turn) (purser.Invitation, error) {
		signed, err := o.signed(ctx, t, by, "invite", in, in.Act)
		if err != nil {
			return purser.Invitation{}, o.refuseAct(t, by, "invite", string(in.Role), err)
		}
		id, err := o.newID(purser.PrefixInvitation)
		if err != nil {
			return purser.Invitation{}, err
		}
		text, err := o.randomText(24)
		if err != nil {
			return purser.Invitation{}, err
		}
		code = seal.NewSecret(text)
		row := db.Invitation{Organization: t.Org, ID: id, Role: string(in.Role), Person: by.ID, CreatedAt: store.Micro(t.Now), ExpiresAt: store.Micro(t.Now.Add(life))}
		err = t.InsertInvitation(ctx, db.InsertInvitationParams{
			Organization: t.Org, ID: id, Hash: textHash(text), Role: row.Role, Person: by.ID, CreatedAt: row.CreatedAt, ExpiresAt: row.ExpiresAt,
		})
		if err != nil {
			return purser.Invitation{}, err
		}
		r := recordOf(by, "invite", id)
		r.Attach, r.Detail = signed, map[string]string{"role": row.Role, "expires": store.Time(row.ExpiresAt).Format(time.RFC3339)}
		t.Record(r)
		return showInvitation(row), nil
	})
	if err == nil && code.Reveal() != "" {
		out.Link = o.PublicURL() + "/invitation?code=" + code.Reveal()
	}
	return out, err
}

func showInvitation(i db.Invitation) purser.Invitation {
	return purser.Invitation{ID: i.ID, Role: purser.Role(i.Role), Person: i.Person, CreatedAt: store.Time(i.CreatedAt), ExpiresAt: store.Time(i.ExpiresAt)}
}

// ListInvitations lists those that nobody used yet.
func (o *Office) ListInvitations(ctx context.Context, by purser.Actor, _ purser.None) (purser.List[purser.Invitation], error) {
	out := purser.List[purser.Invitation]{Items: []purser.Invitation{}}
	rows, err := o.Store.Read().OpenInvitations(ctx, db.OpenInvitationsParams{Organization: by.Organization, Now: store.Micro(o.Now())})
	for _, i := range rows {
		out.Items = append(out.Items, showInvitation(i))
	}
	return out, err
}

// RevokeInvitation takes a link back that nobody used.
func (o *Office) RevokeInvitation(ctx context.Context, by purser.Actor, in purser.InvitationRef) (purser.Accepted, error) {
	return once(ctx, o, by, "revoke_invitation", in, func(t *store.Turn) (purser.Accepted, error) {
		n, err := t.RevokeInvitation(ctx, db.RevokeInvitationParams{Organization: t.Org, ID: in.Invitation, Now: store.Micro(t.Now)})
		if err != nil || n != 1 {
			return purser.Accepted{}, orWrong(err, purser.Errorf(purser.NotFound, "no open invitation is called %q here", in.Invitation))
		}
		t.Record(recordOf(by, "revoke_invitation", in.Invitation))
		return purser.Accepted{OK: true}, nil
	})
}

// openInvitation finds an invitation that can be used; wrong_signature if none.
func (o *Office) openInvitation(ctx context.Context, q *db.Queries, code string) (db.Invitation, error) {
	i, err := q.InvitationByHash(ctx, textHash(code))
	if err == nil && (i.UsedAt != 0 || i.RevokedAt != 0 || store.Micro(o.Now()) >= i.ExpiresAt) || missing(err) {
		return i, purser.Errorf(purser.WrongSignature, "the invitation is wrong, was used, or its time is over").WithHint("ask who invited you for another")
	}
	return i, err
}

// AcceptInvitation makes a person of who holds the link. It works once.
func (o *Office) AcceptInvitation(ctx context.Context, by purser.Actor, in purser.AcceptInvitation) (out purser.SignedIn, err error) {
	if err := o.throttle(by.Source); err != nil {
		return out, err
	}
	in.Name, in.Email = strings.TrimSpace(in.Name), normalEmail(in.Email)
	if faults := personFaults(in.Name, in.Email); len(faults) > 0 {
		return out, purser.Errorf(purser.InvalidRequest, "%s", strings.Join(faults, "; "))
	}
	i, err := o.openInvitation(ctx, o.Store.Read(), in.Code)
	if err != nil {
		if purser.CodeOf(err) == purser.WrongSignature {
			o.countFailure(by.Source, "accept_invitation")
		}
		return out, err
	}
	made, err := o.madePasskey(ctx, by, in.Passkey, "accept_invitation", in.Code)
	if err != nil {
		return out, err
	}
	person := in.Passkey.Person
	var codes []string
	err = o.turn(ctx, i.Organization, func(t *store.Turn) error {
		if _, err := t.PersonByEmail(ctx, in.Email); !missing(err) {
			return orWrong(err, purser.Errorf(purser.AlreadyExists, "somebody with this e-mail address is here already").WithHint("sign in, or use another address"))
		}
		n, err := t.UseInvitation(ctx, db.UseInvitationParams{Organization: t.Org, ID: i.ID, UsedBy: person, Now: store.Micro(t.Now)})
		if err != nil || n != 1 {
			return orWrong(err, purser.Errorf(purser.WrongSignature, "the invitation was used"))
		}
		err = t.InsertPerson(ctx, db.InsertPersonParams{Organization: t.Org, ID: person, Name: in.Name, Email: in.Email, Role: i.Role, CreatedAt: store.Micro(t.Now)})
		if err != nil {
			return err
		}
		if codes, err = o.keepPasskey(ctx, t, t.Org, person, made); err != nil {
			return err
		}
		out, err = o.openSession(ctx, t, by, person, in.Name, "accept_invitation", func(r *audit.Record) {
			r.Detail = made.detail()
			r.Detail["invitation"], r.Detail["role"], r.Detail["invited_by"] = i.ID, i.Role, i.Person
		})
		return err
	})
	out.RecoveryCodes = codes
	return out, err
}

// lastOwner refuses to leave an organization without an owner.
func lastOwner(ctx context.Context, t *store.Turn, p db.Person) error {
	if purser.Role(p.Role) != purser.Owner {
		return nil
	}
	n, err := t.CountOwners(ctx, t.Org)
	if err == nil && n < 2 {
		err = purser.Errorf(purser.InvalidState, "%s is the last owner", p.Name).WithHint("make somebody else an owner first")
	}
	return err
}

// member loads a person who was not removed.
func member(ctx context.Context, q *db.Queries, org, id string) (db.Person, error) {
	p, err := q.Person(ctx, db.PersonParams{Organization: org, ID: id})
	if err == nil && p.RemovedAt != 0 || missing(err) {
		err = purser.Errorf(purser.NotFound, "no person is called %q here", id).WithHint("purser people list")
	}
	return p, err
}

// SetRole changes what a person may do, and ends the person's sessions, so that
// none goes on under the old role.
func (o *Office) SetRole(ctx context.Context, by purser.Actor, in purser.SetRole) (purser.PersonInfo, error) {
	if err := validRole(in.Role); err != nil {
		return purser.PersonInfo{}, err
	}
	return once(ctx, o, by, "set_role", in, func(t *store.Turn) (purser.PersonInfo, error) {
		p, err := member(ctx, t.Queries, t.Org, in.Person)
		if err == nil && in.Role != purser.Owner {
			err = lastOwner(ctx, t, p)
		}
		var signed *audit.Attachment
		if err == nil {
			signed, err = o.signed(ctx, t, by, "set_role", in, in.Act)
		}
		if err != nil {
			return purser.PersonInfo{}, o.refuseAct(t, by, "set_role", in.Person, err)
		}
		if err := t.SetRole(ctx, db.SetRoleParams{Organization: t.Org, ID: p.ID, Role: string(in.Role)}); err != nil {
			return purser.PersonInfo{}, err
		}
		if err := o.endAccess(ctx, t, p, in.Role == purser.Owner); err != nil {
			return purser.PersonInfo{}, err
		}
		r := recordOf(by, "set_role", p.ID)
		r.Attach, r.Detail = signed, map[string]string{"role": string(in.Role), "was": p.Role}
		t.Record(r)
		p.Role = string(in.Role)
		return o.showPerson(ctx, t.Queries, p)
	})
}

// endAccess ends a person's sessions, and the invitations of one who is no owner.
func (o *Office) endAccess(ctx context.Context, t *store.Turn, p db.Person, owner bool) error {
	_, err := t.RevokeTokensOfPrincipal(ctx, db.RevokeTokensOfPrincipalParams{Organization: t.Org, Principal: p.ID, Now: store.Micro(t.Now)})
	if err == nil && !owner {
		_, err = t.RevokeInvitationsOfPerson(ctx, db.RevokeInvitationsOfPersonParams{Organization: t.Org, Person: p.ID, Now: store.Micro(t.Now)})
	}
	return err
}

// RemovePerson ends all that a person could do here, and the runs that act for
// them. What they did stays on the record.
func (o *Office) RemovePerson(ctx context.Context, by purser.Actor, in purser.RemovePerson) (purser.Accepted, error) {
	return once(ctx, o, by, "remove_person", in, func(t *store.Turn) (purser.Accepted, error) {
		p, err := member(ctx, t.Queries, t.Org, in.Person)
		if err == nil {
			err = lastOwner(ctx, t, p)
		}
		var signed *audit.Attachment
		if err == nil {
			signed, err = o.signed(ctx, t, by, "remove_person", in, in.Act)
		}
		if err != nil {
			return purser.Accepted{}, o.refuseAct(t, by, "remove_person", in.Person, err)
		}
		now := store.Micro(t.Now)
		if err := o.endAccess(ctx, t, p, false); err != nil {
			return purser.Accepted{}, err
		}
		if _, err := t.RevokePasskeysOfPerson(ctx, db.RevokePasskeysOfPersonParams{Organization: t.Org, Person: p.ID, Now: now}); err != nil {
			return purser.Accepted{}, err
		}
		if err := t.DropAllRecoveryCodes(ctx, db.DropAllRecoveryCodesParams{Organization: t.Org, Person: p.ID}); err != nil {
			return purser.Accepted{}, err
		}
		runs, err := t.ActiveRunsOfPerson(ctx, db.ActiveRunsOfPersonParams{Organization: t.Org, Person: p.ID, Now: now})
		if err != nil {
			return purser.Accepted{}, err
		}
		for _, run := range runs {
			if _, err := t.EndRun(ctx, db.EndRunParams{Organization: t.Org, ID: run.ID, Now: now}); err != nil {
				return purser.Accepted{}, err
			}
			if _, err := t.RevokeTokensOfRun(ctx, db.RevokeTokensOfRunParams{Organization: t.Org, Run: run.ID, Now: now}); err != nil {
				return purser.Accepted{}, err
			}
			t.Record(recordOf(by, "end_run", run.ID))
		}
		if err := t.RemovePerson(ctx, db.RemovePersonParams{Organization: t.Org, ID: p.ID, Now: now}); err != nil {
			return purser.Accepted{}, err
		}
		r := recordOf(by, "remove_person", p.ID)
		r.Attach, r.Detail = signed, map[string]string{"name": p.Name, "email": p.Email, "role": p.Role, "runs_ended": fmt.Sprint(len(runs))}
		t.Record(r)
		return purser.Accepted{OK: true}, nil
	})
}
