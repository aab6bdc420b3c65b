package oauth

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// The verifier and challenge of RFC 7636 appendix B.
const (
	verifier  = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
	challenge = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
)

func codeOf(err error) string {
	var e *Error
	if errors.As(err, &e) {
		return e.Code
	}
	return ""
}

func TestARequestWithoutAStrongChallengeIsRefused(t *testing.T) {
	whole := url.Values{
		"response_type": {"code"}, "client_id": {"cli_1"}, "redirect_uri": {"http://127.0.0.1/cb"}, "code_challenge": {challenge}, "code_challenge_method": {"S256"}, "state": {"s"},
		"resource": {"http://localhost:1/mcp"}, "scope": {"read"},
	}
	resources := Resources("http://localhost:1")
	for _, tt := range []struct {
		name   string
		change func(url.Values)
		want   string
	}{
		{"as it should be", func(url.Values) {}, ""},
		{"no challenge", func(v url.Values) { v.Del("code_challenge") }, InvalidRequest},
		{"plain", func(v url.Values) { v.Set("code_challenge_method", "plain") }, InvalidRequest},
		{"no method, which would mean plain", func(v url.Values) { v.Del("code_challenge_method") }, InvalidRequest},
		{"another method", func(v url.Values) { v.Set("code_challenge_method", "s256") }, InvalidRequest},
		{"a challenge that is none", func(v url.Values) { v.Set("code_challenge", "short") }, InvalidRequest},
		{"a challenge with stray last bits", func(v url.Values) { v.Set("code_challenge", challenge[:42]+"N") }, InvalidRequest},
		{"the implicit flow", func(v url.Values) { v.Set("response_type", "token") }, UnsupportedResponse},
		{"a hybrid flow", func(v url.Values) { v.Set("response_type", "code id_token") }, UnsupportedResponse},
		{"a fragment", func(v url.Values) { v.Set("response_mode", "fragment") }, InvalidRequest},
		{"a request by reference", func(v url.Values) { v.Set("request_uri", "https://x") }, RequestNotSupported},
		{"another resource", func(v url.Values) { v.Set("resource", "https://elsewhere.example/mcp") }, InvalidTarget},
		{"a resource beside ours", func(v url.Values) { v.Set("resource", "http://localhost:1/mcp/x") }, InvalidTarget},
		{"unknown scopes only", func(v url.Values) { v.Set("scope", "admin approve") }, InvalidScope},
		{"an endless state", func(v url.Values) { v.Set("state", strings.Repeat("x", 2000)) }, InvalidRequest},
	} {
		t.Run(tt.name, func(t *testing.T) {
			v, err := url.ParseQuery(whole.Encode())
			if err != nil {
				t.Fatal(err)
			}
			tt.change(v)
			get, err := Once(v)
			if err != nil {
				t.Fatal(err)
			}
			r, err := ParseRequest(get, Client{ID: "cli_1"}, "http://127.0.0.1/cb", resources)
			if codeOf(err) != tt.want || (err == nil) != (tt.want == "") {
				t.Errorf("got %v, want %q", err, tt.want)
			}
			if err == nil && (r.Scope != "read" || r.Resource != "http://localhost:1/mcp" || r.Challenge != challenge) {
				t.Errorf("read as %+v", r)
			}
		})
	}
}

func TestARepeatedParameterIsRefused(t *testing.T) {
	for text, want := range map[string]string{"a=1&a=2": InvalidRequest, "resource=x&resource=y": InvalidTarget, "client_id=1&client_id=1": InvalidRequest, "a=1&b=2": ""} {
		v, err := url.ParseQuery(text)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Once(v); codeOf(err) != want {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
}

func TestOnlyTheVerifierFitsItsChallenge(t *testing.T) {
	for text, want := range map[string]bool{
		verifier: true, challenge: false, "": false, verifier[:42]: false, verifier + "x": false, strings.ToUpper(verifier): false, verifier[:42] + "!": false, strings.Repeat("a", 129): false,
	} {
		if Verifies(text, challenge) != want {
			t.Errorf("%q fits: %v", text, !want)
		}
	}
}

func TestAScopeIsNeverMoreThanMayBeHad(t *testing.T) {
	for _, tt := range []struct{ asked, may, want string }{
		{"", "read spend", "read spend"},
		{"read", "read spend", "read"},
		{"spend read", "read spend", "read spend"},
		{"read offline_access", "read spend", "read"},
		{"spend", "read", ""},
		{"approve", "read spend", ""},
		{"", "read", "read"},
	} {
		got, err := ParseScope(tt.asked, strings.Fields(tt.may))
		if got != tt.want || (err == nil) != (tt.want != "") {
			t.Errorf("%q of %q: %q %v, want %q", tt.asked, tt.may, got, err, tt.want)
		}
	}
}

func TestATokenFitsTheDoorItWasMadeFor(t *testing.T) {
	const origin = "http://localhost:1"
	for _, tt := range []struct {
		resource, path string
		want           bool
	}{
		{origin, "/mcp", true},
		{origin, "/v1/plans", true},
		{origin + "/mcp", "/mcp", true},
		{origin + "/mcp", "/mcp/x", true},
		{origin + "/mcp", "/v1/plans", false},
		{origin + "/mcp", "/mcpx", false},
		{origin + "/v1", "/mcp", false},
		{origin + "/v1", "/v1/plans", true},
		{"http://elsewhere/mcp", "/mcp", false},
		{"", "/mcp", false},
	} {
		if got := Covers(tt.resource, origin, tt.path); got != tt.want {
			t.Errorf("%s at %s: %v", tt.resource, tt.path, got)
		}
	}
}

func TestAnAnswer401NamesTheMetadataOfItsDoor(t *testing.T) {
	for path, want := range map[string]string{"/mcp": PathResource + "/mcp", "/v1/plans": PathResource + "/v1", "/oauth/introspect": PathResource} {
		if got := Challenge("http://localhost:1", path, false); got != `Bearer realm="purser", resource_metadata="http://localhost:1`+want+`"` {
			t.Errorf("%s: %s", path, got)
		}
	}
	if got := Challenge("http://localhost:1", "/mcp", true); !strings.HasSuffix(got, `, error="invalid_token"`) {
		t.Errorf("with a credential: %s", got)
	}
}

func TestAClientsDocumentNamesItselfAndHoldsNoSecret(t *testing.T) {
	const address = "https://client.example/id.json"
	for name, tt := range map[string]struct{ text, want string }{
		"right":           {`{"client_id":"` + address + `","client_name":"C","redirect_uris":["http://127.0.0.1/cb"]}`, ""},
		"another's name":  {`{"client_id":"https://other.example/id.json","redirect_uris":["http://127.0.0.1/cb"]}`, InvalidClient},
		"other case":      {`{"Client_ID":"https://other.example/x","client_id":"` + address + `","redirect_uris":["http://127.0.0.1/cb"],"client_secret":""}`, InvalidClient},
		"a secret":        {`{"client_id":"` + address + `","redirect_uris":["http://127.0.0.1/cb"],"client_secret":"x"}`, InvalidClient},
		"secret's method": {`{"client_id":"` + address + `","redirect_uris":["http://127.0.0.1/cb"],"token_endpoint_auth_method":"client_secret_basic"}`, InvalidClient},
		"no redirect":     {`{"client_id":"` + address + `"}`, InvalidRedirect},
		"a bad redirect":  {`{"client_id":"` + address + `","redirect_uris":["javascript:alert(1)"]}`, InvalidRedirect},
		"no object":       {`[]`, InvalidClient},
		"not JSON":        {`<html>`, InvalidClient},
		"wrong types":     {`{"client_id":"` + address + `","redirect_uris":"http://127.0.0.1/cb"}`, InvalidClient},
	} {
		if c, err := ParseDocument(address, []byte(tt.text)); codeOf(err) != tt.want || err == nil && (c.ID != address || c.Method != MethodNone || !c.Document) {
			t.Errorf("%s: %+v %v", name, c, err)
		}
	}
}

func TestAClientsNameShowsNothingHidden(t *testing.T) {
	m := Metadata{ClientName: "Good\u202e elbisreveR\n\n\x00\u200bApp " + strings.Repeat("x", 500), Redirects: []string{"https://client.example/cb"}}
	c, err := m.Check()
	if err != nil || strings.ContainsAny(c.Name, "\u202e\n\x00\u200b") || len([]rune(c.Name)) != 100 || !strings.HasPrefix(c.Name, "Good elbisreveR App x") {
		t.Errorf("%q %v", c.Name, err)
	}
}

// drawer keeps keys as the database does.
type drawer struct {
	mu  sync.Mutex
	raw []byte
}

func (d *drawer) Load(context.Context) ([]byte, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.raw, nil
}

func (d *drawer) Save(_ context.Context, old, fresh []byte) (bool, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !bytes.Equal(old, d.raw) {
		return false, nil
	}
	d.raw = fresh
	return true, nil
}

func TestKeysTakeTurnsAndOldTokensAreReadUntilTheyEnd(t *testing.T) {
	at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	now := func() time.Time { return at }
	vault := &drawer{}
	a, err := OpenKeys(t.Context(), vault, now, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	b, err := OpenKeys(t.Context(), vault, now, rand.Reader) // another replica
	if err != nil {
		t.Fatal(err)
	}
	kids := map[string]bool{}
	var last string
	for range 120 * 24 { // 120 days, an hour at a time
		at = at.Add(time.Hour)
		signed, err := a.Sign(Claims{ID: "tok_1", Run: "run_1"})
		if err != nil {
			t.Fatal(err)
		}
		if c, err := b.Verify(signed); err != nil || c.ID != "tok_1" || c.Run != "run_1" {
			t.Fatalf("the other replica reads %+v, %v", c, err)
		}
		if last != "" {
			if _, err := b.Verify(last); err != nil {
				t.Fatalf("a token of an hour ago: %v", err)
			}
		}
		last = signed
		parsed, err := jose.ParseSignedCompact(signed, []jose.SignatureAlgorithm{jose.ES256})
		if err != nil {
			t.Fatal(err)
		}
		kids[parsed.Signatures[0].Header.KeyID] = true
		set, err := a.JWKS()
		if err != nil || len(set.Keys) > 3 {
			t.Fatalf("%d keys are published, %v", len(set.Keys), err)
		}
		text, err := json.Marshal(set)
		if err != nil || strings.Contains(string(text), `"d"`) {
			t.Fatalf("the set shows a private key: %s", text)
		}
	}
	if len(kids) < 4 || len(kids) > 5 {
		t.Errorf("%d keys signed in 120 days", len(kids))
	}
}

func TestNothingElsePassesForAnAccessToken(t *testing.T) {
	vault := &drawer{}
	keys, err := OpenKeys(t.Context(), vault, time.Now, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	good, err := keys.Sign(Claims{ID: "tok_1"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := keys.Verify(good); err != nil {
		t.Fatal(err)
	}
	var ring []key
	if err := json.Unmarshal(vault.raw, &ring); err != nil {
		t.Fatal(err)
	}
	private, err := ring[0].private()
	if err != nil {
		t.Fatal(err)
	}
	sign := func(alg jose.SignatureAlgorithm, k any, kid, typ string) string {
		t.Helper()
		signer, err := jose.NewSigner(jose.SigningKey{Algorithm: alg, Key: jose.JSONWebKey{Key: k, KeyID: kid}}, (&jose.SignerOptions{}).WithType(jose.ContentType(typ)))
		if err != nil {
			t.Fatal(err)
		}
		s, err := signer.Sign([]byte(`{"jti":"tok_1"}`))
		if err != nil {
			t.Fatal(err)
		}
		text, err := s.CompactSerialize()
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	foreign, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	public, err := private.PublicKey.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	parts := strings.Split(good, ".")
	none := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none","typ":"at+jwt","kid":"` + ring[0].ID + `"}`))
	for name, text := range map[string]string{
		"another type":            sign(jose.ES256, private, ring[0].ID, "JWT"),
		"another's key":           sign(jose.ES256, foreign, ring[0].ID, tokenType),
		"an unknown key":          sign(jose.ES256, private, "other", tokenType),
		"the public key as HMAC":  sign(jose.HS256, public, ring[0].ID, tokenType),
		"no signature":            none + "." + parts[1] + ".",
		"a changed payload":       parts[0] + "." + base64.RawURLEncoding.EncodeToString([]byte(`{"jti":"tok_2"}`)) + "." + parts[2],
		"rubbish":                 "eyJ.x.y",
		"empty":                   "",
		"JSON with the signature": `{"payload":"` + parts[1] + `","protected":"` + parts[0] + `","signature":"` + parts[2] + `"}`,
	} {
		if c, err := keys.Verify(text); !errors.Is(err, ErrToken) {
			t.Errorf("%s: %+v %v", name, c, err)
		}
	}
}
