// Package oauth is the core of an OAuth 2.1 authorization server: what a client may ask and be given, decided without I/O.
//
// It knows clients and where they may be answered, authorization requests with
// PKCE, scopes and resources, the documents that describe the server, and the keys
// that sign access tokens. Who agrees, and what is remembered, is the office's.
package oauth

import "fmt"

// The errors of RFC 6749, 7009, 7591, 8628 and 8707 that are used here.
const (
	InvalidRequest       = "invalid_request"
	InvalidClient        = "invalid_client"
	InvalidGrant         = "invalid_grant"
	InvalidScope         = "invalid_scope"
	InvalidTarget        = "invalid_target"
	InvalidMetadata      = "invalid_client_metadata"
	InvalidRedirect      = "invalid_redirect_uri"
	UnauthorizedClient   = "unauthorized_client"
	UnsupportedGrant     = "unsupported_grant_type"
	UnsupportedResponse  = "unsupported_response_type"
	UnsupportedTokenType = "unsupported_token_type"
	RequestNotSupported  = "request_not_supported"
	AccessDenied         = "access_denied"
	AuthorizationPending = "authorization_pending"
	SlowDown             = "slow_down"
	ExpiredToken         = "expired_token"
)

// Error is a refusal in the words of OAuth. Both members are safe to show.
type Error struct {
	Code        string `json:"error"`
	Description string `json:"error_description,omitempty"`
}

func (e *Error) Error() string { return e.Code + ": " + e.Description }

// Errorf makes an Error. The description keeps to the characters that RFC 6749
// allows there.
func Errorf(code, format string, args ...any) *Error {
	text := []byte(fmt.Sprintf(format, args...))
	for i, c := range text {
		if c < 0x20 || c > 0x7e || c == '"' || c == '\\' {
			text[i] = '\''
		}
	}
	return &Error{Code: code, Description: string(text)}
}
