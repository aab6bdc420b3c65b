package client

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/purser-dev/purser"
)

const (
	deviceClient = "purser-cli"
	deviceGrant  = "urn:ietf:params:oauth:grant-type:device_code"
)

// AskDevice begins a sign-in by device authorization (RFC 8628). name is what the
// person will read of this device.
func (c *Client) AskDevice(ctx context.Context, name string) (purser.DeviceLogin, error) {
	var out purser.DeviceLogin
	err := c.form(ctx, "/oauth/device", url.Values{"client_id": {deviceClient}, "device_name": {name}}, &out)
	if err == nil && (out.DeviceCode == "" || out.UserCode == "") {
		err = stranger(http.StatusOK)
	}
	return out, err
}

// RedeemDevice asks whether a person confirmed the code: authorization_pending
// until then, too_many_tries for asking too often (with the new pause between two
// questions), access_denied for a no, and expired_token when the time is over.
func (c *Client) RedeemDevice(ctx context.Context, code string) (purser.SignedIn, error) {
	var out struct {
		Access       string    `json:"access_token"`
		Organization string    `json:"organization"`
		Person       string    `json:"person"`
		Name         string    `json:"name"`
		ExpiresAt    time.Time `json:"expires_at"`
	}
	err := c.form(ctx, "/oauth/token", url.Values{"grant_type": {deviceGrant}, "client_id": {deviceClient}, "device_code": {code}}, &out)
	if err == nil && out.Access == "" {
		err = stranger(http.StatusOK)
	}
	return purser.SignedIn{Token: out.Access, Organization: out.Organization, Person: out.Person, Name: out.Name, ExpiresAt: out.ExpiresAt}, err
}

// form sends a form of OAuth, without a credential, and reads the answer.
func (c *Client) form(ctx context.Context, path string, values url.Values, out any) error {
	bare := *c
	bare.config.Token = ""
	r := request{method: http.MethodPost, path: path, kind: "application/x-www-form-urlencoded", body: []byte(values.Encode())}
	resp, err := bare.send(ctx, r, bytes.NewReader(r.body))
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		return refusal(resp)
	}
	text, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return c.lost(r, err)
	}
	if json.Unmarshal(text, out) != nil {
		return stranger(resp.StatusCode)
	}
	return nil
}

// refusal reads an error of OAuth (RFC 6749 5.2) as one of ours; the server adds
// our own code to it.
func refusal(resp *http.Response) error {
	text, _ := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	var p struct {
		Error       string      `json:"error"`
		Description string      `json:"error_description"`
		Code        purser.Code `json:"code"`
	}
	if json.Unmarshal(text, &p) != nil || p.Error == "" {
		return stranger(resp.StatusCode)
	}
	if p.Code == "" || purser.Code(p.Code).Info().Code != p.Code {
		p.Code = purser.Forbidden
	}
	e := purser.Errorf(p.Code, "%s", p.Description)
	if p.Code == purser.AccessDenied || p.Code == purser.ExpiredToken {
		e.Hint = "purser login"
	}
	if seconds, err := strconv.Atoi(resp.Header.Get("Retry-After")); err == nil && seconds > 0 {
		e.RetryAfter = time.Duration(seconds) * time.Second
	}
	return e
}
