package cloud_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/smtp"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/purser-dev/purser/app"
	"github.com/purser-dev/purser/internal/bridge/cloudflare"
	"github.com/purser-dev/purser/internal/cloud"
	"github.com/purser-dev/purser/internal/cloud/fault"
	"github.com/purser-dev/purser/internal/cloud/shop"
	"github.com/purser-dev/purser/internal/cloud/till/railtest"
	"github.com/purser-dev/purser/internal/testneed"
)

const (
	signingSecret = "signing_secret_of_the_test"
	faultKey      = "fault_key_of_the_test"
)

// world is a running cloud with an orchestrator's eyes on it.
type world struct {
	t      *testing.T
	dir    string
	rail   *railtest.Rail
	faults *fault.Set
	ready  cloud.Ready
	client *app.Client
	bearer string
	stop   func() error
}

func newWorld(t *testing.T, faults ...fault.Switch) *world {
	t.Helper()
	w := &world{t: t, dir: t.TempDir(), rail: railtest.New(), faults: fault.NewSet(faults...)}
	t.Cleanup(w.rail.Close)
	w.start()
	t.Cleanup(func() {
		if err := w.stop(); err != nil {
			t.Errorf("stopping: %v", err)
		}
	})
	return w
}

func (w *world) secretsFile() string {
	w.t.Helper()
	path := filepath.Join(w.dir, "secrets.json")
	text, err := json.Marshal(cloud.Secrets{
		SigningSecret: signingSecret, ProviderKey: railtest.ProviderKey, RailURL: w.rail.ChargesURL(), FaultKey: faultKey,
	})
	if err != nil {
		w.t.Fatal(err)
	}
	if err := os.WriteFile(path, text, 0o600); err != nil {
		w.t.Fatal(err)
	}
	return path
}

func (w *world) options() cloud.Options {
	free := "127.0.0.1:0"
	return cloud.Options{
		Dir: filepath.Join(w.dir, "cloud"), Secrets: w.secretsFile(), API: free, Edge: free, HTTP: free, DNS: free, SMTP: free,
		AllowFaults: true, Faults: w.faults,
	}
}

// start runs the cloud and connects to it as the orchestrator does.
func (w *world) start() {
	w.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ready, ended := make(chan cloud.Ready, 1), make(chan error, 1)
	o := w.options()
	o.Ready = func(r cloud.Ready) { ready <- r }
	go func() { ended <- cloud.Run(ctx, o) }()
	select {
	case w.ready = <-ready:
	case err := <-ended:
		cancel()
		w.t.Fatalf("the cloud ended at start: %v", err)
	case <-time.After(2 * time.Minute):
		cancel()
		w.t.Fatal("the cloud does not become ready")
	}
	w.stop = sync.OnceValue(func() error {
		cancel()
		return <-ended
	})
	w.connect()
}

func (w *world) connect() {
	w.t.Helper()
	raw := w.fetch(w.ready.ManifestURL)
	manifest, err := app.ParseManifest(raw)
	if err != nil {
		w.t.Fatal(err)
	}
	signer, err := app.NewSigner(app.SignerConfig{Secrets: []string{signingSecret}})
	if err != nil {
		w.t.Fatal(err)
	}
	w.client, err = app.NewClient(app.ClientConfig{
		BaseURL: manifest.BaseURL, TokenURL: manifest.OAuthTokenEndpoint, Signer: signer, Account: "acct_purser", Organization: "org_1",
	})
	if err != nil {
		w.t.Fatal(err)
	}
	if w.bearer == "" {
		w.bearer = w.token("jane@example.com").AccessToken
	}
}

func (w *world) token(email string) app.Token {
	w.t.Helper()
	verifier, err := app.Random(nil, "")
	if err != nil {
		w.t.Fatal(err)
	}
	id, err := app.Random(nil, "acctreq_")
	if err != nil {
		w.t.Fatal(err)
	}
	answer, err := w.client.AccountRequest(w.t.Context(), app.AccountRequest{
		ID: id, Email: email, Name: "Jane Doe", KYC: &app.KYC{VerifiedFields: []string{"email"}},
		ExpiresAt: app.At(time.Now().Add(10 * time.Minute)), CodeChallenge: app.Challenge(verifier), CodeChallengeMethod: "S256",
	})
	if err != nil || answer.OAuth == nil {
		w.t.Fatalf("account request: %+v, %v", answer, err)
	}
	token, err := w.client.Exchange(w.t.Context(), answer.OAuth.Code, verifier)
	if err != nil {
		w.t.Fatal(err)
	}
	return token
}

func (w *world) fetch(url string) []byte {
	w.t.Helper()
	res, err := http.Get(url)
	if err != nil {
		w.t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusOK {
		w.t.Fatalf("%s: %d %v", url, res.StatusCode, err)
	}
	return body
}

func (w *world) call(key string) app.Call { return app.Call{Bearer: w.bearer, IdempotencyKey: key} }

// want is a create that quotes first, as the orchestrator does.
func (w *world) want(key, service string, configuration map[string]any, token string) app.CreateRequest {
	w.t.Helper()
	q, err := w.client.Quote(w.t.Context(), w.call(""), app.QuoteRequest{ServiceID: service, Configuration: configuration})
	if err != nil {
		w.t.Fatal(err)
	}
	r := app.CreateRequest{ServiceID: service, Configuration: configuration, OrchestratorResourceID: "ord_" + key, QuoteID: q.ID}
	if token != "" {
		r.Payment = &app.Payment{Type: app.PaymentSandbox, Token: token}
	}
	return r
}

func (w *world) create(key, service string, configuration map[string]any, token string) app.Resource {
	w.t.Helper()
	r, err := w.client.Create(w.t.Context(), w.call(key), w.want(key, service, configuration, token))
	if err != nil {
		w.t.Fatalf("creating %s: %v", service, err)
	}
	return r
}

func (w *world) domain(name string) app.Resource {
	w.t.Helper()
	return w.create("domain", shop.RegistrarDomain, map[string]any{"domain": name}, "sbx_1")
}

// values are what a complete resource hands over.
func values(t *testing.T, r app.Resource) map[string]string {
	t.Helper()
	if r.Status != app.StatusComplete || r.Complete == nil {
		t.Fatalf("resource %+v is not complete", r)
	}
	return r.Complete.AccessConfiguration
}

// browser trusts the cloud's root and nothing else, and finds every host at the edge.
func (w *world) browser() *http.Client {
	w.t.Helper()
	root, err := os.ReadFile(w.ready.RootPEM)
	if err != nil {
		w.t.Fatal(err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(root) {
		w.t.Fatal("root.pem holds no certificate")
	}
	transport := &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: pool},
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, network, w.ready.EdgeHTTPS)
		},
	}
	w.t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

func (w *world) deploy(hosting map[string]string, domain string, site map[string]string) cloudflare.Result {
	w.t.Helper()
	var files []cloudflare.File
	for path, text := range site {
		files = append(files, cloudflare.File{
			Path: path, Size: int64(len(text)), SHA256: sha256.Sum256([]byte(text)),
			Open: func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(text)), nil },
		})
	}
	result, err := cloudflare.Deploy(w.t.Context(), cloudflare.Target{
		BaseURL: hosting[shop.KeyAPIBase], AccountID: hosting[shop.KeyAccountID], Token: hosting[shop.KeyAPIToken],
	}, cloudflare.Deployment{Script: "site", Files: files, Domain: domain})
	if err != nil {
		w.t.Fatal(err)
	}
	return result
}

func TestAFolderGoesLiveOnADomainBoughtForIt(t *testing.T) {
	w := newWorld(t)
	pro := w.create("pro", shop.HostingPro, nil, "sbx_pro")
	if pro.Status != app.StatusComplete {
		t.Fatalf("hosting:pro: %+v", pro)
	}
	name := values(t, w.domain("superseal.club"))
	if name[shop.KeyDomain] != "superseal.club" || name[shop.KeyZoneID] == "" || name[shop.KeyServers] == "" {
		t.Errorf("the domain hands over %v", name)
	}
	w.answers("superseal.club.", "127.0.0.1")
	hosting := values(t, w.create("hosting", shop.HostingStatic, nil, ""))
	w.deploy(hosting, "superseal.club", map[string]string{"/index.html": "<h1>Superseal</h1>", "/a b/ü.txt": "words"})
	for path, want := range map[string]string{"/": "<h1>Superseal</h1>", "/a%20b/%C3%BC.txt": "words"} {
		res, err := w.browser().Get("https://superseal.club" + path)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(res.Body)
		res.Body.Close()
		if res.StatusCode != 200 || string(body) != want {
			t.Errorf("%s: %d %q", path, res.StatusCode, body)
		}
	}
	if _, err := http.Get("https://" + w.ready.EdgeHTTPS); err == nil {
		t.Error("a client that does not trust the root was served")
	}
	if w.rail.Total() != 500+890 {
		t.Errorf("charged %d", w.rail.Total())
	}
}

// answers asks the cloud's name server over UDP.
func (w *world) answers(name, want string) {
	w.t.Helper()
	question := new(dns.Msg)
	question.SetQuestion(name, dns.TypeA)
	answer, _, err := new(dns.Client).Exchange(question, w.ready.DNS)
	if err != nil {
		w.t.Fatal(err)
	}
	if len(answer.Answer) != 1 || !answer.Authoritative || answer.Answer[0].(*dns.A).A.String() != want {
		w.t.Errorf("DNS answers %v", answer)
	}
}

func TestTheSameApplyFiftyTimesInParallelBuysOnce(t *testing.T) {
	w := newWorld(t)
	wanted := w.want("domain", shop.RegistrarDomain, map[string]any{"domain": "superseal.club"}, "sbx_1")
	var mu sync.Mutex
	ids := map[string]int{}
	var wait sync.WaitGroup
	for range 50 {
		wait.Go(func() {
			r, err := w.client.Create(t.Context(), w.call("k"), wanted)
			if err != nil {
				t.Errorf("create: %v", err)
			}
			mu.Lock()
			defer mu.Unlock()
			ids[r.ID]++
		})
	}
	wait.Wait()
	if len(ids) != 1 || w.rail.Requests() != 1 || w.rail.Total() != 890 {
		t.Errorf("resources %v, %d requests, charged %d", ids, w.rail.Requests(), w.rail.Total())
	}
}

func TestAPurchaseWhoseAnswerIsLostIsFoundAndNotRepeated(t *testing.T) {
	for _, lost := range []fault.Switch{fault.CreateDropped, fault.CreateFails} {
		t.Run(string(lost), func(t *testing.T) {
			w := newWorld(t)
			wanted := w.want("domain", shop.RegistrarDomain, map[string]any{"domain": "superseal.club"}, "sbx_1")
			w.misbehave(lost, 1)
			_, err := w.client.Create(t.Context(), w.call("k"), wanted)
			var failed *app.Error
			if !errors.As(err, &failed) || !failed.Unknown {
				t.Fatalf("error %v, want an unknown outcome", err)
			}
			found, ok, err := w.client.Find(t.Context(), w.call(""), "ord_domain")
			if err != nil || !ok || found.Status != app.StatusComplete {
				t.Errorf("found %+v, %v, %v", found, ok, err)
			}
			again, err := w.client.Create(t.Context(), w.call("k"), wanted)
			if err != nil || again.ID != found.ID || w.rail.Total() != 890 {
				t.Errorf("again %+v, %v, charged %d", again, err, w.rail.Total())
			}
		})
	}
}

func (w *world) misbehave(s fault.Switch, times int) {
	w.t.Helper()
	body := fmt.Sprintf(`{%q: %d}`, s, times)
	if status := w.turn(faultKey, body); status != http.StatusOK {
		w.t.Fatalf("turning %s: %d", s, status)
	}
}

func (w *world) turn(key, body string) int {
	w.t.Helper()
	req, err := http.NewRequest(http.MethodPost, w.ready.APIURL+"/faults", strings.NewReader(body))
	if err != nil {
		w.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+key)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		w.t.Fatal(err)
	}
	res.Body.Close()
	return res.StatusCode
}

func TestFaultsAreTurnedWithTheKeyOnly(t *testing.T) {
	w := newWorld(t)
	for _, c := range []struct {
		name, key, body string
		status          int
	}{
		{"the key", faultKey, `{"charge_twice": 1}`, 200},
		{"a wrong key", "x", `{"charge_twice": 1}`, 401},
		{"an unknown switch", faultKey, `{"charge_thrice": 1}`, 400},
		{"rubbish", faultKey, `charge_twice`, 400},
	} {
		if status := w.turn(c.key, c.body); status != c.status {
			t.Errorf("%s: %d, want %d", c.name, status, c.status)
		}
	}
}

func TestABuyerSeesWhatADishonestRegistrarDoes(t *testing.T) {
	configuration := map[string]any{"domain": "superseal.club"}
	t.Run("another suffix is in the quote", func(t *testing.T) {
		w := newWorld(t, fault.OtherSuffix)
		q, err := w.client.Quote(t.Context(), w.call(""), app.QuoteRequest{ServiceID: shop.RegistrarDomain, Configuration: configuration})
		if err != nil || q.Item != "superseal.cc" {
			t.Fatalf("quote %+v, %v", q, err)
		}
		_, err = w.client.Create(t.Context(), w.call("k"), app.CreateRequest{
			ServiceID: shop.RegistrarDomain, Configuration: configuration, QuoteID: q.ID, OrchestratorResourceID: "ord",
			Payment: &app.Payment{Type: app.PaymentSandbox, Token: "sbx_1"},
		})
		w.refused(err, app.CodeQuoteChanged)
	})
	t.Run("another name is in the answer", func(t *testing.T) {
		w := newWorld(t, fault.OtherName)
		if got := values(t, w.domain("superseal.club")); got[shop.KeyDomain] != "superseal.cc" {
			t.Errorf("the fault handed over %v", got)
		}
	})
	for _, c := range []struct {
		fault fault.Switch
		code  string
	}{
		{fault.PriceRaised, app.CodeQuoteChanged},
		{fault.RenewalRaised, app.CodeQuoteChanged},
		{fault.TurnedPremium, "domain_premium"},
		{fault.Taken, "domain_unavailable"},
	} {
		t.Run(string(c.fault), func(t *testing.T) {
			w := newWorld(t)
			wanted := w.want("domain", shop.RegistrarDomain, configuration, "sbx_1")
			w.misbehave(c.fault, fault.Always)
			_, err := w.client.Create(t.Context(), w.call("k"), wanted)
			w.refused(err, c.code)
		})
	}
	t.Run("an overcharge stops at the token", func(t *testing.T) {
		w := newWorld(t, fault.Overcharge)
		w.rail.Limit("sbx_1", 890)
		wanted := w.want("domain", shop.RegistrarDomain, configuration, "sbx_1")
		_, err := w.client.Create(t.Context(), w.call("k"), wanted)
		w.refused(err, app.CodeRequiresPayment)
	})
	t.Run("a name frozen after the payment is paid back", func(t *testing.T) {
		w := newWorld(t, fault.Blocked)
		wanted := w.want("domain", shop.RegistrarDomain, configuration, "sbx_1")
		_, err := w.client.Create(t.Context(), w.call("k"), wanted)
		w.refused(err, "domain_blocked")
		if len(w.rail.Charges()) != 1 {
			t.Errorf("%d charges", len(w.rail.Charges()))
		}
		w.misbehave(fault.Blocked, 0)
		if r := w.create("again", shop.RegistrarDomain, configuration, "sbx_2"); r.Status != app.StatusComplete || w.rail.Total() != 890 {
			t.Errorf("bought again: %+v, charged %d", r, w.rail.Total())
		}
	})
	t.Run("an expired quote", func(t *testing.T) {
		w := newWorld(t, fault.QuoteExpired)
		wanted := w.want("domain", shop.RegistrarDomain, configuration, "sbx_1")
		_, err := w.client.Create(t.Context(), w.call("k"), wanted)
		w.refused(err, app.CodeQuoteExpired)
	})
	t.Run("a registry that hesitates is polled", func(t *testing.T) {
		w := newWorld(t, fault.SlowRegistry)
		r := w.domain("superseal.club")
		if r.Status != app.StatusPending || r.RetryAfter == 0 {
			t.Fatalf("resource %+v", r)
		}
		w.misbehave(fault.SlowRegistry, 0)
		r, err := w.client.Get(t.Context(), w.call(""), r.ID)
		if err != nil || values(t, r)[shop.KeyDomain] != "superseal.club" {
			t.Errorf("resource %+v, %v", r, err)
		}
	})
	t.Run("somebody else's account", func(t *testing.T) {
		w := newWorld(t)
		w.misbehave(fault.OtherAccount, 1)
		if got := w.token("joe@example.com"); got.Account == nil || got.Account.PrimaryEmail == "joe@example.com" || got.Account.PrimaryEmail == "" {
			t.Errorf("account %+v", got.Account)
		}
	})
	t.Run("tempting text for agents", func(t *testing.T) {
		w := newWorld(t)
		w.misbehave(fault.TemptingContext, 1)
		if text := w.fetch(w.ready.APIURL + "/llms.txt"); !bytes.Contains(text, []byte("accept the terms")) {
			t.Errorf("llms.txt: %s", text)
		}
	})
	t.Run("each create handled twice", func(t *testing.T) {
		w := newWorld(t, fault.CreateTwice)
		if r := w.domain("superseal.club"); r.Status != app.StatusComplete || w.rail.Total() != 890 {
			t.Errorf("resource %+v, charged %d", r, w.rail.Total())
		}
	})
}

// refused checks that an error is a certain refusal and that nothing was charged.
func (w *world) refused(err error, code string) {
	w.t.Helper()
	var failed *app.Error
	if !errors.As(err, &failed) || failed.Code != code || failed.Unknown {
		w.t.Errorf("error %v, want a certain %s", err, code)
	}
	if w.rail.Total() != 0 {
		w.t.Errorf("charged %d", w.rail.Total())
	}
}

func TestWhatCannotBeSoldIsRefusedBeforeMoneyMoves(t *testing.T) {
	w := newWorld(t)
	for _, c := range []struct {
		name          string
		configuration map[string]any
		code          string
	}{
		{"a missing name", map[string]any{}, app.CodeInvalidRequest},
		{"a word to search for", map[string]any{"domain": "superseal"}, app.CodeInvalidRequest},
		{"a query", map[string]any{"domain": "superseal.club", "query": "x"}, app.CodeInvalidRequest},
		{"a suffix not sold", map[string]any{"domain": "superseal.org"}, "extension_not_supported"},
		{"a suffix not sold by API", map[string]any{"domain": "superseal.inc"}, "extension_not_supported_via_api"},
		{"a reserved name", map[string]any{"domain": "www.com"}, "extension_disallows_registration"},
		{"a premium name asked for as a standard one", map[string]any{"domain": "gold.xyz"}, "domain_premium"},
		{"one year where two are the least", map[string]any{"domain": "superseal.ai", "years": 1}, app.CodeInvalidRequest},
		{"a name below another", map[string]any{"domain": "www.superseal.club"}, app.CodeInvalidRequest},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := w.client.Quote(t.Context(), w.call(""), app.QuoteRequest{ServiceID: shop.RegistrarDomain, Configuration: c.configuration})
			w.refused(err, c.code)
		})
	}
	t.Run("a create without a quote", func(t *testing.T) {
		_, err := w.client.Create(t.Context(), w.call("k1"), app.CreateRequest{
			ServiceID: shop.RegistrarDomain, Configuration: map[string]any{"domain": "superseal.club"}, OrchestratorResourceID: "ord1",
			Payment: &app.Payment{Type: app.PaymentSandbox, Token: "sbx_1"},
		})
		w.refused(err, app.CodeInvalidRequest)
	})
	t.Run("a create without payment", func(t *testing.T) {
		_, err := w.client.Create(t.Context(), w.call("k2"), w.want("k2", shop.RegistrarDomain, map[string]any{"domain": "superseal.club"}, ""))
		w.refused(err, app.CodeRequiresPayment)
	})
	t.Run("a refused payment", func(t *testing.T) {
		w.rail.Refuse("declined")
		defer w.rail.Refuse("")
		_, err := w.client.Create(t.Context(), w.call("k3"), w.want("k3", shop.RegistrarDomain, map[string]any{"domain": "superseal.club"}, "sbx_1"))
		w.refused(err, app.CodeRequiresPayment)
	})
	t.Run("a zone of a name nobody bought", func(t *testing.T) {
		_, err := w.client.Create(t.Context(), w.call("k4"), w.want("k4", shop.DNSZone, map[string]any{"domain": "superseal.club"}, ""))
		w.refused(err, app.CodeInvalidRequest)
	})
}

func TestANameBoughtByAnotherAccountIsNotSold(t *testing.T) {
	w := newWorld(t)
	w.domain("superseal.club")
	other := w.token("joe@example.com").AccessToken
	_, err := w.client.Quote(t.Context(), app.Call{Bearer: other}, app.QuoteRequest{ServiceID: shop.RegistrarDomain, Configuration: map[string]any{"domain": "superseal.club"}})
	var failed *app.Error
	if !errors.As(err, &failed) || failed.Code != "domain_unavailable" {
		t.Errorf("error %v", err)
	}
}

func TestTheSmallServicesHandOverWhatTheyPromise(t *testing.T) {
	w := newWorld(t)
	w.domain("superseal.club")
	for _, c := range []struct {
		service       string
		configuration map[string]any
		keys          []string
	}{
		{shop.DNSZone, map[string]any{"domain": "app.superseal.club"}, []string{shop.KeyZoneID, shop.KeyZoneToken}},
		{shop.DNSZone, map[string]any{"domain": "shop.test"}, []string{shop.KeyZoneID, shop.KeyZoneToken}},
		{shop.TLSCertificate, map[string]any{"domain": "www.superseal.club"}, []string{shop.KeyChain, shop.KeyRootPEM}},
		{shop.MailInbox, map[string]any{"username": "agent", "domain": "superseal.club"}, []string{shop.KeyMailKey, shop.KeyMailURL, shop.KeyAddress}},
		{shop.HostingStatic, nil, []string{shop.KeyAPIBase, shop.KeyAccountID, shop.KeyAPIToken}},
	} {
		t.Run(fmt.Sprint(c.service, c.configuration), func(t *testing.T) {
			got := values(t, w.create(fmt.Sprint(c.service, c.configuration["domain"]), c.service, c.configuration, ""))
			for _, key := range c.keys {
				if got[key] == "" {
					t.Errorf("%s is missing in %v", key, got)
				}
			}
		})
	}
}

func TestAnInboxTakesMailAndIsClosedWithItsResource(t *testing.T) {
	w := newWorld(t)
	r := w.create("inbox", shop.MailInbox, map[string]any{"username": "agent"}, "")
	box := values(t, r)
	letter := []byte("Subject: hello\r\n\r\nwords\r\n")
	if err := smtp.SendMail(w.ready.SMTP, nil, "jane@example.org", []string{box[shop.KeyAddress]}, letter); err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequest(http.MethodGet, box[shop.KeyMailURL]+"/v0/inboxes/"+box[shop.KeyAddress]+"/messages", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+box[shop.KeyMailKey])
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if body, _ := io.ReadAll(res.Body); !bytes.Contains(body, []byte(`"subject":"hello"`)) {
		t.Errorf("messages: %s", body)
	}
	if _, err := w.client.Remove(t.Context(), w.call("rm"), r.ID, nil); err != nil {
		t.Fatal(err)
	}
	if err := smtp.SendMail(w.ready.SMTP, nil, "jane@example.org", []string{box[shop.KeyAddress]}, letter); err == nil {
		t.Error("a removed inbox took mail")
	}
}

func TestARemovedSiteAndNameAreGone(t *testing.T) {
	w := newWorld(t)
	name := w.domain("superseal.club")
	hosting := w.create("hosting", shop.HostingStatic, nil, "")
	w.deploy(values(t, hosting), "superseal.club", map[string]string{"/index.html": "x"})
	for i, r := range []app.Resource{hosting, name, name} {
		got, err := w.client.Remove(t.Context(), w.call(fmt.Sprint("rm", i)), r.ID, nil)
		if err != nil || got.Status != app.StatusRemoved {
			t.Fatalf("removing: %+v, %v", got, err)
		}
	}
	question := new(dns.Msg)
	question.SetQuestion("superseal.club.", dns.TypeA)
	answer, _, err := new(dns.Client).Exchange(question, w.ready.DNS)
	if err != nil || answer.Rcode != dns.RcodeRefused {
		t.Errorf("DNS answers %v, %v", answer, err)
	}
	if _, err := w.browser().Get("https://superseal.club/"); err == nil {
		t.Error("the site is still served")
	}
	all, err := w.client.List(t.Context(), w.call(""))
	if err != nil || len(all) != 2 {
		t.Errorf("list %+v, %v", all, err)
	}
}

func TestACutStopsTheAccountAndRestoreLiftsIt(t *testing.T) {
	w := newWorld(t)
	w.domain("superseal.club")
	hosting := w.create("hosting", shop.HostingStatic, nil, "")
	w.deploy(values(t, hosting), "superseal.club", map[string]string{"/index.html": "x"})
	for _, c := range []struct {
		name   string
		act    func(context.Context, app.Call, string, *app.Actor) (app.Resource, error)
		status int
	}{
		{"restore without a cut", w.client.Restore, 200}, // the certificate is issued on this visit; none is while cut
		{"cut", w.client.Cut, 503}, {"cut again", w.client.Cut, 503}, {"restore", w.client.Restore, 200}, {"restore again", w.client.Restore, 200},
	} {
		if _, err := c.act(t.Context(), w.call(""), hosting.ID, nil); err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		res, err := w.browser().Get("https://superseal.club/")
		if err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		res.Body.Close()
		if res.StatusCode != c.status {
			t.Errorf("%s: %d, want %d", c.name, res.StatusCode, c.status)
		}
	}
}

func TestAnAccountIsStoppedUntilTheLastCutIsLifted(t *testing.T) {
	w := newWorld(t)
	first, second := w.create("first", shop.HostingStatic, nil, ""), w.create("second", shop.HostingStatic, nil, "")
	for _, r := range []app.Resource{first, second} {
		if _, err := w.client.Cut(t.Context(), w.call(""), r.ID, nil); err != nil {
			t.Fatal(err)
		}
	}
	for i, c := range []struct {
		id     string
		status int
	}{{first.ID, http.StatusForbidden}, {second.ID, http.StatusOK}} {
		if _, err := w.client.Restore(t.Context(), w.call(""), c.id, nil); err != nil {
			t.Fatal(err)
		}
		if got := w.verify(values(t, first)); (got == http.StatusOK) != (c.status == http.StatusOK) {
			t.Errorf("after %d of 2 restored: a token is answered %d", i+1, got)
		}
	}
}

// verify asks the deploy API what it thinks of a token.
func (w *world) verify(hosting map[string]string) int {
	w.t.Helper()
	req, err := http.NewRequest(http.MethodGet, hosting[shop.KeyAPIBase]+"/user/tokens/verify", nil)
	if err != nil {
		w.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+hosting[shop.KeyAPIToken])
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		w.t.Fatal(err)
	}
	res.Body.Close()
	return res.StatusCode
}

func TestARotatedTokenIsTheOnlyOne(t *testing.T) {
	w := newWorld(t)
	r := w.create("hosting", shop.HostingStatic, nil, "")
	before := values(t, r)
	rotated, err := w.client.Rotate(t.Context(), w.call("rotate"), r.ID, app.RotateRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if old, now := w.verify(before), w.verify(values(t, rotated)); old == http.StatusOK || now != http.StatusOK {
		t.Errorf("the old token is answered %d, the new one %d", old, now)
	}
}

func TestCurlReadsTheSiteWithTheRootAlone(t *testing.T) {
	curl := testneed.Program(t, "curl")
	w := newWorld(t)
	w.domain("superseal.club")
	w.deploy(values(t, w.create("hosting", shop.HostingStatic, nil, "")), "superseal.club", map[string]string{"/index.html": "<h1>Superseal</h1>"})
	args := []string{"--silent", "--show-error", "--fail", "--connect-to", "superseal.club:443:" + w.ready.EdgeHTTPS, "https://superseal.club/"}
	body, err := exec.CommandContext(t.Context(), curl, append([]string{"--cacert", w.ready.RootPEM}, args...)...).CombinedOutput()
	if err != nil || string(body) != "<h1>Superseal</h1>" {
		t.Errorf("with the root: %v, %s", err, body)
	}
	if body, err := exec.CommandContext(t.Context(), curl, args...).CombinedOutput(); err == nil {
		t.Errorf("without the root curl was served %s", body)
	}
}

func TestAStoppedAccountBuysNothing(t *testing.T) {
	w := newWorld(t)
	hosting := w.create("hosting", shop.HostingStatic, nil, "")
	domain := w.want("domain", shop.RegistrarDomain, map[string]any{"domain": "superseal.club"}, "sbx_1")
	pro := w.want("pro", shop.HostingPro, nil, "sbx_2")
	if _, err := w.client.Cut(t.Context(), w.call(""), hosting.ID, nil); err != nil {
		t.Fatal(err)
	}
	for key, wanted := range map[string]app.CreateRequest{"k1": domain, "k2": pro} {
		_, err := w.client.Create(t.Context(), w.call(key), wanted)
		w.refused(err, app.CodeForbidden)
	}
}

func TestARegistrationOfAStoppedAccountIsFinishedAfterIt(t *testing.T) {
	w := newWorld(t, fault.SlowRegistry)
	hosting := w.create("hosting", shop.HostingStatic, nil, "")
	name := w.domain("superseal.club")
	if _, err := w.client.Cut(t.Context(), w.call(""), hosting.ID, nil); err != nil {
		t.Fatal(err)
	}
	if err := w.stop(); err != nil {
		t.Fatal(err)
	}
	w.faults = fault.NewSet()
	w.start()
	if _, err := w.client.Restore(t.Context(), w.call(""), hosting.ID, nil); err != nil {
		t.Fatal(err)
	}
	got, err := w.client.Get(t.Context(), w.call(""), name.ID)
	if err != nil || values(t, got)[shop.KeyDomain] != "superseal.club" || w.rail.Total() != 890 {
		t.Errorf("the name: %+v, %v, charged %d", got, err, w.rail.Total())
	}
}

func TestARestartedCloudKeepsItsPortsAndWhatItSold(t *testing.T) {
	w := newWorld(t)
	name := w.domain("superseal.club")
	hosting := values(t, w.create("hosting", shop.HostingStatic, nil, ""))
	w.deploy(hosting, "superseal.club", map[string]string{"/index.html": "x"})
	before := w.ready
	if err := w.stop(); err != nil {
		t.Fatalf("stopping: %v", err)
	}
	w.start()
	if w.ready != before {
		t.Errorf("ready %+v, before %+v", w.ready, before)
	}
	got, err := w.client.Get(t.Context(), w.call(""), name.ID)
	if err != nil || values(t, got)[shop.KeyDomain] != "superseal.club" {
		t.Errorf("the name: %+v, %v", got, err)
	}
	w.answers("superseal.club.", "127.0.0.1")
	res, err := w.browser().Get("https://superseal.club/")
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if second := w.deploy(hosting, "superseal.club", map[string]string{"/index.html": "x"}); second.Uploaded != 0 {
		t.Errorf("deployed again: %+v", second)
	}
}

func TestTwoCloudsCannotShareAFolder(t *testing.T) {
	w := newWorld(t)
	if err := cloud.Run(t.Context(), w.options()); !errors.Is(err, cloud.ErrLocked) || !strings.Contains(err.Error(), fmt.Sprint(os.Getpid())) {
		t.Errorf("error %v", err)
	}
}

func TestACloudRefusesAPlaceThatIsNotPrivate(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(o *cloud.Options)
		want   string
	}{
		{"all addresses", func(o *cloud.Options) { o.API = "0.0.0.0:0" }, "loopback"},
		{"another machine's address", func(o *cloud.Options) { o.DNS = "192.0.2.1:0" }, "loopback"},
		{"a name", func(o *cloud.Options) { o.SMTP = "localhost:0" }, "loopback"},
		{"secrets open to others", func(o *cloud.Options) {
			if err := os.Chmod(o.Secrets, 0o644); err != nil {
				panic(err)
			}
		}, "chmod 600"},
		{"no secrets", func(o *cloud.Options) { o.Secrets += "x" }, "reading secrets"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := &world{t: t, dir: t.TempDir(), rail: railtest.New(), faults: fault.NewSet()}
			t.Cleanup(w.rail.Close)
			o := w.options()
			c.change(&o)
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			if err := cloud.Run(ctx, o); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want %q", err, c.want)
			}
		})
	}
}

func TestAPageReboundToLoopbackIsNotAnswered(t *testing.T) {
	w := newWorld(t)
	req, err := http.NewRequest(http.MethodGet, w.ready.ManifestURL, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Host = "evil.example.com"
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if res.StatusCode != http.StatusMisdirectedRequest {
		t.Errorf("status %d", res.StatusCode)
	}
}

func TestTheFolderIsClosedToOthers(t *testing.T) {
	w := newWorld(t)
	dir := filepath.Join(w.dir, "cloud")
	for name, want := range map[string]os.FileMode{"": 0o700, "cloud.db": 0o600, "seal.key": 0o600, "prices.json": 0o600, "run/cloud.json": 0o600} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil || info.Mode().Perm() != want {
			t.Errorf("%q: %v, %v", name, info, err)
		}
	}
}
