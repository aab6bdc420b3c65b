package state

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/purser-dev/purser/internal/cloud/assets"
)

type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) time() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) pass(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

func open(t *testing.T, dir string, c *clock) *Store {
	t.Helper()
	s, err := Open(t.Context(), Options{Dir: dir, Now: c.time, Random: rand.Reader})
	ok(t, err)
	t.Cleanup(func() { s.Close() })
	return s
}

func fresh(t *testing.T) (*Store, *clock, Account) {
	t.Helper()
	c := &clock{now: time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)}
	s := open(t, filepath.Join(t.TempDir(), "odd #?% name"), c)
	a, err := s.CreateAccount(t.Context(), "ref", "One")
	ok(t, err)
	return s, c, a
}

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func is(t *testing.T, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("error = %v, want %v", err, want)
	}
}

func grant(t *testing.T, s *Store, scope Scope) (Grant, string) {
	t.Helper()
	secret, _, err := s.NewToken(t.Context(), scope)
	ok(t, err)
	g, err := s.Authorize(t.Context(), secret)
	ok(t, err)
	return g, secret
}

var hash = strings.Repeat("ab", 16)

func upload(app string) Upload {
	return Upload{App: app, Manifest: assets.Manifest{"/index.html": {Hash: hash, Size: 1}}, Activate: true}
}

func TestTheSameRefGivesTheSameAccount(t *testing.T) {
	s, _, a := fresh(t)
	again, err := s.CreateAccount(t.Context(), "ref", "Other")
	ok(t, err)
	if again != a {
		t.Errorf("second = %+v, want %+v", again, a)
	}
	other, err := s.CreateAccount(t.Context(), "", "Other")
	ok(t, err)
	if other.ID == a.ID || other.Subdomain == a.Subdomain {
		t.Error("two accounts share an id or a subdomain")
	}
}

func TestATokenWorksUntilItIsRevokedExpiredOrItsAccountStopped(t *testing.T) {
	s, c, a := fresh(t)
	_, secret := grant(t, s, Scope{Account: a.ID, Label: "x", Expires: c.now.Add(time.Hour)})
	authorize := func() error { _, err := s.Authorize(t.Context(), secret); return err }
	is(t, authorize(), nil)
	ok(t, s.Suspend(t.Context(), a.ID))
	is(t, authorize(), ErrSuspended)
	_, _, err := s.NewToken(t.Context(), Scope{Account: a.ID})
	is(t, err, ErrSuspended)
	ok(t, s.Resume(t.Context(), a.ID))
	is(t, authorize(), nil)
	c.pass(time.Hour)
	is(t, authorize(), ErrUnauthorized)

	for name, revoke := range map[string]func(Grant) error{
		"by id":      func(g Grant) error { return s.RevokeToken(t.Context(), g.TokenID) },
		"by account": func(g Grant) error { return s.RevokeTokens(t.Context(), g.Account) },
		"by label":   func(g Grant) error { return s.RevokeLabelled(t.Context(), g.Account, "res") },
		"replaced": func(g Grant) error {
			_, _, err := s.NewToken(t.Context(), Scope{Account: g.Account, Label: "res", Replace: true})
			return err
		},
	} {
		g, secret := grant(t, s, Scope{Account: a.ID, Label: "res"})
		ok(t, revoke(g))
		if _, err := s.Authorize(t.Context(), secret); !errors.Is(err, ErrUnauthorized) {
			t.Errorf("%s: a revoked token answers %v", name, err)
		}
		is(t, s.Check(t.Context(), g), ErrUnauthorized)
	}
	for _, rubbish := range []string{"", "pcl_", secret + "x", strings.Repeat("x", 10000)} {
		_, err := s.Authorize(t.Context(), rubbish)
		is(t, err, ErrUnauthorized)
	}
}

func TestNoSecretIsInTheFile(t *testing.T) {
	dir := t.TempDir()
	c := &clock{now: time.Now()}
	s := open(t, dir, c)
	a, err := s.CreateAccount(t.Context(), "", "One")
	ok(t, err)
	_, secret := grant(t, s, Scope{Account: a.ID})
	ok(t, s.Close())
	entries, err := os.ReadDir(dir)
	ok(t, err)
	for _, e := range entries {
		data, err := os.ReadFile(filepath.Join(dir, e.Name()))
		ok(t, err)
		if strings.Contains(string(data), secret[4:]) {
			t.Errorf("%s holds a token", e.Name())
		}
		if info, _ := e.Info(); info.Mode().Perm()&0o077 != 0 && e.Name() == "cloud.db" {
			t.Errorf("%s has mode %v", e.Name(), info.Mode())
		}
	}
}

func TestAZoneHasOneOwner(t *testing.T) {
	s, _, a := fresh(t)
	b, err := s.CreateAccount(t.Context(), "b", "Two")
	ok(t, err)
	first, err := s.CreateZone(t.Context(), a.ID, "SuperSeal.club.")
	ok(t, err)
	again, err := s.CreateZone(t.Context(), a.ID, "superseal.club")
	ok(t, err)
	if again.ID != first.ID || first.Name != "superseal.club" {
		t.Errorf("second = %+v, first %+v", again, first)
	}
	_, err = s.CreateZone(t.Context(), b.ID, "superseal.club")
	is(t, err, ErrTaken)
	_, err = s.CreateZone(t.Context(), b.ID, a.SubdomainZone())
	is(t, err, ErrTaken)
	for _, bad := range []string{"", "club", "a..b", "-a.club", "a b.club", "*.superseal.club", strings.Repeat("x", 64) + ".club", "ä.club"} {
		_, err := s.CreateZone(t.Context(), a.ID, bad)
		is(t, err, ErrInvalid)
	}
	is(t, s.RemoveZone(t.Context(), b.ID, first.ID), ErrNotFound)
	ok(t, s.RemoveZone(t.Context(), a.ID, first.ID))
	_, err = s.ZoneOf(t.Context(), "www.superseal.club")
	is(t, err, ErrNotFound)
}

func TestTheLongestZoneWins(t *testing.T) {
	s, _, a := fresh(t)
	for _, name := range []string{"superseal.club", "sub.superseal.club"} {
		_, err := s.CreateZone(t.Context(), a.ID, name)
		ok(t, err)
	}
	for name, want := range map[string]string{
		"superseal.club": "superseal.club", "a.b.superseal.club": "superseal.club", "SUB.superseal.club": "sub.superseal.club",
		"x.sub.superseal.club.": "sub.superseal.club", "xsuperseal.club": "", "": "", strings.Repeat("a.", 300) + "superseal.club": "",
	} {
		zone, err := s.ZoneOf(t.Context(), name)
		if zone.Name != want || (want == "") != errors.Is(err, ErrNotFound) {
			t.Errorf("zone of %.30q = %q, %v; want %q", name, zone.Name, err, want)
		}
	}
}

func TestARecordThatBreaksTheRulesIsRefused(t *testing.T) {
	s, _, a := fresh(t)
	zone, err := s.CreateZone(t.Context(), a.ID, "superseal.club")
	ok(t, err)
	add := func(r Record) error { _, err := s.AddRecord(t.Context(), a.ID, zone.ID, r); return err }
	ok(t, add(Record{Name: "www", Type: "CNAME", Content: "superseal.club"}))
	for _, r := range []Record{
		{Name: "a", Type: "A", Content: "::1"},
		{Name: "a", Type: "A", Content: "rubbish"},
		{Name: "a", Type: "AAAA", Content: "127.0.0.1"},
		{Name: "a", Type: "AAAA", Content: "fe80::1%eth0"},
		{Name: "a b", Type: "A", Content: "127.0.0.1"},
		{Name: "a", Type: "MX", Content: "not a host"},
		{Name: "a", Type: "TXT"},
		{Name: "a", Type: "NS", Content: "x.example"},
		{Name: "a", Type: "", Content: "x"},
		{Name: "a", Type: "A", Content: "127.0.0.1", TTL: 1 << 30},
	} {
		if err := add(r); !errors.Is(err, ErrInvalid) {
			t.Errorf("%+v: %v, want invalid", r, err)
		}
	}
	is(t, add(Record{Name: "www", Type: "A", Content: "127.0.0.1"}), ErrTaken)
	is(t, add(Record{Name: "www", Type: "CNAME", Content: "other.club"}), ErrTaken)
	is(t, add(Record{Name: "", Type: "CNAME", Content: "other.club"}), ErrTaken)
	b, err := s.CreateAccount(t.Context(), "b", "Two")
	ok(t, err)
	_, err = s.AddRecord(t.Context(), b.ID, zone.ID, Record{Name: "x", Type: "A", Content: "127.0.0.1"})
	is(t, err, ErrNotFound)
}

func TestAHostnameIsTakenFromNothing(t *testing.T) {
	s, _, a := fresh(t)
	b, err := s.CreateAccount(t.Context(), "b", "Two")
	ok(t, err)
	zone, err := s.CreateZone(t.Context(), a.ID, "superseal.club")
	ok(t, err)
	ga, _ := grant(t, s, Scope{Account: a.ID})
	gb, _ := grant(t, s, Scope{Account: b.ID})
	for _, g := range []Grant{ga, gb} {
		for _, app := range []string{"one", "two"} {
			_, err := s.PutVersion(t.Context(), g, upload(app))
			ok(t, err)
		}
	}
	_, err = s.AddRecord(t.Context(), a.ID, zone.ID, Record{Name: "mine", Type: "A", Content: "127.0.0.7", Origin: "owner"})
	ok(t, err)
	for range 2 {
		_, err = s.AttachDomain(t.Context(), ga, "one", "WWW.superseal.club")
		ok(t, err)
	}
	for _, tt := range []struct {
		name      string
		g         Grant
		app, host string
		want      error
	}{
		{"another app of the account", ga, "two", "www.superseal.club", ErrTaken},
		{"another account", gb, "one", "new.superseal.club", ErrNotFound},
		{"a record of the owner's", ga, "one", "mine.superseal.club", ErrTaken},
		{"a wildcard", ga, "one", "*.superseal.club", ErrInvalid},
		{"no zone", ga, "one", "example.com", ErrNotFound},
		{"the vendor's own name", ga, "one", "x." + a.SubdomainZone(), ErrNotFound},
		{"a token for another zone", Grant{TokenID: ga.TokenID, Account: a.ID, Zone: "other"}, "one", "new.superseal.club", ErrNotFound},
		{"an app that is not there", ga, "three", "new.superseal.club", ErrNotFound},
	} {
		_, err := s.AttachDomain(t.Context(), tt.g, tt.app, tt.host)
		if !errors.Is(err, tt.want) {
			t.Errorf("%s: %v, want %v", tt.name, err, tt.want)
		}
	}
	route, err := s.Route(t.Context(), "www.superseal.club")
	if err != nil || route.App != "one" || route.Account != a.ID {
		t.Errorf("www leads to %+v, %v", route, err)
	}
	ok(t, s.RemoveApp(t.Context(), a.ID, "one"))
	_, err = s.Route(t.Context(), "www.superseal.club")
	is(t, err, ErrNotFound)
	records, err := s.Records(t.Context(), zone.ID)
	ok(t, err)
	for _, r := range records {
		if r.Name == "www.superseal.club" {
			t.Error("the record of a removed app is left")
		}
	}
}

func TestUploadingWhatIsActiveMakesNoVersion(t *testing.T) {
	s, _, a := fresh(t)
	g, _ := grant(t, s, Scope{Account: a.ID})
	first, err := s.PutVersion(t.Context(), g, upload("shop"))
	ok(t, err)
	again, err := s.PutVersion(t.Context(), g, upload("shop"))
	ok(t, err)
	if again.ID != first.ID || again.Number != 1 {
		t.Errorf("second = %+v, first %+v", again, first)
	}
	other := upload("shop")
	other.Config.NotFoundHandling = assets.Page404
	second, err := s.PutVersion(t.Context(), g, other)
	ok(t, err)
	_, err = s.Activate(t.Context(), g, "shop", first.ID, "Rollback")
	ok(t, err)
	app, err := s.App(t.Context(), a.ID, "shop")
	ok(t, err)
	deployments, err := s.Deployments(t.Context(), a.ID, "shop")
	ok(t, err)
	if second.Number != 2 || app.Active != first.ID || len(deployments) != 3 || deployments[0].Version != first.ID || deployments[1].Version != second.ID {
		t.Errorf("second %+v, app %+v, deployments %+v", second, app, deployments)
	}
	_, err = s.Activate(t.Context(), g, "shop", "no-such-version", "")
	is(t, err, ErrNotFound)
	for _, bad := range []string{"", "Shop", "a/b", "../x", "-x", strings.Repeat("x", 64)} {
		_, err := s.PutVersion(t.Context(), g, upload(bad))
		is(t, err, ErrInvalid)
	}
}

func TestOneOfManyEqualUploadsMakesTheVersion(t *testing.T) {
	s, _, a := fresh(t)
	g, _ := grant(t, s, Scope{Account: a.ID})
	ids := make([]string, 16)
	var all sync.WaitGroup
	for i := range ids {
		all.Go(func() {
			v, err := s.PutVersion(context.Background(), g, upload("shop"))
			if err == nil {
				ids[i] = v.ID
			}
		})
	}
	all.Wait()
	for _, id := range ids {
		if id == "" || id != ids[0] {
			t.Fatalf("versions differ: %v", ids)
		}
	}
}

func TestAnActivationAsksForTheTokenAgain(t *testing.T) {
	s, _, a := fresh(t)
	g, _ := grant(t, s, Scope{Account: a.ID})
	v, err := s.PutVersion(t.Context(), g, upload("shop"))
	ok(t, err)
	ok(t, s.Suspend(t.Context(), a.ID))
	_, err = s.PutVersion(t.Context(), g, upload("new"))
	is(t, err, ErrSuspended)
	ok(t, s.Resume(t.Context(), a.ID))
	ok(t, s.RevokeToken(t.Context(), g.TokenID))
	_, err = s.PutVersion(t.Context(), g, upload("new"))
	is(t, err, ErrUnauthorized)
	_, err = s.Activate(t.Context(), g, "shop", v.ID, "")
	is(t, err, ErrUnauthorized)
	_, err = s.App(t.Context(), a.ID, "new")
	is(t, err, ErrNotFound)
}

func TestOnlyNamesOfAnActiveAccountsZonesAreCertified(t *testing.T) {
	s, _, a := fresh(t)
	_, err := s.CreateZone(t.Context(), a.ID, "superseal.club")
	ok(t, err)
	for name, want := range map[string]error{
		"superseal.club": nil, "www.superseal.club": nil, "*.superseal.club": nil, "x." + a.SubdomainZone(): nil,
		"deep.er.superseal.club": ErrNotFound, "example.com": ErrNotFound, "a_/b.superseal.club": ErrInvalid,
	} {
		zone, err := s.MayCertify(t.Context(), name)
		if !errors.Is(err, want) || (want == nil) != (zone != "") {
			t.Errorf("%s: %q, %v; want %v", name, zone, err, want)
		}
	}
	ok(t, s.Suspend(t.Context(), a.ID))
	_, err = s.MayCertify(t.Context(), "superseal.club")
	is(t, err, ErrSuspended)
}

func TestSweepKeepsWhatAVersionOrAYoungSessionNeeds(t *testing.T) {
	s, c, a := fresh(t)
	g, _ := grant(t, s, Scope{Account: a.ID})
	old, young := strings.Repeat("cd", 16), strings.Repeat("ef", 16)
	ok(t, s.RecordUploads(t.Context(), a.ID, map[string]assets.File{hash: {Size: 1}, old: {Size: 1}}))
	_, err := s.PutVersion(t.Context(), g, upload("shop"))
	ok(t, err)
	id, err := s.OpenSession(t.Context(), a.ID, "shop", assets.Manifest{"/x": {Hash: old, Size: 1}})
	ok(t, err)
	if again, err := s.OpenSession(t.Context(), a.ID, "shop", assets.Manifest{"/x": {Hash: old, Size: 1}}); err != nil || again != id {
		t.Errorf("the same session again is %s, %v; first %s", again, err, id)
	}
	c.pass(SessionLife + time.Second)
	ok(t, s.RecordUploads(t.Context(), a.ID, map[string]assets.File{young: {Size: 1}}))
	keep, err := s.Sweep(t.Context())
	ok(t, err)
	if !keep[hash] || !keep[young] || keep[old] {
		t.Errorf("kept %v", keep)
	}
	_, err = s.Session(t.Context(), a.ID, id)
	is(t, err, ErrNotFound)
}

func TestStepsOfAnAreaRunOnceAndANewerFileIsRefused(t *testing.T) {
	dir, c := t.TempDir(), &clock{now: time.Now()}
	s := open(t, dir, c)
	steps := []string{`CREATE TABLE mine (n BIGINT)`, `INSERT INTO mine VALUES (1)`}
	for range 2 {
		ok(t, s.Migrate(t.Context(), "mine", steps))
	}
	var n int
	ok(t, s.Reader().QueryRowContext(t.Context(), `SELECT count(*) FROM mine`).Scan(&n))
	if n != 1 {
		t.Errorf("the second step ran %d times", n)
	}
	if err := s.Migrate(t.Context(), "mine", steps[:1]); err == nil {
		t.Error("an older program opens a newer file")
	}
	if err := s.Migrate(t.Context(), "mine", append(steps, `INSERT INTO mine VALUES (2); rubbish`)); err == nil {
		t.Error("a broken step is no error")
	}
	ok(t, s.Reader().QueryRowContext(t.Context(), `SELECT count(*) FROM mine`).Scan(&n))
	if n != 1 {
		t.Errorf("half of a broken step stayed: %d rows", n)
	}
}

func TestSettingsAreMadeOnce(t *testing.T) {
	s, _, _ := fresh(t)
	for i := range 2 {
		got, err := s.Setting(t.Context(), "key", func() ([]byte, error) { return fmt.Appendf(nil, "made %d", i), nil })
		if err != nil || string(got) != "made 0" {
			t.Errorf("setting = %q, %v", got, err)
		}
	}
}
