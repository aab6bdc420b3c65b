package client

import (
	"encoding/json"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/purser-dev/purser"
)

// request is one operation on its way.
type request struct {
	method, path, kind, key string
	body                    []byte
	changes                 bool // a lost answer may have changed something
}

// again reports whether the request may be sent twice.
func (r request) again() bool { return r.method == http.MethodGet || r.key != "" }

// self stands in a path for a member left out, as an agent's own run.
const self = "self"

// write turns an operation's input into path, query and body by JSON names.
func write(op purser.Operation, in any) (request, error) {
	text, err := json.Marshal(in)
	if err != nil {
		return request{}, fmt.Errorf("writing %s: %w", op.Name, err)
	}
	var members map[string]json.RawMessage
	if err := json.Unmarshal(text, &members); err != nil {
		return request{}, fmt.Errorf("writing %s: %w", op.Name, err)
	}
	path, err := fill(op.Path, members)
	if err != nil {
		return request{}, err
	}
	r := request{method: op.Method, path: path, changes: op.Changes}
	if op.Method == http.MethodGet {
		r.path += query(members)
		return r, nil
	}
	r.kind = "application/json"
	if r.body, err = json.Marshal(members); err != nil {
		return request{}, fmt.Errorf("writing %s: %w", op.Name, err)
	}
	return r, nil
}

// fill puts members into {their} places in the path and takes them out of the rest.
func fill(path string, members map[string]json.RawMessage) (string, error) {
	parts := strings.Split(path, "/")
	for i, part := range parts {
		name, ok := strings.CutPrefix(part, "{")
		if !ok {
			continue
		}
		name = strings.TrimSuffix(name, "}")
		value := self
		if raw, given := members[name]; given {
			value = scalar(raw)
		}
		// A segment of dots would be cleaned away on the road and name another thing.
		if value == "" || value == "." || value == ".." {
			return "", purser.Errorf(purser.InvalidRequest, "%s: %q names nothing", name, value)
		}
		parts[i] = url.PathEscape(value)
		delete(members, name)
	}
	return strings.Join(parts, "/"), nil
}

func query(members map[string]json.RawMessage) string {
	q := url.Values{}
	for name, raw := range members {
		if v := scalar(raw); v != "" {
			q.Set(name, v)
		}
	}
	if len(q) == 0 {
		return ""
	}
	return "?" + q.Encode()
}

// scalar reads a JSON string, number or boolean as text.
func scalar(raw json.RawMessage) string {
	var s string
	if json.Unmarshal(raw, &s) == nil {
		return s
	}
	return string(raw)
}

// problem reads an RFC 9457 problem back into the error it was made from.
func problem(resp *http.Response) error {
	text, _ := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	kind, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	var p struct {
		purser.Error
		RetryAfter int64 `json:"retry_after"` // seconds
	}
	if kind != "application/problem+json" || json.Unmarshal(text, &p) != nil || p.Code == "" {
		return stranger(resp.StatusCode)
	}
	e := p.Error
	e.RetryAfter = time.Duration(p.RetryAfter) * time.Second
	return &e
}

// stranger is for an answer that Purser did not write: a proxy's, or another program's.
func stranger(status int) error {
	if status >= 500 {
		return purser.Errorf(purser.Unavailable, "something between here and the server answered %d", status).
			WithHint("purser doctor")
	}
	return purser.Errorf(purser.Unavailable, "the address answers %d, and not like a Purser server", status).
		WithHint("check the address: purser doctor")
}
