package provider

import (
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/purser-dev/purser/app"
)

// Errors that hooks and Accounts return.
var (
	ErrNoAccount     = errors.New("no such account")
	ErrAccountExists = errors.New("account exists")
	ErrGone          = errors.New("resource is gone")
)

// Error is a refusal that the orchestrator may see. Message must be safe to show.
type Error struct {
	Code       string
	Message    string
	HTTPStatus int // 0: by code, else 400
}

// Errorf makes a refusal with a code of APP 7.2 or one of your own.
func Errorf(code, format string, args ...any) *Error {
	return &Error{Code: code, Message: fmt.Sprintf(format, args...)}
}

func (e *Error) Error() string { return e.Code + ": " + e.Message }

// status is the HTTP status of a code (7.2).
func (e *Error) status() int {
	if e.HTTPStatus >= 400 && e.HTTPStatus <= 599 {
		return e.HTTPStatus
	}
	if s, ok := statusByCode[e.Code]; ok {
		return s
	}
	return http.StatusBadRequest
}

// idle tells that a refusal came before any work, so that it spends no budget (15.5).
func (e *Error) idle() bool {
	return strings.HasPrefix(e.Code, "invalid_") || e.Code == app.CodeForbidden || e.Code == app.CodeUnauthorized
}

var statusByCode = map[string]int{
	app.CodeInvalidSignature:    http.StatusUnauthorized,
	app.CodeRequestTooLarge:     http.StatusRequestEntityTooLarge,
	app.CodeMethodNotAllowed:    http.StatusMethodNotAllowed,
	app.CodeServerError:         http.StatusInternalServerError,
	app.CodeProxyFailed:         http.StatusBadGateway,
	app.CodeUnauthorized:        http.StatusUnauthorized,
	app.CodeAccountCreation:     http.StatusInternalServerError,
	app.CodeIdempotencyConflict: http.StatusConflict,
	app.CodeRateLimited:         http.StatusTooManyRequests,
	app.CodeInvalidClient:       http.StatusUnauthorized,
	app.CodeProjectIDConflict:   http.StatusConflict,
	app.CodeForbidden:           http.StatusForbidden,
	app.CodeNotFound:            http.StatusNotFound,
	app.CodeInvalidState:        http.StatusConflict,
	app.CodeRotationFailed:      http.StatusInternalServerError,
	app.CodeRemoveFailed:        http.StatusInternalServerError,
	app.CodeDeepLinksNotEnabled: http.StatusForbidden,
	app.CodeQuoteChanged:        http.StatusConflict,
	app.CodeQuoteExpired:        http.StatusConflict,
	app.CodeInterrupted:         http.StatusConflict,
	app.CodeGrantNotFound:       http.StatusNotFound,
	app.CodeGitHubExchange:      http.StatusBadGateway,
	app.CodeGitHubUnavailable:   http.StatusBadGateway,
	app.CodeEmailUnavailable:    http.StatusBadGateway,
	app.CodeBillingUnavailable:  http.StatusBadGateway,
}

func isNo(err error) bool { return errors.Is(err, ErrNoAccount) }
