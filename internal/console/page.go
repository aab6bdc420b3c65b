package console

import (
	"bytes"
	"context"
	"encoding/base64"
	"io"
	"net/http"
	"net/url"

	"github.com/a-h/templ"

	"github.com/purser-dev/purser"
	"github.com/purser-dev/purser/internal/gate"
)

// page is what a screen shows: parts, in order.
type page struct {
	title string
	wide  bool // the page is a table: use the whole width

	styles, scripts []string // static files beside the usual ones
	parts           []part
}

// part is a piece of a page. One that is live is sent again when it changes.
type part struct {
	id    string
	live  bool
	class string
	body  templ.Component
}

// visit is one request of a person for a page.
type visit struct {
	console *Console
	ctx     context.Context
	w       http.ResponseWriter
	r       *http.Request
	by      purser.Actor
	name    string // of the screen
}

func (c *Console) visit(w http.ResponseWriter, r *http.Request, name string) *visit {
	gate.EntryOf(r.Context()).Name("console_" + name)
	return &visit{console: c, ctx: r.Context(), w: w, r: r, name: name}
}

// screen answers with a page, to who is signed in. Anyone else is sent to sign in.
func (c *Console) screen(name string, show func(*visit) (page, error)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		v := c.visit(w, r, name)
		if !v.admitted() {
			return
		}
		p, err := show(v)
		if err != nil {
			v.fail(err)
			return
		}
		v.show(http.StatusOK, p)
	})
}

// act answers a form: an operation, then a page to go on with. It needs a session.
func (c *Console) act(name string, do func(*visit) (next string, err error)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		v := c.visit(w, r, name)
		if !v.admitted() {
			return
		}
		r.Body = http.MaxBytesReader(w, r.Body, 64<<10)
		if err := r.ParseForm(); err != nil {
			v.fail(purser.Errorf(purser.InvalidRequest, "the form cannot be read").WithCause(err))
			return
		}
		if v.by.Key = r.PostForm.Get("key"); !gate.ValidKey(v.by.Key) {
			v.fail(purser.Errorf(purser.InvalidRequest, "the form has no key").WithHint("load the page again"))
			return
		}
		next, err := do(v)
		if err != nil {
			v.fail(err)
			return
		}
		http.Redirect(w, r, next, http.StatusSeeOther)
	})
}

// admitted finds out who it is, or answers.
func (v *visit) admitted() bool {
	by, err := v.console.Sessions.Session(v.r)
	if err == nil {
		by.Source = v.console.Gate.Source(v.r)
		v.by = by
		gate.EntryOf(v.ctx).Sent(by)
		return true
	}
	if purser.CodeOf(err) == purser.NotSignedIn && v.r.Method == http.MethodGet && v.console.SignIn != "" {
		http.Redirect(v.w, v.r, v.console.SignIn+"?"+url.Values{"next": {v.r.URL.RequestURI()}}.Encode(), http.StatusSeeOther)
		return false
	}
	v.fail(err)
	return false
}

// show writes a page whole, or a fault instead of it: never half of one.
func (v *visit) show(status int, p page) {
	var b bytes.Buffer
	if err := layout(v, p).Render(v.ctx, &b); err != nil {
		gate.Problem(v.w, v.r, err)
		return
	}
	h := v.w.Header()
	secure(h)
	h.Set("Content-Type", "text/html; charset=utf-8")
	v.w.WriteHeader(status)
	_, _ = v.w.Write(b.Bytes()) // who is gone needs no answer
}

// fail shows what may be shown of an error.
func (v *visit) fail(err error) {
	shown := gate.EntryOf(v.ctx).Fail(err)
	v.show(shown.Code.Info().HTTP, page{title: title(shown.Code), parts: []part{{id: "error", body: errorPart(shown)}}})
}

// key makes the idempotency key of a form: sent twice, it is done once.
func (v *visit) key() string {
	var b [16]byte
	if _, err := io.ReadFull(v.console.Random, b[:]); err != nil {
		return "" // such a form is refused when it is sent, and the page can be read
	}
	return base64.RawURLEncoding.EncodeToString(b[:])
}

// scheme is the person's choice of light or dark; empty follows the system.
func (v *visit) scheme() string {
	if c, err := v.r.Cookie(themeCookie); err == nil && (c.Value == "light" || c.Value == "dark") {
		return c.Value
	}
	return ""
}
