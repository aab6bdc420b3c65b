package client

import (
	"context"

	"github.com/purser-dev/purser"
)

// PlaceHold: reserve money for something that is about to be used.
func (c *Client) PlaceHold(ctx context.Context, in purser.PlaceHold) (purser.Hold, error) {
	return call[purser.Hold](ctx, c, "place_hold", in)
}

// ListHolds: list holds that are not over.
func (c *Client) ListHolds(ctx context.Context, in purser.AskHolds) (purser.List[purser.Hold], error) {
	return call[purser.List[purser.Hold]](ctx, c, "list_holds", in)
}

// BeginHold: ask leave to act on a hold, now.
func (c *Client) BeginHold(ctx context.Context, in purser.BeginHold) (purser.Hold, error) {
	return call[purser.Hold](ctx, c, "begin_hold", in)
}

// CaptureHold: say what the effect of a begun hold has cost.
func (c *Client) CaptureHold(ctx context.Context, in purser.CaptureHold) (purser.Hold, error) {
	return call[purser.Hold](ctx, c, "capture_hold", in)
}

// ReleaseHold: give back what a hold still covers.
func (c *Client) ReleaseHold(ctx context.Context, in purser.HoldRef) (purser.Hold, error) {
	return call[purser.Hold](ctx, c, "release_hold", in)
}

// ResolveHold: say that nothing more will be charged on a hold.
func (c *Client) ResolveHold(ctx context.Context, in purser.ResolveHold) (purser.Hold, error) {
	return call[purser.Hold](ctx, c, "resolve_hold", in)
}

// ChargeUsage: reserve and spend at once, for metered use.
func (c *Client) ChargeUsage(ctx context.Context, in purser.ChargeUsage) (purser.Hold, error) {
	return call[purser.Hold](ctx, c, "charge_usage", in)
}

// RefundHold: record that captured money was given back.
func (c *Client) RefundHold(ctx context.Context, in purser.RefundHold) (purser.Hold, error) {
	return call[purser.Hold](ctx, c, "refund_hold", in)
}

// AllowRepeat: say that an order may come once more, from the same provider.
func (c *Client) AllowRepeat(ctx context.Context, in purser.AllowRepeat) (purser.Accepted, error) {
	return call[purser.Accepted](ctx, c, "allow_repeat", in)
}

// SetLabels: label a project or a run; taking a label away needs a signed act.
func (c *Client) SetLabels(ctx context.Context, in purser.SetLabels) (purser.Labelled, error) {
	return call[purser.Labelled](ctx, c, "set_labels", in)
}

// CreatePlatform: register a program that meters what agents spend; its token is shown once.
func (c *Client) CreatePlatform(ctx context.Context, in purser.CreatePlatform) (purser.PlatformInfo, error) {
	return call[purser.PlatformInfo](ctx, c, "create_platform", in)
}

// ListPlatforms: list registered platforms.
func (c *Client) ListPlatforms(ctx context.Context, in purser.None) (purser.List[purser.PlatformInfo], error) {
	return call[purser.List[purser.PlatformInfo]](ctx, c, "list_platforms", in)
}

// RevokePlatform: revoke a platform and its token.
func (c *Client) RevokePlatform(ctx context.Context, in purser.PlatformRef) (purser.PlatformInfo, error) {
	return call[purser.PlatformInfo](ctx, c, "revoke_platform", in)
}
