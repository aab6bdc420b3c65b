package client

import (
	"context"

	"github.com/purser-dev/purser"
)

// ShowAuthorization: show what a client asks for.
func (c *Client) ShowAuthorization(ctx context.Context, in purser.AuthorizationRef) (purser.Authorization, error) {
	return call[purser.Authorization](ctx, c, "show_authorization", in)
}

// FirstPasskey: make a link with which a person who has none makes a first passkey.
func (c *Client) FirstPasskey(ctx context.Context, in purser.FirstPasskey) (purser.PasskeyLink, error) {
	return call[purser.PasskeyLink](ctx, c, "first_passkey", in)
}

// Grant: connect a client: give it an agent and a run with a budget.
func (c *Client) Grant(ctx context.Context, in purser.GrantClient) (purser.Granted, error) {
	return call[purser.Granted](ctx, c, "grant", in)
}

// Decline: tell a client no.
func (c *Client) Decline(ctx context.Context, in purser.AuthorizationRef) (purser.Declined, error) {
	return call[purser.Declined](ctx, c, "decline", in)
}

// ListGrants: list connected clients.
func (c *Client) ListGrants(ctx context.Context, in purser.Page) (purser.List[purser.Grant], error) {
	return call[purser.List[purser.Grant]](ctx, c, "list_grants", in)
}

// RevokeGrant: disconnect a client.
func (c *Client) RevokeGrant(ctx context.Context, in purser.GrantRef) (purser.Grant, error) {
	return call[purser.Grant](ctx, c, "revoke_grant", in)
}

// ShowDevice: show which device asks to sign in with a code.
func (c *Client) ShowDevice(ctx context.Context, in purser.DeviceRef) (purser.Device, error) {
	return call[purser.Device](ctx, c, "show_device", in)
}

// ConfirmDevice: sign in the device that shows a code, from a browser.
func (c *Client) ConfirmDevice(ctx context.Context, in purser.DeviceRef) (purser.Device, error) {
	return call[purser.Device](ctx, c, "confirm_device", in)
}

// DenyDevice: refuse the device that shows a code.
func (c *Client) DenyDevice(ctx context.Context, in purser.DeviceRef) (purser.Device, error) {
	return call[purser.Device](ctx, c, "deny_device", in)
}
