package assets

import (
	"fmt"
	"net/http"
	"regexp"
	"strings"
)

const (
	maxRuleLine       = 2000
	maxStaticRules    = 2000
	maxDynamicRules   = 100
	maxHeaderRules    = 100
	defaultRedirect   = http.StatusFound
	rewriteInternally = http.StatusOK
)

// pattern is the from of a redirect or the path of a header rule: literal, or with
// "*" (any text, named splat) and ":name" (one segment).
type pattern struct {
	text    string
	host    string // lower case; "" is any
	dynamic *regexp.Regexp
}

var placeholder = regexp.MustCompile(`:[A-Za-z]\w*`)

// newPattern reads a path, or a URL whose host must match too.
func newPattern(text string) (pattern, error) {
	p := pattern{text: text}
	if _, rest, absolute := strings.Cut(text, "://"); absolute {
		host, path, _ := strings.Cut(rest, "/")
		p.host, p.text = strings.ToLower(host), "/"+path
	}
	if !strings.HasPrefix(p.text, "/") {
		return p, fmt.Errorf("%q does not begin with /", text)
	}
	if strings.Count(p.text, "*") > 1 {
		return p, fmt.Errorf("%q has more than one *", text)
	}
	if !strings.Contains(p.text, "*") && !placeholder.MatchString(p.text) {
		return p, nil
	}
	var b strings.Builder
	seen := map[string]bool{}
	for rest := p.text; rest != ""; {
		at := placeholder.FindStringIndex(rest)
		literal, name := rest, ""
		if at != nil {
			literal, name = rest[:at[0]], rest[at[0]+1:at[1]]
			rest = rest[at[1]:]
		} else {
			rest = ""
		}
		b.WriteString(strings.Replace(regexp.QuoteMeta(literal), `\*`, `(?P<splat>.*)`, 1))
		if name == "" {
			continue
		}
		if seen[name] || name == "splat" {
			return p, fmt.Errorf("%q names :%s twice", text, name)
		}
		seen[name] = true
		b.WriteString(`(?P<` + name + `>[^/]+)`)
	}
	var err error
	p.dynamic, err = regexp.Compile("(?s)^" + b.String() + "$")
	return p, err
}

// match answers the values of the placeholders by name.
func (p pattern) match(host, path string) (map[string]string, bool) {
	if p.host != "" && p.host != host {
		return nil, false
	}
	if p.dynamic == nil {
		return nil, p.text == path
	}
	found := p.dynamic.FindStringSubmatch(path)
	if found == nil {
		return nil, false
	}
	values := map[string]string{}
	for i, name := range p.dynamic.SubexpNames()[1:] {
		values[name] = found[i+1]
	}
	return values, true
}

// fill puts values into a text's placeholders; unknown ones stay.
func fill(text string, values map[string]string) string {
	return placeholder.ReplaceAllStringFunc(text, func(name string) string {
		if value, ok := values[name[1:]]; ok {
			return value
		}
		return name
	})
}

// redirectRule is one line of _redirects.
type redirectRule struct {
	from   pattern
	to     string
	status int
}

// parseRedirects reads _redirects (local-cloud.md section 6.3): static rules by
// path, dynamic ones in order, and a warning for each line that is ignored.
func parseRedirects(text string, html string) (static map[string]redirectRule, dynamic []redirectRule, warnings []string) {
	static = map[string]redirectRule{}
	seen := map[string]bool{}
	for i, line := range strings.Split(text, "\n") {
		rule, err := parseRedirect(line, html)
		switch {
		case err != nil:
			warnings = append(warnings, fmt.Sprintf("_redirects line %d is ignored: %v", i+1, err))
			continue
		case rule.to == "":
			continue
		case seen[rule.from.host+rule.from.text]:
			warnings = append(warnings, fmt.Sprintf("_redirects line %d is ignored: an earlier rule has this path", i+1))
			continue
		}
		isStatic := rule.from.dynamic == nil && rule.from.host == "" && len(dynamic) == 0
		switch {
		case isStatic && len(static) < maxStaticRules:
			static[rule.from.text] = rule
		case !isStatic && len(dynamic) < maxDynamicRules:
			dynamic = append(dynamic, rule)
		default:
			warnings = append(warnings, fmt.Sprintf("_redirects line %d is ignored: too many rules", i+1))
			continue
		}
		seen[rule.from.host+rule.from.text] = true
	}
	return static, dynamic, warnings
}

// parseRedirect reads one line; blank lines and comments are the zero rule.
func parseRedirect(line, html string) (redirectRule, error) {
	line = strings.TrimSpace(line)
	if line == "" || strings.HasPrefix(line, "#") {
		return redirectRule{}, nil
	}
	if len(line) > maxRuleLine {
		return redirectRule{}, fmt.Errorf("it has more than %d characters", maxRuleLine)
	}
	if at := strings.Index(line, " #"); at >= 0 {
		line = line[:at]
	}
	fields := strings.Fields(line)
	if len(fields) < 2 || len(fields) > 3 {
		return redirectRule{}, fmt.Errorf("it is not: from to [status]")
	}
	rule := redirectRule{to: fields[1], status: defaultRedirect}
	var err error
	if rule.from, err = newPattern(fields[0]); err != nil {
		return rule, err
	}
	if len(fields) == 3 {
		if rule.status = redirectStatus(fields[2]); rule.status == 0 {
			return rule, fmt.Errorf("status %.20q is not one of 200, 301, 302, 303, 307, 308", fields[2])
		}
	}
	return rule, rule.checkTarget(html)
}

func redirectStatus(text string) int {
	for _, status := range []int{200, 301, 302, 303, 307, 308} {
		if text == fmt.Sprint(status) {
			return status
		}
	}
	return 0
}

// checkTarget normalises nothing but refuses what would leave the site or loop.
func (r *redirectRule) checkTarget(html string) error {
	relative := strings.HasPrefix(r.to, "/")
	if !relative && !strings.HasPrefix(r.to, "https://") && !strings.HasPrefix(r.to, "http://") {
		return fmt.Errorf("the target is neither a path nor a URL")
	}
	if !relative && r.status == rewriteInternally {
		return fmt.Errorf("a rewrite (200) leads to a path of the site only")
	}
	index := strings.HasSuffix(r.to, "/index") || strings.HasSuffix(r.to, "/index.html")
	if relative && index && (strings.HasSuffix(r.from.text, "/*") || (strings.HasSuffix(r.from.text, "/") && html != ExactPath)) {
		return fmt.Errorf("it would loop")
	}
	return nil
}

// redirectTo applies the first rule for a path: the target with its values.
func (s *Site) redirectTo(host, path string) (to string, status int, ok bool) {
	rule, ok := s.static[path]
	var values map[string]string
	for i := 0; !ok && i < len(s.dynamic); i++ {
		if values, ok = s.dynamic[i].from.match(host, path); ok {
			rule = s.dynamic[i]
		}
	}
	if !ok {
		return "", 0, false
	}
	if rule.status != rewriteInternally {
		for name, value := range values {
			values[name] = encodePath(value)
		}
	}
	to = fill(rule.to, values)
	if strings.HasPrefix(rule.to, "/") {
		target, query, hasQuery := strings.Cut(to, "?")
		// A value may begin with a slash, and //host would lead off the site.
		for strings.Contains(target, "//") {
			target = strings.ReplaceAll(target, "//", "/")
		}
		to = strings.ReplaceAll(target, `\`, "%5C")
		if hasQuery {
			to += "?" + query
		}
	}
	if rule.status != rewriteInternally {
		to = asciiURL(to)
	}
	return to, rule.status, true
}

// asciiURL percent-encodes what no header may carry and keeps the rest.
func asciiURL(text string) string {
	var b strings.Builder
	for i := range len(text) {
		if c := text[i]; c <= ' ' || c >= 0x7f {
			fmt.Fprintf(&b, "%%%02X", c)
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}

// headerRule is one block of _headers.
type headerRule struct {
	path   pattern
	set    [][2]string
	remove []string
}

// parseHeaders reads _headers (local-cloud.md section 6.4).
func parseHeaders(text string) (rules []headerRule, warnings []string) {
	var open *headerRule
	warn := func(line int, format string, args ...any) {
		warnings = append(warnings, fmt.Sprintf("_headers line %d is ignored: ", line)+fmt.Sprintf(format, args...))
	}
	finish := func(line int) {
		switch {
		case open == nil:
		case len(open.set)+len(open.remove) == 0:
			warn(line, "the rule before it has no headers")
		case len(rules) == maxHeaderRules:
			warn(line, "more than %d rules", maxHeaderRules)
		default:
			rules = append(rules, *open)
		}
		open = nil
	}
	lines := strings.Split(text, "\n")
	for i, line := range lines {
		line = strings.TrimSpace(line)
		switch {
		case line == "" || strings.HasPrefix(line, "#"):
		case len(line) > maxRuleLine:
			warn(i+1, "more than %d characters", maxRuleLine)
		case strings.HasPrefix(line, "/") || strings.HasPrefix(line, "https://"):
			finish(i)
			path, err := newPattern(line)
			if err != nil {
				warn(i+1, "%v", err)
				continue
			}
			open = &headerRule{path: path}
		case open == nil:
			warn(i+1, "it belongs to no path")
		default:
			if err := open.add(line); err != nil {
				warn(i+1, "%v", err)
			}
		}
	}
	finish(len(lines))
	return rules, warnings
}

func (r *headerRule) add(line string) error {
	if name, ok := strings.CutPrefix(line, "!"); ok {
		name = strings.TrimSpace(name)
		if !isToken(name) {
			return fmt.Errorf("%.40q is no header name", name)
		}
		r.remove = append(r.remove, name)
		return nil
	}
	name, value, ok := strings.Cut(line, ":")
	value = strings.TrimSpace(value)
	if !ok || !isToken(name) || value == "" {
		return fmt.Errorf("it is not: Name: value")
	}
	// Framing is the server's: a site that set it would break its own answers.
	switch http.CanonicalHeaderKey(name) {
	case "Content-Length", "Transfer-Encoding", "Connection", "Content-Encoding", "Content-Range":
		return fmt.Errorf("%s is not for sites to set", name)
	}
	r.set = append(r.set, [2]string{name, value})
	return nil
}

// isToken is RFC 9110's token.
func isToken(s string) bool {
	return s != "" && strings.Trim(s, "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ") == ""
}

// applyHeaders applies all rules that match, in order: the first to set a header
// replaces the default value, later ones append.
func (s *Site) applyHeaders(h http.Header, host, path string) {
	replaced := map[string]bool{}
	for _, rule := range s.headers {
		values, ok := rule.path.match(host, path)
		if !ok {
			continue
		}
		for _, name := range rule.remove {
			h.Del(name)
		}
		for _, pair := range rule.set {
			key := http.CanonicalHeaderKey(pair[0])
			value := strings.Map(printable, fill(pair[1], values))
			if old := h.Get(key); replaced[key] && old != "" {
				value = old + ", " + value
			}
			h.Set(key, value)
			replaced[key] = true
		}
	}
}

// printable drops control characters, which a decoded path may bring into a value.
func printable(r rune) rune {
	if r < ' ' || r == 0x7f {
		return -1
	}
	return r
}
