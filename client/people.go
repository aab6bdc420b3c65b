package client

import (
	"context"

	"github.com/purser-dev/purser"
)

// ShowAct: show what waits to be signed; wait for the signature.
func (c *Client) ShowAct(ctx context.Context, in purser.ActRef) (purser.Act, error) {
	return call[purser.Act](ctx, c, "show_act", in)
}

// AnswerAct: sign with a passkey what another program of the same person asked for.
func (c *Client) AnswerAct(ctx context.Context, in purser.AnswerAct) (purser.Accepted, error) {
	return call[purser.Accepted](ctx, c, "answer_act", in)
}

// AskPasskey: ask what a browser needs to make a passkey, with a code of set-up, invitation or recovery.
func (c *Client) AskPasskey(ctx context.Context, in purser.AskPasskey) (purser.AskedPasskey, error) {
	return call[purser.AskedPasskey](ctx, c, "ask_passkey", in)
}

// RecoverAccess: sign in with a recovery code and a new passkey.
func (c *Client) RecoverAccess(ctx context.Context, in purser.RecoverAccess) (purser.SignedIn, error) {
	return call[purser.SignedIn](ctx, c, "recover_access", in)
}

// AcceptInvitation: join by an invitation, with a passkey.
func (c *Client) AcceptInvitation(ctx context.Context, in purser.AcceptInvitation) (purser.SignedIn, error) {
	return call[purser.SignedIn](ctx, c, "accept_invitation", in)
}

// ListPasskeys: list one's own passkeys.
func (c *Client) ListPasskeys(ctx context.Context, in purser.None) (purser.Passkeys, error) {
	return call[purser.Passkeys](ctx, c, "list_passkeys", in)
}

// AskOwnPasskey: ask what a browser needs to make another passkey for oneself.
func (c *Client) AskOwnPasskey(ctx context.Context, in purser.None) (purser.AskedPasskey, error) {
	return call[purser.AskedPasskey](ctx, c, "ask_own_passkey", in)
}

// AddPasskey: add a passkey to one's own.
func (c *Client) AddPasskey(ctx context.Context, in purser.AddPasskey) (purser.Passkey, error) {
	return call[purser.Passkey](ctx, c, "add_passkey", in)
}

// RevokePasskey: revoke a passkey; it never signs again.
func (c *Client) RevokePasskey(ctx context.Context, in purser.PasskeyRef) (purser.Passkey, error) {
	return call[purser.Passkey](ctx, c, "revoke_passkey", in)
}

// Recovery: make new recovery codes; the old ones stop working.
func (c *Client) Recovery(ctx context.Context, in purser.Recovery) (purser.RecoveryCodes, error) {
	return call[purser.RecoveryCodes](ctx, c, "recovery", in)
}

// ListSessions: list one's own sessions.
func (c *Client) ListSessions(ctx context.Context, in purser.None) (purser.List[purser.Session], error) {
	return call[purser.List[purser.Session]](ctx, c, "list_sessions", in)
}

// RevokeSession: end a session.
func (c *Client) RevokeSession(ctx context.Context, in purser.SessionRef) (purser.Session, error) {
	return call[purser.Session](ctx, c, "revoke_session", in)
}

// ListPeople: list people.
func (c *Client) ListPeople(ctx context.Context, in purser.None) (purser.List[purser.PersonInfo], error) {
	return call[purser.List[purser.PersonInfo]](ctx, c, "list_people", in)
}

// Invite: make a link with which one person joins.
func (c *Client) Invite(ctx context.Context, in purser.Invite) (purser.Invitation, error) {
	return call[purser.Invitation](ctx, c, "invite", in)
}

// ListInvitations: list invitations that nobody used yet.
func (c *Client) ListInvitations(ctx context.Context, in purser.None) (purser.List[purser.Invitation], error) {
	return call[purser.List[purser.Invitation]](ctx, c, "list_invitations", in)
}

// RevokeInvitation: take an invitation back.
func (c *Client) RevokeInvitation(ctx context.Context, in purser.InvitationRef) (purser.Accepted, error) {
	return call[purser.Accepted](ctx, c, "revoke_invitation", in)
}

// SetRole: change what a person may do.
func (c *Client) SetRole(ctx context.Context, in purser.SetRole) (purser.PersonInfo, error) {
	return call[purser.PersonInfo](ctx, c, "set_role", in)
}

// RemovePerson: remove a person, with sessions, passkeys and runs.
func (c *Client) RemovePerson(ctx context.Context, in purser.RemovePerson) (purser.Accepted, error) {
	return call[purser.Accepted](ctx, c, "remove_person", in)
}

// TwoPeople: show the amounts above which two people must approve.
func (c *Client) TwoPeople(ctx context.Context, in purser.None) (purser.TwoPeople, error) {
	return call[purser.TwoPeople](ctx, c, "two_people", in)
}

// SetTwoPeople: set the amount above which two people must approve.
func (c *Client) SetTwoPeople(ctx context.Context, in purser.SetTwoPeople) (purser.TwoPeople, error) {
	return call[purser.TwoPeople](ctx, c, "set_two_people", in)
}

// LowerCeiling: make a new plan of one that waits, with a lower ceiling.
func (c *Client) LowerCeiling(ctx context.Context, in purser.LowerCeiling) (purser.Plan, error) {
	return call[purser.Plan](ctx, c, "lower_ceiling", in)
}
