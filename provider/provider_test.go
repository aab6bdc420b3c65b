package provider_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/purser-dev/purser/app"
	"github.com/purser-dev/purser/provider"
)

func TestACreateInterruptedAnywhereIsFinishedOnceByItsRetry(t *testing.T) {
	lost := errors.New("connection lost")
	for name, at := range map[string]func(*seller) *error{
		"before the charge": func(s *seller) *error { return &s.beforePay },
		"after the charge":  func(s *seller) *error { return &s.afterPay },
		"before the making": func(s *seller) *error { return &s.beforeMake },
		"after the making":  func(s *seller) *error { return &s.afterMake },
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, nil)
			call := app.Call{Bearer: r.connect("ann@example.com").AccessToken, IdempotencyKey: "k1"}
			in := app.CreateRequest{ServiceID: "paid", OrchestratorResourceID: "o1", Payment: sandbox("sbx_1")}
			r.seller.set(func() { *at(r.seller) = lost })
			_, err := r.client.Create(t.Context(), call, in)
			if code(err) != app.CodeServerError || !unknown(err) {
				t.Fatalf("the interrupted create answered %v, want an unknown server_error", err)
			}
			found, ok, err := r.client.Find(t.Context(), call, "o1")
			if code(err) != "" || !ok || found.Status != app.StatusError || found.Error.Code != app.CodeInterrupted {
				t.Fatalf("found %+v, %v, %v; want it interrupted", found, ok, err)
			}
			r.seller.set(func() { *at(r.seller) = nil })
			r.restart()
			made, err := r.client.Create(t.Context(), call, in)
			if err != nil || made.Status != app.StatusComplete || made.ID != found.ID {
				t.Fatalf("the retry answered %+v, %v; want %s complete", made, err, found.ID)
			}
			if len(r.seller.charges) != 1 || len(r.seller.made) != 1 {
				t.Errorf("charged %v, made %v; want one of each", r.seller.charges, r.seller.made)
			}
			again, err := r.client.Create(t.Context(), call, in)
			if err != nil || again.ID != made.ID || len(r.seller.charges) != 1 || r.seller.provisions > 2 {
				t.Errorf("a replay answered %+v, %v after %d provisions", again, err, r.seller.provisions)
			}
		})
	}
}

// brokenStore fails one Update: not done, or done and the answer lost.
type brokenStore struct {
	provider.Store
	updates, failAt int
	done            bool
}

func (s *brokenStore) Update(ctx context.Context, f func(tx provider.Tx) error) error {
	s.updates++
	if s.updates != s.failAt {
		return s.Store.Update(ctx, f)
	}
	if s.done {
		if err := s.Store.Update(ctx, f); err != nil {
			return err
		}
	}
	return errors.New("disk lost")
}

func TestEachStoreWriteOfACreateMayFailWithoutBuyingTwice(t *testing.T) {
	for _, done := range []bool{false, true} {
		for step := 1; ; step++ {
			store := &brokenStore{Store: provider.NewMemoryStore(), done: done}
			r := newRig(t, func(c *provider.Config) { c.Store = store })
			call := app.Call{Bearer: r.connect("ann@example.com").AccessToken, IdempotencyKey: "k1"}
			in := app.CreateRequest{ServiceID: "paid", OrchestratorResourceID: "o1", Payment: sandbox("sbx_1")}
			store.updates, store.failAt = 0, step
			_, err := r.client.Create(t.Context(), call, in)
			if err == nil {
				if step < 4 {
					t.Fatalf("a paid create has %d writes, want at least three to break", step-1)
				}
				break
			}
			if !unknown(err) {
				t.Errorf("write %d, done %v: answered %v, want an unknown outcome", step, done, err)
			}
			store.failAt = 0
			r.restart()
			made, err := r.client.Create(t.Context(), call, in)
			if err != nil || made.Status != app.StatusComplete {
				t.Fatalf("write %d, done %v: the retry answered %+v, %v", step, done, made, err)
			}
			if len(r.seller.charges) != 1 || len(r.seller.made) != 1 {
				t.Errorf("write %d, done %v: charged %v, made %v", step, done, r.seller.charges, r.seller.made)
			}
		}
	}
}

func TestADeclinedPaymentKeepsTheIDAndTheNextAttemptHasANewKey(t *testing.T) {
	r := newRig(t, nil)
	call := app.Call{Bearer: r.connect("ann@example.com").AccessToken, IdempotencyKey: "k1"}
	in := app.CreateRequest{ServiceID: "paid", OrchestratorResourceID: "o1", Payment: sandbox("sbx_1")}
	r.seller.set(func() { r.seller.beforePay = provider.Errorf("card_declined", "the token was refused") })
	_, err := r.client.Create(t.Context(), call, in)
	var e *app.Error
	if !errors.As(err, &e) || e.Code != app.CodeRequiresPayment || e.ID == "" || e.Unknown || e.HTTPStatus != http.StatusBadRequest {
		t.Fatalf("declined: %+v, want requires_payment_credentials with an id", err)
	}
	r.seller.set(func() { r.seller.beforePay = nil })
	in.Payment = sandbox("sbx_2")
	made, err := r.client.Create(t.Context(), call, in)
	if err != nil || made.ID != e.ID {
		t.Fatalf("the second token: %+v, %v; want the same id", made, err)
	}
	if a := r.seller.activations; len(a) != 2 || a[0].Key == a[1].Key || a[1].Token != "sbx_2" {
		t.Errorf("activations %v: want a second key and the second token", a)
	}
}

func TestARefusalAfterPaymentGivesTheMoneyBack(t *testing.T) {
	r := newRig(t, nil)
	call := app.Call{Bearer: r.connect("ann@example.com").AccessToken, IdempotencyKey: "k1"}
	in := app.CreateRequest{ServiceID: "paid", OrchestratorResourceID: "o1", Payment: sandbox("sbx_1")}
	r.seller.set(func() { r.seller.beforeMake = provider.Errorf("name_taken", "somebody was faster") })
	if _, err := r.client.Create(t.Context(), call, in); code(err) != "name_taken" || unknown(err) {
		t.Fatalf("answered %v, want name_taken", err)
	}
	if len(r.seller.charges) != 0 || len(r.seller.refunds) != 1 {
		t.Errorf("charged %v, refunded %v", r.seller.charges, r.seller.refunds)
	}
	r.seller.set(func() { r.seller.beforeMake = nil })
	if _, err := r.client.Create(t.Context(), call, in); err != nil || len(r.seller.charges) != 1 {
		t.Errorf("the next attempt: %v, charged %v; want it paid anew", err, r.seller.charges)
	}
}

func TestASubscribedAccountIsNotChargedAgain(t *testing.T) {
	r := newRig(t, func(c *provider.Config) {
		c.Hooks.Subscribed = func(context.Context, provider.Account, string) (bool, error) { return true, nil }
	})
	call := app.Call{Bearer: r.connect("ann@example.com").AccessToken}
	if _, err := r.client.Create(t.Context(), call, app.CreateRequest{ServiceID: "paid", Payment: sandbox("sbx_1")}); err != nil || len(r.seller.activations) != 0 {
		t.Errorf("%v, activations %v; want none", err, r.seller.activations)
	}
}

func TestAComponentIsFreeUnderItsPlanAndNotSoldWithout(t *testing.T) {
	r := newRig(t, nil)
	call := app.Call{Bearer: r.connect("ann@example.com").AccessToken}
	if _, err := r.client.Create(t.Context(), call, app.CreateRequest{ServiceID: "part", Payment: sandbox("sbx_1")}); code(err) != app.CodeInvalidRequest {
		t.Errorf("without its plan: %v, want invalid_request", err)
	}
	if _, err := r.client.Create(t.Context(), call, app.CreateRequest{ServiceID: "plan", Payment: sandbox("sbx_1")}); err != nil {
		t.Fatal(err)
	}
	if _, err := r.client.Create(t.Context(), call, app.CreateRequest{ServiceID: "part"}); err != nil || len(r.seller.activations) != 1 {
		t.Errorf("under its plan: %v, %d activations; want it free", err, len(r.seller.activations))
	}
}

func TestAQuoteBindsWhatIsSold(t *testing.T) {
	r := newRig(t, nil)
	call := app.Call{Bearer: r.connect("ann@example.com").AccessToken}
	other := app.Call{Bearer: r.connect("bob@example.com").AccessToken}
	name := func(s string) map[string]any { return map[string]any{"name": s} }
	for _, test := range []struct {
		title  string
		config map[string]any
		buyer  app.Call
		before func()
		want   string
	}{
		{"the same thing at the same price is sold", name("a"), call, nil, ""},
		{"another configuration is not", name("b"), call, nil, app.CodeQuoteChanged},
		{"a dearer thing is not", name("a"), call, func() { r.seller.price = 501 }, app.CodeQuoteChanged},
		{"a cheaper thing is not either: the quote names it exactly", name("a"), call, func() { r.seller.price = 499 }, app.CodeQuoteChanged},
		{"another buyer does not get it", name("a"), other, nil, app.CodeQuoteExpired},
		{"an old quote does not hold", name("a"), call, func() { r.clock.pass(16 * time.Minute) }, app.CodeQuoteExpired},
	} {
		t.Run(test.title, func(t *testing.T) {
			r.seller.set(func() { r.seller.price = 500 })
			q, err := r.client.Quote(t.Context(), call, app.QuoteRequest{ServiceID: "paid", Configuration: name("a")})
			if err != nil {
				t.Fatal(err)
			}
			if test.before != nil {
				r.seller.set(test.before)
			}
			before := len(r.seller.activations)
			in := app.CreateRequest{ServiceID: "paid", Configuration: test.config, QuoteID: q.ID, Payment: sandbox("sbx_1")}
			_, err = r.client.Create(t.Context(), test.buyer, in)
			if code(err) != test.want || (test.want != "" && len(r.seller.activations) != before) {
				t.Errorf("answered %v with %d charges, want %q", err, len(r.seller.activations)-before, test.want)
			}
			if test.want == "" && r.seller.activations[before].Amount.AmountMinor != 500 {
				t.Errorf("charged %+v, want the quoted 500", r.seller.activations[before].Amount)
			}
		})
	}
}

func TestWhatWasPaidForIsFinishedAlthoughItsQuoteRanOut(t *testing.T) {
	r := newRig(t, nil)
	call := app.Call{Bearer: r.connect("ann@example.com").AccessToken, IdempotencyKey: "k"}
	q, err := r.client.Quote(t.Context(), call, app.QuoteRequest{ServiceID: "paid"})
	if err != nil {
		t.Fatal(err)
	}
	in := app.CreateRequest{ServiceID: "paid", QuoteID: q.ID, OrchestratorResourceID: "o1", Payment: sandbox("sbx_1")}
	r.seller.set(func() { r.seller.beforeMake = errors.New("lost") })
	_, _ = r.client.Create(t.Context(), call, in)
	r.seller.set(func() { r.seller.beforeMake, r.seller.price = nil, 900 })
	r.clock.pass(20 * time.Minute)
	if made, err := r.client.Create(t.Context(), call, in); err != nil || made.Status != app.StatusComplete || len(r.seller.charges) != 1 {
		t.Errorf("the retry answered %+v, %v, charged %v", made, err, r.seller.charges)
	}
}

func TestAPendingResourceBecomesWhatReadSays(t *testing.T) {
	r := newRig(t, nil)
	call := app.Call{Bearer: r.connect("ann@example.com").AccessToken}
	r.seller.set(func() { r.seller.pending = true })
	made, err := r.client.Create(t.Context(), call, app.CreateRequest{ServiceID: "free"})
	if err != nil || made.Status != app.StatusPending || made.RetryAfter != 3*time.Second {
		t.Fatalf("%+v, %v; want pending, 3 s", made, err)
	}
	r.seller.set(func() { r.seller.pending = false })
	got, err := r.client.Get(t.Context(), call, made.ID)
	if err != nil || got.Status != app.StatusComplete || got.Complete.AccessConfiguration["key"] == "" {
		t.Errorf("%+v, %v; want complete with credentials", got, err)
	}
	r.seller.set(func() { delete(r.seller.made, made.ID) })
	if _, err := r.client.Get(t.Context(), call, made.ID); code(err) != app.CodeNotFound {
		t.Errorf("a vanished resource answered %v, want not_found", err)
	}
}

func TestARemovedResourceIsShownForThirtyDays(t *testing.T) {
	r := newRig(t, func(c *provider.Config) { c.AccessTokenTTL = 60 * 24 * time.Hour })
	call := app.Call{Bearer: r.connect("ann@example.com").AccessToken}
	made, err := r.client.Create(t.Context(), call, app.CreateRequest{ServiceID: "free", OrchestratorResourceID: "o1"})
	if err != nil {
		t.Fatal(err)
	}
	if out, err := r.client.Remove(t.Context(), call, made.ID, nil); err != nil || out.Status != app.StatusRemoved {
		t.Fatalf("%+v, %v", out, err)
	}
	r.clock.pass(30*24*time.Hour - time.Minute)
	if out, err := r.client.Get(t.Context(), call, made.ID); err != nil || out.Status != app.StatusRemoved {
		t.Errorf("after 29 days: %+v, %v", out, err)
	}
	if list, err := r.client.List(t.Context(), call); err != nil || len(list) != 1 || list[0].OrchestratorResourceID != "o1" {
		t.Errorf("after 29 days the list is %+v, %v", list, err)
	}
	r.clock.pass(2 * time.Minute)
	if _, err := r.client.Get(t.Context(), call, made.ID); code(err) != app.CodeNotFound {
		t.Errorf("after 30 days: %v, want not_found", err)
	}
	if list, err := r.client.List(t.Context(), call); err != nil || len(list) != 0 {
		t.Errorf("after 30 days the list is %+v, %v", list, err)
	}
}

func TestAListOfManyHasEachOnce(t *testing.T) {
	r := newRig(t, nil)
	call := app.Call{Bearer: r.connect("ann@example.com").AccessToken}
	want := map[string]bool{}
	for i := range 120 {
		made, err := r.client.Create(t.Context(), call, app.CreateRequest{ServiceID: "free", OrchestratorResourceID: fmt.Sprint(i)})
		if err != nil {
			t.Fatal(err)
		}
		want[made.ID] = true
	}
	got := map[string]bool{}
	list, err := r.client.List(t.Context(), call)
	for _, resource := range list {
		got[resource.ID] = true
	}
	if diff := cmp.Diff(want, got); err != nil || diff != "" || len(list) != 120 {
		t.Errorf("%d listed, %v\n%s", len(list), err, diff)
	}
}

func TestCutAndRestoreReachTheBackendOnlyWhereDeclared(t *testing.T) {
	var did []string
	hook := func(name string) func(context.Context, provider.Resource) error {
		return func(_ context.Context, r provider.Resource) error { did = append(did, name); return nil }
	}
	r := newRig(t, func(c *provider.Config) { c.Hooks.Cut, c.Hooks.Restore = hook("cut"), hook("restore") })
	call := app.Call{Bearer: r.connect("ann@example.com").AccessToken}
	made, err := r.client.Create(t.Context(), call, app.CreateRequest{ServiceID: "free"})
	if err != nil {
		t.Fatal(err)
	}
	if out, err := r.client.Cut(t.Context(), call, made.ID, nil); err != nil || out.Complete.AccessConfiguration != nil {
		t.Errorf("cut: %+v, %v; want the envelope without secrets", out, err)
	}
	if _, err := r.client.Restore(t.Context(), call, made.ID, nil); err != nil {
		t.Error(err)
	}
	if diff := cmp.Diff([]string{"cut", "restore"}, did); diff != "" {
		t.Error(diff)
	}
	r.config.Manifest.Capabilities = nil
	r.restart()
	if _, err := r.client.Cut(t.Context(), call, made.ID, nil); code(err) != app.CodeNotFound {
		t.Errorf("undeclared: %v, want not_found", err)
	}
}

func TestAProjectOfAnotherAccountIsAConflictUntilItIsEmpty(t *testing.T) {
	r := newRig(t, nil)
	ann := app.Call{Bearer: r.connect("ann@example.com").AccessToken}
	bob := app.Call{Bearer: r.connect("bob@example.com").AccessToken}
	in := app.CreateRequest{ServiceID: "free", ProjectID: "proj_1"}
	made, err := r.client.Create(t.Context(), ann, in)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := r.client.Create(t.Context(), ann, in); err != nil || again.ID != made.ID {
		t.Errorf("two bare creates of one project: %+v, %v; want one resource", again, err)
	}
	if _, err := r.client.Create(t.Context(), bob, in); code(err) != app.CodeProjectIDConflict {
		t.Errorf("bob: %v, want project_id_conflict", err)
	}
	if _, err := r.client.Remove(t.Context(), ann, made.ID, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := r.client.Create(t.Context(), bob, in); err != nil {
		t.Errorf("bob, after ann removed hers: %v", err)
	}
}

func TestAPanicOrAnUnknownErrorShowsNothingOfItself(t *testing.T) {
	for name, provision := range map[string]func(context.Context, provider.Request) (provider.Provisioned, error){
		"panic": func(context.Context, provider.Request) (provider.Provisioned, error) { panic("password=hunter2") },
		"error": func(context.Context, provider.Request) (provider.Provisioned, error) {
			return provider.Provisioned{}, errors.New("password=hunter2")
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, func(c *provider.Config) { c.Hooks.Provision = provision })
			call := app.Call{Bearer: r.connect("ann@example.com").AccessToken}
			_, err := r.client.Create(t.Context(), call, app.CreateRequest{ServiceID: "free"})
			var e *app.Error
			if !errors.As(err, &e) || e.Code != app.CodeServerError || e.Envelope != app.EnvelopeStatus || strings.Contains(e.Error(), "hunter2") {
				t.Errorf("answered %v, want server_error in the status envelope", err)
			}
		})
	}
}

func TestACatalogThatBreaksIsServedStaleThenStatic(t *testing.T) {
	var live func() ([]app.CatalogService, error)
	r := newRig(t, func(c *provider.Config) {
		c.Hooks.Services = func(context.Context) ([]app.CatalogService, error) { return live() }
	})
	fresh := []app.CatalogService{{ID: "fresh", Kind: app.KindPlan, Pricing: app.Pricing{Type: app.PriceFree}}}
	for _, step := range []struct {
		title string
		live  func() ([]app.CatalogService, error)
		want  string
	}{
		{"broken before it ever worked", func() ([]app.CatalogService, error) { return nil, errors.New("down") }, "free"},
		{"working", func() ([]app.CatalogService, error) { return fresh, nil }, "fresh"},
		{"broken after", func() ([]app.CatalogService, error) { panic("down") }, "fresh"},
		{"rubbish after", func() ([]app.CatalogService, error) { return []app.CatalogService{{}}, nil }, "fresh"},
	} {
		live = step.live
		entries, err := r.client.Services(t.Context())
		services, _ := app.Normalize("test", entries)
		if err != nil || len(services) == 0 || services[0].ServiceID != step.want {
			t.Errorf("%s: %v, %v; want %s first", step.title, services, err, step.want)
		}
	}
}

func TestTheStoreHoldsNoSecret(t *testing.T) {
	r := newRig(t, func(c *provider.Config) { c.SealKey = []byte(strings.Repeat("k", 32)) })
	answer, err := r.client.AccountRequest(t.Context(), r.request("acctreq_1", "ann@example.com"))
	if err != nil {
		t.Fatal(err)
	}
	unredeemed, err := r.client.AccountRequest(t.Context(), r.request("acctreq_2", "bob@example.com"))
	if err != nil {
		t.Fatal(err)
	}
	token, err := r.client.Exchange(t.Context(), answer.OAuth.Code, verifier)
	if err != nil {
		t.Fatal(err)
	}
	call := app.Call{Bearer: token.AccessToken, IdempotencyKey: "k1"}
	made, err := r.client.Create(t.Context(), call, app.CreateRequest{ServiceID: "paid", Payment: sandbox("sbx_verysecret")})
	if err != nil {
		t.Fatal(err)
	}
	consent, err := r.client.AccountRequest(t.Context(), r.request("acctreq_3", "ann@example.com"))
	if err != nil || consent.RequiresAuth == nil {
		t.Fatalf("%+v, %v", consent, err)
	}
	var all strings.Builder
	err = r.store.View(t.Context(), func(tx provider.Tx) error {
		records, err := tx.List("", "", 1000)
		for _, record := range records {
			all.WriteString(record.Key + string(record.Value) + "\n")
		}
		return err
	})
	if err != nil || all.Len() < 1000 {
		t.Fatalf("the store has %d bytes, %v", all.Len(), err)
	}
	for name, value := range map[string]string{
		"access token": token.AccessToken, "refresh token": token.RefreshToken, "spent code": answer.OAuth.Code,
		"open code": unredeemed.OAuth.Code, "payment token": "sbx_verysecret", "signing secret": secret,
		"confirmation secret": r.request("acctreq_3", "").ConfirmationSecret, "credential": made.Complete.AccessConfiguration["key"],
	} {
		if value == "" || strings.Contains(all.String(), value) {
			t.Errorf("the store holds the %s", name)
		}
	}
}

func TestEachRequestIsAuditedOnceWithoutItsSecrets(t *testing.T) {
	var events []provider.Event
	r := newRig(t, func(c *provider.Config) {
		c.Audit = func(_ context.Context, e provider.Event) { events = append(events, e) }
	})
	call := app.Call{Bearer: r.connect("ann@example.com").AccessToken}
	_, _ = r.client.Create(t.Context(), call, app.CreateRequest{ServiceID: "nothing"})
	var got []string
	for _, e := range events {
		got = append(got, fmt.Sprintf("%s %d %s", e.Operation, e.HTTPStatus, e.Code))
	}
	want := []string{"account_request 200 ", "token 200 ", "create 400 unknown_service"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if last := events[len(events)-1]; last.Orchestrator != "purser" || last.Account == "" {
		t.Errorf("%+v lacks orchestrator or account", last)
	}
}

func TestAWrongConfigurationIsRefusedWhenMade(t *testing.T) {
	good := func() provider.Config {
		return provider.Config{
			Manifest: app.Manifest{BaseURL: "https://x.example/app/", OAuthTokenEndpoint: "https://x.example/app/oauth/token"},
			Catalog:  testCatalog, Secrets: []string{"s"}, Store: provider.NewMemoryStore(), Hooks: provider.Hooks{Provision: newSeller().provision},
		}
	}
	if _, err := provider.New(good()); err != nil {
		t.Fatal(err)
	}
	for name, spoil := range map[string]func(*provider.Config){
		"no base URL":        func(c *provider.Config) { c.Manifest.BaseURL = "" },
		"no store":           func(c *provider.Config) { c.Store = nil },
		"no provision hook":  func(c *provider.Config) { c.Hooks.Provision = nil },
		"no catalog":         func(c *provider.Config) { c.Catalog = nil },
		"a parent not in it": func(c *provider.Config) { c.Catalog = testCatalog[3:] },
		"an id twice":        func(c *provider.Config) { c.Catalog = append(c.Catalog, c.Catalog[0]) },
		"an empty secret":    func(c *provider.Config) { c.Secrets = []string{""} },
		"a name twice":       func(c *provider.Config) { c.Orchestrators = []provider.Orchestrator{{Name: "purser"}} },
		"an insecure callback": func(c *provider.Config) {
			c.Orchestrators = []provider.Orchestrator{{Name: "o", CallbackURL: "http://o.example/"}}
		},
		"a partner's name": func(c *provider.Config) { c.Orchestrators = []provider.Orchestrator{{Name: "client-x"}} },
		"a confirm URL without an id": func(c *provider.Config) {
			c.Orchestrators = []provider.Orchestrator{{Name: "o", ConfirmURL: "https://o.example/", ProviderKey: "k"}}
		},
		"a confirm URL without a key": func(c *provider.Config) {
			c.Orchestrators = []provider.Orchestrator{{Name: "o", ConfirmURL: "https://o.example/{id}"}}
		},
		"a link without its schema": func(c *provider.Config) { c.Hooks.Link = c.Hooks.Provision },
		"regions without its own":   func(c *provider.Config) { c.Regions = map[string]string{"EU": "https://eu.example/"} },
		"a seal key of 5 bytes":     func(c *provider.Config) { c.SealKey = []byte("short") },
		"a published wildcard":      func(c *provider.Config) { c.Catalog[0].AllowedUpdates = []app.Update{{Service: app.ServiceRef}} },
		"an unknown kind":           func(c *provider.Config) { c.Catalog[0].Kind = "thing" },
		"an unknown price type":     func(c *provider.Config) { c.Catalog[0].Pricing.Type = "barter" },
		"no token endpoint":         func(c *provider.Config) { c.Manifest.OAuthTokenEndpoint = "" },
		"a nameless orchestrator":   func(c *provider.Config) { c.Orchestrators = []provider.Orchestrator{{Secrets: []string{"s"}}} },
	} {
		c := good()
		c.Catalog = append([]app.CatalogService{}, c.Catalog...)
		spoil(&c)
		if _, err := provider.New(c); err == nil {
			t.Errorf("%s was accepted", name)
		}
	}
}

func TestWithoutAnySecretSignedRoutesAnswerServerError(t *testing.T) {
	r := newRig(t, func(c *provider.Config) { c.Secrets = nil })
	_, err := r.client.Health(t.Context())
	var e *app.Error
	if !errors.As(err, &e) || e.HTTPStatus != http.StatusInternalServerError || e.Envelope != app.EnvelopeFlat || e.Code != app.CodeServerError {
		t.Errorf("answered %v, want 500 flat server_error", err)
	}
}

// raw sends one request as given and reads the answer.
func (r *rig) raw(method, path, body string, header map[string]string) (int, http.Header, string) {
	r.t.Helper()
	req, err := http.NewRequestWithContext(r.t.Context(), method, r.server.URL+path, strings.NewReader(body))
	if err != nil {
		r.t.Fatal(err)
	}
	for name, value := range header {
		req.Header.Set(name, value)
	}
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	defer client.CloseIdleConnections()
	resp, err := client.Do(req)
	if err != nil {
		r.t.Fatal(err)
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	return resp.StatusCode, resp.Header, string(raw)
}
