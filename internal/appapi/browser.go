package appapi

import (
	"html/template"
	"net/http"
	"strings"
	"time"

	"github.com/purser-dev/purser"
	"github.com/purser-dev/purser/internal/gate"
	"github.com/purser-dev/purser/internal/office"
	"github.com/purser-dev/purser/internal/seal"
)

// cookie is the name, less the flow's identifier, of what ties a flow to a browser.
const cookie = "purser_flow_"

// ticket gives a person a link that a browser can open without a credential.
func (d *door) ticket(w http.ResponseWriter, r *http.Request) {
	by, err := d.Gate.Admit(r)
	if err != nil {
		gate.Problem(w, r, err)
		return
	}
	out, err := d.Office.FlowTicket(r.Context(), by, r.PathValue("id"))
	if err != nil {
		gate.Problem(w, r, err)
		return
	}
	answer(w, http.StatusOK, out)
}

// start ties a flow to this browser and sends it to the provider (APP 9.6). It takes
// a ticket, once, or a person's token.
func (d *door) start(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet { // the pattern takes HEAD too, which must not use the ticket up
		http.Error(w, "", http.StatusMethodNotAllowed)
		return
	}
	id, ticket := r.PathValue("id"), r.URL.Query().Get("ticket")
	by, err := d.opener(r, ticket)
	var out office.Started
	if err == nil {
		out, err = d.Office.StartFlow(r.Context(), by, id, ticket)
	}
	if err != nil {
		d.page(w, r, err)
		return
	}
	http.SetCookie(w, d.tied(id, out.Session.Reveal(), int(time.Until(out.ExpiresAt).Seconds())))
	http.Redirect(w, r, out.URL, http.StatusSeeOther)
}

func (d *door) opener(r *http.Request, ticket string) (purser.Actor, error) {
	if ticket != "" {
		return d.Gate.Anonymous(r)
	}
	by, err := d.Gate.Admit(r)
	if purser.CodeOf(err) == purser.NotSignedIn {
		return by, purser.Errorf(purser.NotSignedIn, "this page opens once, with a link that is made for you").
			WithHint("with your token: POST /v1/flows/%s/ticket", r.PathValue("id"))
	}
	return by, err
}

// tied is the cookie of one flow. __Host- keeps other hosts of the domain from
// setting it; a browser takes that over https only.
func (d *door) tied(id, session string, seconds int) *http.Cookie {
	c := &http.Cookie{
		Name: cookie + id, Value: session, Path: "/", MaxAge: max(seconds, 1), HttpOnly: true, SameSite: http.SameSiteLaxMode,
	}
	if strings.HasPrefix(d.Origin(), "https:") {
		c.Name, c.Secure = "__Host-"+c.Name, true
	}
	return c
}

// callback takes what a browser brings back from a provider (APP 9.6).
func (d *door) callback(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet {
		http.Error(w, "", http.StatusMethodNotAllowed)
		return
	}
	var in office.FlowAnswer
	q := r.URL.Query()
	for name, to := range map[string]*string{"code": &in.Code, "state": &in.State, "error": &in.Error} {
		if len(q[name]) > 1 {
			d.page(w, r, purser.Errorf(purser.InvalidRequest, "a parameter of this page is given more than once"))
			return
		}
		*to = q.Get(name)
	}
	prefix := cookie
	if strings.HasPrefix(d.Origin(), "https:") {
		prefix = "__Host-" + prefix
	}
	for _, c := range r.Cookies() {
		if strings.HasPrefix(c.Name, prefix) && c.Value != "" {
			in.Sessions = append(in.Sessions, seal.NewSecret(c.Value))
		}
	}
	provider, agreed, err := d.Office.FinishFlow(r.Context(), in)
	if err != nil {
		d.page(w, r, err)
		return
	}
	text := message{Title: "Agreed", Text: "The account at " + provider + " is being linked. You can close this page."}
	if !agreed {
		text = message{Title: "Not agreed", Text: provider + " says that you did not agree. Nothing was linked. You can close this page."}
	}
	write(w, http.StatusOK, text)
}

type message struct{ Title, Text, Hint string }

var page = template.Must(template.New("page").Parse(`<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Purser: {{.Title}}</title></head>
<body><h1>{{.Title}}</h1><p>{{.Text}}</p>{{with .Hint}}<p>{{.}}</p>{{end}}</body></html>
`))

// page tells a person at a browser what is wrong.
func (d *door) page(w http.ResponseWriter, r *http.Request, err error) {
	e := gate.EntryOf(r.Context()).Fail(err)
	write(w, e.Code.Info().HTTP, message{Title: "This did not work", Text: e.Detail, Hint: e.Hint})
}

func write(w http.ResponseWriter, status int, m message) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	_ = page.Execute(w, m) // the browser is gone
}
