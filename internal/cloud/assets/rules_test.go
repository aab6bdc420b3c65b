package assets

import (
	"strings"
	"testing"
)

func TestRedirectRulesComeBeforeFiles(t *testing.T) {
	site, store := shelf(t, Config{Redirects: `
# moved
/old /new 301
/old /other
/found /style.css  # a comment
/blog/* https://blog.example/:splat 308
/user/:id/posts/:post /u/:id?p=:post 303
/app/* /app.html 200
/late /new 307
/open/* /:splat
/umlaut /ä
/loop/* /loop/index.html
/bad
/worse /x 299
/leave https://other.example 200
/style.css /moved.css
`}, map[string]string{"/style.css": "x", "/app.html": "app"})
	for _, tt := range []struct {
		path     string
		status   int
		location string
	}{
		{"/old", 301, "/new"},
		{"/old?a=1", 301, "/new?a=1"},
		{"/found", 302, "/style.css"},
		{"/blog/a/b", 308, "https://blog.example/a/b"},
		{"/user/7/posts/ab?x=1", 303, "/u/7?p=ab"},
		{"/app/deep/route", 200, ""},
		{"/late", 307, "/new"},
		{"/open//evil.example/x", 302, "/evil.example/x"},
		{"/open/%2F%2Fevil.example", 302, "/evil.example"},
		{"/open/%5Cevil.example", 302, "/%5Cevil.example"},
		{"/umlaut", 302, "/%C3%A4"},
		{"/open/a%20b%0D%0AX:%20y", 302, "/a%20b%0D%0AX%3A%20y"},
		{"/loop/x", 404, ""},
		{"/bad", 404, ""},
		{"/worse", 404, ""},
		{"/leave", 404, ""},
		{"/style.css", 302, "/moved.css"},
	} {
		r := ask(t, site, store, "GET", tt.path)
		if r.StatusCode != tt.status || r.Header.Get("Location") != tt.location {
			t.Errorf("%s: %d to %q, want %d to %q", tt.path, r.StatusCode, r.Header.Get("Location"), tt.status, tt.location)
		}
	}
	if got := text(t, ask(t, site, store, "GET", "/app/deep")); got != "app" {
		t.Errorf("the rewrite serves %q", got)
	}
	if got := len(site.Warnings()); got != 5 {
		t.Errorf("%d warnings, want 5: %q", got, site.Warnings())
	}
}

func TestHeaderRulesApplyInOrderToEveryAnswerOfTheSite(t *testing.T) {
	site, store := shelf(t, Config{NotFoundHandling: Page404, Headers: `
X-Lost: no rule
/*
  X-Frame-Options: DENY
  X-Multi: one
/a.css
  Cache-Control: max-age=9
  X-Multi: two
  ! X-Content-Type-Options
  Content-Length: 3
  Bad Name: x
  Empty:
/users/:name
  X-Name: hello :name
/none
https://other.club/*
  X-Other: yes
`}, map[string]string{"/a.css": "x", "/404.html": "lost", "/users/ann.html": "x"})
	for path, want := range map[string]map[string]string{
		"/a.css":                     {"X-Frame-Options": "DENY", "X-Multi": "one, two", "Cache-Control": "max-age=9", "X-Content-Type-Options": "", "X-Other": "", "Content-Length": "1"},
		"/users/ann":                 {"X-Name": "hello ann", "X-Multi": "one", "X-Content-Type-Options": "nosniff"},
		"/users/a%0Ab":               {"X-Name": "hello ab"},
		"/nowhere":                   {"X-Frame-Options": "DENY"},
		"/users/ann.html":            {"X-Frame-Options": "DENY", "Location": "/users/ann"},
		"https://other.club:1/a.css": {"X-Other": "yes"},
	} {
		r := ask(t, site, store, "GET", path)
		for name, value := range want {
			if got := r.Header.Get(name); got != value {
				t.Errorf("%s: %s = %q, want %q", path, name, got, value)
			}
		}
	}
	if got := len(site.Warnings()); got != 5 {
		t.Errorf("%d warnings, want 5: %s", got, strings.Join(site.Warnings(), "\n"))
	}
}

// No text of a site makes a redirect that leaves it unseen, or a crash.
func FuzzRulesStayOnTheSite(f *testing.F) {
	f.Add("/a/* /:splat", "/*\n X: :splat", "/a//evil.example")
	f.Add("/:x/* /:x:splat 301", "", "///%5C/evil")
	f.Fuzz(func(t *testing.T, redirects, headers, path string) {
		s := NewSite(Manifest{}, Config{Redirects: redirects, Headers: headers})
		to, _, ok := s.redirectTo("", decodePath(path))
		if !ok || strings.HasPrefix(to, "https://") || strings.HasPrefix(to, "http://") {
			return
		}
		if !strings.HasPrefix(to, "/") || strings.HasPrefix(to, "//") || strings.HasPrefix(to, `/\`) {
			t.Fatalf("%q leads to %q", path, to)
		}
	})
}
