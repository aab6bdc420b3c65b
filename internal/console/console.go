// Package console is the web door: server-made pages that call operations, and a stream of what changed in them.
//
// It translates and nothing more. What a person reads on a page is what an
// operation answered; what a form sends is an operation's request. Text of
// providers and agents is escaped, isolated and cut before it is shown.
package console

import (
	"context"
	"io"
	"maps"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/purser-dev/purser"
	"github.com/purser-dev/purser/internal/gate"
	"github.com/purser-dev/purser/internal/office"
)

// Office is what the pages need beside the operations.
type Office interface {
	Operations() []office.Operation
	// News is closed at the next change in the organization. Take it before looking.
	News(organization string) <-chan struct{}
	// Leaving is closed when the server stops.
	Leaving() <-chan struct{}
	// ExportAudit writes the whole log in a format.
	ExportAudit(ctx context.Context, by purser.Actor, in purser.ExportAudit, w io.Writer) error
}

// Sessions finds out who sits at a browser.
type Sessions interface {
	// Session names the person who is signed in on the browser that sends r.
	// Nobody is not_signed_in.
	Session(r *http.Request) (purser.Actor, error)
}

// Config joins the door to its surroundings.
type Config struct {
	Office   Office
	Gate     *gate.Gate
	Sessions Sessions
	SignIn   string    // the path of the page to sign in on
	Upstream string    // the name of the issuer through which people may sign in too; empty: none
	Random   io.Reader // for idempotency keys of forms
	Version  string    // of the program
	Now      func() time.Time
	Origin   func() string // the address under which people and programs reach the server
}

// Console is the door. It is safe for concurrent use.
type Console struct {
	Config
	operations map[string]office.Operation
	reports    atomic.Int64
	watches    watches
}

// New makes the door over an office.
func New(c Config) *Console {
	all := map[string]office.Operation{}
	for _, op := range c.Office.Operations() {
		all[op.Name] = op
	}
	return &Console{Config: c, operations: all}
}

// Reports is how many violations of the content security policy browsers told of.
func (c *Console) Reports() int64 { return c.reports.Load() }

// screens are the pages that people look at, by pattern.
func (c *Console) screens() map[string]screen {
	return map[string]screen{
		"GET /{$}":                  {"now", c.now},
		"GET /approvals":            {"approvals", c.approvals},
		"GET /approvals/{plan}":     {"approval", c.approval},
		"GET /terms/{terms}":        {"terms", c.terms},
		"GET /runs":                 {"runs", c.runs},
		"GET /runs/{run}":           {"run", c.run},
		"GET /agents":               {"agents", c.agents},
		"GET /projects":             {"projects", c.projects},
		"GET /projects/{project}":   {"project", c.project},
		"GET /resources/{resource}": {"resource", c.resource},
		"GET /spend":                {"spend", c.spend},
		"GET /catalog":              {"catalog", c.catalog},
		"GET /providers":            {"providers", c.providers},
		"GET /providers/{provider}": {"provider", c.provider},
		"GET /audit":                {"audit", c.audit},
		"GET /audit/{seq}":          {"record", c.record},
		"GET /settings":             {"settings", c.settings},
		"GET /stops/{stop}":         {"stopped", c.stopped},
		"GET /acts/{act}":           {"act", c.waitingAct},
		"GET /people":               {"people", c.people},
		"GET /settings/passkeys":    {"passkeys", c.passkeys},
		"GET /device":               {"device", c.device},

		"GET /connect/{authorization}": {"connect", c.connect},
	}
}

// Doors lists the handlers by pattern.
func (c *Console) Doors() map[string]http.Handler {
	doors := map[string]http.Handler{
		"GET /static/{name}": http.HandlerFunc(serveStatic),
		"POST /csp-reports":  http.HandlerFunc(c.report),
		"POST /theme":        http.HandlerFunc(c.theme),
		"GET /events":        http.HandlerFunc(c.events),
		"GET /spend.csv":     http.HandlerFunc(c.spendCSV),
		"GET /focus.csv":     c.export("focus", "text/csv; charset=utf-8", "purser-focus.csv"),
		"GET /audit.jsonl":   c.export("", "application/jsonl", "purser-audit.jsonl"),
		"GET /ocsf.jsonl":    c.export("ocsf", "application/jsonl", "purser-ocsf.jsonl"),

		"POST /approvals/{plan}/deny":               c.form("deny", c.deny),
		"POST /approvals/{plan}/lower":              c.form("lower_ceiling", c.lower),
		"POST /runs/{run}/end":                      c.form("end_run", c.endRun),
		"POST /agents/{agent}/revoke":               c.form("revoke_agent", c.revokeAgent),
		"POST /projects":                            c.form("create_project", c.makeProject),
		"POST /resources/{resource}/remove":         c.form("remove", c.remove),
		"POST /subscriptions/{subscription}/cancel": c.form("cancel_subscription", c.cancelSubscription),
		"POST /budgets":                             c.form("set_budget", c.setBudget),
		"POST /notices":                             c.form("set_notices", c.setNotices),
		"POST /notices/test":                        c.form("test_notices", c.testNotices),
		"POST /stops":                               c.form("stop", c.stop),
	}
	for pattern, s := range c.screens() {
		doors[pattern] = c.door(s)
	}
	maps.Copy(doors, c.accountDoors())
	return doors
}

// Lost is the page for a path under which there is nothing.
func (c *Console) Lost() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		v := c.visit(w, r, "lost")
		v.by, _ = c.Sessions.Session(r) // who is not signed in sees the page without the menu
		v.fail(purser.Errorf(purser.NotFound, "there is no page under this address"))
	})
}

// Fail is the page that tells what went wrong at a door beside the console's.
func (c *Console) Fail(w http.ResponseWriter, r *http.Request, err error) {
	v := c.visit(w, r, "lost")
	v.by, _ = c.Sessions.Session(r)
	v.fail(err)
}

// do runs an operation as the visitor.
func do[Out any](v *visit, name string, in any) (Out, error) {
	var none Out
	out, err := v.console.operations[name].Do(v.ctx, v.by, in)
	if err != nil {
		return none, err
	}
	return out.(Out), nil
}

// policy is the content security policy of every page: nothing inline, nothing
// from elsewhere, in no frame.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; font-src 'self'; img-src 'self' data:; connect-src 'self'; " +
	"form-action 'self'; frame-ancestors 'none'; base-uri 'none'; report-uri /csp-reports"

// secure sets the headers of a page.
func secure(h http.Header) {
	h.Set("Content-Security-Policy", policy)
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	// A form's Origin header is "null" without a referrer, and the gate reads it.
	h.Set("Referrer-Policy", "same-origin")
}

// report counts a violation that a browser tells of: it refused a script or a style
// that got into a page. The text is a stranger's and is not kept; the installation's
// log says how many there were.
func (c *Console) report(w http.ResponseWriter, r *http.Request) {
	gate.EntryOf(r.Context()).Name("csp_report")
	if _, err := c.Gate.Anonymous(r); err != nil {
		gate.Problem(w, r, err)
		return
	}
	_, _ = io.Copy(io.Discard, http.MaxBytesReader(w, r.Body, 16<<10)) // read so that the connection can be used again
	c.reports.Add(1)
	c.Gate.Count(r, "csp_report")
	w.WriteHeader(http.StatusNoContent)
}

// theme keeps the choice of light and dark in a cookie: the page is then made in
// it, and nothing flickers.
func (c *Console) theme(w http.ResponseWriter, r *http.Request) {
	gate.EntryOf(r.Context()).Name("theme")
	chosen := r.FormValue("theme")
	if chosen != "light" && chosen != "dark" {
		chosen = ""
	}
	http.SetCookie(w, &http.Cookie{
		Name: themeCookie, Value: chosen, Path: "/", MaxAge: 365 * 24 * 3600, HttpOnly: true, SameSite: http.SameSiteLaxMode, Secure: r.TLS != nil,
	})
	http.Redirect(w, r, c.Gate.Onward(r, r.FormValue("back")), http.StatusSeeOther)
}

const themeCookie = "purser_theme"
