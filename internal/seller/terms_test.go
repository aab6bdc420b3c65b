package seller

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/purser-dev/purser"
)

func TestTermsAreTheTextThatAReaderSees(t *testing.T) {
	for name, c := range map[string]struct{ kind, page, want string }{
		"a page": {
			"text/html; charset=utf-8",
			`<!doctype html><html><head><title>Shop</title><style>p{}</style><script>track()</script></head><body>
			<h1>Terms  of
			 Service</h1><p>You <b>pay</b>&nbsp;5&euro;<br>each month.<ul><li>No refund<li>No <a href="/x">warranty</a></ul>
			<!-- secret --><noscript>x</noscript><template>x</template><p hidden>x</p><svg><text>x</text></svg>
			<table><tr><td>A</td><td>B</td></tr></table></body></html>`,
			"Terms of Service\nYou pay 5€\neach month.\nNo refund\nNo warranty\nA\nB",
		},
		"plain text":              {"text/plain", "One\r\n\r\n  two\tthree \x07\u202e\n", "One\ntwo three"},
		"another alphabet":        {"text/html; charset=iso-8859-1", "<p>Gesch\xe4ft", "Geschäft"},
		"an alphabet in the page": {"text/html", `<meta charset="iso-8859-1"><p>Gesch` + "\xe4ft", "Geschäft"},
		"no type":                 {"", "<html><p>Terms", "Terms"},
		"broken markup":           {"text/html", "<p>a<div></p>b<</div><script>", "a\nb<"},
	} {
		t.Run(name, func(t *testing.T) {
			p, s := script(t, func(w http.ResponseWriter, _ *http.Request) {
				w.Header()["Content-Type"] = nil
				if c.kind != "" {
					w.Header().Set("Content-Type", c.kind)
				}
				_, _ = w.Write([]byte(c.page))
			})
			for range 2 { // the hash of the text is what a person agrees to
				if got, err := s.Terms(t.Context(), p.Manifest.BaseURL); err != nil || got != c.want {
					t.Errorf("got %q (%v), want %q", got, err, c.want)
				}
			}
		})
	}
}

func TestTermsThatCannotBeAgreedToSayWhy(t *testing.T) {
	const failed, down = purser.ProviderFailure, purser.ProviderDown
	elsewhere := httptest.NewServer(says(200, "other terms"))
	t.Cleanup(elsewhere.Close)
	for name, c := range map[string]struct {
		answer http.HandlerFunc
		code   purser.Code
	}{
		"gone":                  {says(404, "x"), failed},
		"a login":               {says(401, "x"), failed},
		"broken":                {says(500, "x"), down},
		"busy":                  {says(429, "x"), down},
		"hangs up":              {hangsUp, down},
		"half a page":           {halfAnAnswer, down},
		"a PDF":                 {says(200, "%PDF-1.7", "Content-Type", "application/pdf"), failed},
		"too large":             {says(200, strings.Repeat("word ", termsBytes/5+1)), failed},
		"no text":               {says(200, "<html><script>render()</script>", "Content-Type", "text/html"), failed},
		"moved to another":      {says(302, "", "Location", elsewhere.URL), failed},
		"moved to a file":       {says(302, "", "Location", "file:///etc/passwd"), failed},
		"moved for ever":        {func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, r.URL.Path+"x", http.StatusFound) }, failed},
		"nested without an end": {says(200, strings.Repeat("<div>", 100_000)+"x", "Content-Type", "text/html"), failed},
	} {
		t.Run(name, func(t *testing.T) {
			p, s := script(t, c.answer)
			_, err := s.Terms(t.Context(), p.Manifest.BaseURL+"terms")
			check(t, "terms", err, c.code)
		})
	}
	for _, url := range []string{"", "terms", "ftp://example.com/", "http://example.com/terms", "https://user@example.com/", "file:///etc/passwd"} {
		_, err := newSeller(nil).Terms(t.Context(), url)
		check(t, url, err, failed)
	}
}

func TestTermsThatMovedWithinTheirHostAreFollowed(t *testing.T) {
	p, s := script(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/terms" {
			http.Redirect(w, r, "/legal/terms", http.StatusMovedPermanently)
			return
		}
		_, _ = w.Write([]byte("Terms"))
	})
	if got, err := s.Terms(t.Context(), p.Manifest.BaseURL+"terms"); err != nil || got != "Terms" {
		t.Errorf("got %q (%v)", got, err)
	}
}
