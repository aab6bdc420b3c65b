package sqlstore_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/http/httptest"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib"
	_ "modernc.org/sqlite"

	"github.com/purser-dev/purser/app"
	"github.com/purser-dev/purser/internal/testpg"
	"github.com/purser-dev/purser/provider"
	"github.com/purser-dev/purser/provider/providertest"
	"github.com/purser-dev/purser/provider/sqlstore"
)

// databases opens an empty database of each kind; open is called once per process
// that is pretended.
var databases = []struct {
	name    string
	dialect sqlstore.Dialect
	place   func(t *testing.T) (driver, source string)
}{
	{"sqlite", sqlstore.SQLite, func(t *testing.T) (string, string) {
		return "sqlite", "file:" + filepath.Join(t.TempDir(), "store.db") + "?_pragma=busy_timeout(5000)&_pragma=journal_mode(WAL)&_pragma=synchronous(OFF)"
	}},
	{"postgres", sqlstore.PostgreSQL, func(t *testing.T) (string, string) { return "pgx", testpg.Open(t) }},
}

func open(t *testing.T, dialect sqlstore.Dialect, driver, source string) *sqlstore.Store {
	t.Helper()
	db, err := sql.Open(driver, source)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	s, err := sqlstore.Open(t.Context(), db, dialect)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestBothDatabasesAreStores(t *testing.T) {
	for _, d := range databases {
		t.Run(d.name, func(t *testing.T) {
			driver, source := d.place(t) // one for all, emptied each time: a database of PostgreSQL takes long to make
			providertest.TestStore(t, func(t *testing.T) provider.Store {
				s := open(t, d.dialect, driver, source)
				empty(t, s)
				return s
			})
		})
	}
}

// Two handles with pools of their own know nothing of each other, like two processes.
func TestTwoProcessesLoseNoUpdateOfOneKey(t *testing.T) {
	for _, d := range databases {
		t.Run(d.name, func(t *testing.T) {
			driver, source := d.place(t)
			stores := []*sqlstore.Store{open(t, d.dialect, driver, source), open(t, d.dialect, driver, source)}
			const each = 10
			var wg sync.WaitGroup
			for n := range 4 {
				wg.Go(func() {
					for range each {
						if err := stores[n%2].Update(t.Context(), addOne); err != nil {
							t.Error(err)
						}
					}
				})
			}
			wg.Wait()
			if got := count(t, stores[0]); got != 4*each {
				t.Errorf("counted %d, want %d", got, 4*each)
			}
		})
	}
}

// empty deletes what the test before left.
func empty(t *testing.T, s provider.Store) {
	t.Helper()
	err := s.Update(t.Context(), func(tx provider.Tx) error {
		all, err := tx.List("", "", 10_000)
		for _, r := range all {
			if err == nil {
				err = tx.Delete(r.Key)
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func addOne(tx provider.Tx) error {
	raw, err := tx.Get("count")
	if err != nil {
		return err
	}
	n, _ := strconv.Atoi(string(raw))
	return tx.Put("count", []byte(strconv.Itoa(n+1)), time.Time{})
}

func count(t *testing.T, s provider.Store) (n int) {
	t.Helper()
	err := s.View(t.Context(), func(tx provider.Tx) error {
		raw, err := tx.Get("count")
		n, _ = strconv.Atoi(string(raw))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// Each transaction reads what the other one writes: one after the other, at most
// one of them can find the other's key absent.
func TestTwoUpdatesThatReadEachOthersKeysHappenOneAfterTheOther(t *testing.T) {
	for _, d := range databases {
		t.Run(d.name, func(t *testing.T) {
			driver, source := d.place(t)
			stores := []*sqlstore.Store{open(t, d.dialect, driver, source), open(t, d.dialect, driver, source)}
			for round := range 10 {
				keys := []string{fmt.Sprint("a/", round), fmt.Sprint("b/", round)}
				errTaken := errors.New("taken")
				var wg sync.WaitGroup
				results := make([]error, 2)
				for n := range 2 {
					wg.Go(func() {
						results[n] = stores[n].Update(t.Context(), func(tx provider.Tx) error {
							other, err := tx.Get(keys[1-n])
							if err != nil {
								return err
							}
							if other != nil {
								return errTaken
							}
							return tx.Put(keys[n], []byte("x"), time.Time{})
						})
					})
				}
				wg.Wait()
				good := 0
				for _, err := range results {
					if err == nil {
						good++
					} else if !errors.Is(err, errTaken) {
						t.Fatal(err)
					}
				}
				if good != 1 {
					t.Fatalf("round %d: %d updates succeeded, want one", round, good)
				}
			}
		})
	}
}

func TestASweepDropsWhatExpiredAndNothingElse(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for _, d := range databases {
		t.Run(d.name, func(t *testing.T) {
			driver, source := d.place(t)
			s := open(t, d.dialect, driver, source)
			err := s.Update(t.Context(), func(tx provider.Tx) error {
				for key, expires := range map[string]time.Time{
					"past": now.Add(-time.Second), "now": now, "future": now.Add(time.Microsecond), "never": {},
				} {
					if err := tx.Put(key, []byte("x"), expires); err != nil {
						return err
					}
				}
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
			if err := s.Sweep(t.Context(), now, 100); err != nil {
				t.Fatal(err)
			}
			err = s.View(t.Context(), func(tx provider.Tx) error {
				left, err := tx.List("", "", 10)
				if len(left) != 2 || left[0].Key != "future" || left[1].Key != "never" {
					t.Errorf("left %v, want future and never", left)
				}
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
		})
	}
}

func TestAnUpdateEndsWithItsContext(t *testing.T) {
	driver, source := databases[0].place(t)
	s := open(t, sqlstore.SQLite, driver, source)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Update(ctx, addOne); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want the context's error", err)
	}
	if got := count(t, s); got != 0 {
		t.Errorf("counted %d, want 0", got)
	}
}

func TestAProviderOverSQLPassesTheSuite(t *testing.T) {
	driver, source := databases[0].place(t)
	server := httptest.NewUnstartedServer(nil)
	origin := "http://" + server.Listener.Addr().String()
	var mu sync.Mutex
	minted := 0
	p, err := provider.New(provider.Config{
		Manifest: app.Manifest{
			Name: "sql", BaseURL: origin + "/app/", OAuthTokenEndpoint: origin + "/app/oauth/token", Capabilities: []string{app.CapFind, app.CapRotate},
		},
		Catalog: []app.CatalogService{
			{ID: "thing", Kind: app.KindDeployable, Pricing: app.Pricing{Type: app.PriceFree}},
			{ID: "plan", Kind: app.KindPlan, Pricing: app.Pricing{Type: app.PriceFree}},
		},
		Secrets: []string{"a secret"}, Store: open(t, sqlstore.SQLite, driver, source),
		Hooks: provider.Hooks{
			Provision: func(_ context.Context, r provider.Request) (provider.Provisioned, error) {
				return provider.Provisioned{AccessConfiguration: map[string]string{"key": "key of " + r.ID}}, nil
			},
			Rotate: func(_ context.Context, r provider.Resource) (provider.Provisioned, error) {
				mu.Lock()
				defer mu.Unlock()
				minted++
				return provider.Provisioned{AccessConfiguration: map[string]string{"key": fmt.Sprint("key ", minted, " of ", r.ID)}}, nil
			},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	server.Config.Handler = p
	server.Start()
	defer server.Close()
	report := providertest.Run(t.Context(), providertest.Config{
		BaseURL: origin + "/app/", TokenURL: origin + "/app/oauth/token", SigningSecret: "a secret", FreeService: "thing", PlanService: "plan",
		Capabilities: []string{app.CapFind, app.CapRotate}, Transport: server.Client().Transport,
	})
	if !report.OK() || !report.SafeToResend() {
		t.Error(report)
	}
}
