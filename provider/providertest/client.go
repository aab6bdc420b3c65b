package providertest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/purser-dev/purser/app"
)

// client is a partner of the generic profile: it serves its documents and proves
// itself by a key.
type client struct {
	server  *http.Server
	base    string // where the provider fetches from
	key     *ecdsa.PrivateKey
	strange *ecdsa.PrivateKey // a key that is not in the document

	mu        sync.Mutex
	documents map[string]any // by path
}

// Documents of the clients that the suite pretends to be.
const (
	publicClient = "/public.json"
	keyedClient  = "/keyed.json"
)

// partner starts the client once.
func (p *probe) partner() *client {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.session.client != nil {
		return p.session.client
	}
	addr := p.config.ClientAddr
	if addr == "" {
		addr = "127.0.0.1:0"
	}
	listener, err := net.Listen("tcp", addr)
	if err != nil {
		p.failf("serving client documents: %v", err)
	}
	c := &client{base: strings.TrimRight(p.config.ClientURL, "/"), documents: map[string]any{}}
	if c.base == "" {
		c.base = "http://" + listener.Addr().String()
	}
	for _, key := range []**ecdsa.PrivateKey{&c.key, &c.strange} {
		if *key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
			p.failf("making a key: %v", err)
		}
	}
	c.serve(publicClient, c.document(publicClient, nil))
	c.serve(keyedClient, c.document(keyedClient, map[string]any{"token_endpoint_auth_method": "private_key_jwt", "jwks_uri": c.base + "/jwks.json"}))
	c.serve("/jwks.json", map[string]any{"keys": []any{c.jwk()}})
	c.server = &http.Server{Handler: c, ReadHeaderTimeout: 5 * time.Second}
	go func() { _ = c.server.Serve(listener) }() // ends with the session
	p.session.client = c
	return c
}

func (c *client) serve(path string, document any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.documents[path] = document
}

// ServeHTTP answers the documents.
func (c *client) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c.mu.Lock()
	document, ok := c.documents[r.URL.Path]
	c.mu.Unlock()
	if !ok {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(document)
}

// document is a client ID metadata document (15.1) that opts in.
func (c *client) document(path string, with map[string]any) map[string]any {
	document := map[string]any{
		"client_id": c.base + path, "client_name": "Conformance", "redirect_uris": []string{"https://orchestrator.example/callback"},
		"dev.purser": map[string]any{"provisioning": true, "scopes": []string{"conformance:read"}},
	}
	for name, value := range with {
		document[name] = value
	}
	return document
}

func (c *client) jwk() map[string]string {
	point, _ := c.key.PublicKey.Bytes() // 4, x, y
	b64 := base64.RawURLEncoding
	return map[string]string{
		"kid": "k1", "kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig",
		"x": b64.EncodeToString(point[1:33]), "y": b64.EncodeToString(point[33:]),
	}
}

// assertion signs a fresh client assertion (15.3). change may spoil its claims.
func (p *probe) assertion(key *ecdsa.PrivateKey, change map[string]any) string {
	c := p.partner()
	now := p.config.Now().Unix()
	claims := map[string]any{
		"iss": c.base + keyedClient, "sub": c.base + keyedClient, "aud": p.config.TokenURL, "iat": now, "exp": now + 120, "jti": p.unique(),
	}
	for name, value := range change {
		claims[name] = value
	}
	part := func(v any) string {
		raw, err := json.Marshal(v)
		if err != nil {
			p.failf("encoding an assertion: %v", err)
		}
		return base64.RawURLEncoding.EncodeToString(raw)
	}
	signed := part(map[string]string{"alg": "ES256", "kid": "k1", "typ": "JWT"}) + "." + part(claims)
	sum := sha256.Sum256([]byte(signed))
	der, err := key.Sign(rand.Reader, sum[:], crypto.SHA256)
	if err != nil {
		p.failf("signing an assertion: %v", err)
	}
	return signed + "." + base64.RawURLEncoding.EncodeToString(fixed(der))
}

// fixed is an ECDSA signature as JWS wants it: r and s of 32 bytes each, out of DER.
func fixed(der []byte) []byte {
	out := make([]byte, 64)
	rest := der[2:]
	for i := range 2 {
		n := int(rest[1])
		value := rest[2 : 2+n]
		for len(value) > 32 {
			value = value[1:]
		}
		copy(out[32*i+32-len(value):], value)
		rest = rest[2+n:]
	}
	return out
}

const assertionType = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

// asPublic and asKeyed are account requests of the two clients.
func (p *probe) asPublic(with map[string]any) map[string]any {
	return p.asClient(publicClient, with)
}

func (p *probe) asKeyed(assertion string) map[string]any {
	return p.asClient(keyedClient, map[string]any{"client_assertion": assertion, "client_assertion_type": assertionType})
}

// keyed is a fresh, proven account request with changes.
func (p *probe) keyed(with map[string]any) map[string]any {
	body := p.asKeyed(p.assertion(p.partner().key, nil))
	for name, value := range with {
		body[name] = value
		if value == nil {
			delete(body, name)
		}
	}
	return body
}

func (p *probe) asClient(document string, with map[string]any) map[string]any {
	body := p.accountRequest(map[string]any{"orchestrator": nil, "client_id": p.partner().base + document, "scopes": []string{"conformance:read"}})
	for name, value := range with {
		body[name] = value
		if value == nil {
			delete(body, name)
		}
	}
	return body
}

// redeemAs exchanges a code as a client of the generic profile.
func (p *probe) redeemAs(document, code string, with url.Values) *reply {
	form := url.Values{"grant_type": {"authorization_code"}, "code": {code}, "code_verifier": {verifier}, "client_id": {p.partner().base + document}}
	for name, values := range with {
		form[name] = values
	}
	return p.form(form, unsigned)
}

// claim makes an account as the client with a key and gives its token. That client
// has the wider limits (15.5).
func (p *probe) claim() app.Token {
	r := p.post(accountPath, p.asKeyed(p.assertion(p.partner().key, nil)), unsigned)
	p.succeeds(r, "type", app.AnswerOAuth)
	return p.token(p.redeemKeyed(r.text("oauth", "code")))
}

func (p *probe) redeemKeyed(code string) *reply {
	return p.redeemAs(keyedClient, code, p.proof(p.assertion(p.partner().key, nil)))
}
