package provider_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/purser-dev/purser/app"
	"github.com/purser-dev/purser/provider"
)

// slowStore widens the gaps between transactions, so that races have room.
type slowStore struct{ provider.Store }

func (s slowStore) Update(ctx context.Context, f func(tx provider.Tx) error) error {
	time.Sleep(2 * time.Millisecond)
	return s.Store.Update(ctx, f)
}

func slowly(c *provider.Config) { c.Store = slowStore{provider.NewMemoryStore()} }

func TestOneIDForTwoEmailsAtOnceMakesOneAccount(t *testing.T) {
	r := newRig(t, slowly)
	for i := range 5 {
		id := fmt.Sprint("acctreq_race", i)
		errs := make([]error, 2)
		var wg sync.WaitGroup
		for n := range errs {
			wg.Go(func() {
				_, errs[n] = r.client.AccountRequest(t.Context(), r.request(id, fmt.Sprintf("p%d.%d@example.com", i, n)))
			})
		}
		wg.Wait()
		if code(errs[0])+code(errs[1]) != app.CodeIdempotencyConflict {
			t.Fatalf("%v and %v, want one success and one conflict", errs[0], errs[1])
		}
	}
}

func TestOneRefreshTokenUsedManyTimesAtOnceGivesAtMostOnePair(t *testing.T) {
	r := newRig(t, slowly)
	for i := range 3 {
		token := r.connect(fmt.Sprintf("%03d@example.com", i))
		good := make([]bool, 8)
		var wg sync.WaitGroup
		for n := range good {
			wg.Go(func() {
				_, err := r.client.Refresh(t.Context(), token.RefreshToken)
				good[n] = err == nil
			})
		}
		wg.Wait()
		count := 0
		for _, ok := range good {
			if ok {
				count++
			}
		}
		if count != 1 {
			t.Fatalf("%d pairs came of one refresh token, want one", count)
		}
	}
}

func TestEqualCreatesAtOnceMakeOneThingByEachKey(t *testing.T) {
	r := newRig(t, slowly)
	bearer := r.connect("ann@example.com").AccessToken
	for name, by := range map[string]struct {
		key string
		in  app.CreateRequest
	}{
		"Idempotency-Key":          {"k1", app.CreateRequest{ServiceID: "free"}},
		"orchestrator_resource_id": {"", app.CreateRequest{ServiceID: "free", OrchestratorResourceID: "o1"}},
		"project and service":      {"", app.CreateRequest{ServiceID: "free", ProjectID: "p1"}},
	} {
		ids := make([]string, 4)
		var wg sync.WaitGroup
		for n := range ids {
			wg.Go(func() {
				made, err := r.client.Create(t.Context(), app.Call{Bearer: bearer, IdempotencyKey: by.key}, by.in)
				if err != nil {
					t.Error(err)
				}
				ids[n] = made.ID
			})
		}
		wg.Wait()
		for _, id := range ids {
			if id != ids[0] {
				t.Errorf("by %s: %v, want one id", name, ids)
				break
			}
		}
	}
	if len(r.seller.made) != 3 || r.seller.provisions != 3 {
		t.Errorf("%d things in %d provisions, want three in three", len(r.seller.made), r.seller.provisions)
	}
}

// Two providers over one store see each other's records but not each other's locks; over
// the memory store they see both.
func TestTwoProcessesMakeOneThingOfEqualCreates(t *testing.T) {
	t.Run("over a store of several processes", func(t *testing.T) { twoMakeOne(t, newRig(t, slowly)) })
	t.Run("over the memory store", func(t *testing.T) {
		twoMakeOne(t, newRig(t, func(c *provider.Config) {
			c.Hooks.CheckConfiguration = func(_ context.Context, _ string, configuration map[string]any) (map[string]any, error) {
				time.Sleep(2 * time.Millisecond) // between looking for an equal one and beginning
				return configuration, nil
			}
		}))
	})
}

func twoMakeOne(t *testing.T, r *rig) {
	t.Helper()
	bearer := r.connect("ann@example.com").AccessToken
	first := r.p
	r.restart()
	second := r.p
	for round := range 5 {
		ids := make([]string, 2)
		var wg sync.WaitGroup
		for n, p := range []*provider.Provider{first, second} {
			wg.Go(func() {
				body := []byte(fmt.Sprintf(`{"service_id":"free","orchestrator_resource_id":"both%d"}`, round))
				req := httptest.NewRequest(http.MethodPost, "/app/provisioning/resources", bytes.NewReader(body))
				req.Header.Set("Authorization", "Bearer "+bearer)
				req.Header.Set(app.HeaderVersion, app.Version)
				req.Header.Set(app.HeaderSignature, app.SignatureHeader([]string{secret}, r.clock.Now().Unix(), body))
				rec := httptest.NewRecorder()
				p.ServeHTTP(rec, req)
				var made app.Resource
				if err := json.Unmarshal(rec.Body.Bytes(), &made); err != nil || rec.Code != http.StatusOK {
					t.Errorf("HTTP %d %s, %v", rec.Code, rec.Body, err)
				}
				ids[n] = made.ID
			})
		}
		wg.Wait()
		if ids[0] != ids[1] {
			t.Fatalf("%v, want one id", ids)
		}
	}
	if len(r.seller.made) != 5 {
		t.Errorf("%d things, want 5", len(r.seller.made))
	}
}
