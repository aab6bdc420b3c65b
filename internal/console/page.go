package console

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/a-h/templ"

	"github.com/purser-dev/purser"
	"github.com/purser-dev/purser/internal/gate"
)

// page is what a screen shows: parts, in order.
type page struct {
	title string
	parts []part

	above, abovePath string          // the page that this one belongs to
	side             templ.Component // beside the heading
	styles, scripts  []string        // static files beside the usual ones
	stream           string          // the address of the changes to come; empty: nothing changes
}

// part is a piece of a page. One that is live is sent again when it changes.
type part struct {
	id    string
	live  bool
	class string
	label string // for who cannot see it, where it has no heading
	body  templ.Component
}

// live reports whether anything on the page is sent again.
func (p page) live() bool {
	return slices.ContainsFunc(p.parts, func(x part) bool { return x.live })
}

// allScripts are those of the page, after those of every page.
func (p page) allScripts() []string {
	all := []string{"console.js", "act.js"}
	if p.live() {
		all = append(all, "live.js")
	}
	return append(all, p.scripts...)
}

// visit is one request of a person for a page.
type visit struct {
	console  *Console
	ctx      context.Context
	w        http.ResponseWriter
	r        *http.Request
	by       purser.Actor
	name     string          // of the screen
	overview purser.Overview // of the organization, for the frame
	zone     *time.Location  // in which times are shown: the organization's
}

func (c *Console) visit(w http.ResponseWriter, r *http.Request, name string) *visit {
	gate.EntryOf(r.Context()).Name("console_" + name)
	return &visit{console: c, ctx: r.Context(), w: w, r: r, name: name, zone: time.UTC}
}

// look reads what the frame of a page tells.
func (v *visit) look() (err error) {
	if v.overview, err = do[purser.Overview](v, "overview", purser.None{}); err != nil {
		return err
	}
	v.zone, err = time.LoadLocation(v.overview.Timezone)
	return err
}

// screen is a page that people look at: its name in the log, and what makes it.
type screen struct {
	name string
	show func(*visit) (page, error)
}

// door answers with a screen, to who is signed in. Anyone else is sent to sign in.
func (c *Console) door(s screen) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		v := c.visit(w, r, s.name)
		if !v.admitted() {
			return
		}
		err := v.look()
		var p page
		if err == nil {
			p, err = s.show(v)
		}
		if err != nil {
			v.fail(err)
			return
		}
		v.show(http.StatusOK, p)
	})
}

// find finds the screen under an address of this server, with the request that it
// is made from.
func (c *Console) find(ctx context.Context, uri string) (found screen, made *http.Request, err error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, uri, nil)
	if err != nil || gate.Here(uri) != uri {
		return found, nil, purser.Errorf(purser.InvalidRequest, "this is no page of the console")
	}
	mux := http.NewServeMux()
	for pattern, s := range c.screens() {
		mux.HandleFunc(pattern, func(_ http.ResponseWriter, r *http.Request) { found, made = s, r })
	}
	mux.ServeHTTP(nowhere{http.Header{}}, r) // which fills in what the pattern names
	if made == nil {
		return found, nil, purser.Errorf(purser.NotFound, "there is no page under this address")
	}
	return found, made, nil
}

// nowhere takes an answer that nobody reads.
type nowhere struct{ header http.Header }

func (n nowhere) Header() http.Header       { return n.header }
func (nowhere) Write(p []byte) (int, error) { return len(p), nil }
func (nowhere) WriteHeader(int)             {}

// form answers a form: an operation, then a page to go on with. It needs a session.
func (c *Console) form(name string, do func(*visit) (next string, err error)) http.Handler {
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
		if v.by.Key = r.PostForm.Get("key"); !purser.ValidKey(v.by.Key) {
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
	var err error
	if p.live() && v.by.Kind == purser.Person {
		p, err = v.once(p)
	}
	if err == nil {
		err = layout(v, p).Render(v.ctx, &b)
	}
	if err != nil {
		gate.Problem(v.w, v.r, fmt.Errorf("making the page %s: %w", v.name, err))
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
	if v.by.Kind == purser.Person && v.overview.Organization == "" {
		_ = v.look() // without it the frame is empty, and the error is what matters
	}
	if shown.RetryAfter > 0 { // rounded up: who comes back then must not be too early again
		v.w.Header().Set("Retry-After", strconv.FormatInt(int64((shown.RetryAfter+time.Second-1)/time.Second), 10))
	}
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

// now is the time by which the page says what is soon.
func (v *visit) now() time.Time { return v.console.Now() }

// scheme is the person's choice of light or dark; empty follows the system.
func (v *visit) scheme() string {
	if c, err := v.r.Cookie(themeCookie); err == nil && (c.Value == "light" || c.Value == "dark") {
		return c.Value
	}
	return ""
}

// query reads a text of the address, short enough to be shown.
func (v *visit) query(name string) string {
	return short(v.r.URL.Query().Get(name), 200)
}
