package edge

import (
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/purser-dev/purser/internal/cloud/assets"
	"github.com/purser-dev/purser/internal/cloud/ca"
	"github.com/purser-dev/purser/internal/cloud/state"
	"github.com/purser-dev/purser/internal/testneed"
)

// sites is one host's worth of routing.
type sites struct {
	files     assets.Manifest
	suspended bool
	err       error
}

func (s *sites) Route(_ context.Context, host string) (state.Route, error) {
	if s.err != nil {
		return state.Route{}, s.err
	}
	if host != "superseal.club" {
		return state.Route{}, state.ErrNotFound
	}
	return state.Route{App: "shop", Version: "v1", Suspended: s.suspended}, nil
}

func (s *sites) Content(context.Context, string) (assets.Manifest, assets.Config, error) {
	return s.files, assets.Config{}, nil
}

// MayCertify makes it the authority's policy too.
func (s *sites) MayCertify(_ context.Context, name string) (string, error) {
	if name != "superseal.club" {
		return "", state.ErrNotFound
	}
	return name, nil
}

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func stock(t *testing.T, text string) (*sites, *assets.Store) {
	t.Helper()
	blobs, err := assets.OpenStore(t.TempDir())
	ok(t, err)
	hash, size, err := assets.Hash("/index.html", strings.NewReader(text))
	ok(t, err)
	batch, err := blobs.NewBatch(rand.Reader)
	ok(t, err)
	ok(t, batch.Add(hash, []byte(text)))
	ok(t, batch.Commit())
	return &sites{files: assets.Manifest{"/index.html": {Hash: hash, Size: size}}}, blobs
}

func get(h http.Handler, method, url string) *http.Response {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(method, url, nil))
	return w.Result()
}

func TestAHostLeadsToItsSiteOrToAShortPage(t *testing.T) {
	s, blobs := stock(t, "hello")
	e := New(Options{Sites: s, Blobs: blobs, Log: slog.New(slog.DiscardHandler)})
	check := func(name, url string, status int, body string) {
		t.Helper()
		r := get(e, "GET", url)
		data, err := io.ReadAll(r.Body)
		ok(t, err)
		if r.StatusCode != status || !strings.Contains(string(data), body) {
			t.Errorf("%s: %d %q, want %d %q", name, r.StatusCode, data, status, body)
		}
	}
	check("a known host", "https://superseal.club/", 200, "hello")
	check("with port, dot and capitals", "https://SuperSeal.club.:7743/", 200, "hello")
	check("an unknown host", "https://other.club/", 404, "Nothing is deployed")
	s.suspended = true
	check("a stopped account", "https://superseal.club/", 503, "stopped")
	s.suspended, s.err = false, fmt.Errorf("secret detail of the disk")
	check("a failing store", "https://superseal.club/", 500, "could not be read")
	if data, _ := io.ReadAll(get(e, "GET", "https://superseal.club/").Body); strings.Contains(string(data), "secret") {
		t.Errorf("the page shows the cause: %s", data)
	}
}

func TestPlainHTTPIsSentToHTTPS(t *testing.T) {
	for _, tt := range []struct{ port, url, want string }{
		{"443", "http://superseal.club/a%20b?x=1", "https://superseal.club/a%20b?x=1"},
		{"7743", "http://SUPERSEAL.club:7780/", "https://superseal.club:7743/"},
	} {
		r := get(Redirect(tt.port), "GET", tt.url)
		if r.StatusCode != 308 || r.Header.Get("Location") != tt.want {
			t.Errorf("%s: %d to %q, want 308 to %q", tt.url, r.StatusCode, r.Header.Get("Location"), tt.want)
		}
	}
	odd := httptest.NewRequest("GET", "/", nil)
	odd.Host = "evil/@x"
	w := httptest.NewRecorder()
	Redirect("443").ServeHTTP(w, odd)
	if w.Code != 400 || w.Header().Get("Location") != "" {
		t.Errorf("an odd host: %d to %q", w.Code, w.Header().Get("Location"))
	}
}

// run serves until the test ends and answers root file and both addresses.
func run(t *testing.T, s *sites, blobs *assets.Store) (root, secure, plain string) {
	t.Helper()
	dir := t.TempDir()
	authority, err := ca.Open(ca.Options{Dir: dir + "/ca", Leaves: dir + "/certs", Policy: s, Now: time.Now, Random: rand.Reader})
	ok(t, err)
	listen := func() net.Listener {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		ok(t, err)
		return l
	}
	https, http := listen(), listen()
	e := New(Options{Sites: s, Blobs: blobs, Certificate: authority.GetCertificate, Log: slog.New(slog.DiscardHandler)})
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- e.Serve(ctx, https, http) }()
	t.Cleanup(func() {
		stop()
		ok(t, <-done)
		if c, err := net.Dial("tcp", https.Addr().String()); err == nil {
			c.Close()
			t.Error("the edge still listens after Serve returned")
		}
	})
	return authority.RootPath(), https.Addr().String(), http.Addr().String()
}

func TestCurlAgrees(t *testing.T) {
	curl := testneed.Program(t, "curl")
	s, blobs := stock(t, strings.Repeat("hello ", 500))
	root, secure, plain := run(t, s, blobs)
	_, securePort, _ := net.SplitHostPort(secure)
	_, plainPort, _ := net.SplitHostPort(plain)
	resolve := []string{"-sS", "--resolve", "superseal.club:" + securePort + ":127.0.0.1", "--resolve", "superseal.club:" + plainPort + ":127.0.0.1", "--resolve", "other.club:" + securePort + ":127.0.0.1"}
	at := "https://superseal.club:" + securePort + "/"
	for _, tt := range []struct {
		name string
		args []string
		want string // in the output; "" means that curl must fail
	}{
		{"trusted by the root", []string{"--cacert", root, "-i", at}, "HTTP/2 200"},
		{"not without the root", []string{at}, ""},
		{"not for another name", []string{"--cacert", root, "https://other.club:" + securePort + "/"}, ""},
		{"compressed", []string{"--cacert", root, "--compressed", "-i", at}, "content-encoding: gzip"},
		{"a range", []string{"--cacert", root, "-r", "0-4", "-w", " %{http_code}", at}, "hello 206"},
		{"from plain HTTP", []string{"--cacert", root, "-L", "-w", "%{http_code} %{num_redirects}", "http://superseal.club:" + plainPort + "/index.html"}, "200 2"},
		{"HTTP/1.1", []string{"--cacert", root, "--http1.1", "-i", at}, "HTTP/1.1 200"},
	} {
		out, err := exec.Command(curl, append(resolve, tt.args...)...).CombinedOutput()
		if (err != nil) != (tt.want == "") || !strings.Contains(string(out), tt.want) {
			t.Errorf("%s: %v\n%.400s\nwant %q", tt.name, err, out, tt.want)
		}
	}
}
