package provider

import (
	"net/http"
	"net/url"
	"strings"
	"time"
	"unicode"

	"github.com/purser-dev/purser/app"
)

// deepLinkLife is how long a deep link waits for its one use (13).
const deepLinkLife = 600 * time.Second

// deepLink makes a link that signs a person in once (13).
func (c *call) deepLink() error {
	if err := c.proofs(); err != nil {
		return err
	}
	if len(c.p.cfg.Manifest.DeepLinkPurposes) == 0 || c.p.cfg.Hooks.Session == nil || c.orch.NoDeepLinks {
		return Errorf(app.CodeDeepLinksNotEnabled, "deep links are not offered")
	}
	if err := c.object(); err != nil {
		return err
	}
	purpose, path, err := c.deepLinkInput()
	if err != nil {
		return err
	}
	token, err := app.Random(c.p.cfg.Random, "")
	if err != nil {
		return err
	}
	record := deepLinkRecord{Account: c.account.ID, Path: path, ExpiresAt: c.p.cfg.Now().Add(deepLinkLife)}
	err = c.p.cfg.Store.Update(c.ctx, func(tx Tx) error { return put(tx, keyDeepLink(token), record, record.ExpiresAt) })
	if err != nil {
		return err
	}
	target := c.p.url("login") + "?" + url.Values{"token": {token}}.Encode()
	return c.answer(http.StatusOK, app.DeepLink{Purpose: purpose, URL: target, ExpiresAt: app.At(record.ExpiresAt)})
}

func (c *call) deepLinkInput() (purpose, path string, err error) {
	purpose, path = "dashboard", "/"
	if err := c.field("purpose", &purpose); err != nil {
		return "", "", err
	}
	if !label(purpose) {
		return "", "", Errorf(app.CodeInvalidRequest, "purpose must be 1 to 64 characters of [a-z0-9_.:-]")
	}
	if c.field("path", &path) != nil || !safePath(path) {
		return "", "", Errorf(app.CodeInvalidPath, "path must begin with one slash and name a place of this provider")
	}
	return purpose, path, nil
}

func label(s string) bool {
	return s != "" && len(s) <= 64 &&
		!strings.ContainsFunc(s, func(r rune) bool { return !strings.ContainsRune("abcdefghijklmnopqrstuvwxyz0123456789_.:-", r) })
}

// safePath refuses what a browser could take for another origin.
func safePath(path string) bool {
	return len(path) <= 2000 && strings.HasPrefix(path, "/") && !strings.Contains(path, "//") &&
		!strings.ContainsFunc(path, func(r rune) bool { return r == '\\' || unicode.IsSpace(r) || unicode.IsControl(r) })
}

// login opens a deep link: its token is taken before anything else is looked at.
func (c *call) login() error {
	var record deepLinkRecord
	key := keyDeepLink(c.r.URL.Query().Get("token"))
	err := c.p.cfg.Store.Update(c.ctx, func(tx Tx) error {
		record = deepLinkRecord{}
		found, err := get(tx, key, &record)
		if err != nil || !found {
			return err
		}
		return tx.Delete(key)
	})
	if err != nil {
		return err
	}
	dead := withQuery(c.p.cfg.LoginPage, url.Values{"error": {"expired_or_invalid_token"}})
	if record.Account == "" || !c.p.cfg.Now().Before(record.ExpiresAt) {
		return c.redirect(dead)
	}
	a, err := c.active(record.Account)
	if err != nil {
		return err
	}
	switch {
	case a == nil:
		return c.redirect(dead)
	case !a.EmailVerified: // attested is not verified (section 2, rule 3)
		return c.redirect(withQuery(c.p.cfg.VerifyPage, url.Values{"reason": {"email_not_verified"}}))
	}
	c.account = *a
	if err := c.p.cfg.Hooks.Session(c.w, c.r, *a); err != nil {
		return err
	}
	return c.redirect(record.Path)
}

// loginHead lets a previewer look without using the link up.
func (c *call) loginHead() error {
	c.status = http.StatusNoContent
	c.w.Header().Set("Cache-Control", "no-store")
	c.w.WriteHeader(c.status)
	return nil
}
