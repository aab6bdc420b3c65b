package gate

import (
	"net/http"
	"net/url"
	"strings"
)

// Here keeps a redirect on this server: a path, never another origin. Browsers read
// a backslash as a slash, and leave tabs and line breaks out.
func Here(path string) string {
	u, err := url.Parse(path)
	if err != nil || u.Host != "" || u.Scheme != "" || !strings.HasPrefix(path, "/") || strings.HasPrefix(path, "//") || strings.ContainsAny(path, "\\\r\n\t") {
		return "/"
	}
	return path
}

// Onward is where a request goes on to after it was answered. One that a stranger's
// link sends elsewhere stays here, and is counted.
func (g *Gate) Onward(r *http.Request, path string) string {
	next := Here(path)
	if path != "" && next != path {
		g.Count(r, "open_redirect")
	}
	return next
}
