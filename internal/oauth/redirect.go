package oauth

import (
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strings"
)

const redirectLimit = 512 // characters

var (
	// A redirect URI is sent in a header and opened by a browser: nothing but
	// visible ASCII that is the same to every parser. There is no backslash, which
	// browsers read as a slash, and no quote or angle bracket.
	redirectText = regexp.MustCompile(`^[a-zA-Z0-9._~:/?@!$&'()*+,;=%\[\]-]+$`)
	// loopbackText takes a redirect to this machine apart: host, port, the rest.
	loopbackText = regexp.MustCompile(`^http://(127\.0\.0\.1|\[::1\]|localhost)(:[0-9]{1,5})?((?:/[^#]*)?)$`)
	schemeText   = regexp.MustCompile(`^[a-z][a-z0-9+.-]*$`)
)

// appSchemes are schemes without a dot that editors with MCP clients have long
// used. RFC 8252 7.1 wants a reversed domain name, which no other party can own;
// every other scheme needs one.
var appSchemes = []string{"cursor", "vscode", "vscode-insiders", "windsurf"}

// CheckRedirect refuses what nobody may be answered at: only https, http to this
// machine, and schemes of programs; no user name, no fragment, no wildcard.
func CheckRedirect(text string) error {
	no := func(why string) error { return Errorf(InvalidRedirect, "a redirect URI %s", why) }
	switch {
	case len(text) == 0 || len(text) > redirectLimit:
		return no("has 1 to 512 characters")
	case !redirectText.MatchString(text):
		return no("holds a character that is not written so in a URI")
	}
	u, err := url.Parse(text)
	switch {
	case err != nil || !u.IsAbs() || u.Opaque != "":
		return no("is absolute, with // or / after the scheme")
	case u.User != nil || strings.Contains(u.Host, "@"):
		return no("has no user name")
	case u.Fragment != "" || strings.Contains(text, "#"):
		return no("has no fragment")
	case !strings.HasPrefix(text, u.Scheme+":"):
		return no("has a scheme in lower case")
	case strings.Contains(u.Host, "*"):
		return no("has no wildcard")
	case slices.Contains(strings.Split(u.EscapedPath(), "/"), ".."), slices.Contains(strings.Split(u.Path, "/"), ".."):
		return no("has no .. in its path")
	}
	for _, given := range []string{"code", "state", "iss", "error"} {
		if u.Query().Has(given) {
			return no("does not hold a parameter of the answer")
		}
	}
	switch u.Scheme {
	case "https":
		if u.Hostname() == "" {
			return no("names a host")
		}
	case "http":
		if !loopbackText.MatchString(text) {
			return no("is https, or http to 127.0.0.1, [::1] or localhost")
		}
	default:
		if !schemeText.MatchString(u.Scheme) || !strings.Contains(u.Scheme, ".") && !slices.Contains(appSchemes, u.Scheme) {
			return no("of a program has a scheme made of its reversed domain name, as com.example.app")
		}
	}
	return nil
}

// MatchRedirect reports whether a request's redirect URI is one of a client's:
// the same text, or, on this machine, the same but for the port, which a program
// gets from the system when it starts (RFC 8252 7.3).
func MatchRedirect(registered []string, asked string) bool {
	if CheckRedirect(asked) != nil {
		return false
	}
	if slices.Contains(registered, asked) {
		return true
	}
	a := loopbackText.FindStringSubmatch(asked)
	if a == nil {
		return false
	}
	return slices.ContainsFunc(registered, func(r string) bool {
		b := loopbackText.FindStringSubmatch(r)
		return b != nil && a[1] == b[1] && a[3] == b[3]
	})
}

// Local reports whether a redirect leads to a program on the person's own machine,
// of which nobody can say which program it is.
func Local(redirect string) bool {
	return loopbackText.MatchString(redirect) || !strings.HasPrefix(redirect, "https:")
}

// Answer adds the members of an authorization response to a redirect URI.
func Answer(redirect string, members url.Values) string {
	u, err := url.Parse(redirect)
	if err != nil { // it was checked when it was registered
		return ""
	}
	q := u.Query()
	for name, values := range members {
		q[name] = values
	}
	u.RawQuery = q.Encode()
	return u.String()
}

// CheckDocumentURL refuses what cannot be a client identifier that is an address:
// https with a path, and nothing that two readers could read in two ways.
// loopback also allows http to this machine, for trials.
func CheckDocumentURL(text string, loopback bool) error {
	no := func(why string) error { return Errorf(InvalidClient, "a client_id that is an address %s", why) }
	u, err := url.Parse(text)
	switch {
	case err != nil || len(text) > redirectLimit || !redirectText.MatchString(text):
		return no("is a plain URL of at most 512 characters")
	case u.Scheme != "https" && !(loopback && loopbackText.MatchString(text)):
		return no("begins with https://")
	case u.User != nil || u.Fragment != "" || strings.Contains(text, "#") || u.RawQuery != "" || u.ForceQuery:
		return no("has no user name, query or fragment")
	case u.Hostname() == "" || u.Path == "" || u.Path == "/" || u.EscapedPath() != u.Path:
		return no("names a host and a path")
	}
	for part := range strings.SplitSeq(u.Path, "/") {
		if part == "." || part == ".." {
			return no("has no . or .. in its path")
		}
	}
	return nil
}

// Reserved reports whether an address belongs to no public host: what a stranger
// names must not make the server ask its own network (RFC 6890).
func Reserved(a netip.Addr) bool {
	a = a.Unmap()
	if !a.IsValid() || !a.IsGlobalUnicast() || a.IsPrivate() || a.IsLoopback() || a.IsLinkLocalUnicast() || a.Zone() != "" {
		return true
	}
	return slices.ContainsFunc(reserved, func(p netip.Prefix) bool { return p.Contains(a) })
}

// reserved are the ranges that the methods of netip.Addr do not know: shared and
// special ones, and those of IPv6 that carry an IPv4 address inside.
var reserved = func() (all []netip.Prefix) {
	for _, p := range []string{
		"0.0.0.0/8", "100.64.0.0/10", "192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "240.0.0.0/4",
		"64:ff9b::/96", "64:ff9b:1::/48", "100::/64", "2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20", "5f00::/16", "fec0::/10", "::/96",
	} {
		all = append(all, netip.MustParsePrefix(p))
	}
	return all
}()
