package seller

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/purser-dev/purser/app"
)

// profileGeneric is the partner's profile: we are known by the URL of a document of
// ours and prove it with a key, instead of a shared secret (APP 15).
const profileGeneric = "generic"

const assertionType = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

// ClientIDPath is where the document is served that names us to generic providers.
// The whole URL is our client_id (APP 15.1).
const ClientIDPath = "/.well-known/purser-client.json"

// ClientID is our client_id below a public origin.
func ClientID(origin string) string { return strings.TrimSuffix(origin, "/") + ClientIDPath }

var errNoKeys = errors.New("there is no key for the generic profile")

// asPartner signs an account request anew: an assertion works once (APP 15.3).
func (s *Seller) asPartner(p Provider, req app.AccountRequest) (app.AccountRequest, error) {
	assertion, err := s.assertion(p)
	if err != nil {
		return req, misconfigured(p, err)
	}
	req.ClientID, req.ClientAssertion, req.ClientAssertionType = ClientID(s.cfg.Origin()), assertion, assertionType
	return req, nil
}

func (s *Seller) assertion(p Provider) (string, error) {
	if s.cfg.Keys == nil {
		return "", errNoKeys
	}
	return s.cfg.Keys.Assertion(ClientID(s.cfg.Origin()), p.Manifest.OAuthTokenEndpoint, s.cfg.Now())
}

// partner turns our calls into those of the generic profile (APP 3.4, 15): without
// signatures and orchestrator block, without service_id and payment, and with an
// assertion at the token endpoint.
type partner struct {
	next     http.RoundTripper
	seller   *Seller
	provider Provider
}

func (t *partner) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	for _, name := range []string{app.HeaderSignature, app.HeaderSignatureV2, app.HeaderNeutralSignature, app.HeaderNeutralSignatureV2} {
		r.Header.Del(name)
	}
	if r.Body == nil {
		return t.next.RoundTrip(r)
	}
	body, err := io.ReadAll(r.Body)
	_ = r.Body.Close()
	if err != nil {
		return nil, fmt.Errorf("reading our own request: %w", err)
	}
	if body, err = t.rewritten(r, body); err != nil {
		return nil, err
	}
	r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	r.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(body)), nil }
	return t.next.RoundTrip(r)
}

func (t *partner) rewritten(r *http.Request, body []byte) ([]byte, error) {
	if r.Header.Get("Content-Type") == "application/x-www-form-urlencoded" {
		return t.form(body)
	}
	if len(body) == 0 {
		return body, nil
	}
	var members map[string]json.RawMessage
	if err := json.Unmarshal(body, &members); err != nil {
		return nil, fmt.Errorf("reading our own request: %w", err)
	}
	for _, name := range []string{"orchestrator", "service_id", "payment_credentials"} {
		delete(members, name)
	}
	return json.Marshal(members)
}

func (t *partner) form(body []byte) ([]byte, error) {
	form, err := url.ParseQuery(string(body))
	if err != nil {
		return nil, fmt.Errorf("reading our own request: %w", err)
	}
	assertion, err := t.seller.assertion(t.provider)
	if err != nil {
		return nil, err
	}
	form.Set("client_id", ClientID(t.seller.cfg.Origin()))
	form.Set("client_assertion", assertion)
	form.Set("client_assertion_type", assertionType)
	return []byte(form.Encode()), nil
}
