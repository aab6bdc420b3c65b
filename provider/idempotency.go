package provider

import (
	"bytes"
	"encoding/json"
	"time"

	"github.com/purser-dev/purser/app"
)

// idempotency is the Idempotency-Key of a call (12.3); the zero value is none.
type idempotency struct {
	store string // key in the Store
	body  string // hash of the canonical body
}

// idempotency reads the header: 1 to 255 visible ASCII characters.
func (c *call) idempotency() (idempotency, error) {
	values := c.r.Header.Values(app.HeaderIdempotencyKey)
	if len(values) == 0 {
		return idempotency{}, nil
	}
	key := values[0]
	valid := len(values) == 1 && len(key) >= 1 && len(key) <= 255
	for i := range len(key) {
		valid = valid && key[i] > ' ' && key[i] <= '~'
	}
	if !valid {
		return idempotency{}, Errorf(app.CodeInvalidRequest, "Idempotency-Key must be 1 to 255 visible ASCII characters")
	}
	return idempotency{store: keyIdempotency(c.tenant(), c.r.Method+" "+c.route, key), body: c.bodyHash()}, nil
}

// bodyHash is that of the body without what may change between attempts.
func (c *call) bodyHash() string {
	members := c.members
	if members == nil && len(bytes.TrimSpace(c.body)) > 0 {
		var err error
		if members, err = app.Object(c.body); err != nil {
			return hash(string(c.body)) // remove ignores its payload, readable or not
		}
	}
	body := make(map[string]any, len(members))
	for name, raw := range members {
		switch name {
		case "submitted_information", "payment_credentials", "actor":
			continue
		}
		body[name] = raw
		if bytes.ContainsAny(raw, "{[\\") { // all else has one spelling, numbers as they came
			dec := json.NewDecoder(bytes.NewReader(raw))
			dec.UseNumber()
			var v any
			if dec.Decode(&v) == nil {
				body[name] = v
			}
		}
	}
	return canonical(body)
}

// canonical is the hash of a value's JSON with sorted keys, no insignificant space
// and numbers as written.
func canonical(v any) string {
	raw, err := json.Marshal(v)
	if err != nil {
		return ""
	}
	return hash(string(raw))
}

// look gives the resource of an earlier call under this key, "" if there is none
// or it is older than 24 h.
func (k idempotency) look(tx Tx, now time.Time) (string, error) {
	if k.store == "" {
		return "", nil
	}
	var record idempotencyRecord
	found, err := get(tx, k.store, &record)
	if err != nil || !found || now.Sub(record.At) >= repeatLife {
		return "", err
	}
	if record.Body != k.body {
		return "", Errorf(app.CodeIdempotencyConflict, "this Idempotency-Key was used with another body")
	}
	return record.Resource, nil
}

// keep remembers the resource of this key. The first receipt counts.
func (k idempotency) keep(tx Tx, now time.Time, resource string) error {
	if k.store == "" {
		return nil
	}
	var earlier idempotencyRecord
	found, err := get(tx, k.store, &earlier)
	if err != nil {
		return err
	}
	record := idempotencyRecord{Body: k.body, Resource: resource, At: now}
	if found && now.Sub(earlier.At) < repeatLife {
		record.At = earlier.At
	}
	return put(tx, k.store, record, record.At.Add(repeatLife))
}

func (c *call) keep(k idempotency, resource string) error {
	if k.store == "" {
		return nil
	}
	return c.p.cfg.Store.Update(c.ctx, func(tx Tx) error { return k.keep(tx, c.p.cfg.Now(), resource) })
}
