package server

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/purser-dev/purser"
	"github.com/purser-dev/purser/app"
	"github.com/purser-dev/purser/internal/seller/fakes"
)

// The orchestrator's cases of APP 18 that other tests do not name: O4 is consent, O6
// the sample provider, O11 in the seller's tests, O14 and O15 beside the fakes.

func thing(name string) purser.StepRequest {
	return purser.StepRequest{Service: "script/thing", Name: name}
}

func TestUnknownMembersEverywhereDoNotStopAPurchase(t *testing.T) { // O1
	inTurn(t)
	script := fakes.NewScript(t, nil)
	b := newBuyer(t)
	b.register(script.Manifest, "")
	b.must("buying", b.add(thing("mine")))
	if env := b.env(b.resource("mine").ID); env["MINE_KEY"] != "k1" {
		t.Errorf("the environment is %v", env)
	}
}

func TestACreateThatFailsIsNeitherReadBackNorRepeated(t *testing.T) { // O3
	inTurn(t)
	for name, c := range map[string]struct {
		status         int
		body           string
		creates, reads int
	}{
		"an error":           {400, `{"status":"error","id":"r1","error":{"code":"nope","message":"no"}}`, 1, 0},
		"an error under 200": {200, `{"status":"error","id":"","error":{"code":"nope","message":"no"}}`, 1, 0},
		"an unknown status":  {200, `{"status":"dreaming","id":"r1"}`, 1, 0},
		"removed at once":    {200, `{"status":"removed","id":"r1"}`, 1, 0},
		"a limit":            {400, `{"detail":"too many"}`, 1, 0},
	} {
		t.Run(name, func(t *testing.T) {
			script := fakes.NewScript(t, nil)
			script.Say("POST", "/resources", fakes.Always(c.status, c.body))
			b := newBuyer(t)
			b.register(script.Manifest, "")
			_, err := b.bought("buying", b.add(thing("mine")))
			if purser.CodeOf(err) != purser.ProviderFailure {
				t.Errorf("got %s", said(err))
			}
			creates, reads := len(script.Calls("POST", "/resources")), len(script.Calls("GET", "/resources/r1"))
			if creates != c.creates || reads != c.reads {
				t.Errorf("%d creates and %d reads, want %d and %d", creates, reads, c.creates, c.reads)
			}
		})
	}
}

func TestATokenNearItsEndIsRenewedOnceAndKeptBeforeItIsUsed(t *testing.T) { // O8
	script := fakes.NewScript(t, nil)
	script.Say("POST", "/token", func(n int, _ fakes.Call) (int, string) {
		if n == 1 {
			return 200, `{"token_type":"bearer","access_token":"at1","refresh_token":"rt1","expires_in":30}`
		}
		return 200, `{"token_type":"bearer","access_token":"at2","refresh_token":"rt2","expires_in":3600}`
	})
	b := newBuyer(t)
	b.register(script.Manifest, "")
	b.must("buying", b.add(thing("mine")))
	if n := len(script.Calls("POST", "/token")); n != 2 {
		t.Errorf("%d token calls, want the exchange and one refresh", n)
	}
	b.destroy(b.resource("mine"), "destroy")
	for _, path := range []string{"/resources", "/remove"} {
		for _, c := range script.Calls("POST", path) {
			if c.Bearer != "at2" {
				t.Errorf("%s was sent with %q", path, c.Bearer)
			}
		}
	}
}

func TestATokenThatIsNotKnownAnyMoreIsRenewedOnce(t *testing.T) { // 17.2
	inTurn(t)
	const unknown = `{"status":"error","id":"","error":{"code":"unauthorized","message":"x"}}`
	script := fakes.NewScript(t, nil)
	script.Say("POST", "/token", func(n int, _ fakes.Call) (int, string) {
		return 200, `{"token_type":"bearer","access_token":"at` + string(rune('0'+n)) + `","refresh_token":"rt","expires_in":3600}`
	})
	script.Say("POST", "/resources", func(_ int, c fakes.Call) (int, string) {
		if c.Bearer == "at1" {
			return 401, unknown
		}
		return 0, ""
	})
	b := newBuyer(t)
	b.register(script.Manifest, "")
	b.must("buying", b.add(thing("mine")))
	creates := script.Calls("POST", "/resources")
	if len(creates) != 2 || creates[1].Bearer != "at2" || creates[0].Key != creates[1].Key {
		t.Errorf("the creates were %+v", creates)
	}
	script.Say("POST", "/rotate_credentials", fakes.Always(401, unknown))
	if _, err := b.Rotate(t.Context(), purser.ResourceRef{Resource: "mine", Project: "shop"}); purser.CodeOf(err) != purser.ProviderFailure {
		t.Errorf("rotating: %v", err)
	}
	if n := len(script.Calls("POST", "/rotate_credentials")); n != 2 {
		t.Errorf("a provider that knows no token was asked %d times, want 2", n)
	}
}

func TestAnAccountInARegionStaysAtItsHost(t *testing.T) { // O10
	inTurn(t)
	eu := fakes.NewScript(t, nil)
	us := fakes.NewScript(t, func(m *app.Manifest) {
		m.RegionBaseURLs = map[string]string{"US": m.BaseURL, "EU": eu.URL}
		m.AccountConfigurationSchema = json.RawMessage(`"{\"type\":\"object\",\"properties\":{\"region\":{\"type\":\"string\",\"enum\":[\"US\",\"EU\"],\"default\":\"EU\"}}}"`)
	})
	for _, s := range []*fakes.Script{us, eu} {
		s.Say("POST", "/token", func(n int, _ fakes.Call) (int, string) {
			return 200, `{"token_type":"bearer","access_token":"at","refresh_token":"rt","expires_in":30}` // renewed before each call
		})
	}
	b := newBuyer(t)
	b.register(us.Manifest, "")
	b.must("buying", b.add(thing("mine")))
	if _, err := b.Rotate(t.Context(), purser.ResourceRef{Resource: "mine", Project: "shop"}); err != nil {
		t.Errorf("rotating: %v", err)
	}
	b.destroy(b.resource("mine"), "destroy")
	if n := len(us.Calls("POST", "")); n != 0 {
		t.Errorf("%d calls went to the US: %+v", n, us.Calls("POST", ""))
	}
	if tokens, removes := len(eu.Calls("POST", "/token")), len(eu.Calls("POST", "/remove")); tokens < 3 || removes != 1 {
		t.Errorf("the EU got %d token calls and %d removes", tokens, removes)
	}
	request := eu.Calls("POST", "/account_requests")[0]
	if configuration, _ := request.Body["configuration"].(map[string]any); configuration["region"] != "EU" {
		t.Errorf("the account request said %v", request.Body)
	}
}

func TestBothOfOurSecretsSignWhileOneIsReplaced(t *testing.T) { // O12
	inTurn(t)
	script := fakes.NewScript(t, nil)
	b := newBuyer(t)
	b.register(script.Manifest, "")
	in := purser.AddProvider{Manifest: script.Manifest, SigningSecret: "whsec_next"}
	in.Act = b.sign("add_provider", in)
	if _, err := b.AddProvider(t.Context(), in); err != nil {
		t.Fatal(err)
	}
	all := script.Headers()
	header := all[len(all)-1].Get(app.HeaderSignature)
	signature, err := app.ParseSignature(header)
	if err != nil || len(signature.V1) != 2 {
		t.Fatalf("the signature is %q (%v)", header, err)
	}
	for _, secret := range []string{fakes.Secret, "whsec_next"} {
		if _, ok := signature.Match(secret, nil); !ok {
			t.Errorf("%q does not match %s", header, secret)
		}
	}
}

func TestAProviderWithoutRotationLeavesTheOldCredential(t *testing.T) { // O16
	inTurn(t)
	for name, answer := range map[string]func(int, fakes.Call) (int, string){
		"404":                   fakes.Always(http.StatusNotFound, `{"detail":"Not Found"}`),
		"405":                   fakes.Always(http.StatusMethodNotAllowed, `nothing`),
		"unsupported_operation": fakes.Always(400, `{"status":"error","id":"r1","error":{"code":"unsupported_operation","message":"x"}}`),
	} {
		t.Run(name, func(t *testing.T) {
			script := fakes.NewScript(t, nil)
			script.Say("POST", "/rotate_credentials", answer)
			b := newBuyer(t)
			b.register(script.Manifest, "")
			b.must("buying", b.add(thing("mine")))
			out, err := b.Rotate(t.Context(), purser.ResourceRef{Resource: "mine", Project: "shop"})
			if err != nil || out.Rotated {
				t.Errorf("rotating: %+v %s", out, said(err))
			}
			if env := b.env(b.resource("mine").ID); env["MINE_KEY"] != "k1" {
				t.Errorf("the environment is %v", env)
			}
		})
	}
}

func TestACompleteResourceWithoutItsCredentialIsReadBackAndNotBoughtAgain(t *testing.T) { // 17.3
	inTurn(t)
	script := fakes.NewScript(t, nil)
	script.Say("POST", "/resources", fakes.Always(200, `{"status":"complete","id":"r1"}`))
	b := newBuyer(t)
	b.register(script.Manifest, "")
	b.must("buying", b.add(thing("mine")))
	if env := b.env(b.resource("mine").ID); env["MINE_KEY"] != "k1" || len(script.Calls("POST", "/resources")) != 1 {
		t.Errorf("the environment is %v after %d creates", env, len(script.Calls("POST", "/resources")))
	}
}

func TestWhatIsNeitherAPlanNorDeployableIsNotSoldByItself(t *testing.T) {
	inTurn(t)
	script := fakes.NewScript(t, nil)
	b := newBuyer(t)
	b.register(script.Manifest, "")
	_, err := b.Add(t.Context(), purser.Add{StepRequest: purser.StepRequest{Service: "script/odd"}, Project: "shop"})
	if err == nil || strings.Contains(said(err), "internal") {
		t.Errorf("got %s", said(err))
	}
	if n := len(script.Calls("POST", "")); n != 0 {
		t.Errorf("%d calls were made", n)
	}
}

// APP 17.3: what came without its credential, and shows none when it is read back, fails
// by its name, so that a person or remove can deal with it.
func TestACompleteResourceThatNeverGivesItsCredentialFailsByItsName(t *testing.T) {
	script := fakes.NewScript(t, nil)
	script.Say("POST", "/resources", fakes.Always(200, `{"status":"complete","id":"r1","complete":{"access_configuration":{}}}`))
	script.Say("GET", "/resources/r1", fakes.Always(200, `{"status":"complete","id":"r1"}`))
	b := newBuyer(t)
	b.register(script.Manifest, "")
	_, err := b.bought("buying", b.add(thing("mine")))
	if purser.CodeOf(err) != purser.ProviderFailure || !strings.Contains(said(err), "r1") {
		t.Errorf("got %s", said(err))
	}
	creates, reads := len(script.Calls("POST", "/resources")), len(script.Calls("GET", "/resources/r1"))
	if creates != 1 || reads != 1 {
		t.Errorf("%d creates and %d reads, want one of each", creates, reads)
	}
}

// APP 12.2, P35: a payment that fails leaves an id behind. The order is over, so what it
// began is removed; what cannot be is named.
func TestWhatAFailedPaymentLeftIsRemoved(t *testing.T) {
	refusal := func(code, id string) string {
		return `{"status":"error","id":"` + id + `","error":{"code":"` + code + `","message":"no"}}`
	}
	// No identifier of ours has a hyphen, so that what names this one means it.
	const removed = `{"status":"removed","id":"r-9"}`
	for name, c := range map[string]struct {
		answer  string
		removal int // HTTP status of the removal
		says    string
		code    purser.Code
		removes int
		named   bool
	}{
		"with an id":                  {refusal(app.CodeRequiresPayment, "r-9"), 200, removed, purser.PaymentDeclined, 1, false},
		"in older words":              {refusal(app.CodeBillingActivation, "r-9"), 200, removed, purser.PaymentDeclined, 1, false},
		"gone by itself":              {refusal(app.CodeRequiresPayment, "r-9"), 404, refusal(app.CodeNotFound, "r-9"), purser.PaymentDeclined, 1, false},
		"another server answers":      {refusal(app.CodeRequiresPayment, "r-9"), 404, `{"detail":"x"}`, purser.PaymentDeclined, 1, true},
		"that cannot be removed":      {refusal(app.CodeRequiresPayment, "r-9"), 500, `{"detail":"x"}`, purser.PaymentDeclined, 1, true},
		"without an id":               {refusal(app.CodeRequiresPayment, ""), 200, removed, purser.PaymentDeclined, 0, false},
		"not a payment: ours no more": {refusal(app.CodeIdempotencyConflict, "r-9"), 200, removed, purser.ProviderFailure, 0, false},
	} {
		t.Run(name, func(t *testing.T) {
			script := fakes.NewScript(t, nil)
			script.Say("POST", "/resources", fakes.Always(400, c.answer))
			script.Say("POST", "/resources/r-9/remove", fakes.Always(c.removal, c.says))
			b := newBuyer(t)
			b.register(script.Manifest, "")
			_, err := b.bought("buying", b.add(thing("mine")))
			if purser.CodeOf(err) != c.code || strings.Contains(said(err), "r-9") != c.named {
				t.Errorf("got %s", said(err))
			}
			removes := script.Calls("POST", "/resources/r-9/remove")
			if len(removes) != c.removes || len(removes) == 1 && removes[0].Key == "" {
				t.Errorf("the removals were %+v, want %d under a key", removes, c.removes)
			}
		})
	}
}
