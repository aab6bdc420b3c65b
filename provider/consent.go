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
	if o := c.p.orchestrator(pending.Orchestrator); o == nil || o.CallbackURL == "" {
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
	page := Consent{
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
<button name="decision" value="approve">Allow</button> <button name="decision" value="deny">Refuse</button>
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
	state, csrf, decision, err := c.decision(asJSON)
	if err != nil {
		return err
	}
	pending, err := c.pending(state)
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
	if !same(csrf, c.csrf(state, pending.Email)) {
		return Errorf(app.CodeForbidden, "the form is not ours; open the page again")
	}
	o := c.p.orchestrator(pending.Orchestrator)
	if o == nil || o.CallbackURL == "" {
		return Errorf(app.CodeMissingCallback, "no callback is registered")
	}
	c.orch = o
	answer := url.Values{"state": {state}}
	if decision == "deny" {
		answer.Set("error", "access_denied")
		answer.Set("error_description", "the person refused")
		err = c.deny(state, *pending)
	} else {
		var code string
		code, err = c.approve(state, *pending)
		answer.Set("code", code)
	}
	if err != nil {
		return err
	}
	target := withQuery(o.CallbackURL, answer)
	if asJSON {
		return c.answer(http.StatusOK, map[string]string{"redirect_url": target})
	}
	return c.redirect(target)
}

func (c *call) decision(asJSON bool) (state, csrf, decision string, err error) {
	if asJSON {
		var in struct{ State, CSRF, Decision string }
		if json.Unmarshal(c.body, &in) != nil {
			return "", "", "", Errorf(app.CodeInvalidRequest, "the body must be a JSON object")
		}
		state, csrf, decision = in.State, in.CSRF, in.Decision
	} else {
		form, parseErr := url.ParseQuery(string(c.body))
		if parseErr != nil {
			return "", "", "", Errorf(app.CodeInvalidRequest, "the body is not a form")
		}
		state, csrf, decision = form.Get("state"), form.Get("csrf"), form.Get("decision")
	}
	if state == "" || csrf == "" || (decision != "approve" && decision != "deny") {
		return "", "", "", Errorf(app.CodeInvalidRequest, "state, csrf and decision are needed")
	}
	return state, csrf, decision, nil
}

// approve consumes the state and makes a code for the account.
func (c *call) approve(state string, pending consentRecord) (string, error) {
	a, err := c.p.cfg.Hooks.Accounts.Find(c.ctx, pending.Email)
	if err != nil || !a.Active {
		return "", Errorf(app.CodeForbidden, "the account is not active")
	}
	c.account = a
	code, err := app.Random(c.p.cfg.Random, "code_")
	if err != nil {
		return "", err
	}
	now := c.p.cfg.Now()
	record := codeRecord{
		Orchestrator: pending.Orchestrator, Account: a.ID, Challenge: pending.Challenge, Scopes: pending.Scopes,
		LinkAction: "linked_existing", IssuedAt: now, ExpiresAt: now.Add(codeLife),
	}
	return code, c.p.cfg.Store.Update(c.ctx, func(tx Tx) error {
		if err := takeConsent(tx, state); err != nil {
			return err
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
		request.Account, request.Action = a.ID, record.LinkAction
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
