package app

import (
	"encoding/json"
	"fmt"
	"time"
)

// Error codes of the protocol (7.2, 19). Others are passed through unchanged.
const (
	CodeInvalidSignature     = "invalid_signature"
	CodeInvalidAPIVersion    = "invalid_api_version"
	CodeBodyNotReadable      = "body_not_readable"
	CodeBodyNotDecodable     = "body_not_decodable"
	CodeRequestTooLarge      = "request_too_large"
	CodeMethodNotAllowed     = "method_not_allowed"
	CodeServerError          = "server_error"
	CodeProxyFailed          = "proxy_failed"
	CodeInvalidRequest       = "invalid_request"
	CodeExpired              = "expired"
	CodeUnauthorized         = "unauthorized"
	CodeTeamResolution       = "team_resolution_failed"
	CodeAccountCreation      = "account_creation_failed"
	CodeIdempotencyConflict  = "idempotency_conflict"
	CodeRateLimited          = "rate_limited"
	CodeUnsupportedGrant     = "unsupported_grant_type"
	CodeInvalidGrant         = "invalid_grant"
	CodeInvalidScope         = "invalid_scope"
	CodeInvalidClient        = "invalid_client"
	CodeUnknownService       = "unknown_service"
	CodeMissingServiceID     = "missing_service_id"
	CodeInvalidLabelPrefix   = "invalid_label_prefix"
	CodeProjectIDConflict    = "project_id_conflict"
	CodeInvalidResourceID    = "invalid_resource_id"
	CodeForbidden            = "forbidden"
	CodeNotFound             = "not_found"
	CodeRequiresPayment      = "requires_payment_credentials"
	CodeBillingActivation    = "billing_activation_failed" // seen; means CodeRequiresPayment (P34)
	CodeInvalidState         = "invalid_state"
	CodeDestructiveUpdate    = "destructive_update"
	CodeUnsupportedOperation = "unsupported_operation"
	CodeRotationFailed       = "credential_rotation_failed"
	CodeRemoveFailed         = "remove_failed"
	CodeDeepLinksNotEnabled  = "deep_links_not_enabled"
	CodeInvalidPath          = "invalid_path"
	CodeMissingCallback      = "missing_callback"
	CodeQuoteChanged         = "quote_changed"
	CodeQuoteExpired         = "quote_expired"

	// Of the generic profile (15.6, 15.7).
	CodeGrantNotFound      = "grant_not_found"
	CodeGitHubExchange     = "github_exchange_failed"
	CodeGitHubUnavailable  = "github_unavailable"
	CodeEmailUnavailable   = "email_unavailable"
	CodeBillingUnavailable = "billing_unavailable"

	// CodeInterrupted marks, in answers of get, find and list, a resource whose
	// create was begun and never finished (a crash). Resending the create under
	// the same keys finishes it under the same id, without a second payment.
	CodeInterrupted = "interrupted"

	// Raised on the orchestrator's side, never on the wire (7.2).
	CodeProviderFailure = "provider_failure"
	CodeCountExceeded   = "resource_count_constraint_exceeded"
)

// Envelope names the shape an error came in (7.1).
type Envelope string

// The five envelopes. EnvelopeNone means the body was none of them.
const (
	EnvelopeNone   Envelope = ""
	EnvelopeFlat   Envelope = "flat"
	EnvelopeTyped  Envelope = "typed"
	EnvelopeStatus Envelope = "status"
	EnvelopeOAuth  Envelope = "oauth"
	EnvelopeDetail Envelope = "detail"
)

// Problem is the code and message inside an envelope. Message is untrusted text.
type Problem struct {
	Code    string `json:"code"`
	Message string `json:"message"`
}

// Failure is an error envelope as parsed.
type Failure struct {
	Envelope Envelope
	ID       string // request or resource id, when one came
	Problem
}

// ParseFailure reads any of the five envelopes; `error` may be an object or a
// string. It reports false when the body is no error: a body's type or status
// decides, so {"status":"complete","error":null} is none (P13).
func ParseFailure(body []byte) (Failure, bool) {
	members, err := Object(body)
	if err != nil {
		return Failure{}, false
	}
	kind, status := stringOf(members["type"]), stringOf(members["status"])
	f := Failure{ID: stringOf(members["id"]), Problem: problem(members["error"])}
	if f.Message == "" {
		f.Message = stringOf(members["error_description"])
	}
	_, has := members["error"]
	switch {
	case kind == AnswerError:
		f.Envelope = EnvelopeTyped
	case status == StatusError:
		f.Envelope = EnvelopeStatus
	case kind != "" || status != "":
		return Failure{}, false
	case has && stringOf(members["error"]) != "":
		f.Envelope = EnvelopeOAuth
	case has:
		f.Envelope = EnvelopeFlat
	case members["detail"] != nil:
		f.Envelope, f.Problem = EnvelopeDetail, Problem{Message: text(members["detail"])}
	default:
		return Failure{}, false
	}
	return f, true
}

func problem(raw json.RawMessage) Problem {
	if s := stringOf(raw); s != "" {
		return Problem{Code: s}
	}
	members, err := Object(raw)
	if err != nil {
		return Problem{}
	}
	return Problem{Code: stringOf(members["code"]), Message: stringOf(members["message"])}
}

func stringOf(raw json.RawMessage) string {
	var s string
	if json.Unmarshal(raw, &s) != nil {
		return ""
	}
	return s
}

// Error is a failed call to a provider. Code and Message are the provider's own
// where it gave them, otherwise CodeProviderFailure and what happened.
type Error struct {
	Code       string
	Message    string // untrusted text
	HTTPStatus int    // 0: no answer came
	RetryAfter time.Duration
	Envelope   Envelope
	ID         string // the request or resource id of the envelope, when one came

	// Unknown is true when what the provider did cannot be known: no answer after
	// the request left, a 5xx without a protocol envelope or with server_error or
	// proxy_failed, a 2xx that cannot be read. Look it up or ask again under the
	// same keys; never take it for a refusal.
	Unknown bool

	Err error // the cause, if there is one
}

func (e *Error) Error() string {
	s := fmt.Sprintf("provider answered %s", e.Code)
	if e.HTTPStatus != 0 {
		s += fmt.Sprintf(" (HTTP %d)", e.HTTPStatus)
	}
	if e.Message != "" {
		s += ": " + e.Message
	}
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

// Unwrap gives the cause.
func (e *Error) Unwrap() error { return e.Err }
