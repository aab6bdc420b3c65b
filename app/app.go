// Package app is the Agentic Provisioning Protocol (APP), wire version 0.1d: its
// types, signatures, error envelopes and a client for an orchestrator.
//
// Section numbers in comments are those of the APP 0.1d reference. Money is an
// integer in minor units beside an ISO 4217 currency; timestamps are RFC 3339.
package app

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Version is the only wire version spoken here; it is compared byte for byte (section 6).
const Version = "0.1d"

// Header names (4.2). A provider reads the Stripe name when present, otherwise
// the neutral one, and never falls through from an invalid value to the other.
const (
	HeaderVersion            = "API-Version"
	HeaderSignature          = "Stripe-Signature"
	HeaderSignatureV2        = "Stripe-Signature-V2"
	HeaderNeutralSignature   = "Provisioning-Signature"
	HeaderNeutralSignatureV2 = "Provisioning-Signature-V2"
	HeaderIdempotencyKey     = "Idempotency-Key"
)

// Limits of bodies in bytes (4.3).
const (
	MaxRequestBytes  = 1 << 20
	MaxResponseBytes = 1 << 20
	MaxCatalogBytes  = 16 << 20
)

// Capabilities that a manifest may declare (3.1 and 19).
const (
	CapUpdate      = "resources:update_service"
	CapDeprovision = "resources:deprovision"
	CapRotate      = "resources:rotate_credentials"
	CapLink        = "resources:link"
	CapFind        = "resources:find"
	CapCut         = "resources:cut"
	CapQuotes      = "quotes"
	CapEntitle     = "account_entitlements:materialize"
)

// Who collects payment, as in account.payment_credentials (10.1).
const (
	PaidByOrchestrator = "orchestrator"
	PaidByProvider     = "provider"
)

// Health is the answer of GET provisioning/health (section 8). Any Status but
// "ok" means degraded, not down.
type Health struct {
	SupportedVersions []string `json:"supported_versions"`
	Status            string   `json:"status"`
}

// Speaks tells whether the provider lists our wire version.
func (h Health) Speaks() bool {
	for _, v := range h.SupportedVersions {
		if v == Version {
			return true
		}
	}
	return false
}

// Actor is who acted, as the orchestrator saw it (9.1).
type Actor struct {
	Email     string `json:"email,omitempty"`
	IPAddress string `json:"ip_address,omitempty"`
}

// Time is a wire timestamp: it reads ISO 8601 (no offset means UTC) and writes
// RFC 3339 with Z. The zero Time is written as null.
type Time struct{ time.Time }

// At is t as a wire timestamp, cut to microseconds.
func At(t time.Time) Time { return Time{t.UTC().Truncate(time.Microsecond)} }

// MarshalJSON writes RFC 3339 in UTC.
func (t Time) MarshalJSON() ([]byte, error) {
	if t.IsZero() {
		return []byte("null"), nil
	}
	return json.Marshal(t.UTC().Format(time.RFC3339Nano))
}

// UnmarshalJSON reads a timestamp string; null leaves the zero Time.
func (t *Time) UnmarshalJSON(raw []byte) error {
	if string(raw) == "null" {
		*t = Time{}
		return nil
	}
	var s string
	if err := json.Unmarshal(raw, &s); err != nil {
		return fmt.Errorf("reading timestamp: %w", err)
	}
	at, err := ParseTime(s)
	if err != nil {
		return err
	}
	*t = Time{at}
	return nil
}

// ParseTime reads an ISO 8601 timestamp. A value without offset is UTC (section 1, rule 4).
func ParseTime(s string) (time.Time, error) {
	for _, layout := range []string{
		time.RFC3339Nano, "2006-01-02T15:04:05.999999999", "2006-01-02T15:04Z07:00", "2006-01-02T15:04",
		"2006-01-02T15:04:05.999999999Z0700", "2006-01-02 15:04:05.999999999Z07:00", "2006-01-02 15:04:05.999999999",
		"2006-01-02",
	} {
		if at, err := time.ParseInLocation(layout, s, time.UTC); err == nil {
			return at.UTC(), nil
		}
	}
	return time.Time{}, errors.New("not an ISO 8601 timestamp")
}

// Minor is an amount in minor units. It reads a JSON integer or a decimal string
// holding an int64 (section 1, rule 6) and writes an integer.
type Minor int64

// UnmarshalJSON reads 2000 or "2000"; fractions and exponents are refused.
func (m *Minor) UnmarshalJSON(raw []byte) error {
	if string(raw) == "null" {
		return nil
	}
	n, err := strconv.ParseInt(strings.Trim(string(raw), `"`), 10, 64)
	if err != nil {
		return errors.New("reading amount: not an integer of minor units")
	}
	*m = Minor(n)
	return nil
}

// encode writes v as JSON without HTML escaping and without a final newline.
func encode(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}
