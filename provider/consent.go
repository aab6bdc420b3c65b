package provider

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"html/template"
	"net/http"
	"net/url"
	"strings"

	"github.com/purser-dev/purser/app"
)

func same(a, b string) bool { return subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1 }

// consentPage shows the person what is asked (9.6, steps 2 to 4). Nothing is
// decided by a GET.
func (c *call) consentPage() error {
	state := c.r.URL.Query().Get("state")
	if state == "" {
		return c.home("missing_state")
	}
	pending, err := c.pending(state)
	if err != nil {
		return err
	}
	if pending == nil {
		return c.home("expired_or_invalid_state")
	}
	if o := c.p.orchestrator(c.ctx, pending.Orchestrator); o == nil || (o.CallbackURL == "" && !o.confirms(*pending)) {
		return c.home(app.CodeMissingCallback)
	}
	email, ok := c.signedIn()
	if !ok {
		if c.p.cfg.Hooks.LoginURL == nil {
			return Errorf(app.CodeForbidden, "this provider has no sign-in for the consent page")
		}
		return c.redirect(c.p.cfg.Hooks.LoginURL(c.r.URL.String()))
	}
	if fold(email) != fold(pending.Email) {
		return Errorf(app.CodeForbidden, "you are signed in as another account than the one asked for")
	}
	a, err := c.p.cfg.Hooks.Accounts.Find(c.ctx, pending.Email)
	if err != nil {
		return Errorf(app.CodeForbidden, "the account is not active")
	}
	page := Consent{
		Workspaces:   a.Teams,
		Orchestrator: pending.Orchestrator, Email: pending.Email, Scopes: pending.Scopes,
		Action: c.r.URL.EscapedPath(), State: state, CSRF: c.csrf(state, pending.Email),
	}
	c.status = http.StatusOK
	header := c.w.Header()
	header.Set("Cache-Control", "no-store")
	header.Set("X-Frame-Options", "DENY")
	header.Set("Referrer-Policy", "no-referrer")
	header.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'; style-src 'unsafe-inline'")
	if c.p.cfg.Hooks.ConsentPage != nil {
		c.p.cfg.Hooks.ConsentPage(c.w, c.r, page)
		return nil
	}
	header.Set("Content-Type", "text/html; charset=utf-8")
	return plainConsent.Execute(c.w, page)
}

var plainConsent = template.Must(template.New("consent").Parse(`<!doctype html>
<html lang="en"><meta charset="utf-8"><title>Link account</title>
<h1>Link your account?</h1>
<p><b>{{.Orchestrator}}</b> asks to use the account <b>{{.Email}}</b>{{if .Scopes}} with: {{range .Scopes}}{{.}} {{end}}{{end}}</p>
<form method="post" action="{{.Action}}">
<input type="hidden" name="state" value="{{.State}}"><input type="hidden" name="csrf" value="{{.CSRF}}">
{{if .Workspaces}}<p><label>Workspace <select name="workspace">{{range .Workspaces}}<option value="{{.ID}}">{{.Name}}</option>{{end}}</select></label></p>
{{end}}<button name="decision" value="approve">Allow</button> <button name="decision" value="deny">Refuse</button>
</form></html>
`))

// csrf binds the form to state and person; nobody without a signing secret can make it.
func (c *call) csrf(state, email string) string {
	mac := hmac.New(sha256.New, []byte(c.p.anySecret()))
	mac.Write([]byte("purser provider csrf\x00" + state + "\x00" + fold(email)))
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

func (p *Provider) anySecret() string {
	for _, o := range p.cfg.Orchestrators {
		if len(o.Secrets) > 0 {
			return o.Secrets[0]
		}
	}
	return ""
}

func (c *call) signedIn() (string, bool) {
	if c.p.cfg.Hooks.SignedIn == nil {
		return "", false
	}
	return c.p.cfg.Hooks.SignedIn(c.r)
}

// pending gives the waiting consent of a state, or nil.
func (c *call) pending(state string) (*consentRecord, error) {
	if !app.ValidState(state) {
		return nil, nil
	}
	var record consentRecord
	found := false
	err := c.p.cfg.Store.View(c.ctx, func(tx Tx) error {
		var err error
		found, err = get(tx, keyConsent(state), &record)
		return err
	})
	if err != nil || !found || !c.p.cfg.Now().Before(record.ExpiresAt) {
		return nil, err
	}
	return &record, nil
}

// consentDecision takes the person's answer (9.6, step 5): a form, or a JSON
// object that is answered with {"redirect_url"}.
func (c *call) consentDecision() error {
	if err := c.read(); err != nil {
		return err
	}
	asJSON := strings.HasPrefix(c.r.Header.Get("Content-Type"), "application/json")
	in, err := c.decision(asJSON)
	if err != nil {
		return err
	}
	// Two answers of one page must not both be told.
	release, err := c.p.locks.take(c.ctx, keyConsent(in.State))
	if err != nil {
		return err
	}
	defer release()
	pending, err := c.pending(in.State)
	if err != nil {
		return err
	}
	if pending == nil {
		return Errorf(app.CodeNotFound, "this consent is unknown or has expired")
	}
	email, ok := c.signedIn()
	if !ok || fold(email) != fold(pending.Email) {
		return Errorf(app.CodeForbidden, "you are not signed in as the account asked for")
	}
	if !same(in.CSRF, c.csrf(in.State, pending.Email)) {
		return Errorf(app.CodeForbidden, "the form is not ours; open the page again")
	}
	c.orch = c.p.orchestrator(c.ctx, pending.Orchestrator)
	switch {
	case c.orch != nil && c.orch.confirms(*pending):
		return c.confirm(in, *pending, asJSON)
	case c.orch == nil || c.orch.CallbackURL == "":
		return Errorf(app.CodeMissingCallback, "no callback is registered")
	}
	return c.callBack(in, *pending, asJSON)
}

// callBack decides and sends the browser to the orchestrator (9.6, mode A).
func (c *call) callBack(in decision, pending consentRecord, asJSON bool) error {
	answer := url.Values{"state": {in.State}}
	if in.Decision == "deny" {
		answer.Set("error", "access_denied")
		answer.Set("error_description", "the person refused")
		if err := c.deny(in.State, pending); err != nil {
			return err
		}
	} else {
		code, _, err := c.approve(in, pending, nil)
		if err != nil {
			return err
		}
		answer.Set("code", code)
	}
	target := withQuery(c.orch.CallbackURL, answer)
	if asJSON {
		return c.answer(http.StatusOK, map[string]string{"redirect_url": target})
	}
	return c.redirect(target)
}

// decision is what the page posts.
type decision struct {
	State, CSRF, Decision, Workspace string
}

func (c *call) decision(asJSON bool) (in decision, err error) {
	if asJSON {
		if json.Unmarshal(c.body, &in) != nil {
			return in, Errorf(app.CodeInvalidRequest, "the body must be a JSON object")
		}
	} else {
		form, err := url.ParseQuery(string(c.body))
		if err != nil {
			return in, Errorf(app.CodeInvalidRequest, "the body is not a form")
		}
		in = decision{form.Get("state"), form.Get("csrf"), form.Get("decision"), form.Get("workspace")}
	}
	if in.State == "" || in.CSRF == "" || (in.Decision != "approve" && in.Decision != "deny") {
		return in, Errorf(app.CodeInvalidRequest, "state, csrf and decision are needed")
	}
	return in, nil
}

// selected is the workspace that the person chose, or the only one.
func selected(a Account, chosen string) (string, error) {
	switch {
	case chosen != "" && accessible(a, chosen):
		return chosen, nil
	case chosen != "":
		return "", Errorf(app.CodeForbidden, "this workspace is not yours")
	case len(a.Teams) > 1:
		return "", Errorf(app.CodeInvalidRequest, "workspace is needed")
	case len(a.Teams) == 1:
		return teamID(a.Teams[0]), nil
	}
	return "", nil
}

// approve makes a code for the account. With kept nil it consumes the state;
// otherwise kept is what the state becomes, to be told to the orchestrator.
func (c *call) approve(in decision, pending consentRecord, kept *consentRecord) (code, workspace string, err error) {
	a, err := c.p.cfg.Hooks.Accounts.Find(c.ctx, pending.Email)
	if err != nil || !a.Active {
		return "", "", Errorf(app.CodeForbidden, "the account is not active")
	}
	c.account = a
	if workspace, err = selected(a, in.Workspace); err != nil {
		return "", "", err
	}
	if code, err = app.Random(c.p.cfg.Random, "code_"); err != nil {
		return "", "", err
	}
	now := c.p.cfg.Now()
	record := codeRecord{
		Orchestrator: pending.Orchestrator, Account: a.ID, Challenge: pending.Challenge, Scopes: pending.Scopes,
		LinkAction: "linked_existing", Workspace: workspace, IssuedAt: now, ExpiresAt: now.Add(codeLife),
	}
	return code, workspace, c.p.cfg.Store.Update(c.ctx, func(tx Tx) error {
		if err := takeConsent(tx, in.State); err != nil {
			return err
		}
		if kept != nil {
			if kept.Code != "" { // of an attempt whose answer was lost
				if err := tx.Delete(kept.Code); err != nil {
					return err
				}
			}
			next := *kept
			next.Decision, next.Account, next.Workspace, next.Code = "approved", a.ID, workspace, keyCode(code)
			if err := put(tx, keyConsent(in.State), next, next.ExpiresAt); err != nil {
				return err
			}
		}
		if err := put(tx, keyCode(code), record, record.ExpiresAt); err != nil || pending.Request == "" {
			return err
		}
		var request requestRecord
		found, err := get(tx, pending.Request, &request)
		if err != nil || !found {
			return err
		}
		// A repeat of the account request is answered oauth from now on (9.3).
		request.Account, request.Action, request.Workspace = a.ID, record.LinkAction, workspace
		return put(tx, pending.Request, request, request.At.Add(repeatLife))
	})
}

// deny consumes the state and forgets the request, so that it may be asked anew.
func (c *call) deny(state string, pending consentRecord) error {
	return c.p.cfg.Store.Update(c.ctx, func(tx Tx) error {
		if err := takeConsent(tx, state); err != nil || pending.Request == "" {
			return err
		}
		return tx.Delete(pending.Request)
	})
}

func takeConsent(tx Tx, state string) error {
	var record consentRecord
	found, err := get(tx, keyConsent(state), &record)
	if err != nil {
		return err
	}
	if !found {
		return Errorf(app.CodeNotFound, "this consent is unknown or has expired")
	}
	return tx.Delete(keyConsent(state))
}

// home sends the browser to the provider's own site with a reason.
func (c *call) home(reason string) error {
	site := c.p.cfg.Manifest.WebsiteURL
	if site == "" {
		return Errorf(reason, "this link cannot be used")
	}
	return c.redirect(withQuery(site, url.Values{"error": {reason}}))
}

func (c *call) redirect(target string) error {
	c.status = http.StatusSeeOther
	if c.r.Method == http.MethodGet {
		c.status = http.StatusFound
	}
	c.w.Header().Set("Cache-Control", "no-store")
	c.w.Header().Set("Referrer-Policy", "no-referrer")
	c.w.Header().Set("Location", target)
	c.w.WriteHeader(c.status)
	return nil
}

func withQuery(target string, values url.Values) string {
	u, err := url.Parse(target)
	if err != nil {
		return target
	}
	query := u.Query()
	for name, v := range values {
		query[name] = v
	}
	u.RawQuery = query.Encode()
	return u.String()
}
