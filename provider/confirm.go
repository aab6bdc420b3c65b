package provider

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"html/template"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/purser-dev/purser/app"
)

// confirms tells whether a consent is told to the orchestrator itself (9.7): it has
// to know the request by id and by the secret that only it and the state hold.
func (o *Orchestrator) confirms(pending consentRecord) bool {
	return o.ConfirmURL != "" && pending.RequestID != "" && pending.Confirms
}

// confirm decides, keeps the decision, and tells it (9.7, mode B). When telling
// fails the state is kept, and the same decision may be sent again; an orchestrator
// that never hears of an approval learns it by repeating its account request.
func (c *call) confirm(in decision, pending consentRecord, asJSON bool) error {
	word := map[string]string{"approve": "approved", "deny": "denied"}[in.Decision]
	if pending.Decision != "" && pending.Decision != word {
		return Errorf(app.CodeInvalidState, "this request was %s before", pending.Decision)
	}
	body := map[string]string{"confirmation_secret": in.State, "decision": word}
	if word == "approved" {
		code, _, err := c.approve(in, pending, &pending)
		if err != nil {
			return err
		}
		body["code"] = code
	} else {
		body["error"], body["error_description"] = "access_denied", "the person refused"
		if err := c.keepDenial(in.State, pending); err != nil {
			return err
		}
	}
	if err := c.tell(pending.RequestID, body); err != nil {
		return err
	}
	if err := c.p.cfg.Store.Update(c.ctx, func(tx Tx) error { return tx.Delete(keyConsent(in.State)) }); err != nil {
		return err
	}
	if asJSON {
		return c.answer(http.StatusOK, map[string]string{"status": word})
	}
	c.status = http.StatusOK
	c.w.Header().Set("Content-Type", "text/html; charset=utf-8")
	c.w.Header().Set("Cache-Control", "no-store")
	return confirmedPage.Execute(c.w, word)
}

var confirmedPage = template.Must(template.New("confirmed").Parse(`<!doctype html>
<html lang="en"><meta charset="utf-8"><title>Link account</title>
<h1>The request was {{.}}.</h1><p>You may close this window.</p></html>
`))

// keepDenial stores a refusal and forgets the request, so that it may be asked anew.
func (c *call) keepDenial(state string, pending consentRecord) error {
	pending.Decision = "denied"
	return c.p.cfg.Store.Update(c.ctx, func(tx Tx) error {
		if err := takeConsent(tx, state); err != nil {
			return err
		}
		if err := put(tx, keyConsent(state), pending, pending.ExpiresAt); err != nil {
			return err
		}
		return tx.Delete(pending.Request)
	})
}

// tell posts a decision to the orchestrator. A 4xx is its last word.
func (c *call) tell(request string, body map[string]string) error {
	raw, err := json.Marshal(body)
	if err != nil {
		return fmt.Errorf("confirming: %w", err)
	}
	target := strings.ReplaceAll(c.orch.ConfirmURL, "{id}", url.PathEscape(request))
	ctx, cancel := context.WithTimeout(c.ctx, forwardTime)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, target, bytes.NewReader(raw))
	if err != nil {
		return fmt.Errorf("confirming: %w", err)
	}
	req.Header.Set("Authorization", "Bearer "+c.orch.ProviderKey)
	req.Header.Set("Content-Type", "application/json")
	resp, err := c.p.cfg.HTTP.Do(req)
	if err != nil {
		c.p.cfg.Log.ErrorContext(c.ctx, "confirming a consent", "orchestrator", c.orch.Name, "error", err)
		return &Error{Code: app.CodeProxyFailed, Message: "the one who asks could not be told; please answer again"}
	}
	defer func() { _ = resp.Body.Close() }()
	answer, _ := io.ReadAll(io.LimitReader(resp.Body, app.MaxResponseBytes))
	switch {
	case resp.StatusCode < 300:
		return nil
	case resp.StatusCode < 500 && resp.StatusCode >= 400 && resp.StatusCode != http.StatusTooManyRequests:
		failure, _ := app.ParseFailure(answer)
		c.p.cfg.Log.WarnContext(c.ctx, "confirming a consent", "orchestrator", c.orch.Name, "status", resp.StatusCode, "code", failure.Code)
		return Errorf(app.CodeInvalidState, "the one who asked does not wait for this answer any more")
	}
	return &Error{Code: app.CodeProxyFailed, Message: "the one who asks could not be told; please answer again"}
}
