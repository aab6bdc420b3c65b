package provider

import (
	"encoding/base64"
	"encoding/json"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/purser-dev/purser/app"
)

// The encode methods write what json.Marshal would, in a quarter of the time: the
// records of a create are its dearest part by reflection. That of a resource is called
// before its transaction: on a store with one writer all others wait meanwhile.

func (p pointer) encode() ([]byte, error) {
	w := writer{b: make([]byte, 0, 64)}
	w.text("id", p.ID)
	return append(w.b, '}'), w.err
}

func (k idempotencyRecord) encode() ([]byte, error) {
	w := writer{b: make([]byte, 0, 192)}
	w.text("body", k.Body)
	w.text("resource", k.Resource)
	w.time("at", k.At)
	return append(w.b, '}'), w.err
}

func (r *resourceRecord) encode() ([]byte, error) {
	w := writer{b: make([]byte, 0, 768)}
	w.text("id", r.ID)
	w.text("account", r.Account)
	w.text("orchestrator", r.Orchestrator)
	w.text("service", r.Service)
	w.values("configuration", r.Configuration)
	w.text("environment", r.Environment)
	w.optional("project_id", r.ProjectID)
	w.optional("orchestrator_resource_id", r.OrchestratorResourceID)
	w.optional("label_prefix", r.LabelPrefix)
	w.optional("workspace", r.Workspace)
	if r.Linked {
		w.name("linked", "true")
	}
	w.text("phase", r.Phase)
	w.text("status", r.Status)
	if r.Problem != nil {
		w.any("problem", r.Problem)
	}
	if len(r.Access) > 0 {
		w.name("access", `"`)
		w.b = append(base64.StdEncoding.AppendEncode(w.b, r.Access), '"')
	}
	w.time("expires_at", r.ExpiresAt)
	w.time("previous_valid_until", r.PreviousValidUntil)
	w.optional("user_message", r.UserMessage)
	if r.Quote != nil {
		w.any("quote", r.Quote)
	}
	if r.Charged {
		w.name("charged", "true")
	}
	w.number("attempt", int64(r.Attempt))
	w.number("updates", int64(r.Updates))
	w.number("retry_after", int64(r.RetryAfter))
	w.time("created_at", r.CreatedAt)
	w.time("removed_at", r.RemovedAt)
	return append(w.b, '}'), w.err
}

// complete is the answer that a create ends with, as encoding/json would write it.
func complete(r app.Resource) ([]byte, error) {
	w := writer{b: make([]byte, 0, 512)}
	w.text("status", r.Status)
	w.text("id", r.ID)
	w.optional("service_id", r.ServiceID)
	if r.Complete != nil {
		w.name("complete", `{"access_configuration":`)
		w.texts(r.Complete.AccessConfiguration)
		w.time("expires_at", r.Complete.ExpiresAt.Time.UTC())
		w.time("previous_valid_until", r.Complete.PreviousValidUntil.Time.UTC())
		w.b = append(w.b, '}')
	}
	w.optional("user_message", r.UserMessage)
	return append(w.b, "}\n"...), w.err
}

// writer appends the members of a JSON object.
type writer struct {
	b   []byte
	err error // the first
}

// name begins a member with its name and what follows it.
func (w *writer) name(name, then string) {
	before := byte(',')
	if len(w.b) == 0 {
		before = '{'
	}
	w.b = append(w.b, before, '"')
	w.b = append(w.b, name...)
	w.b = append(append(w.b, `":`...), then...)
}

func (w *writer) text(name, s string) {
	w.name(name, "")
	w.string(s)
}

func (w *writer) optional(name, s string) {
	if s != "" {
		w.text(name, s)
	}
}

func (w *writer) number(name string, n int64) {
	if n != 0 {
		w.name(name, "")
		w.b = strconv.AppendInt(w.b, n, 10)
	}
}

func (w *writer) time(name string, t time.Time) {
	if t.IsZero() {
		return
	}
	w.name(name, `"`)
	w.b = append(t.AppendFormat(w.b, time.RFC3339Nano), '"')
}

func (w *writer) any(name string, v any) {
	w.name(name, "")
	w.marshal(v)
}

// values writes a configuration. What is not plain in it goes by json.Marshal.
func (w *writer) values(name string, values map[string]any) {
	w.name(name, "")
	if values == nil {
		w.b = append(w.b, "null"...)
		return
	}
	inner := writer{b: append(w.b, '{'), err: w.err}
	for i, key := range slices.Sorted(maps.Keys(values)) {
		if i > 0 {
			inner.b = append(inner.b, ',')
		}
		inner.string(key)
		inner.b = append(inner.b, ':')
		if s, ok := values[key].(string); ok {
			inner.string(s)
		} else {
			inner.marshal(values[key])
		}
	}
	w.b, w.err = append(inner.b, '}'), inner.err
}

// texts writes an object of strings, null for none.
func (w *writer) texts(texts map[string]string) {
	if texts == nil {
		w.b = append(w.b, "null"...)
		return
	}
	w.b = append(w.b, '{')
	for i, key := range slices.Sorted(maps.Keys(texts)) {
		if i > 0 {
			w.b = append(w.b, ',')
		}
		w.string(key)
		w.b = append(w.b, ':')
		w.string(texts[key])
	}
	w.b = append(w.b, '}')
}

// string writes ASCII without anything to escape as it is.
func (w *writer) string(s string) {
	for i := range len(s) {
		switch c := s[i]; {
		case c < ' ', c > '~', c == '"', c == '\\', c == '<', c == '>', c == '&':
			w.marshal(s)
			return
		}
	}
	w.b = append(append(append(w.b, '"'), s...), '"')
}

func (w *writer) marshal(v any) {
	raw, err := json.Marshal(v)
	if err != nil && w.err == nil {
		w.err = err
	}
	w.b = append(w.b, raw...)
}
