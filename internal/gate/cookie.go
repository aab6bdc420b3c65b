package gate

import (
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/purser-dev/purser"
)

// Session names the person who is signed in on the browser that sends r. A bearer
// token is not looked at here, and a cookie nowhere else: what a browser sends by
// itself opens no API. Nobody is not_signed_in.
func (g *Gate) Session(r *http.Request) (purser.Actor, error) {
	cookie, ok := g.Cookie(r)
	if !ok && len(r.CookiesNamed(g.cookieName())) > 1 {
		g.Count(r, "two_sessions")
	}
	if !ok || g.config.Sessions == nil { // a page that asks to sign in is no wrong try
		return purser.Actor{}, purser.Errorf(purser.NotSignedIn, "nobody is signed in on this browser").WithHint("sign in")
	}
	if err := g.SamePage(r); err != nil {
		return purser.Actor{}, err
	}
	source := g.Source(r)
	by, err := g.config.Sessions.AuthenticateSession(r.Context(), cookie, source)
	if err != nil {
		return purser.Actor{}, g.strange(source, "", err)
	}
	by.Source = source
	EntryOf(r.Context()).Sent(by)
	return by, nil
}

// SamePage demands proof that a change comes from a page of ours. The check of
// every request lets through what sends neither header, as programs do; a browser
// with a cookie sends at least one.
func (g *Gate) SamePage(r *http.Request) error {
	site, origin := r.Header.Get("Sec-Fetch-Site"), r.Header.Get("Origin")
	if r.Method == http.MethodGet || r.Method == http.MethodHead || site == "same-origin" || site == "" && origin == g.config.URL && origin != "" {
		return nil
	}
	g.Count(r, "cross_origin")
	return purser.Errorf(purser.Forbidden, "a change must come from a page of this server").WithHint("load the page again")
}

// cookieName is bound to the host by its prefix where there is TLS. Without it the
// server is on this machine, where cookies do not tell ports apart: the port keeps
// two servers from signing each other out.
func (g *Gate) cookieName() string {
	u, err := url.Parse(g.config.URL)
	switch {
	case err != nil || u.Scheme == "https":
		return "__Host-purser"
	case u.Port() == "":
		return "purser"
	}
	return "purser-" + u.Port()
}

// Cookie reads the session that a browser sends. Two of one name are none: a
// neighbour on this host may have set the other.
func (g *Gate) Cookie(r *http.Request) (value string, ok bool) {
	found := r.CookiesNamed(g.cookieName())
	if len(found) != 1 || found[0].Value == "" {
		return "", false
	}
	return found[0].Value, true
}

// SetCookie gives a browser its session. It is sent to this host only, over TLS
// where there is TLS, never to a script, and not with what other sites ask for,
// but for links that are followed.
func (g *Gate) SetCookie(w http.ResponseWriter, value string, expires time.Time) {
	http.SetCookie(w, &http.Cookie{
		Name: g.cookieName(), Value: value, Path: "/", Expires: expires, HttpOnly: true,
		Secure: strings.HasPrefix(g.config.URL, "https:"), SameSite: http.SameSiteLaxMode,
	})
}

// DropCookie takes the session out of a browser.
func (g *Gate) DropCookie(w http.ResponseWriter) {
	http.SetCookie(w, &http.Cookie{
		Name: g.cookieName(), Path: "/", MaxAge: -1, HttpOnly: true,
		Secure: strings.HasPrefix(g.config.URL, "https:"), SameSite: http.SameSiteLaxMode,
	})
}
