package console

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/purser-dev/purser"
)

// link is one entry of the menu.
type link struct {
	path, text string
	apart      bool // begins a group
}

var menuLinks = []link{
	{path: "/", text: "Now"},
	{path: "/approvals", text: "Approvals"},
	{path: "/runs", text: "Runs"},
	{path: "/projects", text: "Projects", apart: true},
	{path: "/spend", text: "Spend"},
	{path: "/catalog", text: "Catalog"},
	{path: "/agents", text: "Agents", apart: true},
	{path: "/providers", text: "Providers"},
	{path: "/people", text: "People"},
	{path: "/audit", text: "Audit", apart: true},
	{path: "/settings", text: "Settings"},
}

// covers reports whether the page at path belongs under this entry.
func (l link) covers(path string) bool {
	return path == l.path || l.path != "/" && strings.HasPrefix(path, l.path+"/")
}

// short makes foreign text fit to be shown: one line, at most n characters, and
// none of the marks that turn the direction of what stands around it or that
// cannot be seen. A name with such marks would pass for another one.
func short(s string, n int) string {
	var b strings.Builder
	count := 0
	for _, c := range s {
		if count == n {
			b.WriteRune('…')
			break
		}
		switch {
		case unicode.IsSpace(c):
			c = ' '
		case c == utf8.RuneError || !unicode.IsGraphic(c): // controls, and the format characters that reorder
			c = '\uFFFD'
		}
		b.WriteRune(c)
		count++
	}
	return b.String()
}

// initial is a person's sign in the bar.
func initial(name string) string {
	for _, c := range strings.TrimSpace(name) {
		if unicode.IsLetter(c) || unicode.IsDigit(c) {
			return string(unicode.ToUpper(c))
		}
	}
	return "?"
}

// titles are the headings of pages that tell a failure, for the codes a person meets.
var titles = map[purser.Code]string{
	purser.NotFound:     "Not found",
	purser.Forbidden:    "Not allowed",
	purser.NotSignedIn:  "Not signed in",
	purser.NeedsPerson:  "Your signature is needed",
	purser.TooManyTries: "Too many tries",
	purser.Unavailable:  "Not available",
	purser.Overloaded:   "Too busy",
	purser.InvalidState: "Too late",
	purser.Internal:     "Something broke",
}

func title(code purser.Code) string {
	if t, ok := titles[code]; ok {
		return t
	}
	return "That did not work"
}
