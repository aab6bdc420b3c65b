// Package issuertest is an upstream issuer for tests: a certified OIDC provider of others, with accounts of ours.
package issuertest

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"

	"github.com/luikyv/go-oidc/pkg/goidc"
	"github.com/luikyv/go-oidc/pkg/provider"
)

// The one client that the issuer has.
const (
	Client = "purser"
	Secret = "a-secret-of-the-issuer-with-32-bytes-or-more"
)

// Account is what the issuer knows of somebody, as claims.
type Account map[string]any

// Issuer is a provider that runs. Whoever is signed in there says yes.
type Issuer struct {
	URL string

	mu   sync.Mutex
	who  string // who is signed in there
	book map[string]Account
}

// Is signs somebody in at the issuer; nobody, when who is empty.
func (i *Issuer) Is(who string, a Account) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.who, i.book[who] = who, a
}

func (i *Issuer) now() string {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.who
}

func (i *Issuer) account(who string) map[string]any {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.book[who]
}

// Open starts an issuer whose client's browsers come back to redirect. It ends with
// the test.
func Open(t *testing.T, redirect string) *Issuer {
	t.Helper()
	i := &Issuer{book: map[string]Account{}}
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewUnstartedServer(nil)
	i.URL = "http://" + s.Listener.Addr().String()
	keys := goidc.JSONWebKeySet{Keys: []goidc.JSONWebKey{{KeyID: "k1", Key: key, Algorithm: "RS256", Use: "sig"}}}
	op, err := provider.New(i.URL, nil, func(context.Context) (goidc.JSONWebKeySet, error) { return keys, nil },
		provider.WithScopes(goidc.ScopeOpenID, goidc.ScopeEmail, goidc.ScopeProfile),
		provider.WithSecretBasicAuthn(), provider.WithSecretPostAuthn(), provider.WithIssuerResponseParameter(),
		provider.WithPKCERequired(goidc.CodeChallengeMethodSHA256), provider.WithAuthCodeGrant(nil, goidc.ResponseTypeCode),
		provider.WithStaticClients(&goidc.Client{ID: Client, Secret: Secret, ClientMeta: goidc.ClientMeta{
			RedirectURIs: []string{redirect}, GrantTypes: []goidc.GrantType{goidc.GrantAuthorizationCode}, ResponseTypes: []goidc.ResponseType{goidc.ResponseTypeCode},
			ScopeIDs: "openid email profile", TokenAuthnMethod: goidc.AuthnMethodSecretBasic,
		}}),
		provider.WithIDTokenClaims(func(_ context.Context, g *goidc.Grant) map[string]any { return i.account(g.Subject) }),
		provider.WithPolicies(goidc.NewPolicy("main", func(*http.Request, *goidc.AuthnSession, *goidc.Client) bool { return true },
			func(_ http.ResponseWriter, _ *http.Request, as *goidc.AuthnSession, _ *goidc.Client) (goidc.Status, error) {
				if as.Subject = i.now(); as.Subject == "" {
					return goidc.StatusFailure, goidc.NewError(goidc.ErrorCodeAccessDenied, "nobody is signed in")
				}
				as.GrantedScopes = as.Scopes
				return goidc.StatusSuccess, nil
			})),
	)
	if err != nil {
		t.Fatal(err)
	}
	s.Config.Handler = op.Handler()
	s.Start()
	t.Cleanup(s.Close)
	return i
}
