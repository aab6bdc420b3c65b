package browser

import (
	"net"
	"os"
	"path/filepath"
	"testing"

	"github.com/purser-dev/purser"
	"github.com/purser-dev/purser/internal/issuer/issuertest"
)

// Somebody of the organization's issuer comes in by it, loosens nothing, and signs
// once an owner allowed a first passkey.
func TestAPersonComesInByTheIssuerAndGetsAPasskeyFromAnOwner(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, port, err := net.SplitHostPort(listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte(issuertest.Secret+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	issuer := issuertest.Open(t, "http://localhost:"+port+"/sign-in/issuer/callback")
	url, link := serve(t, "listener", listener, "oidc.issuer", issuer.URL, "oidc.client_id", issuertest.Client, "oidc.client_secret_file", secret,
		"oidc.allowed_domains", "example.org", "oidc.provision", "all", "oidc.roles", "finance=approver")
	ada := open(t, url)
	ada.setUp(link)

	grace := open(t, url)
	grace.visit("/settings/passkeys")
	grace.at("/sign-in?next=%2Fsettings%2Fpasskeys")
	grace.usable()
	grace.click(`a[href^="/sign-in/issuer"]`)
	grace.sees("the issuer said no") // nobody is signed in there
	issuer.Is("sub-1", issuertest.Account{"email": "grace@example.org", "email_verified": true, "name": "Grace", "groups": []string{"finance"}})
	grace.visit("/sign-in?next=/settings/passkeys")
	grace.click(`a[href^="/sign-in/issuer"]`)
	grace.at("/settings/passkeys")
	grace.press("#recovery form")
	grace.sees("You have no passkey yet.")
	if c := grace.cookie(); c == nil || !c.HTTPOnly || c.SameSite != "Lax" {
		t.Errorf("the cookie is %+v", c)
	}

	ada.visit("/people")
	ada.click(`tr:has(form[data-act="first_passkey"]) summary`)
	ada.press(`form[data-act="first_passkey"]`)
	ada.sees("/recover?")
	first := eval[string](ada, `document.querySelector('form[data-act="first_passkey"] [data-result]').textContent`)
	grace.visit(first)
	grace.press("#recover form")
	grace.sees("Keep these recovery codes")
	grace.click("[data-after] a")
	grace.at("/")
	grace.visit("/settings/passkeys")
	grace.press("#recovery form")
	grace.sees("Keep these recovery codes") // new ones, by a signature
	if me, err := grace.program().Whoami(t.Context(), purser.None{}); err != nil || me.Name != "Grace" || me.Role != purser.Approver {
		t.Errorf("she is %+v %v", me, err)
	}
	verify(t, ada)
}
