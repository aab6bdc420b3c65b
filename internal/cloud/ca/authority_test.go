package ca

import (
	"context"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// zones is a policy: it certifies names in club zones and counts the questions.
type zones struct {
	asked   atomic.Int32
	stopped atomic.Bool
}

var errStopped = errors.New("stopped")

func (z *zones) MayCertify(_ context.Context, name string) (string, error) {
	z.asked.Add(1)
	if z.stopped.Load() || !strings.HasSuffix(name, "superseal.club") {
		return "", errStopped
	}
	return "superseal.club", nil
}

type clock struct{ now time.Time }

func (c *clock) time() time.Time { return c.now }

func open(t *testing.T, dir string, policy Policy, c *clock) *Authority {
	t.Helper()
	a, err := Open(Options{Dir: dir + "/ca", Leaves: dir + "/certs", Policy: policy, Now: c.time, Random: rand.Reader})
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func TestALeafIsAcceptedForItsNamesAndUnderTheRootOnly(t *testing.T) {
	c := &clock{time.Now()}
	a := open(t, t.TempDir(), &zones{}, c)
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(a.RootPEM())
	for _, name := range []string{"superseal.club", "www.superseal.club", "a.b.superseal.club"} {
		leaf, err := a.Certificate(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := leaf.Leaf.Verify(x509.VerifyOptions{DNSName: name, Roots: roots, CurrentTime: c.now}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := leaf.Leaf.Verify(x509.VerifyOptions{DNSName: name, Roots: x509.NewCertPool(), CurrentTime: c.now}); err == nil {
			t.Errorf("%s is accepted without the root", name)
		}
		if life := leaf.Leaf.NotAfter.Sub(leaf.Leaf.NotBefore); life > 90*24*time.Hour {
			t.Errorf("%s lives %v", name, life)
		}
		if leaf.Leaf.VerifyHostname("other.club") == nil || leaf.Leaf.IsCA {
			t.Errorf("the leaf of %s is good for more than its names", name)
		}
	}
}

func TestApexAndNamesBelowShareOneLeaf(t *testing.T) {
	a := open(t, t.TempDir(), &zones{}, &clock{time.Now()})
	apex, err := a.Certificate(t.Context(), "superseal.club")
	if err != nil {
		t.Fatal(err)
	}
	below, err := a.Certificate(t.Context(), "www.superseal.club")
	if err != nil || below != apex {
		t.Errorf("www has another leaf (%v)", err)
	}
}

func TestARefusedNameGetsNoCertificate(t *testing.T) {
	dir := t.TempDir()
	policy := &zones{}
	a := open(t, dir, policy, &clock{time.Now()})
	if _, err := a.Certificate(t.Context(), "example.com"); !errors.Is(err, errStopped) {
		t.Errorf("error = %v, want the policy's", err)
	}
	for _, name := range []string{"../superseal.club", "a/b.superseal.club", "", ".superseal.club", "x\x00.superseal.club"} {
		if _, err := a.Certificate(t.Context(), name); err == nil && name != "" {
			t.Errorf("%q got a certificate", name)
		}
	}
	entries, err := os.ReadDir(dir + "/certs")
	if err != nil || len(entries) != 0 {
		t.Errorf("certs holds %v (%v)", entries, err)
	}
}

func TestConcurrentRequestsForOneNameIssueOnce(t *testing.T) {
	a := open(t, t.TempDir(), &zones{}, &clock{time.Now()})
	serials := make([]string, 32)
	var all sync.WaitGroup
	for i := range serials {
		all.Go(func() {
			leaf, err := a.Certificate(context.Background(), "superseal.club")
			if err == nil {
				serials[i] = leaf.Leaf.SerialNumber.String()
			}
		})
	}
	all.Wait()
	for _, s := range serials {
		if s == "" || s != serials[0] {
			t.Fatalf("serials differ: %v", serials)
		}
	}
}

func TestALeafIsRenewedBeforeItEndsAndKeptAcrossRestarts(t *testing.T) {
	dir, c, policy := t.TempDir(), &clock{time.Now()}, &zones{}
	serial := func() string {
		leaf, err := open(t, dir, policy, c).Certificate(t.Context(), "superseal.club")
		if err != nil {
			t.Fatal(err)
		}
		if !c.now.Before(leaf.Leaf.NotAfter) {
			t.Fatal("an expired leaf is served")
		}
		return leaf.Leaf.SerialNumber.String()
	}
	first := serial()
	if again := serial(); again != first {
		t.Error("a restart issued anew")
	}
	policy.stopped.Store(true)
	if again := serial(); again != first {
		t.Error("a stopped account's leaf is gone")
	}
	policy.stopped.Store(false)
	c.now = c.now.Add(LeafLife - LeafLife/4)
	if again := serial(); again == first {
		t.Error("a leaf with a quarter of its life left is not renewed")
	}
}

func TestAForgottenZoneIsAskedForAgain(t *testing.T) {
	policy := &zones{}
	a := open(t, t.TempDir(), policy, &clock{time.Now()})
	for range 2 {
		if _, err := a.Certificate(t.Context(), "superseal.club"); err != nil {
			t.Fatal(err)
		}
	}
	if n := policy.asked.Load(); n != 1 {
		t.Errorf("the policy was asked %d times", n)
	}
	if err := a.Forget("superseal.club"); err != nil {
		t.Fatal(err)
	}
	policy.stopped.Store(true)
	if _, err := a.Certificate(t.Context(), "superseal.club"); err == nil {
		t.Error("a forgotten zone's leaf is still served")
	}
}

func TestTheRootStaysAndItsKeyIsPrivate(t *testing.T) {
	dir, c := t.TempDir(), &clock{time.Now()}
	first, second := open(t, dir, &zones{}, c), open(t, dir, &zones{}, c)
	if string(first.RootPEM()) != string(second.RootPEM()) {
		t.Error("a restart made another root")
	}
	for name, want := range map[string]os.FileMode{"root.key": 0o600, "root.pem": 0o644} {
		info, err := os.Stat(dir + "/ca/" + name)
		if err != nil || info.Mode().Perm() != want {
			t.Errorf("%s has mode %v (%v), want %v", name, info.Mode(), err, want)
		}
	}
}
