package provider

import (
	"bytes"
	"encoding/json"
	"slices"
	"strconv"
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
	values := c.r.Header[app.HeaderIdempotencyKey]
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
			return hash(c.body) // remove ignores its payload, readable or not
		}
	}
	return hash(appendMembers(make([]byte, 0, 512), members, 0))
}

// appendMembers writes an object in its one spelling: sorted, without space, and
// without what is null, which is absent.
func appendMembers(body []byte, members map[string]json.RawMessage, depth int) []byte {
	var few [16]string
	names := few[:0]
	for name := range members {
		if depth > 0 || name != "submitted_information" && name != "payment_credentials" && name != "actor" {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	body = append(body, '{')
	for _, name := range names {
		body = append(strconv.AppendQuote(body, name), ':')
		body = append(appendValue(body, members[name], depth+1), ',')
	}
	return append(body, '}')
}

// appendValue writes a value in its one spelling, numbers as they came.
func appendValue(body []byte, raw json.RawMessage, depth int) []byte {
	if raw[0] == '{' && depth < 3 { // each level is read anew, which a deep one would make dear
		if members, err := app.Object(raw); err == nil {
			return appendMembers(body, members, depth)
		}
	}
	if raw[0] == '"' {
		return strconv.AppendQuote(body, lenient(raw))
	}
	if raw[0] == '{' || raw[0] == '[' { // all else has one spelling already
		dec := json.NewDecoder(bytes.NewReader(raw))
		dec.UseNumber()
		var v any
		if dec.Decode(&v) == nil {
			if one, err := json.Marshal(v); err == nil {
				raw = one
			}
		}
	}
	return append(body, raw...)
}

// canonical is the hash of a value's JSON with sorted keys, no insignificant space
// and numbers as written.
func canonical(v any) string {
	raw, err := json.Marshal(v)
	if err != nil {
		return ""
	}
	return hash(raw)
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
