package assets

import (
	"fmt"
	"net/url"
	"strings"
)

// How a site's HTML files are addressed, and what a missing path answers
// (local-cloud.md section 6.2). The zero value of Config is AutoSlash and Plain404.
const (
	AutoSlash  = "auto-trailing-slash"
	ForceSlash = "force-trailing-slash"
	DropSlash  = "drop-trailing-slash"
	ExactPath  = "none"

	Plain404   = "none"
	Page404    = "404-page"
	SinglePage = "single-page-application"
)

// Config is how a version's assets are served. Redirects and Headers are the texts
// of _redirects and _headers.
type Config struct {
	HTMLHandling     string `json:"html_handling,omitempty"`
	NotFoundHandling string `json:"not_found_handling,omitempty"`
	Redirects        string `json:"_redirects,omitempty"`
	Headers          string `json:"_headers,omitempty"`
}

// Check refuses words that the tables of this package do not have.
func (c Config) Check() error {
	switch c.HTMLHandling {
	case "", AutoSlash, ForceSlash, DropSlash, ExactPath:
	default:
		return fmt.Errorf("html_handling %q is unknown", c.HTMLHandling)
	}
	switch c.NotFoundHandling {
	case "", Plain404, Page404, SinglePage:
	default:
		return fmt.Errorf("not_found_handling %q is unknown", c.NotFoundHandling)
	}
	return nil
}

// Site is one version of an app's files, ready to be served.
type Site struct {
	files   Manifest
	config  Config
	static  map[string]redirectRule
	dynamic []redirectRule
	headers []headerRule

	warnings []string
}

// NewSite prepares a manifest for serving. The manifest may not change afterwards.
func NewSite(files Manifest, config Config) *Site {
	s := &Site{files: files, config: config}
	var more []string
	s.static, s.dynamic, s.warnings = parseRedirects(config.Redirects, config.HTMLHandling)
	s.headers, more = parseHeaders(config.Headers)
	s.warnings = append(s.warnings, more...)
	return s
}

// Warnings name the lines of _redirects and _headers that are ignored, and why.
func (s *Site) Warnings() []string { return s.warnings }

// answer is what a path gets: a file with a status, or a redirect to location.
type answer struct {
	status   int
	path     string
	file     File
	location string
}

// resolve decides what the escaped path of a request gets: a redirect rule comes
// before a file; a rule with status 200 only changes which file is looked up.
func (s *Site) resolve(host, escaped string) answer {
	decoded := decodePath(escaped)
	if to, status, ok := s.redirectTo(host, decoded); ok {
		if status != rewriteInternally {
			return answer{status: status, location: to}
		}
		to, _, _ = strings.Cut(to, "?")
		if found, _, ok := s.lookup(to); ok {
			return answer{status: 200, path: found, file: s.files[found]}
		}
		return s.missing(to)
	}
	found, redirect, ok := s.lookup(decoded)
	switch {
	case !ok:
		return s.missing(decoded)
	case redirect != "":
		return answer{status: 307, location: encodePath(redirect)}
	case encodePath(decoded) != escaped:
		return answer{status: 307, location: encodePath(decoded)}
	}
	return answer{status: 200, path: found, file: s.files[found]}
}

// lookup finds the file of a decoded path, and where to redirect if the path is not
// the one that shows it. A redirect is given only if following it hits that file.
func (s *Site) lookup(p string) (found, redirect string, ok bool) {
	if found := s.direct(p); found != "" {
		return found, "", true
	}
	if s.config.HTMLHandling != ExactPath {
		for _, file := range candidates(p) {
			if _, exists := s.files[file]; !exists {
				continue
			}
			if c := s.canonical(file); c != p && s.direct(c) == file {
				return file, c, true
			}
		}
	}
	_, exists := s.files[p]
	return p, "", exists
}

// direct is the file a path shows without a redirect, or "".
func (s *Site) direct(p string) string {
	if _, exact := s.files[p]; exact && (!isHTML(p) || s.config.HTMLHandling == ExactPath) {
		return p
	}
	var tries []string
	folder := strings.HasSuffix(p, "/")
	switch s.config.HTMLHandling {
	case ExactPath:
	case ForceSlash:
		if folder {
			tries = []string{p + "index.html", strings.TrimSuffix(p, "/") + ".html"}
		}
	case DropSlash:
		if p == "/" {
			tries = []string{"/index.html"}
		} else if !folder {
			tries = []string{p + ".html", p + "/index.html"}
		}
	default:
		if folder {
			tries = []string{p + "index.html"}
		} else {
			tries = []string{p + ".html"}
		}
	}
	for _, try := range tries {
		if _, exists := s.files[try]; exists && s.canonical(try) == p {
			return try
		}
	}
	return ""
}

// candidates are the HTML files a path may mean, best first.
func candidates(p string) []string {
	if folder, ok := strings.CutSuffix(p, "/"); ok {
		return []string{p + "index.html", folder + ".html"}
	}
	list := []string{p + ".html", p + "/index.html"}
	if isHTML(p) {
		list = []string{p}
		if folder, ok := strings.CutSuffix(p, "/index.html"); ok {
			return append(list, folder+".html")
		}
		return append(list, strings.TrimSuffix(p, ".html")+"/index.html")
	}
	if folder, ok := strings.CutSuffix(p, "/index"); ok {
		list = append(list, folder+".html")
	}
	return list
}

// canonical is the one path that shows an HTML file.
func (s *Site) canonical(file string) string {
	folder, index := strings.CutSuffix(file, "/index.html")
	switch {
	case index && (s.config.HTMLHandling != DropSlash || folder == ""):
		return folder + "/"
	case index:
		return folder
	case s.config.HTMLHandling == ForceSlash:
		return strings.TrimSuffix(file, ".html") + "/"
	}
	return strings.TrimSuffix(file, ".html")
}

// missing is the answer to a path that no file has.
func (s *Site) missing(p string) answer {
	switch s.config.NotFoundHandling {
	case SinglePage:
		if f, ok := s.files["/index.html"]; ok {
			return answer{status: 200, path: "/index.html", file: f}
		}
	case Page404:
		for dir := p; dir != ""; {
			dir = dir[:strings.LastIndexByte(dir, '/')]
			if f, ok := s.files[dir+"/404.html"]; ok {
				return answer{status: 404, path: dir + "/404.html", file: f}
			}
		}
	}
	return answer{status: 404}
}

func isHTML(p string) bool { return strings.HasSuffix(p, ".html") }

// decodePath undoes percent-encoding part by part and collapses repeated slashes. A
// part that does not decode stays as it is, and so matches no file.
func decodePath(escaped string) string {
	parts := strings.Split(escaped, "/")
	for i, part := range parts {
		if decoded, err := url.PathUnescape(part); err == nil {
			parts[i] = decoded
		}
	}
	p := strings.Join(parts, "/")
	for strings.Contains(p, "//") {
		p = strings.ReplaceAll(p, "//", "/")
	}
	if !strings.HasPrefix(p, "/") {
		p = "/" + p
	}
	return p
}

// encodePath is the normal form of a decoded path: everything is percent-encoded but
// letters, digits and -_.!~*'(), the set of ECMAScript's encodeURIComponent.
func encodePath(p string) string {
	const hex = "0123456789ABCDEF"
	var b strings.Builder
	for i := range len(p) {
		c := p[i]
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', strings.IndexByte("/-_.!~*'()", c) >= 0:
			b.WriteByte(c)
		default:
			b.Write([]byte{'%', hex[c>>4], hex[c&15]})
		}
	}
	return b.String()
}
