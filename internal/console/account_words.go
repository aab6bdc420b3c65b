package console

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/purser-dev/purser"
)

var roles = []purser.Role{purser.Owner, purser.Approver, purser.Viewer}

// roleWords says what a role may do.
func roleWords(r purser.Role) string {
	switch r {
	case purser.Owner:
		return "approves, changes limits, invites and removes people."
	case purser.Approver:
		return "approves plans, makes runs and changes limits."
	}
	return "sees everything and can stop spending."
}

// words is an operation's name for people.
func words(operation string) string { return strings.ReplaceAll(operation, "_", " ") }

// member is one member of a request, as a line.
type member struct{ name, value string }

// flat lists a request's members by their dotted names. Nothing of it is left out,
// because all of it is signed; long texts are cut, and say so.
func flat(at string, request map[string]any) []member {
	var out []member
	for _, name := range slices.Sorted(maps.Keys(request)) {
		path := strings.TrimPrefix(at+"."+name, ".")
		switch v := request[name].(type) {
		case map[string]any:
			out = append(out, flat(path, v)...)
		case string:
			out = append(out, member{path, short(v, 2000)})
		case json.Number:
			out = append(out, member{path, v.String()})
		default:
			text, err := json.Marshal(v)
			if err != nil {
				text = fmt.Appendf(nil, "%v", v)
			}
			out = append(out, member{path, short(string(text), 2000)})
		}
	}
	return out
}

// digestOf is what the document of an act says it is about.
func digestOf(a purser.Act) string {
	for _, name := range []string{"plan_digest", "request_digest"} {
		if d, ok := a.Document[name].(string); ok {
			return d
		}
	}
	return ""
}
